import { rmSync } from 'node:fs'
import { describe, HubError } from '../errors.js'
import { type FieldType, type FieldValue, fieldType, type Point, type SeriesId, type Tags } from '../model.js'
import type { IncidentReporter } from '../observe/incidents.js'
import { SerialQueue } from '../runtime/serial-queue.js'
import type { MillisecondClock } from '../runtime/time.js'
import { changeSeries } from './duckdb-changes.js'
import { DuckDbExport } from './duckdb-export.js'
import { DuckDbFile, missingFiles, setAside, sizeOf, tellsOfDamage } from './duckdb-file.js'
import { readHistory } from './duckdb-history.js'
import { newestOf } from './duckdb-newest.js'
import { DuckDbQuestions } from './duckdb-query.js'
import { DuckDbReader } from './duckdb-reader.js'
import { DuckDbRetention } from './duckdb-retention.js'
import { RollUpTurns } from './duckdb-roll-turns.js'
import { Roller } from './duckdb-roller.js'
import { appendRows, appendSeries, type Created, type Placed, rowsOf } from './duckdb-rows.js'
import { guarded, having, prepareDatabase, replaceStaged, unguarded } from './duckdb-sql.js'
import { DuckDbSwaps } from './duckdb-swap.js'
import { swapTables } from './duckdb-swap-schema.js'
import { type KnownSeries, SeriesCache, type SeriesGroup, type Wanted, wanted } from './known-series.js'
import { NativeCalls } from './native-calls.js'
import {
  besideOf,
  besides,
  beyondRetention,
  compareSeries,
  faultOf,
  faultyFields,
  fieldTaking,
  maxBesides,
  RefusedFields,
  typeConflict,
} from './points.js'
import type {
  Columns,
  HeldStore,
  HistoryQuery,
  LastStored,
  RejectedPoint,
  SeriesChange,
  SeriesPage,
  SeriesQuery,
  TimeSeriesStore,
} from './store.js'

export { ParquetRows } from './parquet-file.js'

/** Series held in memory. The others are looked up when they are written or asked for. */
const cachedSeries = 100_000

export interface DuckDbStoreOptions {
  readonly path: string
  readonly incidents?: IncidentReporter
  /** Milliseconds since the epoch. */
  readonly clock?: MillisecondClock
  /** Series held in memory. */
  readonly cached?: number
  /** False: roll-ups are made only by {@link DuckDbStore.rollUp}. */
  readonly rollsUp?: boolean
  /** Folder with the readings of whole days. */
  readonly days?: string | undefined
}

/**
 * The embedded store: one DuckDB file. Points newer than the newest of their series are appended without a look at the
 * stored ones. Late and repeated points replace those of the same series and time. A write is one transaction, durable
 * when the write resolves. A damaged file is set aside, and a new one created.
 */
