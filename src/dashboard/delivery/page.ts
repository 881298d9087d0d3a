import type { Session } from '../api.js'
import type { Page, Shell } from '../pages.js'
import { BalancePage } from './balance.js'
import { InboxLink } from './inbox-link.js'
import { say, translate } from './words.js'

let balance: BalancePage
let inbox: InboxLink
let given: Shell

/** The page Delivery: what became of all messages. */
export const page: Page = {
  start(host, shell) {
    given = shell
    translate(host)
    balance = new BalancePage(
      () => shell.askReady(),
      () => shell.leave(),
      text => shell.filterBy(text),
    )
    inbox = new InboxLink()
  },
  show(parameters, focus) {
    balance.show(focus)
    void inbox.refresh()
    // Leads from a topic whose messages are not stored to the dead letters of that topic.
    const topic = parameters.get('topic')
    if (!topic) return
    given.filterBy(topic)
    document.getElementById('dead-title')?.scrollIntoView()
  },
  hide() {
    balance.hide()
  },
  filter(text) {
    balance.filter(text)
  },
  tick() {
    balance.tick()
  },
  changed() {
    if (given.session) balance.readOnly = readOnlyText(given.session)
    balance.ready(given.ready)
  },
}

/** Returns why this user may not replay or drop dead letters; empty when that is allowed. */
function readOnlyText({ auth, user, kind, mayChange }: Session): string {
  if (mayChange) return ''
  if (auth !== 'required' || !user) return say('dead.admin')
  return `${say('dead.admin')} ${say('dead.who', { user: kind ? `${user} (${kind})` : user })}`
}
