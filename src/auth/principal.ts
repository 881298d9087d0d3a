import type { RuleKind } from '../users/users.js'

/** Credentials that a client presents to authenticate. */
export interface Credentials {
  readonly address: string
  readonly username: string | undefined
  /** A password, an API key, or a token of {@link Logins}. */
  readonly password: string | undefined
  /** Names in the client certificate that was verified: CN and SAN. */
  readonly certificate: readonly string[]
  /** Returns true once the client no longer waits for the verdict. */
  readonly isGone?: () => boolean
}

/** Authenticated identity, valid as long as `isValid` returns true. */
export interface Principal {
  /** Unverified name from the client when authentication is off. */
  readonly user: string
  readonly kind: RuleKind
  /** Id of the browser login that the token was made from. Undefined for other credentials. */
  readonly login: string | undefined
  /** Changes with the credentials: anything cached under an older stamp is void. */
  readonly stamp: string
  /** Returns false once the user is removed, the credentials have changed, or the login has ended. */
  isValid(): boolean
}

/** Rejected authentication. `why` is for the log and may name facts that strangers must not know. */
export interface LoginRefusal {
  readonly refused: 'bad_credentials' | 'busy'
  readonly why: string
  /** With `busy`: milliseconds until another attempt may succeed. */
  readonly retryAfterMs: number
}

export type Verdict = Principal | LoginRefusal

/**
 * Challenge to send before the next step; or the verdict that ends the exchange, with data to send along on success.
 */
export type ScramStep = { readonly challenge: Buffer } | { readonly verdict: Verdict; readonly data?: Buffer }

/** One exchange of authentication data. After the verdict, each further step is rejected. */
export interface ScramExchange {
  /** Takes the data that the client sent, if any. Never throws, and takes microseconds. */
  step(data: Buffer | undefined): ScramStep
}

export function refusal(why: string): LoginRefusal {
  return { refused: 'bad_credentials', why, retryAfterMs: 0 }
}

export function busy(why: string, retryAfterMs: number): LoginRefusal {
  return { refused: 'busy', why, retryAfterMs }
}
