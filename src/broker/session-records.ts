import type { QoS } from '../model.js'

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
  /** There is a session of user `u`; `a`: its client left then (ms since the epoch), 0: is connected. */
  | { readonly t: 'open'; readonly c: string; readonly a: number; readonly u?: string }
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
  | { readonly t: 'will'; readonly c: string; readonly u?: string; readonly p: RecordedHead }
  | { readonly t: 'unwill'; readonly c: string }
)

export interface QueuedFor {
  readonly c: string
  readonly n: number
  readonly o: 1 | 2
  /** Its packet id when it was sent at once, else 0. */
  readonly m: number
}

export interface RecordedSubscription {
  readonly topic: string
  readonly qos: QoS
}

/** A message without its payload. */
export interface RecordedHead {
  readonly topic: string
  readonly qos: QoS
  readonly retain: boolean
  /** Who published it; empty for the hub itself. */
  readonly clientId: string
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

export function head({ topic, qos, retain, clientId }: RecordedHead): RecordedHead {
  return { topic, qos, retain, clientId }
}
