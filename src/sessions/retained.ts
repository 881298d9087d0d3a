import { SharedPool, type Use } from '../runtime/shared-pool.js'
import { type UserShares, unshared } from '../runtime/user-shares.js'
import { isWildcard } from '../topics.js'
import { isExpired, lasting, type RetainedDelivery } from './delivery.js'

/** A retained message. [MQTT-3.3.1-5] */
export interface Retained extends RetainedDelivery {
  /** When it was retained, as a count of all messages retained until then; see {@link RetainedMessages.changes}. */
  readonly change: number
}

interface Node {
  children: Map<string, Node> | undefined
  message: Retained | undefined
}

/** What a retained message takes beside its topic and payload, and what a level in the trie takes, about. */
const overheadBytes = 200
const nodeBytes = 250

/**
 * The retained messages by topic: an exact topic is one map lookup, a filter with wildcards a walk of the trie that
 * enters only the branches it matches.
 */
export class RetainedMessages {
  readonly #exact = new Map<string, Retained>()
  readonly #root: Node = { children: undefined, message: undefined }
  readonly #now: () => number
  /** Those that expire, and where among them the sweep is. */
  readonly #expiring = new Set<string>()
  #swept: Iterator<string> | undefined
  #bytes = 0
  #changes = 0
  readonly #steps = { left: stepsAtOnce }

  /** Messages and bytes of each user. */
  readonly #messagesOf: SharedPool
  readonly #bytesOf: SharedPool

  /** `now`: milliseconds since the epoch. */
  constructor(now: () => number, shares: () => UserShares = () => unshared) {
    this.#now = now
    this.#messagesOf = new SharedPool(shares)
    this.#bytesOf = new SharedPool(shares)
  }

  /** May a user have one more message retained, where there may be so many messages and bytes in all? */
  admits(message: RetainedDelivery, messages: number, bytes: number): boolean {
    const user = message.user ?? ''
    if (this.count >= messages || this.bytes >= bytes) return false
    return this.#messagesOf.admits(user, 1, messages) && this.#bytesOf.admits(user, sizeOf(message), bytes)
  }

  /** The users with most messages retained. */
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

  /** About what they take in memory. */
  get bytes(): number {
    return this.#bytes
  }

  /** How many messages have been retained so far. A message with a higher `change` came later. */
  get changes(): number {
    return this.#changes
  }

  get(topic: string): Retained | undefined {
    return this.#exact.get(topic)
  }

  /** Keeps a copy of the payload, exactly as large: what is kept for ever must not keep a network chunk. */
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
    const path: Node[] = [this.#root]
    for (const level of levels) path.push(path.at(-1)?.children?.get(level) as Node)
    ;(path.at(-1) as Node).message = undefined
    for (let i = levels.length; i > 0; i--) {
      const node = path[i] as Node
      if (node.message || node.children) break
      const parent = path[i - 1] as Node
      parent.children?.delete(levels[i - 1] as string)
      this.#bytes -= nodeBytes
      if (parent.children?.size === 0) parent.children = undefined
    }
    return true
  }

  /** What a filter matches, in no order. What is set or deleted meanwhile may or may not be among it. */
  *match(filter: string): Generator<Retained> {
    for (const message of this.search(filter)) if (message) yield message
  }

  /**
   * The same with a pause, undefined, now and then: a filter may match little of much. The steps of all searches count
   * together, as one client may begin thousands of short ones.
   */
  *search(filter: string): Generator<Retained | undefined> {
    const found = isWildcard(filter) ? walk(this.#root, filter.split('/'), 0, this.#steps) : this.#lookUp(filter)
    for (const message of found) if (!message || !isExpired(message, this.#now())) yield message
  }

  /** Lets go of what has expired, looking at so many, and at others the next time. */
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

  /** Not before it is asked for: what is sent later must not be older than what was delivered meanwhile. */
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
  node: Node,
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
