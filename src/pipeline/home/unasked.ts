/** Time after the start, which has more urgent things to do, until the first run. */
const firstMs = 3_000
/** Rest before the next run: as many times as long as the last one took, and at least so long. */
const restTimes = 30
const leastRestMs = 10_000

/** Runs what nobody has asked for, now and then, so that the next person who asks does not wait for all of it. */
export class Unasked {
  #next = performance.now() + firstMs

  /** Runs if it is time for that. A failure is left to who asks next. */
  run(make: () => Promise<void>): void {
    const began = performance.now()
    if (began < this.#next) return
    this.#next = Number.POSITIVE_INFINITY
    const rest = () => {
      const now = performance.now()
      this.#next = now + Math.max(leastRestMs, (now - began) * restTimes)
    }
    make().then(rest, rest)
  }
}
