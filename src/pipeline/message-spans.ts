import type { Settings } from '../config/settings.js'
import type { Message } from '../model.js'
import { decodeProperties, encodeProperties } from '../mqtt/message-properties.js'
import type { SentenceLog } from '../observe/log.js'
import {
  isTraceParent,
  newSpanId,
  SpanExporter,
  type SpanLosses,
  type TraceParent,
  type TraceSpan,
  traceOf,
  writeTraceParent,
} from '../observe/otel.js'
import type { Ledger, Settled } from '../queue/queue.js'
import { type MicrosecondClock, machineClock } from '../runtime/time.js'

/** Takes spans. Implemented by `SpanExporter`. */
export interface SpanSink {
  takes(parent: TraceParent): boolean
  add(span: TraceSpan): void
}

/** Makes what sends spans. Undefined without `otel.url`. */
export function spansOf(settings: Settings, broker: SpanLosses & SentenceLog): SpanExporter | undefined {
  const { 'otel.url': url, 'otel.percent': percent } = settings
  return url ? new SpanExporter({ url, percent, losses: broker, log: broker }) : undefined
}

/** A message that is handed on, with the trace that the next hop continues. */
interface HandedOn {
  readonly message: Message
  readonly spanId?: string
}

/** Makes a span of each step of messages that are part of a trace: from their receipt until the step is done. */
export class MessageSpans {
  readonly #sink: SpanSink
  readonly #clock: MicrosecondClock

  constructor(sink: SpanSink, clock: MicrosecondClock = machineClock) {
    this.#sink = sink
    this.#clock = clock
  }

  /** Returns a message as it is handed on: its `traceparent` names the span of this step, which is added later. */
  handedOn(message: Message): HandedOn {
    const parent = this.#traceOf(message)
    const properties = parent && decodeProperties(Buffer.from(message.properties ?? []))
    if (!parent || !properties) return { message }
    const spanId = newSpanId()
    const userProperties = (properties.userProperties ?? []).map(([name, value]): [string, string] =>
      isTraceParent(name) ? [name, writeTraceParent(parent, spanId)] : [name, value],
    )
    const encoded = encodeProperties({ ...properties, userProperties })
    return { message: { ...message, ...(encoded && { properties: encoded }) }, spanId }
  }

  /** Adds the span of a step that is done. */
  passed(
    name: string,
    message: Message,
    { spanId, error }: { spanId?: string | undefined; error?: string | undefined } = {},
  ) {
    const parent = this.#traceOf(message)
    if (!parent) return
    const { topic, clientId, sequence, payload, receivedAt: from } = message
    const attributes = {
      'messaging.system': 'mqtt',
      'messaging.destination.name': topic,
      'messaging.client.id': clientId,
      'messaging.message.body.size': payload.length,
      'telehub.sequence': sequence,
    }
    this.#sink.add({ parent, spanId, name, from, to: this.#clock.now(), attributes, error })
  }

  /** Hands messages on, and adds the span of each once `act` is done. Resolves and rejects as `act` does. */
  async around<Result>(
    name: string,
    messages: readonly Message[],
    act: (messages: readonly Message[]) => Promise<Result>,
  ): Promise<Result> {
    const handed = messages.map(message => this.handedOn(message))
    const result = await act(handed.map(({ message }) => message))
    for (const [i, { spanId }] of handed.entries()) this.passed(name, messages[i] as Message, { spanId })
    return result
  }

  #traceOf(message: Message): TraceParent | undefined {
    const trace = traceOf(message)
    return trace && this.#sink.takes(trace) ? trace : undefined
  }
}

/** A ledger that makes a span of each message, once its outcome is durable. */
export class TracedLedger implements Ledger {
  readonly #ledger: Ledger
  readonly #spans: MessageSpans

  constructor(ledger: Ledger, spans: MessageSpans) {
    this.#ledger = ledger
    this.#spans = spans
  }

  unsettled(messages: readonly Message[]): readonly Message[] {
    return this.#ledger.unsettled(messages)
  }

  async settle(settled: readonly Settled[]): Promise<void> {
    await this.#ledger.settle(settled)
    for (const { message, rejection } of settled)
      this.#spans.passed('telehub store', message, { error: rejection?.reason })
  }
}
