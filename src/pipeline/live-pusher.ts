import type { Message, Outcome, Reading, Rejection } from '../model.js'
import { dropOldest } from '../runtime/drop-oldest.js'
import { hubTopics } from '../topics.js'
import { TopicTree } from './explore/topic-tree.js'
import { TopicWatch } from './explore/topic-watch.js'
import type { ReadingJson, RefusedReading } from './feeds/reading-json.js'
import { TopicBook } from './home/topic-book.js'
import type { Mapping } from './mapping.js'
import type { Registry } from './registry.js'
import { readingTopic } from './sparkplug/topic.js'

/** A retained message of the hub for the screen. */
export interface Push {
  readonly topic: string
  /** JSON payload. Empty to remove the retained message. */
  readonly json: string
}

/** Delivers pushes to subscribers. */
export interface LiveDelivery {
  /**
   * Resolves when the broker has the pushes. The next batch waits, so the busier the hub, the fewer pushes per topic.
   */
  push(pushes: readonly Push[]): Promise<void>
}

export interface LivePusherOptions {
  readonly mapping: Pick<Mapping, 'read'>
  readonly registry: Registry
  readonly json: ReadingJson
  readonly delivery: LiveDelivery
}

/** Most characters of pushes that are held before they are sent. */
const maxHeld = 4e6

const pushedAtOnce = 1_000

/** The newest message of a topic that was not stored as it is, and why. */
interface Mark {
  readonly sequence: number
  readonly refused: RefusedReading
}

/** Most topics with a mark. */
const maxMarks = 10_000

/** Longest detail in a push. */
const maxMarkDetail = 500

/**
 * Keeps the registry, and pushes the newest reading of each topic to `$hub/last/{topic}` for the screen. Of the
 * messages of one topic in a batch only the newest is decoded and pushed, and of one series only the newest value.
 *
 * The push tells the truth about the store: values are named by the field that they are stored in, and a topic whose
 * newest message was not stored says so (`refused`), until one is stored again.
 */
export class LivePusher {
  readonly #options: LivePusherOptions
  /** Last readings from before the start that are still to be pushed, the next one last. */
  #known: (readonly [topic: string, json: string, client: string])[] = []
  #pushing: Promise<void> | undefined
  readonly #marks = new Map<string, Mark>()
  /** The fields of the topics that are pushed. */
  readonly topics = new TopicBook()
  /** All topics, also those of messages that are no readings. */
  readonly tree: TopicTree
  readonly watch = new TopicWatch()

  constructor(options: LivePusherOptions) {
    this.#options = options
    this.tree = new TopicTree(options.registry.sharing)
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
        await this.#options.delivery.push(some.map(([topic, json]) => ({ topic: hubTopics.last(topic), json })))
        this.#known.length -= some.length
      }
    })().finally(() => {
      this.#pushing = undefined
    })
    return this.#pushing
  }

  async handle(messages: readonly Message[]): Promise<undefined> {
    const { mapping, registry, delivery } = this.#options
    if (this.#known.length > 0) await this.#pushKnown()
    const newest = new Map<string, Message>()
    for (const message of messages) {
      registry.recordMessage(message)
      this.tree.observe(message)
      this.watch.observe(message)
      newest.set(message.topic, message)
    }
    let pushes: Push[] = []
    let held = 0
    for (const message of newest.values()) {
      if (registry.cleared.isBefore(readingTopic(message.topic), message.sequence)) continue
      const reading = mapping.read(message)
      if (message.retain && message.payload.length === 0) {
        this.#marks.delete(message.topic)
        if (registry.clearLastReading(message.topic)) pushes.push({ topic: hubTopics.last(message.topic), json: '' })
        this.topics.forget(message.topic)
        continue
      }
      if ('reason' in reading) continue
      registry.noteClock(message.clientId, readingTopic(message.topic), reading.clockError)
      if (!this.#isShown(reading)) continue
      const topic = readingTopic(message.topic)
      const json = this.#options.json.encode(reading, { refused: this.#marks.get(topic)?.refused }) as string
      this.topics.observe(topic, reading)
      for (const forgotten of registry.setLastReading(topic, json, message.user, message.clientId)) {
        pushes.push({ topic: hubTopics.last(forgotten), json: '' })
        this.topics.forget(forgotten)
      }
      pushes.push({ topic: hubTopics.last(topic), json })
      held += json.length
      if (held < maxHeld) continue
      await delivery.push(pushes)
      pushes = []
      held = 0
    }
    if (pushes.length > 0) await delivery.push(pushes)
    return undefined
  }

  /** Returns why the newest message of a topic is not stored as it is. Undefined: it is. */
  refusedOf(topic: string): RefusedReading | undefined {
    return this.#marks.get(topic)?.refused
  }

  /** Whether a reading changes a tile. That there is no value is shown where there was one. */
  #isShown({ message, points, absent }: Reading): boolean {
    return (
      points.length > 0 ||
      (absent !== undefined && this.#options.registry.lastReading(readingTopic(message.topic)) !== undefined)
    )
  }

  /** Called when the fate of messages is known: marks the topics of which a message was not stored as it is. */
  async judged(messages: readonly Message[], outcomes: readonly Outcome[]): Promise<void> {
    const { registry, delivery } = this.#options
    const changed = new Set<string>()
    for (const [i, { topic: own, sequence, hub, payload }] of messages.entries()) {
      const outcome = outcomes[i] ?? 'ack'
      // The pushes of another hub are its own, and an empty message says nothing of the ones before.
      if (hub !== undefined || outcome === 'retry' || payload.length === 0) continue
      this.tree.judge(own, outcome)
      const topic = readingTopic(own)
      const mark = this.#marks.get(topic)
      if (mark && sequence < mark.sequence) continue
      // A message that a rule ignores is not refused.
      if (outcome === 'ack' || outcome === 'ignored') {
        if (this.#marks.delete(topic)) changed.add(topic)
        continue
      }
      const refused = markOf(outcome)
      this.#marks.set(topic, { sequence, refused })
      if (!mark || JSON.stringify(mark.refused) !== JSON.stringify(refused)) changed.add(topic)
      dropOldest(this.#marks, maxMarks)
    }
    if (changed.size === 0) return
    if (this.#known.length > 0) await this.#pushKnown()
    const pushes: Push[] = []
    for (const topic of changed) {
      this.topics.changed(topic)
      const before = registry.lastReading(topic)
      if (before === undefined) continue
      const { refused: _, ...reading } = JSON.parse(before) as { readonly refused?: unknown }
      const json = JSON.stringify({ ...reading, refused: this.#marks.get(topic)?.refused })
      if (json === before) continue
      registry.amendLastReading(topic, json)
      pushes.push({ topic: hubTopics.last(topic), json })
    }
    if (pushes.length > 0) await delivery.push(pushes)
  }
}

function markOf({ reason, detail, fields }: Rejection): RefusedReading {
  return { reason, detail: detail.slice(0, maxMarkDetail), ...(fields && { fields }) }
}
