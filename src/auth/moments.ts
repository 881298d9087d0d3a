import { isSet } from '../observe/clock.js'
import type { MillisecondClock } from '../runtime/time.js'

/** A past moment: of this process, by the monotonic clock, or of an earlier one, by the wall clock. */
export type Moment = { readonly ticks: number } | { readonly wall: number }

/** A smaller shift between both clocks is a correction, and not worth a write. */
const shiftMs = 5_000

/**
 * Ages of moments. The age of a moment of this process does not change when the wall clock is set, such as on a machine
 * that starts in 1970.
 */
export class Moments {
  readonly #wall: MillisecondClock
  readonly #monotonic: MillisecondClock
  #shift: number | undefined

  /** `wall` tells milliseconds since the epoch, `monotonic` those of a clock that never jumps. */
  constructor(wall: MillisecondClock, monotonic: MillisecondClock) {
    this.#wall = wall
    this.#monotonic = monotonic
  }

  now(): Moment {
    return { ticks: this.#monotonic.now() }
  }

  /**
   * Returns the moment that a file tells, in milliseconds since the epoch. Now, when the file was written before the
   * clock was ever set: how long ago that was is not known.
   */
  fromDisk(wall: number): Moment {
    return isSet(wall) ? { wall } : this.now()
  }

  /** Returns how long ago a moment was, in milliseconds. */
  ageMs(moment: Moment): number {
    return 'ticks' in moment ? this.#monotonic.now() - moment.ticks : this.#wall.now() - moment.wall
  }

  /** Returns a moment in milliseconds since the epoch, by the wall clock as set now. */
  wallTime(moment: Moment): number {
    return 'wall' in moment ? moment.wall : Math.round(this.#wall.now() - this.ageMs(moment))
  }

  /** Returns true once after the wall clock was set: files then tell other times than {@link wallTime}. */
  isShifted(): boolean {
    const shift = this.#wall.now() - this.#monotonic.now()
    const before = this.#shift ?? shift
    const isShifted = Math.abs(shift - before) > shiftMs
    if (isShifted || this.#shift === undefined) this.#shift = shift
    return isShifted
  }
}
