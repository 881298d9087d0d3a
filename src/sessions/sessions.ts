import type { QoS } from '../model.js'
import { charge, type Work } from '../runtime/work.js'
import { hubTopics } from '../topics.js'
import { isExpired, OutboundMessage } from './delivery.js'
import { FeedBeats } from './feed-beats.js'
import { LastWills } from './last-wills.js'
import { Lending } from './lending.js'
import type { Retained, RetainedMessages } from './retained.js'
import { clearRetained } from './retained-clearing.js'
import { RetainedKeeper } from './retained-keeper.js'
import { retainedFor } from './retained-offer.js'
import type { Session } from './session.js'
import { capture } from './session-capture.js'
import { SessionFactory } from './session-factory.js'
import { SessionJournal, usualPace } from './session-journal.js'
import { type QueueMemory, SpillWatch } from './session-queue.js'
import { SessionRecorder } from './session-recorder.js'
import { type OpenedSession, SessionRegistry } from './session-registry.js'
import { SessionStart } from './session-start.js'
import { type Published, SessionState, type Subscribing } from './session-state.js'
import { SessionTurns } from './session-turns.js'
import { queueMemoryOf, type SessionOpening, type SessionsOptions } from './sessions-options.js'
import { SharedFailover } from './shared-failover.js'

export { maxIncoming } from './inbound-qos2.js'
export type { LastWills } from './last-wills.js'
export type { Lease, LeaseEnd } from './leases.js'
export type { Addressee, Lending, Lent, Receiver } from './lending.js'
export type { Retained } from './retained.js'
export type { Session } from './session.js'
export type { DeliveryTarget } from './session-host.js'
export { listSessions, type SessionFilter, type SessionList } from './session-list.js'
export type { LastWill } from './session-state.js'
export type { Dropped, SessionsOptions } from './sessions-options.js'
export { topicsOf } from './subscription.js'
export { beyondShare, SubscriptionLimits, type SubscriptionLimitsOptions } from './subscription-limits.js'

