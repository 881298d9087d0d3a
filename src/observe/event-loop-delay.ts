import type { Part } from '../runtime/lifecycle.js'
import type { MillisecondClock } from '../runtime/time.js'

const sampleMs = 10
const intervalMs = 5_000
/** Number of intervals that `longest` covers: one minute. */
const intervals = 12

/** Receiver of each sample. */
export interface DelayListener {
  /** Called every 10 ms while the event loop is not blocked. */
  onDelay(seconds: number): void
}

/**
 * Measures how late a timer of this thread is: meanwhile no client is read and no answer is written. A turn of the
 * event loop that is shorter than the 10 ms between two samples is seen as often as a sample falls into it.
 */
export class EventLoopDelay implements Part {
  readonly name = 'event loop delay'
  readonly #clock: MillisecondClock
  #listener: DelayListener | undefined
  #last = 0
  #endOfInterval = 0
  #current = 0
  /** The longest delay of each of the last intervals, in seconds. */
  #longest: number[] = []
  #timer: NodeJS.Timeout | undefined

  /** `clock`: monotonic. */
  constructor(clock: MillisecondClock) {
    this.#clock = clock
  }

  reportTo(listener: DelayListener): void {
    this.#listener = listener
  }

  start(): void {
    this.#last = this.#clock.now()
    this.#endOfInterval = this.#last + intervalMs
    this.#timer = setInterval(() => this.sample(), sampleMs).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** Takes a sample: 10 ms after the last one there is no delay. */
  sample(): void {
    const now = this.#clock.now()
    const seconds = Math.max(0, now - this.#last - sampleMs) / 1_000
    this.#last = now
    this.#current = Math.max(this.#current, seconds)
    this.#listener?.onDelay(seconds)
    if (now < this.#endOfInterval) return
    this.#endOfInterval = now + intervalMs
    this.#longest = [...this.#longest, this.#current].slice(-intervals)
    this.#current = 0
  }

  /** The longest delay of the last minute, in seconds. */
  get longest(): number {
    return Math.max(this.#current, ...this.#longest)
  }
}
