import {
  BIGINT,
  DOUBLE,
  type DuckDBAppender,
  type DuckDBConnection,
  DuckDBDataChunk,
  DuckDBInstance,
  type DuckDBType,
  type DuckDBValue,
  INTEGER,
  VARCHAR,
} from '@duckdb/node-api'
import { describe, HubError } from '../errors.js'
import { type FieldType, type FieldValue, fieldType, type Point, type Series, type Tags } from '../model.js'
import { compareSeries, FieldTypes, sift, windowWidth } from './points.js'
import type { Aggregate, Columns, HistoryQuery, RejectedPoint, TimeSeriesStore } from './store.js'

/** DuckDB's own vector size: no chunk holds more rows. */
const chunkRows = 2048

/** Late points this far apart in time are looked for separately, so that a scan skips all between them. */
const gapBetweenRanges = 3_600_000_000
const mostRanges = 16

const schema = `
  CREATE TABLE IF NOT EXISTS series (
    id INTEGER NOT NULL, measurement VARCHAR NOT NULL, tags VARCHAR NOT NULL, field VARCHAR NOT NULL,
    type VARCHAR NOT NULL, UNIQUE (measurement, tags, field));
  CREATE TABLE IF NOT EXISTS numbers (series INTEGER NOT NULL, time BIGINT NOT NULL, value DOUBLE NOT NULL);
  CREATE TABLE IF NOT EXISTS texts (series INTEGER NOT NULL, time BIGINT NOT NULL, value VARCHAR NOT NULL);
  CREATE TEMP TABLE late_numbers (series INTEGER NOT NULL, time BIGINT NOT NULL, value DOUBLE NOT NULL);
  CREATE TEMP TABLE late_texts (series INTEGER NOT NULL, time BIGINT NOT NULL, value VARCHAR NOT NULL);
`

const aggregateSql: Record<Aggregate, string> = {
  mean: 'avg(value)',
  min: 'min(value)',
  max: 'max(value)',
  first: 'arg_min(value, time)',
  last: 'arg_max(value, time)',
  sum: 'sum(value)',
  count: 'count(*)::DOUBLE',
}

/** A series as kept in memory: `time` is the newest stored, so a point after it needs no look at the disk. */
interface KnownSeries {
  readonly id: number
  readonly measurement: string
  readonly tags: Tags
  readonly field: string
  readonly type: FieldType
  time: number
  value: FieldValue
}

/** Booleans are 0 and 1 among the numbers. */
type Table = 'numbers' | 'texts'

/** The rows of one table in one write, as columns. */
class Rows {
  readonly series: number[] = []
  readonly times: bigint[] = []
  readonly values: (number | string)[] = []

  add(series: number, time: number, value: FieldValue): void {
    this.series.push(series)
    this.times.push(BigInt(time))
    this.values.push(typeof value === 'boolean' ? Number(value) : value)
  }
}

/** Rows that may be stored already; of several with the same identity only the last is kept. */
class LateRows extends Rows {
  readonly #positions = new Map<string, number>()

  override add(series: number, time: number, value: FieldValue): void {
    const key = `${series} ${time}`
    const position = this.#positions.get(key)
    if (position !== undefined) {
      this.values[position] = typeof value === 'boolean' ? Number(value) : value
      return
    }
    this.#positions.set(key, this.times.length)
    super.add(series, time, value)
  }
}

interface Batch {
  readonly created: KnownSeries[]
  readonly fresh: Record<Table, Rows>
  readonly late: Record<Table, LateRows>
}

type AppendTarget = Table | 'series' | 'late_numbers' | 'late_texts'

interface Database {
  readonly instance: DuckDBInstance
  readonly writer: DuckDBConnection
  readonly reader: DuckDBConnection
  readonly appenders: Record<AppendTarget, DuckDBAppender>
}

/**
 * The embedded store: one DuckDB file. Points newer than the newest of their series are appended without a
 * look at what is there; late and repeated ones replace what has their series and time. A write is one
 * transaction, durable when it resolves.
 */