export class DuckDbStore implements TimeSeriesStore {
  readonly #path: string
  readonly #incidents: IncidentReporter | undefined
  readonly #clock: MillisecondClock
  readonly #cache: SeriesCache
  readonly #calls = new NativeCalls()
  #file: DuckDbFile | undefined
  #last: LastStored = { sequence: undefined, isNew: false }
  readonly #roller: Roller
  readonly #turns: RollUpTurns
  #stopped = true
  #held: NodeJS.Timeout | undefined
  #nextId = 1
  /** Damage inside the file that a statement has met: the file is set aside at the next opening. */
  #damage: string | undefined
  /** Writes, and separately reads, run one after the other: a connection holds one statement at a time. */
  readonly #writes = new SerialQueue()
  readonly #reads = new SerialQueue()
  readonly reader = new DuckDbReader(() => this.#opened())
  readonly retention: DuckDbRetention
  readonly rows: DuckDbExport
  readonly sql = new DuckDbQuestions(() => this.#opened())
  readonly swaps = new DuckDbSwaps({
    between: (work, isChanging) => this.#between(work, isChanging),
    place: async (file, points, rejected) => {
      const { placed, created } = await this.#place(file, points, rejected)
      appendSeries(file, created)
      return placed
    },
  })

  constructor({ path, incidents, clock = Date, cached, rollsUp = true, days }: DuckDbStoreOptions) {
    this.#path = path
    this.rows = new DuckDbExport(() => this.#opened(), days, incidents)
    this.#incidents = incidents
    this.#clock = clock
    this.#cache = new SeriesCache(cached ?? cachedSeries)
    this.#roller = new Roller(clock)
    const rolling = { file: () => this.#file, failed: (error: unknown) => this.#failed(error), isAutomatic: rollsUp }
    this.#turns = new RollUpTurns(this.#roller, this.#writes, rolling)
    this.retention = new DuckDbRetention({
      path,
      between: work => this.#between(work),
      ask: question => this.reader.ask(question),
      rolled: () => this.#roller.progress,
    })
  }

  /**
   * Rejects with `data_dir_locked` when another process has the file. Rejects with `store_unavailable` when the file
   * cannot be opened now, as on a full disk: then each write and read tries again.
   */
  async start(): Promise<void> {
    this.#stopped = false
    this.#turns.start()
    await this.#writes.run(() => this.#open())
  }

  async last(): Promise<LastStored> {
    return this.#writes.run(async () => {
      await this.#ready()
      return this.#last
    })
  }

  write(points: readonly Point[], sequence?: number): Promise<readonly RejectedPoint[]> {
    return this.#writes.run(async () => {
      if (points.length === 0 && sequence === undefined) return []
      const file = await this.#ready()
      try {
        this.#cache.trim()
        const rejected: RejectedPoint[] = []
        const { placed, created } = await this.#place(file, points, rejected)
        if (placed.length > 0 || sequence !== undefined) await this.#commit(file, placed, created, sequence)
        return rejected.sort((a, b) => a.index - b.index)
      } catch (error) {
        // Whether the commit reached the disk is unknown: memory is loaded from the disk again.
        await this.#failed(error)
        throw new HubError('store_unavailable', `DuckDB did not store ${points.length} points: ${describe(error)}`, {
          cause: error,
        })
      }
    })
  }

