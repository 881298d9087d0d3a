import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import type { Part } from '../runtime/lifecycle.js'

const intervalMs = 5_000
/** Number of intervals that `longest` covers: one minute. */
const intervals = 12

/**
 * Measures how long the event loop of this thread was blocked: meanwhile no client is read and no answer is written.
 */
export class EventLoopDelay implements Part {
  readonly name = 'event loop delay'
  #histogram: IntervalHistogram | undefined
  /** The longest delay of each of the last intervals, in seconds. */
  #longest: number[] = []
  #timer: NodeJS.Timeout | undefined

  start(): void {
    this.#histogram = monitorEventLoopDelay({ resolution: 10 })
    this.#histogram.enable()
    this.#timer = setInterval(() => {
      this.#longest = [...this.#longest, this.#current].slice(-intervals)
      this.#histogram?.reset()
    }, intervalMs).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#histogram?.disable()
  }

  /** The longest delay of the last minute, in seconds. */
  get longest(): number {
    return Math.max(this.#current, ...this.#longest)
  }

  get #current(): number {
    // Without a sample the maximum is 0; a timer that is a few milliseconds late is no delay.
    return (this.#histogram?.max ?? 0) / 1e9
  }
}
