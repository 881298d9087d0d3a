import type { MillisecondClock } from './time.js'

/** Milliseconds of a rest while somebody waits. Not 0: a busy hub still gathers a few messages. */
const hurriedMs = 1

/** How long after the last {@link Rest.hurry} rests are short, in milliseconds. */
const hurryFor = 1_000

/**
 * The pause of a consumer after a small batch, so that more messages gather for the next one. The pause is short while
 * somebody waits for what comes.
 */
export class Rest {
  readonly #usualMs: number
  readonly #clock: MillisecondClock
  #hurriedUntil = Number.NEGATIVE_INFINITY
  #end: (() => void) | undefined

  constructor(usualMs: number, clock: MillisecondClock = performance) {
    this.#usualMs = usualMs
    this.#clock = clock
  }

  /** Ends the pause under way, and makes those of the next second short. */
  hurry(): void {
    this.#hurriedUntil = this.#clock.now() + hurryFor
    this.#end?.()
  }

  /** Resolves when the pause is over, or the signal aborts. */
  take(signal: AbortSignal): Promise<void> {
    const ms = this.#clock.now() < this.#hurriedUntil ? Math.min(hurriedMs, this.#usualMs) : this.#usualMs
    return new Promise(resolve => {
      const end = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', end)
        this.#end = undefined
        resolve()
      }
      const timer = setTimeout(end, ms)
      this.#end = end
      if (signal.aborted) end()
      else signal.addEventListener('abort', end)
    })
  }
}
