import { sessionName } from './session-name.js'
import type { JournalRecord } from './session-records.js'
import { dueRecord, type LastWill, type SessionState, willRecord } from './session-state.js'

export interface LastWillsOptions {
  readonly state: SessionState
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly record: (record: JournalRecord, payload?: Buffer) => void
  /**
   * A client is gone for good, or for longer than its will was to wait. `done` when the will is published or refused;
   * `isLater`: it could not be, and is due again.
   */
  readonly due: (will: LastWill, done: (isLater: boolean) => void) => void
}

/** The last wills of clients: of those that are connected, and of those that are gone and may come back. */
export class LastWills {
  readonly #options: LastWillsOptions

  constructor(options: LastWillsOptions) {
    this.#options = options
  }

  put(will: LastWill): void {
    const { state, record } = this.#options
    state.wills.set(nameOf(will), { ...will, payload: Buffer.from(will.payload) })
    record(willRecord(will), will.payload)
  }

  /** `name` is that of the session, here and below. */
  delete(name: string): LastWill | undefined {
    const { state, record } = this.#options
    const will = state.wills.get(name)
    if (!will) return undefined
    state.wills.delete(name)
    record({ t: 'unwill', c: name })
    return will
  }

  of(name: string): LastWill | undefined {
    return this.#options.state.wills.get(name)
  }

  all(): readonly LastWill[] {
    return [...this.#options.state.wills.values()]
  }

  /**
   * A client is gone whose will may wait: it is due after its delay, or when the session ends if that is sooner; who is
   * back before has none. (MQTT 5 §3.1.3.2.2) False: it is due now.
   */
  delay(will: LastWill): boolean {
    const { state, now, record } = this.#options
    const { delay } = will
    const name = nameOf(will)
    const session = state.sessions.get(name)
    if (delay === 0 || !session || session.expiry === 0) return false
    const due = now() + delay * 1_000
    const kept = { ...will, payload: Buffer.from(will.payload) }
    state.dueWills.set(name, { will: kept, due, isPublishing: false })
    record(dueRecord(will, due), will.payload)
    return true
  }

  publishDue(): void {
    const { state, now } = this.#options
    const time = now()
    for (const [name, { due }] of state.dueWills) if (due <= time) this.back(name, false)
  }

  /** The client is back, or its session has ended: a will that waits is not wanted any more if the session goes on. */
  back(name: string, goesOn: boolean): void {
    const { state, now, record, due } = this.#options
    const waiting = state.dueWills.get(name)
    if (!waiting || waiting.isPublishing) return
    const over = () => {
      // Its client may be gone again, and have left another.
      if (state.dueWills.get(name) !== waiting) return
      state.dueWills.delete(name)
      record({ t: 'undue', c: name })
    }
    // One that could not be published when it was due still is.
    if (goesOn && waiting.due > now()) {
      over()
      return
    }
    waiting.isPublishing = true
    due(waiting.will, isLater => {
      waiting.isPublishing = false
      if (!isLater) over()
    })
  }
}

/** The name of the session whose client leaves this will. */
export function nameOf({ user = '', clientId }: LastWill): string {
  return sessionName(user, clientId)
}
