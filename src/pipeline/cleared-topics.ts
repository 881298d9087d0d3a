import { dropOldest } from '../runtime/drop-oldest.js'

/** Most topics that are remembered. */
const most = 10_000

/** Topics whose newest reading was cleared, and on which nothing came since. */
export class ClearedTopics {
  /** Sequence number from which the messages of a topic count again. */
  readonly #from = new Map<string, number>()

  constructor(known: Iterable<readonly [topic: string, from: number]> = []) {
    for (const [topic, from] of known) this.#from.set(topic, from)
  }

  get size(): number {
    return this.#from.size
  }

  /** Clears a topic. Messages with a lower sequence number than `from` are from before. */
  add(topic: string, from: number): void {
    this.#from.set(topic, from)
    dropOldest(this.#from, most)
  }

  has(topic: string): boolean {
    return this.#from.has(topic)
  }

  /** Whether a message is from before its topic was cleared: after a crash the spool brings it once more. */
  isBefore(topic: string, sequence: number): boolean {
    return sequence < (this.#from.get(topic) ?? 0)
  }

  delete(topic: string): void {
    this.#from.delete(topic)
  }

  [Symbol.iterator](): Iterator<readonly [topic: string, from: number]> {
    return this.#from.entries()
  }

  toJSON(): readonly (readonly [topic: string, from: number])[] {
    return [...this.#from]
  }
}
