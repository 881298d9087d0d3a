import { dropOldest } from './drop-oldest.js'

const minuteMs = 60_000

/** Maximum number of sources remembered. Beyond this, the source whose last attempt is oldest is forgotten. */
const maxSources = 100_000

/** Limits the failed attempts of each source: a number at once, and the same number again in each minute. */
export class Attempts {
  readonly #perMinute: number
  /** Ordered by last attempt, oldest first. */
  readonly #sources = new Map<string, { left: number; at: number }>()

  constructor(perMinute: number) {
    this.#perMinute = perMinute
  }

  /** Takes one attempt. Returns 0, or the milliseconds until the next attempt is available. */
  take(source: string, now: number): number {
    const known = this.#sources.get(source)
    const left = known ? this.#leftOf(known, now) : this.#perMinute
    this.#sources.delete(source)
    this.#sources.set(source, { left: left < 1 ? left : left - 1, at: now })
    dropOldest(this.#sources, maxSources)
    return left < 1 ? Math.ceil(((1 - left) * minuteMs) / this.#perMinute) : 0
  }

  /** Refunds an attempt that did not count as a failure. */
  giveBack(source: string): void {
    const known = this.#sources.get(source)
    if (known) known.left = Math.min(this.#perMinute, known.left + 1)
  }

  /** Returns the attempts left. A clock that was set back refills nothing. */
  #leftOf({ left, at }: { left: number; at: number }, now: number): number {
    return Math.min(this.#perMinute, left + (Math.max(0, now - at) * this.#perMinute) / minuteMs)
  }
}
