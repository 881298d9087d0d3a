import type { Outward } from '../model.js'
import type { Counters } from '../observe/counters.js'
import type { MicrosecondClock } from '../runtime/time.js'
import type { Sessions } from '../sessions/sessions.js'
import type { Presence } from './presence.js'
import { SysTopics } from './statistics.js'

/** Distributes messages of the hub. Implemented by `Broker`. */
export interface OutwardPublisher {
  publish(message: Outward): void
}

export interface SysPublisherOptions {
  readonly version: string
  /** Interval in milliseconds; 0 is never. */
  readonly intervalMs: number
  readonly sessions: Pick<Sessions, 'counts'>
  readonly presence: Presence
  readonly counters: Counters
  readonly broker: OutwardPublisher
  readonly clock: MicrosecondClock
}

/** Publishes `$SYS`, at even intervals, those values that have changed. */
export class SysPublisher {
  /** Sessions that ended as they were absent for too long. */
  expired = 0
  readonly #options: SysPublisherOptions
  readonly #topics = new SysTopics()
  readonly #sent = new Map<string, string>()
  readonly #startedAt = performance.now()
  #timer: NodeJS.Timeout | undefined

  constructor(options: SysPublisherOptions) {
    this.#options = options
  }

  start(): void {
    const { intervalMs } = this.#options
    if (intervalMs === 0) return
    this.#publish()
    this.#timer = setInterval(() => this.#publish(), intervalMs).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #publish(): void {
    const { clock, counters, presence, broker, sessions, version } = this.#options
    const { traffic, received, receivedBytes, dropped } = counters
    const { absent, subscriptions, retained } = sessions.counts
    const topics = this.#topics.at(clock.now() / 1_000, {
      version: `telehub ${version}`,
      uptimeSeconds: (performance.now() - this.#startedAt) / 1_000,
      clients: {
        connected: presence.count,
        disconnected: absent,
        maximum: presence.maximum,
        expired: this.expired,
      },
      subscriptions,
      retained,
      packets: { received: traffic.packetsIn, sent: traffic.packetsOut },
      publishes: {
        received: received[0] + received[1] + received[2],
        sent: traffic.publishesOut,
        dropped,
        bytesReceived: receivedBytes,
      },
      bytes: { received: traffic.bytesIn, sent: traffic.bytesOut },
      heapBytes: process.memoryUsage().heapUsed,
    })
    for (const [topic, value] of topics) {
      if (this.#sent.get(topic) === value) continue
      this.#sent.set(topic, value)
      broker.publish({ topic, payload: Buffer.from(value), qos: 0, retain: true })
    }
  }
}
