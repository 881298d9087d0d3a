import type { QoS } from '../model.js'
import type { EncodedPublish } from '../mqtt/publish.js'
import type { Counters } from '../observe/counters.js'
import type { DebugLog } from '../observe/log.js'
import { SpanExporter, traceOf } from '../observe/otel.js'
import type { MicrosecondClock } from '../runtime/time.js'

export interface DeliverySpansOptions {
  /** Address of the collector. */
  readonly url: string
  /** Percent of the sampled traces whose spans are sent. */
  readonly percent: number
  readonly counters: Counters
  readonly clock: MicrosecondClock
  readonly log: DebugLog
}

/**
 * Makes a span of each delivery of a message that is part of a sampled trace: from when the hub has taken the message
 * until it is written to the subscriber. The message keeps the `traceparent` of its publisher. [MQTT-3.3.2-17]
 */
export class DeliverySpans {
  readonly #exporter: SpanExporter
  readonly #clock: MicrosecondClock

  constructor({ url, percent, counters, clock, log }: DeliverySpansOptions) {
    this.#clock = clock
    const spansLost = (count: number) => {
      counters.spansLost += count
    }
    this.#exporter = new SpanExporter({ url, percent, losses: { spansLost }, log })
  }

  start(): void {
    this.#exporter.start()
  }

  async stop(): Promise<void> {
    await this.#exporter.stop()
  }

  /** Adds the span of a message that was written to a client. */
  delivered(clientId: string, message: EncodedPublish, qos: QoS): void {
    const parent = traceOf(message)
    if (!parent || !this.#exporter.takes(parent)) return
    const to = this.#clock.now()
    this.#exporter.add({
      ...{ parent, name: 'telehub deliver', kind: 'producer', to },
      from: message.at === undefined ? to : Math.min(to, message.at * 1_000),
      attributes: {
        'messaging.system': 'mqtt',
        'messaging.destination.name': message.topic,
        'messaging.client.id': clientId,
        'messaging.mqtt.qos': qos,
      },
    })
  }
}
