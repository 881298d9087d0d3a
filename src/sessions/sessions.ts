import type { QoS } from '../model.js'
import { charge, type Work } from '../runtime/work.js'
import { isExpired, OutboundMessage, type Queued } from './delivery.js'
import { LastWills } from './last-wills.js'
import type { Retained } from './retained.js'
import { retainedFor } from './retained-offer.js'
import { Session } from './session.js'
import { capture } from './session-capture.js'
import type { SessionEvents } from './session-host.js'
import { SessionJournal, usualPace } from './session-journal.js'
import { sessionName } from './session-name.js'
import type { QueueMemory } from './session-queue.js'
import type { JournalRecord } from './session-records.js'
import { SessionReplay } from './session-replay.js'
import {
  isJournalled,
  openRecord,
  type Published,
  queuedFor,
  recordedSubscription,
  SessionState,
  type Subscribing,
} from './session-state.js'
import { queueMemoryOf, type SessionOpening, type SessionsOptions } from './sessions-options.js'
import { SharedFailover } from './shared-failover.js'
import { narrow } from './subscription.js'
import type { QueuedIn } from './subscription-index.js'

/** Retained messages that are checked for expiry in a second. */
const sweptAtOnce = 10_000

const pumpedInTurn = 8

/**
 * Sessions, their subscriptions and queues, retained messages, wills and QoS 2 state. Memory is the truth: every call
 * completes at once, so nothing overtakes anything. Every change of state that outlives a
 * connection is appended to a journal by group commit. `flush` resolves when the journal has all changes.
 *
 * A crash may cost the journal the last moment although the spool already has the messages of that moment. Every record
 * therefore carries `applied`, the spool sequence up to which everything is in. On start the broker replays the spool from
 * there.
 *
 * The following is bounded. A full queue drops the oldest message. Of too many sessions the one absent longest is
 * removed. Beyond the limit of retained messages, a retained message on a new topic is delivered, but not retained.
 * Each of these is counted.
 */
export class Sessions {
  readonly #options: SessionsOptions
  readonly #journal: SessionJournal<Session>
  readonly #state: SessionState
  readonly #durable: SessionEvents<Session>
  readonly #transient: SessionEvents<Session>
  readonly #failover: SharedFailover
  readonly wills: LastWills
  readonly #memory: QueueMemory
  /** Bytes of the queues in memory after the last snapshot. */
  #memoryBefore = 0
  readonly #work: Work
  #marked = 0
  /** Callbacks that wait for the journal to have the records of this turn. */
  #waiting: ((error?: Error) => void)[] = []
  /** Sessions whose turn to send has yet to come. */
  readonly #later = new Set<Session>()
  #timer: NodeJS.Timeout | undefined

