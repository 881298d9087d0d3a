/** Number of entries from which a `Map` is used. */
const maxListed = 8

/**
 * A map that is mostly small: up to eight entries are in one array, which takes a third of the memory of a `Map`, and is
 * searched from the front. Iterates in the order of insertion. Entries added or deleted during an iteration may be among
 * those iterated or not; every other entry is, once.
 */
export class SmallMap<K, V> implements Iterable<[K, V]> {
  /** Key and value in turn. Replaced when an entry is deleted, never shortened, so that an iteration skips none. */
  #list: unknown[] | undefined
  #map: Map<K, V> | undefined

  get size(): number {
    return this.#map?.size ?? (this.#list?.length ?? 0) / 2
  }

  has(key: K): boolean {
    return this.#map ? this.#map.has(key) : this.#find(key) >= 0
  }

  get(key: K): V | undefined {
    if (this.#map) return this.#map.get(key)
    const at = this.#find(key)
    return at < 0 ? undefined : ((this.#list as unknown[])[at + 1] as V)
  }

  set(key: K, value: V): void {
    if (this.#map) {
      this.#map.set(key, value)
      return
    }
    const at = this.#find(key)
    if (at >= 0) (this.#list as unknown[])[at + 1] = value
    else if (this.size < maxListed) this.#list = this.#list ? this.#list.concat(key, value) : [key, value]
    else {
      this.#map = new Map(this)
      this.#map.set(key, value)
      this.#list = undefined
    }
  }

  delete(key: K): boolean {
    if (this.#map) return this.#map.delete(key)
    const at = this.#find(key)
    if (at < 0) return false
    const list = this.#list as unknown[]
    this.#list = list.length === 2 ? undefined : list.filter((_, i) => i !== at && i !== at + 1)
    return true
  }

  *values(): Generator<V> {
    for (const [, value] of this) yield value
  }

  [Symbol.iterator](): IterableIterator<[K, V]> {
    return this.#map ? this.#map.entries() : new ListIterator<K, V>(this.#list ?? none)
  }

  /** Returns the position of the key in the list; -1 when there is none. */
  #find(key: K): number {
    const list = this.#list ?? none
    for (let i = 0; i < list.length; i += 2) if (list[i] === key) return i
    return -1
  }
}

const none: readonly never[] = []

/** Entries of a list of keys and values in turn. No generator, as many maps with one entry are iterated. */
class ListIterator<K, V> implements IterableIterator<[K, V]> {
  readonly #list: readonly unknown[]
  #at = 0

  constructor(list: readonly unknown[]) {
    this.#list = list
  }

  [Symbol.iterator](): this {
    return this
  }

  next(): IteratorResult<[K, V], undefined> {
    const at = this.#at
    if (at >= this.#list.length) return { done: true, value: undefined }
    this.#at += 2
    return { done: false, value: [this.#list[at] as K, this.#list[at + 1] as V] }
  }
}
