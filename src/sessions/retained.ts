import { SharedPool, type Use } from '../runtime/shared-pool.js'
import { type Sharing, unsharing } from '../runtime/user-shares.js'
import { isWildcard } from '../topics.js'
import { isExpired, lasting, type RetainedDelivery } from './delivery.js'

/** A retained message. [MQTT-3.3.1-5] */
export interface Retained extends RetainedDelivery {
  /** Number of messages retained until then, this one included; see {@link RetainedMessages.changes}. */
  readonly change: number
}

interface RetainedNode {
  children: Map<string, RetainedNode> | undefined
  message: Retained | undefined
}

/** Approximate memory of a retained message beside topic and payload, and of a level in the trie. */
const overheadBytes = 200
const nodeBytes = 250

/**
 * The retained messages by topic. An exact topic is one map lookup. A filter with wildcards is a walk of the trie that
 * enters only matching branches.
 */
export class RetainedMessages {
  readonly #exact = new Map<string, Retained>()
  readonly #root: RetainedNode = { children: undefined, message: undefined }
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
    return this.#messagesOf.admits(user, 1, messages) && this.#bytesOf.admits(user, sizeOf(message), bytes)
  }

  /** Returns the users with the most messages retained. */
  top(most: number): Use[] {
    return this.#messagesOf.top(most)
  }

  #charge(message: RetainedDelivery, by: 1 | -1): void {
    const user = message.user ?? ''
    this.#messagesOf.add(user, by)
    this.#bytesOf.add(user, by * sizeOf(message))
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

  /** Keeps a copy of the payload of exactly the same length: a message kept for ever must not keep a network chunk. */
  set({ topic, payload, qos, clientId, user, properties, expiresAt }: RetainedDelivery): void {
    const known = this.#exact.get(topic)
    const kept = { payload: lasting(payload), properties: properties && lasting(properties) }
    const message = { topic, qos, clientId, user, expiresAt, change: ++this.#changes, ...kept }
    this.#bytes += sizeOf(message) - (known ? sizeOf(known) : 0)
    if (known) this.#charge(known, -1)
    this.#charge(message, 1)
    this.#exact.set(topic, message)
    if (expiresAt === undefined) this.#expiring.delete(topic)
    else this.#expiring.add(topic)
    let node = this.#root
    for (const level of topic.split('/')) {
      node.children ??= new Map()
      let next = node.children.get(level)
      if (!next) {
        next = { children: undefined, message: undefined }
        node.children.set(level, next)
        this.#bytes += nodeBytes
      }
      node = next
    }
    node.message = message
  }

  delete(topic: string): boolean {
    const known = this.#exact.get(topic)
    if (!known) return false
    this.#exact.delete(topic)
    this.#expiring.delete(topic)
    this.#bytes -= sizeOf(known)
    this.#charge(known, -1)
    const levels = topic.split('/')
    const path: RetainedNode[] = [this.#root]
    for (const level of levels) path.push(path.at(-1)?.children?.get(level) as RetainedNode)
    ;(path.at(-1) as RetainedNode).message = undefined
    for (let i = levels.length; i > 0; i--) {
      const node = path[i] as RetainedNode
      if (node.message || node.children) break
      const parent = path[i - 1] as RetainedNode
      parent.children?.delete(levels[i - 1] as string)
      this.#bytes -= nodeBytes
      if (parent.children?.size === 0) parent.children = undefined
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
    const found = isWildcard(filter) ? walk(this.#root, filter.split('/'), 0, this.#steps) : this.#lookUp(filter)
    for (const message of found) if (!message || !isExpired(message, this.#now())) yield message
  }

  /** Deletes expired messages, looking at `most` messages and continuing behind them the next time. */
  sweep(most: number): void {
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

  /** Looks the message up only on request: one sent later must not be older than one delivered meanwhile. */
  *#lookUp(topic: string): Generator<Retained> {
    const message = this.#exact.get(topic)
    if (message) yield message
  }

  all(): Iterable<Retained> {
    return this.#exact.values()
  }
}

function sizeOf({ topic, payload, properties }: RetainedDelivery): number {
  return overheadBytes + topic.length * 2 + payload.length + (properties ? properties.length + 100 : 0)
}

const stepsAtOnce = 500

function* walk(
  node: RetainedNode,
  levels: readonly string[],
  depth: number,
  steps: { left: number },
  isRoot = true,
): Generator<Retained | undefined> {
  if (steps.left-- === 0) {
    steps.left = stepsAtOnce
    yield undefined
  }
  const level = levels[depth]
  if (level === undefined) {
    if (node.message) yield node.message
    return
  }
  // "sport/#" also matches "sport": the parent level. [MQTT-4.7.1-2]
  if (level === '#' && node.message) yield node.message
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
