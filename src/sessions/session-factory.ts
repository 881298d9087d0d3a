import { Session } from './session.js'
import { DurableEvents, type SessionServices, TransientEvents } from './session-events.js'
import type { QueueLimits } from './session-host.js'
import type { SessionState } from './session-state.js'

/** Makes sessions of both kinds. */
export class SessionFactory {
  readonly #state: SessionState
  readonly #limits: QueueLimits
  readonly #durable: DurableEvents
  readonly #transient: TransientEvents

  constructor(state: SessionState, limits: QueueLimits, services: SessionServices) {
    this.#state = state
    this.#limits = limits
    this.#durable = new DurableEvents(services)
    this.#transient = new TransientEvents(services)
  }

  /** Adds a durable session to the state. */
  durable(name: string): Session {
    const session = new Session(name, true, this.#limits, this.#durable)
    this.#state.sessions.set(name, session)
    return session
  }

  /** Returns a session that ends with its connection. */
  transient(name: string): Session {
    const session = new Session(name, false, this.#limits, this.#transient)
    session.expiry = 0
    return session
  }
}
