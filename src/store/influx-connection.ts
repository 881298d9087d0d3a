import { setMaxListeners } from 'node:events'
import { IncomingMessage } from 'node:http'
import { promisify } from 'node:util'
import { gzip as gzipCallback } from 'node:zlib'
import { describe, HubError } from '../errors.js'
import { errorWords, retryAfterMs, shorten } from './influx-answers.js'

const gzip = promisify(gzipCallback)

/** Bodies smaller than this are not compressed. */
const worthCompressing = 1_000

/**
 * Maximum size of an answer to a write. InfluxDB repeats the lines that are refused; a longer answer is not from InfluxDB
 * but, say, a compressed bomb.
 */
const maxAnswer = 16 * 1024 * 1024

/** Address of an InfluxDB, and who asks. */
export interface InfluxAddress {
  /**
   * URL of the server. The path is the name of the database, unless `bucket` is given; user name and password may be
   * included.
   */
  readonly url: string
  /** API token. Undefined or empty: user name and password of the URL, if there are any, say who asks. */
  readonly token?: string | undefined
  /** Name of the organisation of InfluxDB 2. */
  readonly org?: string | undefined
  /** Name of the bucket or database. All of the path of the URL is that of a proxy then. */
  readonly bucket?: string | undefined
  /** Time limit of each request. */
  readonly timeoutMs?: number
}

export interface HttpAnswer {
  readonly status: number
  readonly body: string
  readonly retryAfterMs: number | undefined
  readonly headers: Headers
}

/** Sends requests to one server, within a time limit, until `stop`. Errors are `store_unavailable`. */
export class InfluxConnection {
  readonly url: URL
  readonly database: string
  /** Path of a proxy before the paths of the API; empty without. */
  readonly prefix: string
  readonly org: string
  readonly token: string
  /** User and password of the URL; undefined without, or with a token. */
  readonly user: { readonly name: string; readonly password: string } | undefined
  readonly timeoutMs: number
  /** `Authorization` of every request. Undefined: none. */
  readonly authorization: string | undefined
  /** False for a server on this machine, where compressing costs more than is saved. */
  readonly #compress: boolean
  readonly #stopping = new AbortController()

