import type { FieldValue, Point } from '../model.js'
import { integerOf, type StoredType, typeOfKind } from './field-types.js'
import { type IntegerFields, storedKey, storedMeasurement, storedText } from './line-protocol.js'
import type { RejectedPoint } from './store.js'

/** A point to write: the position in the caller's batch, and the line. */
export interface RefusedEntry {
  readonly index: number
  readonly point: Point
  readonly line: string
  /** Fields that the line holds as integers. */
  readonly integers?: IntegerFields | undefined
}

/** Type that InfluxDB enforces for a field. */
export interface FixedType {
  readonly measurement: string
  readonly field: string
  readonly type: StoredType
}

/** Refusal of one line of a body, counted from 1, in the server's own words. */
export interface LineRefusal {
  readonly line: number
  readonly words: string
}

/** Meaning of InfluxDB's words for the points of a write that was refused at least in part. */
export interface WriteVerdict {
  /** Stable word for the kind of refusal. */
  readonly reason: 'type_conflict' | 'beyond_retention' | 'series_limit' | 'store_refused'
  /** Points that the words name, in the order given, with the words meant for each. */
  readonly suspects: readonly { readonly entry: RefusedEntry; readonly detail: string }[]
  /** True when the suspects are refused for sure. Otherwise they are only worth trying alone. */
  readonly certain: boolean
  /** True when all others are stored, provided that all suspects are refused. */
  readonly restIsIn: boolean
  readonly fixed?: FixedType
}

/**
 * Finds the points that InfluxDB's words refuse. InfluxDB 1.x reports only the first kind of bad point, counts those of
 * all kinds but not the lines that could not be parsed, and answers as soon as one shard has refused something, without
 * a word of the others. `isBeyondLimit` returns true for series that were refused for their number before.
 */
export function judge(
  words: string,
  entries: readonly RefusedEntry[],
  isBeyondLimit: (entry: RefusedEntry) => boolean,
): WriteVerdict {
  const start = partial.exec(words)?.[0].length ?? -1
  const said = start < 0 ? words : words.slice(start)
  if (said.startsWith(unparsable)) return unparsed(said, entries, start >= 0)
  const { reason, suspects, fixed, remembered = false, everyShard = false } = named(said, entries, isBeyondLimit)
  // Where a limit of series drops points, InfluxDB 1.6 also drops others by mistake, and does not report those.
  const dropsOthers = reason === 'series_limit'
  const dropped = start < 0 ? undefined : Number(/ dropped=(\d+)$/.exec(said)?.[1])
  const all = dropped === entries.length
  const blamed = all && suspects.length === 0 ? entries : suspects
  const countIsWhole = (everyShard || inOneShard(entries)) && dropped !== undefined
  return {
    reason,
    suspects: blamed.map(entry => ({ entry, detail: shorten(words) })),
    certain: all || (countIsWhole && !remembered && blamed.length <= dropped),
    restIsIn: countIsWhole && !dropsOthers && blamed.length === dropped && entries.every(parses),
    ...(fixed && { fixed }),
  }
}

/**
 * Finds the points of the lines that InfluxDB 3 names: every other line is stored. Undefined when a line is named that was
 * not sent.
 */
export function judgeLines(
  lines: readonly LineRefusal[],
  entries: readonly RefusedEntry[],
): { readonly refused: readonly RejectedPoint[]; readonly fixed: readonly FixedType[] } | undefined {
  const fixed: FixedType[] = []
  const refused: RejectedPoint[] = []
  for (const { line, words } of lines) {
    const entry = entries[line - 1]
    if (!entry) return undefined
    const type = columnType(words, entry)
    if (type) fixed.push(type)
    refused.push({ index: entry.index, reason: type ? 'type_conflict' : 'store_refused', detail: shorten(words) })
  }
  return { refused, fixed }
}

/** Returns the type of the field that InfluxDB 3 says another value has. Undefined for other words. */
function columnType(words: string, { point: { measurement, fields } }: RefusedEntry): FixedType | undefined {
  const start = "invalid column type for column '"
  if (!words.startsWith(start)) return undefined
  // The name may hold quotes: the words are not parsed, but compared with those for each field.
  for (const [field] of fields) {
    const expected = `${start}${storedKey(field)}', expected iox::column_type::field::`
    if (!words.startsWith(expected)) continue
    const kind = /^\w+/.exec(words.slice(expected.length))?.[0]
    return { measurement, field, type: typeOfKind(kind === 'uinteger' ? 'unsigned' : kind) }
  }
  return undefined
}

/** Returns InfluxDB's own words, or the beginning of the answer of another server. */
export function errorWords(body: string): string {
  return verdictWords(body) ?? (body.slice(0, 300) || 'no reason given')
}

/** Returns the words when the body is InfluxDB's: a proxy's page is no verdict on a point. */
export function verdictWords(body: string): string | undefined {
  try {
    const { error, message } = JSON.parse(body) as { error?: unknown; message?: unknown }
    return [error, message].find((words): words is string => typeof words === 'string' && words !== '')
  } catch {
    return undefined
  }
}

/**
 * Returns the pause that a `Retry-After` asks for: seconds, or a date by the clock of the server that sent the header.
 */
export function retryAfterMs(header: string | null | undefined, date: string | null | undefined): number | undefined {
  const text = header?.trim()
  if (!text) return undefined
  if (/^\d+$/.test(text)) return Number(text) * 1_000
  const until = Date.parse(text)
  if (Number.isNaN(until)) return undefined
  const now = Date.parse(date ?? '')
  return Math.max(0, until - (Number.isNaN(now) ? Date.now() : now))
}