  fieldOf({ measurement, tags, field }: SeriesId, value: FieldValue): string {
    const type = fieldType(value)
    const isOther = (name: string) => (this.#cache.peek(measurement, tags, name)?.type ?? type) !== type
    return fieldTaking(field, type, isOther) ?? field
  }

  async history(query: HistoryQuery): Promise<Columns> {
    await this.#recovered()
    const { measurement, tags, field } = query.series
    const group: SeriesGroup = {
      measurement,
      tags: tags.filter(([, value]) => value !== ''),
      fields: new Map(),
      isCurrent: false,
    }
    return this.#inOrderOfReads(async file => {
      // Values of other types are in the fields beside this one.
      const names = [field, ...besides(field)].map(name => wanted(group, name))
      const found = await this.#lookUp(file, 'reader', names)
      let empty: Columns = { times: [], values: [] }
      for (const name of names) {
        const series = found.get(name)
        const archive = series && { days: this.rows.days, textsFrom: this.retention.from(series.id, true) }
        const columns = series && (await readHistory(file, series, query, archive))
        if (columns && columns.times.length > 0) return columns
        // The answer that was read first is complete up to the lowest number.
        if (empty.sequence === undefined && columns) empty = columns
      }
      return empty
    })
  }

  async series({ after, limit, words = [] }: SeriesQuery): Promise<SeriesPage> {
    await this.#recovered()
    return this.#inOrderOfReads(async file => {
      const from = after === undefined ? 0 : Number(after)
      const [ids = [], measurements = [], tags = [], fields = [], types = []] = await file.columns(
        'reader',
        `SELECT id, ${guarded('measurement')}, tags, ${guarded('field')}, type FROM series WHERE id > $1 ${words.map(having).join(' ')}
         ORDER BY id LIMIT $2`,
        [Number.isSafeInteger(from) && from < 2 ** 31 ? from : 0, limit + 1],
      )
      const named = ids.slice(0, limit).map((id, i) => ({
        id: Number(id),
        measurement: unguarded(measurements[i]),
        tags: JSON.parse(String(tags[i])) as Tags,
        field: unguarded(fields[i]),
        type: types[i] as FieldType,
      }))
      const newest = await newestOf(file, this.#cache, named)
      const series = named.flatMap(({ id, ...name }) => {
        const last = newest.get(id)
        return last ? [{ ...name, last }] : []
      })
      return { series: series.sort(compareSeries), next: ids.length > limit ? String(named.at(-1)?.id) : undefined }
    })
  }

  change(change: SeriesChange): Promise<void> {
    return this.#alone(async () => {
      const file = await this.#ready()
      await file.run('BEGIN TRANSACTION')
      try {
        if (await changeSeries(file, change, this.#nextId)) this.#nextId++
        await file.run('COMMIT')
      } catch (error) {
        if (error instanceof HubError) throw error
        this.#met(error)
        throw new HubError('store_unavailable', `DuckDB did not change the series: ${describe(error)}`)
      } finally {
        // What memory knows of the series is not so any more. An open transaction is undone.
        await this.#close()
      }
    })
  }

  hold(ms: number): Promise<HeldStore> {
    return this.#alone(async () => {
      const file = await this.#ready()
      await file.run("SET wal_autocheckpoint = '1TB'")
      clearTimeout(this.#held)
      // The caller may be gone without a word.
      this.#held = setTimeout(() => this.release().catch(() => {}), ms).unref()
      return { logBytes: sizeOf(`${this.#path}.wal`) }
    })
  }

  release(): Promise<void> {
    clearTimeout(this.#held)
    return this.#writes.run(async () => this.#file?.run('RESET GLOBAL wal_autocheckpoint'))
  }

  /**
   * Does a piece of the work on the roll-ups, which the store else does by itself, beside the writes. Resolves with
   * whether there is more to do at once. Rejects with `store_unavailable`: nothing of the piece is done.
   */
  rollUp(): Promise<boolean> {
    return this.#turns.turn()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#turns.stop()
    clearTimeout(this.#held)
    await this.#writes.run(() => this.#close())
  }

  async abandon(): Promise<void> {
    this.#stopped = true
    this.#turns.stop()
    // A long answer would delay the end, and is of no use any more.
    this.#file?.interruptReads()
    this.rows.interrupt()
    this.sql.interrupt()
    await this.#calls.end()
    this.#file?.close()
  }

  /**
   * Decides which series takes each value. Series that are not in memory are looked up, all at once. Those not in the
   * database begin here. Resolves when no name is unknown any more: a value of another type goes on to the field
   * beside, which may be unknown, too.
   */
  async #place(file: DuckDbFile, points: readonly Point[], rejected: RejectedPoint[]) {
    const faults = new Map<number, RejectedPoint>()
    const faulty = new Map<number, RefusedFields>()
    for (const [index, point] of points.entries()) {
      const fault = faultOf(point)
      if (fault) faults.set(index, { index, ...fault })
      else {
        const fields = faultyFields(point)
        if (fields) faulty.set(index, fields)
      }
    }
    const created: Created[] = []
    for (;;) {
      const unknown: Wanted[] = []
      const placed: Placed[] = []
      for (const [index, point] of points.entries()) {
        if (faults.has(index)) continue
        const group = this.#cache.group(point.measurement, point.tags)
        let refused = faulty.get(index)
        for (const [field, value] of point.fields) {
          if (refused?.has(field)) continue
          const name = this.#nameFor(group, point, field, value)
          if (name === undefined) {
            refused ??= new RefusedFields()
            refused.add(field, typeConflict(point.measurement, field))
            faulty.set(index, refused)
            continue
          }
          const known = group.fields.get(name)
          const from = typeof known === 'object' ? this.retention.from(known.id, known.type === 'text') : point.time
          if (point.time < from) {
            refused ??= new RefusedFields()
            refused.add(field, beyondRetention(point.measurement, field, from))
            faulty.set(index, refused)
          } else if (typeof known === 'object') placed.push({ series: known, time: point.time, value })
          else if (known === 'absent') {
            const series = this.#begin(value)
            group.fields.set(name, series)
            created.push({ ...wanted(group, name), series })
            placed.push({ series, time: point.time, value })
          } else if (known === undefined) {
            group.fields.set(name, 'asked')
            this.#cache.grown()
            unknown.push(wanted(group, name))
          }
        }
      }
      if (unknown.length === 0) {
        rejected.push(...faults.values())
        for (const [index, refused] of faulty)
          rejected.push(refused.rejection(index, points[index]?.fields.length ?? 0))
        return { placed, created }
      }
      const found = await this.#lookUp(file, 'writer', unknown)
      for (const name of unknown) name.group.fields.set(name.field, found.get(name) ?? 'absent')
    }
  }

  #begin(value: FieldValue): KnownSeries {
    return { id: this.#nextId++, type: fieldType(value), time: Number.NEGATIVE_INFINITY, value: undefined }
  }

  /** Returns the field that takes a value: the field itself, or one beside when that is of another type. */
  #nameFor({ fields }: SeriesGroup, point: Point, field: string, value: FieldValue): string | undefined {
    const type = fieldType(value)
    let name = field
    for (let step = 0; step <= maxBesides; step++) {
      const known = fields.get(name)
      const isOther = typeof known === 'object' && known.type !== type
      // A field of the point itself is not replaced by another one.
      const isTaken = step > 0 && point.fields.some(([other]) => other === name)
      if (!isOther && !isTaken) return name
      name = besideOf(name, type)
    }
    return undefined
  }

  /** Returns the series of names, as far as the database has them. */
  async #lookUp(
    file: DuckDbFile,
    by: 'writer' | 'reader',
    names: readonly Wanted[],
  ): Promise<Map<Wanted, KnownSeries>> {
    const found = new Map<Wanted, KnownSeries>()
    const byHash = new Map(names.map(name => [name.first, name]))
    const [ids = [], types = [], firsts = [], seconds = []] = await file.columns(
      by,
      'SELECT id, type, first_hash, second_hash FROM series WHERE first_hash IN (SELECT unnest($1))',
      [[...byHash.keys()]],
    )
    for (const [i, id] of ids.entries()) {
      const name = byHash.get(firsts[i] as bigint)
      if (name?.second !== seconds[i]) continue
      const time = this.#cache.highest
      found.set(name as Wanted, { id: Number(id), type: types[i] as FieldType, time, value: undefined })
    }
    return found
  }

  async #commit(
    file: DuckDbFile,
    placed: readonly Placed[],
    created: readonly Created[],
    sequence: number | undefined,
  ) {
    const { fresh, late } = rowsOf(placed)
    await file.run('BEGIN TRANSACTION')
    appendSeries(file, created)
    for (const table of ['numbers', 'texts'] as const) {
      appendRows(file, table, table, fresh[table])
      if (late[table].times.length > 0) {
        appendRows(file, `temp.late_${table}`, table, late[table])
        await replaceStaged(file, table, late[table].times)
      }
    }
    const marks = this.#roller.marks(placed)
    file.append('stale', [
      ['integer', marks.series],
      ['bigint', marks.hours],
    ])
    if (sequence !== undefined) {
      await file.run(`UPDATE progress SET sequence = greatest(coalesce(sequence, 0), ${sequence})`)
    }
    await file.run('COMMIT')
    if (sequence !== undefined) {
      this.#last = { ...this.#last, sequence: Math.max(this.#last.sequence ?? 0, sequence) }
    }
  }

  /** Runs work between two writes, while no roll-up is made. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    return this.#writes.run(async () => {
      await this.#turns.idle()
      return work()
    })
  }

  /** Runs work between two writes. After work that fails the file is opened again, which ends an open transaction. */
  #between<T>(work: (file: DuckDbFile) => Promise<T>, isChanging = false): Promise<T> {
    return this.#alone(async () => {
      const file = await this.#ready()
      try {
        const result = await work(file)
        // What memory knows of the series is not so any more.
        if (isChanging) await this.#close()
        return result
      } catch (error) {
        await this.#failed(error)
        throw new HubError('store_unavailable', `DuckDB did not do this: ${describe(error)}`, { cause: error })
      }
    })
  }

  async #ready(): Promise<DuckDbFile> {
    if (!this.#file && !this.#stopped) {
      await this.#open().catch(error => {
        throw new HubError('store_unavailable', describe(error), { cause: error })
      })
    }
    if (!this.#file) throw new HubError('store_unavailable', 'the DuckDB store is not started')
    return this.#file
  }

  async #opened(): Promise<DuckDbFile> {
    await this.#recovered()
    if (!this.#file) throw new HubError('store_unavailable', 'the DuckDB store is closed')
    return this.#file
  }

  /** Resolves when the database is open. Opens the database again after a failed start or write. */
  async #recovered(): Promise<void> {
    if (!this.#file) await this.#writes.run(() => this.#ready())
  }

  /** Opens the file. Damage is set aside: first the log beside the database, then the database. */
  async #open(): Promise<void> {
    if (this.#file) return
    if (this.#damage !== undefined) this.#setAside('database', this.#damage)
    this.#damage = undefined
    for (const next of ['wal', 'database', undefined] as const) {
      const missing = missingFiles(this.#path)
      try {
        await this.#openFile()
        return
      } catch (error) {
        // A file that a full disk left unfinished holds nothing. The next attempt would take that file for a damaged
        // one.
        for (const begun of missing) rmSync(begun, { force: true })
        if (!(error instanceof HubError) || error.code !== 'data_dir_unusable' || !next) throw error
        this.#setAside(next, error.message)
      }
    }
  }

  #setAside(what: 'wal' | 'database', why: string): void {
    let aside: string | undefined
    try {
      aside = setAside(this.#path, what, this.#clock.now())
      if (what === 'database') setAside(this.#path, 'wal', this.#clock.now())
    } catch (error) {
      throw new HubError(
        'store_unavailable',
        `${this.#path} is damaged (${why}) and could not be renamed (${describe(error)}): move it away`,
      )
    }
    if (aside === undefined) return
    const text =
      what === 'wal'
        ? `the write-ahead log of the store was damaged and is ${aside} now; the store continues from its last checkpoint`
        : `the store was damaged and is ${aside} now; a new one is created, and filled from the spool`
    this.#incidents?.report('store_damaged', `${text} (${why})`)
  }

  async #openFile(): Promise<void> {
    let isNew = false
    const file = await DuckDbFile.open({
      path: this.#path,
      calls: this.#calls,
      prepare: async file => {
        isNew = await prepareDatabase(file)
        await this.retention.load(file)
      },
      tables: ['series', 'numbers', 'texts', 'stale', 'temp.late_numbers', 'temp.late_texts', ...swapTables],
    })
    try {
      const [[id] = [], [newest] = [], [sequence] = []] = await file.columns(
        'writer',
        `SELECT (SELECT max(id) FROM series), greatest((SELECT max(time) FROM numbers), (SELECT max(time) FROM texts)),
           (SELECT sequence FROM progress)`,
      )
      this.#nextId = Number(id ?? 0) + 1
      const time = newest == null ? Number.NEGATIVE_INFINITY : Number(newest)
      this.#cache.clear(time)
      await this.#roller.opened(file, time)
      this.#last = { sequence: sequence == null ? undefined : Number(sequence), isNew }
      this.#file = file
    } catch (error) {
      file.close()
      this.#met(error)
      throw error
    }
  }

  /** Closes the file after an error, which ends open transactions. */
  async #failed(error: unknown): Promise<void> {
    this.#met(error)
    await this.#close()
  }

  /** Notes damage inside the file when a statement has failed for that: a new file must be created. */
  #met(error: unknown): void {
    if (tellsOfDamage(error)) this.#damage = describe(error)
  }

  /**
   * Closes the file, also after a failed write: the next call opens the file again, which ends the open transaction.
   */
  async #close(): Promise<void> {
    const file = this.#file
    if (!file) return
    this.#file = undefined
    await Promise.all([
      this.#turns.idle(),
      this.#reads.idle(),
      this.reader.idle(),
      this.rows.release(),
      this.sql.release(),
    ])
    file.close()
    this.#cache.clear(Number.NEGATIVE_INFINITY)
  }

  #inOrderOfReads<T>(work: (file: DuckDbFile) => Promise<T>): Promise<T> {
    const result = this.#reads.run(async () => {
      if (!this.#file) throw new HubError('store_unavailable', 'the DuckDB store is closed')
      return work(this.#file)
    })
    return result.catch(error => {
      if (error instanceof HubError) throw error
      throw new HubError('store_unavailable', `DuckDB did not answer: ${describe(error)}`, { cause: error })
    })
  }
}