  constructor({ url: address, token = '', org = '', bucket = '', timeoutMs = 30_000 }: InfluxAddress) {
    const url = new URL(address)
    const path = url.pathname.split('/').filter(Boolean).map(decodeURIComponent)
    this.url = url
    this.database = bucket || (path.pop() ?? 'telehub')
    this.prefix = path.length > 0 ? `/${path.map(encodeURIComponent).join('/')}` : ''
    this.org = org
    this.token = token
    this.timeoutMs = timeoutMs
    const name = decodeURIComponent(url.username)
    const password = decodeURIComponent(url.password)
    this.user = token === '' && name !== '' ? { name, password } : undefined
    const basic = `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}`
    this.authorization = token !== '' ? `Token ${token}` : this.user && basic
    this.#compress = !/^(localhost|127\.[\d.]+|\[::1\])$/.test(url.hostname)
    // One listener for each request under way, however many there are.
    setMaxListeners(0, this.#stopping.signal)
  }

  /** Address for people, without user and password. */
  get place(): string {
    return `${this.url.origin}${this.prefix}`
  }

  /** Resolves with the answer, whatever the status is. */
  ask(path: string, method = 'GET', json?: unknown): Promise<HttpAnswer> {
    return this.limited(signal =>
      this.#fetch(path, method, json === undefined ? undefined : JSON.stringify(json), signal),
    )
  }

  /** Sends lines of line protocol. Resolves with the answer, whatever the status is. */
  async send(path: string, lines: string): Promise<HttpAnswer> {
    const compress = this.#compress && lines.length >= worthCompressing
    const body = compress ? await gzip(lines, { level: 1 }) : lines
    const more = { 'content-type': 'text/plain; charset=utf-8', ...(compress && { 'content-encoding': 'gzip' }) }
    return this.limited(signal => this.#fetch(path, 'POST', body, signal, more))
  }

  async #fetch(
    path: string,
    method: string,
    body: string | Buffer | undefined,
    signal: AbortSignal,
    more: Readonly<Record<string, string>> = body === undefined ? {} : { 'content-type': 'application/json' },
  ): Promise<HttpAnswer> {
    const headers = { ...more, ...(this.authorization && { authorization: this.authorization }) }
    const init = { method, headers, signal, ...(body !== undefined && { body }) }
    // A redirect that is followed would turn a write into a read, which succeeds.
    const response = await fetch(this.place + path, { ...init, redirect: 'manual' })
    const after = retryAfterMs(response.headers.get('retry-after'), response.headers.get('date'))
    const { status } = response
    return { status, body: await beginningOf(response), retryAfterMs: after, headers: response.headers }
  }

  /** Limits the time of one exchange, body included. A call of a driver that never settles is left behind then. */
  async limited<T>(exchange: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const limit = new AbortController()
    const give = (reason: Error) => limit.abort(reason)
    const stopped = () => give(this.#stopping.signal.reason as Error)
    const timer = setTimeout(() => give(new Error(`no answer within ${this.timeoutMs} ms`)), this.timeoutMs)
    this.#stopping.signal.addEventListener('abort', stopped)
    if (this.#stopping.signal.aborted) stopped()
    try {
      return await Promise.race([exchange(limit.signal), rejectionOf(limit.signal)])
    } catch (error) {
      const cause = limit.signal.aborted ? limit.signal.reason : error
      const response = (cause as { readonly res?: unknown } | null)?.res
      if (response instanceof IncomingMessage) throw this.#answeredQuery(response, describe(cause))
      throw unavailable(`InfluxDB cannot be used: ${sentence(cause)}`, cause)
    } finally {
      clearTimeout(timer)
      this.#stopping.signal.removeEventListener('abort', stopped)
    }
  }

  /** Returns the error of an answer that is not about points. */
  answered({ status, body, retryAfterMs }: Pick<HttpAnswer, 'status' | 'body' | 'retryAfterMs'>): HubError {
    const words = shorten(errorWords(body))
    const act = advice(status, this.token !== '')
    return new HubError('store_unavailable', `InfluxDB answered ${status}: ${words}${act && `; ${act}`}`, {
      retryAfterMs,
    })
  }

  /**
   * Converts an error of the client for queries, which keeps the body of the answer only within the message. That error
   * holds the password, and must go no further.
   */
  #answeredQuery({ statusCode = 0, headers }: IncomingMessage, message: string): HubError {
    const body = message.replace(/^.*? error occurred: /s, '')
    return this.answered({ status: statusCode, body, retryAfterMs: retryAfterMs(headers['retry-after'], headers.date) })
  }

  /** Aborts the requests under way; later ones reject. */
  stop(): void {
    this.#stopping.abort(new Error('the store was stopped'))
  }
}

export function unavailable(message: string, cause?: unknown): HubError {
  return new HubError('store_unavailable', message, { cause })
}

/** Rejection of a write or a read for a database or bucket that is not there. */
export class DatabaseMissing extends HubError {
  constructor(database: string) {
    super('store_unavailable', `InfluxDB has no database '${database}'`)
  }
}

/** Returns advice for a person by status. Statuses that pass by themselves have none. */
function advice(status: number, hasToken: boolean): string {
  const who = hasToken ? 'influx.token' : 'user and password in influx.url'
  switch (status) {
    case 200:
      return 'this is not the answer to a write: check host and path in influx.url'
    case 401:
      return `check ${who}`
    case 403:
      return `check ${who}, and that this user may read and write the database`
    case 404:
      return 'check host and path in influx.url'
    default:
      return status >= 300 && status < 400 ? 'check protocol and host in influx.url' : ''
  }
}

function rejectionOf(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason)
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
}

async function beginningOf(response: Response): Promise<string> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of response.body ?? []) {
    bytes += part.length
    if (bytes > maxAnswer) throw new Error(`an answer of more than ${maxAnswer / 2 ** 20} MB to a write`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}

/** Returns the message with that of `cause`, where `fetch` hides the reason. */
function sentence(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined
  return cause === undefined ? describe(error) : `${describe(error)} (${describe(cause)})`
}