  constructor(options: SessionsOptions) {
    this.#options = options
    this.#work = options.work
    const { dir, fsync, log, clock, incidents } = options
    this.#memory = queueMemoryOf(options)
    const later = (session: Session) => this.#pumpLater(session)
    // Events of a session that is over, or replaced, must not be recorded for the session that is there now.
    const record = (session: Session, record: JournalRecord) => this.#isKept(session) && this.#record(record)
    const moved = (session: Session, { n, packetId: m }: Queued) => {
      const { name: c } = session
      record(session, m > 0 ? { t: 'ack', c, m } : { t: 'drop', c, n })
    }
    const both: Pick<
      SessionEvents<Session>,
      'now' | 'memory' | 'later' | 'dropped' | 'moved' | 'groupDone' | 'takeOver'
    > = {
      now: () => clock.now(),
      memory: this.#memory,
      later,
      dropped: (session, entry, why) => {
        if (why === 'not_permitted' && this.#mayPass(entry) && this.#failover.reassign(session, entry)) return
        record(session, { t: 'drop', c: session.name, n: entry.n })
        options.dropped(why, session.clientId)
      },
      moved,
      groupDone: (session, { key }) => this.#state.index.group(key)?.absent.delete(session),
      takeOver: session => this.#failover.takeOver(session),
    }
    this.#durable = {
      queued: (session, entry) => this.#isKept(session) && this.#recordQueued([{ session, entry }], entry, 0),
      sent: (session, { n, packetId: m }) => record(session, { t: 'num', c: session.name, n, m }),
      released: (session, m, done) => {
        if (!this.#isKept(session)) return
        this.#record({ t: 'rel', c: session.name, m }, undefined, error => {
          if (error) options.log.warn(`${session.clientId}: not acknowledged: ${error.message}`)
          done(error)
        })
      },
      kept: done => this.#whenKept(done),
      acknowledged: (session, m) => record(session, { t: 'ack', c: session.name, m }),
      ...both,
    }
    const nothing = () => {}
    this.#transient = {
      queued: nothing,
      sent: nothing,
      released: (_session, _packetId, done) => done(),
      kept: done => done(),
      acknowledged: nothing,
      ...both,
    }
    this.#state = new SessionState(options.queue, this.#durable, this.#work, options.sharing)
    this.#failover = new SharedFailover({
      index: this.#state.index,
      queued: (queued, message) => this.#recordQueued(queued, message, 0),
      moved,
    })
    this.wills = new LastWills({
      state: this.#state,
      clock,
      record: (record, payload) => this.#record(record, payload),
      due: options.willDue,
    })
    const state = this.#state
    this.#journal = new SessionJournal({
      dir,
      fsync,
      pace: options.pace ?? usualPace,
      ...(options.files && { files: options.files }),
      target: new SessionReplay(state),
      snapshot: (to, options) => capture(state, to, options),
      payloads: state.payloads,
      applied: () => state.applied,
      isExpected: options.isExpected,
      incidents,
      log,
    })
  }

  /** Reads the journal. Called before any client connects. */
  async load(): Promise<void> {
    const { clock } = this.#options
    await this.#journal.load()
    // Clients that were connected when the hub went down are absent from now on.
    for (const session of this.#state.sessions.values()) {
      if (session.absentSince > 0) continue
      session.absentSince = clock.now()
      this.#record(openRecord(session))
    }
    this.reconsider()
    const longest = [...this.#state.sessions.values()].sort((a, b) => a.absentSince - b.absentSince)
    for (const session of longest) {
      this.#state.absent.add(session, session.user)
      this.#state.index.hold(session)
    }
    this.#makeRoom()
    for (const sequence of this.#state.queuedBefore)
      if (sequence <= this.#state.applied) this.#state.queuedBefore.delete(sequence)
    this.#marked = this.#state.applied
    this.#timer = setInterval(() => {
      this.#mark()
      this.#spill()
      this.expire()
      this.wills.publishDue()
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

  /** Begins a snapshot with the next change, unless one is being made. */
  snapshotNext(): void {
    this.#journal.snapshotNext()
    this.#record({ t: 'mark' })
  }

  /** Bytes of queued messages that are in memory. */
  get queueMemory(): number {
    return this.#memory.bytes
  }

  /** Resolves when no snapshot is being made. */
  settled(): Promise<void> {
    return this.#journal.settled()
  }

  /** Spool sequence up to which the sessions have all publishes. */
  get applied(): number {
    return this.#state.applied
  }

  /** Usage of the pools that users share. */
  get pools() {
    return this.#state.pools
  }

  get counts() {
    return this.#state.counts
  }

  /** Called when the spool has committed up to `sequence`, and all of that has been published here. */
  committed(sequence: number): void {
    this.#state.applied = sequence
    // The replay after a crash is over by now; from here on sequence numbers are new.
    if (this.#state.queuedBefore.size > 0) this.#state.queuedBefore.clear()
  }

  /**
   * Takes one publish, synchronously: retains the message, delivers to connected subscribers, and queues for absent
   * ones. `sequence` is the place in the spool, 0 if there is none: published again after a crash, a message is queued
   * once.
   */
  publish(message: Published, sequence: number): void {
    this.#work.done += charge.message
    if (message.retain) this.#retain(message)
    if (this.#state.queuedBefore.size > 0 && this.#state.queuedBefore.has(sequence)) return
    const { index } = this.#state
    const found = index.find(message.topic)
    const shared = index.findShared(message.topic)
    if (found.length === 0 && shared.length === 0) return
    const at = this.#options.clock.now()
    if (isExpired(message, at)) {
      this.#options.dropped('expired', message.clientId)
      return
    }
    const delivery = new OutboundMessage(message, at)
    const queued = found.length > 0 ? index.emit(delivery, found) : []
    if (shared.length === 0) {
      if (queued.length > 0) this.#recordQueued(queued, delivery, sequence)
      return
    }
    const all = [...queued, ...index.emitShared(delivery, shared)]
    if (all.length > 0) this.#recordQueued(all, delivery, sequence)
  }

  // — sessions —

  all(): Iterable<Session> {
    return this.#state.sessions.values()
  }

  /** Returns the durable session of that name (see {@link sessionName}), if there is one. */
  find(name: string): Session | undefined {
    return this.#state.sessions.get(name)
  }

  /**
   * Opens the session of a connection of `user`: a new one, or unless `clean` the earlier one of that client and user.
   * [MQTT-3.1.2-4] [MQTT-3.1.2-5] A session with `expiry` 0 ends with the connection.
   */
  open(clientId: string, { clean, expiry, user = '' }: SessionOpening): { session: Session; present: boolean } {
    const name = sessionName(user, clientId)
    this.#adopt(clientId, user, name)
    const left = this.#state.sessions.get(name)
    if (left && this.#isOver(left, this.#options.clock.now())) this.#outlived(left)
    else if (left && clean) this.forget(name)
    else this.wills.back(name, left !== undefined)
    const known = this.#state.sessions.get(name)
    if (!known && expiry === 0) {
      const session = new Session(name, false, this.#options.queue, this.#transient)
      session.expiry = 0
      this.permit(session)
      return { session, present: false }
    }
    const session = known ?? this.#state.create(name)
    this.#state.absent.delete(session)
    this.#state.index.back(session)
    session.absentSince = 0
    session.expiry = expiry
    this.permit(session)
    this.#record(openRecord(session))
    if (!known) this.#makeRoom()
    return { session, present: known !== undefined }
  }

  /** Gives a session from before there were users to the first user with the same client id. */
  #adopt(clientId: string, user: string, name: string): void {
    const early = user === '' ? undefined : this.#state.sessions.get(clientId)
    if (!early || early.attached || this.#state.sessions.has(name)) return
    this.wills.back(clientId, true)
    this.#record({ ...openRecord(this.#state.rename(early, name)), c: clientId })
  }

  /** Sets how many seconds the session outlives the connection. A transient session stays transient. */
  setExpiry(session: Session, expiry: number): void {
    session.expiry = expiry
    if (this.#isKept(session)) this.#record(openRecord(session))
  }

  /** Called when the connection of a session is over. */
  leave(session: Session): void {
    session.detach()
    const isKept = this.#isKept(session)
    if (!isKept || session.expiry === 0) {
      if (isKept) this.forget(session.name)
      else if (!session.durable) this.#end(session)
    } else if (!this.#state.absent.has(session)) {
      session.absentSince = this.#options.clock.now()
      this.#state.absent.add(session, session.user)
      this.#record(openRecord(session))
      // A new object without remembered topics: there may be a hundred thousand absent clients.
      session.access = this.#options.access?.(session.user, session.clientId)
      this.#state.index.hold(session)
    }
  }

  /** Applies changed permissions: each durable session gets the permissions as of now. */
  reconsider(): void {
    for (const session of this.#state.sessions.values()) this.permit(session)
  }

  /** Applies changed permissions to one session, durable or transient. */
  permit(session: Session): void {
    session.access = this.#options.access?.(session.user, session.clientId)
    narrow(session.subscriptions.values(), session.access)
    if (session.shared && session.attached) session.wake()
  }

  /** Ends the durable session of that name. A will that waits is due then. */
  forget(name: string): void {
    const session = this.#state.sessions.get(name)
    if (!session) return
    this.#end(session)
    this.#state.remove(name)
    this.#record({ t: 'forget', c: name })
    this.wills.back(name, false)
  }

  subscribe(session: Session, subscribing: Subscribing): void {
    if (session.durable && !this.#isKept(session)) return
    this.#state.subscribe(session, subscribing)
    const subscription = session.subscriptions.get(subscribing.filter)
    if (!subscription) return
    if (subscription.group) session.wake()
    if (session.durable) this.#record({ t: 'sub', c: session.name, s: [recordedSubscription(subscription)] })
  }

  /** Returns false when there was no such subscription. */
  unsubscribe(session: Session, filter: string): boolean {
    const subscription = this.#state.unsubscribe(session, filter)
    if (!subscription) return false
    if (subscription.group) this.#failover.left(subscription.group, session)
    if (this.#isKept(session)) this.#record({ t: 'unsub', c: session.name, f: [filter] })
    return true
  }

  /** Returns whether another member may get a message. A message sent with QoS 2 goes to no other. [MQTT-4.8.2-5] */
  #mayPass({ group, qos, packetId }: Queued): boolean {
    return group !== undefined && (qos === 1 || packetId === 0)
  }

  /** Ends a session: messages of shared subscriptions go to other members. */
  #end(session: Session): void {
    const { groups } = session
    this.#state.unsubscribeAll(session)
    for (const group of groups) this.#failover.left(group, session)
  }

  /** Returns each of the subscriptions that a publish to this topic would reach. */
  subscribers(topic: string) {
    return this.#state.index.find(topic).flatMap(({ values }) => [...values])
  }

  /** Queues a message for one durable session, regardless of subscriptions. */
  enqueue(session: Session, message: Published): Queued {
    const at = this.#options.clock.now()
    const payload = Buffer.from(message.payload)
    const qos = message.qos === 2 ? 2 : 1
    const entry = session.enqueue({ ...message, payload, qos, at, ids: undefined, group: undefined })
    this.#durable.queued(session, entry)
    return entry
  }

  number(session: Session, entry: Queued, packetId: number): void {
    session.number(entry, packetId)
    this.#durable.sent(session, entry)
  }

  /** Returns how many messages have been retained so far, of those that the filter may match. */
  retainedSoFar(filter: string): number {
    return this.#state.retainedOf(filter).changes
  }

  /**
   * Sends a new subscription the matching retained messages, at the lower QoS. [MQTT-3.3.1-6] [MQTT-3.3.1-8] `until` is
   * the value of {@link retainedSoFar} when the subscription was made. A message retained later has been delivered like
   * any other, unless the connection had no room for it.
   */
  offerRetained(session: Session, filter: string, qos: QoS, until = this.retainedSoFar(filter)): void {
    const { mayRetain } = this.#options
    session.offerRetained(filter, retainedFor(session, filter, qos, this.#state.retainedOf(filter), until, mayRetain))
  }

  /** Removes sessions, queued messages and retained messages that are too old. */
  expire(): void {
    const { queue, clock } = this.#options
    const time = clock.now()
    for (const session of this.#state.absent) {
      if (this.#isOver(session, time)) this.#outlived(session)
      else if (queue.ageMs > 0) session.expire(time)
    }
    this.#state.retained.sweep(sweptAtOnce)
    this.#state.own.sweep(sweptAtOnce)
  }

  /** Ends a session that was absent for too long. One that was to end with the connection is not counted as dropped. */
  #outlived({ name, clientId, expiry }: Session): void {
    this.forget(name)
    if (expiry > 0) this.#options.dropped('session_age', clientId)
  }

  /** Returns whether a session was absent for longer than the client asked for, or than the hub keeps any session. */
  #isOver({ absentSince, expiry }: Session, time: number): boolean {
    if (absentSince === 0) return false
    return time - absentSince >= Math.min(expiry * 1_000, this.#options.sessionAgeMs || Infinity)
  }

  // — QoS 2 of the client —

  /** Receives a QoS 2 publish; see {@link InboundQos2.receive}. */
  receive(
    session: Session,
    packetId: number,
    accept: (done: (error?: Error) => void) => void,
    done: (error?: Error) => void,
  ): void {
    session.incoming.receive(packetId, accept, () => this.#recordIncoming(session, packetId), done)
  }

  received(session: Session, packetId: number): void {
    session.incoming.add(packetId)
    this.#recordIncoming(session, packetId)
  }

  #recordIncoming(session: Session, packetId: number): void {
    if (this.#isKept(session)) this.#record({ t: 'in', c: session.name, m: packetId })
  }

  /** Handles PUBREL. Calls `done` when the release is on disk: after PUBCOMP the client may use the packet id again. */
  release(session: Session, packetId: number, done: (error?: Error, isKnown?: boolean) => void): void {
    session.incoming.whenReleased(packetId, (error, isKnown) => {
      // Recorded even when released before: the earlier release may not be on disk yet.
      const released = (error?: Error) => done(error, isKnown)
      if (error || !this.#isKept(session)) released(error)
      else this.#record({ t: 'out', c: session.name, m: packetId }, undefined, released)
    })
  }

  clearIncoming(session: Session): void {
    if (session.incoming.size === 0) return
    session.incoming.clear()
    if (this.#isKept(session)) this.#record({ t: 'clear', c: session.name })
  }

  /** Restores a QoS 2 publish spooled before the crash, so that a retransmission is recognised. */
  recoverIncoming(name: string, packetId: number): void {
    const session = this.#state.sessions.get(name)
    if (session) this.received(session, packetId)
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
      if (isNew && !all.admits(message, retained.messages, retained.bytes)) {
        dropped('retained', clientId)
        return
      }
      all.set(message, all === this.#state.own)
    }
    if (isJournalled(topic)) this.#record({ t: 'ret', p: message }, payload)
  }

  // — the state —

  /** Returns whether this is the current durable session of the client. */
  #isKept(session: Session): boolean {
    return session.durable && this.#state.sessions.get(session.name) === session
  }

  /** Sends for a few sessions in each turn: their searches may take long. */
  #pumpLater(session: Session): void {
    if (this.#later.size === 0) setImmediate(this.#pumpSome)
    this.#later.add(session)
  }

  readonly #pumpSome = (): void => {
    const some: Session[] = []
    for (const session of this.#later) {
      this.#later.delete(session)
      if (some.push(session) === pumpedInTurn) break
    }
    const isLeft = this.#later.size > 0
    for (const session of some) session.pump()
    if (isLeft) setImmediate(this.#pumpSome)
  }

  #makeRoom(): void {
    while (this.#state.sessions.size > this.#options.sessions) {
      const longest = this.#state.absent.first
      if (!longest) return
      this.forget(longest.name)
      this.#options.dropped('sessions', longest.clientId)
    }
  }

  // — the journal —

  /** Calls `done` when every record until the end of this turn outlives a crash. */
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
    this.#journal.record(record, payload, done)
  }

  #recordQueued(queued: readonly QueuedIn[], message: OutboundMessage | Queued, sequence: number): void {
    const to = queued.map(({ session, entry }) => queuedFor(session, entry))
    const { topic, qos, clientId, properties, expiresAt, at, payload } = message
    // The RETAIN flag is recorded for each session.
    const p = { topic, qos, retain: false, clientId, properties, expiresAt }
    this.#record({ t: 'enq', to, x: sequence, a: at, p }, payload)
  }

  /**
   * Makes a snapshot when too much waits in memory, which puts messages on disk. Memory that a snapshot does not free
   * must not cause another one.
   */
  #spill(): void {
    const { bytes } = this.#memory
    const { queueMemory } = this.#options
    if (bytes < this.#memoryBefore) this.#memoryBefore = bytes
    if (bytes <= queueMemory || bytes - this.#memoryBefore < queueMemory / 2) return
    this.#memoryBefore = bytes
    this.snapshotNext()
  }

  #mark(): void {
    if (this.#state.applied > this.#marked) this.#record({ t: 'mark' })
  }
}
