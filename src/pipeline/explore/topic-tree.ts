import { getHeapStatistics } from 'node:v8'
import type { Message, Outcome } from '../../model.js'
import { SharedPool } from '../../runtime/shared-pool.js'
import type { Sharing } from '../../runtime/user-shares.js'

/** Fate of the newest message of a topic that was judged. */
export type TopicFate = 'stored' | 'ignored' | 'refused'

/** Length of the windows in which messages are counted, in milliseconds. */
const windowMs = 10_000

/** A level of the tree: what is known of the messages on its topics, and of its own topic if it is one. */
export class TopicBranch {
  readonly name: string
  readonly parent: TopicBranch | undefined
  children: Map<string, TopicBranch> | undefined
  /** Topics here and below. */
  topics = 0
  /** Whether messages have come on this very topic. */
  isTopic = false
  /** Messages here and below, since the start. */
  messages = 0
  /** When the newest one came, here or below; milliseconds since the epoch. 0: none. */
  last = 0
  /** Number of the window in which `current` counts, and the count of the window before. */
  window = 0
  current = 0
  previous = 0
  /** Facts about the newest message on this very topic. */
  sequence = 0
  size = 0
  client = ''
  user = ''
  fate: TopicFate | undefined
  reason: string | undefined

  constructor(name: string, parent: TopicBranch | undefined) {
    this.name = name
    this.parent = parent
  }

  /** Messages in a second at a time, over the last ten to twenty seconds. */
  rate(now: number): number {
    const window = Math.floor(now / windowMs)
    const current = window === this.window ? this.current : 0
    const previous = window === this.window ? this.previous : window === this.window + 1 ? this.current : 0
    const part = now - window * windowMs
    return (current + (previous * (windowMs - part)) / windowMs) / (windowMs / 1_000)
  }

  count(at: number): void {
    const window = Math.floor(at / windowMs)
    if (window > this.window) {
      this.previous = window === this.window + 1 ? this.current : 0
      this.current = 0
      this.window = window
    }
    this.current++
    this.messages++
    if (at > this.last) this.last = at
  }

  /** The topic. */
  get path(): string {
    let path = this.name
    for (let node = this.parent; node?.parent; node = node.parent) path = `${node.name}/${path}`
    return path
  }
}

/** Approximate bytes of a level in memory, and the part of the heap that all may take. */
const nodeBytes = 320
const shareOfHeap = 1 / 14

/** Most levels. A hub with 400,000 topics has some 450,000. */
const mostNodes = 500_000

/** Topics that are looked at to find one to forget. */
const sampled = 64

/** Longest topic that has a place of its own. */
const longest = 2_000

/**
 * All topics on which messages came, as a tree with counts at each level. Bounded: beyond that the longest silent of
 * some topics is forgotten for each new one, of the user with the most for its share.
 */
export class TopicTree {
  readonly root = new TopicBranch('', undefined)
  readonly #mostNodes: number
  readonly #topicsOf: SharedPool
  /** All topics by their whole name, as looking a topic up level by level for each message costs ten times as much. */
  readonly #byName = new Map<string, TopicBranch>()
  #nodes = 1
  #hand: Iterator<TopicBranch> | undefined
  #forgotten = 0

  constructor(
    sharing: Sharing,
    most = Math.min(mostNodes, (getHeapStatistics().heap_size_limit * shareOfHeap) / nodeBytes),
  ) {
    this.#mostNodes = most
    this.#topicsOf = new SharedPool(sharing)
  }

  /** Topics that had to be forgotten since the start. */
  get forgotten(): number {
    return this.#forgotten
  }

  get size(): number {
    return this.root.topics
  }

  /** Takes a message. Called for every one, in order. */
  observe({ topic, receivedAt, sequence, payload, clientId, user }: Message): void {
    if (topic.length > longest) return
    const node = this.#byName.get(topic) ?? this.#place(topic, user)
    node.sequence = sequence
    node.size = payload.length
    if (node.client !== clientId) node.client = clientId
    if (node.user !== user) this.#give(node, user)
    const at = receivedAt / 1_000
    for (let level: TopicBranch | undefined = node; level; level = level.parent) level.count(at)
  }

