import { isSignedIn } from '../account.js'
import type { Page, Shell } from '../pages.js'
import { LoginsPage } from './logins.js'
import { translate } from './words.js'

let logins: LoginsPage
let given: Shell

/** The page of the logins of a user. */
export const page: Page = {
  start(host, shell) {
    given = shell
    translate(host)
    logins = new LoginsPage()
  },
  show(_parameters, focus) {
    logins.show(focus)
  },
  hide() {
    logins.hide()
  },
  tick() {
    logins.tick()
  },
  changed() {
    const { session } = given
    if (!session) return
    if (isSignedIn(session)) logins.session = session
    else given.leave()
  },
}
