import { describe, HubError } from '../errors.js'
import type { FieldType, FieldValue, Tags } from '../model.js'
import type { IncidentReporter } from '../observe/incidents.js'
import { DuckDbDays } from './duckdb-days.js'
import type { BoundValue, DuckDbAside, DuckDbFile } from './duckdb-file.js'
import { guarded, type Table, unguarded } from './duckdb-sql.js'
import {
  mostSeries,
  type ParquetFile,
  type RowChunk,
  type RowReading,
  type RowSeries,
  type RowSource,
  type RowsQuery,
} from './rows.js'

/** Rows of one statement, of each table, and bytes of their texts: what is made at a time, in about 10 ms. */
const chunkRows = 20_000
const chunkTexts = 2_000
const chunkBytes = 8_000_000

/** Series looked at in one statement. */
const pageSeries = 20_000

/** Most series that a statement names. With more, all rows are read, and those of other series are passed over. */
const mostNamed = 5_000

/** Width of the first range in microseconds, and the widest. */
const firstWidth = 60_000_000
const widest = 2 ** 62

interface ChosenSeries {
  readonly series: RowSeries[]
  readonly ids: number[]
  /** Whether these are all series of the store. */
  readonly isAll: boolean
}

/** Readings of one table in a range, in order of time and series. */
interface TableRows {
  readonly ids: readonly number[]
  readonly times: readonly number[]
  readonly values: readonly unknown[]
  /** Microseconds up to which the rows are complete: not included. */
  readonly until: number
}

/**
 * Reads the rows of a DuckDB store for exports, each on an own connection. Every chunk is one short statement, so
 * no transaction stays open while a slow receiver reads, and a file that is closed and opened again is no end.
 */
export class DuckDbExport implements RowSource {
  readonly #open: () => Promise<DuckDbFile>
  readonly #asides = new Set<LastingAside>()
  readonly days: DuckDbDays | undefined

