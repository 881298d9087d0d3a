import { packetType } from '../mqtt/primitives.js'
import type { EncodedPublish, PublishOptions } from '../mqtt/publish.js'
import { type Fault, reasonCode } from '../mqtt/reason-codes.js'
import { encodedOf, type GroupName, isExpired, isReleased, type Queued, type QueuedState } from './delivery.js'
import { Leases } from './leases.js'
import type { DeliveryTarget, DropReason, SessionEvents } from './session-host.js'

/** The session of a window, as far as sending goes. */
export interface WindowOwner {
  readonly durable: boolean
  mayReceive(topic: string): boolean
  /** Returns whether deliveries to this member of a group keep the RETAIN flag of the publish. */
  keepsRetain(group: GroupName): boolean
  /** Called with a message that no session has any more. */
  over(entry: Queued): void
  /** Called when there may be room for the next message. */
  pump(): void
}

/** A connection of the session. */
interface Attachment {
  readonly outlet: DeliveryTarget
  /** Number of unacknowledged deliveries that both the client and the hub allow. */
  readonly size: number
  /** Messages still to be sent again, and the one of them that waits for the journal. */
  resending: Iterator<Queued> | undefined
  held: Queued | undefined
  /** Deliveries that count for the window while unacknowledged ones are sent again. */
  resent: number
}

/**
 * The messages of a session (`S`) that are sent and not yet acknowledged, by packet id, in the order of sending: gives
 * packet ids, sends, handles acknowledgements, and sends again to a client that comes back. Takes no memory for
 * messages before the first one, and none for a connection while there is none.
 */
export class InflightWindow<S extends WindowOwner> {
  readonly leases = new Leases()
  readonly #session: S
  readonly #events: SessionEvents<S>
  readonly #size: number
  #messages: Map<number, Queued> | undefined
  #lastId = 0
  /** Number of messages whose packet ids the journal does not have yet: later ones wait behind them. */
  numbering = 0
  #attachment: Attachment | undefined

  /** `size` is the maximum number of deliveries without an acknowledgement. */
  constructor(session: S, size: number, events: SessionEvents<S>) {
    this.#session = session
    this.#size = size
    this.#events = events
  }

  // — the messages —

  get size(): number {
    return this.#messages?.size ?? 0
  }

  has(packetId: number): boolean {
    return this.#messages?.has(packetId) === true
  }

  get(packetId: number): Queued | undefined {
    return this.#messages?.get(packetId)
  }

