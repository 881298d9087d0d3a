import type { Access } from '../access/rules.js'
import type { EncodedPublish } from '../mqtt/publish.js'
import { Conflation, type ConflationCounts } from '../runtime/conflation.js'
import type { MillisecondClock } from '../runtime/time.js'
import { hubTopics } from '../topics.js'
import { isExpired, type OutboundMessage } from './delivery.js'
import { encodedNotice } from './feed-beats.js'

/** What the deliveries to slow receivers share. */
export interface SlowReceiverServices {
  readonly counts: ConflationCounts
  /** Milliseconds since the epoch. */
  readonly clock: MillisecondClock
  /** Milliseconds of a clock that never jumps. */
  readonly elapsed: MillisecondClock
  /** Bytes that may wait for one receiver on topics without a retained message. */
  readonly limit: number
  readonly retained: { readonly held: number }
}

/** A connection, as far as QoS 0 goes. */
export interface Qos0Target {
  /** False while so much waits to be written that further messages should wait; the session is told when there is room. */
  readonly hasCapacity: boolean
  /**
   * Sends a PUBLISH of QoS 0. Returns false when the outbox is full. A packet larger than the client accepts is
   * dropped, and counted.
   */
  deliverQos0(message: EncodedPublish, retain: boolean, ids: readonly number[] | undefined): boolean
}

/** The session of a slow receiver. */
export interface SlowSession {
  readonly access: Access | undefined
  readonly subscriptions: {
    get(filter: string): { readonly ids: readonly number[] | undefined } | undefined
  }
  mayReceive(topic: string): boolean
  /** Set when a retained message was dropped. */
  hasMissed: boolean
}

interface Late {
  readonly encoded: EncodedPublish
  readonly retain: boolean
  readonly ids: readonly number[] | undefined
}

/** Memory of a topic that waits, beside topic and payload, about. */
const overheadBytes = 300

/**
 * The QoS 0 deliveries to one connection from the moment at which one found no room, until all have left. State waits
 * here, the newest message of each topic; any other message is dropped while the connection has no room. Ends with the
 * connection, as the outbox does.
 */
export class SlowReceiver {
  readonly #outlet: Qos0Target
  readonly #session: SlowSession
  readonly #services: SlowReceiverServices
  readonly #waiting: Conflation<Late>
  /** Whether the client is to be told, before the next message, that it is behind. */
  #isNoticeDue = true
  #isOver = false

  constructor(outlet: Qos0Target, session: SlowSession, services: SlowReceiverServices) {
    const { limit, counts, elapsed } = services
    this.#outlet = outlet
    this.#session = session
    this.#services = services
    this.#waiting = new Conflation(limit, counts, elapsed)
  }

  /** Whether everything that waited has left. */
  get isOver(): boolean {
    return this.#isOver
  }

  has(topic: string): boolean {
    return this.#waiting.has(topic)
  }

  /** Called once a second when the client is to be told how late its messages are. */
  beat(): void {
    this.#isNoticeDue = true
    this.#wantRoom()
  }

  /** Called when a later message of the topic is delivered at a higher QoS. */
  supersede(topic: string): void {
    this.#waiting.supersede(topic)
  }

  /**
   * Takes a delivery. Only the newest message of a topic matters when the message is published as retained, when the
   * subscription asks for that (`conflate`), or when the user does.
   */
  take(delivery: OutboundMessage, retain: boolean, ids: readonly number[] | undefined, conflate: boolean): void {
    const { topic } = delivery
    const isState = delivery.retain || conflate || this.#session.access?.conflates === true
    const waiting = this.#waiting
    // Nothing may overtake a waiting message of the same topic.
    if (!isState && !waiting.has(topic)) {
      // State that waits has the first half of the outbox: other messages could fill that for ever.
      const mayFill = waiting.size === 0 || this.#outlet.hasCapacity
      if (mayFill && this.#outlet.deliverQos0(delivery.encoded, retain, ids)) return
      waiting.drop()
      this.#wantRoom()
      return
    }
    const { dropped } = waiting
    waiting.put(topic, { encoded: delivery.later, retain, ids }, this.#bytesOf(delivery))
    if (waiting.dropped > dropped) this.#session.hasMissed = true
    this.#wantRoom()
  }

  /** Asks for room, so that the connection tells when there is some again. */
  #wantRoom(): void {
    void this.#outlet.hasCapacity
  }

  /**
   * Returns the bytes that a message counts for the limit. Those that are retained are bounded by the limits of
   * retained messages: there are never more of them here.
   */
  #bytesOf({ topic, payload, properties, isHeld, expiresAt }: OutboundMessage): number {
    const { retained } = this.#services
    if (isHeld && expiresAt === undefined && this.#waiting.free < retained.held) return 0
    return overheadBytes + 2 * topic.length + payload.length + (properties?.length ?? 0)
  }

  /** Writes what has waited longest. Returns false when there is no room, or nothing left. */
  sendNext(): boolean {
    if (!this.#outlet.hasCapacity) return false
    if (this.#isNoticeDue) this.#tell('behind')
    this.#isNoticeDue = false
    const next = this.#waiting.shift()
    if (!next) {
      this.#tell('live')
      this.#isOver = true
      return false
    }
    const { encoded, retain, ids } = next
    const isDue = !isExpired(encoded, this.#services.clock.now()) && this.#session.mayReceive(encoded.topic)
    if (!isDue || !this.#outlet.deliverQos0(encoded, retain, ids)) this.#waiting.drop()
    return true
  }

  /** Sends a notice, behind what the outbox has, to a client that is subscribed to notices. */
  #tell(state: 'live' | 'behind'): void {
    const feed = this.#session.subscriptions.get(hubTopics.feed)
    if (!feed) return
    const { behindMs, merged, dropped, size } = this.#waiting
    const counts = { merged, ...(dropped > 0 && { dropped }), ...(size > 0 && { waiting: size }) }
    const notice = encodedNotice({ state, behind: Math.round(behindMs), ...counts }, this.#services.clock)
    this.#outlet.deliverQos0(notice, false, feed.ids)
  }
}
