import { takeOldest } from '../runtime/drop-oldest.js'
import type { Work } from '../runtime/work.js'
import type { TurnTaker } from './pool.js'

/**
 * CONNECTs that are handled in one turn. Each takes about half a millisecond, most of that in later steps, which no
 * count of work in this turn would show.
 */
const connectsInTurn = 8

/** Connections that are accepted for each CONNECT that is handled, as long as more connections come. */
const acceptedPerConnect = 16

/**
 * The clients that are about to connect, the one that has waited longest first. Thousands may come at once: they are
 * accepted before they are connected, as the system's queue is short, and connected clients do not wait behind them.
 */
export class Arrivals {
  readonly #work: Work
  readonly #waiting = new Set<TurnTaker>()
  /** CONNECTs handled in this turn, and how many may be. */
  #handled = 0
  #most = connectsInTurn
  /** Connections accepted since the last turn, and since the last CONNECT that was handled meanwhile. */
  #accepted = 0
  #acceptedBefore = 0

  constructor(work: Work) {
    this.#work = work
  }

  /** Called for each connection that is accepted. */
  accepted(): void {
    this.#accepted++
    this.#work.isHurried = true
  }

  /** Returns whether a CONNECT may be handled now; if not, {@link add} the reader. */
  admits(): boolean {
    if (this.#waiting.size > 0 || this.#handled >= this.#most) return false
    this.#handled++
    return true
  }

  add(reader: TurnTaker): void {
    this.#waiting.add(reader)
  }

  /** Called at the end of each turn: has the next one be short if connections have come. Returns whether they have. */
  turn(): boolean {
    const isHurried = this.#accepted > 0
    this.#work.isHurried = isHurried
    this.#acceptedBefore += this.#accepted
    this.#accepted = 0
    this.#handled = 0
    if (!isHurried) this.#most = connectsInTurn
    else if (this.#acceptedBefore < acceptedPerConnect) this.#most = 0
    else {
      this.#most = 1
      this.#acceptedBefore = 0
    }
    return isHurried
  }

  /** Has `serve` handle some of those that wait. Returns whether others still do. */
  welcome(serve: (reader: TurnTaker) => void): boolean {
    while (this.#handled < this.#most) {
      const next = takeOldest(this.#waiting)
      if (!next) return false
      this.#handled++
      serve(next)
    }
    return this.#waiting.size > 0
  }
}
