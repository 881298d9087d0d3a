import { isSet } from '../../observe/clock.js'
import type { MillisecondClock } from '../../runtime/time.js'

const hourMs = 3_600_000
/** How far the clock may be ahead of what is known, and how long a clock that is further ahead must go on steadily. */
const aheadMs = 24 * hourMs

export type TrustedTime = { readonly now: number } | { readonly why: string }

/**
 * A wall clock that is trusted enough to delete by. A clock in the year 2050 would make every reading too old. So a time
 * more than a day ahead of the last one that was trusted, or of the newest reading when there was none, counts only when
 * the clock has gone on from there for a day: until then people can set the clock right. A clock that is behind deletes
 * nothing, and needs no check.
 */
export class TrustedClock {
  readonly #wall: MillisecondClock
  readonly #monotonic: MillisecondClock
  /** The last trusted time, and the monotonic time of then; undefined for one from before the start. */
  #seen: { readonly wall: number; readonly monotonic: number | undefined } | undefined
  #last: { readonly wall: number; readonly monotonic: number } | undefined
  #aheadSince: number | undefined

  constructor(wall: MillisecondClock, monotonic: MillisecondClock) {
    this.#wall = wall
    this.#monotonic = monotonic
  }

  /** Sets the last time known from before the start, in milliseconds since the epoch. Undefined: none is known. */
  learn(latest: number | undefined): void {
    this.#seen ??= latest === undefined ? undefined : { wall: latest, monotonic: undefined }
  }

  /** Returns the time in milliseconds since the epoch, or why the clock is not trusted. To be called every few minutes. */
  look(): TrustedTime {
    const [wall, monotonic] = [this.#wall.now(), this.#monotonic.now()]
    const last = this.#last
    this.#last = { wall, monotonic }
    if (!isSet(wall)) return { why: 'the clock of this machine is not set' }
    const seen = this.#seen
    const expected = seen && seen.wall + (seen.monotonic === undefined ? 0 : monotonic - seen.monotonic)
    // Where no time is known, nothing is stored that could be deleted.
    if (expected !== undefined && wall - expected > aheadMs) {
      const hasJumped = last !== undefined && Math.abs(wall - last.wall - (monotonic - last.monotonic)) > hourMs
      if (this.#aheadSince === undefined || hasJumped) this.#aheadSince = monotonic
      if (monotonic - this.#aheadSince < aheadMs) {
        const until = new Date(wall + aheadMs - (monotonic - this.#aheadSince)).toISOString().slice(0, 16)
        return {
          why:
            `the clock of this machine says ${day(wall)}, ${Math.round((wall - expected) / 864e5)} days after the last time known ` +
            `(${day(expected)}): check it; if it goes on so, it is trusted from ${until}Z on`,
        }
      }
    }
    this.#aheadSince = undefined
    this.#seen = { wall, monotonic }
    return { now: wall }
  }
}

function day(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10)
}
