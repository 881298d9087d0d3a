import type { Message, Outcome, Reading, Rejection } from '../model.js'
import { dropOldest } from '../runtime/drop-oldest.js'
import { hubTopics } from '../topics.js'
import { TopicTree } from './explore/topic-tree.js'
import { TopicWatch } from './explore/topic-watch.js'
import { haveSameFields, withEarlierValues } from './feeds/newest-values.js'
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
 * Keeps the registry, and pushes the newest reading of each topic to `$hub/last/{topic}` for the screen: one push for
 * the messages of a topic in a batch, and of one series only the newest value. Series that the newest message lacks are
 * in the push with their values of earlier messages, so that a push replaces all pushes of the topic before it.
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
    const { registry, delivery } = this.#options
    if (this.#known.length > 0) await this.#pushKnown()
    const byTopic = new Map<string, Message[]>()
    for (const message of messages) {
      registry.recordMessage(message)
      this.tree.observe(message)
      this.watch.observe(message)
      const others = byTopic.get(message.topic)
      if (others) others.push(message)
      else byTopic.set(message.topic, [message])
    }
    let pushes: Push[] = []
    let held = 0
    for (const ofTopic of byTopic.values()) {
      const push = this.#take(ofTopic, pushes)
      if (!push) continue
      pushes.push(push)
      held += push.json.length
      if (held < maxHeld) continue
      await delivery.push(pushes)
      pushes = []
      held = 0
    }
    if (pushes.length > 0) await delivery.push(pushes)
    return undefined
  }

  /**
   * Takes the messages of one topic in a batch, the oldest first. Returns the push of the newest reading. Adds the pushes
   * that remove the readings of topics that are forgotten instead.
   */
  #take(messages: readonly Message[], pushes: Push[]): Push | undefined {
    let push: Push | undefined
    for (const message of this.#neededOf(messages)) push = this.#takeOne(message, pushes) ?? push
    return push
  }

  /** Returns the newest message of a topic, and before it those that may have values of other fields. */
  #neededOf(messages: readonly Message[]): readonly Message[] {
    const newest = messages.at(-1) as Message
    if (messages.length === 1) return messages
    const reading = this.#options.mapping.read(newest)
    const seen = this.topics.get(readingTopic(newest.topic))
    if (seen && !('reason' in reading) && !seen.isWhole(reading.points)) return messages
    return messages.filter(message => message === newest || !haveSameFields(message.payload, newest.payload))
  }

  #takeOne(message: Message, pushes: Push[]): Push | undefined {
    const { mapping, registry } = this.#options
    const topic = readingTopic(message.topic)
    if (registry.cleared.isBefore(topic, message.sequence)) return undefined
    if (message.retain && message.payload.length === 0) {
      this.#marks.delete(message.topic)
      const isKnown = registry.clearLastReading(message.topic)
      this.topics.forget(message.topic)
      return isKnown ? { topic: hubTopics.last(message.topic), json: '' } : undefined
    }
    const reading = mapping.read(message)
    if ('reason' in reading) return undefined
    registry.noteClock(message.clientId, topic, reading.clockError)
    if (!this.#isShown(reading)) return undefined
    this.topics.observe(topic, reading)
    const refused = this.#marks.get(topic)?.refused
    const own = this.#options.json.encode(reading, { refused }) as string
    const before = registry.lastReading(topic)
    const isWhole = before === undefined || this.topics.get(topic)?.isWhole(reading.points)
    const json = isWhole ? own : withEarlierValues(own, before)
    for (const forgotten of registry.setLastReading(topic, json, message.user, message.clientId)) {
      pushes.push({ topic: hubTopics.last(forgotten), json: '' })
      this.topics.forget(forgotten)
    }
    return { topic: hubTopics.last(topic), json }
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
