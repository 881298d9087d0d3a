import { describe, HubError } from '../errors.js'
import { type FieldValue, fieldType, type Point, type Series, type SeriesId, type Tags } from '../model.js'
import type { IncidentReporter } from '../observe/incidents.js'
import { SerialQueue } from '../runtime/serial-queue.js'
import { type AdaptedPoint, FieldTypes, fieldKey, type StoredType, typeOfKind } from './field-types.js'
import { HistoryRows } from './history-rows.js'
import { BatchWriter, type PointRefusal, type WriteOutcome } from './influx-batch.js'
import { DatabaseMissing, type InfluxAddress, InfluxConnection } from './influx-connection.js'
import { serverOf } from './influx-kind.js'
import type { RetentionPolicies } from './influx-policy.js'
import type { InfluxServer, ResultSeries, StatementResult } from './influx-server.js'
import { decodeStored, storedKey, storedMeasurement, storedText } from './line-protocol.js'
import { besides, compareSeries, windowWidth } from './points.js'
import type { Columns, HistoryQuery, RejectedPoint, SeriesPage, SeriesQuery, TimeSeriesStore } from './store.js'

/** Statements in one request for the newest value of every field. */
const statementsPerQuery = 200

export interface InfluxStoreOptions extends InfluxAddress {
  readonly incidents?: IncidentReporter
}

/**
 * InfluxDB 1.x, 2.x or 3.x. Which one answers is asked before the first request, and again after a failure. The database is
 * created when a write finds none.
 */
export class InfluxStore implements TimeSeriesStore {
  readonly rows = new HistoryRows(this)
  readonly #connection: InfluxConnection
  readonly database: string
  /** The server that answers, or the question for the version. */
  #server: Promise<InfluxServer> | undefined
  readonly #types = new FieldTypes()
  #typesLoaded = false
  readonly #batches = new BatchWriter(lines => this.#post(lines))
  /** Writes run one after the other: of two for one series and time the later must win. */
  readonly #writes = new SerialQueue()

  readonly #incidents: IncidentReporter | undefined
  /** True once data was found or stored in the database: if the database is missing later, the database was dropped. */
  #wasThere = false
  readonly policies: RetentionPolicies = {
    usual: () => this.#use(({ policies }) => policies.usual()),
    alter: (name, keptMs) => this.#use(({ policies }) => policies.alter(name, keptMs)),
  }

  constructor(options: InfluxStoreOptions) {
    this.#incidents = options.incidents
    this.#connection = new InfluxConnection(options)
    this.database = this.#connection.database
  }

  /** Address for people, without user and password. */
  get place(): string {
    return this.#connection.place
  }

