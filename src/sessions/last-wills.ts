import type { MillisecondClock } from '../runtime/time.js'
import { nameOf } from './session-name.js'
import type { SessionRecorder } from './session-recorder.js'
import { dueRecord, type LastWill, type SessionState, willRecord } from './session-state.js'

export interface LastWillsOptions {
  readonly state: SessionState
  /** Milliseconds since the epoch. */
  readonly clock: MillisecondClock
  readonly recorder: SessionRecorder
  /**
   * Called when a client is gone for good, or for longer than the will delay. Call `done` when the will is published or
   * refused. With `isLater` the will could not be published, and is due again.
   */
  readonly due: (will: LastWill, done: (isLater: boolean) => void) => void
}

/** The last wills of connected clients, and of clients that are gone and may come back. */
export class LastWills {
  readonly #options: LastWillsOptions

  constructor(options: LastWillsOptions) {
    this.#options = options
  }

  put(will: LastWill): void {
    const { state, recorder } = this.#options
    state.wills.set(nameOf(will), { ...will, payload: Buffer.from(will.payload) })
    recorder.record(willRecord(will), will.payload)
  }

  /** Deletes the will of a connected client. `name` is the name of the session, here and below. */
  delete(name: string): LastWill | undefined {
    const { state, recorder } = this.#options
    const will = state.wills.get(name)
    if (!will) return undefined
    state.wills.delete(name)
    recorder.record({ t: 'unwill', c: name })
    return will
  }

  of(name: string): LastWill | undefined {
    return this.#options.state.wills.get(name)
  }

  all(): readonly LastWill[] {
    return [...this.#options.state.wills.values()]
  }

  /**
   * Delays the will of a client that is gone: the will is due after its delay, or when the session ends if that is
   * sooner. The will of a client that is back before is discarded. (MQTT 5 §3.1.3.2.2) Returns false when the will is
   * due now.
   */
  delay(will: LastWill): boolean {
    const { state, clock, recorder } = this.#options
    const { delay } = will
    const name = nameOf(will)
    const session = state.sessions.get(name)
    if (delay === 0 || !session || session.expiry === 0) return false
    const due = clock.now() + delay * 1_000
    const kept = { ...will, payload: Buffer.from(will.payload) }
    state.dueWills.set(name, { will: kept, due, isPublishing: false })
    recorder.record(dueRecord(will, due), will.payload)
    return true
  }

  publishDue(): void {
    const { state, clock } = this.#options
    const time = clock.now()
    for (const [name, { due }] of state.dueWills) if (due <= time) this.back(name, false)
  }

  /**
   * Called when the client is back, or the session has ended. A waiting will is discarded if the session continues, and
   * otherwise due.
   */
  back(name: string, goesOn: boolean): void {
    const { state, clock, recorder, due } = this.#options
    const waiting = state.dueWills.get(name)
    if (!waiting || waiting.isPublishing) return
    const over = () => {
      // The client may be gone again, and have left another will.
      if (state.dueWills.get(name) !== waiting) return
      state.dueWills.delete(name)
      recorder.record({ t: 'undue', c: name })
    }
    // A will that could not be published when due is still due.
    if (goesOn && waiting.due > clock.now()) {
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
