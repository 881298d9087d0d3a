import { isSet } from '../observe/clock.js'
import type { MicrosecondClock, MillisecondClock } from '../runtime/time.js'

/** The smallest difference that counts as a jump. */
const jumpMicros = 5e6

/** The wall clock, or an estimate while that is not set. Tells of its jumps, so that no duration contains one. */
export class LiveClock implements MicrosecondClock {
  readonly #wall: MillisecondClock
  readonly #monotonic: MillisecondClock
  #base = 0
  #baseAt = 0
  #last = 0
  #lastAt = 0

  constructor(wall: MillisecondClock = Date, monotonic: MillisecondClock = performance) {
    this.#wall = wall
    this.#monotonic = monotonic
  }

  /** Microseconds since the epoch. */
  now(): number {
    const wall = this.#wall.now()
    return isSet(wall) ? wall * 1_000 : this.#base + (this.#monotonic.now() - this.#baseAt) * 1_000
  }

  /** Moves the estimate to a time that is known to be past. Begins to look for jumps. */
  start(past: number): void {
    this.#base = past
    this.#baseAt = this.#monotonic.now()
    this.#last = this.now()
    this.#lastAt = this.#monotonic.now()
  }

  /** Returns by how many microseconds the clock has jumped since the last look; 0 if it has not. */
  jump(): number {
    const [now, at] = [this.now(), this.#monotonic.now()]
    const jumped = now - this.#last - (at - this.#lastAt) * 1_000
    this.#last = now
    this.#lastAt = at
    return Math.abs(jumped) < jumpMicros ? 0 : Math.round(jumped)
  }
}
