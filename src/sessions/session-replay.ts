import type { Queued, RetainedDelivery } from './delivery.js'
import type { QueueChunk } from './queue-chunk.js'
import type { Session } from './session.js'
import { nameOf, sessionName } from './session-name.js'
import {
  type Decoded,
  type Headed,
  headed,
  type JournalRecord,
  type RecordedSubscription,
  type RecordedWill,
} from './session-records.js'
import type { JournalTarget } from './session-restore.js'
import type { RestoredMessage, SessionHead, SnapshotHeader } from './session-snapshot.js'
import type { LastWill, Published, SessionState } from './session-state.js'

/** Restores a state: first from a snapshot, then from the records of the journal one by one. */
export class SessionReplay implements JournalTarget<Session> {
  readonly #state: SessionState
  readonly #create: (name: string) => Session
  /** Last record that each session had seen when captured: the snapshot has the session's records up to there. */
  readonly #seen = new Map<Session, number>()
  /** Names of sessions, and of wills, by client ids that stand for them in `c`. */
  readonly #names = new Map<string, string>()
  readonly #namesOfWills = new Map<string, string>()

  /** `create` adds a durable session to the state. */
  constructor(state: SessionState, create: (name: string) => Session) {
    this.#state = state
    this.#create = create
  }

  // — a snapshot —

  begin({ applied }: SnapshotHeader): void {
    this.#state.applied = applied
  }

  retained(message: RetainedDelivery): void {
    this.#state.retainedOf(message.topic).set(message, true)
  }

  record(record: JournalRecord, payload: Buffer): void {
    this.apply({ record, payload, ordinal: 0, applied: 0 })
  }

  session({ c, a, u = '', e = Infinity, n, m, s, q, ordinal }: SessionHead): Session {
    const session = this.#opened(c, u)
    session.absentSince = a
    session.expiry = e
    session.last = n
    session.inflight.restore(m)
    this.#subscribe(session, s)
    for (const packetId of q ?? []) session.incoming.add(packetId)
    this.#seen.set(session, ordinal)
    return session
  }

  message(session: Session, { message, packetId, released, group: key }: RestoredMessage): void {
    const group = key === '' ? undefined : session.subscriptions.get(key)?.group
    const entry = session.enqueue({ ...message, group }, message.n)
    if (packetId > 0) number(session, entry, packetId)
    if (released) entry.state = 'released'
  }

  chunk(session: Session, chunk: QueueChunk): void {
    session.unsent.append(chunk)
  }

  // — records —

  apply({ record, payload, ordinal, applied }: Decoded): void {
    const state = this.#state
    if (applied > state.applied) state.applied = applied
    switch (record.t) {
      case 'mark':
        return
      case 'ret':
        if (payload.length === 0) state.retainedOf(record.p.topic).delete(record.p.topic)
        else state.retainedOf(record.p.topic).set({ ...record.p, payload }, true)
        return
      case 'will': {
        const will = willOf(record, payload)
        state.wills.set(this.#nameOfWill(record.c, will), will)
        return
      }
      case 'due': {
        const will = willOf(record, payload)
        state.dueWills.set(this.#nameOfWill(record.c, will), { will, due: record.a, isPublishing: false })
        return
      }
      case 'undue':
        state.dueWills.delete(this.#namesOfWills.get(record.c) ?? record.c)
        return
      case 'unwill':
        state.wills.delete(this.#namesOfWills.get(record.c) ?? record.c)
        return
      case 'enq':
        this.#enqueue(record, messageOf(record.p, payload), ordinal)
        return
    }
    const name = this.#nameOf(record.c)
    const known = state.sessions.get(name)
    if (known && this.#hasSeen(known, ordinal)) return
    switch (record.t) {
      case 'open': {
        const session = this.#opened(record.c, record.u ?? '')
        session.absentSince = record.a
        session.expiry = record.e ?? Infinity
        return
      }
      case 'sub':
        this.#subscribe(known ?? this.#create(name), record.s)
        return
      case 'in':
        ;(known ?? this.#create(name)).incoming.add(record.m)
        return
      case 'forget':
        state.remove(name)
        return
    }
    if (known) this.#applyTo(known, record)
  }

  /** Returns the session of an `open` record, or of a snapshot. */
  #opened(c: string, user: string): Session {
    const state = this.#state
    const name = c.includes('\0') ? c : sessionName(user, c)
    const before = name === c ? undefined : state.sessions.get(c)
    if (name === c) this.#names.delete(c)
    else this.#names.set(c, name)
    const known = state.sessions.get(name)
    if (known) return known
    return before ? state.rename(before, name) : this.#create(name)
  }

  #nameOf(c: string): string {
    return this.#names.get(c) ?? c
  }

  #nameOfWill(c: string, will: LastWill): string {
    const name = nameOf(will)
    if (name !== c) this.#namesOfWills.set(c, name)
    return name
  }

  #hasSeen(session: Session, ordinal: number): boolean {
    return ordinal <= (this.#seen.get(session) ?? 0)
  }

  #enqueue(record: Extract<JournalRecord, { t: 'enq' }>, message: Published, ordinal: number): void {
    const { sessions, queuedBefore } = this.#state
    if (record.x > 0) queuedBefore.add(record.x)
    for (const { c, n, o, m, r, s: ids, g } of record.to) {
      const name = this.#nameOf(c)
      const session = sessions.get(name) ?? this.#create(name)
      if (this.#hasSeen(session, ordinal) || n <= session.last) continue
      const retain = r === 1 || message.retain
      const group = g === undefined ? undefined : session.subscriptions.get(g)?.group
      const { topic, payload, clientId, properties, expiresAt } = message
      const queued = { topic, payload, clientId, properties, expiresAt, qos: o, retain, at: record.a, ids, group }
      const entry = session.enqueue(queued, n)
      if (m > 0) number(session, entry, m)
    }
  }

  #subscribe(session: Session, subscriptions: readonly RecordedSubscription[]): void {
    for (const { topic, qos, nl, rap, new: newest, id = 0 } of subscriptions) {
      const options = { noLocal: nl === 1, asPublished: rap === 1, conflate: newest === 1 }
      this.#state.subscribe(session, { filter: topic, qos, ...options, id })
    }
  }

  #applyTo(session: Session, record: JournalRecord): void {
    switch (record.t) {
      case 'unsub':
        for (const filter of record.f) this.#state.unsubscribe(session, filter)
        return
      case 'num':
      case 'drop': {
        const entry = session.unsent.find(record.n)
        if (!entry) return
        if (record.t === 'num') number(session, entry, record.m)
        else if (session.unsent.remove(entry)) session.over(entry)
        return
      }
      case 'rel': {
        const entry = session.inflight.get(record.m)
        if (entry) entry.state = 'released'
        return
      }
      case 'ack': {
        const entry = session.inflight.remove(record.m)
        if (entry) session.over(entry)
        return
      }
      case 'out':
        session.incoming.delete(record.m)
        return
      case 'clear':
        session.incoming.clear()
    }
  }
}

/** Returns a message with a payload of its own: the payload read is a view of a much larger buffer. */
function messageOf(head: Headed, payload: Buffer): Published {
  return { ...head, payload: Buffer.from(payload) }
}

function willOf({ p, u = '', d = 0, x }: RecordedWill, payload: Buffer): LastWill {
  return { ...messageOf(headed(p), payload), user: u, delay: d, expiry: x }
}

/** Gives a queued message the packet id recorded in the journal. */
function number({ unsent, inflight }: Session, entry: Queued, packetId: number): void {
  unsent.remove(entry)
  inflight.add(entry, packetId)
}
