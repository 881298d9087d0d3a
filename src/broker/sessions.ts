import type { Access } from '../auth/rules.js'
import type { QoS } from '../model.js'
import { atMost, type Retained } from './retained.js'
import { Delivery, type Queued, type QueueLimits, reachOf, Session, type SessionHost, spooled } from './session.js'
import { SessionJournal } from './session-journal.js'
import { head, type JournalRecord } from './session-records.js'
import { isJournalled, type Published, SessionState, willRecord } from './session-state.js'

export type Dropped = 'queue' | 'sessions' | 'session_age' | 'retained' | 'not_permitted'

export interface SessionsOptions {
  readonly dir: string
  readonly fsync: 'group' | 'interval'
  readonly queue: QueueLimits
  /** Durable sessions; past it the one absent longest goes. */
  readonly sessions: number
  /** How long the session of an absent client is kept, in milliseconds; 0 is for ever. */
  readonly sessionAgeMs: number
  readonly retained: { readonly messages: number; readonly bytes: number }
  /** What a user may do through a client, as of now; undefined: everything. */
  readonly access?: (user: string, clientId: string) => Access | undefined
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
  readonly #state: SessionState
  readonly #durable: SessionHost
  readonly #passing: SessionHost
  #order = 0
  #marked = 0
  /** Who waits for the journal to have what was recorded in this turn. */
  #waiting: ((error?: Error) => void)[] = []
  /** Sessions whose turn to send has yet to come. */
  readonly #later = new Set<Session>()
  #timer: NodeJS.Timeout | undefined

  constructor(options: SessionsOptions) {
    this.#options = options
    const { dir, fsync, warn, now } = options
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
      kept: done => this.#whenKept(done),
      acknowledged: (session, m) => record(session, { t: 'ack', c: session.clientId, m }),
      dropped: (session, { n }, why) => {
        record(session, { t: 'drop', c: session.clientId, n })
        options.dropped(why, session.clientId)
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
      kept: done => done(),
      acknowledged: nothing,
      dropped: ({ clientId }, _entry, why) => options.dropped(why, clientId),
    }
    this.#state = new SessionState(options.queue, this.#durable)
    this.#journal = new SessionJournal({ dir, fsync, warn, snapshot: () => this.#state.snapshot() })
  }