export class DuckDbStore implements TimeSeriesStore {
  readonly #path: string
  #database: Database | undefined
  #stopped = true
  /** Measurement and tags in one unambiguous string → field → series. */
  readonly #series = new Map<string, Map<string, KnownSeries>>()
  readonly #types = new FieldTypes()
  #nextId = 1
  /** Writes, and separately reads, run one after the other: a connection holds one statement at a time. */
  #writes: Promise<unknown> = Promise.resolve()
  #reads: Promise<unknown> = Promise.resolve()

  constructor(options: { readonly path: string }) {
    this.#path = options.path
  }

  /** Rejects with `data_dir_locked` when another process has the file, `data_dir_unusable` when it is no database. */
  async start(): Promise<void> {
    this.#stopped = false
    await this.#inOrderOfWrites(() => this.#open())
  }

  write(points: readonly Point[]): Promise<readonly RejectedPoint[]> {
    return this.#inOrderOfWrites(async () => {
      const database = await this.#ready()
      const { good, rejected } = sift(points, this.#types)
      if (good.length === 0) return rejected
      try {
        await this.#commit(database, this.#sort(points, good))
      } catch (error) {
        // Whether the commit reached the disk is unknown, so memory is read from the disk again.
        await this.#close()
        throw new HubError('store_unavailable', `DuckDB did not store ${good.length} points: ${describe(error)}`, {
          cause: error,
        })
      }
      return rejected
    })
  }

  async history(query: HistoryQuery): Promise<Columns> {
    await this.#recovered()
    const { measurement, tags, field } = query.series
    const series = this.#series.get(groupKey(measurement, tags))?.get(field)
    if (!series) return { times: [], values: [] }
    return this.#inOrderOfReads(async reader => {
      const table = tableOf(series.type)
      const from = Math.ceil(query.from)
      const to = Math.ceil(query.to)
      const width = windowWidth(from, to, query.points)
      const where = `FROM ${table} WHERE series = $1 AND time >= $2 AND time < $3`
      const range = [series.id, BigInt(from), BigInt(to)]
      // In one transaction, so both statements see the same rows.
      await reader.run('BEGIN TRANSACTION READ ONLY')
      try {
        const fn = read(table, aggregateSql[series.type === 'number' ? query.fn : 'last'])
        const windows = await columns(
          reader,
          `SELECT (time - $2) // $4 AS w, ${fn}, count(*) ${where} GROUP BY w ORDER BY w`,
          [...range, BigInt(width)],
        )
        const [starts = [], aggregated = [], counts = []] = windows
        const readings = counts.reduce<number>((sum, count) => sum + Number(count), 0)
        if (readings > query.points) {
          return { times: starts.map(w => from + Number(w) * width), values: typed(aggregated, series.type) }
        }
        if (readings === 0) return { times: [], values: [] }
        const [times = [], values = []] = await columns(
          reader,
          `SELECT time, ${read(table, 'value')} ${where} ORDER BY time`,
          range,
        )
        return { times: times.map(Number), values: typed(values, series.type) }
      } finally {
        await reader.run('COMMIT')
      }
    })
  }

  async series(limit: number): Promise<readonly Series[]> {
    await this.#recovered()
    const all: Series[] = []
    for (const fields of this.#series.values()) {
      for (const { measurement, tags, field, type, time, value } of fields.values()) {
        if (time === Number.NEGATIVE_INFINITY) continue
        all.push({ measurement, tags, field, type, last: { time, value } })
      }
    }
    return all.sort(compareSeries).slice(0, limit)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#inOrderOfWrites(() => this.#close())
  }

  /** The points as rows. Moves the newest values in memory; a failed write has them loaded again. */
  #sort(points: readonly Point[], good: readonly number[]): Batch {
    const batch: Batch = {
      created: [],
      fresh: { numbers: new Rows(), texts: new Rows() },
      late: { numbers: new LateRows(), texts: new LateRows() },
    }
    for (const index of good) {
      const point = points[index] as Point
      const { measurement, tags, time } = point
      const key = groupKey(measurement, tags)
      let group = this.#series.get(key)
      if (!group) {
        group = new Map()
        this.#series.set(key, group)
      }
      for (const [field, value] of point.fields) {
        let series = group.get(field)
        if (!series) {
          const type = fieldType(value)
          const own = tags.filter(tag => tag[1] !== '')
          series = { id: this.#nextId++, measurement, tags: own, field, type, time: Number.NEGATIVE_INFINITY, value }
          group.set(field, series)
          batch.created.push(series)
        }
        const rows = time > series.time ? batch.fresh : batch.late
        rows[tableOf(series.type)].add(series.id, time, value)
        if (time >= series.time) {
          series.time = time
          series.value = value
        }
      }
    }
    return batch
  }

  async #commit({ writer, appenders }: Database, { created, fresh, late }: Batch): Promise<void> {
    await writer.run('BEGIN TRANSACTION')
    append(
      appenders.series,
      [INTEGER, VARCHAR, VARCHAR, VARCHAR, VARCHAR],
      [
        created.map(series => series.id),
        created.map(series => series.measurement),
        created.map(series => JSON.stringify(series.tags)),
        created.map(series => series.field),
        created.map(series => series.type),
      ],
    )
    for (const table of ['numbers', 'texts'] as const) {
      appendRows(appenders[table], table, fresh[table])
      if (late[table].times.length > 0) {
        appendRows(appenders[`late_${table}`], table, late[table])
        await replace(writer, table, late[table].times)
      }
    }
    await writer.run('COMMIT')
  }

  async #ready(): Promise<Database> {
    if (!this.#database && !this.#stopped) {
      await this.#open().catch(error => {
        throw new HubError('store_unavailable', describe(error), { cause: error })
      })
    }
    if (!this.#database) throw new HubError('store_unavailable', 'the DuckDB store is not started')
    return this.#database
  }

  /** Resolves when the database is open, which it is unless a write just failed. */
  async #recovered(): Promise<void> {
    if (!this.#database) await this.#inOrderOfWrites(() => this.#ready())
  }

  async #open(): Promise<void> {
    const instance = await DuckDBInstance.create(this.#path, { memory_limit: '512MB', threads: '2' }).catch(error => {
      throw unusable(this.#path, error)
    })
    try {
      const writer = await instance.connect()
      const reader = await instance.connect()
      await writer.run(schema)
      await this.#load(writer)
      const appender = (table: AppendTarget) =>
        table.startsWith('late_') ? writer.createAppender(table, 'main', 'temp') : writer.createAppender(table)
      const appenders = {
        series: await appender('series'),
        numbers: await appender('numbers'),
        texts: await appender('texts'),
        late_numbers: await appender('late_numbers'),
        late_texts: await appender('late_texts'),
      }
      this.#database = { instance, writer, reader, appenders }
    } catch (error) {
      instance.closeSync()
      throw unusable(this.#path, error)
    }
  }

  async #load(connection: DuckDBConnection): Promise<void> {
    this.#series.clear()
    this.#types.clear()
    this.#nextId = 1
    for (const table of ['numbers', 'texts'] as const) {
      const [ids = [], measurements = [], tags = [], fields = [], types = [], times = [], values = []] = await columns(
        connection,
        `SELECT id, ${guarded('measurement')}, tags, ${guarded('field')}, type, newest.time, ${read(table, 'newest.value')}
         FROM series JOIN (SELECT series, max(time) AS time, arg_max(value, time) AS value FROM ${table} GROUP BY series)
         AS newest ON newest.series = id`,
      )
      for (const [i, id] of ids.entries()) {
        const type = types[i] as FieldType
        const series: KnownSeries = {
          id: Number(id),
          measurement: unguarded(measurements[i]),
          tags: JSON.parse(String(tags[i])) as Tags,
          field: unguarded(fields[i]),
          type,
          time: Number(times[i]),
          value: typed([values[i] as DuckDBValue], type)[0] as FieldValue,
        }
        this.#remember(series)
      }
    }
  }

  #remember(series: KnownSeries): void {
    const key = groupKey(series.measurement, series.tags)
    const group = this.#series.get(key)
    if (group) group.set(series.field, series)
    else this.#series.set(key, new Map([[series.field, series]]))
    this.#types.set(series.measurement, series.field, series.type)
    this.#nextId = Math.max(this.#nextId, series.id + 1)
  }

  /** Also what a failed write does: the next call opens the file anew, which ends the open transaction. */
  async #close(): Promise<void> {
    const database = this.#database
    if (!database) return
    this.#database = undefined
    await this.#reads.catch(() => undefined)
    for (const appender of Object.values(database.appenders)) {
      try {
        appender.closeSync()
      } catch {
        // It held rows of the write that failed, and has told so already.
      }
    }
    database.reader.closeSync()
    database.writer.closeSync()
    database.instance.closeSync()
  }

  #inOrderOfWrites<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#writes.then(work)
    this.#writes = result.catch(() => undefined)
    return result
  }

  #inOrderOfReads<T>(work: (reader: DuckDBConnection) => Promise<T>): Promise<T> {
    const result = this.#reads.then(async () => {
      if (!this.#database) throw new HubError('store_unavailable', 'the DuckDB store is closed')
      return work(this.#database.reader)
    })
    this.#reads = result.catch(() => undefined)
    return result.catch(error => {
      if (error instanceof HubError) throw error
      throw new HubError('store_unavailable', `DuckDB did not answer: ${describe(error)}`, { cause: error })
    })
  }
}

