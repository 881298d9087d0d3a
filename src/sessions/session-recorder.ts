import type { OutboundMessage, Queued } from './delivery.js'
import type { Session, Subscription } from './session.js'
import type { SessionJournal } from './session-journal.js'
import type { JournalRecord } from './session-records.js'
import { openRecord, queuedFor, recordedSubscription, type SessionState } from './session-state.js'
import type { QueuedIn } from './subscription-index.js'

/**
 * Records changes in the journal. Changes of a session are recorded only while the session is the durable one of its
 * name: those of a session that is over, or replaced, are not changes of the session that is there now.
 */
export class SessionRecorder {
  readonly #state: SessionState
  readonly #journal: Pick<SessionJournal, 'record'>
  /** `applied` of the last record. */
  #marked = 0
  /** Callbacks that wait for the journal to have the records of this turn. */
  #waiting: ((error?: Error) => void)[] = []

  constructor(state: SessionState, journal: Pick<SessionJournal, 'record'>) {
    this.#state = state
    this.#journal = journal
  }

  /** Returns whether this is the current durable session of the client. */
  isKept(session: Session): boolean {
    return session.durable && this.#state.sessions.get(session.name) === session
  }

  /** Records a change. Calls `done` when the record is on disk, or with the error. */
  record(record: JournalRecord, payload?: Buffer, done?: (error?: Error) => void): void {
    this.#marked = this.#state.applied
    this.#journal.record(record, payload, done)
  }

  /** Records a change of a session. Returns false when the session is not kept: nothing is recorded. */
  recordOf(session: Session, record: JournalRecord, done?: (error?: Error) => void): boolean {
    if (!this.isKept(session)) return false
    this.record(record, undefined, done)
    return true
  }

  opened(session: Session): void {
    this.recordOf(session, openRecord(session))
  }

  subscribed(session: Session, subscription: Subscription): void {
    this.recordOf(session, { t: 'sub', c: session.name, s: [recordedSubscription(subscription)] })
  }

  /** Records a message that durable sessions have queued. `sequence` is the place in the spool, 0 if there is none. */
  queued(queued: readonly QueuedIn[], message: OutboundMessage | Queued, sequence: number): void {
    const to = queued.map(({ session, entry }) => queuedFor(session, entry))
    const { topic, qos, clientId, properties, expiresAt, at, payload } = message
    // The RETAIN flag is recorded for each session.
    const p = { topic, qos, retain: false, clientId, properties, expiresAt }
    this.record({ t: 'enq', to, x: sequence, a: at, p }, payload)
  }

  /** Records that a session does not have a message any more. */
  moved(session: Session, { n, packetId: m }: Queued): void {
    const { name: c } = session
    this.recordOf(session, m > 0 ? { t: 'ack', c, m } : { t: 'drop', c, n })
  }

  /** Records a QoS 2 publish of the client that is in the spool. */
  received(session: Session, packetId: number): void {
    this.recordOf(session, { t: 'in', c: session.name, m: packetId })
  }

  /** Calls `done` when every record until the end of this turn outlives a crash. */
  whenKept(done: (error?: Error) => void): void {
    this.#waiting.push(done)
    if (this.#waiting.length > 1) return
    queueMicrotask(() => {
      const waiting = this.#waiting
      this.#waiting = []
      this.record({ t: 'mark' }, undefined, error => {
        for (const each of waiting) each(error)
      })
    })
  }

  /** Records how far in the spool the state is, unless the last record did. */
  mark(): void {
    if (this.#state.applied > this.#marked) this.record({ t: 'mark' })
  }

  /** Called after the journal is loaded: the journal has all of the state. */
  loaded(): void {
    this.#marked = this.#state.applied
  }
}
