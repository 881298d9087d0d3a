import type { QoS } from '../model.js'

/**
 * The records of the session journal, as frame bodies:
 *
 *     ┌──────────────────┬──────────────┬─────────────────┐
 *     │ JSON length u32  │ JSON (UTF-8) │ payload: the rest │
 *     └──────────────────┴──────────────┴─────────────────┘
 *
 * Applying a record twice changes nothing. Names are short because there are many.
 */
export type JournalRecord = { readonly q?: number } & (
  | { readonly t: 'mark' }
  | { readonly t: 'sub'; readonly c: string; readonly s: readonly RecordedSubscription[] }
  | { readonly t: 'unsub'; readonly c: string; readonly f: readonly string[] }
  | { readonly t: 'forget'; readonly c: string }
  | { readonly t: 'ret'; readonly p: PacketHead }
  /** Queued for these clients at this QoS; `x` is its sequence in the spool, 0 if it is not from there. */
  | { readonly t: 'enq'; readonly to: readonly QueuedFor[]; readonly x: number; readonly p: PacketHead }
  /** The queued packet of broker `b`, counter `n` has packet id `m`. */
  | { readonly t: 'num'; readonly c: string; readonly b: string; readonly n: number; readonly m: number }
  /** PUBREC came: it is a PUBREL now. */
  | { readonly t: 'rel'; readonly c: string; readonly m: number }
  | { readonly t: 'ack'; readonly c: string; readonly m: number }
  /** QoS 2 from the client: in, out (released), all cleared. */
  | { readonly t: 'in' | 'out'; readonly c: string; readonly m: number }
  | { readonly t: 'clear'; readonly c: string }
  | { readonly t: 'will'; readonly c: string; readonly p: PacketHead }
  | { readonly t: 'unwill'; readonly c: string }
)

export interface QueuedFor {
  readonly c: string
  readonly o: QoS
}

export interface RecordedSubscription {
  readonly topic: string
  readonly qos: QoS
  readonly rh?: number
  readonly rap?: boolean
  readonly nl?: boolean
  readonly subscriptionIdentifier?: number
}

/** A packet without its payload. */
export interface PacketHead {
  cmd: 'publish' | 'pubrel'
  topic: string
  qos: QoS
  retain: boolean
  dup: boolean
  brokerId?: string
  brokerCounter?: number
  clientId?: string
}

/** A packet as Aedes hands it over or takes it back. */
export interface StoredPacket extends PacketHead {
  payload: Buffer
  messageId?: number | undefined
}

const empty = Buffer.alloc(0)

export function encodeRecord(record: JournalRecord, given: Buffer = empty): Buffer {
  const payload = Buffer.isBuffer(given) ? given : Buffer.from(given)
  const json = JSON.stringify(record)
  const length = Buffer.byteLength(json)
  const body = Buffer.allocUnsafe(4 + length + payload.length)
  body.writeUInt32LE(length)
  body.write(json, 4)
  body.set(payload, 4 + length)
  return body
}

/** The payload is a view into `body`. Undefined when it is no record. */
export function decodeRecord(body: Buffer): { record: JournalRecord; payload: Buffer } | undefined {
  if (body.length < 4) return undefined
  const end = 4 + body.readUInt32LE()
  try {
    return { record: JSON.parse(body.toString('utf8', 4, end)) as JournalRecord, payload: body.subarray(end) }
  } catch {
    return undefined
  }
}

export function packetKey({ brokerId = '', brokerCounter = 0 }: { brokerId?: string; brokerCounter?: number }): string {
  return `${brokerCounter}:${brokerId}`
}

export function parseKey(key: string): { b: string; n: number } {
  const colon = key.indexOf(':')
  return { b: key.slice(colon + 1), n: Number(key.slice(0, colon)) }
}

export function head({ cmd, topic, qos, retain, dup, brokerId, brokerCounter, clientId }: StoredPacket): PacketHead {
  return {
    cmd,
    topic,
    qos,
    retain,
    dup,
    ...(brokerId !== undefined && { brokerId }),
    ...(brokerCounter !== undefined && { brokerCounter }),
    ...(clientId !== undefined && { clientId }),
  }
}

/** A payload is a view into a network chunk of 64 KB; what is kept must not keep the chunk. */
export function copyPayload(packet: StoredPacket): StoredPacket {
  return { ...packet, payload: copied(packet.payload) }
}

/** A packet as it waits in a queue: it gets its packet id when it is sent. */
export function queued(packet: StoredPacket): StoredPacket {
  return { ...head(packet), dup: false, payload: copied(packet.payload), messageId: undefined }
}

/** Aedes lets payloads be text too, which nothing changes. */
function copied(payload: Buffer): Buffer {
  return Buffer.isBuffer(payload) ? Buffer.from(payload) : payload
}

export function pubrel(messageId: number): StoredPacket {
  return { cmd: 'pubrel', topic: '', payload: Buffer.alloc(0), qos: 0, retain: false, dup: false, messageId }
}

/** What of a subscription is kept. */
export function recorded({
  topic,
  qos,
  rh,
  rap,
  nl,
  subscriptionIdentifier,
}: RecordedSubscription): RecordedSubscription {
  return {
    topic,
    qos,
    ...(rh !== undefined && { rh }),
    ...(rap !== undefined && { rap }),
    ...(nl !== undefined && { nl }),
    ...(subscriptionIdentifier !== undefined && { subscriptionIdentifier }),
  }
}