/** Shortens words in the middle. InfluxDB repeats whole lines, of which beginning and end are enough. */
export function shorten(words: string): string {
  return words.length <= maxDetail ? words : `${words.slice(0, maxDetail / 2)} … ${words.slice(-maxDetail / 2)}`
}

interface NamedRefusal {
  readonly reason: WriteVerdict['reason']
  readonly suspects: readonly RefusedEntry[]
  readonly fixed?: FixedType | undefined
  /** True when suspects come from earlier refusals, not from these words. */
  readonly remembered?: boolean
  /** True for words that InfluxDB sends only when no shard has refused anything. */
  readonly everyShard?: boolean
}

/** Prefix at the beginning, or behind that of InfluxDB 2. Further on the same words may come from a device. */
const partial = /^(?:failure writing points to database: )?partial write: /
const unparsable = "unable to parse '"
const conflict = 'field type conflict'
const maxDetail = 600
const hour = 3_600_000_000

function named(
  said: string,
  entries: readonly RefusedEntry[],
  isBeyondLimit: (entry: RefusedEntry) => boolean,
): NamedRefusal {
  // Compared at the beginning only: further on these words may be names and values of a device.
  if (said.startsWith(conflict)) return conflicting(said, entries)
  if (said.startsWith('points beyond retention policy')) {
    const dropped = Number(/ dropped=(\d+)$/.exec(said)?.[1])
    return { reason: 'beyond_retention', suspects: oldest(entries, dropped), everyShard: true }
  }
  const limit = /^max-(values-per-tag|series-per-database) limit exceeded/.exec(said)
  if (!limit) return { reason: 'store_refused', suspects: [] }
  const told = new Set(limit[1] === 'values-per-tag' ? entries.filter(({ point }) => namesTag(said, point)) : [])
  const suspects = entries.filter(entry => told.has(entry) || isBeyondLimit(entry))
  return { reason: 'series_limit', suspects, remembered: suspects.length > told.size }
}

/**
 * Finds the points of a type conflict. Names may hold quotes: the words are not parsed, but compared with those for
 * each value.
 */
function conflicting(said: string, entries: readonly RefusedEntry[]): NamedRefusal {
  const reason = 'type_conflict'
  let fixed: FixedType | undefined
  const suspects = entries.filter(({ point: { measurement, fields }, integers }) =>
    fields.some(([field, value]) => {
      const written = influxType(value, integers?.get(field))
      const expected = `${conflict}: input field "${storedKey(field)}" on measurement "${storedMeasurement(measurement)}" is type ${written}, already exists as type `
      if (!said.startsWith(expected)) return false
      const existing = /^\w+/.exec(said.slice(expected.length))?.[0]
      fixed = { measurement, field, type: typeOfKind(existing) }
      return true
    }),
  )
  return { reason, suspects, fixed }
}

function influxType(value: FieldValue, integer: 'i' | 'u' | undefined): string {
  if (typeof value !== 'number') return typeof value
  return integer === undefined ? 'float' : integerOf(integer)
}

/**
 * Returns the oldest points. A shard that takes one time takes all later ones, so the dropped points are the oldest.
 */
function oldest(entries: readonly RefusedEntry[], count: number): readonly RefusedEntry[] {
  const times = entries.map(({ point }) => point.time).sort((a, b) => a - b)
  const newest = times[count - 1]
  return newest === undefined ? [] : entries.filter(({ point }) => point.time <= newest)
}

function namesTag(said: string, { measurement, tags }: Point): boolean {
  return tags.some(([name, value]) =>
    said.includes(
      `: measurement=${quoted(storedMeasurement(measurement))} tag=${quoted(storedKey(name))} value=${quoted(storedText(value))} dropped=`,
    ),
  )
}

/** Quotes like Go's `%q`, as far as stored names hold anything to quote. */
function quoted(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`
}

/**
 * Finds the lines that InfluxDB could not parse. These words are sent only when all other lines were stored, if any
 * were.
 */
function unparsed(said: string, entries: readonly RefusedEntry[], othersAreIn: boolean): WriteVerdict {
  const byLine = new Map<string, RefusedEntry[]>()
  for (const entry of entries) {
    const line = entry.line.trimEnd()
    const same = byLine.get(line)
    if (same) same.push(entry)
    else byLine.set(line, [entry])
  }
  const details = new Map<RefusedEntry, string>()
  let complete = true
  let at = 0
  while (at >= 0) {
    const from = at + unparsable.length
    // A line may itself contain the text that ends the line here.
    let end = said.indexOf("': ", from)
    while (end >= 0 && !byLine.has(said.slice(from, end))) end = said.indexOf("': ", end + 1)
    const next = said.indexOf(`\n${unparsable}`, Math.max(from, end))
    if (end < 0) complete = false
    else {
      const detail = shorten(said.slice(at, next < 0 ? undefined : next).replace(/ dropped=\d+$/, ''))
      for (const entry of byLine.get(said.slice(from, end)) ?? []) details.set(entry, detail)
    }
    at = next < 0 ? -1 : next + 1
  }
  return {
    reason: 'store_refused',
    suspects: entries.flatMap(entry => {
      const detail = details.get(entry)
      return detail === undefined ? [] : [{ entry, detail }]
    }),
    certain: true,
    restIsIn: othersAreIn && complete,
  }
}

/** Returns whether all points are in one shard. Shards begin on the hour and last whole hours. */
function inOneShard(entries: readonly RefusedEntry[]): boolean {
  const first = Math.floor((entries[0]?.point.time ?? 0) / hour)
  return entries.every(({ point }) => Math.floor(point.time / hour) === first)
}

/**
 * Returns whether InfluxDB parses a line. Our lines always parse, unless measurement and tags are longer than 65,535
 * bytes.
 */
function parses({ line }: RefusedEntry): boolean {
  return line.length < 65_535 / 3
}
