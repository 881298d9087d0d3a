import { randomBytes } from 'node:crypto'
import { describe } from '../errors.js'
import { decodeProperties } from '../mqtt/message-properties.js'
import type { Part } from '../runtime/lifecycle.js'
import type { SentenceLog } from './log.js'

/*
 * Spans of OpenTelemetry for messages that carry a W3C `traceparent`, sent as OTLP/HTTP in JSON
 * (opentelemetry.io/docs/specs/otlp, opentelemetry-proto 1.x): ids in hexadecimal, 64-bit numbers as strings, enumerations as
 * numbers. A collector that is slow, full or gone delays nothing: spans wait in a bounded queue, and the oldest go first.
 */

/** The place of a span in a trace, as W3C Trace Context §3.2 writes it. */
export interface TraceParent {
  /** 32 hexadecimal digits. */
  readonly traceId: string
  /** 16 hexadecimal digits: the span that sent the message. */
  readonly spanId: string
  readonly isSampled: boolean
}

/** Parses a `traceparent`. Undefined for one that W3C Trace Context §3.2.2 does not allow. */
export function parseTraceParent(text: string): TraceParent | undefined {
  const [, version, traceId = '', spanId = '', flags = '', rest] =
    /^([\da-f]{2})-([\da-f]{32})-([\da-f]{16})-([\da-f]{2})(-.*)?$/.exec(text) ?? []
  // Later versions may have more behind the flags, version 00 not.
  if (version === undefined || version === 'ff' || (version === '00' && rest !== undefined)) return undefined
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined
  return { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & 1) === 1 }
}

/** Spelling of the name in the bytes of nearly all messages that have one (W3C Trace Context MQTT: lower case). */
const header = Buffer.from('traceparent')

export const isTraceParent = (name: string) => name.toLowerCase() === 'traceparent'

/** Returns the trace that a message is part of, by its MQTT 5 user property `traceparent`. */
export function traceOf({ properties }: { readonly properties?: Uint8Array | undefined }): TraceParent | undefined {
  // Most messages have none: decoding them all would cost more than all the rest.
  if (!properties || !Buffer.from(properties.buffer, properties.byteOffset, properties.length).includes(header)) return
  const { userProperties = [] } = decodeProperties(Buffer.from(properties)) ?? {}
  const text = userProperties.find(([name]) => isTraceParent(name))?.[1]
  return text === undefined ? undefined : parseTraceParent(text)
}

/** Writes what {@link parseTraceParent} reads, for a trace that is sampled. */
export function writeTraceParent({ traceId }: TraceParent, spanId: string): string {
  return `00-${traceId}-${spanId}-01`
}

export function newSpanId(): string {
  return randomBytes(8).toString('hex')
}

/** One step of a message. */
export interface TraceSpan {
  readonly parent: TraceParent
  /** Default: a new one. */
  readonly spanId?: string | undefined
  readonly name: string
  /** Default: `consumer`. */
  readonly kind?: keyof typeof kinds
  /** Microseconds since the epoch. */
  readonly from: number
  readonly to: number
  readonly attributes: Readonly<Record<string, string | number>>
  /** Why the step failed. */
  readonly error?: string | undefined
}

/** Hears how many spans were lost. */
export interface SpanLosses {
  spansLost(count: number): void
}

export interface SpanExporterOptions {
  /** Address of the collector, such as http://127.0.0.1:4318. */
  readonly url: string
  /** Percent of the sampled traces whose spans are sent. */
  readonly percent: number
  readonly losses: SpanLosses
  readonly log: Pick<SentenceLog, 'warn' | 'info'>
  /** Time between two attempts to send, in milliseconds. */
  readonly everyMs?: number
}

const maxWaiting = 8_192
const maxInRequest = 512
const requestMs = 10_000
const longestPauseMs = 30_000
/** Statuses after which the same request may succeed: OTLP/HTTP, "Retryable Response Codes". */
const retryable = [429, 502, 503, 504]
/** SPAN_KIND_PRODUCER, SPAN_KIND_CONSUMER and STATUS_CODE_ERROR of opentelemetry-proto. */
const kinds = { producer: 4, consumer: 5 } as const
const errorStatus = 2

/** Sends spans to a collector. */
export class SpanExporter implements Part {
  readonly name = 'OpenTelemetry'
  readonly #options: SpanExporterOptions
  readonly #url: string
  readonly #everyMs: number
  readonly #waiting: object[] = []
  readonly #abort = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #sending: Promise<void> | undefined
  #pauseMs: number
  #isFailing = false
  #isStopped = false

