/**
 * A map that allocates nothing before the first entry is set: most sessions are offline, and most maps of such a
 * session are empty. Iterates in the order of insertion.
 */
export class LateMap<K, V> implements Iterable<[K, V]> {
  #entries: Map<K, V> | undefined

  get size(): number {
    return this.#entries?.size ?? 0
  }

  has(key: K): boolean {
    return this.#entries?.has(key) === true
  }

  get(key: K): V | undefined {
    return this.#entries?.get(key)
  }

  set(key: K, value: V): void {
    this.#entries ??= new Map()
    this.#entries.set(key, value)
  }

  delete(key: K): boolean {
    return this.#entries?.delete(key) === true
  }

  clear(): void {
    this.#entries = undefined
  }

  /** Frees the memory of the map when there is no entry. */
  release(): void {
    if (this.#entries?.size === 0) this.#entries = undefined
  }

  keys(): IterableIterator<K> {
    return this.#entries?.keys() ?? nothing.keys()
  }

  values(): IterableIterator<V> {
    return this.#entries?.values() ?? nothing.values()
  }

  [Symbol.iterator](): IterableIterator<[K, V]> {
    return this.#entries?.entries() ?? nothing.entries()
  }
}

const nothing = new Map<never, never>()