/** Absent sessions, and retained messages, that are looked at in one turn for what is too old, and how often that is. */
const sweptAtOnce = { sessions: 2_000, retained: 1_000 }
const usualSweepMs = 100

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
  readonly #state: SessionState
  readonly #journal: SessionJournal
  readonly recorder: SessionRecorder
  readonly #failover: SharedFailover
  readonly start: SessionStart
  readonly #registry: SessionRegistry
  readonly wills: LastWills
  /** Delivers to connected clients what their sessions do not keep. */
  readonly lending: Lending
  readonly wanted: SessionState['index']['wanted']
  readonly #memory: QueueMemory
  readonly #spill: SpillWatch
  readonly #work: Work
  readonly #feeds: FeedBeats
  readonly #keeper: RetainedKeeper
  readonly #timers: NodeJS.Timeout[] = []

  constructor(options: SessionsOptions) {
    const { work, clock, sharing, queue, counts, conflated, dropped, willDue, log } = options
    this.#options = options
    this.#work = work
    this.#memory = queueMemoryOf(options)
    this.#spill = new SpillWatch(this.#memory, options.queueMemory)
    const state = new SessionState(clock, work, sharing)
    this.#state = state
    this.wanted = state.index.wanted
    this.#journal = new SessionJournal({
      ...options,
      pace: options.pace ?? usualPace,
      snapshot: (to, options) => capture(state, to, options),
      payloads: state.payloads,
      applied: () => state.applied,
    })
    const recorder = new SessionRecorder(state, this.#journal)
    this.recorder = recorder
    this.lending = new Lending(state, recorder, clock)
    this.#keeper = new RetainedKeeper(state, recorder, options)
    const failover = new SharedFailover(state.index, recorder)
    this.#failover = failover
    const slow = { counts, clock, elapsed: performance, limit: conflated, retained: state }
    this.#feeds = new FeedBeats(clock)
    const services = {
      clock,
      memory: this.#memory,
      slow,
      feeds: this.#feeds,
      turns: new SessionTurns(),
      recorder,
      failover,
      dropped,
      log,
    }
    const factory = new SessionFactory(state, queue, { ...services, index: state.index })
    this.wills = new LastWills({ state, clock, recorder, due: willDue })
    this.#registry = new SessionRegistry({ state, recorder, failover, factory, wills: this.wills }, options)
    this.start = new SessionStart({ state, journal: this.#journal, recorder, factory, registry: this.#registry, work })
  }

  /** Restores the state, when nothing is to be published again. Otherwise: {@link start}, then {@link begin}. */
  async load(): Promise<void> {
    await this.start.restore()
    this.begin()
  }

  /** Called when everything that the spool has above {@link applied} is published again. */
  begin(): void {
    this.#journal.begin()
    const everySecond = () => {
      this.recorder.mark()
      if (this.#spill.isDue()) this.snapshotNext()
      this.wills.publishDue()
    }
    // A look at all hundred thousand at once would hold up everybody for that long.
    const sweep = () => this.expire(sweptAtOnce.sessions, sweptAtOnce.retained)
    this.#timers.push(
      setInterval(everySecond, 1_000).unref(),
      setInterval(sweep, this.#options.sweepMs ?? usualSweepMs).unref(),
    )
  }

  /** Closes the journal; gives up a restore that is under way. */
  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer)
    this.#feeds.stop()
    await this.start.stop()
    if (!this.start.isOpen) return
    this.recorder.mark()
    await this.#journal.close()
  }

  /** Resolves when all changes so far are on disk. Rejects when the disk refused any of the last ones. */
  flush(): Promise<void> {
    return new Promise((resolve, reject) => this.recorder.whenKept(error => (error ? reject(error) : resolve())))
  }

  /** Begins a snapshot with the next change, unless one is being made. */
  snapshotNext(): void {
    this.#journal.snapshotNext()
    this.recorder.record({ t: 'mark' })
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

  /** Called while messages are published again after a crash: everything up to `sequence` is in. */
  publishedAgain(sequence: number): void {
    this.#state.applied = sequence
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
    this.#work.done += message.retain ? charge.message + charge.retained : charge.message
    const isHeld = message.retain && this.#keeper.retain(message)
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
    delivery.isHeld = isHeld
    const queued = found.length > 0 ? index.emit(delivery, found) : []
    const all = shared.length === 0 ? queued : [...queued, ...index.emitShared(delivery, shared)]
    if (all.length === 0) return
    this.#work.done += charge.queued
    this.recorder.queued(all, delivery, sequence)
  }

  // — sessions —

  all(): Iterable<Session> {
    return this.#state.sessions.values()
  }

  /** Returns the durable session of that name (see {@link sessionName}), if there is one. */
  find(name: string): Session | undefined {
    return this.#state.sessions.get(name)
  }

  /** Opens the session of a connection; see {@link SessionRegistry.open}. */
  open(clientId: string, opening: SessionOpening): OpenedSession {
    return this.#registry.open(clientId, opening)
  }

  /** Sets how many seconds the session outlives the connection. A transient session stays transient. */
  setExpiry(session: Session, expiry: number): void {
    this.#registry.setExpiry(session, expiry)
  }

  /** Called when the connection of a session is over. */
  leave(session: Session): void {
    this.#registry.leave(session)
  }

  /** Ends the durable session of that name. A will that waits is due then. */
  forget(name: string): void {
    this.#registry.forget(name)
  }

  /** Applies changed permissions: each durable session gets the permissions as of now. */
  reconsider(): void {
    this.#registry.reconsider()
  }

  /** Applies changed permissions to one session, durable or transient. */
  permit(session: Session): void {
    this.#registry.permit(session)
  }

  // — subscriptions —

  subscribe(session: Session, subscribing: Subscribing): void {
    if (session.durable && !this.recorder.isKept(session)) return
    this.#state.subscribe(session, subscribing)
    const subscription = session.subscriptions.get(subscribing.filter)
    if (!subscription) return
    if (subscription.group) session.wake()
    if (subscribing.filter === hubTopics.feed) this.#feeds.add(session)
    this.recorder.subscribed(session, subscription)
  }

  /** Returns false when there was no such subscription. */
  unsubscribe(session: Session, filter: string): boolean {
    const subscription = this.#state.unsubscribe(session, filter)
    if (!subscription) return false
    if (subscription.group) this.#failover.left(subscription.group, session)
    this.recorder.recordOf(session, { t: 'unsub', c: session.name, f: [filter] })
    return true
  }

  /** Returns the retained messages among which those are that a filter matches: the hub's own, or the others. */
  retainedOf(filter: string): Pick<RetainedMessages, 'changes' | 'search'> {
    return this.#state.retainedOf(filter)
  }

  /**
   * Sends a new subscription the matching retained messages, at the lower QoS. [MQTT-3.3.1-6] [MQTT-3.3.1-8] `until` is
   * the value of `changes` of these when the subscription was made. A message retained later has been delivered like
   * any other, unless the connection had no room for it.
   */
  offerRetained(session: Session, filter: string, qos: QoS, until = this.retainedOf(filter).changes): void {
    if (filter === hubTopics.feed) this.#feeds.tell(session)
    const { mayRetain } = this.#options
    session.offerRetained(filter, retainedFor(session, filter, qos, this.#state.retainedOf(filter), until, mayRetain))
  }

  /**
   * Removes sessions, queued messages and retained messages that are too old, among so many absent sessions and so many
   * retained messages that expire. The next call continues behind them.
   */
  expire(sessions = Infinity, retained = Infinity): void {
    this.#registry.expire(sessions)
    this.#state.retained.sweep(retained)
    this.#state.own.sweep(retained)
  }

  // — QoS 2 of the client —

  /** Receives a QoS 2 publish; see {@link InboundQos2.receive}. */
  receive(
    session: Session,
    packetId: number,
    accept: (done: (error?: Error) => void) => void,
    done: (error?: Error) => void,
  ): void {
    session.incoming.receive(packetId, accept, () => this.recorder.received(session, packetId), done)
  }

  received(session: Session, packetId: number): void {
    session.incoming.add(packetId)
    this.recorder.received(session, packetId)
  }

  /** Handles PUBREL. Calls `done` when the release is on disk: after PUBCOMP the client may use the packet id again. */
  release(session: Session, packetId: number, done: (error?: Error, isKnown?: boolean) => void): void {
    session.incoming.whenReleased(packetId, (error, isKnown) => {
      // Recorded even when released before: the earlier release may not be on disk yet.
      const released = (error?: Error) => done(error, isKnown)
      if (error || !this.recorder.recordOf(session, { t: 'out', c: session.name, m: packetId }, released))
        released(error)
    })
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

  /** Clears retained messages that are meant, on these topics or on all but the hub's. Resolves with their topics. */
  clearRetained(isMeant: (message: Retained) => boolean, topics?: readonly string[]): Promise<readonly string[]> {
    const payload = Buffer.alloc(0)
    const clear = (topic: string) => this.publish({ topic, payload, qos: 0, retain: true, clientId: '' }, 0)
    return clearRetained(this.#state.retained, isMeant, clear, topics)
  }
}
