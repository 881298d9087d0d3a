/** A set of whole numbers, kept as ranges: for numbers that come nearly in order and with few gaps. */
export class Ranges {
  /** First numbers of the ranges, ascending. At least one number is missing between two ranges. */
  readonly #from: number[] = []
  readonly #to: number[] = []
  #count = 0

  /** How many numbers the set has. */
  get count(): number {
    return this.#count
  }

  has(number: number): boolean {
    const i = this.#firstEndingAt(number)
    return i < this.#to.length && (this.#from[i] as number) <= number
  }

  /** Returns how many numbers of the set are at most `number`. */
  upTo(number: number): number {
    let count = 0
    for (const [from, to] of this.pairs()) {
      if (from > number) break
      count += Math.min(to, number) - from + 1
    }
    return count
  }

  /** Adds all numbers from `from` to `to`, both included. Returns how many are new. */
  add(from: number, to: number): number {
    // All ranges that overlap or touch the new one.
    const first = this.#firstEndingAt(from - 1)
    let last = first
    let known = 0
    while (last < this.#from.length && (this.#from[last] as number) <= to + 1) {
      known += (this.#to[last] as number) - (this.#from[last] as number) + 1
      last++
    }
    const start = last > first ? Math.min(from, this.#from[first] as number) : from
    const end = last > first ? Math.max(to, this.#to[last - 1] as number) : to
    this.#from.splice(first, last - first, start)
    this.#to.splice(first, last - first, end)
    const added = end - start + 1 - known
    this.#count += added
    return added
  }

  /** Removes all numbers above `number`. Returns how many were removed. */
  cut(number: number): number {
    const removed = this.#count - this.upTo(number)
    const left = this.#firstEndingAt(number)
    if (left < this.#from.length && (this.#from[left] as number) <= number) {
      this.#to[left] = number
      this.#from.length = this.#to.length = left + 1
    } else this.#from.length = this.#to.length = left
    this.#count -= removed
    return removed
  }

  /** Yields the first and the last number of each range, ascending. */
  *pairs(): Generator<readonly [from: number, to: number]> {
    for (const [i, from] of this.#from.entries()) yield [from, this.#to[i] as number]
  }

  /** Returns the position of the first range that ends at `number` or later. */
  #firstEndingAt(number: number): number {
    let low = 0
    let high = this.#to.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#to[middle] as number) < number) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** Yields the ranges of a list of from, to, from, to … */
export function* pairs(flat: readonly number[]): Generator<readonly [number, number]> {
  for (let i = 0; i < flat.length; i += 2) yield [flat[i] as number, flat[i + 1] as number]
}

export function flat(ranges: Ranges): number[] {
  return [...ranges.pairs()].flat()
}
