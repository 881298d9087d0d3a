import type { Access } from '../auth/rules.js'
import type { QoS } from '../model.js'
import { packetType } from '../mqtt/primitives.js'
import { EncodedPublish, type PublishOptions } from '../mqtt/publish.js'
import { type Fault, reasonCode } from '../mqtt/reason-codes.js'
import { LateMap } from '../runtime/late-map.js'
import {
  type Enqueued,
  encodedOf,
  isExpired,
  isReleased,
  type OutboundMessage,
  type Queued,
  type QueuedState,
  type RetainedDelivery,
  waitingEntry,
} from './delivery.js'
import { RetainedBacklog } from './retained-backlog.js'
import type { DeliveryTarget, DropReason, QueueLimits, SessionEvents } from './session-host.js'
import { ownerOf } from './session-name.js'
import { SessionQueue } from './session-queue.js'
import type { Group } from './shared-group.js'
import { reachOf, type Subscription, topicsOf } from './subscription.js'

/** A QoS 2 publish of the client that is in the spool: all that is still wanted of it is its packet id. */
export const spooled = Symbol('spooled')

/**
 * The state of one client (MQTT 3.1.1 §3.1.2.4), and the way out to it: QoS 0 goes straight to the connection, QoS 1
 * and 2 through a window of unacknowledged deliveries with an ordered queue behind it. One that is not `durable` ends
 * with its connection, and so does one that may not outlive it any more: `expiry` 0.
 */
export class Session {
  readonly clientId: string
  /** Whose it is; empty when nobody is asked. It changes when a session from before there were users gets its user. */
  user: string
  /** Of user and client id, as {@link sessionName} makes it. */
  name: string
  readonly durable: boolean
  readonly subscriptions = new Map<string, Subscription>()
  /** Sent and not yet acknowledged, by packet id, in the order of sending. */
  readonly inflight = new LateMap<number, Queued>()
  readonly unsent: SessionQueue
  /** QoS 2 publishes received and not yet released, by packet id. */
  readonly incoming = new LateMap<number, typeof spooled | object>()
  /** Who waits for a QoS 2 publish on its way into the spool, by packet id. */
  readonly accepting = new LateMap<number, ((error?: Error) => void)[]>()
  /** What its client may do; undefined: everything. */
  access: Access | undefined
  /** When its client left, in milliseconds since the epoch; 0 while it is there. */
  absentSince = 0
  /** Seconds that it is kept without a connection; Infinity: for ever. */
  expiry = Infinity
  /** Its shared subscriptions; undefined: none yet. */
  shared: Set<Subscription> | undefined
  /** What other members of its groups have, and it is to have again should they and this process end. */
  backups: Set<Queued> | undefined
  /** A QoS 0 delivery found no room on this connection. */
  hasMissed = false
  /** For the emitter: which message reached it last, at which QoS, and what else its subscriptions ask for. */
  mark = 0
  best: QoS = 0
  retains = false
  ids: readonly number[] | undefined
  readonly #limits: QueueLimits
  readonly #host: SessionEvents
  /** Messages whose packet ids the journal does not have yet. */
  #numbering = 0
  /** What is still to be sent again on this connection, and what of it waits for the journal. */
  #resending: Iterator<Queued> | undefined
  #held: Queued | undefined
  /** Messages it has of each group. */
  #ofGroups: Map<Group, number> | undefined
  #outlet: DeliveryTarget | undefined
  /** Deliveries without an acknowledgement, as the client and we allow them. */
  #window: number
  /** Deliveries that count for the window of this connection while unacknowledged ones are sent again. */
  #resent = 0
  #number = 0
  #lastId = 0
  readonly #retained = new RetainedBacklog()

  constructor(name: string, durable: boolean, limits: QueueLimits, host: SessionEvents) {
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

  /** Its client is connected: what is unacknowledged is sent again first, then what waited. [MQTT-4.4.0-1] */
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
   * PUBRELs wait for no window [MQTT-3.3.4-8], so they go first. Their messages count for the receive maximum until
   * PUBCOMP: the client may have state for each. (MQTT 5 §4.4, §4.9)
   */
  #resendReleases(outlet: DeliveryTarget): void {
    for (const { state, packetId } of this.inflight.values()) {
      if (state !== 'releasing' && state !== 'released') continue
      this.#resent++
      // A PUBREL that the journal does not have yet is sent when it has.
      if (state === 'released') outlet.writeAck(packetType.pubrel, packetId)
    }
  }

  detach(): void {
    this.#outlet = undefined
    this.#resending = this.#held = undefined
    for (const map of [this.inflight, this.incoming, this.accepting]) map.release()
    this.#retained.release()
  }

  /** Characters of all its filters. */
  filterLength = 0
  /** Subscriptions with + or #. */
  wildcards = 0

  get attached(): boolean {
    return this.#outlet !== undefined
  }

  /** The number of the last message queued. */
  get last(): number {
    return this.#number
  }

  /** The last packet id given. */
  get lastId(): number {
    return this.#lastId
  }

