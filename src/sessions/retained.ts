import type { QoS } from '../model.js'
import { SharedPool, type Use } from '../runtime/shared-pool.js'
import { SmallMap } from '../runtime/small-map.js'
import { type Sharing, unsharing } from '../runtime/user-shares.js'
import { isWildcard } from '../topics.js'
import { isExpired, lasting, type RetainedDelivery } from './delivery.js'

/** A retained message. [MQTT-3.3.1-5] */
export interface Retained extends RetainedDelivery {
  /** Number of messages retained until then, this one included; see {@link RetainedMessages.changes}. */
  readonly change: number
}

/** A level of a topic. `topic` is set where a topic ends; its message may have been deleted meanwhile. */
interface RetainedNode {
  children: SmallMap<string, RetainedNode> | undefined
  topic: string | undefined
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

  /** Payload in a buffer that may be kept. */
  get payload(): Buffer {
    if (typeof this.#payload !== 'string') return this.#payload
    const bytes = Buffer.allocUnsafeSlow(this.#payload.length)
    bytes.write(this.#payload, 'latin1')
    return bytes
  }

  /** Approximate bytes in memory. */
  get size(): number {
    return sizeOf(this, this.#payload.length)
  }
}

/** Approximate memory of a retained message beside topic and payload, and of a level in the trie. */
const overheadBytes = 200
const nodeBytes = 250

/** Topics filed in the trie at each call of {@link RetainedMessages.sweep}: about ten milliseconds of work. */
const filedAtOnce = 5_000

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
  readonly #steps = { left: stepsAtOnce }

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
  *search(filter: string): Generator<Retained | undefined> {
    if (!isWildcard(filter)) {
      const message = this.#exact.get(filter)
      if (message && !isExpired(message, this.#now())) yield message
      return
    }
    while (this.#unfiled.length > 0) if (this.#fileSome(stepsAtOnce)) yield undefined
    for (const topic of walk(this.#root, filter.split('/'), 0, this.#steps)) {
      const message = topic === undefined ? undefined : this.#exact.get(topic)
      if (topic === undefined || (message && !isExpired(message, this.#now()))) yield message
    }
  }

  /**
   * Deletes expired messages, looking at `most` messages and continuing behind them the next time, and files topics
   * that wait.
   */
  sweep(most: number): void {
    this.#fileSome(filedAtOnce)
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

const stepsAtOnce = 500

/** Yields the topics that match; undefined is a pause. */
function* walk(
  node: RetainedNode,
  levels: readonly string[],
  depth: number,
  steps: { left: number },
  isRoot = true,
): Generator<string | undefined> {
  if (steps.left-- === 0) {
    steps.left = stepsAtOnce
    yield undefined
  }
  const level = levels[depth]
  if (level === undefined) {
    if (node.topic !== undefined) yield node.topic
    return
  }
  // "sport/#" also matches "sport": the parent level. [MQTT-4.7.1-2]
  if (level === '#' && node.topic !== undefined) yield node.topic
  if (!node.children) return
  if (level !== '+' && level !== '#') {
    const next = node.children.get(level)
    if (next) yield* walk(next, levels, depth + 1, steps, false)
    return
  }
  for (const [name, next] of node.children) {
    // [MQTT-4.7.2-1]
    if (isRoot && name.charCodeAt(0) === 36) continue
    yield* walk(next, levels, level === '#' ? depth : depth + 1, steps, false)
  }
}
