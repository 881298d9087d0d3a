import { ByteReader, type ByteWriter } from '../disk/byte-buffer.js'
import type { Message, QoS } from '../model.js'

/**
 * The records of the session journal. `c` is the name of a session (session-name.ts), `n` the number of a queued
 * message in the session, `m` a packet id. Frequent records are binary, the others JSON:
 *
 *     ┌─────────┬─────────────┬─────────────┬───────────────────────────────────────────┬───────────────────┐
 *     │ kind u8 │ ordinal u48 │ applied u48 │ fields, or JSON length u32 + JSON (UTF-8) │ payload: the rest │
 *     └─────────┴─────────────┴─────────────┴───────────────────────────────────────────┴───────────────────┘
 *
 * `ordinal` numbers the records without a gap. `applied` is the sequence in the spool up to which every publish is in.
 */
export type JournalRecord =
  | { readonly t: 'mark' }
  /**
   * There is a session of user `u`. `a` is when the client left (ms since the epoch), 0 while connected. `e` is how
   * many seconds the session is kept then; absent: for ever. Where `c` is a client id alone and there is a user, the
   * session is given to that user, or the journal is from before sessions were named by both. Later records may then
   * use the client id, too.
   */
  | { readonly t: 'open'; readonly c: string; readonly a: number; readonly u?: string; readonly e?: number }
  | { readonly t: 'sub'; readonly c: string; readonly s: readonly RecordedSubscription[] }
  | { readonly t: 'unsub'; readonly c: string; readonly f: readonly string[] }
  | { readonly t: 'forget'; readonly c: string }
  | { readonly t: 'ret'; readonly p: Headed }
  /** A message was queued for these clients at `a` (ms). `x` is the sequence in the spool; 0: not from the spool. */
  | {
      readonly t: 'enq'
      readonly to: readonly QueuedFor[]
      readonly x: number
      readonly a: number
      readonly p: Headed
    }
  /** The message queued as `n` was sent as packet `m`. */
  | { readonly t: 'num'; readonly c: string; readonly n: number; readonly m: number }
  /** The message queued as `n` was dropped. */
  | { readonly t: 'drop'; readonly c: string; readonly n: number }
  /** PUBREC came: from now on PUBREL is sent again instead of the publish. */
  | { readonly t: 'rel'; readonly c: string; readonly m: number }
  | { readonly t: 'ack'; readonly c: string; readonly m: number }
  /** QoS 2 publishes from the client: received, released, and all cleared. */
  | { readonly t: 'in' | 'out'; readonly c: string; readonly m: number }
  | { readonly t: 'clear'; readonly c: string }
  | ({ readonly t: 'will' } & RecordedWill)
  | { readonly t: 'unwill'; readonly c: string }
  /** The client is gone, and the will is due at `a` (ms since the epoch), or when the session ends. */
  | ({ readonly t: 'due'; readonly a: number } & RecordedWill)
  /** The client is back in time, or the will was published. */
  | { readonly t: 'undue'; readonly c: string }

/** A last will. `d`: seconds to wait for the client to come back; `x`: seconds to deliver the will, if not for ever. */
export interface RecordedWill {
  readonly c: string
  readonly u?: string
  readonly d?: number
  readonly x?: number
  readonly p: RecordedHead
}

export interface QueuedFor {
  readonly c: string
  readonly n: number
  readonly o: 1 | 2
  /** Packet id when the message was sent at once, else 0. */
  readonly m: number
  /** Present when the message is delivered with the RETAIN flag. */
  readonly r?: 1
  /** Identifiers of the subscriptions that the message is for. */
  readonly s?: readonly number[]
  /** Key of the message's shared subscription. */
  readonly g?: string
}

export interface RecordedSubscription {
  readonly topic: string
  readonly qos: QoS
  /** No Local. */
  readonly nl?: 1
  /** Retain As Published. */
  readonly rap?: 1
  /** Only the newest message of each topic while the client does not keep up. */
  readonly new?: 1
  /** Subscription identifier. */
  readonly id?: number
}

/** A message without its payload, as JSON. */
export interface RecordedHead {
  readonly topic: string
  readonly qos: QoS
  readonly retain: boolean
  /** The client that published the message; empty for the hub itself. */
  readonly clientId: string
  /** Properties of the message, in base64. */
  readonly v?: string
  /** When the message expires, in microseconds since the epoch. */
  readonly e?: number
}

/** A message without its payload. */
export type Headed = Pick<Message, 'topic' | 'qos' | 'retain' | 'clientId' | 'properties' | 'expiresAt'> & {
  /** The user who published a retained message. Absent without authentication. */
  readonly user?: string | undefined
}

export interface Stamp {
  readonly ordinal: number
  readonly applied: number
}

const json = 0
const kinds = ['json', 'mark', 'ret', 'enq', 'num', 'drop', 'rel', 'ack', 'in', 'out'] as const
const kindOf = Object.fromEntries(kinds.map((t, kind) => [t, kind])) as { readonly [t in JournalRecord['t']]?: number }

