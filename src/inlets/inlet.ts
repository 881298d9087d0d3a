import { readFileSync } from 'node:fs'
import { replaceFile } from '../disk/replace-file.js'
import { describe, HubError } from '../errors.js'
import { inletClientId, maxHops, type Outward } from '../model.js'
import { maxPropertyBytes } from '../mqtt/message-properties.js'
import type { SentenceLog } from '../observe/log.js'
import {
  type RemoteFilter,
  type RemoteMessage,
  type RemoteReceiver,
  RemoteSubscriber,
} from '../remote/remote-broker.js'
import type { Backpressure } from '../runtime/backpressure.js'
import { matches } from '../topics.js'
import type { InletPlan } from './plan.js'

/** Publishes what comes from other brokers, by the rules of a user. */
export interface InletPublisher {
  /**
   * Resolves when the message is on disk. Rejects with `forbidden` when the user may not publish it, and with another
   * error when it is not kept: then it is to be published again.
   */
  publishFrom(clientId: string, user: string, message: Outward): Promise<void>
}

/** What became of the messages of an inlet since the start. */
export interface InletCounts {
  taken: number
  /** Messages that the rules of the user do not allow, that are too large, or whose topic none may have. */
  refused: number
  /** Messages that had passed this hub before, or too many others. */
  looped: number
}

export interface InletOptions {
  readonly plan: InletPlan
  readonly hubId: string
  readonly publisher: InletPublisher
  /** What may ask that nothing more is read. */
  readonly backpressure: readonly Pick<Backpressure, 'overloaded'>[]
  /** Largest payload with its topic: limits.packet. */
  readonly packetBytes: number
  /** File that holds to what the hub has subscribed. */
  readonly path: string
  readonly log: SentenceLog
}

const dollar = 36

/** One inlet: a session at another broker, whose messages are published here. */
export class Inlet implements RemoteReceiver {
  readonly counts: InletCounts = { taken: 0, refused: 0, looped: 0 }
  readonly plan: InletPlan
  readonly #options: InletOptions
  readonly #clientId: string
  readonly #subscriber: RemoteSubscriber
  /** Why there is no connection, or not all of the subscriptions. Undefined while all is well. */
  #trouble: string | undefined = 'not connected yet'
  #isConnected = false
  /** Filters at which something is refused were named once. */
  #named = ''

  constructor(options: InletOptions) {
    const { plan, hubId, packetBytes, path } = options
    this.plan = plan
    this.#options = options
    this.#clientId = inletClientId(plan.name)
    this.#subscriber = new RemoteSubscriber({
      address: { ...plan.address, clientId: plan.address.clientId || `telehub-${hubId}-${plan.name}` },
      filters: plan.topics,
      before: rememberedFilters(path),
      sessionSeconds: plan.sessionMs / 1_000,
      packetBytes,
      receiver: this,
    })
  }

  get isConnected(): boolean {
    return this.#isConnected
  }

  /** Sentence about what is wrong. Undefined while all is well. */
  get trouble(): string | undefined {
    return this.#trouble === undefined ? undefined : `inlet ${this.plan.name} (${this.plan.shown}): ${this.#trouble}`
  }

  start(): void {
    this.#subscriber.start()
  }

  stop(): Promise<void> {
    return this.#subscriber.stop()
  }

  get overloaded(): boolean {
    return this.#options.backpressure.some(({ overloaded }) => overloaded)
  }

  async take(message: RemoteMessage): Promise<void> {
    const { hubId, publisher, packetBytes, log } = this.#options
    const { topic, payload, qos, retain, properties, expiresAt, via } = message
    if (via.includes(hubId) || via.length >= maxHops) {
      this.counts.looped++
      return
    }
    const local = this.#localTopic(topic)
    const isTooLarge =
      payload.length + Buffer.byteLength(local ?? '') > packetBytes || (properties?.length ?? 0) > maxPropertyBytes
    if (local === undefined || local.charCodeAt(0) === dollar || isTooLarge) {
      this.counts.refused++
      return
    }
    const outward = { topic: local, payload, qos, retain, properties, expiresAt }
    try {
      await publisher.publishFrom(this.#clientId, this.plan.user, outward)
      this.counts.taken++
    } catch (error) {
      // What is never allowed is acknowledged, or it would hold up all that follows.
      if (error instanceof HubError && error.code === 'forbidden') {
        this.counts.refused++
        return
      }
      const sentence = `inlet ${this.plan.name}: a message is not kept and will be asked for again: ${describe(error)}`
      if (sentence !== this.#named) log.warn(sentence)
      this.#named = sentence
      throw error
    }
  }

  connected(refused: readonly string[]): void {
    const { plan } = this
    this.#isConnected = true
    this.#trouble = refused.length > 0 ? `the broker refuses subscriptions (${refused.join('; ')})` : undefined
    if (this.#trouble) this.#options.log.warn(this.trouble ?? '')
    else this.#options.log.info(`inlet ${plan.name}: connected to ${plan.shown}`)
  }

  subscribed(filters: readonly RemoteFilter[]): void {
    const { path, log } = this.#options
    const failed = (error: unknown) => log.warn(`inlet ${this.plan.name}: ${describe(error)}`)
    replaceFile(path, `${JSON.stringify(filters)}\n`).catch(failed)
  }

  lost(detail: string): void {
    const wasConnected = this.#isConnected
    const before = this.#trouble
    this.#isConnected = false
    // The end of a connection says less than the error before it.
    if (detail !== 'no connection' || before === undefined) this.#trouble = detail
    if (wasConnected || this.#trouble !== before) this.#options.log.warn(this.trouble ?? '')
  }

  #localTopic(topic: string): string | undefined {
    const map = this.plan.topics.find(({ filter }) => matches(filter, topic))
    if (!map) return undefined
    if (map.strip !== '' && !topic.startsWith(map.strip)) return undefined
    return `${map.prefix}${topic.slice(map.strip.length)}`
  }
}

function rememberedFilters(path: string): readonly RemoteFilter[] {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as readonly RemoteFilter[]
  } catch {
    // Nothing subscribed yet, or a damaged file: all is subscribed to again.
    return []
  }
}
