import { takeOldest } from '../runtime/drop-oldest.js'
import type { Session } from './session.js'

/** Number of sessions that send in one turn of the event loop: their searches may take long. */
const pumpedInTurn = 8

/** Gives sessions a turn to send, a few in each turn of the event loop. */
export class SessionTurns {
  readonly #waiting = new Set<Session>()

  /** Calls `pump` of the session in one of the next turns of the event loop. */
  later(session: Session): void {
    if (this.#waiting.size === 0) setImmediate(this.#next)
    this.#waiting.add(session)
  }

  readonly #next = (): void => {
    const some: Session[] = []
    while (some.length < pumpedInTurn) {
      const session = takeOldest(this.#waiting)
      if (!session) break
      some.push(session)
    }
    const isLeft = this.#waiting.size > 0
    for (const session of some) session.pump()
    if (isLeft) setImmediate(this.#next)
  }
}
