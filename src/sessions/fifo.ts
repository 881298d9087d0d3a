/** A queue: first in, first out, in constant time. */
export class Fifo<T> implements Iterable<T> {
  #items: (T | undefined)[] = []
  #head = 0

  get length(): number {
    return this.#items.length - this.#head
  }

  get first(): T | undefined {
    return this.#items[this.#head]
  }

  push(item: T): void {
    this.#items.push(item)
  }

  shift(): T | undefined {
    const item = this.#items[this.#head]
    if (item === undefined) return undefined
    this.#items[this.#head++] = undefined
    if (this.#head > 32 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    return item
  }

  /** Removes an item at any position: fast for the first, slow for others. */
  remove(item: T): boolean {
    if (this.first === item) return this.shift() !== undefined
    const at = this.#items.indexOf(item, this.#head)
    if (at >= 0) this.#items.splice(at, 1)
    return at >= 0
  }

  /** Removes and returns the first items, in their order. */
  takeFirst(most: number): readonly T[] {
    const taken = this.#items.slice(this.#head, this.#head + most) as T[]
    this.#items = this.#items.slice(this.#head + taken.length)
    this.#head = 0
    return taken
  }

  /** Removes and returns the last items, in their order. */
  takeLast(most: number): readonly T[] {
    return this.#items.splice(Math.max(this.#head, this.#items.length - most)) as T[]
  }

  /** Removes and returns at most `most` items for which `isWanted` is true, in their order. */
  removeWhere(isWanted: (item: T) => boolean, most: number): readonly T[] {
    const removed: T[] = []
    const kept: (T | undefined)[] = []
    let at = this.#head
    for (; at < this.#items.length && removed.length < most; at++) {
      const item = this.#items[at] as T
      if (isWanted(item)) removed.push(item)
      else kept.push(item)
    }
    if (removed.length === 0) return removed
    this.#items = kept.length === 0 ? this.#items.slice(at) : kept.concat(this.#items.slice(at))
    this.#head = 0
    return removed
  }

  *[Symbol.iterator](): Iterator<T> {
    for (let i = this.#head; i < this.#items.length; i++) yield this.#items[i] as T
  }
}
