import { type FieldType, type FieldValue, fieldType, type Point } from '../model.js'
import { storedKey, storedMeasurement, storedText } from './line-protocol.js'

/** A point on its way: its position in the caller's batch and its line. */
export interface Entry {
  readonly index: number
  readonly point: Point
  readonly line: string
}

/** What InfluxDB holds a field to. */
export interface FixedType {
  readonly measurement: string
  readonly field: string
  readonly type: FieldType
}

/** What InfluxDB's words say of the points of a write it refused at least in part. */
export interface Verdict {
  /** A stable word for the kind of refusal. */
  readonly reason: 'type_conflict' | 'beyond_retention' | 'series_limit' | 'store_refused'
  /** The points the words name, in the order given, with the words meant for each. */
  readonly suspects: readonly { readonly entry: Entry; readonly detail: string }[]
  /** The suspects are refused for sure; otherwise they are only worth trying alone. */
  readonly certain: boolean
  /** When all suspects are refused, all the others are stored. */
  readonly restIsIn: boolean
  readonly fixed?: FixedType
}

/**
 * InfluxDB 1.x tells only of the first kind of bad point, counts those of all kinds but not the lines it could not
 * parse, and answers as soon as one shard has refused something, without a word of the others.
 * `isBeyondLimit` tells of series that were refused for their number before.
 */
export function judge(words: string, entries: readonly Entry[], isBeyondLimit: (entry: Entry) => boolean): Verdict {
  const start = partial.exec(words)?.[0].length ?? -1
  const said = start < 0 ? words : words.slice(start)
  if (said.startsWith(unparsable)) return unparsed(said, entries, start >= 0)
  const { reason, suspects, fixed, remembered = false, everyShard = false } = named(said, entries, isBeyondLimit)
  // Where a limit of series drops points, InfluxDB 1.6 mistakes others for them, and says nothing of those.
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

/** InfluxDB's own words, or the beginning of what somebody else answered. */
export function errorWords(body: string): string {
  return verdictWords(body) ?? (body.slice(0, 300) || 'no reason given')
}

/** The words when the body is InfluxDB's; a proxy's page is nobody's verdict on a point. */
export function verdictWords(body: string): string | undefined {
  try {
    const { error, message } = JSON.parse(body) as { error?: unknown; message?: unknown }
    return [error, message].find((words): words is string => typeof words === 'string' && words !== '')
  } catch {
    return undefined
  }
}

/** The pause a `Retry-After` asks for: seconds, or a date by the clock of the one who sent it. */
export function retryAfterMs(header: string | null | undefined, date: string | null | undefined): number | undefined {
  const text = header?.trim()
  if (!text) return undefined
  if (/^\d+$/.test(text)) return Number(text) * 1_000
  const until = Date.parse(text)
  if (Number.isNaN(until)) return undefined
  const now = Date.parse(date ?? '')
  return Math.max(0, until - (Number.isNaN(now) ? Date.now() : now))
}

/** InfluxDB repeats whole lines: beginning and end tell enough. */
export function shorten(words: string): string {
  return words.length <= maxDetail ? words : `${words.slice(0, maxDetail / 2)} … ${words.slice(-maxDetail / 2)}`
}

interface Named {
  readonly reason: Verdict['reason']
  readonly suspects: readonly Entry[]
  readonly fixed?: FixedType | undefined
  /** From what was refused before, not from these words. */
  readonly remembered?: boolean
  /** It is said only when no shard has refused anything. */
  readonly everyShard?: boolean
}

/** At the beginning, or behind the prefix of InfluxDB 2: further on it may be what a device wrote. */
const partial = /^(?:failure writing points to database: )?partial write: /
const unparsable = "unable to parse '"
const conflict = 'field type conflict'
const maxDetail = 600
const hour = 3_600_000_000

function named(said: string, entries: readonly Entry[], isBeyondLimit: (entry: Entry) => boolean): Named {
  // At the beginning only: further on these words may be the names and values of a device.
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

/** Names may hold quotes, so the words are not taken apart but compared with what each value would make them. */
function conflicting(said: string, entries: readonly Entry[]): Named {
  const reason = 'type_conflict'
  let fixed: FixedType | undefined
  const suspects = entries.filter(({ point: { measurement, fields } }) =>
    fields.some(([field, value]) => {
      const expected = `${conflict}: input field "${storedKey(field)}" on measurement "${storedMeasurement(measurement)}" is type ${influxType(value)}, already exists as type `
      if (!said.startsWith(expected)) return false
      const existing = /^\w+/.exec(said.slice(expected.length))?.[0]
      fixed = {
        measurement,
        field,
        type: existing === 'string' ? 'text' : existing === 'boolean' ? existing : 'number',
      }
      return true
    }),
  )
  return { reason, suspects, fixed }
}

function influxType(value: FieldValue): string {
  const type = fieldType(value)
  return type === 'number' ? 'float' : type === 'text' ? 'string' : type
}

/** A shard that takes one time takes all later ones, so those dropped are the oldest. */
function oldest(entries: readonly Entry[], count: number): readonly Entry[] {
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

/** As Go's `%q` does it, as far as stored names hold anything to quote. */
function quoted(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`
}

/** Said only when everything that could be parsed was stored, if anything was. */
function unparsed(said: string, entries: readonly Entry[], othersAreIn: boolean): Verdict {
  const byLine = new Map<string, Entry[]>()
  for (const entry of entries) {
    const line = entry.line.trimEnd()
    const same = byLine.get(line)
    if (same) same.push(entry)
    else byLine.set(line, [entry])
  }
  const details = new Map<Entry, string>()
  let complete = true
  let at = 0
  while (at >= 0) {
    const from = at + unparsable.length
    // A line may itself hold what ends it here.
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

/** Shards begin on the hour and last whole hours. */
function inOneShard(entries: readonly Entry[]): boolean {
  const first = Math.floor((entries[0]?.point.time ?? 0) / hour)
  return entries.every(({ point }) => Math.floor(point.time / hour) === first)
}

/** What we encode is always parsed, unless measurement and tags are longer than 65,535 bytes. */
function parses({ line }: Entry): boolean {
  return line.length < 65_535 / 3
}
