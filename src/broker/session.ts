import type { Access } from '../auth/rules.js'
import type { QoS } from '../model.js'
import { EncodedPublish, packetType } from './packets.js'

/** What a session needs of the connection its client has. */
export interface Outlet {
  /** False while so much waits to be written that what is next had better wait in the session. */
  readonly roomy: boolean
  /** A PUBLISH of QoS 0: gone, and counted, when the outbox is full. */
  offer(packet: Buffer): void
  /** The client is to come again. */
  end(): void
  /** A PUBLISH of QoS 1 or 2, in parts. */
  publish(parts: readonly Buffer[]): void
  writeAck(type: number, packetId: number): void
}

/** What of a subscription may be delivered: `some` is asked for each message. */
export type Reach = 'all' | 'some' | 'none'

export interface Subscription {
  readonly session: Session
  readonly filter: string
  readonly qos: QoS
  /** As permissions are now: one that was granted stays, and tells nothing while it is not. */
  reach: Reach
}

export function reachOf(access: Access | undefined, filter: string): Reach {
  if (!access || access.readsAll(filter)) return 'all'
  return access.subscribe(filter).allowed ? 'some' : 'none'
}

/** One message on its way to any number of subscribers. */
export class Delivery {
  readonly topic: string
  readonly qos: QoS
  /** Milliseconds since the epoch. */
  readonly at: number
  /** Its place in the order of all messages that may be queued. */
  readonly order: number
  readonly clientId: string
  readonly encoded: EncodedPublish
  readonly #payload: Buffer
  #kept: Buffer | undefined

  constructor(topic: string, payload: Buffer, qos: QoS, clientId: string, at: number, order: number) {
    this.topic = topic
    this.qos = qos
    this.at = at
    this.order = order
    this.clientId = clientId
    this.#payload = payload
    this.encoded = new EncodedPublish(topic, payload)
  }

  /** The payload for whoever keeps it: a copy, the same one for all. */
  get payload(): Buffer {
    if (!this.#kept) {
      // Not of Node's pool: what is kept for long would keep 8 KB.
      this.#kept = Buffer.allocUnsafeSlow(this.#payload.length)
      this.#payload.copy(this.#kept)
    }
    return this.#kept
  }
}

/** A QoS 1 or 2 message that its client has yet to acknowledge. */
export interface Queued {
  /** Its number in its session: ascending, given once. */
  readonly n: number
  readonly topic: string
  readonly payload: Buffer
  readonly qos: 1 | 2
  readonly retain: boolean
  /** When it was queued, in milliseconds since the epoch. */
  readonly at: number
  /** The same for all that were queued with one message, ascending in each session. */
  readonly order: number
  readonly clientId: string
  /** 0: not sent yet. */
  packetId: number
  /** PUBREC came: its PUBREL is what is sent again. */
  released: boolean
}

/** What a session asks for, and whom it tells what becomes of what is queued. */
export interface SessionHost {
  /** Milliseconds since the epoch. */
  now(): number
  nextOrder(): number
  /** Calls `pump` of the session in one of the next turns of the event loop. */
  later(session: Session): void
  queued(session: Session, entry: Queued): void
  /** It has its packet id. */
  sent(session: Session, entry: Queued): void
  /** `done` when that outlives a crash: only then may PUBREL be sent, or the client might get it all again. */
  released(session: Session, packetId: number, done: (error?: Error) => void): void
  /** Calls `done` when all that was told here until the end of this turn outlives a crash. */
  kept(done: (error?: Error) => void): void
  acknowledged(session: Session, packetId: number): void
  /** It goes undelivered: the queue is full or it is too old, or its client may not read it any more. */
  dropped(session: Session, entry: Queued, why: 'queue' | 'not_permitted'): void
}

export interface QueueLimits {
  /** Deliveries without an acknowledgement. */
  readonly window: number
  readonly messages: number
  readonly bytes: number
  /** Milliseconds; 0 is for ever. */
  readonly ageMs: number
}

/** A retained message on its way to a new subscription, at the QoS it is to have. */
export interface RetainedDelivery {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly clientId: string
}

/** A QoS 2 publish of the client that is in the spool: all that is still wanted of it is its packet id. */
export const spooled = Symbol('spooled')