  /** Goes on behind these, as a snapshot remembers them. */
  restore(last: number, lastId: number): void {
    this.#number = last
    this.#lastId = lastId
  }

  /** Does it have messages that other members of a group may get instead? */
  get hasOfGroups(): boolean {
    return (this.#ofGroups?.size ?? 0) > 0 || (this.backups?.size ?? 0) > 0
  }

  mayReceive(topic: string): boolean {
    return this.access === undefined || this.access.mayRead(topic)
  }

  /** Permissions have changed. */
  narrow(): void {
    for (const subscription of this.subscriptions.values()) {
      subscription.reach = reachOf(this.access, topicsOf(subscription))
    }
  }

  /** Is what is queued next at the cost of what was queued first? */
  get full(): boolean {
    return this.unsent.length >= this.#limits.messages || this.unsent.bytes >= this.#limits.bytes
  }

  /** Looks in one of the next turns whether there is something to send. */
  wake(): void {
    this.#host.later(this)
  }

  /** The groups it shares with. */
  get groups(): readonly Group[] {
    return this.shared ? [...this.shared].flatMap(({ group }) => group ?? []) : []
  }

  /** How much it has of a group, waiting or unacknowledged. */
  has(group: Group): number {
    return this.#ofGroups?.get(group) ?? 0
  }

  /** The group of that name that it has messages of, member or not. */
  groupOf(key: string): Group | undefined {
    return [...(this.#ofGroups?.keys() ?? [])].find(group => group.key === key)
  }

  /** What it has to do before what comes next: unacknowledged and waiting. */
  get load(): number {
    return this.inflight.size + this.unsent.length
  }

  /**
   * Hands a message on at `qos`; returns what now waits for an acknowledgement, if anything. The caller journals it.
   * `retain`, `ids` and `group` as in {@link Enqueued}.
   */
  deliver(
    delivery: OutboundMessage,
    qos: QoS,
    retain = false,
    ids?: readonly number[],
    group?: Group,
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

  /** Puts a message at the end of the queue, and does nothing else. */
  enqueue(message: Enqueued, n = this.#number + 1): Queued {
    const entry = this.#entry(message, n)
    this.unsent.push(entry)
    const { group } = entry
    if (group) {
      this.#ofGroups ??= new Map()
      this.#ofGroups.set(group, this.has(group) + 1)
    }
    return entry
  }

  /** Remembers a message that another member of its group has. The caller journals it as queued here. */
  addBackup(message: Enqueued): Queued {
    return this.keep(this.#entry(message, this.#number + 1))
  }

  /** Goes on remembering what another member has taken over. */
  keep(entry: Queued): Queued {
    this.backups ??= new Set()
    this.backups.add(entry)
    return entry
  }

  /** The other member has delivered it. */
  dropBackup(entry: Queued): void {
    if (this.backups?.delete(entry)) this.#host.moved(this, entry)
  }

  #entry(message: Enqueued, n: number): Queued {
    this.#number = Math.max(this.#number, n)
    return waitingEntry(message, n)
  }

  /**
   * Retained messages for a new subscription, taken one by one as the connection has room; of one that is kept, also
   * the next connection. Undefined is a pause. A subscription given again begins anew.
   */
  offerRetained(filter: string, messages: Iterable<RetainedDelivery | undefined>): void {
    this.#retained.set(filter, messages)
    if (this.#retained.size === 1) this.pump()
    else this.#host.later(this)
  }

  /** The subscription is over. */
  forgetRetained(filter: string): void {
    this.#retained.delete(filter)
  }

  /** Sends what waits, as far as window and connection have room. Call when either may have. */
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

  /** What was taken out of the queue goes undelivered. */
  #drop(entry: Queued, why: DropReason): void {
    this.#host.dropped(this, entry, why)
    this.#over(entry)
  }

  /** It is not here any more, and with nobody else. */
  #over(entry: Queued): void {
    this.#forget(entry)
    entry.backupDone?.()
  }

  /** It is not here any more. */
  #forget(entry: Queued): void {
    this.#become(entry, 'waiting')
    const { group } = entry
    if (!group) return
    const left = this.has(group) - 1
    if (left > 0) this.#ofGroups?.set(group, left)
    else {
      this.#ofGroups?.delete(group)
      group.absent.delete(this)
    }
  }

  /** Why something that waited is not to be sent any more. */
  #faultOf(entry: Queued): DropReason | undefined {
    const now = this.#host.now()
    if (isExpired(entry, now)) return 'expired'
    if (this.#isOld(entry.at, now)) return 'queue'
    return this.mayReceive(entry.topic) ? undefined : 'not_permitted'
  }

  /** True when all of it is sent again. No more at a time than the client takes. [MQTT-3.3.4-9] */
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

  /** What has a packet id will not be sent, or not again. */
  #giveUp(entry: Queued, why: DropReason, isUnsent: boolean): void {
    this.#host.dropped(this, entry, why)
    if (entry.qos === 2 && !isUnsent) {
      // The client may have it, and remembers the packet id until PUBREL.
      this.#release(entry)
      return
    }
    this.inflight.delete(entry.packetId)
    this.#host.acknowledged(this, entry.packetId)
    this.#over(entry)
  }

  /**
   * PUBACK. Returns what is wrong with it, if anything; one for nothing known is late, and nothing. `isRefused`: the
   * client does not want it, and gets it no more. [MQTT-4.3.2-4]
   */
  acknowledge(packetId: number, isRefused = false): string | undefined {
    const entry = this.inflight.get(packetId)
    if (!entry) return undefined
    if (entry.qos !== 1) return `PUBACK for the QoS 2 publish ${packetId}`
    if (isRefused) this.#host.dropped(this, entry, 'client_refused')
    this.clear(packetId)
    return undefined
  }

  /** PUBREC: what comes next is PUBREL, also for an id that is not known any more. [MQTT-4.3.3-1] */
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

  /** PUBCOMP. */
  complete(packetId: number): string | undefined {
    const entry = this.inflight.get(packetId)
    if (!entry) return undefined
    if (!isReleased(entry)) return `PUBCOMP for publish ${packetId}, which had no PUBREC`
    this.clear(packetId)
    return undefined
  }

  /** Gives an entry of the queue its packet id, as the journal remembers it. */
  number(entry: Queued, packetId: number): void {
    this.unsent.remove(entry)
    entry.packetId = packetId
    this.#become(entry, 'sent')
    this.#lastId = packetId
    this.inflight.set(packetId, entry)
  }

  /** It goes out of the queue, as the journal remembers it. */
  drop(entry: Queued): void {
    if (this.unsent.remove(entry)) this.#forget(entry)
  }

  /** It was acknowledged, as the journal remembers it. */
  acknowledged(packetId: number): void {
    const entry = this.inflight.get(packetId)
    if (!entry) return
    this.inflight.delete(packetId)
    this.#forget(entry)
  }

  /** Lets go of what has been queued for longer than it may. */
  expire(now: number): void {
    for (let at = this.unsent.oldestAt; at !== undefined && this.#isOld(at, now); at = this.unsent.oldestAt)
      this.#dropOldest()
  }

  /** Whatever it was, the client has it. */
  clear(packetId: number): void {
    const entry = this.inflight.get(packetId)
    this.inflight.delete(packetId)
    if (this.#resent > 0) this.#resent--
    this.#host.acknowledged(this, packetId)
    if (entry) this.#over(entry)
    this.pump()
  }

  /**
   * Takes out what another member of the group may have instead, at most so many: what is waiting, and without a
   * connection also what is in flight. QoS 2 that was sent stays. [MQTT-4.8.2-4] [MQTT-4.8.2-5]
   */
  give(group: Group, most = Infinity, mayHave: (entry: Queued) => boolean = () => true): readonly Queued[] {
    if (this.has(group) === 0) return []
    const given: Queued[] = []
    const isGiven = (entry: Queued) => entry.group === group && mayHave(entry)
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

  /** It has its packet id, and was never sent. */
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
    // It was readable when it was asked for.
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

  /** False: it is larger than the client takes. */
  #send(outlet: DeliveryTarget, entry: Queued, encoded: EncodedPublish): boolean {
    // An id still in flight is not given twice. [MQTT-2.3.1-2]
    let id = this.#lastId
    do id = (id % 65_535) + 1
    while (this.inflight.has(id))
    this.#lastId = id
    entry.packetId = id
    // What comes after one that waits waits with it, to stay in order.
    const waits = this.durable && (entry.qos === 2 || this.#numbering > 0)
    if (waits) this.#sendWhenNumbered(entry)
    else if (!outlet.publish(encoded, this.#sending(entry), false)) {
      entry.packetId = 0
      return false
    } else this.#become(entry, 'sent')
    this.inflight.set(id, entry)
    return true
  }

  /** The client remembers a QoS 2 packet id for longer than this process may live: so must the journal. [MQTT-4.3.3-1] */
  #sendWhenNumbered(entry: Queued): void {
    const meant = this.#outlet
    this.#become(entry, 'numbering')
    this.#host.kept(error => {
      if (entry.state !== 'numbering') return
      if (error) {
        this.#become(entry, 'unnumbered')
        this.#outlet?.end(journalFault)
      } else if (!meant || meant !== this.#outlet) {
        // It is sent with what is sent again, which may wait for it.
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

  /** False: it is larger than the client takes. */
  #write(outlet: DeliveryTarget, entry: Queued, dup: boolean): boolean {
    return outlet.publish(encodedOf(entry), this.#sending(entry), dup)
  }

  /** Of a shared subscription it is for each member as that has asked for. */
  #sending(entry: Queued): PublishOptions {
    const { group, qos, packetId, retain, ids } = entry
    if (!group || !retain) return entry
    return { qos, packetId, ids, retain: this.subscriptions.get(group.key)?.asPublished === true }
  }

  /** The queue keeps its newest: the oldest goes, never one in flight. */
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

/** What our own disk has refused. */
const journalFault: Fault = { code: reasonCode.unspecified, reason: 'what is to outlive a crash could not be written' }
