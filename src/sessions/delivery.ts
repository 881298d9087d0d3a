import type { Outward, QoS } from '../model.js'
import { EncodedPublish } from '../mqtt/publish.js'
import type { Group } from './shared-group.js'

/** What is told of a message that is delivered, queued or retained. */
export type Deliverable = Pick<Outward, 'topic' | 'payload' | 'properties' | 'expiresAt'> & {
  /** Who published it; empty for the hub itself. */
  readonly clientId: string
  /** The user of that client; empty or undefined when nobody was asked, and of what has been queued. */
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
  readonly #payload: Buffer
  readonly #properties: Buffer | undefined
  #kept: Buffer | undefined
  #keptProperties: Buffer | undefined

  /** `isKept`: payload and properties are such as are kept already. */
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
    this.encoded = new EncodedPublish(topic, payload, properties, expiresAt)
  }

  /** The payload for whoever keeps it: a copy, the same one for all. */
  get payload(): Buffer {
    this.#kept ??= lasting(this.#payload)
    return this.#kept
  }

  /** Likewise. */
  get properties(): Buffer | undefined {
    if (this.#properties) this.#keptProperties ??= lasting(this.#properties)
    return this.#keptProperties
  }
}

/** A copy to be kept for long: of Node's pool it would keep 8 KB. */
export function lasting(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  bytes.copy(copy)
  return copy
}

/** What {@link Session.enqueue} takes. */
export interface Enqueued extends Deliverable {
  readonly qos: 1 | 2
  /** The RETAIN flag it is delivered with; of a shared subscription that of the publish. */
  readonly retain: boolean
  /** When it was queued, in milliseconds since the epoch. */
  readonly at: number
  /** Identifiers of the subscriptions it is for; undefined: none has one. */
  readonly ids: readonly number[] | undefined
  /** Of a shared subscription: another member may get it instead. */
  readonly group: Group | undefined
}

/**
 * How far a QoS 1 or 2 message has come:
 *
 *     waiting ─► numbering ─► sent ─► releasing ─► released
 *                    ├──────► unwritten     the journal has its packet id; the connection it was for is gone
 *                    └──────► unnumbered    the journal refused its packet id
 *
 * Numbering waits for the journal to have the packet id: QoS 2, and QoS 1 behind it. Other QoS 1 is sent at once.
 * Releasing, of QoS 2, waits for the journal to have the PUBREC; then its PUBREL is what is sent again.
 */
export type QueuedState = 'waiting' | 'numbering' | 'unnumbered' | 'unwritten' | 'sent' | 'releasing' | 'released'

/** PUBREC came for it. */
export function isReleased({ state }: Pick<Queued, 'state'>): boolean {
  return state === 'releasing' || state === 'released'
}

/** A QoS 1 or 2 message that its client has yet to acknowledge. */
export interface Queued extends Enqueued {
  readonly properties: Buffer | undefined
  readonly expiresAt: number | undefined
  /** Its number in its session: ascending, given once. */
  readonly n: number
  /** 0: not sent yet. */
  packetId: number
  state: QueuedState
  /** It is here on loan: to be told when it is over. */
  backupDone: (() => void) | undefined
}

/** A message as it waits in a queue, with its number there. */
export function waitingEntry(message: Enqueued, n: number): Queued {
  // Spelled out: made by a spread it takes ten times as long, and more memory.
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

/** A retained message on its way to a new subscription, at the QoS it is to have. */
export interface RetainedDelivery extends Deliverable {
  readonly qos: QoS
}

/** As it is sent when it has waited. */
export function encodedOf({ topic, payload, properties, expiresAt }: Deliverable): EncodedPublish {
  return new EncodedPublish(topic, payload, properties, expiresAt)
}

/** `now` in milliseconds. */
export function isExpired({ expiresAt }: Pick<Deliverable, 'expiresAt'>, now: number): boolean {
  return expiresAt !== undefined && now * 1_000 >= expiresAt
}

/** What it takes of a queue's bytes, about. */
export function sizeOf({ topic, payload, properties, ids }: Queued): number {
  const more = (properties ? properties.length + 100 : 0) + (ids ? 8 * ids.length : 0)
  return topic.length + payload.length + more + 100
}
