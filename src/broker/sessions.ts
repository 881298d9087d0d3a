import type { Outward, QoS } from '../model.js'
import { Emitter } from './emitter.js'
import { atMost, type Retained, RetainedMessages } from './retained.js'
import { Delivery, type Queued, type QueueLimits, Session, type SessionHost, spooled } from './session.js'
import { SessionJournal } from './session-journal.js'
import { encodeRecord, head, type JournalRecord, type QueuedFor, type RecordedHead } from './session-records.js'

/** A message with its publisher; empty for the hub itself. */
export type Published = Outward & { readonly clientId: string }

export type Dropped = 'queue' | 'sessions' | 'session_age' | 'retained'

export interface SessionsOptions {
  readonly dir: string
  readonly fsync: 'group' | 'interval'
  readonly queue: QueueLimits
  /** Durable sessions; past it the one absent longest goes. */
  readonly sessions: number
  /** How long the session of an absent client is kept, in milliseconds; 0 is for ever. */
  readonly sessionAgeMs: number
  readonly retained: { readonly messages: number; readonly bytes: number }
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Something acknowledged will not reach this client, or nobody who subscribes later, for want of room or by age. */
  readonly dropped: (what: Dropped, clientId: string) => void
  readonly warn: (sentence: string) => void
}

const pumpedInTurn = 8

/** QoS 2 publishes of one client that may wait for their PUBREL: MQTT 3.1.1 has no way to tell it of a limit. */
const maxIncoming = 1_000

/**
 * Sessions, their subscriptions and queues, retained messages, wills and QoS 2 state. Memory is the truth: every call
 * completes at once, so nothing overtakes anything (research: aedes.md §4.1); every change of what outlives a
 * connection is appended to a journal by group commit. `flush` resolves when the journal has all of it.
 *
 * A crash may cost the journal its last moment although the spool already has the messages of it. Every record
 * therefore carries `q`, the spool sequence up to which everything is in; on start the broker plays the spool from
 * there on again (`applied`).
 *
 * What is bounded, and what goes when the bound is reached: a queue loses its oldest; of too many sessions the one
 * absent longest goes; a retained message on a new topic is delivered, but not retained. Each is counted.
 */
export class Sessions {
  readonly #options: SessionsOptions
  readonly #journal: SessionJournal
  readonly #emitter = new Emitter()
  readonly #sessions = new Map<string, Session>()
  /** Durable sessions without a connection, absent longest first. */
  readonly #absent = new Set<Session>()
  readonly #retained = new RetainedMessages()
  /** Those of the hub itself, under `$`, which no limit is for. */
  readonly #own = new RetainedMessages()
  readonly #wills = new Map<string, Published>()
  readonly #durable: SessionHost
  readonly #passing: SessionHost
  #order = 0
  #applied = 0
  #marked = 0
  /** Spool sequences above `applied` that the journal has in its queues. */
  readonly #queuedBefore = new Set<number>()
  /** Sessions whose turn to send has yet to come. */
  readonly #later = new Set<Session>()
  #timer: NodeJS.Timeout | undefined