  values(): IterableIterator<Queued> {
    return (this.#messages ?? noMessages).values()
  }

  /** The last packet id given. */
  get lastId(): number {
    return this.#lastId
  }

  // — the state that a journal or snapshot has —

  /** Restores the last packet id: new ones follow. */
  restore(lastId: number): void {
    this.#lastId = lastId
  }

  /** Adds a message that was sent with this packet id. */
  add(entry: Queued, packetId: number): void {
    entry.packetId = packetId
    this.#become(entry, 'sent')
    this.#lastId = packetId
    this.#set(packetId, entry)
  }

  /** Removes a message that was acknowledged, or goes elsewhere. */
  remove(packetId: number): Queued | undefined {
    const entry = this.get(packetId)
    if (!entry) return undefined
    this.#messages?.delete(packetId)
    this.#become(entry, 'waiting')
    return entry
  }

  // — the connection —

  /** The connection of the client. Undefined while the client is absent. */
  get outlet(): DeliveryTarget | undefined {
    return this.#attachment?.outlet
  }

  /** Attaches a connection. Unacknowledged messages are to be sent again before others. [MQTT-4.4.0-1] */
  attach(outlet: DeliveryTarget): void {
    const size = Math.min(this.#size, outlet.receiveMaximum)
    this.#attachment = { outlet, size, resending: this.values(), held: undefined, resent: 0 }
    this.#resendReleases(this.#attachment)
  }

  detach(): void {
    this.#attachment = undefined
    for (const packetId of this.leases.end()) this.#messages?.delete(packetId)
    if (this.#messages?.size === 0) this.#messages = undefined
  }

  /** Whether a message may be sent now. */
  get hasRoom(): boolean {
    const to = this.#attachment
    return this.room > 0 && to?.outlet.hasCapacity === true
  }

  /** Number of messages that the client may get in addition to those in flight; 0 while these are sent again. */
  get room(): number {
    const to = this.#attachment
    return to && !to.resending ? to.size - this.size : 0
  }

  /**
   * Sends PUBRELs again. They wait for no window [MQTT-3.3.4-8], so they go first. Their messages count for the receive
   * maximum until PUBCOMP: the client may have state for each. (MQTT 5 §4.4, §4.9)
   */
  #resendReleases(to: Attachment): void {
    for (const { state, packetId } of this.values()) {
      if (state !== 'releasing' && state !== 'released') continue
      to.resent++
      // A releasing message gets PUBREL once the journal has the PUBREC.
      if (state === 'released') to.outlet.writeAck(packetType.pubrel, packetId)
    }
  }

  /** Returns true when every message is sent again. Sends no more at a time than the client accepts. [MQTT-3.3.4-9] */
  resend(): boolean {
    const to = this.#attachment
    if (!to) return false
    while (to.resending) {
      if (!to.outlet.hasCapacity || to.resent >= to.size) return false
      const entry = to.held ?? (to.resending.next().value as Queued | undefined)
      to.held = undefined
      if (!entry) to.resending = undefined
      else if (this.get(entry.packetId) !== entry) continue
      else if (entry.state === 'numbering') {
        to.held = entry
        return false
      } else if (entry.state === 'unnumbered') {
        to.resent++
        this.#sendWhenNumbered(entry)
      } else if (!isReleased(entry)) this.#resendPublish(to, entry)
    }
    return true
  }

  #resendPublish(to: Attachment, entry: Queued): void {
    const isFirst = entry.state === 'unwritten'
    this.#become(entry, 'sent')
    // A QoS 2 message that was sent once does not expire. [MQTT-4.3.3-7]
    if ((entry.qos === 1 || isFirst) && isExpired(entry, this.#events.now())) this.#giveUp(entry, 'expired', isFirst)
    else if (!this.#session.mayReceive(entry.topic)) this.#giveUp(entry, 'not_permitted', isFirst)
    else if (this.#write(to.outlet, entry, !isFirst)) to.resent++
    else this.#giveUp(entry, 'too_large', isFirst)
  }

  /** Gives up a message that has a packet id: the message is not sent, or not sent again. */
  #giveUp(entry: Queued, why: DropReason, isUnsent: boolean): void {
    this.#events.dropped(this.#session, entry, why)
    // The client may have the message, and remembers the packet id until PUBREL.
    if (entry.qos === 2 && !isUnsent) this.#release(entry)
    else this.#finish(entry.packetId)
  }

  // — sending —

  /**
   * Sends a message, or has it sent once the journal has its packet id. Returns false when the packet is larger than
   * the client accepts.
   */
  send(outlet: DeliveryTarget, entry: Queued, encoded: EncodedPublish, dup = false): boolean {
    // A packet id still in flight is not given twice. [MQTT-2.3.1-2]
    let id = this.#lastId
    do id = (id % 65_535) + 1
    while (this.has(id))
    this.#lastId = id
    entry.packetId = id
    // Messages behind a waiting one wait as well, to stay in order.
    const waits = this.#session.durable && (entry.qos === 2 || this.numbering > 0)
    if (waits) this.#sendWhenNumbered(entry)
    else if (!outlet.publish(encoded, this.#sending(entry), dup)) {
      entry.packetId = 0
      return false
    } else this.#become(entry, 'sent')
    this.#set(id, entry)
    return true
  }

  /**
   * Sends a message once the journal has the packet id. The client remembers a QoS 2 packet id for longer than this
   * process may live: so must the journal. [MQTT-4.3.3-1]
   */
  #sendWhenNumbered(entry: Queued): void {
    const meant = this.#attachment
    this.#become(entry, 'numbering')
    this.#events.kept(error => {
      if (entry.state !== 'numbering') return
      if (error) {
        this.#become(entry, 'unnumbered')
        this.outlet?.end(journalFault)
      } else if (!meant || meant !== this.#attachment) {
        // Sent with the messages sent again, which may wait for this one.
        this.#become(entry, 'unwritten')
        this.#session.pump()
      } else {
        this.#become(entry, 'sent')
        if (this.#write(meant.outlet, entry, false)) return
        this.#giveUp(entry, 'too_large', true)
        this.#events.later(this.#session)
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
    return { qos, packetId, ids, retain: this.#session.keepsRetain(group) }
  }

  /**
   * Removes and returns at most `most` messages that another client may have instead. QoS 2 messages that were sent
   * stay. [MQTT-4.8.2-4] [MQTT-4.8.2-5]
   */
  give(isWanted: (entry: Queued) => boolean, most: number): Queued[] {
    const given: Queued[] = []
    for (const entry of this.values()) {
      if (given.length === most) break
      if ((entry.qos === 1 || isUnsent(entry)) && isWanted(entry)) given.push(entry)
    }
    for (const { packetId } of given) this.remove(packetId)
    return given
  }

  // — acknowledgements —

  /**
   * Handles PUBACK. Returns the client's error, if any. A PUBACK for an unknown packet id is late, and no error.
   * `isRefused`: the client rejected the message, which is not sent again. [MQTT-4.3.2-4]
   */
  acknowledge(packetId: number, isRefused: boolean): string | undefined {
    const entry = this.get(packetId)
    if (!entry) return undefined
    if (entry.qos !== 1) return `PUBACK for the QoS 2 publish ${packetId}`
    if (isRefused) this.#events.dropped(this.#session, entry, 'client_refused')
    this.leases.acknowledged(packetId, isRefused)
    this.clear(packetId)
    return undefined
  }

  /**
   * Handles PUBREC; returns the client's error, if any. The answer is PUBREL, also for an unknown packet id.
   * [MQTT-4.3.3-1]
   */
  received(packetId: number, isRefused: boolean): string | undefined {
    const entry = this.get(packetId)
    if (entry?.qos === 1) return `PUBREC for the QoS 1 publish ${packetId}`
    if (entry && isRefused) {
      if (isReleased(entry)) return undefined
      this.#events.dropped(this.#session, entry, 'client_refused')
      this.clear(packetId)
    } else if (entry) this.#release(entry)
    else if (!isRefused) this.outlet?.writeAck(packetType.pubrel, packetId, reasonCode.packetIdNotFound)
    return undefined
  }

  #release(entry: Queued): void {
    const { packetId } = entry
    this.#become(entry, 'releasing')
    this.#events.released(this.#session, packetId, error => {
      if (entry.state === 'releasing') this.#become(entry, 'released')
      if (error) this.outlet?.end(journalFault)
      else this.outlet?.writeAck(packetType.pubrel, packetId)
    })
  }

  /** Handles PUBCOMP; returns the client's error, if any. */
  complete(packetId: number): string | undefined {
    const entry = this.get(packetId)
    if (!entry) return undefined
    if (!isReleased(entry)) return `PUBCOMP for publish ${packetId}, which had no PUBREC`
    this.clear(packetId)
    return undefined
  }

  /** Completes the delivery with this packet id, of any QoS: the client has the message. */
  clear(packetId: number): void {
    const to = this.#attachment
    if (to && to.resent > 0) to.resent--
    this.#finish(packetId)
    this.#session.pump()
  }

  #finish(packetId: number): void {
    const entry = this.remove(packetId)
    this.#events.acknowledged(this.#session, packetId)
    if (entry) this.#session.over(entry)
  }

  #set(packetId: number, entry: Queued): void {
    this.#messages ??= new Map()
    this.#messages.set(packetId, entry)
  }

  #become(entry: Queued, state: QueuedState): void {
    if (entry.state === 'numbering') this.numbering--
    if (state === 'numbering') this.numbering++
    entry.state = state
  }
}

const noMessages: ReadonlyMap<number, Queued> = new Map()

/** Returns whether a message has a packet id, and was never sent. */
function isUnsent({ state }: Queued): boolean {
  return state === 'numbering' || state === 'unnumbered' || state === 'unwritten'
}

/** Reason for ending a connection when the hub's disk refused a record. */
const journalFault: Fault = { code: reasonCode.unspecified, reason: 'what is to outlive a crash could not be written' }
