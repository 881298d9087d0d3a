import { HubError } from '../errors.js'
import { plain } from '../observe/log.js'

/**
 * Returns the user, if all entries have the same one; undefined when there are none. `what` completes the error:
 * "users a, b have …". Throws `bad_settings` when --user has to choose.
 */
export function onlyUser(entries: readonly { readonly user: string }[], what: string): string | undefined {
  const users = [...new Set(entries.map(({ user }) => user))]
  if (users.length <= 1) return users[0]
  const names = users.map(name => plain(name) || '(none)').join(', ')
  throw new HubError('bad_settings', `users ${names} have ${what}; choose one with --user`)
}
