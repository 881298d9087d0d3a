import type { IncomingMessage } from 'node:http'
import { type ErrorCode, HubError } from '../errors.js'
import type { Said } from '../model.js'
import type { Auditor } from '../observe/audit.js'
import type { Counters } from '../observe/counters.js'
import { plain, rateLimited, type SentenceLog } from '../observe/log.js'
import type { RefusalReport } from '../transport/connections.js'

/** A refusal with a reason of its own beside the status, and a detail that the answer must not contain. */
export class RequestRefused extends HubError {
  /** Name in the counters, behind `http_`. */
  readonly reason: string
  /** User that the caller tried to authenticate as. */
  readonly user: string | undefined
  /** For the log: may name facts that strangers must not know. */
  readonly detail: string

  constructor(
    reason: 'password' | 'key' | 'pairing' | 'host' | 'cross_site',
    code: ErrorCode,
    message: string,
    { user, detail = message, said }: { readonly user?: string; readonly detail?: string; readonly said?: Said } = {},
  ) {
    super(code, message, { said })
    this.reason = reason
    this.user = user
    this.detail = detail
  }
}

export interface RefusalsOptions {
  /** Get `http_password`, `http_forbidden`, … */
  readonly counters: Pick<Counters, 'refuse'>
  readonly audit: Auditor
  /** Gets refusals, at a limited rate. */
  readonly log: Pick<SentenceLog, 'info'>
}

/** Mistakes of callers: counted, but of no interest for an audit log. */
const mistakes: ReadonlySet<string> = new Set(['bad_request', 'not_found', 'conflict'])

const reasonOfStatus: Readonly<Record<number, string>> = {
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not_found',
  409: 'conflict',
  429: 'too_many',
}

/** Counts the refusals of HTTP. Logs attempts to get in or to exceed permissions, in the log and the audit log. */
export class HttpRefusals implements RefusalReport {
  readonly #options: RefusalsOptions
  readonly #say: (sentence: string) => void

  constructor(options: RefusalsOptions) {
    this.#options = options
    this.#say = rateLimited(sentence => options.log.info(sentence))
  }

  /** Reports a refusal. `status` is that of the answer, and is 4xx. */
  report({ method = '', url = '' }: IncomingMessage, address: string, status: number, error: Error): void {
    const own = error instanceof RequestRefused ? error : undefined
    const reason = own?.reason ?? reasonOfStatus[status] ?? 'bad_request'
    this.count(reason)
    if (mistakes.has(reason)) return
    // The part behind ? may be a secret in the wrong place.
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

  /** Reports a connection that was refused, or closed for lack of room. */
  refused(reason: string, sentence: string): void {
    this.count(reason)
    this.#say(sentence)
  }

  /** Counts a refusal of which only the kind is known, such as bytes that are no HTTP. */
  count(reason: string): void {
    this.#options.counters.refuse(`http_${reason}`)
  }
}
