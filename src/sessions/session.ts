import type { Access } from '../access/rules.js'
import type { QoS } from '../model.js'
import type { EncodedPublish } from '../mqtt/publish.js'
import { SmallMap } from '../runtime/small-map.js'
import { hubTopics } from '../topics.js'
import { Backups } from './backups.js'
import {
  type Enqueued,
  encodedOf,
  type GroupName,
  isExpired,
  type OutboundMessage,
  type Queued,
  type RetainedDelivery,
  retainedEntry,
  waitingEntry,
} from './delivery.js'
import { GroupCounts } from './group-counts.js'
import { InboundQos2 } from './inbound-qos2.js'
import { InflightWindow, type WindowOwner } from './inflight-window.js'
import { RetainedBacklog } from './retained-backlog.js'
import type { DeliveryTarget, DropReason, QueueLimits, SessionEvents } from './session-host.js'
import { ownerOf } from './session-name.js'
import { SessionQueue } from './session-queue.js'
import { SlowReceiver } from './slow-receiver.js'
import type { SubscriptionOf } from './subscription.js'

export type Subscription = SubscriptionOf<Session>

/**
 * The state of one client (MQTT 3.1.1 §3.1.2.4), and the delivery to that client. QoS 0 goes straight to the
 * connection, QoS 1 and 2 through a window of unacknowledged deliveries with an ordered queue behind it, and retained
 * messages come last. A session that is not `durable`, or has `expiry` 0, ends with the connection.
 */
export class Session implements WindowOwner {
  readonly clientId: string
  /** The user; empty without authentication. Changes when a session from before there were users gets a user. */
  user: string
  /** Name made of user and client id by {@link sessionName}. */
  name: string
  readonly durable: boolean
  readonly subscriptions = new SmallMap<string, Subscription>()
  readonly inflight: InflightWindow<Session>
  readonly unsent: SessionQueue
  readonly incoming = new InboundQos2()
  /** Permissions of the client; undefined: everything is permitted. */
  access: Access | undefined
  /** When the client left, in milliseconds since the epoch; 0 while connected. */
  absentSince = 0
  /** Seconds that the session is kept without a connection; Infinity: for ever. */
  expiry = Infinity
  /** Shared subscriptions of the session; undefined: none yet. */
  shared: Set<Subscription> | undefined
  /** Whether a retained message found no room on this connection, and was dropped. */
  hasMissed = false
  /** Length of all topic filters of the session, in characters. */
  filterLength = 0
  /** Number of subscriptions with + or #. */
  wildcards = 0
  /** Number of the last message queued: new ones follow. */
  last = 0
  readonly #host: SessionEvents<Session>
  // What most sessions never need is made when first needed: messages by group, and retained ones for subscriptions.
  #ofGroups: GroupCounts | undefined
  #backups: Backups<Session> | undefined
  #retained: RetainedBacklog | undefined
  /** QoS 0 deliveries that wait for room on this connection. Undefined while the client keeps up. */
  #slow: SlowReceiver | undefined

  constructor(name: string, durable: boolean, limits: QueueLimits, host: SessionEvents<Session>) {
    const { user, clientId } = ownerOf(name)
    this.name = name
    this.user = user
    this.clientId = clientId
    this.durable = durable
    this.#host = host
    this.inflight = new InflightWindow<Session>(this, limits.window, host)
    this.unsent = new SessionQueue(limits, host.memory)
  }

  /** Attaches a connection: unacknowledged messages are sent again first, then the waiting ones. [MQTT-4.4.0-1] */
  attach(outlet: DeliveryTarget): void {
    this.absentSince = 0
    this.hasMissed = false
    this.inflight.attach(outlet)
    if (this.subscriptions.get(hubTopics.feed)) this.#host.feeds.add(this)
    this.pump()
  }

