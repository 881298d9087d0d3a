import { HubError } from '../errors.js'
import { Slices } from '../runtime/slices.js'
import type { Work } from '../runtime/work.js'
import type { Session } from './session.js'
import type { SessionFactory } from './session-factory.js'
import type { SessionJournal } from './session-journal.js'
import { sessionName } from './session-name.js'
import type { SessionRecorder } from './session-recorder.js'
import type { SessionRegistry } from './session-registry.js'
import { SessionReplay } from './session-replay.js'
import type { SessionState } from './session-state.js'

export interface SessionStartParts {
  readonly state: SessionState
  readonly journal: SessionJournal
  readonly recorder: SessionRecorder
  readonly factory: SessionFactory
  readonly registry: SessionRegistry
  readonly work: Work
}

/** Milliseconds that a restore works before other work has a turn. */
const restoreSliceMs = 8

/** The restore of the sessions from the journal, and what clients without a kept session may do meanwhile. */
export class SessionStart {
  readonly #parts: SessionStartParts
  #restoring: Promise<void> | undefined
  #isOpen = false
  #isRestored = false
  #isStopping = false
  /** Clients that connected with {@link open} before all was restored, by session name. */
  readonly #startedClean = new Map<string, { readonly clientId: string; readonly user: string }>()

  constructor(parts: SessionStartParts) {
    this.#parts = parts
  }

  /** Whether the journal takes records, and is to be closed. */
  get isOpen(): boolean {
    return this.#isOpen
  }

  /**
   * Restores the state from the journal, in slices between other work. Until then only {@link open} may be called, and
   * what reads; afterwards everything. Rejects when the disk cannot be read, or with {@link stop}.
   */
  async restore(): Promise<void> {
    this.#restoring = this.#restore()
    await this.#restoring
  }

  async #restore(): Promise<void> {
    const { state, journal, recorder, factory, registry, work } = this.#parts
    const goesOn = () => {
      if (this.#isStopping) throw new HubError('stopping', 'the hub stops')
    }
    const slices = new Slices(restoreSliceMs, goesOn, work)
    await journal.load(new SessionReplay(state, name => factory.durable(name)), slices)
    this.#isOpen = true
    await registry.restored(slices)
    this.#isRestored = true
    for (const { clientId, user } of this.#startedClean.values()) registry.startedClean(clientId, user)
    this.#startedClean.clear()
    for (const sequence of state.queuedBefore) if (sequence <= state.applied) state.queuedBefore.delete(sequence)
    recorder.loaded()
  }

  /**
   * Opens a session that ends with its connection, of a client with a clean start. An earlier session of the client is
   * ended once restored: after a crash before that, it is still there.
   */
  open(clientId: string, user: string): Session {
    const { registry } = this.#parts
    const name = sessionName(user, clientId)
    if (this.#isRestored) registry.startedClean(clientId, user)
    else this.#startedClean.set(name, { clientId, user })
    return registry.transient(name)
  }

  /** Gives up a restore that is under way. Resolves when that is over. */
  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#restoring?.catch(() => {})
  }
}