  /** @param folder Folder with the readings of whole days. Undefined: there is none */
  constructor(open: () => Promise<DuckDbFile>, folder?: string, incidents?: IncidentReporter) {
    this.#open = open
    if (folder) this.days = new DuckDbDays(folder, () => this.#aside(), copyRows, incidents)
  }

  async open(query: RowsQuery): Promise<RowReading> {
    const aside = this.#aside()
    try {
      const chosen = await chooseSeries(aside, query)
      return new DuckDbReading(aside, chosen, query, await extentOf(aside, chosen, query))
    } catch (error) {
      aside.close()
      throw error
    }
  }

  async parquet(query: RowsQuery, path: string, signal: AbortSignal): Promise<ParquetFile> {
    const aside = this.#aside()
    const stop = () => aside.close()
    signal.addEventListener('abort', stop)
    try {
      const chosen = await chooseSeries(aside, query)
      return await aside.use(connection => copyTo(connection, path, chosen, query))
    } finally {
      signal.removeEventListener('abort', stop)
      aside.close()
    }
  }

  /** Interrupts the statements under way. Resolves when no connection is open: the file may be closed. */
  async release(): Promise<void> {
    await Promise.all([...this.#asides].map(aside => aside.release()))
  }

  /** Makes the statements under way fail. */
  interrupt(): void {
    for (const aside of this.#asides) aside.interrupt()
  }

  #aside(): LastingAside {
    const aside = new LastingAside(this.#open, () => this.#asides.delete(aside))
    this.#asides.add(aside)
    return aside
  }
}

/** A connection that is made anew when the file was closed meanwhile. */
class LastingAside {
  readonly #open: () => Promise<DuckDbFile>
  readonly #ended: () => void
  #connection: DuckDbAside | undefined
  #underWay: Promise<unknown> = Promise.resolve()
  #isClosed = false

  constructor(open: () => Promise<DuckDbFile>, ended: () => void) {
    this.#open = open
    this.#ended = ended
  }

  /** Runs statements, one call at a time. */
  use<T>(statements: (connection: DuckDbAside) => Promise<T>): Promise<T> {
    const result = this.#use(statements)
    this.#underWay = result.catch(() => {})
    return result
  }

  async #use<T>(statements: (connection: DuckDbAside) => Promise<T>): Promise<T> {
    try {
      if (this.#isClosed) throw new HubError('store_unavailable', 'the export was ended')
      if (!this.#connection) {
        const file = await this.#open()
        const connection = await file.aside()
        if (this.#isClosed || !file.isOpen) {
          connection.close()
          throw new HubError('store_unavailable', 'the DuckDB store was closed; try again')
        }
        this.#connection = connection
      }
      return await statements(this.#connection)
    } catch (error) {
      if (error instanceof HubError) throw error
      throw new HubError('store_unavailable', `DuckDB did not answer: ${describe(error)}`, { cause: error })
    } finally {
      if (this.#isClosed) this.#drop()
    }
  }

  interrupt(): void {
    this.#connection?.interrupt()
  }

  async release(): Promise<void> {
    this.interrupt()
    await this.#underWay
    this.#drop()
  }

  close(): void {
    this.#isClosed = true
    this.#connection?.interrupt()
    void this.#underWay.then(() => this.#drop())
    this.#ended()
  }

  #drop(): void {
    this.#connection?.close()
    this.#connection = undefined
  }
}

class DuckDbReading implements RowReading {
  readonly order = 'time'
  readonly series: readonly RowSeries[]
  readonly extent: RowReading['extent']
  readonly #aside: LastingAside
  readonly #ids: readonly number[]
  /** Position of each series, by id. */
  readonly #positions: ReadonlyMap<number, number>
  /** Whether every row of the tables is of a series that was chosen. */
  readonly #filter: readonly bigint[] | undefined
  readonly #to: number
  #from: number
  /** At `from`, readings of series up to this id are read. */
  #afterId = -1
  #width = firstWidth

  constructor(aside: LastingAside, chosen: ChosenSeries, { from, to }: RowsQuery, extent: RowReading['extent']) {
    this.#aside = aside
    this.series = chosen.series
    this.extent = extent
    this.#ids = chosen.ids
    this.#positions = new Map(chosen.ids.map((id, position) => [id, position]))
    this.#filter = filterOf(chosen)
    this.#from = Math.max(from, extent?.first ?? to)
    this.#to = extent ? Math.min(to, extent.last + 1) : this.#from
  }

  async next(): Promise<RowChunk | undefined> {
    while (this.#from < this.#to && this.#ids.length > 0) {
      const to = Math.min(this.#to, this.#from + this.#width)
      const [numbers, texts] = await this.#aside.use(async connection => [
        await this.#rows(connection, 'numbers', to),
        await this.#rows(connection, 'texts', to),
      ])
      const until = Math.min(numbers.until, texts.until)
      const chunk = until > this.#from ? this.#merged(numbers, texts, until) : await this.#atOneTime()
      if (until > this.#from) this.#moveTo(until, until < to, numbers.ids.length + texts.ids.length)
      if (chunk && chunk.times.length > 0) return chunk
    }
    return undefined
  }

  close(): void {
    this.#aside.close()
  }

  #moveTo(until: number, isFull: boolean, rows: number): void {
    if (isFull) this.#width = Math.max(1, Math.floor(((until - this.#from) * 9) / 10))
    else if (rows < chunkRows / 2) this.#width = Math.min(widest, this.#width * 2)
    this.#from = until
    this.#afterId = -1
  }

  /** Reads the readings of a single microsecond that are more than one statement reads. */
  async #atOneTime(): Promise<RowChunk> {
    const chunk: MutableChunk = { series: [], times: [], values: [] }
    const time = this.#from
    const last = await this.#aside.use(async connection => {
      let last = Number.POSITIVE_INFINITY
      const found: TableRows[] = []
      for (const table of ['numbers', 'texts'] as const) {
        const rows = await readRows(connection, table, {
          ...{ from: time, to: time + 1, afterId: this.#afterId, filter: this.#filter },
        })
        if (rows.isFull) last = Math.min(last, rows.ids.at(-1) as number)
        found.push({ ...rows, until: time })
      }
      for (const rows of found) this.#add(chunk, rows, (_time, id) => id <= last)
      return last
    })
    if (last === Number.POSITIVE_INFINITY) this.#moveTo(time + 1, true, chunkRows)
    else this.#afterId = last
    return chunk
  }

  async #rows(connection: DuckDbAside, table: Table, to: number): Promise<TableRows> {
    const rows = await readRows(connection, table, {
      ...{ from: this.#from, to, afterId: this.#afterId, filter: this.#filter },
    })
    // The readings of the last time may not be complete.
    return { ...rows, until: rows.isFull ? (rows.times.at(-1) as number) : to }
  }

  #merged(numbers: TableRows, texts: TableRows, until: number): RowChunk {
    const all: MutableChunk = { series: [], times: [], values: [] }
    const isBefore = (time: number) => time < until
    if (texts.ids.length === 0 || numbers.ids.length === 0) {
      this.#add(all, numbers, isBefore)
      this.#add(all, texts, isBefore)
      return all
    }
    const own: MutableChunk = { series: [], times: [], values: [] }
    this.#add(own, numbers, isBefore)
    const others: MutableChunk = { series: [], times: [], values: [] }
    this.#add(others, texts, isBefore)
    let at = 0
    for (const [i, time] of others.times.entries()) {
      for (; at < own.times.length && (own.times[at] as number) <= time; at++) push(all, own, at)
      push(all, others, i)
    }
    for (; at < own.times.length; at++) push(all, own, at)
    return all
  }

  /** Adds the rows of chosen series that `fits` lets in. */
  #add(to: MutableChunk, { ids, times, values }: TableRows, fits: (time: number, id: number) => boolean): void {
    for (const [i, id] of ids.entries()) {
      const position = this.#positions.get(id)
      const time = times[i] as number
      if (position === undefined || !fits(time, id)) continue
      to.series.push(position)
      to.times.push(time)
      to.values.push(readValue(values[i], this.series[position]?.type as FieldType))
    }
  }
}