function tableOf(type: FieldType): Table {
  return type === 'text' ? 'texts' : 'numbers'
}

/** Lengths before the parts: no text inside them can make two keys equal. A tag with no value is no tag. */
function groupKey(measurement: string, tags: Tags): string {
  let key = `${measurement.length}:${measurement}`
  for (const [name, value] of tags) if (value) key += `${name.length}:${name}${value.length}:${value}`
  return key
}

/** The driver takes a byte order mark at the beginning of a text for nothing: so no text begins with one. */
function guarded(expression: string): string {
  return `'.' || ${expression}`
}

function unguarded(text: DuckDBValue | undefined): string {
  return String(text).slice(1)
}

function read(table: Table, expression: string): string {
  return table === 'texts' ? guarded(expression) : expression
}

function typed(values: readonly DuckDBValue[], type: FieldType): FieldValue[] {
  if (type === 'text') return values.map(unguarded)
  return type === 'boolean' ? values.map(value => value === 1) : values.map(Number)
}

async function columns(
  connection: DuckDBConnection,
  sql: string,
  values: DuckDBValue[] = [],
): Promise<DuckDBValue[][]> {
  const types = values.map(value => (typeof value === 'bigint' ? BIGINT : INTEGER))
  return (await connection.runAndReadAll(sql, values, types)).getColumns()
}

