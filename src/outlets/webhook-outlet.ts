import { Agent as PlainAgent } from 'node:http'
import { Agent as TlsAgent } from 'node:https'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { HubError } from '../errors.js'
import type { Message, Outcome, Rejection } from '../model.js'
import type { Outlet } from '../queue/queue.js'
import { type CallAnswer, call } from '../runtime/http-call.js'
import { webhookHeaders } from '../runtime/webhook-signature.js'
import { messageJson } from './batch-json.js'

export interface WebhookPlan {
  readonly url: string
  /** Key of the signature; empty: requests are not signed. */
  readonly secret: string
  readonly headers: Readonly<Record<string, string>>
  readonly batch: number
  /** Bytes of a body before compression. A larger message is alone in a request. */
  readonly batchBytes: number
  readonly timeoutMs: number
  readonly gzip: boolean
}

/** Answers by which a server refuses this body for good. All others are about the address or the server. */
const refusals: readonly number[] = [400, 413, 415, 422]

const compress = promisify(gzip)

/** Sends batches of messages to a web server, one request at a time, on a connection that is kept. */
export class WebhookOutlet implements Outlet {
  readonly #plan: WebhookPlan
  readonly #url: URL
  readonly #name: string
  readonly #hubId: string
  readonly #agent: PlainAgent | TlsAgent

  constructor(plan: WebhookPlan, name: string, hubId: string) {
    this.#plan = plan
    this.#url = new URL(plan.url)
    this.#name = name
    this.#hubId = hubId
    const keeping = { keepAlive: true, maxSockets: 1, timeout: plan.timeoutMs }
    this.#agent = this.#url.protocol === 'https:' ? new TlsAgent(keeping) : new PlainAgent(keeping)
  }

  async deliver(messages: readonly Message[], signal: AbortSignal): Promise<readonly Outcome[] | undefined> {
    const texts = messages.map(message => messageJson(message, this.#hubId))
    const outcomes: Outcome[] = []
    try {
      for (const [from, to] of this.#batches(texts)) {
        await this.#send(messages.slice(from, to), texts.slice(from, to), outcomes, signal)
      }
    } catch (error) {
      // What was taken before is done, and only the rest is sent again.
      if (outcomes.length === 0 || signal.aborted) throw error
      while (outcomes.length < messages.length) outcomes.push('retry')
    }
    return outcomes
  }

  async close(): Promise<void> {
    this.#agent.destroy()
  }

  /** Yields the first and the last index, exclusive, of each request. */
  *#batches(texts: readonly string[]): Generator<readonly [from: number, to: number]> {
    const { batch, batchBytes } = this.#plan
    let from = 0
    let bytes = 0
    for (const [i, text] of texts.entries()) {
      const length = Buffer.byteLength(text) + 1
      if (i > from && (i - from >= batch || bytes + length > batchBytes)) {
        yield [from, i]
        from = i
        bytes = 0
      }
      bytes += length
    }
    yield [from, texts.length]
  }

  /**
   * Sends one request, and adds the outcomes. A batch that the server refuses is halved until the refused messages
   * are found.
   */
  async #send(
    messages: readonly Message[],
    texts: readonly string[],
    outcomes: Outcome[],
    signal: AbortSignal,
  ): Promise<void> {
    const refusal = refusalOf(await this.#request(messages, texts, signal))
    if (!refusal) for (const _ of messages) outcomes.push('ack')
    else if (messages.length === 1) outcomes.push(refusal)
    else {
      const half = messages.length >> 1
      await this.#send(messages.slice(0, half), texts.slice(0, half), outcomes, signal)
      await this.#send(messages.slice(half), texts.slice(half), outcomes, signal)
    }
  }

  async #request(messages: readonly Message[], texts: readonly string[], signal: AbortSignal): Promise<CallAnswer> {
    const { secret, headers, timeoutMs, gzip: isCompressed } = this.#plan
    const plain = Buffer.from(`[${texts.join(',')}]`)
    const body = isCompressed ? await compress(plain) : plain
    // The same messages have the same id, so that a server recognises a batch that comes again.
    const id = `${this.#hubId}-${this.#name}-${messages[0]?.sequence}-${messages.at(-1)?.sequence}-${messages.length}`
    const ended = new AbortController()
    const end = () => ended.abort()
    let isLate = false
    const timer = setTimeout(() => {
      isLate = true
      end()
    }, timeoutMs)
    signal.addEventListener('abort', end)
    if (signal.aborted) end()
    try {
      return await call({
        url: this.#url,
        method: 'POST',
        headers: {
          ...headers,
          'content-type': 'application/json',
          ...(isCompressed && { 'content-encoding': 'gzip' }),
          ...webhookHeaders(id, secret, body),
        },
        body,
        signal: ended.signal,
        agent: this.#agent,
      })
    } catch (error) {
      if (isLate) throw new HubError('outlet_unavailable', `no answer within ${timeoutMs / 1_000} s`)
      throw error
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
    }
  }
}

/** Returns why the messages of a request are refused; undefined when they are taken. Throws when they may be later. */
function refusalOf({ status, text, retryAfterMs }: CallAnswer): Rejection | undefined {
  if (status >= 200 && status < 300) return undefined
  const said = text.replace(/\s+/g, ' ').trim()
  const sentence = `answers with ${status}${said ? `: ${said}` : ''}`
  if (refusals.includes(status)) return { reason: `http_${status}`, detail: sentence }
  const why = status >= 300 && status < 400 ? `${sentence}; redirects are not followed` : sentence
  throw new HubError('outlet_unavailable', why, { retryAfterMs })
}
