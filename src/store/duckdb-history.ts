import type { FieldType } from '../model.js'
import type { ArchivedDays, DuckDbDays } from './duckdb-days.js'
import { tagsAsObject } from './duckdb-export.js'
import type { DuckDbFile } from './duckdb-file.js'
import { ceilTo, floorTo, type GoneBefore, levels, unpacked } from './duckdb-rollups.js'
import { aggregateSql, read, tableOf, typed } from './duckdb-sql.js'
import type { KnownSeries } from './known-series.js'
import { windowWidth } from './points.js'
import type { Aggregate, Columns, HistoryQuery } from './store.js'

/** Ranges of time that one statement names. Where there are more, raw readings are read between them, too. */
const mostRanges = 100

export type TimeSpan = readonly [from: number, to: number]

/** Spans of a range by the place of their readings: each moment is in one of them. Microseconds since the epoch. */
export interface ReadingSpans {
  readonly raw: readonly TimeSpan[]
  /** For each level. */
  readonly rolled: readonly (readonly TimeSpan[])[]
}

/** Readings that the database has no more. */
export interface HistoryArchive {
  readonly days: DuckDbDays | undefined
  /** Time before which the texts of the series are gone. */
  readonly textsFrom: number
}

export const nothingArchived: ArchivedDays = { spans: [], files: [] }

/** Windows to answer with, and where their readings are. */
interface WindowPlan extends ReadingSpans {
  /** Beginning of the first window. */
  readonly origin: number
  readonly width: number
  readonly archived: ArchivedDays
}

/** For each function `a`, and `t` where a time decides: from raw readings, from roll-ups, and from several such rows. */
const partial: Record<Aggregate, readonly [raw: string, rolled: string, whole: string]> = {
  mean: ['sum(value) AS a', 'sum(sum) AS a', 'sum(a) / sum(n)'],
  min: ['min(value) AS a', 'min(min) AS a', 'min(a)'],
  max: ['max(value) AS a', 'max(max) AS a', 'max(a)'],
  first: [
    'arg_min(value, time) AS a, min(time) AS t',
    'arg_min(first, first_time) AS a, min(first_time) AS t',
    'arg_min(a, t)',
  ],
  last: [
    'arg_max(value, time) AS a, max(time) AS t',
    'arg_max(last, last_time) AS a, max(last_time) AS t',
    'arg_max(a, t)',
  ],
  sum: ['sum(value) AS a', 'sum(sum) AS a', 'sum(a)'],
  count: ['0 AS a', '0 AS a', 'sum(n)::DOUBLE'],
}

/**
 * Returns the readings of a series in a range, or their windows. Windows at least twice as wide as the bucket of a
 * roll-up are made from that roll-up, where it is right, and else from a finer one or from the raw readings. Where
 * retention has deleted what is as fine, the files of whole days answer, for those days alone.
 */
export async function readHistory(
  file: DuckDbFile,
  series: KnownSeries,
  query: HistoryQuery,
  archive: HistoryArchive = { days: undefined, textsFrom: Number.NEGATIVE_INFINITY },
): Promise<Columns> {
  const from = Math.ceil(query.from)
  const to = Math.ceil(query.to)
  const asked = { ...query, from, to, fn: series.type === 'number' ? query.fn : ('last' as const) }
  const answer = (from: HistoryArchive) =>
    file.inOneRead(async () => {
      const complete = query.withSequence ? await progress(file) : {}
      const columns = (await mixedHistory(file, series, asked, from)) ?? (await rawHistory(file, series, asked))
      return { ...columns, ...complete }
    })
  try {
    return await answer(archive)
  } catch (error) {
    if (!archive.days) throw error
    // A file that somebody has damaged does not take the store's own readings along.
    const columns = await answer({ ...archive, days: undefined })
    archive.days.unreadable(error)
    return columns
  }
}

async function progress(file: DuckDbFile): Promise<Pick<Columns, 'sequence'>> {
  const [[stored] = []] = await file.columns('reader', 'SELECT sequence FROM progress')
  return stored == null ? {} : { sequence: Number(stored) }
}

