const minuteMs = 60_000

/** Sources remembered; past it the one that tried longest ago is forgotten. */
const maxSources = 100_000

/** How often each of many sources may fail: so many times at once, and as many again in each minute. */
export class Attempts {
  readonly #perMinute: number
  /** The one that tried longest ago first. */
  readonly #sources = new Map<string, { left: number; at: number }>()

  constructor(perMinute: number) {
    this.#perMinute = perMinute
  }

  /** Takes one; returns 0, or in how many milliseconds there is the next. */
  take(source: string, now: number): number {
    const known = this.#sources.get(source)
    const left = known ? this.#leftOf(known, now) : this.#perMinute
    this.#sources.delete(source)
    this.#sources.set(source, { left: left < 1 ? left : left - 1, at: now })
    if (this.#sources.size > maxSources) this.#sources.delete(this.#sources.keys().next().value as string)
    return left < 1 ? Math.ceil(((1 - left) * minuteMs) / this.#perMinute) : 0
  }

  /** It was none that counts. */
  giveBack(source: string): void {
    const known = this.#sources.get(source)
    if (known) known.left = Math.min(this.#perMinute, known.left + 1)
  }

  /** A clock that was set back refills nothing. */
  #leftOf({ left, at }: { left: number; at: number }, now: number): number {
    return Math.min(this.#perMinute, left + (Math.max(0, now - at) * this.#perMinute) / minuteMs)
  }
}