  /** Resolves with the server's header `Date`. */
  async date(): Promise<string | null> {
    return (await this.#connection.ask('/ping')).headers.get('date')
  }

  /** Resolves with the version that the server names. Rejects with `store_unavailable`, also for what is no InfluxDB. */
  version(): Promise<string> {
    return this.#use(async ({ version }) => version)
  }

  /** Does not contact the server: one that is down fails the first write or read. */
  async start(): Promise<void> {}

  /** Returns undefined: the server stores no progress. */
  async last(): Promise<undefined> {}

  write(points: readonly Point[]): Promise<readonly RejectedPoint[]> {
    return this.#writes.run(() => this.#write(points))
  }

  fieldOf({ measurement, field }: SeriesId, value: FieldValue): string {
    return this.#types.fieldOf(measurement, field, value)
  }

  async history(query: HistoryQuery): Promise<Columns> {
    const { measurement, field } = query.series
    const found = await this.#history(query)
    if (found.times.length > 0) return found
    if (!this.#typesLoaded) await this.#loadTypes()
    for (const beside of besides(field)) {
      if (this.#types.get(measurement, beside) === undefined) continue
      const columns = await this.#history({ ...query, series: { ...query.series, field: beside } })
      if (columns.times.length > 0) return columns
    }
    return found
  }

  async #history({ series, from: start, to: end, points, fn }: HistoryQuery): Promise<Columns> {
    const from = Math.ceil(start)
    const to = Math.ceil(end)
    const tags = series.tags.filter(([, value]) => value !== '')
    const field = `${identifier(storedKey(series.field))}::field`
    const conditions = tags.map(
      ([name, value]) => `${identifier(storedKey(name))}::tag = ${stringLiteral(storedText(value))}`,
    )
    conditions.push(`time >= ${from}u`, `time < ${to}u`)
    // By all tags: a series that has these tags and others as well must not be mixed in.
    const source = `FROM ${identifier(storedMeasurement(series.measurement))} WHERE ${conditions.join(' AND ')} GROUP BY *`
    const select = async (statement: string): Promise<Columns> => {
      const [result] = await this.#query([statement])
      const wanted = JSON.stringify(tags)
      const rows = result?.series?.find(found => JSON.stringify(tagsOf(found)) === wanted)?.values ?? []
      return { times: rows.map(([time]) => Number(time)), values: rows.map(([, value]) => value) }
    }
    const raw = await select(`SELECT ${field} ${source} ORDER BY time LIMIT ${points + 1}`)
    if (raw.times.length <= points) return raw
    const width = windowWidth(from, to, points)
    const offset = ((from % width) + width) % width
    const aggregate = typeof raw.values[0] === 'number' ? fn : 'last'
    const windows = await select(`SELECT ${aggregate}(${field}) ${source}, time(${width}u, ${offset}u) fill(none)`)
    return { ...windows, window: width }
  }

  /** Pages are in the order of measurement, field, tags. */
  async series({ after, limit, words = [] }: SeriesQuery): Promise<SeriesPage> {
    const begin = after === undefined ? undefined : parseCursor(after)
    const fields = (await this.#fieldKeys())
      .sort((a, b) => compareText(a.measurement, b.measurement) || compareText(a.field, b.field))
      .filter(key => !begin || compareCursors([key.measurement, key.field, begin[2]], begin) >= 0)
    const all: { readonly cursor: PageCursor; readonly series: Series }[] = []
    let start = 0
    for (; start < fields.length && all.length <= limit; start += statementsPerQuery) {
      const some = fields.slice(start, start + statementsPerQuery)
      const results = await this.#query(
        some.map(
          ({ measurement, field }) =>
            `SELECT last(${identifier(field)}::field) FROM ${identifier(measurement)} GROUP BY *`,
        ),
      )
      for (const [i, { measurement, field }] of some.entries()) {
        for (const found of results[i]?.series ?? []) {
          const [time, value] = found.values[0] as readonly [number, FieldValue]
          const tags = tagsOf(found)
          const cursor: PageCursor = [measurement, field, JSON.stringify(tags)]
          if (begin && compareCursors(cursor, begin) <= 0) continue
          const names = `${decodeStored(measurement)} ${cursor[2]} ${decodeStored(field)}`.toLowerCase()
          if (!words.every(word => names.includes(word))) continue
          const series = {
            measurement: decodeStored(measurement),
            tags,
            field: decodeStored(field),
            type: fieldType(value),
            last: { time, value },
          }
          all.push({ cursor, series })
        }
      }
    }
    all.sort((a, b) => compareCursors(a.cursor, b.cursor))
    const page = all.slice(0, limit)
    const isMore = all.length > limit || start < fields.length
    return {
      series: page.map(({ series }) => series).sort(compareSeries),
      next: isMore && page.length > 0 ? JSON.stringify(page.at(-1)?.cursor) : undefined,
    }
  }

  /** InfluxDB has no statement that renames a series, retypes a field, or deletes one field of a series. */
  async change(): Promise<never> {
    throw new HubError(
      'bad_request',
      'InfluxDB cannot change a series; its own client can delete whole ones (DROP SERIES), and a mapping can name them anew',
    )
  }

  /** Aborts the requests under way. */
  async stop(): Promise<void> {
    this.#connection.stop()
    await this.#writes.idle()
  }

  async #write(points: readonly Point[]): Promise<readonly RejectedPoint[]> {
    const rejected = new Map<number, RejectedPoint>()
    const reject = (one: RejectedPoint) => rejected.set(one.index, one)
    /** Types that InfluxDB named in refusals of values. Within a shard they override the known types. */
    const named = new Map<string, StoredType>()
    let left = points.map((_, index) => index)
    let wasMade = false
    do {
      if (!this.#typesLoaded) await this.#loadTypes()
      this.#types.keep()
      const adapted: AdaptedPoint[] = []
      const good: number[] = []
      const refused: RejectedPoint[] = []
      for (const index of left) {
        const point = points[index] as Point
        const fitted = this.#types.adapt(point, named)
        if ('reason' in fitted) refused.push({ ...fitted, index })
        else {
          if (fitted.refused) refused.push(fitted.refused.rejection(index, point.fields.length))
          adapted[index] = fitted
          good.push(index)
        }
      }
      let written: WriteOutcome = { refused: [], fixed: [] }
      try {
        if (good.length > 0) written = await this.#batches.write(adapted, good)
      } catch (error) {
        if (!(error instanceof DatabaseMissing) || wasMade) throw error
        wasMade = true
        await this.#createDatabase()
        // The fields are gone with the database: all that is left is adapted again.
        this.#types.clear()
        continue
      }
      refused.forEach(reject)
      if (written.refused.length === 0) break
      this.#learn(adapted, good, written)
      const before = named.size
      for (const { measurement, field, type } of written.fixed) named.set(fieldKey(measurement, field), type)
      // Values refused for their type go to the field beside, as long as new types are learnt.
      const again = written.refused.filter(({ reason }) => reason === 'type_conflict' && named.size > before)
      for (const one of written.refused) if (!again.includes(one)) reject(one)
      left = again.map(({ index }) => index).sort((a, b) => a - b)
    } while (left.length > 0)
    return [...rejected.values()].sort((a, b) => a.index - b.index)
  }

  /** Learns types. Only stored values fix a type; then come the types that InfluxDB named. */
  #learn(points: readonly AdaptedPoint[], good: readonly number[], { refused, fixed }: WriteOutcome): void {
    this.#types.forget()
    const bad = new Set(refused.map(({ index }) => index))
    for (const index of good) if (!bad.has(index)) this.#types.adapt((points[index] as AdaptedPoint).point)
    for (const { measurement, field, type } of fixed) {
      const known = this.#types.get(measurement, field)
      if (known === undefined) this.#types.set(measurement, field, type)
      else if (known !== type) this.#typesLoaded = false
    }
  }

  /** Sends one request. Throws when the answer is not about the points. */
  async #post(lines: string): Promise<PointRefusal | undefined> {
    const refusal = await this.#use(server => server.write(lines))
    if (!refusal) this.#wasThere = true
    return refusal
  }