  constructor(options: SpanExporterOptions) {
    this.#options = options
    this.#url = /\/v1\/traces$/.test(options.url) ? options.url : `${options.url.replace(/\/$/, '')}/v1/traces`
    this.#everyMs = options.everyMs ?? 1_000
    this.#pauseMs = this.#everyMs
  }

  start(): void {
    this.#next()
  }

  /** Sends what waits once more, and no longer than a second. */
  async stop(): Promise<void> {
    this.#isStopped = true
    clearTimeout(this.#timer)
    const tooLong = setTimeout(() => this.#abort.abort(), 1_000)
    await this.#sending
    await this.#send()
    clearTimeout(tooLong)
    this.#lose(this.#waiting.length)
  }

  /** Whether spans of this trace are sent: the sender has sampled the trace, and the trace is in the share. */
  takes({ traceId, isSampled }: TraceParent): boolean {
    // All hubs decide alike, as the last digits of a trace id are random (W3C Trace Context §5).
    return isSampled && Number.parseInt(traceId.slice(-8), 16) < (this.#options.percent / 100) * 2 ** 32
  }

  add({ parent, spanId = newSpanId(), name, kind = 'consumer', from, to, attributes, error }: TraceSpan): void {
    if (this.#waiting.length >= maxWaiting) this.#lose(1)
    this.#waiting.push({
      traceId: parent.traceId,
      spanId,
      parentSpanId: parent.spanId,
      name,
      kind: kinds[kind],
      startTimeUnixNano: nanoseconds(from),
      endTimeUnixNano: nanoseconds(Math.max(from, to)),
      attributes: attributesOf(attributes),
      ...(error !== undefined && { status: { code: errorStatus, message: error } }),
    })
  }

  #next(): void {
    if (this.#isStopped) return
    this.#timer = setTimeout(() => {
      this.#sending = this.#send().finally(() => this.#next())
    }, this.#pauseMs).unref()
  }

  async #send(): Promise<void> {
    while (this.#waiting.length > 0 && !this.#abort.signal.aborted) {
      const spans = this.#waiting.splice(0, maxInRequest)
      const { isSent, mayRetry, why } = await this.#post(spans)
      if (isSent) {
        this.#works()
        continue
      }
      this.#failed(why)
      if (mayRetry) {
        this.#waiting.unshift(...spans)
        this.#lose(this.#waiting.length - maxWaiting)
        return
      }
      this.#options.losses.spansLost(spans.length)
    }
  }

  async #post(spans: readonly object[]): Promise<{ isSent: boolean; mayRetry: boolean; why: string }> {
    const resource = { attributes: attributesOf({ 'service.name': 'telehub' }) }
    const body = JSON.stringify({ resourceSpans: [{ resource, scopeSpans: [{ scope: { name: 'telehub' }, spans }] }] })
    try {
      const response = await fetch(this.#url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
        redirect: 'error',
        signal: AbortSignal.any([this.#abort.signal, AbortSignal.timeout(requestMs)]),
      })
      const answer = await response.text()
      if (response.ok) this.#partly(answer)
      return { isSent: response.ok, mayRetry: retryable.includes(response.status), why: `status ${response.status}` }
    } catch (error) {
      return { isSent: false, mayRetry: true, why: describe((error as { cause?: unknown }).cause ?? error) }
    }
  }

  /** Counts spans that the collector has refused, of a request that it has taken. */
  #partly(answer: string): void {
    try {
      const { partialSuccess } = JSON.parse(answer) as { partialSuccess?: { rejectedSpans?: string | number } }
      const refused = Number(partialSuccess?.rejectedSpans ?? 0)
      if (refused > 0) this.#options.losses.spansLost(refused)
    } catch {
      // Some collectors answer with no JSON.
    }
  }

  #failed(why: string): void {
    this.#pauseMs = Math.min(longestPauseMs, this.#pauseMs * 2)
    if (this.#isFailing) return
    this.#isFailing = true
    this.#options.log.warn(`otel.url: ${this.#url} takes no spans (${why}); messages go on, and spans wait or are lost`)
  }

  #works(): void {
    this.#pauseMs = this.#everyMs
    if (this.#isFailing) this.#options.log.info(`otel.url: ${this.#url} takes spans again`)
    this.#isFailing = false
  }

  #lose(count: number): void {
    if (count <= 0) return
    this.#waiting.splice(0, count)
    this.#options.losses.spansLost(count)
  }
}

/** Microseconds as nanoseconds, in the form of a 64-bit number in JSON. */
function nanoseconds(microseconds: number): string {
  return `${Math.round(microseconds)}000`
}

function attributesOf(attributes: Readonly<Record<string, string | number>>): object[] {
  return Object.entries(attributes).map(([key, value]) => ({
    key,
    value: typeof value === 'string' ? { stringValue: value } : { intValue: String(value) },
  }))
}
