/**
 * A set of 64 bit hashes, each given as two halves of 32 bits, in 8 to 16 bytes per hash: for millions of names that
 * need not be kept themselves. Open addressing; two zeros mark an empty slot, so that hash is never in the set.
 */
export class HashSet {
  #halves = new Uint32Array(2 * 1_024)
  #size = 0

  get size(): number {
    return this.#size
  }

  has(high: number, low: number): boolean {
    const at = this.#find(this.#halves, high, low)
    return this.#halves[at] !== 0 || this.#halves[at + 1] !== 0
  }

  /** Returns whether the hash is new. */
  add(high: number, low: number): boolean {
    if (high === 0 && low === 0) return false
    const at = this.#find(this.#halves, high, low)
    if (this.#halves[at] !== 0 || this.#halves[at + 1] !== 0) return false
    this.#halves[at] = high
    this.#halves[at + 1] = low
    this.#size++
    if (this.#size * 2 * 4 > this.#halves.length * 3) this.#grow()
    return true
  }

  /** Returns whether the hash was in the set. */
  delete(high: number, low: number): boolean {
    const halves = this.#halves
    const mask = halves.length - 2
    let free = this.#find(halves, high, low)
    if (halves[free] === 0 && halves[free + 1] === 0) return false
    // Hashes behind move up to the free slot, unless they would stand before the slot where their search begins.
    for (let at = (free + 2) & mask; halves[at] !== 0 || halves[at + 1] !== 0; at = (at + 2) & mask) {
      const home = ((halves[at + 1] as number) << 1) & mask
      if (((at - home) & mask) < ((at - free) & mask)) continue
      halves[free] = halves[at] as number
      halves[free + 1] = halves[at + 1] as number
      free = at
    }
    halves[free] = halves[free + 1] = 0
    this.#size--
    return true
  }

  /** Returns the slot of a hash, or the empty slot where that hash would be. */
  #find(halves: Uint32Array, high: number, low: number): number {
    const mask = halves.length - 2
    let at = (low << 1) & mask
    while ((halves[at] !== 0 || halves[at + 1] !== 0) && (halves[at] !== high || halves[at + 1] !== low)) {
      at = (at + 2) & mask
    }
    return at
  }

  #grow(): void {
    const larger = new Uint32Array(this.#halves.length * 2)
    for (let i = 0; i < this.#halves.length; i += 2) {
      const high = this.#halves[i] as number
      const low = this.#halves[i + 1] as number
      if (high === 0 && low === 0) continue
      const at = this.#find(larger, high, low)
      larger[at] = high
      larger[at + 1] = low
    }
    this.#halves = larger
  }
}
