import { describe } from '../errors.js'
import { inletClientId, type Message, maxHops, type Outcome, type QoS } from '../model.js'
import { decodeProperties, encodeProperties, maxPropertyBytes, viaProperty } from '../mqtt/message-properties.js'
import type { Outlet } from '../queue/queue.js'
import { type RemoteAddress, RemotePublisher, RemoteRefusal } from '../remote/remote-broker.js'
import { publishFault } from '../topics.js'

export interface MqttOutletPlan {
  /** The client id is empty where the settings name none. */
  readonly address: RemoteAddress
  readonly qos: QoS
  /** Whether the retain flag goes along. */
  readonly retain: boolean
  /** Beginning of topics that is taken away, and text that is put before them. */
  readonly strip: string
  readonly prefix: string
}

const ignored: Outcome = 'ignored'

/**
 * Publishes to another MQTT broker, in order. After a lost connection all that was not acknowledged is published again,
 * over a new one.
 */
export class MqttOutlet implements Outlet {
  readonly #plan: MqttOutletPlan
  readonly #hubId: string
  readonly #address: RemoteAddress
  /** Client of what came from the same broker, through the inlet of the same name. */
  readonly #back: string
  #publisher: RemotePublisher | undefined

  constructor(plan: MqttOutletPlan, name: string, hubId: string) {
    this.#plan = plan
    this.#hubId = hubId
    this.#back = inletClientId(name)
    this.#address = { ...plan.address, clientId: plan.address.clientId || `telehub-${hubId}-${name}-out` }
  }

  async deliver(messages: readonly Message[], signal: AbortSignal): Promise<readonly Outcome[]> {
    if (!this.#publisher || this.#publisher.isLost)
      this.#publisher = await RemotePublisher.connect(this.#address, signal)
    const publisher = this.#publisher
    const stopped = () => void publisher.close()
    signal.addEventListener('abort', stopped, { once: true })
    try {
      const now = Date.now() * 1_000
      const all = await Promise.allSettled(messages.map(message => this.#send(publisher, message, now)))
      const lost = all.find(one => one.status === 'rejected')
      // What is acknowledged before the first that is not is done; the rest is published again, in its order.
      const first = all.indexOf(lost as (typeof all)[number])
      if (lost && first === 0) throw lost.reason
      return all.map((one, i) => (one.status === 'fulfilled' && (first < 0 || i < first) ? one.value : 'retry'))
    } finally {
      signal.removeEventListener('abort', stopped)
    }
  }

  async close(): Promise<void> {
    await this.#publisher?.close()
  }

  async #send(publisher: RemotePublisher, message: Message, now: number): Promise<Outcome> {
    const { strip, prefix } = this.#plan
    const { topic, payload, retain, expiresAt, properties, clientId } = message
    if (clientId === this.#back || (expiresAt !== undefined && expiresAt <= now)) return ignored
    if (strip !== '' && !topic.startsWith(strip)) return ignored
    const there = `${prefix}${topic.slice(strip.length)}`
    const fault = publishFault(there)
    if (fault) return { reason: 'bad_topic', detail: fault }
    const via = this.#via(properties)
    if (via === 'ignored') return ignored
    const outward = { topic: there, payload, qos: this.#plan.qos, retain: retain && this.#plan.retain, expiresAt }
    try {
      await publisher.publish({ ...outward, properties: via }, now)
      return 'ack'
    } catch (error) {
      if (error instanceof RemoteRefusal) return { reason: 'refused_by_broker', detail: describe(error) }
      throw error
    }
  }

  /** Returns the properties with this hub among those that the message has passed; `ignored` for one that was here before. */
  #via(encoded: Buffer | undefined): Buffer | undefined | 'ignored' {
    const found = (encoded && decodeProperties(encoded)) ?? {}
    const { userProperties = [] } = found
    const passed = userProperties.filter(([name]) => name === viaProperty)
    if (passed.length >= maxHops || passed.some(([, hub]) => hub === this.#hubId)) return 'ignored'
    const more = encodeProperties({ ...found, userProperties: [...userProperties, [viaProperty, this.#hubId]] })
    return more && more.length <= maxPropertyBytes ? more : encoded
  }
}
