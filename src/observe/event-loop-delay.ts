import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import type { Part } from '../runtime/lifecycle.js'

const intervalMs = 5_000
/** Intervals that are looked back on: one minute. */
const intervals = 12

/** How long the event loop of this thread was held up. While it is, no client is read and no answer is written. */
export class EventLoopDelay implements Part {
  readonly name = 'event loop delay'
  #histogram: IntervalHistogram | undefined
  /** In seconds, of the last intervals. */
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
    // Without a sample it is 0; a timer that is a few milliseconds late is no delay.
    return (this.#histogram?.max ?? 0) / 1e9
  }
}