/**
 * The state of one client (MQTT 3.1.1 §3.1.2.4), and the way out to it: QoS 0 goes straight to the connection, QoS 1
 * and 2 through a window of unacknowledged deliveries with an ordered queue behind it. One that is not `durable` ends
 * with its connection.
 */
export class Session {
  readonly clientId: string
  readonly durable: boolean
  readonly subscriptions = new Map<string, Subscription>()
  /** Sent and not yet acknowledged, by packet id, in the order of sending. */
  readonly inflight = new Map<number, Queued>()
  readonly unsent = new Fifo<Queued>()
  /** QoS 2 publishes received and not yet released, by packet id. */
  readonly incoming = new Map<number, typeof spooled | object>()
  /** Who waits for a QoS 2 publish on its way into the spool, by packet id. */
  readonly accepting = new Map<number, ((error?: Error) => void)[]>()
  /** Whose it is; empty when nobody is asked. */
  user = ''
  /** What its client may do; undefined: everything. */
  access: Access | undefined
  /** When its client left, in milliseconds since the epoch; 0 while it is there. */
  absentSince = 0
  /** For the emitter: which message reached it last, and at which QoS. */
  mark = 0
  best: QoS = 0
  readonly #limits: QueueLimits
  readonly #host: SessionHost
  /** PUBREC came, and the journal does not have it yet. */
  readonly #releasing = new Set<number>()
  /** Sent when the journal has their packet ids: QoS 2 ones, and what came after them. */
  readonly #numbering = new Set<Queued>()
  /** The journal has refused their packet ids. */
  readonly #unnumbered = new Set<Queued>()
  /** What is still to be sent again on this connection. */
  #resending: Iterator<Queued> | undefined
  #outlet: Outlet | undefined
  #number = 0
  #lastId = 0
  #unsentBytes = 0
  /** Retained messages still to be sent, by the filter they are for. */
  readonly #retained = new Map<string, Iterator<RetainedDelivery | undefined>>()

  constructor(clientId: string, durable: boolean, limits: QueueLimits, host: SessionHost) {
    this.clientId = clientId
    this.durable = durable
    this.#limits = limits
    this.#host = host
  }

  /** Its client is connected: what is unacknowledged is sent again first, then what waited. [MQTT-4.4.0-1] */
  attach(outlet: Outlet): void {
    this.#outlet = outlet
    this.absentSince = 0
    this.#resending = this.inflight.values()
    this.pump()
  }

