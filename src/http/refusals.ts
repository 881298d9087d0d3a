import type { IncomingMessage } from 'node:http'
import { type ErrorCode, HubError } from '../errors.js'
import type { Auditor } from '../observe/audit.js'
import { plain, rateLimited } from '../observe/log.js'

/** A refusal that is told apart from others with the same status, and knows more than the answer may say. */
export class RequestRefused extends HubError {
  /** As it is counted, behind `http_`. */
  readonly reason: string
  /** As whom the caller tried to come in. */
  readonly user: string | undefined
  /** For the log: it may name what strangers must not know. */
  readonly detail: string

  constructor(
    reason: 'password' | 'key' | 'pairing' | 'host' | 'cross_site',
    code: ErrorCode,
    message: string,
    { user, detail = message }: { readonly user?: string; readonly detail?: string } = {},
  ) {
    super(code, message)
    this.reason = reason
    this.user = user
    this.detail = detail
  }
}

export interface RefusalsOptions {
  /** For the counters: `http_password`, `http_forbidden`, … */
  readonly counted: (reason: string) => void
  readonly audit: Auditor
  /** Rate limited here. */
  readonly info: (sentence: string) => void
}

/** Mistakes of callers: counted, but nothing that a log of who did what needs. */
const mistakes: ReadonlySet<string> = new Set(['bad_request', 'not_found', 'conflict'])

const reasonOfStatus: Readonly<Record<number, string>> = {
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not_found',
  409: 'conflict',
  429: 'too_many',
}

/** Counts what HTTP refuses, and tells the log and the audit log of attempts to come in or to go too far. */
export class Refusals {
  readonly #options: RefusalsOptions
  readonly #say: (sentence: string) => void

  constructor(options: RefusalsOptions) {
    this.#options = options
    this.#say = rateLimited(options.info)
  }

  /** `status` is that of the answer, and is 4xx. */
  report({ method = '', url = '' }: IncomingMessage, address: string, status: number, error: Error): void {
    const own = error instanceof RequestRefused ? error : undefined
    const reason = own?.reason ?? reasonOfStatus[status] ?? 'bad_request'
    this.count(reason)
    if (mistakes.has(reason)) return
    // What stands behind ? may be a secret in the wrong place.
    const what = `${method} ${url.split('?', 1)[0]?.slice(0, 100)}`
    const detail = own?.detail ?? error.message
    this.#say(plain(`refused ${what} of ${address}: ${detail.slice(0, 300)}`))
    this.#options.audit.repeated({
      event: own?.reason === 'pairing' ? 'pairing' : own?.reason === 'password' ? 'login' : 'refused',
      result: 'refused',
      reason: `http_${reason}`,
      user: own?.user,
      address,
      via: 'http',
      what,
      detail,
    })
  }

  /** A connection that was refused, or closed for want of room. */
  connection(reason: string, sentence: string): void {
    this.count(reason)
    this.#say(sentence)
  }

  /** A refusal of which nothing but its kind is known, such as bytes that are no HTTP. */
  count(reason: string): void {
    this.#options.counted(`http_${reason}`)
  }
}
