import type { Key } from './letter.js'

/** A set of keys. A large set takes eight bytes for each message of this hub, outside the heap. */
export class Keys {
  #sorted = new Float64Array(0)
  readonly #recent = new Set<number>()
  readonly #others = new Set<string>()

  has(key: Key): boolean {
    if (typeof key === 'string') return this.#others.has(key)
    if (this.#recent.has(key)) return true
    // The usual case: new messages have higher numbers than all known ones.
    if (key > (this.#sorted.at(-1) ?? -1)) return false
    return this.#sorted[this.#from(key)] === key
  }

  add(key: Key): void {
    if (typeof key === 'string') this.#others.add(key)
    else if (!this.has(key)) {
      this.#recent.add(key)
      if (this.#recent.size > Math.max(1_000, this.#sorted.length)) this.shrink()
    }
  }

  delete(keys: ReadonlySet<Key>): void {
    let [least, most] = [Infinity, -Infinity]
    for (const key of keys) {
      if (typeof key === 'string') this.#others.delete(key)
      else if (!this.#recent.delete(key)) {
        least = Math.min(least, key)
        most = Math.max(most, key)
      }
    }
    if (least > most) return
    const sorted = this.#sorted
    const end = this.#from(most + 1)
    let kept = this.#from(least)
    for (let i = kept; i < end; i++) {
      const key = sorted[i] as number
      if (!keys.has(key)) sorted[kept++] = key
    }
    sorted.copyWithin(kept, end)
    this.#sorted = sorted.subarray(0, sorted.length - (end - kept))
  }

  /** Returns the index of the first key that is not less than this one. */
  #from(key: number): number {
    let [low, high] = [0, this.#sorted.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#sorted[middle] as number) < key) low = middle + 1
      else high = middle
    }
    return low
  }

  shrink(): void {
    const all = new Float64Array(this.#sorted.length + this.#recent.size)
    all.set(this.#sorted)
    let at = this.#sorted.length
    for (const key of this.#recent) all[at++] = key
    this.#sorted = all.sort()
    this.#recent.clear()
  }
}
