import { OldestKey } from './drop-oldest.js'
import type { MillisecondClock } from './time.js'

/** What becomes of items for receivers that do not keep up; the numbers only grow. */
export interface ConflationCounts {
  /** Items that a newer one of their topic has replaced. */
  merged: number
  /** Items that are gone without a newer one. */
  dropped: number
}

interface Waiting<T> {
  item: T
  /** Bytes that count for the limit; 0: bounded elsewhere. */
  bytes: number
}

/**
 * The newest item (`T`) of each topic, for one receiver that does not keep up. Items come out in the order in which
 * their topics began to wait, and a newer item takes the place of the one that waits: per topic the order is that of
 * `put`, and the last item put comes out.
 *
 * Items with bytes are bounded by `limit`; beyond it the one whose topic has waited longest is dropped. Items without
 * bytes are for topics of which somebody else holds the newest item anyway, and bounds the number.
 */
export class Conflation<T> {
  readonly #waiting = new Map<string, Waiting<T>>()
  readonly #oldest = new OldestKey(this.#waiting)
  /** Topics of items with bytes, in the order in which they began to count. */
  readonly #charged = new Set<string>()
  readonly #oldestCharged = new OldestKey(this.#charged)
  readonly #limit: number
  readonly #counts: ConflationCounts
  readonly #clock: MillisecondClock
  #bytes = 0
  #since = 0
  #merged = 0
  #dropped = 0

  /** `limit` is in bytes. Adds to `counts` as well as to the own numbers. The clock never jumps. */
  constructor(limit: number, counts: ConflationCounts, clock: MillisecondClock) {
    this.#limit = limit
    this.#counts = counts
    this.#clock = clock
    this.restart()
  }

  /** Begins to count anew: {@link merged}, {@link dropped} and {@link behindMs}. What waits stays. */
  restart(): void {
    this.#since = this.#clock.now()
    this.#merged = 0
    this.#dropped = 0
  }

  /** Number of topics that wait. */
  get size(): number {
    return this.#waiting.size
  }

  /** Number of items that wait without counting for the limit. */
  get free(): number {
    return this.#waiting.size - this.#charged.size
  }

  /** Items replaced by a newer one since {@link restart}. */
  get merged(): number {
    return this.#merged
  }

  /** Items dropped since {@link restart}. */
  get dropped(): number {
    return this.#dropped
  }

  /** Milliseconds since {@link restart}. */
  get behindMs(): number {
    return this.#clock.now() - this.#since
  }

  has(topic: string): boolean {
    return this.#waiting.has(topic)
  }

  /** Takes an item. With `bytes`, items may be dropped, this one included. */
  put(topic: string, item: T, bytes: number): void {
    const known = this.#waiting.get(topic)
    if (known) {
      this.#merge()
      this.#bytes += bytes - known.bytes
      known.item = item
      known.bytes = bytes
    } else {
      this.#waiting.set(topic, { item, bytes })
      this.#bytes += bytes
    }
    if (bytes === 0) this.#uncharge(topic)
    else this.#charged.add(topic)
    while (this.#bytes > this.#limit) this.#dropOldest()
  }

  /** Removes the item of a topic whose newer item goes another way. */
  supersede(topic: string): void {
    if (this.#remove(topic)) this.#merge()
  }

  /** Takes the item whose topic has waited longest. */
  shift(): T | undefined {
    const topic = this.#oldest.key
    const longest = topic === undefined ? undefined : this.#waiting.get(topic)
    if (topic !== undefined) this.#remove(topic)
    return longest?.item
  }

  /** Counts an item that is dropped for a reason that only the caller knows. */
  drop(): void {
    this.#dropped++
    this.#counts.dropped++
  }

  #merge(): void {
    this.#merged++
    this.#counts.merged++
  }

  #dropOldest(): void {
    const topic = this.#oldestCharged.key
    if (topic === undefined) return
    this.#remove(topic)
    this.drop()
  }

  #remove(topic: string): boolean {
    const known = this.#waiting.get(topic)
    if (!known) return false
    this.#waiting.delete(topic)
    this.#oldest.deleted(topic)
    this.#uncharge(topic)
    this.#bytes -= known.bytes
    return true
  }

  #uncharge(topic: string): void {
    this.#charged.delete(topic)
    this.#oldestCharged.deleted(topic)
  }
}