  detach(): void {
    this.#outlet = undefined
    this.#resending = undefined
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

  mayReceive(topic: string): boolean {
    return this.access === undefined || this.access.mayRead(topic)
  }

  /** Permissions have changed. */
  narrow(): void {
    for (const subscription of this.subscriptions.values()) {
      subscription.reach = reachOf(this.access, subscription.filter)
    }
  }

  /** Hands a message on at `qos`; returns what now waits for an acknowledgement, if anything. The caller journals it. */
  deliver(delivery: Delivery, qos: QoS): Queued | undefined {
    const outlet = this.#outlet
    if (qos === 0) {
      outlet?.offer(delivery.encoded.qos0(false))
      return undefined
    }
    if (!outlet && !this.durable) return undefined
    const { topic, payload, at, order, clientId } = delivery
    const entry = this.enqueue({ topic, payload, qos, retain: false, at, order, clientId })
    if (
      outlet &&
      !this.#resending &&
      this.unsent.length === 1 &&
      this.inflight.size < this.#limits.window &&
      outlet.roomy
    ) {
      this.#take()
      this.#send(outlet, entry, delivery.encoded)
    } else this.#trim(at)
    return entry
  }

  /** Puts a message at the end of the queue, and does nothing else. */
  enqueue(message: Omit<Queued, 'n' | 'packetId' | 'released'>, n = this.#number + 1): Queued {
    // Spelled out: made by a spread it takes ten times as long, and more memory.
    const { topic, payload, qos, retain, at, order, clientId } = message
    const entry: Queued = { n, topic, payload, qos, retain, at, order, clientId, packetId: 0, released: false }
    this.#number = Math.max(this.#number, n)
    this.unsent.push(entry)
    this.#unsentBytes += sizeOf(entry)
    return entry
  }

  /**
   * Retained messages for a new subscription, taken one by one as the connection has room; of one that is kept, also
   * the next connection. Undefined is a pause. A subscription given again begins anew.
   */
  offerRetained(filter: string, messages: Iterable<RetainedDelivery | undefined>): void {
    this.#retained.delete(filter)
    this.#retained.set(filter, messages[Symbol.iterator]())
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
    while (this.inflight.size < this.#limits.window && outlet.roomy) {
      const entry = this.#take()
      if (!entry) {
        if (!this.#pumpRetained(outlet)) return
      } else if (this.#isOld(entry, this.#host.now())) this.#host.dropped(this, entry, 'queue')
      else if (!this.mayReceive(entry.topic)) this.#host.dropped(this, entry, 'not_permitted')
      else {
        this.#send(outlet, entry, new EncodedPublish(entry.topic, entry.payload))
        this.#host.sent(this, entry)
      }
    }
  }

  /** True when all of it is sent again. */
  #resend(outlet: Outlet): boolean {
    while (this.#resending) {
      if (!outlet.roomy) return false
      const { done, value: entry } = this.#resending.next()
      if (done) this.#resending = undefined
      else if (this.#numbering.has(entry)) continue
      else if (this.#unnumbered.delete(entry)) this.#sendWhenNumbered(entry)
      else if (!entry.released && !this.mayReceive(entry.topic)) {
        this.inflight.delete(entry.packetId)
        this.#host.acknowledged(this, entry.packetId)
        this.#host.dropped(this, entry, 'not_permitted')
      } else if (!entry.released) this.#write(outlet, entry, new EncodedPublish(entry.topic, entry.payload), true)
      // PUBREL is sent when the journal has it.
      else if (!this.#releasing.has(entry.packetId)) outlet.writeAck(packetType.pubrel, entry.packetId)
    }
    return true
  }

  /** PUBACK. Returns what is wrong with it, if anything; one for nothing known is late, and nothing. */
  acknowledge(packetId: number): string | undefined {
    const entry = this.inflight.get(packetId)
    if (!entry) return undefined
    if (entry.qos !== 1) return `PUBACK for the QoS 2 publish ${packetId}`
    this.clear(packetId)
    return undefined
  }

  /** PUBREC: what comes next is PUBREL, also for an id that is not known any more. [MQTT-4.3.3-1] */
  received(packetId: number): string | undefined {
    const entry = this.inflight.get(packetId)
    if (entry?.qos === 1) return `PUBREC for the QoS 1 publish ${packetId}`
    const release = () => this.#outlet?.writeAck(packetType.pubrel, packetId)
    if (entry) {
      entry.released = true
      this.#releasing.add(packetId)
      this.#host.released(this, packetId, error => {
        this.#releasing.delete(packetId)
        if (error) this.#outlet?.end()
        else release()
      })
    } else release()
    return undefined
  }

  /** PUBCOMP. */
  complete(packetId: number): string | undefined {
    const entry = this.inflight.get(packetId)
    if (!entry) return undefined
    if (!entry.released) return `PUBCOMP for publish ${packetId}, which had no PUBREC`
    this.clear(packetId)
    return undefined
  }

  /** Gives an entry of the queue its packet id, as the journal remembers it. */
  number(entry: Queued, packetId: number): void {
    if (this.unsent.remove(entry)) this.#unsentBytes -= sizeOf(entry)
    entry.packetId = packetId
    this.#lastId = packetId
    this.inflight.set(packetId, entry)
  }

  drop(entry: Queued): void {
    if (this.unsent.remove(entry)) this.#unsentBytes -= sizeOf(entry)
  }

  /** Lets go of what has been queued for longer than it may. */
  expire(now: number): void {
    for (let oldest = this.unsent.first; oldest && this.#isOld(oldest, now); oldest = this.unsent.first)
      this.#dropOldest()
  }

  /** Whatever it was, the client has it. */
  clear(packetId: number): void {
    this.inflight.delete(packetId)
    this.#host.acknowledged(this, packetId)
    this.pump()
  }

  #pumpRetained(outlet: Outlet): boolean {
    const [first] = this.#retained
    if (!first) return false
    const next = first[1].next()
    if (next.done) {
      this.#retained.delete(first[0])
      return true
    }
    // It has looked at many and found none: others are to have their turn.
    if (next.value === undefined) {
      this.#host.later(this)
      return false
    }
    const { topic, payload, qos, clientId } = next.value
    // It was readable when it was asked for.
    if (!this.mayReceive(topic)) {
      this.#host.later(this)
      return false
    }
    const encoded = new EncodedPublish(topic, payload)
    if (qos === 0) {
      outlet.offer(encoded.qos0(true))
      return true
    }
    const host = this.#host
    const [at, order] = [host.now(), host.nextOrder()]
    const entry = this.enqueue({ topic, payload, qos, retain: true, at, order, clientId })
    this.#take()
    this.#send(outlet, entry, encoded)
    this.#host.queued(this, entry)
    return true
  }

  #take(): Queued | undefined {
    const entry = this.unsent.shift()
    if (entry) this.#unsentBytes -= sizeOf(entry)
    return entry
  }

  #send(outlet: Outlet, entry: Queued, encoded: EncodedPublish): void {
    // An id still in flight is not given twice. [MQTT-2.3.1-2]
    let id = this.#lastId
    do id = (id % 65_535) + 1
    while (this.inflight.has(id))
    this.#lastId = id
    entry.packetId = id
    this.inflight.set(id, entry)
    // What comes after one that waits waits with it, to stay in order.
    const waits = this.durable && (entry.qos === 2 || this.#numbering.size > 0)
    if (waits) this.#sendWhenNumbered(entry)
    else this.#write(outlet, entry, encoded, false)
  }

  /** The client remembers a QoS 2 packet id for longer than this process may live: so must the journal. [MQTT-4.3.3-1] */
  #sendWhenNumbered(entry: Queued): void {
    this.#numbering.add(entry)
    this.#host.kept(error => {
      this.#numbering.delete(entry)
      const outlet = this.#outlet
      if (error) {
        this.#unnumbered.add(entry)
        outlet?.end()
      } else if (outlet && this.inflight.get(entry.packetId) === entry) {
        this.#write(outlet, entry, new EncodedPublish(entry.topic, entry.payload), false)
      }
    })
  }

  #write(outlet: Outlet, { qos, packetId, retain }: Queued, encoded: EncodedPublish, dup: boolean): void {
    outlet.publish(encoded.qos12(qos, packetId, retain, dup))
  }

  /** The queue keeps its newest: the oldest goes, never one in flight. */
  #trim(now: number): void {
    const { messages, bytes } = this.#limits
    if (this.#limits.ageMs > 0) this.expire(now)
    while (this.unsent.length > messages || (this.#unsentBytes > bytes && this.unsent.length > 1)) this.#dropOldest()
  }

  #dropOldest(): void {
    const entry = this.#take()
    if (entry) this.#host.dropped(this, entry, 'queue')
  }

  #isOld(entry: Queued, now: number): boolean {
    return this.#limits.ageMs > 0 && now - entry.at > this.#limits.ageMs
  }
}

function sizeOf({ topic, payload }: Queued): number {
  return topic.length + payload.length + 100
}

/** First in, first out, in constant time. */
export class Fifo<T> implements Iterable<T> {
  #items: (T | undefined)[] = []
  #head = 0

  get length(): number {
    return this.#items.length - this.#head
  }

  get first(): T | undefined {
    return this.#items[this.#head]
  }

  push(item: T): void {
    this.#items.push(item)
  }

  shift(): T | undefined {
    const item = this.#items[this.#head]
    if (item === undefined) return undefined
    this.#items[this.#head++] = undefined
    if (this.#head > 32 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    return item
  }

  /** Takes one out wherever it is: fast for the first, slow for others. */
  remove(item: T): boolean {
    if (this.first === item) return this.shift() !== undefined
    const at = this.#items.indexOf(item, this.#head)
    if (at >= 0) this.#items.splice(at, 1)
    return at >= 0
  }

  *[Symbol.iterator](): Iterator<T> {
    for (let i = this.#head; i < this.#items.length; i++) yield this.#items[i] as T
  }
}
