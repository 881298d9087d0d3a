import type { Outward, QoS } from '../model.js'
import { isWildcard } from '../topics.js'
import { Emitter } from './emitter.js'
import { RetainedMessages } from './retained.js'
import { type Queued, type QueueLimits, reachOf, Session, type SessionHost, spooled } from './session.js'
import { encodeRecord, head, type JournalRecord, type QueuedFor, type RecordedHead } from './session-records.js'

/** A message with its publisher; both empty for the hub itself. */
export type Published = Outward & { readonly clientId: string; readonly user?: string }

/**
 * What outlives a connection, in memory, and the same as journal records: `apply` makes it of them one by one,
 * `snapshot` gives the records that would make it.
 */
export class SessionState {
  /** Durable sessions by client id. */
  readonly sessions = new Map<string, Session>()
  /** Those without a connection, absent longest first. */
  readonly absent = new Set<Session>()
  readonly emitter = new Emitter()
  readonly retained = new RetainedMessages()
  /** Those of the hub itself, under `$`, which no limit is for. */
  readonly own = new RetainedMessages()
  readonly wills = new Map<string, Published>()
  /** All publishes up to this spool sequence are in. */
  applied = 0
  /** Spool sequences above `applied` that the journal has in its queues. */
  readonly queuedBefore = new Set<number>()
  readonly #limits: QueueLimits
  readonly #host: SessionHost

  constructor(limits: QueueLimits, host: SessionHost) {
    this.#limits = limits
    this.#host = host
  }

  create(clientId: string): Session {
    const session = new Session(clientId, true, this.#limits, this.#host)
    this.sessions.set(clientId, session)
    return session
  }

  remove(clientId: string): boolean {
    const session = this.sessions.get(clientId)
    if (!session) return false
    for (const subscription of session.subscriptions.values()) this.emitter.remove(subscription)
    session.subscriptions.clear()
    this.absent.delete(session)
    return this.sessions.delete(clientId)
  }

  /** Of a durable session or a passing one. */
  subscribe(session: Session, filter: string, qos: QoS): void {
    if (session.subscriptions.get(filter)?.qos === qos) return
    this.unsubscribe(session, filter)
    const subscription = { session, filter, qos, reach: reachOf(session.access, filter) }
    session.subscriptions.set(filter, subscription)
    session.filterLength += filter.length
    if (isWildcard(filter)) session.wildcards++
    this.emitter.add(subscription)
  }

  unsubscribe(session: Session, filter: string): boolean {
    const subscription = session.subscriptions.get(filter)
    if (!subscription) return false
    session.subscriptions.delete(filter)
    session.filterLength -= filter.length
    if (isWildcard(filter)) session.wildcards--
    session.forgetRetained(filter)
    this.emitter.remove(subscription)
    return true
  }

  /** No wildcard reaches from one into the other. [MQTT-4.7.2-1] */
  retainedOf(filter: string): RetainedMessages {
    return filter.charCodeAt(0) === 36 ? this.own : this.retained
  }

  // — as records —

  apply(record: JournalRecord, payload: Buffer): void {
    if (record.q !== undefined && record.q > this.applied) this.applied = record.q
    const published = (p: RecordedHead): Published => ({ ...p, payload: Buffer.from(payload) })
    switch (record.t) {
      case 'mark':
        return
      case 'ret':
        if (payload.length === 0) this.retainedOf(record.p.topic).delete(record.p.topic)
        else this.retainedOf(record.p.topic).set(published(record.p))
        return
      case 'will':
        this.wills.set(record.c, { ...published(record.p), user: record.u ?? '' })
        return
      case 'unwill':
        this.wills.delete(record.c)
        return
      case 'forget':
        this.remove(record.c)
        return
      case 'enq': {
        const { topic, retain, clientId } = record.p
        const copy = Buffer.from(payload)
        const order = this.#host.nextOrder()
        if (record.x > 0) this.queuedBefore.add(record.x)
        for (const { c, n, o, m } of record.to) {
          const session = this.sessions.get(c) ?? this.create(c)
          // The group written right after a snapshot is in the snapshot already.
          if (n <= session.last) continue
          const entry = session.enqueue({ topic, payload: copy, qos: o, retain, at: record.a, order, clientId }, n)
          if (m > 0) session.number(entry, m)
        }
        return
      }
    }
    const known = this.sessions.get(record.c)
    switch (record.t) {
      case 'open': {
        const session = known ?? this.create(record.c)
        session.absentSince = record.a
        session.user = record.u ?? ''
        return
      }
      case 'sub':
        for (const { topic, qos } of record.s) this.subscribe(known ?? this.create(record.c), topic, qos)
        return
      case 'in':
        ;(known ?? this.create(record.c)).incoming.set(record.m, spooled)
        return
    }
    if (known) this.#applyTo(known, record)
  }

  #applyTo(session: Session, record: JournalRecord): void {
    switch (record.t) {
      case 'unsub':
        for (const filter of record.f) this.unsubscribe(session, filter)
        return
      case 'num':
      case 'drop': {
        const entry = find(session.unsent, record.n)
        if (!entry) return
        if (record.t === 'num') session.number(entry, record.m)
        else session.drop(entry)
        return
      }
      case 'rel': {
        const entry = session.inflight.get(record.m)
        if (entry) entry.released = true
        return
      }
      case 'ack':
        session.inflight.delete(record.m)
        return
      case 'out':
        session.incoming.delete(record.m)
        return
      case 'clear':
        session.incoming.clear()
    }
  }