  /** Reads the journal. Call before anybody connects. */
  async load(): Promise<void> {
    const { now } = this.#options
    await this.#journal.load((record, payload) => this.#state.apply(record, payload))
    // Who was connected when the hub went down is absent from now on.
    for (const session of this.#state.sessions.values()) {
      if (session.absentSince > 0) continue
      session.absentSince = now()
      this.#recordOpen(session)
    }
    this.reconsider()
    const longest = [...this.#state.sessions.values()].sort((a, b) => a.absentSince - b.absentSince)
    for (const session of longest) this.#state.absent.add(session)
    this.#makeRoom()
    for (const sequence of this.#state.queuedBefore)
      if (sequence <= this.#state.applied) this.#state.queuedBefore.delete(sequence)
    this.#marked = this.#state.applied
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
    await new Promise<void>((resolve, reject) => this.#whenKept(error => (error ? reject(error) : resolve())))
  }

  /** All publishes up to this spool sequence are in. */
  get applied(): number {
    return this.#state.applied
  }

  get counts(): { sessions: number; absent: number; subscriptions: number; retained: number; retainedBytes: number } {
    return {
      sessions: this.#state.sessions.size,
      absent: this.#state.absent.size,
      subscriptions: this.#state.emitter.subscriptions,
      retained: this.#state.retained.count + this.#state.own.count,
      retainedBytes: this.#state.retained.bytes + this.#state.own.bytes,
    }
  }

  /** The spool has committed up to `sequence`, and all of it has been published here. */
  committed(sequence: number): void {
    this.#state.applied = sequence
    // What was played again after a crash is played by now; from here on sequence numbers are new.
    if (this.#state.queuedBefore.size > 0) this.#state.queuedBefore.clear()
  }

  /**
   * Takes one publish: retained message, subscribers that are there, queues of those that are not. Synchronous.
   * `sequence` is its place in the spool, 0 if it has none: published again after a crash, it is queued once.
   */
  publish(message: Published, sequence: number): void {
    if (message.retain) this.#retain(message)
    if (this.#state.queuedBefore.size > 0 && this.#state.queuedBefore.has(sequence)) return
    const { topic, payload, qos, clientId } = message
    const found = this.#state.emitter.find(topic)
    if (found.length === 0) return
    const delivery = new Delivery(topic, payload, qos, clientId, this.#options.now(), ++this.#order)
    const queued = this.#state.emitter.emit(delivery, found)
    if (queued.length > 0) this.#recordQueued(queued, delivery, sequence)
  }

  // — sessions —

  all(): Iterable<Session> {
    return this.#state.sessions.values()
  }

  /** The durable session of a client, if there is one. */
  find(clientId: string): Session | undefined {
    return this.#state.sessions.get(clientId)
  }

  /** The session a connection of `user` begins with: a new one, or for `clean` false the one it had. [MQTT-3.1.2-4] [MQTT-3.1.2-6] */
  open(clientId: string, clean: boolean, user = ''): { session: Session; present: boolean } {
    const { queue } = this.#options
    if (clean) {
      this.forget(clientId)
      const session = new Session(clientId, false, queue, this.#passing)
      session.user = user
      this.permit(session)
      return { session, present: false }
    }
    const left = this.#state.sessions.get(clientId)
    // What somebody else began is not handed on; of before there were users, it is.
    if (left && left.user !== '' && left.user !== user && this.#options.access?.(user, clientId)) this.forget(clientId)
    const known = this.#state.sessions.get(clientId)
    const session = known ?? this.#state.create(clientId)
    this.#state.absent.delete(session)
    session.absentSince = 0
    session.user = user
    this.permit(session)
    this.#recordOpen(session)
    if (!known) this.#makeRoom()
    return { session, present: known !== undefined }
  }

  /** Its connection is over. */
  leave(session: Session): void {
    session.detach()
    if (!session.durable) {
      for (const subscription of session.subscriptions.values()) this.#state.emitter.remove(subscription)
      session.subscriptions.clear()
    } else if (this.#state.sessions.get(session.clientId) === session && !this.#state.absent.has(session)) {
      session.absentSince = this.#options.now()
      this.#state.absent.add(session)
      this.#recordOpen(session)
      // Without what was remembered of its topics: there may be a hundred thousand who are away.
      session.access = this.#options.access?.(session.user, session.clientId)
    }
  }

  /** Permissions have changed: what each durable session may be told is asked anew, and holds from now on. */
  reconsider(): void {
    for (const session of this.#state.sessions.values()) this.permit(session)
  }

  /** Likewise of one session, kept or not. */
  permit(session: Session): void {
    session.access = this.#options.access?.(session.user, session.clientId)
    session.narrow()
  }

  /** Ends a durable session. */
  forget(clientId: string): void {
    if (this.#state.remove(clientId)) this.#record({ t: 'forget', c: clientId })
  }

  subscribe(session: Session, filter: string, qos: QoS): void {
    if (session.durable && !this.#isKept(session)) return
    this.#state.subscribe(session, filter, qos)
    if (session.durable) this.#record({ t: 'sub', c: session.clientId, s: [{ topic: filter, qos }] })
  }

  unsubscribe(session: Session, filter: string): void {
    if (this.#state.unsubscribe(session, filter) && this.#isKept(session)) {
      this.#record({ t: 'unsub', c: session.clientId, f: [filter] })
    }
  }

  /** The subscriptions that a publish to this topic would reach, each. */
  subscribers(topic: string) {
    return this.#state.emitter.find(topic).flatMap(subscriptions => [...subscriptions])
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
    const found = atMost(qos, this.#state.retainedOf(filter).search(filter))
    session.offerRetained(filter, reachOf(session.access, filter) === 'all' ? found : permitted(session, found))
  }

  /** Lets go of what is too old. */
  expire(): void {
    const { sessionAgeMs, queue, now, dropped } = this.#options
    const time = now()
    if (sessionAgeMs > 0) {
      for (const session of this.#state.absent) {
        if (time - session.absentSince < sessionAgeMs) break
        this.forget(session.clientId)
        dropped('session_age', session.clientId)
      }
    }
    if (queue.ageMs > 0) for (const session of this.#state.absent) session.expire(time)
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
    const session = this.#state.sessions.get(clientId)
    if (session) this.received(session, packetId)
  }

  // — wills —

  putWill(will: Published): void {
    this.#state.wills.set(will.clientId, { ...will, payload: Buffer.from(will.payload) })
    this.#record(willRecord(will.clientId, will), will.payload)
  }

  deleteWill(clientId: string): Published | undefined {
    const will = this.#state.wills.get(clientId)
    if (!will) return undefined
    this.#state.wills.delete(clientId)
    this.#record({ t: 'unwill', c: clientId })
    return will
  }

  will(clientId: string): Published | undefined {
    return this.#state.wills.get(clientId)
  }

  wills(): readonly Published[] {
    return [...this.#state.wills.values()]
  }

  // — retained —

  retainedBy(filter: string): Iterable<Retained> {
    return this.#state.retainedOf(filter).match(filter)
  }

  #retain(message: Published): void {
    const { topic, payload, clientId } = message
    const { retained, dropped } = this.#options
    if (payload.length === 0) {
      if (!this.#state.retainedOf(topic).delete(topic)) return
    } else {
      const all = this.#state.retainedOf(topic)
      const isNew = all === this.#state.retained && all.get(topic) === undefined
      if (isNew && (all.count >= retained.messages || all.bytes >= retained.bytes)) {
        dropped('retained', clientId)
        return
      }
      all.set(message)
    }
    if (isJournalled(topic)) this.#record({ t: 'ret', p: head(message) }, payload)
  }

  // — the state —

  /** Is it the durable session of its client? */
  #isKept(session: Session): boolean {
    return session.durable && this.#state.sessions.get(session.clientId) === session
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
    for (const longest of this.#state.absent) {
      if (this.#state.sessions.size <= this.#options.sessions) return
      this.forget(longest.clientId)
      this.#options.dropped('sessions', longest.clientId)
    }
  }

  // — the journal —

  #recordOpen({ clientId: c, absentSince: a, user: u }: Session): void {
    this.#record({ t: 'open', c, a, ...(u && { u }) })
  }

  /** Calls `done` when all that is recorded until the end of this turn outlives a crash. */
  #whenKept(done: (error?: Error) => void): void {
    this.#waiting.push(done)
    if (this.#waiting.length > 1) return
    queueMicrotask(() => {
      const waiting = this.#waiting
      this.#waiting = []
      this.#record({ t: 'mark' }, undefined, error => {
        for (const each of waiting) each(error)
      })
    })
  }

  #record(record: JournalRecord, payload?: Buffer, done?: (error?: Error) => void): void {
    this.#marked = this.#state.applied
    this.#journal.record({ ...record, q: this.#state.applied }, payload, done)
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
    if (this.#state.applied > this.#marked) this.#record({ t: 'mark' })
  }
}

/** Retained messages that may be looked at in a turn without one that may be read. */
const lookedAt = 256

/** Those of `found` that the session may read; undefined is a pause. */
function* permitted<T extends { readonly topic: string }>(
  session: Session,
  found: Iterable<T | undefined>,
): Generator<T | undefined> {
  let looked = 0
  for (const message of found) {
    if (message === undefined || session.mayReceive(message.topic)) {
      looked = 0
      yield message
    } else if (++looked === lookedAt) {
      looked = 0
      yield undefined
    }
  }
}