async function rawHistory(file: DuckDbFile, { id, type }: KnownSeries, query: HistoryQuery): Promise<Columns> {
  const { from, to, fn, points } = query
  const table = tableOf(type)
  const width = windowWidth(from, to, points)
  const [starts = [], aggregated = [], counts = []] = await file.columns(
    'reader',
    `SELECT (time - $2) // $4 AS w, ${read(table, aggregateSql[fn])}, count(*) FROM ${table}
     WHERE series = $1 AND time >= $2 AND time < $3 GROUP BY w ORDER BY w`,
    [id, BigInt(from), BigInt(to), BigInt(width)],
  )
  const readings = counts.reduce<number>((sum, count) => sum + Number(count), 0)
  if (readings === 0) return { times: [], values: [] }
  if (readings <= points) return readingsAsStored(file, { id, type }, from, to)
  return { times: starts.map(w => from + Number(w) * width), values: typed(aggregated, type), window: width }
}

async function readingsAsStored(
  file: DuckDbFile,
  { id, type }: Pick<KnownSeries, 'id' | 'type'>,
  from: number,
  to: number,
  { spans, files }: ArchivedDays = nothingArchived,
): Promise<Columns> {
  const table = tableOf(type)
  const inRange = 'WHERE series = $1 AND time >= $2 AND time < $3'
  const own = without([[from, to]], spans)
  const more =
    files.length > 0
      ? `UNION ALL SELECT time, value FROM ${rowsOfFiles(files, type)} ${inRange} AND ${within(spans)}`
      : ''
  const less = spans.length > 0 ? `AND ${own.length > 0 ? within(own) : 'false'}` : ''
  const [times = [], values = []] = await file.columns(
    'reader',
    `SELECT time, ${read(table, 'value')} FROM (SELECT time, value FROM ${table} ${inRange} ${less} ${more}) ORDER BY time`,
    [id, BigInt(from), BigInt(to)],
  )
  return { times: times.map(Number), values: typed(values, type) }
}

/**
 * Returns the history where roll-ups or files of whole days answer. Undefined: the raw readings are all there, and the
 * windows are narrow.
 */
async function mixedHistory(
  file: DuckDbFile,
  series: KnownSeries,
  query: HistoryQuery,
  { days, textsFrom }: HistoryArchive,
): Promise<Columns | undefined> {
  const { from, to, points } = query
  const isText = series.type === 'text'
  if (to <= from || (isText && from >= textsFrom)) return undefined
  const { id } = series
  const known = isText ? { ...unknown, dropped: { raw: textsFrom, byLevel: [] } } : await knownOf(file, id, from, to)
  const { dropped } = known
  const width = windowWidth(from, to, points)
  const wanted = isText ? -1 : levels.findLastIndex(level => 2 * level.width <= width)
  const gone = dropped.byLevel[wanted] ?? dropped.raw
  const archived =
    days && from < gone ? days.archived(id, query.series.measurement, from, Math.min(to, gone)) : nothingArchived
  let coarsest = -1
  for (const [start, end] of isText || from >= dropped.raw ? [] : without([[from, to]], archived.spans))
    coarsest = Math.max(coarsest, await coarsestNeeded(file, id, start, end, dropped))
  const level = Math.max(wanted, coarsest)
  if (level < 0 && archived.spans.length === 0) return undefined
  const planned = { ...known, from, to, archived }
  const found = await windowsOf(file, series, query, planOf(planned, level, points))
  if (found.readings > points) return found.columns
  if (coarsest < 0)
    return found.readings === 0 ? { times: [], values: [] } : readingsAsStored(file, series, from, to, archived)
  const finest = levels[coarsest]?.width ?? 1
  // As many windows as the range has buckets: those with readings are no more than the readings.
  return (await windowsOf(file, series, query, planOf(planned, coarsest, (to - from) / finest + 2))).columns
}

/** Returns what is left of ranges without others. Both ascend. */
function without(ranges: readonly TimeSpan[], others: readonly TimeSpan[]): TimeSpan[] {
  return ranges.flatMap(([from, to]) => {
    const left: TimeSpan[] = []
    let next = from
    for (const [start, end] of others) {
      if (end <= next || start >= to) continue
      if (start > next) left.push([next, start])
      next = Math.max(next, end)
    }
    if (next < to) left.push([next, to])
    return left
  })
}

/** How far the roll-ups of a series are right. */
export interface RollUpState {
  readonly until: number
  readonly dropped: GoneBefore
  readonly stale: readonly TimeSpan[]
}