  constructor(options: SessionsOptions) {
    this.#options = options
    const { dir, fsync, warn, now } = options
    this.#journal = new SessionJournal({ dir, fsync, warn, snapshot: () => this.#snapshot() })
    const nextOrder = () => ++this.#order
    const later = (session: Session) => this.#pumpLater(session)
    // What still comes of a session that is over, or replaced, is not told of the one that is there now.
    const record = (session: Session, record: JournalRecord) => this.#isKept(session) && this.#record(record)
    this.#durable = {
      now,
      nextOrder,
      later,
      queued: (session, entry) => this.#isKept(session) && this.#recordQueued([{ session, entry }], entry, 0),
      sent: (session, { n, packetId: m }) => record(session, { t: 'num', c: session.clientId, n, m }),
      released: (session, m, done) => {
        if (!this.#isKept(session)) return
        this.#record({ t: 'rel', c: session.clientId, m }, undefined, error => {
          if (error) options.warn(`${session.clientId}: not acknowledged: ${error.message}`)
          done(error)
        })
      },
      acknowledged: (session, m) => record(session, { t: 'ack', c: session.clientId, m }),
      dropped: (session, { n }) => {
        record(session, { t: 'drop', c: session.clientId, n })
        options.dropped('queue', session.clientId)
      },
    }
    const nothing = () => {}
    this.#passing = {
      now,
      nextOrder,
      later,
      queued: nothing,
      sent: nothing,
      released: (_session, _packetId, done) => done(),
      acknowledged: nothing,
      dropped: ({ clientId }) => options.dropped('queue', clientId),
    }
  }

  /** Reads the journal. Call before anybody connects. */
  async load(): Promise<void> {
    const { now } = this.#options
    await this.#journal.load((record, payload) => this.#apply(record, payload))
    // Who was connected when the hub went down is absent from now on.
    for (const session of this.#sessions.values()) {
      if (session.absentSince > 0) continue
      session.absentSince = now()
      this.#record({ t: 'open', c: session.clientId, a: session.absentSince })
    }
    const longest = [...this.#sessions.values()].sort((a, b) => a.absentSince - b.absentSince)
    for (const session of longest) this.#absent.add(session)
    this.#makeRoom()
    for (const sequence of this.#queuedBefore) if (sequence <= this.#applied) this.#queuedBefore.delete(sequence)
    this.#marked = this.#applied
    this.#timer = setInterval(() => {
      this.#mark()
      this.expire()
    }, 1_000).unref()
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#mark()
    await this.#journal.close()
  }

  /** Resolves when all changes so far are on disk. Rejects when the disk refused any of the last ones. */
  async flush(): Promise<void> {
    await new Promise<void>((resolve, reject) =>
      this.#record({ t: 'mark' }, undefined, error => (error ? reject(error) : resolve())),
    )
  }

  /** All publishes up to this spool sequence are in. */
  get applied(): number {
    return this.#applied
  }

  get counts(): { sessions: number; absent: number; subscriptions: number; retained: number; retainedBytes: number } {
    return {
      sessions: this.#sessions.size,
      absent: this.#absent.size,
      subscriptions: this.#emitter.subscriptions,
      retained: this.#retained.count + this.#own.count,
      retainedBytes: this.#retained.bytes + this.#own.bytes,
    }
  }

  /** The spool has committed up to `sequence`, and all of it has been published here. */
  committed(sequence: number): void {
    this.#applied = sequence
    // What was played again after a crash is played by now; from here on sequence numbers are new.
    if (this.#queuedBefore.size > 0) this.#queuedBefore.clear()
  }

  /**
   * Takes one publish: retained message, subscribers that are there, queues of those that are not. Synchronous.
   * `sequence` is its place in the spool, 0 if it has none: published again after a crash, it is queued once.
   */
  publish(message: Published, sequence: number): void {
    if (message.retain) this.#retain(message)
    if (this.#queuedBefore.size > 0 && this.#queuedBefore.has(sequence)) return
    const { topic, payload, qos, clientId } = message
    const found = this.#emitter.find(topic)
    if (found.length === 0) return
    const delivery = new Delivery(topic, payload, qos, clientId, this.#options.now(), ++this.#order)
    const queued = this.#emitter.emit(delivery, found)
    if (queued.length > 0) this.#recordQueued(queued, delivery, sequence)
  }

  // — sessions —

  all(): Iterable<Session> {
    return this.#sessions.values()
  }

  /** The durable session of a client, if there is one. */
  find(clientId: string): Session | undefined {
    return this.#sessions.get(clientId)
  }

  /** The session a connection begins with: a new one, or for `clean` false the one it had. [MQTT-3.1.2-4] [MQTT-3.1.2-6] */
  open(clientId: string, clean: boolean): { session: Session; present: boolean } {
    if (clean) {
      this.forget(clientId)
      return { session: new Session(clientId, false, this.#options.queue, this.#passing), present: false }
    }
    const known = this.#sessions.get(clientId)
    const session = known ?? this.#create(clientId)
    this.#absent.delete(session)
    session.absentSince = 0
    this.#record({ t: 'open', c: clientId, a: 0 })
    if (!known) this.#makeRoom()
    return { session, present: known !== undefined }
  }

  /** Its connection is over. */
  leave(session: Session): void {
    session.detach()
    if (!session.durable) {
      for (const subscription of session.subscriptions.values()) this.#emitter.remove(subscription)
      session.subscriptions.clear()
    } else if (this.#sessions.get(session.clientId) === session && !this.#absent.has(session)) {
      session.absentSince = this.#options.now()
      this.#absent.add(session)
      this.#record({ t: 'open', c: session.clientId, a: session.absentSince })
    }
  }

  /** Ends a durable session. */
  forget(clientId: string): void {
    if (this.#remove(clientId)) this.#record({ t: 'forget', c: clientId })
  }

  subscribe(session: Session, filter: string, qos: QoS): void {
    if (session.durable && !this.#isKept(session)) return
    this.#subscribe(session, filter, qos)
    if (session.durable) this.#record({ t: 'sub', c: session.clientId, s: [{ topic: filter, qos }] })
  }

  unsubscribe(session: Session, filter: string): void {
    if (this.#unfile(session, filter) && this.#isKept(session)) {
      this.#record({ t: 'unsub', c: session.clientId, f: [filter] })
    }
  }

  /** The subscriptions that a publish to this topic would reach, each. */
  subscribers(topic: string) {
    return this.#emitter.find(topic).flatMap(subscriptions => [...subscriptions])
  }

  /** Queues a message for one durable session, whatever it subscribes to. */
  enqueue(session: Session, { topic, payload, qos, retain, clientId }: Published): Queued {
    const at = this.#options.now()
    const entry = session.enqueue({
      topic,
      payload: Buffer.from(payload),
      qos: qos === 2 ? 2 : 1,
      retain,
      at,
      order: ++this.#order,
      clientId,
    })
    this.#durable.queued(session, entry)
    return entry
  }

  number(session: Session, entry: Queued, packetId: number): void {
    session.number(entry, packetId)
    this.#durable.sent(session, entry)
  }

  /** Sends a new subscription the retained messages it matches, at the lower QoS. [MQTT-3.3.1-6] [MQTT-3.3.1-8] */
  offerRetained(session: Session, filter: string, qos: QoS): void {
    session.offerRetained(filter, atMost(qos, this.#retainedOf(filter).search(filter)))
  }

  /** Lets go of what is too old. */
  expire(): void {
    const { sessionAgeMs, queue, now, dropped } = this.#options
    const time = now()
    if (sessionAgeMs > 0) {
      for (const session of this.#absent) {
        if (time - session.absentSince < sessionAgeMs) break
        this.forget(session.clientId)
        dropped('session_age', session.clientId)
      }
    }
    if (queue.ageMs > 0) for (const session of this.#absent) session.expire(time)
  }

  // — QoS 2 of the client —

  /**
   * A QoS 2 publish arrives. The first time, `accept` is to make it durable; a retransmission is recognised and only
   * waits for that. `done` runs when PUBREC may be sent; with an error it must not be, and the publish may come again.
   */
  receive(
    session: Session,
    packetId: number,
    accept: (done: (error?: Error) => void) => void,
    done: (error?: Error) => void,
  ): void {
    // By its packet id alone: DUP is not set by every client that retransmits, and an id is only free again after a
    // PUBCOMP, which is not sent before the release is on disk. [MQTT-4.3.3-2]
    if (session.incoming.has(packetId)) {
      done()
      return
    }
    const accepting = session.accepting.get(packetId)
    if (accepting) {
      accepting.push(done)
      return
    }
    if (session.incoming.size + session.accepting.size >= maxIncoming) {
      done(new Error(`more than ${maxIncoming} QoS 2 publishes are waiting for their PUBREL`))
      return
    }
    const waiting = [done]
    session.accepting.set(packetId, waiting)
    accept(error => {
      session.accepting.delete(packetId)
      if (!error) this.received(session, packetId)
      for (const each of waiting) each(error)
    })
  }

  received(session: Session, packetId: number, packet: object | typeof spooled = spooled): void {
    session.incoming.set(packetId, packet)
    if (this.#isKept(session)) this.#record({ t: 'in', c: session.clientId, m: packetId })
  }

  /** PUBREL came. `done` runs when the release is on disk: after PUBCOMP the client may use the packet id again. */
  release(session: Session, packetId: number, done: (error?: Error) => void): void {
    session.incoming.delete(packetId)
    // Also when it was released before: that may still be on its way to the disk.
    if (this.#isKept(session)) this.#record({ t: 'out', c: session.clientId, m: packetId }, undefined, done)
    else done()
  }

  clearIncoming(session: Session): void {
    if (session.incoming.size === 0) return
    session.incoming.clear()
    if (this.#isKept(session)) this.#record({ t: 'clear', c: session.clientId })
  }

  /** A spooled QoS 2 publish of before the crash: its retransmission must be recognised. */
  recoverIncoming(clientId: string, packetId: number): void {
    const session = this.#sessions.get(clientId)
    if (session) this.received(session, packetId)
  }

  // — wills —

  putWill(will: Published): void {
    this.#wills.set(will.clientId, { ...will, payload: Buffer.from(will.payload) })
    this.#record({ t: 'will', c: will.clientId, p: head(will) }, will.payload)
  }

  deleteWill(clientId: string): Published | undefined {
    const will = this.#wills.get(clientId)
    if (!will) return undefined
    this.#wills.delete(clientId)
    this.#record({ t: 'unwill', c: clientId })
    return will
  }

  will(clientId: string): Published | undefined {
    return this.#wills.get(clientId)
  }

  wills(): readonly Published[] {
    return [...this.#wills.values()]
  }

  // — retained —

  retainedBy(filter: string): Iterable<Retained> {
    return this.#retainedOf(filter).match(filter)
  }

  /** No wildcard reaches from one into the other. [MQTT-4.7.2-1] */
  #retainedOf(filter: string): RetainedMessages {
    return filter.charCodeAt(0) === 36 ? this.#own : this.#retained
  }

  #retain(message: Published): void {
    const { topic, payload, clientId } = message
    const { retained, dropped } = this.#options
    if (payload.length === 0) {
      if (!this.#retainedOf(topic).delete(topic)) return
    } else {
      const all = this.#retainedOf(topic)
      const isNew = all === this.#retained && all.get(topic) === undefined
      if (isNew && (all.count >= retained.messages || all.bytes >= retained.bytes)) {
        dropped('retained', clientId)
        return
      }
      all.set(message)
    }
    if (isJournalled(topic)) this.#record({ t: 'ret', p: head(message) }, payload)
  }

  // — the state —

  #create(clientId: string): Session {
    const session = new Session(clientId, true, this.#options.queue, this.#durable)
    this.#sessions.set(clientId, session)
    return session
  }

  /** Is it the durable session of its client? */
  #isKept(session: Session): boolean {
    return session.durable && this.#sessions.get(session.clientId) === session
  }

  /** A few each turn: what they look for may take long. */
  #pumpLater(session: Session): void {
    if (this.#later.size === 0) setImmediate(this.#pumpSome)
    this.#later.add(session)
  }

  readonly #pumpSome = (): void => {
    const some = [...this.#later].slice(0, pumpedInTurn)
    for (const session of some) this.#later.delete(session)
    const isLeft = this.#later.size > 0
    for (const session of some) session.pump()
    if (isLeft) setImmediate(this.#pumpSome)
  }

  #makeRoom(): void {
    for (const longest of this.#absent) {
      if (this.#sessions.size <= this.#options.sessions) return
      this.forget(longest.clientId)
      this.#options.dropped('sessions', longest.clientId)
    }
  }

  #remove(clientId: string): boolean {
    const session = this.#sessions.get(clientId)
    if (!session) return false
    for (const subscription of session.subscriptions.values()) this.#emitter.remove(subscription)
    session.subscriptions.clear()
    this.#absent.delete(session)
    return this.#sessions.delete(clientId)
  }

  #subscribe(session: Session, filter: string, qos: QoS): void {
    if (session.subscriptions.get(filter)?.qos === qos) return
    this.#unfile(session, filter)
    const subscription = { session, filter, qos }
    session.subscriptions.set(filter, subscription)
    session.filterLength += filter.length
    this.#emitter.add(subscription)
  }

  #unfile(session: Session, filter: string): boolean {
    const subscription = session.subscriptions.get(filter)
    if (!subscription) return false
    session.subscriptions.delete(filter)
    session.filterLength -= filter.length
    session.forgetRetained(filter)
    this.#emitter.remove(subscription)
    return true
  }

  // — the journal —

  #record(record: JournalRecord, payload?: Buffer, done?: (error?: Error) => void): void {
    this.#marked = this.#applied
    this.#journal.record({ ...record, q: this.#applied }, payload, done)
  }

  #recordQueued(
    queued: readonly { readonly session: Session; readonly entry: Queued }[],
    { topic, qos, payload, clientId, at }: Pick<Delivery, 'topic' | 'qos' | 'payload' | 'clientId' | 'at'>,
    sequence: number,
  ): void {
    const to = queued.map(({ session, entry: { n, qos: o, packetId: m } }) => ({ c: session.clientId, n, o, m }))
    const retain = queued[0]?.entry.retain === true
    this.#record({ t: 'enq', to, x: sequence, a: at, p: { topic, qos, retain, clientId } }, payload)
  }

  #mark(): void {
    if (this.#applied > this.#marked) this.#record({ t: 'mark' })
  }

  #apply(record: JournalRecord, payload: Buffer): void {
    if (record.q !== undefined && record.q > this.#applied) this.#applied = record.q
    const published = (p: RecordedHead): Published => ({ ...p, payload: Buffer.from(payload) })
    switch (record.t) {
      case 'mark':
        return
      case 'ret':
        if (payload.length === 0) this.#retainedOf(record.p.topic).delete(record.p.topic)
        else this.#retainedOf(record.p.topic).set(published(record.p))
        return
      case 'will':
        this.#wills.set(record.c, published(record.p))
        return
      case 'unwill':
        this.#wills.delete(record.c)
        return
      case 'forget':
        this.#remove(record.c)
        return
      case 'enq': {
        const { topic, retain, clientId } = record.p
        const copy = Buffer.from(payload)
        const order = ++this.#order
        if (record.x > 0) this.#queuedBefore.add(record.x)
        for (const { c, n, o, m } of record.to) {
          const session = this.#sessions.get(c) ?? this.#create(c)
          // The group written right after a snapshot is in the snapshot already.
          if (n <= session.last) continue
          const entry = session.enqueue({ topic, payload: copy, qos: o, retain, at: record.a, order, clientId }, n)
          if (m > 0) session.number(entry, m)
        }
        return
      }
    }
    const known = this.#sessions.get(record.c)
    switch (record.t) {
      case 'open':
        ;(known ?? this.#create(record.c)).absentSince = record.a
        return
      case 'sub':
        for (const { topic, qos } of record.s) this.#subscribe(known ?? this.#create(record.c), topic, qos)
        return
      case 'in':
        ;(known ?? this.#create(record.c)).incoming.set(record.m, spooled)
        return
    }
    if (known) this.#applyTo(known, record)
  }

  #applyTo(session: Session, record: JournalRecord): void {
    switch (record.t) {
      case 'unsub':
        for (const filter of record.f) this.#unfile(session, filter)
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
  *#snapshot(): Generator<Buffer> {
    yield encodeRecord({ t: 'mark', q: this.#applied })
    for (const message of [...this.#retained.all(), ...this.#own.all()]) {
      if (!isJournalled(message.topic)) continue
      yield encodeRecord({ t: 'ret', p: head({ ...message, retain: true }) }, message.payload)
    }
    for (const [c, will] of this.#wills) yield encodeRecord({ t: 'will', c, p: head(will) }, will.payload)
    for (const [c, session] of this.#sessions) {
      yield encodeRecord({ t: 'open', c, a: session.absentSince })
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
    for (const [c, session] of this.#sessions) {
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
function isJournalled(topic: string): boolean {
  return !topic.startsWith('$hub/last/') && !topic.startsWith('$SYS/')
}

function find(entries: Iterable<Queued>, n: number): Queued | undefined {
  for (const entry of entries) if (entry.n === n) return entry
  return undefined
}