export function encodeRecord(out: ByteWriter, record: JournalRecord, stamp: Stamp, payload?: Buffer): void {
  const kind = kindOf[record.t] ?? json
  out.u8(kind)
  out.u48(stamp.ordinal)
  out.u48(stamp.applied)
  switch (record.t) {
    case 'mark':
      return
    case 'ret':
      encodeHead(out, record.p)
      break
    case 'enq':
      out.u48(record.x)
      out.f64(record.a)
      encodeHead(out, record.p)
      out.u32(record.to.length)
      for (const queued of record.to) encodeQueued(out, queued)
      break
    case 'num':
      out.text(record.c)
      out.u48(record.n)
      out.u16(record.m)
      return
    case 'drop':
      out.text(record.c)
      out.u48(record.n)
      return
    case 'rel':
    case 'ack':
    case 'in':
    case 'out':
      out.text(record.c)
      out.u16(record.m)
      return
    default:
      out.sized(Buffer.from(JSON.stringify(record)))
  }
  if (payload) out.raw(payload)
}

export interface Decoded extends Stamp {
  readonly record: JournalRecord
  /** The payload, a view of the record. */
  readonly payload: Buffer
}

/** Returns undefined when the body is no record. */
export function decodeRecord(body: Buffer): Decoded | undefined {
  try {
    const from = new ByteReader(body)
    const t = kinds[from.u8()]
    if (t === undefined) return undefined
    const [ordinal, applied] = [from.u48(), from.u48()]
    const record = fieldsOf(t, from)
    return { record, ordinal, applied, payload: from.rest() }
  } catch {
    return undefined
  }
}

function fieldsOf(t: (typeof kinds)[number], from: ByteReader): JournalRecord {
  switch (t) {
    case 'mark':
      return { t }
    case 'ret':
      return { t, p: decodeHead(from) }
    case 'enq': {
      const [x, a, p] = [from.u48(), from.f64(), decodeHead(from)]
      const to: QueuedFor[] = []
      for (let left = from.u32(); left > 0; left--) to.push(decodeQueued(from))
      return { t, x, a, p, to }
    }
    case 'num':
      return { t, c: from.text(), n: from.u48(), m: from.u16() }
    case 'drop':
      return { t, c: from.text(), n: from.u48() }
    case 'json':
      return JSON.parse(from.sized().toString('utf8')) as JournalRecord
    default:
      return { t, c: from.text(), m: from.u16() }
  }
}

/** Bits of {@link encodeHead}, above the QoS. */
const headFlags = { retain: 4, properties: 8, expires: 16, user: 32 }

/** `flags u8 · topic · client id [· properties u32+] [· expires f64] [· user]` */
export function encodeHead(out: ByteWriter, head: Headed): void {
  const { topic, qos, retain, clientId, user, properties, expiresAt } = head
  let flags: number = qos
  if (retain) flags |= headFlags.retain
  if (properties) flags |= headFlags.properties
  if (expiresAt !== undefined) flags |= headFlags.expires
  if (user) flags |= headFlags.user
  out.u8(flags)
  out.text(topic)
  out.text(clientId)
  if (properties) out.sized(properties)
  if (expiresAt !== undefined) out.f64(expiresAt)
  if (user) out.text(user)
}

/** Decodes a head. The properties are a copy. */
export function decodeHead(from: ByteReader): Headed {
  const flags = from.u8()
  const topic = from.text()
  const clientId = from.text()
  const properties = flags & headFlags.properties ? Buffer.from(from.sized()) : undefined
  const expiresAt = flags & headFlags.expires ? from.f64() : undefined
  const user = flags & headFlags.user ? from.text() : undefined
  const retain = (flags & headFlags.retain) > 0
  return { topic, qos: (flags & 3) as QoS, retain, clientId, user, properties, expiresAt }
}

/** Bits of {@link encodeQueued}, above the QoS. */
const queuedFlags = { retain: 4, ids: 8, group: 16 }

/** `flags u8 · client id · n u48 · packet id u16 [· identifiers: count u16, u32 each] [· group]` */
function encodeQueued(out: ByteWriter, { c, n, o, m, r, s, g }: QueuedFor): void {
  out.u8(o | (r ? queuedFlags.retain : 0) | (s ? queuedFlags.ids : 0) | (g === undefined ? 0 : queuedFlags.group))
  out.text(c)
  out.u48(n)
  out.u16(m)
  if (s) encodeIds(out, s)
  if (g !== undefined) out.text(g)
}

function decodeQueued(from: ByteReader): QueuedFor {
  const flags = from.u8()
  const [c, n, m] = [from.text(), from.u48(), from.u16()]
  const plain = { c, n, o: (flags & 3) as 1 | 2, m }
  if (flags < queuedFlags.retain) return plain
  const s = flags & queuedFlags.ids ? decodeIds(from) : undefined
  const g = flags & queuedFlags.group ? from.text() : undefined
  return { ...plain, ...(flags & queuedFlags.retain && { r: 1 }), ...(s && { s }), ...(g !== undefined && { g }) }
}

/** Subscription identifiers: their count (u16) and each (u32). */
export function encodeIds(out: ByteWriter, ids: readonly number[]): void {
  out.u16(ids.length)
  for (const id of ids) out.u32(id)
}

export function decodeIds(from: ByteReader): readonly number[] {
  const ids: number[] = []
  for (let left = from.u16(); left > 0; left--) ids.push(from.u32())
  return ids
}

/** Returns the head of a message as recorded in a will. */
export function head({ topic, qos, retain, clientId, properties, expiresAt }: Headed): RecordedHead {
  const plain = { topic, qos, retain, clientId }
  if (!properties && expiresAt === undefined) return plain
  return { ...plain, ...(properties && { v: properties.toString('base64') }), ...(expiresAt && { e: expiresAt }) }
}

/** The inverse of {@link head}. */
export function headed({ v, e, ...head }: RecordedHead): Headed {
  return { ...head, properties: v === undefined ? undefined : Buffer.from(v, 'base64'), expiresAt: e }
}
