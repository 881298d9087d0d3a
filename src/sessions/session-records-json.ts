import { headed, type JournalRecord, type RecordedHead } from './session-records.js'

/**
 * Decodes a record of the session journal in the earlier format, all JSON, which is read once and then written anew.
 * The files are `0000000007.log`, each record
 *
 *     ┌──────────────────┬──────────────┬─────────────────┐
 *     │ JSON length u32  │ JSON (UTF-8) │ payload: the rest │
 *     └──────────────────┴──────────────┴─────────────────┘
 *
 * `q` is the sequence in the spool up to which every publish is in.
 */
export function decodeJsonRecord(
  body: Buffer,
): { readonly record: JournalRecord; readonly applied: number; readonly payload: Buffer } | undefined {
  if (body.length < 4) return undefined
  const end = 4 + body.readUInt32LE()
  try {
    const { q = 0, ...record } = JSON.parse(body.toString('utf8', 4, end)) as JsonRecord & { readonly q?: number }
    return { record: currentOf(record), applied: q, payload: body.subarray(end) }
  } catch {
    return undefined
  }
}

/** A record in the earlier format: heads of messages are JSON in all of them. */
type JsonRecord =
  | Exclude<JournalRecord, { readonly t: 'ret' | 'enq' }>
  | { readonly t: 'ret'; readonly p: RecordedHead }
  | (Omit<Extract<JournalRecord, { readonly t: 'enq' }>, 'p'> & { readonly p: RecordedHead })

function currentOf(record: JsonRecord): JournalRecord {
  return record.t === 'ret' || record.t === 'enq' ? { ...record, p: headed(record.p) } : record
}