  async #createDatabase(): Promise<void> {
    try {
      await this.#use(server => server.createDatabase())
      if (this.#wasThere) {
        this.#incidents?.report(
          'store_dropped',
          `InfluxDB had lost the database '${this.database}', which was created again: its readings are lost`,
        )
      }
    } catch (error) {
      const asked = error instanceof HubError ? error.retryAfterMs : undefined
      throw new HubError(
        'store_unavailable',
        `InfluxDB has no database '${this.database}', and creating it failed: ${describe(error)}`,
        { cause: error, retryAfterMs: asked },
      )
    }
  }

  /**
   * Returns the fields by InfluxDB's names. Of several types of a field, the first is the one that a query would take.
   */
  async #fieldKeys(): Promise<{ measurement: string; field: string; type: StoredType }[]> {
    const [result] = await this.#query(['SHOW FIELD KEYS'])
    const keys: { measurement: string; field: string; type: StoredType }[] = []
    for (const { name, values } of result?.series ?? []) {
      const seen = new Set<string>()
      for (const [key, kind] of values) {
        const field = String(key)
        if (seen.has(field)) continue
        seen.add(field)
        keys.push({ measurement: name, field, type: typeOfKind(kind) })
      }
    }
    return keys
  }

  /**
   * Loads the types of all fields. InfluxDB 1.x and 2.x enforce the type of a field only within a shard, which is a week.
   */
  async #loadTypes(): Promise<void> {
    const keys = await this.#fieldKeys()
    this.#types.clear()
    if (keys.length > 0) this.#wasThere = true
    for (const { measurement, field, type } of keys) {
      this.#types.set(decodeStored(measurement), decodeStored(field), type)
    }
    this.#typesLoaded = true
  }

  /** Returns one result a statement. Empty when the database does not exist yet. */
  #query(statements: readonly string[]): Promise<readonly StatementResult[]> {
    return this.#use(server => server.query(statements))
  }

  /** Uses the server. After a failure the version is asked anew: another server may answer by then. */
  async #use<T>(use: (server: InfluxServer) => Promise<T>): Promise<T> {
    this.#server ??= serverOf(this.#connection)
    const asked = this.#server
    try {
      return await use(await asked)
    } catch (error) {
      if (this.#server === asked && !(error instanceof DatabaseMissing)) this.#server = undefined
      throw error
    }
  }
}

/** Measurement, field and tags by InfluxDB's names: the end of a page of series. */
type PageCursor = readonly [measurement: string, field: string, tags: string]

function parseCursor(text: string): PageCursor | undefined {
  try {
    const cursor = JSON.parse(text) as unknown
    const isCursor = Array.isArray(cursor) && cursor.length === 3 && cursor.every(part => typeof part === 'string')
    return isCursor ? (cursor as unknown as PageCursor) : undefined
  } catch {
    return undefined
  }
}

function compareCursors(a: PageCursor, b: PageCursor): number {
  return compareText(a[0], b[0]) || compareText(a[1], b[1]) || compareText(a[2], b[2])
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/**
 * Returns the tags of a series. InfluxDB names every tag of the measurement; those this series does not have are empty.
 */
function tagsOf(found: ResultSeries): Tags {
  return Object.entries(found.tags ?? {})
    .filter(([, value]) => value !== '')
    .map(([name, value]) => [decodeStored(name), decodeStored(value)] as const)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
}

/** Quotes a name. Stored names hold no line ends, so only quotes and backslashes are escaped. */
function identifier(name: string): string {
  return `"${name.replace(/["\\]/g, '\\$&')}"`
}

function stringLiteral(text: string): string {
  return `'${text.replace(/['\\]/g, '\\$&')}'`
}
