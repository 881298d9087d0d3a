import { hubTopics } from '../topics.js'
import type { LiveFeeds } from './feeds/live-feeds.js'
import type { Knowledge } from './knowledge.js'
import type { LiveDelivery } from './live-pusher.js'
import type { DescribedDevice, RemovedClient, RemovedDevice } from './pipeline-api.js'
import type { Registry } from './registry.js'

/** How far the live consumer is, which fills the registry. Implemented by `SpoolProgress`. */
export interface LiveProgress {
  /** Resolves when everything accepted before the call has been handled, or that takes too long. */
  caughtUp(): Promise<void>
}

export interface DeviceRemovalOptions {
  readonly registry: Registry
  readonly knowledge: Knowledge
  readonly delivery: LiveDelivery
  readonly progress: LiveProgress
  readonly feeds: Pick<LiveFeeds, 'clear'>
}

const pushedAtOnce = 1_000

/** Removes devices that are gone from the lists, with their newest readings. What is stored stays. */
export class DeviceRemoval {
  readonly #registry: Registry
  readonly #knowledge: Knowledge
  readonly #delivery: LiveDelivery
  readonly #progress: LiveProgress
  readonly #feeds: Pick<LiveFeeds, 'clear'>

  constructor({ registry, knowledge, delivery, progress, feeds }: DeviceRemovalOptions) {
    this.#registry = registry
    this.#knowledge = knowledge
    this.#delivery = delivery
    this.#progress = progress
    this.#feeds = feeds
  }

  /** Removes a client, and the readings and descriptions of the topics whose retained messages were cleared. */
  async client({ clientId, user, cleared }: RemovedClient): Promise<RemovedDevice> {
    // A message of the client that is handled later would bring it back.
    await this.#progress.caughtUp()
    const topics = [...new Set([...this.#registry.topicsOf(clientId, user), ...cleared])]
    const isKnown = this.#registry.removeDevice(clientId, user)
    for (const topic of cleared) this.#knowledge.describe(topic, [])
    const readings = await this.#clear(topics)
    return { isKnown: isKnown || readings > 0, topics, readings }
  }

  /** Removes a device that others describe. */
  async described({ source, id }: DescribedDevice): Promise<RemovedDevice> {
    await this.#progress.caughtUp()
    const topics = this.#knowledge.forget(source, id)
    return { isKnown: topics !== undefined, topics: topics ?? [], readings: await this.#clear(topics ?? []) }
  }

  /** Returns how many of the topics had a reading. */
  async #clear(topics: readonly string[]): Promise<number> {
    const last = this.#registry.next - 1
    const cleared = topics.filter(topic => this.#registry.clearLastReading(topic))
    for (let i = 0; i < cleared.length; i += pushedAtOnce) {
      const some = cleared.slice(i, i + pushedAtOnce)
      await this.#delivery.push(some.map(topic => ({ topic: hubTopics.last(topic), json: '' })))
      await this.#feeds.clear(some, last)
    }
    await this.#registry.flush()
    return cleared.length
  }
}