function appendRows(appender: DuckDBAppender, table: Table, rows: Rows): void {
  const types = [INTEGER, BIGINT, table === 'texts' ? VARCHAR : DOUBLE]
  append(appender, types, [rows.series, rows.times, rows.values])
}

function append(appender: DuckDBAppender, types: readonly DuckDBType[], data: readonly DuckDBValue[][]): void {
  const count = data[0]?.length ?? 0
  for (let start = 0; start < count; start += chunkRows) {
    const chunk = DuckDBDataChunk.create(types, Math.min(chunkRows, count - start))
    for (const [column, values] of data.entries()) chunk.setColumnValues(column, values.slice(start, start + chunkRows))
    appender.appendDataChunk(chunk)
  }
  if (count > 0) appender.flushSync()
}

/** Puts the staged rows in the place of those with the same series and time, of this very transaction too. */
async function replace(writer: DuckDBConnection, table: Table, times: readonly bigint[]): Promise<void> {
  for (const [first, last] of ranges(times)) {
    await writer.run(
      `DELETE FROM ${table} USING late_${table} AS late
       WHERE ${table}.time BETWEEN ${first} AND ${last} AND ${table}.series = late.series AND ${table}.time = late.time`,
    )
  }
  await writer.run(`INSERT INTO ${table} SELECT * FROM late_${table}; DELETE FROM late_${table}`)
}

function ranges(times: readonly bigint[]): [first: bigint, last: bigint][] {
  const result: [bigint, bigint][] = []
  for (const time of [...times].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))) {
    const range = result.at(-1)
    if (range && (time - range[1] < gapBetweenRanges || result.length === mostRanges)) range[1] = time
    else result.push([time, time])
  }
  return result
}

function unusable(path: string, error: unknown): HubError {
  if (error instanceof HubError) return error
  const text = describe(error)
  return /lock on file|file handle conflict/i.test(text)
    ? new HubError('data_dir_locked', `${path} is in use by another process: ${text}`, { cause: error })
    : new HubError('data_dir_unusable', `${path} cannot be used as the DuckDB database: ${text}`, { cause: error })
}