type MutableChunk = { series: number[]; times: number[]; values: FieldValue[] }

function push(to: MutableChunk, from: MutableChunk, at: number): void {
  to.series.push(from.series[at] as number)
  to.times.push(from.times[at] as number)
  to.values.push(from.values[at] as FieldValue)
}

function readValue(value: unknown, type: FieldType): FieldValue {
  if (type === 'number') return value as number
  return type === 'boolean' ? value === 1 : unguarded(value as string)
}

/** Returns ids to be named in statements. Undefined: rows of all series are read. */
function filterOf({ ids, isAll }: ChosenSeries): readonly bigint[] | undefined {
  return isAll || ids.length > mostNamed ? undefined : ids.map(BigInt)
}

interface RowRange {
  readonly from: number
  readonly to: number
  /** At `from` only series with higher ids. */
  readonly afterId: number
  readonly filter: readonly bigint[] | undefined
}

/** Reads the first rows of a range. `isFull`: there are more. */
async function readRows(connection: DuckDbAside, table: Table, { from, to, afterId, filter }: RowRange) {
  const bound: BoundValue[] = [BigInt(from), BigInt(to)]
  const named = filter ? `AND series IN (SELECT unnest($${bound.push([...filter])}))` : ''
  const after = afterId >= 0 ? `AND (time > $1 OR series > ${afterId})` : ''
  const limit = table === 'texts' ? chunkTexts : chunkRows
  const rows = `SELECT series, time, value FROM ${table} WHERE time >= $1 AND time < $2 ${named} ${after}
    ORDER BY time, series LIMIT ${limit}`
  const sql =
    table === 'texts'
      ? `SELECT series, time, ${guarded('value')}, total FROM
           (SELECT *, sum(strlen(value)) OVER w AS bytes, row_number() OVER w AS n, count(*) OVER () AS total FROM (${rows})
            WINDOW w AS (ORDER BY time, series ROWS UNBOUNDED PRECEDING))
         WHERE n = 1 OR bytes <= ${chunkBytes} ORDER BY time, series`
      : rows
  const [ids = [], times = [], values = [], totals] = await connection.columns(sql, bound)
  const found = Number(totals?.[0] ?? ids.length)
  const isFull = ids.length > 0 && (found === limit || ids.length < found)
  return { ids: ids as number[], times: times.map(Number), values, isFull }
}

