import { type FieldValue, type Message, type Point, type Reading, seriesKey } from '../model.js'
import { hubTopics } from '../topics.js'
import type { Mapping } from './mapping.js'
import type { Registry } from './registry.js'
import { readingTopic } from './sparkplug/topic.js'

/** A retained message of the hub for the screen. */
export interface Push {
  readonly topic: string
  /** JSON payload. Empty to remove the retained message. */
  readonly json: string
}

export interface LivePusherOptions {
  readonly mapping: Mapping
  readonly registry: Registry
  /**
   * Resolves when the broker has the pushes. The next batch waits, so the busier the hub, the fewer pushes per topic.
   */
  readonly push: (pushes: readonly Push[]) => Promise<void>
}

/**
 * Most characters of one push. Values beyond are in the store alone. Each value contains names, so a small batch grows
 * large.
 */
const maxPushed = 100_000

/** Most series of one push that are named as having no value. */
const maxAbsent = 100

/** Most characters of pushes that are held before they are sent. */
const maxHeld = 4e6

const pushedAtOnce = 1_000

/**
 * Keeps the registry, and pushes the newest reading of each topic to `$hub/last/{topic}` for the screen. Of the
 * messages of one topic in a batch only the newest is decoded and pushed, and of one series only the newest value.
 */
export class LivePusher {
  readonly #options: LivePusherOptions
  /** Last readings from before the start that are still to be pushed, the next one last. */
  #known: (readonly [topic: string, json: string])[] = []
  #pushing: Promise<void> | undefined

  constructor(options: LivePusherOptions) {
    this.#options = options
  }

  /**
   * Begins to push the last readings known from before the start, so that a dashboard need not wait until every device
   * sends. New readings wait until these are pushed.
   */
  start(): void {
    this.#known = [...this.#options.registry.last()].reverse()
    // A push that fails is tried again before the next reading.
    this.#pushKnown().catch(() => {})
  }

  #pushKnown(): Promise<void> {
    this.#pushing ??= (async () => {
      while (this.#known.length > 0) {
        const some = this.#known.slice(-pushedAtOnce).reverse()
        await this.#options.push(some.map(([topic, json]) => ({ topic: hubTopics.last(topic), json })))
        this.#known.length -= some.length
      }
    })().finally(() => {
      this.#pushing = undefined
    })
    return this.#pushing
  }

  async handle(messages: readonly Message[]): Promise<undefined> {
    const { mapping, registry, push } = this.#options
    if (this.#known.length > 0) await this.#pushKnown()
    const newest = new Map<string, Message>()
    for (const message of messages) {
      registry.recordMessage(message)
      newest.set(message.topic, message)
    }
    let pushes: Push[] = []
    let held = 0
    for (const message of newest.values()) {
      const reading = mapping.read(message)
      if ('reason' in reading || !this.#isShown(reading)) continue
      const json = this.#toJson(reading)
      const topic = readingTopic(message.topic)
      for (const forgotten of registry.setLastReading(topic, json, message.user)) {
        pushes.push({ topic: hubTopics.last(forgotten), json: '' })
      }
      pushes.push({ topic: hubTopics.last(topic), json })
      held += json.length
      if (held < maxHeld) continue
      await push(pushes)
      pushes = []
      held = 0
    }
    if (pushes.length > 0) await push(pushes)
    return undefined
  }

  /** Whether a reading changes a tile. That there is no value is shown where there was one. */
  #isShown({ message, points, absent }: Reading): boolean {
    return points.length > 0 || (absent !== undefined && this.#options.registry.hasReading(readingTopic(message.topic)))
  }

  #toJson({ message, points, quality, absent, clockError }: Reading): string {
    const newest = new Map<string, { point: Point; field: string; value: FieldValue }>()
    for (const point of points) {
      for (const [field, value] of point.fields) {
        const series = seriesKey({ measurement: point.measurement, tags: point.tags, field })
        if (point.time >= (newest.get(series)?.point.time ?? -Infinity)) newest.set(series, { point, field, value })
      }
    }
    const values: string[] = []
    let length = 0
    for (const [series, { point, field, value }] of newest) {
      const { measurement, tags } = point
      const unit = this.#options.mapping.unit({ measurement, field }, readingTopic(message.topic))
      const json = JSON.stringify({ series, measurement, tags: Object.fromEntries(tags), field, value, unit })
      length += json.length
      if (values.length > 0 && length > maxPushed) break
      values.push(json)
    }
    const received = message.receivedAt / 1_000
    const newestTime = points.reduce((latest, point) => Math.max(latest, point.time), 0) / 1_000
    const head = JSON.stringify({
      topic: readingTopic(message.topic),
      time: points.length > 0 ? newestTime : received,
      received,
      quality,
      ...(clockError !== undefined && { clockError: clockError / 1_000 }),
      ...(absent && { absent: absent.slice(0, maxAbsent).map(seriesKey) }),
    })
    return `${head.slice(0, -1)},"values":[${values.join(',')}]}`
  }
}