  /** The state as records, in an order that rebuilds it. */
  *snapshot(): Generator<Buffer> {
    yield encodeRecord({ t: 'mark', q: this.applied })
    for (const message of [...this.retained.all(), ...this.own.all()]) {
      if (!isJournalled(message.topic)) continue
      yield encodeRecord({ t: 'ret', p: head({ ...message, retain: true }) }, message.payload)
    }
    for (const [c, will] of this.wills) yield encodeRecord(willRecord(c, will), will.payload)
    for (const [c, session] of this.sessions) {
      yield encodeRecord({ t: 'open', c, a: session.absentSince, ...(session.user && { u: session.user }) })
      const s = [...session.subscriptions.values()].map(({ filter, qos }) => ({ topic: filter, qos }))
      if (s.length > 0) yield encodeRecord({ t: 'sub', c, s })
      for (const m of session.incoming.keys()) yield encodeRecord({ t: 'in', c, m })
    }
    yield* this.#queueSnapshot()
  }

  /** What is queued, in the order it came, each message once however many sessions it waits in. */
  *#queueSnapshot(): Generator<Buffer> {
    const queued = new Map<number, { readonly entry: Queued; readonly to: QueuedFor[] }>()
    const released: { c: string; m: number }[] = []
    for (const [c, session] of this.sessions) {
      for (const entry of [...session.inflight.values(), ...session.unsent]) {
        const { order, n, qos: o, packetId: m } = entry
        const same = queued.get(order) ?? { entry, to: [] }
        if (same.to.length === 0) queued.set(order, same)
        same.to.push({ c, n, o, m })
        if (entry.released) released.push({ c, m })
      }
    }
    for (const [, { entry, to }] of [...queued].sort(([a], [b]) => a - b)) {
      yield encodeRecord({ t: 'enq', to, x: 0, a: entry.at, p: head(entry) }, entry.payload)
    }
    for (const { c, m } of released) yield encodeRecord({ t: 'rel', c, m })
  }
}

/** `$hub/last/…` is made anew from the registry on every start, `$SYS/…` by the statistics. */
export function isJournalled(topic: string): boolean {
  return !topic.startsWith('$hub/last/') && !topic.startsWith('$SYS/')
}

function find(entries: Iterable<Queued>, n: number): Queued | undefined {
  for (const entry of entries) if (entry.n === n) return entry
  return undefined
}

export function willRecord(c: string, { user: u, ...will }: Published): JournalRecord {
  return { t: 'will', c, ...(u && { u }), p: head(will) }
}