/** Asks for each series of the store whether to read that. */
async function chooseSeries(aside: LastingAside, { chosen }: RowsQuery): Promise<ChosenSeries> {
  const series: RowSeries[] = []
  const numbers: number[] = []
  let isAll = true
  for (let after = -1; ; ) {
    const [ids = [], measurements = [], tags = [], fields = [], types = []] = await aside.use(connection =>
      connection.columns(
        `SELECT id, ${guarded('measurement')}, tags, ${guarded('field')}, type FROM series WHERE id > $1
         ORDER BY id LIMIT ${pageSeries}`,
        [after],
      ),
    )
    for (const [i, id] of ids.entries()) {
      const one = {
        measurement: unguarded(measurements[i]),
        tags: JSON.parse(String(tags[i])) as Tags,
        field: unguarded(fields[i]),
        type: types[i] as FieldType,
      }
      if (!chosen.includes(one)) isAll = false
      else {
        if (numbers.length >= mostSeries) throw tooManySeries()
        series.push(one)
        numbers.push(Number(id))
      }
    }
    if (ids.length < pageSeries) return { series, ids: numbers, isAll }
    after = Number(ids.at(-1))
    // Other work of this thread has a turn.
    await new Promise(resolve => setImmediate(resolve))
  }
}

async function extentOf(aside: LastingAside, chosen: ChosenSeries, { from, to }: RowsQuery) {
  if (chosen.ids.length === 0 || from >= to) return undefined
  const bound: BoundValue[] = [BigInt(from), BigInt(to)]
  const filter = filterOf(chosen)
  const named = filter ? `AND series IN (SELECT unnest($${bound.push([...filter])}))` : ''
  const of = (table: Table) =>
    `SELECT min(time) AS first, max(time) AS last FROM ${table} WHERE time >= $1 AND time < $2 ${named}`
  const [[first] = [], [last] = []] = await aside.use(connection =>
    connection.columns(`SELECT min(first), max(last) FROM (${of('numbers')} UNION ALL ${of('texts')})`, bound),
  )
  return first == null ? undefined : { first: Number(first), last: Number(last) }
}

/** Writes rows to a Parquet file by one statement, which DuckDB runs in its own threads, a row group at a time. */
async function copyTo(connection: DuckDbAside, path: string, chosen: ChosenSeries, query: RowsQuery) {
  await connection.run('CREATE OR REPLACE TEMP TABLE chosen (id INTEGER)')
  for (let at = 0; !chosen.isAll && at < chosen.ids.length; at += pageSeries) {
    const some = chosen.ids.slice(at, at + pageSeries).map(BigInt)
    await connection.columns('INSERT INTO chosen SELECT unnest($1)', [some])
  }
  return { rows: await copyRows(connection, path, query.from, query.to, chosen.isAll) }
}

/** Tags as a JSON object, in SQL: from the column of the series. */
export const tagsAsObject = `to_json(map_from_entries(list_transform(from_json(tags, '[["VARCHAR"]]'), lambda p: {k: p[1], v: p[2]})))::VARCHAR`

/** Writes the rows of the series in `temp.chosen`, or of all. Resolves with their number. */
async function copyRows(connection: DuckDbAside, path: string, from: number, to: number, all = false): Promise<number> {
  const some = all ? '' : 'WHERE id IN (FROM temp.chosen)'
  const names = `(SELECT id, measurement, ${tagsAsObject} AS tags, field, type FROM series ${some})`
  const range = `time >= ${BigInt(from)} AND time < ${BigInt(to)}`
  const columns = 'make_timestamptz(time) AS time, measurement, tags, field, type'
  const number =
    "CASE WHEN type = 'number' THEN value END AS number, CASE WHEN type = 'boolean' THEN value = 1 END AS boolean"
  const [[rows] = []] = await connection.columns(
    `COPY (
       SELECT ${columns}, ${number}, NULL::VARCHAR AS text FROM numbers JOIN ${names} ON id = series WHERE ${range}
       UNION ALL
       SELECT ${columns}, NULL::DOUBLE, NULL::BOOLEAN, value FROM texts JOIN ${names} ON id = series WHERE ${range}
     ) TO '${path.replaceAll("'", "''")}' (FORMAT parquet, COMPRESSION zstd)`,
  )
  return Number(rows ?? 0)
}

function tooManySeries(): HubError {
  return new HubError('too_large', `more than ${mostSeries} series; select fewer series`)
}
