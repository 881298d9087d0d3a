import type { MillisecondClock } from '../runtime/time.js'

/**
 * Longest normal time between two reads. After a longer time the cursor was held up, and what has arrived is a backlog.
 */
const maxAbsenceMs = 10_000

/** Time for which tokens are saved up, so that a backlog is not read one message at a time. */
const gatherMs = 50

export interface MeterOptions {
  /** Messages per second beyond new arrivals. */
  readonly rate: number
  /** Returns the time of a monotonic clock, in milliseconds. */
  readonly clock: MillisecondClock
}

/**
 * Limits how fast a backlog is drained: one token for each message that arrives, and `rate` more every second. New
 * messages are never held back when there is no backlog, and a backlog always shrinks. At most one second's tokens are
 * kept for a cursor that does not take them.
 */
export class Meter {
  readonly #options: MeterOptions
  #tokens = 0
  #arrived = 0
  #at: number

  constructor(options: MeterOptions) {
    this.#options = options
    this.#at = options.clock.now()
  }

  arrived(messages: number): void {
    this.#arrived += messages
  }

  /** Returns how many messages of a backlog may be taken now. 0: call again after {@link waitMs}. */
  allowed(backlog: number): number {
    const { rate, clock } = this.#options
    const elapsed = Math.max(0, clock.now() - this.#at)
    this.#at += elapsed
    const counted = elapsed > maxAbsenceMs ? 1_000 : elapsed
    const arrived = elapsed > maxAbsenceMs ? (this.#arrived * 1_000) / elapsed : this.#arrived
    this.#arrived = 0
    const fresh = arrived + (rate * Math.min(counted, maxAbsenceMs)) / 1_000
    // New tokens count in full, also for a cursor whose batches take long. Only leftover tokens are limited.
    this.#tokens = Math.min(Math.min(this.#tokens, rate) + fresh, Math.max(backlog, 0))
    const whole = Math.floor(this.#tokens)
    return whole >= backlog || whole >= this.#batch ? whole : 0
  }

  get waitMs(): number {
    return Math.max(1, Math.ceil(((this.#batch - this.#tokens) * 1_000) / this.#options.rate))
  }

  took(messages: number): void {
    this.#tokens = Math.max(0, this.#tokens - messages)
  }

  get #batch(): number {
    return Math.max(1, Math.floor((this.#options.rate * gatherMs) / 1_000))
  }
}
