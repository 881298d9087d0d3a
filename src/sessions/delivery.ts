import type { Outward, QoS } from '../model.js'
import { EncodedPublish } from '../mqtt/publish.js'

/** The fields that a message needs to be delivered, queued or retained. */
export type Deliverable = Pick<Outward, 'topic' | 'payload' | 'properties' | 'expiresAt'> & {
  /** The client that published the message; empty for the hub itself. */
  readonly clientId: string
  /** The user of that client. Empty or undefined without authentication, and for a message that was queued. */
  readonly user?: string | undefined
}

/** One message on its way to any number of subscribers. */
export class OutboundMessage {
  readonly topic: string
  readonly qos: QoS
  readonly retain: boolean
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly clientId: string
  readonly user: string
  readonly expiresAt: number | undefined
  readonly encoded: EncodedPublish
  /** Whether the message is the retained one of its topic. */
  isHeld = false
  readonly #payload: Buffer
  readonly #properties: Buffer | undefined
  #kept: Buffer | undefined
  #keptProperties: Buffer | undefined
  #later: EncodedPublish | undefined

  /** With `isKept`, payload and properties are copies that may be kept as they are. */
  constructor(message: Deliverable & Pick<Outward, 'qos' | 'retain'>, at: number, isKept = false) {
    const { topic, payload, qos, retain, clientId, user = '', properties, expiresAt } = message
    this.topic = topic
    this.qos = qos
    this.retain = retain
    this.at = at
    this.clientId = clientId
    this.user = user
    this.expiresAt = expiresAt
    this.#payload = payload
    this.#properties = properties
    if (isKept) {
      this.#kept = payload
      this.#keptProperties = properties
    }
    this.encoded = new EncodedPublish(topic, payload, properties, expiresAt, at)
  }

  /** The payload to keep: a copy, shared by every queue that keeps the message. */
  get payload(): Buffer {
    this.#kept ??= lasting(this.#payload)
    return this.#kept
  }

  /** The message for those that get it later: one for all of them, which keeps no more than itself. */
  get later(): EncodedPublish {
    this.#later ??= new EncodedPublish(this.topic, this.payload, this.properties, this.expiresAt, this.at)
    return this.#later
  }

  /** The properties to keep: a shared copy, like {@link payload}. */
  get properties(): Buffer | undefined {
    if (this.#properties) this.#keptProperties ??= lasting(this.#properties)
    return this.#keptProperties
  }
}

/** Returns a copy to be kept for long. A copy from Node's pool would keep 8 KB of memory. */
export function lasting(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  bytes.copy(copy)
  return copy
}

/** What tells the group of a shared subscription from others. (MQTT 5 §4.8.2) */
export interface GroupName {
  /** The filter with `$share/{group}/`. */
  readonly key: string
  readonly filter: string
}

/** A message to be appended to the queue of a session. */
export interface Enqueued extends Deliverable {
  readonly qos: 1 | 2
  /** The RETAIN flag to deliver with; for a shared subscription the flag of the publish. */
  readonly retain: boolean
  /** When the message was queued, in milliseconds since the epoch. */
  readonly at: number
  /** Identifiers of the subscriptions that the message is for. Undefined when none of them has one. */
  readonly ids: readonly number[] | undefined
  /** The shared subscription of the message: another member may get the message instead. */
  readonly group: GroupName | undefined
}

/**
 * How far a QoS 1 or 2 message has come:
 *
 *     waiting ─► numbering ─► sent ─► releasing ─► released
 *                    ├──────► unwritten     the journal has the packet id; the connection meant is gone
 *                    └──────► unnumbered    the journal refused the packet id
 *
 * A numbering message waits until the journal has the packet id: QoS 2, and QoS 1 behind a numbering message. Other QoS
 * 1 messages are sent at once. A releasing message, of QoS 2, waits until the journal has the PUBREC; from then on
 * PUBREL is sent again instead of the publish.
 */
export type QueuedState = 'waiting' | 'numbering' | 'unnumbered' | 'unwritten' | 'sent' | 'releasing' | 'released'

/** Returns whether the client has sent PUBREC for the message. */
export function isReleased({ state }: Pick<Queued, 'state'>): boolean {
  return state === 'releasing' || state === 'released'
}

/** A QoS 1 or 2 message that its client has yet to acknowledge. */
export interface Queued extends Enqueued {
  readonly properties: Buffer | undefined
  readonly expiresAt: number | undefined
  /** Number of the message in the session: ascending, given once. */
  readonly n: number
  /** Packet id; 0 before the message is sent. */
  packetId: number
  state: QueuedState
  /** Called when the delivery is over, so that the backup of the message is dropped. Undefined: there is no backup. */
  backupDone: (() => void) | undefined
}

/** Returns a message as the entry with number `n` of a queue. */
export function waitingEntry(message: Enqueued, n: number): Queued {
  // Field by field, as a spread takes ten times as long and more memory.
  const { topic, payload, qos, retain, at, clientId, properties, expiresAt, ids, group } = message
  return {
    n,
    topic,
    payload,
    qos,
    retain,
    at,
    clientId,
    properties,
    expiresAt,
    ids,
    group,
    packetId: 0,
    state: 'waiting',
    backupDone: undefined,
  }
}

/** A retained message on its way to a new subscription, at the QoS to deliver with. */
export interface RetainedDelivery extends Deliverable {
  readonly qos: QoS
}

/** Returns a retained message of QoS 1 or 2 to be queued for a new subscription; `at` as in {@link Enqueued}. */
export function retainedEntry(message: RetainedDelivery, ids: Enqueued['ids'], at: number): Enqueued {
  const { topic, qos, clientId, properties, expiresAt } = message
  const kept = { payload: lasting(message.payload), qos: qos === 2 ? 2 : 1 } as const
  return { topic, ...kept, retain: true, at, clientId, properties, expiresAt, ids, group: undefined }
}

/** Encodes a message that has waited. */
export function encodedOf(message: Deliverable & { readonly at?: number }): EncodedPublish {
  const { topic, payload, properties, expiresAt, at } = message
  return new EncodedPublish(topic, payload, properties, expiresAt, at)
}

/** Returns whether a message has expired. `now` is in milliseconds. */
export function isExpired({ expiresAt }: Pick<Deliverable, 'expiresAt'>, now: number): boolean {
  return expiresAt !== undefined && now * 1_000 >= expiresAt
}

/** Returns about how many bytes of a queue's limit a message takes. */
export function sizeOf({ topic, payload, properties, ids }: Queued): number {
  const more = (properties ? properties.length + 100 : 0) + (ids ? 8 * ids.length : 0)
  return topic.length + payload.length + more + 100
}