  /** Takes a topic from before the start. */
  restore(topic: string, last: number, client: string, user: string): void {
    if (topic.length > longest || this.#nodes >= this.#mostNodes) return
    const node = this.#place(topic, user)
    if (node.last > 0 && node.messages > 0) return
    node.client = client
    for (let level: TopicBranch | undefined = node; level; level = level.parent) level.last = Math.max(level.last, last)
  }

  /** Called when it is known what became of a message. */
  judge(topic: string, outcome: Outcome): void {
    const node = this.#byName.get(topic)
    if (!node || outcome === 'retry') return
    node.fate = outcome === 'ack' ? 'stored' : outcome === 'ignored' ? 'ignored' : 'refused'
    const reason = typeof outcome === 'string' ? undefined : outcome.reason
    if (node.reason !== reason) node.reason = reason
  }

  /** Returns the level of a topic, or of the beginning of topics. */
  find(path: string): TopicBranch | undefined {
    let node: TopicBranch | undefined = this.root
    for (const name of path.split('/')) {
      node = node.children?.get(name)
      if (!node) return undefined
    }
    return node
  }

  #place(topic: string, user: string): TopicBranch {
    let node = this.root
    for (const name of topic.split('/')) {
      node.children ??= new Map()
      let next = node.children.get(name)
      if (!next) {
        next = new TopicBranch(name, node)
        node.children.set(name, next)
        this.#nodes++
      }
      node = next
    }
    if (!node.isTopic) {
      node.isTopic = true
      node.user = user
      this.#byName.set(topic, node)
      this.#topicsOf.add(user, 1)
      for (let level: TopicBranch | undefined = node; level; level = level.parent) level.topics++
      while (this.#nodes > this.#mostNodes) if (!this.#makeRoom(node)) break
    }
    return node
  }

  #give(node: TopicBranch, user: string): void {
    this.#topicsOf.add(node.user, -1)
    this.#topicsOf.add(user, 1)
    node.user = user
  }

  /** Forgets the longest silent of some topics, of the user with the most for its share where there is one. */
  #makeRoom(fresh: TopicBranch): boolean {
    let oldest: TopicBranch | undefined
    let isHeaviest = false
    for (let looked = 0; looked < sampled; looked++) {
      this.#hand ??= topicsBelow(this.root)
      const { value, done } = this.#hand.next()
      if (done) {
        this.#hand = undefined
        continue
      }
      if (value === fresh || !value.isTopic) continue
      const heavy = this.#topicsOf.isHeaviest(value.user)
      if (oldest && (heavy === isHeaviest ? value.last >= oldest.last : isHeaviest)) continue
      oldest = value
      isHeaviest = heavy
    }
    if (oldest) this.#forget(oldest)
    return oldest !== undefined
  }

  #forget(node: TopicBranch): void {
    this.#forgotten++
    this.#byName.delete(node.path)
    this.#topicsOf.add(node.user, -1)
    node.isTopic = false
    for (let level: TopicBranch | undefined = node; level; level = level.parent) level.topics--
    for (let level = node; level.parent && !level.isTopic && !level.children; level = level.parent) {
      const { children } = level.parent
      children?.delete(level.name)
      this.#nodes--
      if (children?.size === 0) level.parent.children = undefined
    }
  }
}

/** Yields the topics at and below a level. Those that come or go meanwhile may be among them or not. */
export function* topicsBelow(top: TopicBranch): Generator<TopicBranch> {
  if (top.isTopic) yield top
  const open: Iterator<TopicBranch>[] = top.children ? [top.children.values()] : []
  for (let level = open.at(-1); level; level = open.at(-1)) {
    const { value, done } = level.next()
    if (done) {
      open.pop()
      continue
    }
    if (value.isTopic) yield value
    if (value.children) open.push(value.children.values())
  }
}