  detach(): void {
    this.inflight.detach()
    this.#slow = undefined
    this.incoming.release()
    if (this.#retained?.size === 0) this.#retained = undefined
  }

  get attached(): boolean {
    return this.inflight.outlet !== undefined
  }

  /** Whether the session has messages that other members of a group may get instead. */
  get hasOfGroups(): boolean {
    return (this.#ofGroups?.size ?? 0) > 0 || (this.#backups?.size ?? 0) > 0
  }

  mayReceive(topic: string): boolean {
    return this.access === undefined || this.access.mayRead(topic)
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
    return this.#ofGroups?.of(group.key) ?? 0
  }

  /** Number of messages ahead of a new one: unacknowledged and waiting. */
  get load(): number {
    return this.inflight.size + this.unsent.length
  }

  /**
   * Delivers a message at `qos`. Returns the entry that now waits for an acknowledgement, if any, for the caller to
   * journal. `retain`, `ids` and `group` as in {@link Enqueued}. `conflate`: the subscription asks for the newest only.
   */
  deliver(
    delivery: OutboundMessage,
    qos: QoS,
    retain = false,
    ids?: readonly number[],
    group?: GroupName,
    conflate = false,
  ): Queued | undefined {
    const { outlet } = this.inflight
    if (qos === 0) {
      if (outlet && (this.#slow || !outlet.deliverQos0(delivery.encoded, retain, ids))) {
        this.#later(outlet).take(delivery, retain, ids, conflate)
      }
      return undefined
    }
    this.#slow?.supersede(delivery.topic)
    if (!outlet && !this.durable) return undefined
    const { topic, payload, at, clientId, properties, expiresAt } = delivery
    const entry = this.enqueue({ topic, payload, qos, retain, at, clientId, properties, expiresAt, ids, group })
    if (!outlet || this.unsent.length > 1 || !this.inflight.hasRoom) {
      this.#trim(at)
      return entry
    }
    return this.#sendLast(outlet, entry, delivery.encoded)
  }

  /** Sends the only message of the queue. Returns undefined when the message is dropped. */
  #sendLast(outlet: DeliveryTarget, entry: Queued, encoded: EncodedPublish): Queued | undefined {
    this.unsent.shift()
    if (this.inflight.send(outlet, entry, encoded)) return entry
    this.#drop(entry, 'too_large')
    return undefined
  }

  /** Tells the client, if it is subscribed to that, how up to date it is. Returns false when it is not subscribed. */
  beat(notice: EncodedPublish): boolean {
    const { outlet } = this.inflight
    const feed = this.subscriptions.get(hubTopics.feed)
    if (outlet && feed && (this.#slow || !outlet.deliverQos0(notice, false, feed.ids))) this.#later(outlet).beat()
    return outlet !== undefined && feed !== undefined
  }

  #later(outlet: DeliveryTarget): SlowReceiver {
    this.#slow ??= new SlowReceiver(outlet, this, this.#host.slow)
    return this.#slow
  }

  /** Appends a message to the queue, and does nothing else. */
  enqueue(message: Enqueued, n = this.last + 1): Queued {
    if (n > this.last) this.last = n
    const entry = waitingEntry(message, n)
    this.unsent.push(entry)
    if (entry.group) {
      this.#ofGroups ??= new GroupCounts()
      this.#ofGroups.add(entry.group.key)
    }
    return entry
  }

  /** Messages of other members of the same groups, in case that those members end. */
  get backups(): Backups<Session> {
    this.#backups ??= new Backups(this, this.#host)
    return this.#backups
  }

  /**
   * Sends retained messages to a new subscription, one by one as the connection has room. For a durable session the
   * next connection continues. An undefined message is a pause. Subscribing again starts over.
   */
  offerRetained(filter: string, messages: Iterable<RetainedDelivery | undefined>): void {
    this.#retained ??= new RetainedBacklog()
    this.#retained.set(filter, messages)
    if (this.#retained.size === 1) this.pump()
    else this.#host.later(this)
  }

  forgetRetained(filter: string): void {
    this.#retained?.delete(filter)
  }

  /** Sends waiting messages, as far as window and connection have room. Called when either may have room. */
  pump(): void {
    const { outlet } = this.inflight
    if (!outlet) return
    // In turns: neither may wait for the end of the other, which may never come.
    while (this.#pumpSlow() || this.#pumpQueue(outlet)) this.#pumpQueue(outlet)
  }

  /** Sends one message that has waited for room. */
  #pumpSlow(): boolean {
    const isSent = this.#slow?.sendNext() === true
    if (this.#slow?.isOver) this.#slow = undefined
    return isSent
  }

  /** Sends one message of the queue, or else a retained one. */
  #pumpQueue(outlet: DeliveryTarget): boolean {
    if (!this.inflight.resend() || !this.inflight.hasRoom) return false
    if (!this.unsent.isReady) {
      this.unsent.load(() => this.pump())
      return false
    }
    const entry = this.unsent.shift()
    if (!entry) return (this.shared !== undefined && this.#host.takeOver(this)) || this.#pumpRetained(outlet)
    const fault = this.#faultOf(entry)
    if (fault) this.#drop(entry, fault)
    else if (this.inflight.send(outlet, entry, encodedOf(entry))) this.#host.sent(this, entry)
    else this.#drop(entry, 'too_large')
    return true
  }

  /** Drops a message that was taken out of the queue. */
  #drop(entry: Queued, why: DropReason): void {
    this.#host.dropped(this, entry, why)
    this.over(entry)
  }

  /** Forgets a message that no other session has either. */
  over(entry: Queued): void {
    this.#forget(entry)
    entry.backupDone?.()
  }

  /** Forgets a message that has left this session. */
  #forget(entry: Queued): void {
    const { group } = entry
    if (group && this.#ofGroups?.remove(group.key) === 0) this.#host.groupDone(this, group)
  }

  /** Returns why a message that waited must not be sent any more. */
  #faultOf(entry: Queued): DropReason | undefined {
    const now = this.#host.now()
    if (isExpired(entry, now)) return 'expired'
    if (this.unsent.isOld(entry.at, now)) return 'queue'
    return this.mayReceive(entry.topic) ? undefined : 'not_permitted'
  }

  keepsRetain(group: GroupName): boolean {
    return this.subscriptions.get(group.key)?.asPublished === true
  }

  /** Handles PUBACK; see {@link InflightWindow.acknowledge}. */
  acknowledge(packetId: number, isRefused = false): string | undefined {
    return this.inflight.acknowledge(packetId, isRefused)
  }

  /** Handles PUBREC; see {@link InflightWindow.received}. */
  received(packetId: number, isRefused = false): string | undefined {
    return this.inflight.received(packetId, isRefused)
  }

  /** Handles PUBCOMP; see {@link InflightWindow.complete}. */
  complete(packetId: number): string | undefined {
    return this.inflight.complete(packetId)
  }

  /** Drops messages that have been queued for too long. */
  expire(now: number): void {
    for (let old = this.unsent.shiftOld(now); old; old = this.unsent.shiftOld(now)) this.#drop(old, 'queue')
  }

  /** Drops the oldest waiting messages of a queue beyond the limits, never one in flight. */
  #trim(now: number): void {
    this.expire(now)
    for (let one = this.unsent.shiftExcess(); one; one = this.unsent.shiftExcess()) this.#drop(one, 'queue')
  }

  /**
   * Removes and returns at most `most` messages that another member of the group may have instead: waiting messages,
   * and without a connection also those in flight. QoS 2 messages that were sent stay. [MQTT-4.8.2-4] [MQTT-4.8.2-5]
   */
  give(group: GroupName, most = Infinity, mayHave: (entry: Queued) => boolean = () => true): readonly Queued[] {
    if (this.has(group) === 0) return []
    const isGiven = (entry: Queued) => entry.group?.key === group.key && mayHave(entry)
    const given = this.attached ? [] : this.inflight.give(isGiven, most)
    given.push(...this.unsent.removeWhere(isGiven, most - given.length))
    for (const entry of given) this.#forget(entry)
    return given
  }

  #pumpRetained(outlet: DeliveryTarget): boolean {
    const next = this.#retained?.next()
    if (next === undefined) return false
    // The message was readable when the subscription asked for retained messages; permissions may have changed.
    if (next === 'pause' || !this.mayReceive(next.message.topic)) {
      this.#host.later(this)
      return false
    }
    const { message, filter } = next
    const ids = this.subscriptions.get(filter)?.ids
    if (message.qos > 0) {
      const entry = this.enqueue(retainedEntry(message, ids, this.#host.now()))
      if (this.#sendLast(outlet, entry, encodedOf(entry))) this.#host.queued(this, entry)
    } else if (!this.#slow?.has(message.topic)) outlet.deliverQos0(encodedOf(message), true, ids)
    return true
  }
}
