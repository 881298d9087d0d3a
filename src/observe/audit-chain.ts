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
 * `previous` is the SHA-256 of the whole line before, in base64url, without its line end. A line that is changed, taken
 * out or put in between breaks the chain there. Lines cut off at the end, or a chain that was computed anew, show only to
 * whoever has kept a hash of it elsewhere: `telehub audit verify --hash`.
 */

/** What happened, before it is numbered and chained. Absent fields are left out of the line. */
export interface AuditEvent {
  readonly event: 'hub' | 'login' | 'logout' | 'refused' | 'users' | 'pairing' | 'change' | 'ban' | 'takeover' | 'audit'
  readonly result: string
  /** A constant of the code that tells refusals apart, as in `telehub_refused_total`. */
  readonly reason?: string | undefined
  /** The user who acted, or as whom a stranger tried to. */
  readonly user?: string | undefined
  readonly address?: string | undefined
  /** The listener it came by, or where it was seen: `mqtts`, `http`, `file`. */
  readonly via?: string | undefined
  readonly client?: string | undefined
  /** What was done, or to what. */
  readonly what?: string | undefined
  readonly detail?: string | undefined
  /** How many such events this line stands for, and since when (ISO 8601); absent: one. */
  readonly count?: number | undefined
  readonly since?: string | undefined
}

/** The hash that the first line of all names as `previous`. */
export const noHash = ''

/** Longer texts are cut off: a line is a few hundred bytes, whatever strangers send. */
const maxText = 300

/** Longer lines are not written by the hub; a reader takes one for damage. */
export const maxLineBytes = 16_384

export const auditDir = (dataDir: string) => join(dataDir, 'audit')

/** The line without its end, and its hash for the next one. `at` in milliseconds since the epoch. */
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

/** The number of its first line is the name of a file. */
export function auditFileName(first: number): string {
  return `${String(first).padStart(12, '0')}.jsonl`
}

/** The files of the log, the oldest first. Throws when the folder cannot be read. */
export function auditFiles(dir: string): { readonly path: string; readonly first: number }[] {
  const names = readdirSync(dir).filter(name => /^\d{12}\.jsonl$/.test(name))
  return names.sort().map(name => ({ path: join(dir, name), first: Number(name.slice(0, 12)) }))
}

/** A line as it is read again. Undefined when it is none of an audit log. */
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
  /** Numbers of the first and the last line that are there; 0 when there are none. */
  readonly first: number
  readonly last: number
  /** Of the last line: kept elsewhere, it proves later that nothing before it was changed. */
  readonly hash: string
  readonly files: number
  /** Where the chain is broken, as sentences; at most 20. */
  readonly faults: readonly string[]
  /** Whether a line has the hash that was asked for; undefined: none was. */
  readonly hasHash: boolean | undefined
}

const maxFaults = 20

/** Reads the whole log, in pieces. Throws when a file cannot be read. */
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
      if (!line) fault(isWhole ? 'is no line of an audit log' : 'is not finished, or longer than any line may be')
      else {
        if (row === 1 && line.n !== named) fault(`is number ${line.n}, but the name of the file says ${named}`)
        else if (line.n !== expected) fault(`is number ${line.n}, but ${expected} is due: lines are missing or put in`)
        if (hash !== undefined && line.previous !== hash) {
          fault('names another hash than that of the line before it: that one or this one was changed')
        } else if (hash === undefined && line.n === 1 && line.previous !== noHash) {
          fault('is the first line of all, but names one before it')
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

/** The lines of a file; the last one may be unfinished. A line that is too long comes cut off. */
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
