import { hash } from 'node:crypto'

/** Most series that are told apart: 13 bytes each, and at most half of the table is empty. */
const maxSeries = 4_000_000

/**
 * Bits of millions of series, by a hash of the name of 64 bits: the names themselves are not kept. Open addressing; two
 * zeros mark an empty slot.
 */
export class SeriesMarks {
  #halves = new Uint32Array(2 * 1_024)
  #marks = new Uint8Array(1_024)
  #size = 0
  /** Whether there were more series than are told apart; the rest are not counted. */
  isFull = false

  /** Adds bits to those of a series. Returns all of its bits; 0 when there is no room for the series. */
  mark(name: string, bits: number): number {
    const digest = hash('sha1', name, 'hex')
    const high = Number.parseInt(digest.slice(0, 8), 16) || 1
    const low = Number.parseInt(digest.slice(8, 16), 16)
    const at = find(this.#halves, high, low)
    if (this.#halves[at] === 0) {
      if (this.#size >= maxSeries) {
        this.isFull = true
        return 0
      }
      this.#halves[at] = high
      this.#halves[at + 1] = low
      this.#size++
      this.#marks[at >> 1] = bits
      if (this.#size * 4 > this.#marks.length * 3) this.#grow()
      return bits
    }
    const all = (this.#marks[at >> 1] as number) | bits
    this.#marks[at >> 1] = all
    return all
  }

  /** Yields the bits of each series. */
  *[Symbol.iterator](): Generator<number> {
    for (const bits of this.#marks) if (bits !== 0) yield bits
  }

  #grow(): void {
    const halves = new Uint32Array(this.#halves.length * 2)
    const marks = new Uint8Array(this.#marks.length * 2)
    for (let i = 0; i < this.#halves.length; i += 2) {
      const high = this.#halves[i] as number
      if (high === 0) continue
      const low = this.#halves[i + 1] as number
      const at = find(halves, high, low)
      halves[at] = high
      halves[at + 1] = low
      marks[at >> 1] = this.#marks[i >> 1] as number
    }
    this.#halves = halves
    this.#marks = marks
  }
}

/** Returns the slot of a hash, whose first half is not 0, or the empty slot where it would be. */
function find(halves: Uint32Array, high: number, low: number): number {
  const mask = halves.length - 2
  let at = (low << 1) & mask
  while (halves[at] !== 0 && (halves[at] !== high || halves[at + 1] !== low)) at = (at + 2) & mask
  return at
}
