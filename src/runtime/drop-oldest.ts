/** A map or a set. Both keep the order in which their entries were added. */
export interface Ordered<Key> {
  readonly size: number
  keys(): Iterator<Key>
  delete(key: Key): boolean
}

/**
 * The oldest key of a map or set, in constant time. A new iterator would walk past all entries that were deleted since
 * the map was last rebuilt: to empty a map of 139,000 keys from its front took 11 s, and 0.4 s with one iterator that
 * keeps its place.
 */
export class OldestKey<Key> {
  readonly #all: Ordered<Key>
  #keys: Iterator<Key> | undefined
  #found: IteratorResult<Key> | undefined

  constructor(all: Ordered<Key>) {
    this.#all = all
  }

  /** The key that was added first. Undefined when there is none. */
  get key(): Key | undefined {
    this.#found ??= this.#next()
    return this.#found?.value
  }

  /** To be called for each key that is deleted, even if the key is then added again. */
  deleted(key: Key): void {
    if (this.#found?.value === key) this.#found = undefined
  }

  #next(): IteratorResult<Key> | undefined {
    // An iterator that has come to the end stays there. Keys added since are found by a new one.
    const next = this.#keys?.next()
    if (next && !next.done) return next
    this.#keys = this.#all.size > 0 ? this.#all.keys() : undefined
    return this.#keys?.next()
  }
}

const oldestOf = new WeakMap<object, Iterator<unknown>>()

/** Deletes the entry of a map or set that was added first, in constant time, and returns the key. Undefined: none. */
export function takeOldest<Key>(all: Ordered<Key>): Key | undefined {
  let next = oldestOf.get(all)?.next() as IteratorResult<Key> | undefined
  if (!next || next.done) {
    oldestOf.delete(all)
    if (all.size === 0) return undefined
    const keys = all.keys()
    oldestOf.set(all, keys)
    next = keys.next()
  }
  all.delete(next.value)
  return next.value
}

/** Deletes the entries of a map or set that were added first, until at most `most` are left. */
export function dropOldest<Key>(all: Ordered<Key>, most: number): void {
  while (all.size > most) takeOldest(all)
}