const unknown: RollUpState = {
  until: Number.NEGATIVE_INFINITY,
  dropped: { raw: Number.NEGATIVE_INFINITY, byLevel: [] },
  stale: [],
}

async function knownOf(file: DuckDbFile, id: number, from: number, to: number): Promise<RollUpState> {
  const day = levels[2]
  // In one statement, as each costs half a millisecond.
  const [kinds = [], ...columns] = await file.columns(
    'reader',
    `SELECT 'until', until, NULL, NULL, NULL FROM rolled
     UNION ALL SELECT 'dropped', raw, ${levels.map(({ column }) => column).join(', ')} FROM dropped
       WHERE series = 0 OR series = $1
     UNION ALL SELECT 'stale', hour, NULL, NULL, NULL FROM stale WHERE series = $1 AND hour >= $2 AND hour < $3`,
    [id, BigInt(floorTo(from, day.width)), BigInt(ceilTo(to, day.width))],
  )
  const greatest = (kind: string, column: number) =>
    kinds.reduce<number>((most, of, row) => {
      const time = of === kind ? columns[column]?.[row] : undefined
      return time == null ? most : Math.max(most, Number(time))
    }, Number.NEGATIVE_INFINITY)
  const marked = kinds.flatMap((kind, row) => (kind === 'stale' ? [Number(columns[0]?.[row])] : []))
  return {
    until: greatest('until', 0),
    dropped: { raw: greatest('dropped', 0), byLevel: levels.map((_, level) => greatest('dropped', level + 1)) },
    stale: rangesOf(marked),
  }
}

/**
 * Returns the level of the coarsest roll-up that is all that is left of some readings in a range. -1: all are there.
 */
async function coarsestNeeded(file: DuckDbFile, id: number, from: number, to: number, dropped: GoneBefore) {
  for (let level = levels.length - 1; level >= 0; level--) {
    const end = Math.min(to, dropped.byLevel[level - 1] ?? dropped.raw)
    const { table, width } = levels[level] as (typeof levels)[number]
    const start = Math.max(floorTo(from, width), dropped.byLevel[level] ?? Number.NEGATIVE_INFINITY)
    if (start >= end) continue
    const [some = []] = await file.columns(
      'reader',
      `SELECT 1 FROM ${table} WHERE series = $1 AND time >= $2 AND time < $3 LIMIT 1`,
      [id, BigInt(start), BigInt(end)],
    )
    if (some.length > 0) return level
  }
  return -1
}

/** Returns hours, each given by the beginning and some twice, as ranges. */
export function rangesOf(hours: readonly number[]): TimeSpan[] {
  const { width } = levels[1]
  const ranges: [number, number][] = []
  for (const start of [...new Set(hours)].sort((a, b) => a - b)) {
    const before = ranges.at(-1)
    if (before && (before[1] === start || ranges.length === mostRanges)) before[1] = start + width
    else ranges.push([start, start + width])
  }
  return ranges
}

interface WindowsWanted extends RollUpState {
  readonly from: number
  readonly to: number
  readonly archived: ArchivedDays
}

/** Returns at most `points` windows of whole buckets of a level, and from which rows each moment is answered. */
function planOf(wanted: WindowsWanted, level: number, points: number): WindowPlan {
  const { from, to, archived } = wanted
  const bucket = levels[level]?.width ?? 1
  const origin = floorTo(from, bucket)
  const width = Math.max(bucket, ceilTo(windowWidth(origin, to, points), bucket))
  return { origin, width, archived, ...sourcesOf(wanted, level) }
}

