import type { Part } from '../runtime/lifecycle.js'
import type { MicrosecondClock, MillisecondClock } from '../runtime/time.js'
import type { IncidentReporter } from './incidents.js'

/** Milliseconds since the epoch. A clock before this time was never set, as this version was made later. */
export const neverSetBefore = Date.UTC(2026, 0, 1)

/** Whether a wall clock in milliseconds can be right. */
export function isSet(wallMs: number): boolean {
  return wallMs >= neverSetBefore
}

const lookEveryMs = 1_000
/** The smallest difference that counts as a jump: a smaller one is a correction, or due to a busy machine. */
const jumpMs = 5_000

export interface ClockOptions {
  /** Milliseconds since the epoch. */
  readonly wall: MillisecondClock
  /** Milliseconds of a clock that never jumps. */
  readonly monotonic: MillisecondClock
  readonly incidents: IncidentReporter
}

/**
 * The wall clock, or an estimate while that clock is not set. A machine without a battery starts in 1970: until the
 * clock is set, time goes on from the latest time known from the disk. Jumps are reported.
 */
export class Clock implements Part, MicrosecondClock {
  readonly name = 'clock'
  readonly #options: ClockOptions
  /** The time that the estimate started from while the clock is not set, and the monotonic time at that moment. */
  #base = neverSetBefore
  #baseAt = 0
  #past: { readonly latest: number } = { latest: 0 }
  #lastWall = 0
  #lastMonotonic = 0
  #timer: NodeJS.Timeout | undefined

  constructor(options: ClockOptions) {
    this.#options = options
  }

  /** Microseconds since the epoch. */
  now(): number {
    const wall = this.#options.wall.now()
    return (isSet(wall) ? wall : this.#base + this.#options.monotonic.now() - this.#baseAt) * 1_000
  }

  /** Moves the estimate to at least `latest`, a time known to be past, in microseconds since the epoch. */
  #learn(latest: number): void {
    this.#base = Math.max(this.#base, latest / 1_000)
    this.#baseAt = this.#options.monotonic.now()
  }

  /** Sets what knows a time that is past. Asked at the start. */
  learnFrom(past: { readonly latest: number }): void {
    this.#past = past
  }

  start(): void {
    this.#learn(this.#past.latest)
    const { wall, monotonic, incidents } = this.#options
    this.#lastWall = wall.now()
    this.#lastMonotonic = monotonic.now()
    if (!isSet(this.#lastWall)) {
      incidents.report(
        'clock_not_set',
        `the clock of this machine is not set (${new Date(this.#lastWall).toISOString()}); until it is, the hub counts time from ` +
          `${new Date(this.now() / 1_000).toISOString()}, the latest time known here. Times sent by devices are kept`,
      )
    }
    this.#timer = setInterval(() => this.look(), lookEveryMs).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** Compares both clocks and reports a jump. */
  look(): void {
    const { wall, monotonic, incidents } = this.#options
    const [now, ticks] = [wall.now(), monotonic.now()]
    const jump = now - this.#lastWall - (ticks - this.#lastMonotonic)
    this.#lastWall = now
    this.#lastMonotonic = ticks
    if (Math.abs(jump) < jumpMs) return
    const seconds = Math.round(Math.abs(jump) / 1_000)
    incidents.report(
      'clock_jump',
      `the clock of this machine jumped ${seconds} s ${jump > 0 ? 'forward' : 'back'}, to ${new Date(now).toISOString()}: ` +
        'readings without a time of their own get the time of this clock; check its synchronization (NTP)',
    )
  }
}
