import type { Access } from '../auth/rules.js'
import type { QoS } from '../model.js'
import { packetType } from '../mqtt/primitives.js'
import { EncodedPublish, type PublishOptions } from '../mqtt/publish.js'
import { type Fault, reasonCode } from '../mqtt/reason-codes.js'
import { LateMap } from '../runtime/late-map.js'
import {
  type Enqueued,
  encodedOf,
  type GroupName,
  isExpired,
  isReleased,
  type OutboundMessage,
  type Queued,
  type QueuedState,
  type RetainedDelivery,
  waitingEntry,
} from './delivery.js'
import { GroupCounts } from './group-counts.js'
import { RetainedBacklog } from './retained-backlog.js'
import type { DeliveryTarget, DropReason, QueueLimits, SessionEvents } from './session-host.js'
import { ownerOf } from './session-name.js'
import { SessionQueue } from './session-queue.js'
import { reachOf, type SubscriptionOf, topicsOf } from './subscription.js'

export type Subscription = SubscriptionOf<Session>

/** Marks a QoS 2 publish of the client that is in the spool: only the packet id is still needed. */
export const spooled = Symbol('spooled')

/**
 * The state of one client (MQTT 3.1.1 §3.1.2.4), and the delivery to that client. QoS 0 goes straight to the
 * connection, QoS 1 and 2 through a window of unacknowledged deliveries with an ordered queue behind it. A session that
 * is not `durable`, or has `expiry` 0, ends with the connection.
 */
export class Session {
  readonly clientId: string
  /** The user; empty without authentication. Changes when a session from before there were users gets a user. */
  user: string
  /** Name made of user and client id by {@link sessionName}. */
  name: string
  readonly durable: boolean
  readonly subscriptions = new Map<string, Subscription>()
  /** Messages sent and not yet acknowledged, by packet id, in the order of sending. */
  readonly inflight = new LateMap<number, Queued>()
  readonly unsent: SessionQueue
  /** QoS 2 publishes received and not yet released, by packet id. */
  readonly incoming = new LateMap<number, typeof spooled | object>()
  /** Callbacks that wait until a QoS 2 publish is in the spool, by packet id. */
  readonly accepting = new LateMap<number, ((error?: Error) => void)[]>()
  /** Permissions of the client; undefined: everything is permitted. */
  access: Access | undefined
  /** When the client left, in milliseconds since the epoch; 0 while connected. */
  absentSince = 0
  /** Seconds that the session is kept without a connection; Infinity: for ever. */
  expiry = Infinity
  /** Shared subscriptions of the session; undefined: none yet. */
  shared: Set<Subscription> | undefined
  /**
   * Backups of messages that other members of the same groups have. This session gets them back should those members
   * and this process end.
   */
  backups: Set<Queued> | undefined
  /** Whether a QoS 0 delivery found no room on this connection. */
  hasMissed = false
  readonly #limits: QueueLimits
  readonly #host: SessionEvents<Session>
  /** Number of messages whose packet ids the journal does not have yet. */
  #numbering = 0
  /** Messages still to be sent again on this connection, and the one of them that waits for the journal. */
  #resending: Iterator<Queued> | undefined
  #held: Queued | undefined
  /** Number of messages of each group in this session. */
  readonly #ofGroups = new GroupCounts()
  #outlet: DeliveryTarget | undefined
  /** Number of unacknowledged deliveries that both the client and the hub allow. */
  #window: number
  /** Deliveries that count for the window of this connection while unacknowledged ones are sent again. */
  #resent = 0
  #number = 0
  #lastId = 0
  readonly #retained = new RetainedBacklog()

  constructor(name: string, durable: boolean, limits: QueueLimits, host: SessionEvents<Session>) {
    const { user, clientId } = ownerOf(name)
    this.name = name
    this.user = user
    this.clientId = clientId
    this.durable = durable
    this.#limits = limits
    this.#host = host
    this.#window = limits.window
    this.unsent = new SessionQueue(host.memory)
  }

  /** Attaches a connection: unacknowledged messages are sent again first, then the waiting ones. [MQTT-4.4.0-1] */
  attach(outlet: DeliveryTarget): void {
    this.#outlet = outlet
    this.#window = Math.min(this.#limits.window, outlet.receiveMaximum)
    this.#resent = 0
    this.absentSince = 0
    this.hasMissed = false
    this.#resending = this.inflight.values()
    this.#held = undefined
    this.#resendReleases(outlet)
    this.pump()
  }

