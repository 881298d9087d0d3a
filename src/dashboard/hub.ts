import { connect, HubRequestError } from '@telehub/client'
import { signIn } from './api.js'
import { refusalText } from './said/said.js'

/** The hub of this page, asked with the page's login. */
export const hub = connect()

/** Returns why the hub did not answer, as a sentence. Goes to the login page when the login has ended. */
export function failureOf(error: unknown): string {
  if (!(error instanceof HubRequestError) || error.status === 0) return refusalText({ error: 'unreachable' })
  if (error.status === 401) signIn()
  return refusalText({ error: error.code, message: error.message }, error.status)
}
