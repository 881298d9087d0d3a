/** Time between two ticks. */
export const tickMs = 1_000
/** A hub is heard every 15 s at least. Beyond this silence the connection counts as lost. */
const silenceMs = 25_000
/** Lag of a reading beyond which the receiver is behind. */
const lagMs = 2_000
/** Time without a tick and without data after which this program has stood still, or the machine was asleep. */
const stallMs = 3_000
/** Time after which a receiver that seems behind asks the hub, by resuming: when nothing comes, and when all is late. */
const doubtMs = 5_000
const longDoubtMs = 300_000

/**
 * Judgement whether a receiver is up to date, from what arrives when. All times are of a clock that never jumps, except
 * the times of receipt by the hub: their least distance to the arrival is what the way takes (and how far the clocks are
 * apart), and what a reading takes longer is its lag.
 */
export class Freshness {
  readonly #now: () => number
  #heardAt: number
  #tickedAt: number
  #leastDistance = Number.POSITIVE_INFINITY
  #lag = 0
  #lateSince: number | undefined
  #lateAt = 0
  #stood = false
  #isDoubted = false

  constructor(now: () => number) {
    this.#now = now
    this.#heardAt = now()
    this.#tickedAt = now()
  }

  /** Called when the receiver is known to be up to date. */
  restart(): void {
    // Late readings of which the hub knows nothing: a clock was set.
    if (this.#isDoubted) this.#leastDistance = Number.POSITIVE_INFINITY
    this.#isDoubted = false
    this.#settle()
    this.#heardAt = this.#now()
  }

  /** Called for anything that arrives. */
  heard(): void {
    this.#noteStall()
    this.#heardAt = this.#now()
  }

  /** Called for each live reading, with its time of receipt by the hub. */
  reading(received: number): void {
    const distance = this.#now() - received
    this.#leastDistance = Math.min(this.#leastDistance, distance)
    this.#lag = distance - this.#leastDistance
    if (this.#lag < lagMs) {
      this.#settle()
      return
    }
    this.#lateSince ??= this.#now()
    this.#lateAt = this.#now()
  }

  /** Called each {@link tickMs}. Returns whether the hub is to be asked what was missed. */
  tick(): 'lost' | 'doubt' | undefined {
    this.#noteStall()
    const now = this.#now()
    const wasOnTime = now - this.#tickedAt < stallMs
    this.#tickedAt = now
    if (now - this.#heardAt > silenceMs) return 'lost'
    // Events that waited while this program stood still would have been read by now.
    if (wasOnTime) this.#stood = false
    if (this.#lateSince === undefined) return undefined
    if (now - this.#lateAt <= doubtMs && now - this.#lateSince <= longDoubtMs) return undefined
    this.#isDoubted = true
    return 'doubt'
  }

  /** Whether readings that have come, or may have come, are still to be taken. */
  get isLate(): boolean {
    return this.#lateSince !== undefined || this.#stood || this.#isStanding
  }

  /** Age of what is known, in milliseconds. */
  get ageMs(): number {
    return Math.round(this.#now() - this.#heardAt + (this.#lateSince === undefined ? 0 : this.#lag))
  }

  #settle(): void {
    this.#lag = 0
    this.#lateSince = undefined
    this.#stood = false
  }

  get #isStanding(): boolean {
    return this.#now() - Math.max(this.#heardAt, this.#tickedAt) > stallMs
  }

  #noteStall(): void {
    if (this.#isStanding) this.#stood = true
  }
}
