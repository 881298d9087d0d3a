import { whyNotChange } from '../account.js'
import type { Page, Shell } from '../pages.js'
import { BalancePage } from './balance.js'

let balance: BalancePage
let given: Shell

/** The page Delivery: what became of all messages. */
export const page: Page = {
  start(_host, shell) {
    given = shell
    balance = new BalancePage(
      () => shell.askReady(),
      () => shell.leave(),
      text => shell.filterBy(text),
    )
  },
  show(parameters, focus) {
    balance.show(focus)
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
    if (given.session) balance.readOnly = whyNotChange(given.session)
    balance.ready(given.ready)
  },
}
