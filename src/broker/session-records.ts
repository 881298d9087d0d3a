import type { Message, QoS } from '../model.js'

/**
 * The records of the session journal, as frame bodies:
 *
 *     ┌──────────────────┬──────────────┬─────────────────┐
 *     │ JSON length u32  │ JSON (UTF-8) │ payload: the rest │
 *     └──────────────────┴──────────────┴─────────────────┘
 *
 * `c` is a client id, `n` the number of a queued message in its session, `m` a packet id. Names are short because
 * there are many.
 */
export type JournalRecord = { readonly q?: number } & (
  | { readonly t: 'mark' }
  /**
   * There is a session of user `u`; `a`: its client left then (ms since the epoch), 0: is connected; `e`: seconds that
   * it is kept then, if not for ever.
   */
  | { readonly t: 'open'; readonly c: string; readonly a: number; readonly u?: string; readonly e?: number }
  | { readonly t: 'sub'; readonly c: string; readonly s: readonly RecordedSubscription[] }
  | { readonly t: 'unsub'; readonly c: string; readonly f: readonly string[] }
  | { readonly t: 'forget'; readonly c: string }
  | { readonly t: 'ret'; readonly p: RecordedHead }
  /** Queued for these clients; `x` is its sequence in the spool, 0 if it is not from there; `a`: when (ms). */
  | {
      readonly t: 'enq'
      readonly to: readonly QueuedFor[]
      readonly x: number
      readonly a: number
      readonly p: RecordedHead
    }
  /** What was queued as `n` was sent as packet `m`. */
  | { readonly t: 'num'; readonly c: string; readonly n: number; readonly m: number }
  /** It was dropped. */
  | { readonly t: 'drop'; readonly c: string; readonly n: number }
  /** PUBREC came: what is sent again is PUBREL. */
  | { readonly t: 'rel'; readonly c: string; readonly m: number }
  | { readonly t: 'ack'; readonly c: string; readonly m: number }
  /** QoS 2 from the client: in, out (released), all cleared. */
  | { readonly t: 'in' | 'out'; readonly c: string; readonly m: number }
  | { readonly t: 'clear'; readonly c: string }
  | ({ readonly t: 'will' } & RecordedWill)
  | { readonly t: 'unwill'; readonly c: string }
  /** The client is gone, and its will is due at `a` (ms since the epoch), or when its session ends. */
  | ({ readonly t: 'due'; readonly a: number } & RecordedWill)
  /** It is back in time, or the will was published. */
  | { readonly t: 'undue'; readonly c: string }
)

/** `d`: seconds that it waits for the client to come back; `x`: seconds that it is delivered, if not for ever. */
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
  /** Its packet id when it was sent at once, else 0. */
  readonly m: number
  /** With the RETAIN flag. */
  readonly r?: 1
  /** Identifiers of the subscriptions it is for. */
  readonly s?: readonly number[]
  /** The shared subscription it is of. */
  readonly g?: string
}

export interface RecordedSubscription {
  readonly topic: string
  readonly qos: QoS
  /** No Local. */
  readonly nl?: 1
  /** Retain As Published. */
  readonly rap?: 1
  /** Its identifier. */
  readonly id?: number
}

/** A message without its payload. */
export interface RecordedHead {
  readonly topic: string
  readonly qos: QoS
  readonly retain: boolean
  /** Who published it; empty for the hub itself. */
  readonly clientId: string
  /** Its properties, in base64. */
  readonly v?: string
  /** When it expires; microseconds since the epoch. */
  readonly e?: number
}

const empty = Buffer.alloc(0)

export function encodeRecord(record: JournalRecord, payload: Buffer = empty): Buffer {
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

export function head({ topic, qos, retain, clientId, properties, expiresAt }: Headed): RecordedHead {
  const plain = { topic, qos, retain, clientId }
  if (!properties && expiresAt === undefined) return plain
  return { ...plain, ...(properties && { v: properties.toString('base64') }), ...(expiresAt && { e: expiresAt }) }
}

/** The inverse of {@link head}. */
export function headed({ v, e, ...head }: RecordedHead): Headed {
  return { ...head, properties: v === undefined ? undefined : Buffer.from(v, 'base64'), expiresAt: e }
}

type Headed = Pick<Message, 'topic' | 'qos' | 'retain' | 'clientId' | 'properties' | 'expiresAt'>
