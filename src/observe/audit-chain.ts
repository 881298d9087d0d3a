import { createHash } from 'node:crypto'
import { createReadStream, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { escaped } from './log.js'

/*
 * The audit log: JSON lines in files that are named by the number of their first line,
 *
 *     data.dir/audit/000000000001.jsonl
 *
 *     {"n":41,"at":"2026-01-31T12:00:00.000Z","event":"login","result":"ok","user":"ann", … ,"previous":"<hash of line 40>"}
 *
 * `previous` is the SHA-256 of the whole line before without the line end, in base64url. A line that is changed,
 * removed or inserted breaks the chain there. Lines cut off at the end, or a chain that was computed anew, can be
 * detected only with a hash that the operator has kept elsewhere: `telehub audit verify --hash`.
 */

/** Kind of an event. */
type AuditEventName =
  | 'hub'
  | 'login'
  | 'logout'
  | 'refused'
  | 'users'
  | 'pairing'
  | 'change'
  | 'command'
  | 'export'
  | 'ban'
  | 'takeover'
  | 'audit'

/** An event before the log numbers and chains the line. Undefined fields are left out of the line. */
export interface AuditEvent {
  readonly event: AuditEventName
  readonly result: string
  /** A constant of the code that tells refusals apart, as in `telehub_refused_total`. */
  readonly reason?: string | undefined
  /** The user who acted, or the name that an unauthenticated client tried. */
  readonly user?: string | undefined
  readonly address?: string | undefined
  /** The listener that was used, or where the event was seen: `mqtts`, `http`, `file`. */
  readonly via?: string | undefined
  readonly client?: string | undefined
  /** The action, or the object of the action. */
  readonly what?: string | undefined
  readonly detail?: string | undefined
  /** How many such events this line stands for, and since when (ISO 8601). Undefined for a single event. */
  readonly count?: number | undefined
  readonly since?: string | undefined
}

/** The value of `previous` in line 1. */
export const noHash = ''

/**
 * Longest text in a line; longer ones are cut off. A line is a few hundred bytes, whatever unauthenticated clients
 * send.
 */
const maxText = 300

/** Longest line. The hub writes no longer ones; a reader treats a longer one as damage. */
const maxLineBytes = 16_384

export const auditDir = (dataDir: string) => join(dataDir, 'audit')

/** Returns the line without a line end, and the hash for the next line. `at` in milliseconds since the epoch. */
export function auditLine(n: number, at: number, event: AuditEvent, previous: string): { line: string; hash: string } {
  const fields = Object.entries(event).map(([name, value]) => [name, typeof value === 'string' ? cut(value) : value])
  const line = escaped(JSON.stringify({ n, at: new Date(at).toISOString(), ...Object.fromEntries(fields), previous }))
  return { line, hash: auditHash(line) }
}

function cut(text: string): string {
  return text.length > maxText ? `${text.slice(0, maxText)}…` : text
}

export function auditHash(line: string | Buffer): string {
  return createHash('sha256').update(line).digest('base64url')
}

/** Returns the name of the file whose first line has this number. */
export function auditFileName(first: number): string {
  return `${String(first).padStart(12, '0')}.jsonl`
}

/** Lists the files of the log, the oldest first. Throws when the folder cannot be read. */
export function auditFiles(dir: string): { readonly path: string; readonly first: number }[] {
  const names = readdirSync(dir).filter(name => /^\d{12}\.jsonl$/.test(name))
  return names.sort().map(name => ({ path: join(dir, name), first: Number(name.slice(0, 12)) }))
}

/** Parses a line. Undefined when the text is no line of an audit log. */
export function parseAuditLine(line: string): (AuditEvent & { n: number; at: string; previous: string }) | undefined {
  try {
    const value: unknown = JSON.parse(line)
    if (typeof value !== 'object' || value === null) return undefined
    const { n, at, event, previous } = value as Record<string, unknown>
    const isOne = Number.isSafeInteger(n) && typeof at === 'string' && typeof event === 'string'
    return isOne && typeof previous === 'string' ? (value as ReturnType<typeof parseAuditLine>) : undefined
  } catch {
    return undefined
  }
}

export interface Verification {
  /** Numbers of the first and the last line; 0 when the log is empty. */
  readonly first: number
  readonly last: number
  /** Hash of the last line: kept elsewhere, that hash proves later that no line up to there was changed. */
  readonly hash: string
  readonly files: number
  /** Where the chain is broken, as sentences; at most 20. */
  readonly faults: readonly string[]
  /** Whether a line has the wanted hash. Undefined when no hash was wanted. */
  readonly hasHash: boolean | undefined
}

const maxFaults = 20

/** Reads the whole log in pieces and checks the chain. Throws when a file cannot be read. */
export async function verifyAudit(dir: string, wanted?: string): Promise<Verification> {
  const files = auditFiles(dir)
  const faults: string[] = []
  let first = 0
  let last = 0
  let hash: string | undefined
  let hasHash = wanted === undefined ? undefined : false
  for (const { path, first: named } of files) {
    let row = 0
    for await (const { text, isWhole } of auditLines(path)) {
      row++
      const fault = (sentence: string) => {
        if (faults.length < maxFaults) faults.push(`${path}:${row}: ${sentence}`)
      }
      const line = isWhole ? parseAuditLine(text) : undefined
      const expected = last === 0 ? named : last + 1
      if (!line) fault(isWhole ? 'is not a line of an audit log' : 'is incomplete, or longer than allowed')
      else {
        if (row === 1 && line.n !== named) fault(`is number ${line.n}, but the name of the file says ${named}`)
        else if (line.n !== expected)
          fault(`is number ${line.n}, but ${expected} is expected: lines are missing or were inserted`)
        if (hash !== undefined && line.previous !== hash) {
          fault('has a hash that is not that of the line before it: one of the two was changed')
        } else if (hash === undefined && line.n === 1 && line.previous !== noHash) {
          fault('is the first line, but has the hash of a line before it')
        }
      }
      last = line?.n ?? expected
      first ||= last
      hash = auditHash(text)
      if (hash === wanted) hasHash = true
    }
  }
  return { first, last, hash: hash ?? noHash, files: files.length, faults, hasHash }
}

/** Yields the lines of a file; the last one may be unfinished. A line that is too long is cut off. */
export async function* auditLines(path: string): AsyncGenerator<{ readonly text: string; readonly isWhole: boolean }> {
  let rest = Buffer.alloc(0)
  let skipping = false
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    let start = 0
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      const line = Buffer.concat([rest, chunk.subarray(start, end)])
      rest = Buffer.alloc(0)
      start = end + 1
      if (!skipping) yield { text: line.toString(), isWhole: line.length <= maxLineBytes }
      skipping = false
    }
    if (skipping) continue
    rest = Buffer.concat([rest, chunk.subarray(start)])
    if (rest.length <= maxLineBytes) continue
    yield { text: rest.toString(), isWhole: false }
    rest = Buffer.alloc(0)
    skipping = true
  }
  if (rest.length > 0) yield { text: rest.toString(), isWhole: false }
}
