import type { QoS } from '../model.js'
import { SharedPool, type Use } from '../runtime/shared-pool.js'
import { SmallMap } from '../runtime/small-map.js'
import { type Sharing, unsharing } from '../runtime/user-shares.js'
import { isWildcard } from '../topics.js'
import { isExpired, lasting, type RetainedDelivery } from './delivery.js'
import { type RetainedNode, TopicWalk, WalkSteps } from './topic-walk.js'

/** A retained message. [MQTT-3.3.1-5] */
export interface Retained extends RetainedDelivery {
  /** Number of messages retained until then, this one included; see {@link RetainedMessages.changes}. */
  readonly change: number
}

/** Payloads up to this length are kept as strings of one byte a character: a small buffer takes 300 bytes more. */
const maxTextBytes = 1_024

/** A retained message in memory. */
class KeptMessage implements Retained {
  readonly topic: string
  readonly qos: QoS
  readonly clientId: string
  readonly user: string | undefined
  readonly expiresAt: number | undefined
  readonly properties: Buffer | undefined
  readonly change: number
  readonly #payload: Buffer | string

  /** Copies payload and properties: a message kept for ever must not keep a network chunk. */
  constructor({ topic, payload, qos, clientId, user, properties, expiresAt }: RetainedDelivery, change: number) {
    this.topic = topic
    this.qos = qos
    this.clientId = clientId
    this.user = user
    this.expiresAt = expiresAt
    this.properties = properties && lasting(properties)
    this.change = change
    this.#payload = payload.length <= maxTextBytes ? payload.toString('latin1') : lasting(payload)
  }

  /** Payload for use at once: in Node's pool, to be copied if kept for long. */
  get payload(): Buffer {
    return typeof this.#payload === 'string' ? Buffer.from(this.#payload, 'latin1') : this.#payload
  }

  /** Approximate bytes in memory. */
  get size(): number {
    return sizeOf(this, this.#payload.length)
  }
}

/** Approximate memory of a retained message beside topic and payload, and of a level in the trie. */
const overheadBytes = 200
const nodeBytes = 250

/** Topics filed in the trie at each call of {@link RetainedMessages.sweep}: about a millisecond of work. */
const filedAtOnce = 500
/** Topics filed before each pause of a search. */
const filedInSearch = 1_000

const pause: IteratorYieldResult<undefined> = { done: false, value: undefined }
const over: IteratorReturnResult<undefined> = { done: true, value: undefined }

/** Messages found step by step. */
class Search implements IterableIterator<Retained | undefined> {
  readonly #walk: TopicWalk
  readonly #message: (topic: string) => Retained | undefined
  /** Files topics that cannot be found yet. Returns false when there are none. */
  readonly #file: () => boolean
  #isFiled = false

  constructor(walk: TopicWalk, message: (topic: string) => Retained | undefined, file: () => boolean) {
    this.#walk = walk
    this.#message = message
    this.#file = file
  }

  [Symbol.iterator](): this {
    return this
  }

  next(): IteratorResult<Retained | undefined, undefined> {
    if (!this.#isFiled && this.#file()) return pause
    this.#isFiled = true
    for (let topic = this.#walk.next(); topic !== undefined; topic = this.#walk.next()) {
      if (topic === 'pause') return pause
      const value = this.#message(topic)
      if (value) return { done: false, value }
    }
    return over
  }
}

/**
 * The retained messages by topic. An exact topic is one map lookup. A filter with wildcards is a walk of the trie that
 * enters only matching branches. The topics of restored messages are filed in the trie later, or when a filter with
 * wildcards is searched for, so that a start with many of them takes less time.
 */
export class RetainedMessages {
  readonly #exact = new Map<string, KeptMessage>()
  readonly #root: RetainedNode = { children: undefined, topic: undefined }
  /** Topics that are not in the trie yet, some perhaps without a message by now. */
  #unfiled: string[] = []
  readonly #now: () => number
  /** Topics of messages that expire, and the position of the sweep among them. */
  readonly #expiring = new Set<string>()
  #swept: Iterator<string> | undefined
  #bytes = 0
  #changes = 0
  readonly #steps = new WalkSteps()

  /** Number and bytes of the messages of each user. */
  readonly #messagesOf: SharedPool
  readonly #bytesOf: SharedPool

  /** `now`: milliseconds since the epoch. */
  constructor(now: () => number, sharing: Sharing = unsharing) {
    this.#now = now
    this.#messagesOf = new SharedPool(sharing)
    this.#bytesOf = new SharedPool(sharing)
  }

  /** Returns whether a user may have one more message retained. `messages` and `bytes` are the limits for all users. */
  admits(message: RetainedDelivery, messages: number, bytes: number): boolean {
    const user = message.user ?? ''
    if (this.count >= messages || this.bytes >= bytes) return false
    const size = sizeOf(message, message.payload.length)
    return this.#messagesOf.admits(user, 1, messages) && this.#bytesOf.admits(user, size, bytes)
  }