  /**
   * Sends PUBRELs again. They wait for no window [MQTT-3.3.4-8], so they go first. Their messages count for the receive
   * maximum until PUBCOMP: the client may have state for each. (MQTT 5 §4.4, §4.9)
   */
  #resendReleases(outlet: DeliveryTarget): void {
    for (const { state, packetId } of this.inflight.values()) {
      if (state !== 'releasing' && state !== 'released') continue
      this.#resent++
      // A releasing message gets PUBREL once the journal has the PUBREC.
      if (state === 'released') outlet.writeAck(packetType.pubrel, packetId)
    }
  }

  detach(): void {
    this.#outlet = undefined
    this.#resending = this.#held = undefined
    for (const map of [this.inflight, this.incoming, this.accepting]) map.release()
    this.#retained.release()
  }

  /** Length of all topic filters of the session, in characters. */
  filterLength = 0
  /** Number of subscriptions with + or #. */
  wildcards = 0

  get attached(): boolean {
    return this.#outlet !== undefined
  }

  /** Number of the last message queued. */
  get last(): number {
    return this.#number
  }

  /** The last packet id given. */
  get lastId(): number {
    return this.#lastId
  }

  /** Restores the last number and packet id from a snapshot: new ones follow. */
  restore(last: number, lastId: number): void {
    this.#number = last
    this.#lastId = lastId
  }

  /** Whether the session has messages that other members of a group may get instead. */
  get hasOfGroups(): boolean {
    return this.#ofGroups.size > 0 || (this.backups?.size ?? 0) > 0
  }

  mayReceive(topic: string): boolean {
    return this.access === undefined || this.access.mayRead(topic)
  }

  /** Applies changed permissions to the subscriptions. */
  narrow(): void {
    for (const subscription of this.subscriptions.values()) {
      subscription.reach = reachOf(this.access, topicsOf(subscription))
    }
  }

  /** Whether the next message queued would displace the oldest one. */
  get full(): boolean {
    return this.unsent.length >= this.#limits.messages || this.unsent.bytes >= this.#limits.bytes
  }

  /** Has the session look in one of the next turns whether there is a message to send. */
  wake(): void {
    this.#host.later(this)
  }

  /** The groups of the session's shared subscriptions. */
  get groups(): readonly GroupName[] {
    return this.shared ? [...this.shared].flatMap(({ group }) => group ?? []) : []
  }

  /** Returns how many messages of a group the session has, waiting or unacknowledged. */
  has(group: GroupName): number {
    return this.#ofGroups.of(group.key)
  }

  /** Number of messages ahead of a new one: unacknowledged and waiting. */
  get load(): number {
    return this.inflight.size + this.unsent.length
  }

  /**
   * Delivers a message at `qos`. Returns the entry that now waits for an acknowledgement, if any, for the caller to
   * journal. `retain`, `ids` and `group` as in {@link Enqueued}.
   */
  deliver(
    delivery: OutboundMessage,
    qos: QoS,
    retain = false,
    ids?: readonly number[],
    group?: GroupName,
  ): Queued | undefined {
    const outlet = this.#outlet
    if (qos === 0) {
      if (outlet && !outlet.deliverQos0(delivery.encoded, retain, ids)) this.hasMissed = true
      return undefined
    }
    if (!outlet && !this.durable) return undefined
    const { topic, payload, at, clientId, properties, expiresAt } = delivery
    const entry = this.enqueue({ topic, payload, qos, retain, at, clientId, properties, expiresAt, ids, group })
    if (
      !outlet ||
      this.#resending ||
      this.unsent.length > 1 ||
      this.inflight.size >= this.#window ||
      !outlet.hasCapacity
    ) {
      this.#trim(at)
      return entry
    }
    this.unsent.shift()
    if (this.#send(outlet, entry, delivery.encoded)) return entry
    this.#drop(entry, 'too_large')
    return undefined
  }

  /** Appends a message to the queue, and does nothing else. */
  enqueue(message: Enqueued, n = this.#number + 1): Queued {
    const entry = this.#entry(message, n)
    this.unsent.push(entry)
    if (entry.group) this.#ofGroups.add(entry.group.key)
    return entry
  }

  /** Adds a backup of a message that another group member has. The caller journals the backup as queued here. */
  addBackup(message: Enqueued): Queued {
    return this.keep(this.#entry(message, this.#number + 1))
  }

  /** Keeps, as a backup, a message that another member has taken over. */
  keep(entry: Queued): Queued {
    this.backups ??= new Set()
    this.backups.add(entry)
    return entry
  }

  /** Drops a backup: the other member has delivered the message. */
  dropBackup(entry: Queued): void {
    if (this.backups?.delete(entry)) this.#host.moved(this, entry)
  }

  #entry(message: Enqueued, n: number): Queued {
    this.#number = Math.max(this.#number, n)
    return waitingEntry(message, n)
  }

  /**
   * Sends retained messages to a new subscription, one by one as the connection has room. For a durable session the
   * next connection continues. An undefined message is a pause. Subscribing again starts over.
   */
  offerRetained(filter: string, messages: Iterable<RetainedDelivery | undefined>): void {
    this.#retained.set(filter, messages)
    if (this.#retained.size === 1) this.pump()
    else this.#host.later(this)
  }

  /** Forgets the retained messages for a subscription that is over. */
  forgetRetained(filter: string): void {
    this.#retained.delete(filter)
  }

  /** Sends waiting messages, as far as window and connection have room. Called when either may have room. */
  pump(): void {
    const outlet = this.#outlet
    if (!outlet || !this.#resend(outlet)) return
    while (this.inflight.size < this.#window && outlet.hasCapacity) {
      if (!this.unsent.isReady) {
        this.unsent.load(() => this.pump())
        return
      }
      const entry = this.unsent.shift()
      if (!entry) {
        const more = (this.shared !== undefined && this.#host.takeOver(this)) || this.#pumpRetained(outlet)
        if (!more) return
        continue
      }
      const fault = this.#faultOf(entry)
      if (fault) this.#drop(entry, fault)
      else if (this.#send(outlet, entry, encodedOf(entry))) this.#host.sent(this, entry)
      else this.#drop(entry, 'too_large')
    }
  }

  /** Drops a message that was taken out of the queue. */
  #drop(entry: Queued, why: DropReason): void {
    this.#host.dropped(this, entry, why)
    this.#over(entry)
  }

  /** Forgets a message that no other session has either. */
  #over(entry: Queued): void {
    this.#forget(entry)
    entry.backupDone?.()
  }

  /** Forgets a message that has left this session. */
  #forget(entry: Queued): void {
    this.#become(entry, 'waiting')
    const { group } = entry
    if (group && this.#ofGroups.remove(group.key) === 0) this.#host.groupDone(this, group)
  }

  /** Returns why a message that waited must not be sent any more. */
  #faultOf(entry: Queued): DropReason | undefined {
    const now = this.#host.now()
    if (isExpired(entry, now)) return 'expired'
    if (this.#isOld(entry.at, now)) return 'queue'
    return this.mayReceive(entry.topic) ? undefined : 'not_permitted'
  }

  /** Returns true when every message is sent again. Sends no more at a time than the client accepts. [MQTT-3.3.4-9] */
  #resend(outlet: DeliveryTarget): boolean {
    while (this.#resending) {
      if (!outlet.hasCapacity || this.#resent >= this.#window) return false
      const entry = this.#held ?? (this.#resending.next().value as Queued | undefined)
      this.#held = undefined
      if (!entry) this.#resending = undefined
      else if (this.inflight.get(entry.packetId) !== entry) continue
      else if (entry.state === 'numbering') {
        this.#held = entry
        return false
      } else if (entry.state === 'unnumbered') {
        this.#resent++
        this.#sendWhenNumbered(entry)
      } else if (!isReleased(entry)) this.#resendPublish(outlet, entry)
    }
    return true
  }

  #resendPublish(outlet: DeliveryTarget, entry: Queued): void {
    const isFirst = entry.state === 'unwritten'
    this.#become(entry, 'sent')
    // A QoS 2 message that was sent once does not expire. [MQTT-4.3.3-7]
    if ((entry.qos === 1 || isFirst) && isExpired(entry, this.#host.now())) this.#giveUp(entry, 'expired', isFirst)
    else if (!this.mayReceive(entry.topic)) this.#giveUp(entry, 'not_permitted', isFirst)
    else if (this.#write(outlet, entry, !isFirst)) this.#resent++
    else this.#giveUp(entry, 'too_large', isFirst)
  }

  /** Gives up a message that has a packet id: the message is not sent, or not sent again. */
  #giveUp(entry: Queued, why: DropReason, isUnsent: boolean): void {
    this.#host.dropped(this, entry, why)
    if (entry.qos === 2 && !isUnsent) {
      // The client may have the message, and remembers the packet id until PUBREL.
      this.#release(entry)
      return
    }
    this.inflight.delete(entry.packetId)
    this.#host.acknowledged(this, entry.packetId)
    this.#over(entry)
  }

  /**
   * Handles PUBACK. Returns the client's error, if any. A PUBACK for an unknown packet id is late, and no error.
   * `isRefused`: the client rejected the message, which is not sent again. [MQTT-4.3.2-4]
   */
  acknowledge(packetId: number, isRefused = false): string | undefined {
    const entry = this.inflight.get(packetId)
    if (!entry) return undefined
    if (entry.qos !== 1) return `PUBACK for the QoS 2 publish ${packetId}`
    if (isRefused) this.#host.dropped(this, entry, 'client_refused')
    this.clear(packetId)
    return undefined
  }

  /**
   * Handles PUBREC; returns the client's error, if any. The answer is PUBREL, also for an unknown packet id.
   * [MQTT-4.3.3-1]
   */
  received(packetId: number, isRefused = false): string | undefined {
    const entry = this.inflight.get(packetId)
    if (entry?.qos === 1) return `PUBREC for the QoS 1 publish ${packetId}`
    if (entry && isRefused) {
      if (isReleased(entry)) return undefined
      this.#host.dropped(this, entry, 'client_refused')
      this.clear(packetId)
    } else if (entry) this.#release(entry)
    else if (!isRefused) this.#outlet?.writeAck(packetType.pubrel, packetId, reasonCode.packetIdNotFound)
    return undefined
  }

  #release(entry: Queued): void {
    const { packetId } = entry
    this.#become(entry, 'releasing')
    this.#host.released(this, packetId, error => {
      if (entry.state === 'releasing') this.#become(entry, 'released')
      if (error) this.#outlet?.end(journalFault)
      else this.#outlet?.writeAck(packetType.pubrel, packetId)
    })
  }

  /** Handles PUBCOMP; returns the client's error, if any. */
  complete(packetId: number): string | undefined {
    const entry = this.inflight.get(packetId)
    if (!entry) return undefined
    if (!isReleased(entry)) return `PUBCOMP for publish ${packetId}, which had no PUBREC`
    this.clear(packetId)
    return undefined
  }

  /** Gives a queued message the packet id recorded in the journal. */
  number(entry: Queued, packetId: number): void {
    this.unsent.remove(entry)
    entry.packetId = packetId
    this.#become(entry, 'sent')
    this.#lastId = packetId
    this.inflight.set(packetId, entry)
  }

  /** Removes a message from the queue, as recorded in the journal. */
  drop(entry: Queued): void {
    if (this.unsent.remove(entry)) this.#forget(entry)
  }

  /** Removes an acknowledged message, as recorded in the journal. */
  acknowledged(packetId: number): void {
    const entry = this.inflight.get(packetId)
    if (!entry) return
    this.inflight.delete(packetId)
    this.#forget(entry)
  }

  /** Drops messages that have been queued for too long. */
  expire(now: number): void {
    for (let at = this.unsent.oldestAt; at !== undefined && this.#isOld(at, now); at = this.unsent.oldestAt)
      this.#dropOldest()
  }

  /** Completes the delivery with this packet id, of any QoS: the client has the message. */
  clear(packetId: number): void {
    const entry = this.inflight.get(packetId)
    this.inflight.delete(packetId)
    if (this.#resent > 0) this.#resent--
    this.#host.acknowledged(this, packetId)
    if (entry) this.#over(entry)
    this.pump()
  }

  /**
   * Removes and returns at most `most` messages that another member of the group may have instead: waiting messages,
   * and without a connection also those in flight. QoS 2 messages that were sent stay. [MQTT-4.8.2-4] [MQTT-4.8.2-5]
   */
  give(group: GroupName, most = Infinity, mayHave: (entry: Queued) => boolean = () => true): readonly Queued[] {
    if (this.has(group) === 0) return []
    const given: Queued[] = []
    const isGiven = (entry: Queued) => entry.group?.key === group.key && mayHave(entry)
    if (!this.attached) {
      for (const entry of this.inflight.values()) {
        if (given.length === most) break
        if ((entry.qos === 1 || this.#isUnsent(entry)) && isGiven(entry)) given.push(entry)
      }
      for (const { packetId } of given) this.inflight.delete(packetId)
    }
    const waiting = this.unsent.removeWhere(isGiven, most - given.length)
    given.push(...waiting)
    for (const entry of given) this.#forget(entry)
    return given
  }

  #become(entry: Queued, state: QueuedState): void {
    if (entry.state === 'numbering') this.#numbering--
    if (state === 'numbering') this.#numbering++
    entry.state = state
  }

  /** Returns whether a message has a packet id, and was never sent. */
  #isUnsent({ state }: Queued): boolean {
    return state === 'numbering' || state === 'unnumbered' || state === 'unwritten'
  }

  #pumpRetained(outlet: DeliveryTarget): boolean {
    const next = this.#retained.next()
    if (next === undefined) return false
    if (next === 'pause') {
      this.#host.later(this)
      return false
    }
    const { topic, payload, qos, clientId, properties, expiresAt } = next.message
    // The message was readable when the subscription asked for retained messages; permissions may have changed.
    if (!this.mayReceive(topic)) {
      this.#host.later(this)
      return false
    }
    const ids = this.subscriptions.get(next.filter)?.ids
    const encoded = new EncodedPublish(topic, payload, properties, expiresAt)
    if (qos === 0) {
      outlet.deliverQos0(encoded, true, ids)
      return true
    }
    const host = this.#host
    const at = host.now()
    const message = { topic, payload, qos, retain: true, at, clientId, properties, expiresAt }
    const entry = this.enqueue({ ...message, ids, group: undefined })
    this.unsent.shift()
    if (this.#send(outlet, entry, encoded)) host.queued(this, entry)
    else this.#drop(entry, 'too_large')
    return true
  }

  /** Returns false when the packet is larger than the client accepts. */
  #send(outlet: DeliveryTarget, entry: Queued, encoded: EncodedPublish): boolean {
    // A packet id still in flight is not given twice. [MQTT-2.3.1-2]
    let id = this.#lastId
    do id = (id % 65_535) + 1
    while (this.inflight.has(id))
    this.#lastId = id
    entry.packetId = id
    // Messages behind a waiting one wait as well, to stay in order.
    const waits = this.durable && (entry.qos === 2 || this.#numbering > 0)
    if (waits) this.#sendWhenNumbered(entry)
    else if (!outlet.publish(encoded, this.#sending(entry), false)) {
      entry.packetId = 0
      return false
    } else this.#become(entry, 'sent')
    this.inflight.set(id, entry)
    return true
  }

  /**
   * Sends a message once the journal has the packet id. The client remembers a QoS 2 packet id for longer than this
   * process may live: so must the journal. [MQTT-4.3.3-1]
   */
  #sendWhenNumbered(entry: Queued): void {
    const meant = this.#outlet
    this.#become(entry, 'numbering')
    this.#host.kept(error => {
      if (entry.state !== 'numbering') return
      if (error) {
        this.#become(entry, 'unnumbered')
        this.#outlet?.end(journalFault)
      } else if (!meant || meant !== this.#outlet) {
        // Sent with the messages sent again, which may wait for this one.
        this.#become(entry, 'unwritten')
        this.pump()
      } else {
        this.#become(entry, 'sent')
        if (this.#write(meant, entry, false)) return
        this.#giveUp(entry, 'too_large', true)
        this.#host.later(this)
      }
    })
  }

  /** Returns false when the packet is larger than the client accepts. */
  #write(outlet: DeliveryTarget, entry: Queued, dup: boolean): boolean {
    return outlet.publish(encodedOf(entry), this.#sending(entry), dup)
  }

  /** Returns how to send a message. The RETAIN flag of a shared message depends on what the member has asked for. */
  #sending(entry: Queued): PublishOptions {
    const { group, qos, packetId, retain, ids } = entry
    if (!group || !retain) return entry
    return { qos, packetId, ids, retain: this.subscriptions.get(group.key)?.asPublished === true }
  }

  /** Drops the oldest waiting messages of a queue beyond the limits, never one in flight. */
  #trim(now: number): void {
    const { messages, bytes } = this.#limits
    if (this.#limits.ageMs > 0) this.expire(now)
    while (this.unsent.length > messages || (this.unsent.bytes > bytes && this.unsent.length > 1)) this.#dropOldest()
  }

  #dropOldest(): void {
    const entry = this.unsent.shift()
    if (entry) this.#drop(entry, 'queue')
  }

  #isOld(queuedAt: number, now: number): boolean {
    return this.#limits.ageMs > 0 && now - queuedAt > this.#limits.ageMs
  }
}

/** Reason for ending a connection when the hub's disk refused a record. */
const journalFault: Fault = { code: reasonCode.unspecified, reason: 'what is to outlive a crash could not be written' }