/** Returns from which rows each moment of a range is answered, when roll-ups of a level and finer ones may answer. */
export function sourcesOf({ from, to, until, dropped, stale, archived }: WindowsWanted, level: number): ReadingSpans {
  const raw: TimeSpan[] = []
  const rolled: TimeSpan[][] = levels.map(() => [])
  const cover = (at: number, start: number, end: number) => {
    if (start >= end) return
    const size = levels[at]?.width
    if (size === undefined) {
      raw.push([start, end])
      return
    }
    // Where nothing finer is left, the whole bucket belongs to the answer.
    const gone = dropped.byLevel[at - 1] ?? dropped.raw
    const first = start < gone ? floorTo(start, size) : ceilTo(start, size)
    const last = Math.min(end <= gone ? ceilTo(end, size) : floorTo(end, size), floorTo(until, size))
    if (first >= last) {
      cover(at - 1, start, end)
      return
    }
    cover(at - 1, start, first)
    let next = first
    for (const [staleFrom, staleTo] of stale) {
      const [hole, after] = [Math.max(floorTo(staleFrom, size), next), Math.min(ceilTo(staleTo, size), last)]
      // Where raw readings are gone, those that came later are added to what the roll-up has.
      if (hole >= after || staleTo <= dropped.raw) continue
      if (hole > next) rolled[at]?.push([next, hole])
      cover(at - 1, hole, after)
      next = after
    }
    if (next < last) rolled[at]?.push([next, last])
    cover(at - 1, last, end)
  }
  for (const [start, end] of without([[from, to]], archived.spans)) cover(level, start, end)
  const covered = [...raw, ...rolled.flat()]
  const start = Math.min(...covered.map(([first]) => first))
  const end = Math.min(Math.max(...covered.map(([, last]) => last)), dropped.raw)
  // Readings that came later, and are not in the roll-ups yet.
  if (start < end) raw.push(...without([[start, end]], archived.spans))
  return { raw, rolled }
}

/** Returns the windows of a plan, and how many readings they are of. */
async function windowsOf(file: DuckDbFile, { id, type }: KnownSeries, query: HistoryQuery, plan: WindowPlan) {
  const [ofRaw, ofRolled, whole] = partial[query.fn]
  const { origin, width, archived } = plan
  const table = tableOf(type)
  const sources = [
    { table: table as string, ranges: plan.raw, columns: `${ofRaw}, count(*) AS n` },
    {
      table: rowsOfFiles(archived.files, type),
      ranges: archived.files.length > 0 ? archived.spans : [],
      columns: `${ofRaw}, count(*) AS n`,
    },
    ...levels.map((level, i) => ({
      table: unpacked(level),
      ranges: plan.rolled[i] ?? [],
      columns: `${ofRolled}, sum(count) AS n`,
    })),
  ]
  const parts = sources
    .filter(({ ranges }) => ranges.length > 0)
    .map(
      ({ table, ranges, columns }) =>
        `SELECT (time - $2) // $3 AS w, ${columns} FROM ${table} WHERE series = $1 AND ${within(ranges)} GROUP BY w`,
    )
  if (parts.length === 0) return { readings: 0, columns: { times: [], values: [] } }
  const [starts = [], values = [], counts = []] = await file.columns(
    'reader',
    `SELECT w, ${read(table, whole)}, sum(n) FROM (${parts.join(' UNION ALL ')}) GROUP BY w ORDER BY w`,
    [id, BigInt(origin), BigInt(width)],
  )
  return {
    readings: counts.reduce<number>((sum, count) => sum + Number(count), 0),
    columns: { times: starts.map(w => origin + Number(w) * width), values: typed(values, type), window: width },
  }
}

/** Returns the rows of the series `$1` in files of whole days as a table, in SQL, with the columns of the own ones. */
function rowsOfFiles(files: readonly string[], type: FieldType): string {
  const list = files.map(file => `'${file.replaceAll("'", "''")}'`).join(', ')
  const value = { number: 'number', boolean: 'CAST(boolean AS DOUBLE)', text: 'text' }[type]
  return `(SELECT $1 AS series, epoch_us(read.time) AS time, ${value} AS value FROM read_parquet([${list}]) AS read,
     (SELECT ${tagsAsObject} AS tags, field, type FROM series WHERE id = $1) AS own
     WHERE read.tags = own.tags AND read.field = own.field AND read.type = own.type)`
}

/** Returns the condition that a time is in one of these ranges, in SQL. */
export function within(ranges: readonly TimeSpan[]): string {
  const all = ranges.map(([from, to]) => `(time >= ${from} AND time < ${to})`).join(' OR ')
  // Of several ranges DuckDB takes no part of the table out of the scan, of one it does.
  const outer = ranges.reduce(([from, to], [start, end]) => [Math.min(from, start), Math.max(to, end)] as const)
  return `time >= ${outer[0]} AND time < ${outer[1]} AND (${all})`
}
