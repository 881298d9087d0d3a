/** Refusal by the hub, or a failure to reach the hub. */
export class HubRequestError extends Error {
  override readonly name = 'HubRequestError'
  /** Word for the cause: those of the hub, `unreachable`, `timeout`, or `closed`. */
  readonly code: string
  /** HTTP status; 0 without an answer. */
  readonly status: number
  /** Position of the refused message among several, from 0. */
  readonly index: number | undefined

  constructor(code: string, message: string, status = 0, index?: number) {
    super(message)
    this.code = code
    this.status = status
    this.index = index
  }
}

/** Address of the hub, and credentials of the caller. */
export interface HubAddress {
  /** Origin of the hub, such as `https://hub.example.org`. Default: that of the page. */
  readonly url?: string | undefined
  /**
   * API key (`thk_…`), or a function that returns one. Without a key, pages of the hub itself use the cookie of their
   * login.
   */
  readonly token?: string | (() => string | Promise<string>) | undefined
}

/** Requests to one hub. */
export class Requests {
  readonly #base: string
  readonly #token: HubAddress['token']

  constructor({ url = (globalThis as { location?: { origin: string } }).location?.origin, token }: HubAddress) {
    if (url === undefined) throw new TypeError('connect: url is missing, such as https://hub.example.org')
    this.#base = new URL(url).href.replace(/\/+$/, '')
    this.#token = token
  }

  /** Resolves with an answer of status 2xx. Rejects with a {@link HubRequestError}, also when the signal aborts. */
  async send(path: string, init: RequestInit, signal: AbortSignal): Promise<Response> {
    const headers = new Headers(init.headers)
    let response: Response
    try {
      const token = typeof this.#token === 'function' ? await this.#token() : this.#token
      if (token) headers.set('authorization', `Bearer ${token}`)
      response = await fetch(this.#base + path, { ...init, headers, signal })
    } catch (error) {
      if (signal.aborted && signal.reason instanceof HubRequestError) throw signal.reason
      throw new HubRequestError('unreachable', `the hub at ${this.#base} does not answer: ${describe(error)}`)
    }
    if (response.ok) return response
    throw await refusalOf(response)
  }

  /** Resolves with the JSON of an answer, within the time. */
  async json<T>(path: string, init: RequestInit = {}, timeoutMs = 30_000): Promise<T> {
    const abort = new AbortController()
    const late = new HubRequestError('timeout', `the hub at ${this.#base} has not answered in ${timeoutMs} ms`)
    const timer = setTimeout(() => abort.abort(late), timeoutMs)
    try {
      const response = await this.send(path, init, abort.signal)
      return (await response.json()) as T
    } catch (error) {
      if (error instanceof HubRequestError) throw error
      throw abort.signal.aborted ? late : new HubRequestError('unreachable', describe(error))
    } finally {
      clearTimeout(timer)
    }
  }
}

async function refusalOf(response: Response): Promise<HubRequestError> {
  const { status } = response
  const text = await response.text().catch(() => '')
  try {
    const { error, message, index } = JSON.parse(text) as { error: string; message: string; index?: number }
    const refusal = new HubRequestError(error, message, status, index)
    return Object.assign(refusal, { retryAfter: Number(response.headers.get('retry-after')) || undefined })
  } catch {
    // A proxy in between may answer with a page.
    return new HubRequestError('unreachable', `status ${status}`, status)
  }
}

/** Returns an error in words. */
export function describe(error: unknown): string {
  const { cause } = error instanceof Error ? error : {}
  const more = cause instanceof Error ? ` (${cause.message})` : ''
  return (error instanceof Error ? error.message : String(error)) + more
}

/** Returns whether the same request may succeed later: nothing was refused for good. */
export function isTemporary(error: unknown): boolean {
  return error instanceof HubRequestError && (error.status === 0 || error.status === 429 || error.status >= 500)
}

const shortestMs = 250
const longestMs = 10_000

/** Pause before attempt number `attempt` (from 0), half of it random, so that receivers do not all come at once. */
export function backoff(attempt: number, random: () => number = Math.random): number {
  return Math.min(longestMs, shortestMs * 2 ** attempt) * (0.5 + random() / 2)
}