  /** Returns the users with the most messages retained. */
  top(most: number): Use[] {
    return this.#messagesOf.top(most)
  }

  #charge({ user = '', size }: KeptMessage, by: 1 | -1): void {
    this.#messagesOf.add(user, by)
    this.#bytesOf.add(user, by * size)
    this.#bytes += by * size
  }

  get count(): number {
    return this.#exact.size
  }

  /** Approximate bytes that the messages take in memory. */
  get bytes(): number {
    return this.#bytes
  }

  /** Number of messages retained so far. A message with a higher `change` came later. */
  get changes(): number {
    return this.#changes
  }

  get(topic: string): Retained | undefined {
    return this.#exact.get(topic)
  }

  /**
   * Keeps a copy of the message. With `later`, the topic is filed in the trie later: for messages that no limit applies
   * to, and those that were admitted before.
   */
  set(message: RetainedDelivery, later = false): void {
    const { topic, expiresAt } = message
    const known = this.#exact.get(topic)
    const kept = new KeptMessage(message, ++this.#changes)
    if (known) this.#charge(known, -1)
    this.#charge(kept, 1)
    this.#exact.set(topic, kept)
    if (expiresAt !== undefined) this.#expiring.add(topic)
    else if (known?.expiresAt !== undefined) this.#expiring.delete(topic)
    if (known) return
    if (later) this.#unfiled.push(topic)
    else this.#file(topic)
  }

  delete(topic: string): boolean {
    const known = this.#exact.get(topic)
    if (!known) return false
    this.#exact.delete(topic)
    this.#expiring.delete(topic)
    this.#charge(known, -1)
    this.#unfile(topic)
    return true
  }

  #file(topic: string): void {
    let node = this.#root
    for (const level of topic.split('/')) {
      node.children ??= new SmallMap()
      let next = node.children.get(level)
      if (!next) {
        next = { children: undefined, topic: undefined }
        node.children.set(level, next)
        this.#bytes += nodeBytes
      }
      node = next
    }
    node.topic = topic
  }

  #unfile(topic: string): void {
    const levels = topic.split('/')
    const path: RetainedNode[] = [this.#root]
    for (const level of levels) {
      const next = path.at(-1)?.children?.get(level)
      // The topic waits to be filed.
      if (!next) return
      path.push(next)
    }
    ;(path.at(-1) as RetainedNode).topic = undefined
    for (let i = levels.length; i > 0; i--) {
      const node = path[i] as RetainedNode
      if (node.topic !== undefined || node.children) break
      const parent = path[i - 1] as RetainedNode
      parent.children?.delete(levels[i - 1] as string)
      this.#bytes -= nodeBytes
      if (parent.children?.size === 0) parent.children = undefined
    }
  }

  /** Files up to `most` of the topics that wait. Returns false when none are left. */
  #fileSome(most: number): boolean {
    for (let left = most; left > 0; left--) {
      const topic = this.#unfiled.pop()
      if (topic === undefined) {
        this.#unfiled = []
        return false
      }
      if (this.#exact.has(topic)) this.#file(topic)
    }
    return true
  }

  /** Yields messages that match a filter, in no order. Messages set or deleted meanwhile may be among them or not. */
  *match(filter: string): Generator<Retained> {
    for (const message of this.search(filter)) if (message) yield message
  }

  /**
   * Like {@link match}, with a pause, undefined, now and then, as a filter may match few of many messages. The steps of
   * all searches count together, as one client may begin thousands of short ones.
   */
  search(filter: string): IterableIterator<Retained | undefined> {
    const message = (topic: string) => this.#current(topic)
    if (!isWildcard(filter)) return this.#exactly(filter)
    const file = () => this.#unfiled.length > 0 && this.#fileSome(filedInSearch)
    return new Search(new TopicWalk(this.#root, filter, this.#steps), message, file)
  }

  *#exactly(topic: string): Generator<Retained> {
    const message = this.#current(topic)
    if (message) yield message
  }

  #current(topic: string): Retained | undefined {
    const message = this.#exact.get(topic)
    return message?.expiresAt !== undefined && isExpired(message, this.#now()) ? undefined : message
  }

  /**
   * Deletes expired messages, looking at `most` messages and continuing behind them the next time, or at all with
   * Infinity, and files topics that wait.
   */
  sweep(most: number): void {
    this.#fileSome(filedAtOnce)
    if (most === Infinity) this.#swept = undefined
    for (let looked = 0; looked < most; looked++) {
      this.#swept ??= this.#expiring.values()
      const { done, value: topic } = this.#swept.next()
      if (done) {
        this.#swept = undefined
        return
      }
      const message = this.#exact.get(topic)
      if (message && isExpired(message, this.#now())) this.delete(topic)
    }
  }

  all(): Iterable<Retained> {
    return this.#exact.values()
  }
}

function sizeOf({ topic, properties }: Pick<RetainedDelivery, 'topic' | 'properties'>, payloadBytes: number): number {
  return overheadBytes + topic.length * 2 + payloadBytes + (properties ? properties.length + 100 : 0)
}
