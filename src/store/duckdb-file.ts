import { existsSync, lstatSync, renameSync, statSync } from 'node:fs'
import {
  BIGINT,
  DOUBLE,
  type DuckDBAppender,
  type DuckDBConnection,
  DuckDBDataChunk,
  DuckDBInstance,
  type DuckDBValue,
  INTEGER,
  type Json,
  LIST,
  listValue,
  VARCHAR,
} from '@duckdb/node-api'
import { describe, HubError } from '../errors.js'
import type { NativeCalls } from './native-calls.js'

/** DuckDB's own vector size: no chunk holds more rows. */
const chunkRows = 2048

/** Type of a column of rows to append. */
export type ColumnType = 'integer' | 'bigint' | 'double' | 'text'
export type Value = DuckDBValue
export type SqlValue = Json
export type BoundValue = number | bigint | string | bigint[] | string[]

const types = { integer: INTEGER, bigint: BIGINT, double: DOUBLE, text: VARCHAR } as const

export interface DuckDbFileOptions {
  readonly path: string
  /** Runs every asynchronous call of the driver. */
  readonly calls: NativeCalls
  /** Called once the file is open, before anything else: creates missing tables. */
  readonly prepare: (file: DuckDbFile) => Promise<void>
  /** Tables that rows are appended to. Temporary tables as `temp.name`. */
  readonly tables: readonly string[]
}

/**
 * An open DuckDB database: one connection that writes, one that reads, one that rolls
 * up beside the writes, and one for the questions of a query language, which may take long. All calls of the driver are made here. The
 * caller runs writes one after the other, and reads likewise: a connection holds one statement at a time.
 */
export class DuckDbFile {
  readonly #instance: DuckDBInstance
  readonly #writer: DuckDBConnection
  readonly #reader: DuckDBConnection
  readonly #asker: DuckDBConnection
  readonly #roller: DuckDBConnection
  readonly #calls: NativeCalls
  readonly #appenders = new Map<string, DuckDBAppender>()
  #isOpen = true

  private constructor(
    instance: DuckDBInstance,
    writer: DuckDBConnection,
    reader: DuckDBConnection,
    asker: DuckDBConnection,
    roller: DuckDBConnection,
    calls: NativeCalls,
  ) {
    this.#calls = calls
    this.#instance = instance
    this.#writer = writer
    this.#reader = reader
    this.#asker = asker
    this.#roller = roller
  }

  /** Opens a database. Rejects with a `HubError` of {@link openError}. */
  static async open({ path, calls, prepare, tables }: DuckDbFileOptions): Promise<DuckDbFile> {
    let instance: DuckDBInstance | undefined
    try {
      const opened = await calls.run(() => DuckDBInstance.create(path))
      instance = opened
      const connect = () => calls.run(() => opened.connect())
      const file = new DuckDbFile(opened, await connect(), await connect(), await connect(), await connect(), calls)
      await prepare(file)
      for (const table of tables) {
        const [name = '', schema = 'main'] = table.split('.').reverse()
        file.#appenders.set(
          table,
          await calls.run(() =>
            schema === 'temp' ? file.#writer.createAppender(name, 'main', 'temp') : file.#writer.createAppender(name),
          ),
        )
      }
      return file
    } catch (error) {
      instance?.closeSync()
      throw openError(path, error)
    }
  }

  /** Runs statements on the connection that writes, or on that of the roll-ups. */
  async run(sql: string, by: 'writer' | 'roller' = 'writer'): Promise<void> {
    const connection = by === 'writer' ? this.#writer : this.#roller
    await this.#calls.run(() => connection.run(sql))
  }

  /**
   * Returns the answer column by column. Numbers are bound as integers; big integers, texts, and lists of them, as
   * such.
   */
  async columns(by: 'writer' | 'reader' | 'asker' | 'roller', sql: string, values: readonly BoundValue[] = []) {
    const connection = { writer: this.#writer, reader: this.#reader, asker: this.#asker, roller: this.#roller }[by]
    const { bound, kinds } = binding(values)
    const result = await this.#calls.run(() => connection.runAndReadAll(sql, bound, kinds))
    return result.getColumns() as Value[][]
  }

  /** Runs `work` on a connection that reads, in one transaction: all its statements see the same rows. */
  async inOneRead<T>(work: () => Promise<T>, by: 'reader' | 'asker' = 'reader'): Promise<T> {
    const connection = by === 'reader' ? this.#reader : this.#asker
    await this.#calls.run(() => connection.run('BEGIN TRANSACTION READ ONLY'))
    try {
      return await work()
    } finally {
      await this.#calls.run(() => connection.run('ROLLBACK'))
    }
  }

  /** Appends columns of equal length to one of the `tables`. */
  append(table: string, columns: readonly (readonly [type: ColumnType, values: readonly Value[]])[]): void {
    const count = columns[0]?.[1].length ?? 0
    if (count === 0) return
    const appender = this.#appenders.get(table)
    if (!appender) throw new Error(`no appender for ${table}`)
    const kinds = columns.map(([type]) => types[type])
    for (let start = 0; start < count; start += chunkRows) {
      const chunk = DuckDBDataChunk.create(kinds, Math.min(chunkRows, count - start))
      for (const [column, [, values]] of columns.entries()) {
        chunk.setColumnValues(column, values.slice(start, start + chunkRows))
      }
      appender.appendDataChunk(chunk)
    }
    appender.flushSync()
  }

  /** Opens one more connection, to be closed before the file is. */
  async aside(): Promise<DuckDbAside> {
    return new DuckDbAside(await this.#calls.run(() => this.#instance.connect()), this.#calls)
  }

  /** Makes the statement that reads just now fail. */
  interruptReads(): void {
    this.#reader.interrupt()
    this.#asker.interrupt()
  }

  /** Makes the statement of a query language that runs just now fail. */
  interruptQuestion(): void {
    this.#asker.interrupt()
  }

  get isOpen(): boolean {
    return this.#isOpen
  }

  /** Closes the database. An open transaction is undone. */
  close(): void {
    this.#isOpen = false
    for (const appender of this.#appenders.values()) {
      try {
        appender.closeSync()
      } catch {
        // The appender held rows of a failed write, which the caller knows of.
      }
    }
    this.#reader.closeSync()
    this.#asker.closeSync()
    this.#roller.closeSync()
    this.#writer.closeSync()
    this.#instance.closeSync()
  }
}

/** A connection for one reader alone, such as an export. The caller runs one statement after the other. */
export class DuckDbAside {
  readonly #connection: DuckDBConnection
  readonly #calls: NativeCalls
  #isInterrupted = false

  constructor(connection: DuckDBConnection, calls: NativeCalls) {
    this.#connection = connection
    this.#calls = calls
  }

  async run(sql: string): Promise<void> {
    await this.#run(() => this.#connection.run(sql))
  }

  /** Returns the answer column by column, as {@link DuckDbFile.columns} does. */
  async columns(sql: string, values: readonly BoundValue[] = []): Promise<Value[][]> {
    const { bound, kinds } = binding(values)
    const result = await this.#run(() => this.#connection.runAndReadAll(sql, bound, kinds))
    return result.getColumns() as Value[][]
  }

  /** Begins a statement. The answer comes in chunks of rows, as JSON values, and is made while the caller reads. */
  async stream(sql: string) {
    const result = await this.#run(() => this.#connection.stream(sql))
    const columns = result.columnNames().map((name, i) => ({ name, type: String(result.columnType(i)) }))
    const next = (chunks: AsyncIterator<SqlValue[][]>) => this.#run(() => chunks.next())
    async function* rows(chunks: AsyncIterator<SqlValue[][]>) {
      for (let one = await next(chunks); !one.done; one = await next(chunks)) yield one.value
    }
    return { columns, chunks: rows(result.yieldRowsJson()) }
  }

  /** Makes the statement that runs just now fail, and all that are to come. */
  interrupt(): void {
    this.#isInterrupted = true
    this.#connection.interrupt()
  }

  #run<T>(statement: () => Promise<T>): Promise<T> {
    if (this.#isInterrupted) throw new HubError('store_unavailable', 'the DuckDB store was closed; try again')
    return this.#calls.run(statement)
  }

  close(): void {
    this.#connection.closeSync()
  }
}

/**
 * Opens a connection to a database of no file, to read files of others: one thread, so that rows come in order, and as
 * much memory as one row group takes. Nothing is written to the disk.
 */
export async function inMemory(
  calls: NativeCalls,
): Promise<{ readonly aside: DuckDbAside; readonly close: () => void }> {
  const settings = { threads: '1', memory_limit: '1GB', temp_directory: '' }
  const instance = await calls.run(() => DuckDBInstance.create(':memory:', settings))
  const aside = new DuckDbAside(await calls.run(() => instance.connect()), calls)
  const close = () => {
    aside.close()
    instance.closeSync()
  }
  return { aside, close }
}

/** Returns values and their types as the driver takes them. */
function binding(values: readonly BoundValue[]) {
  const bound = values.map(value => (Array.isArray(value) ? listValue(value) : value))
  const kinds = values.map(value => {
    if (!Array.isArray(value)) return typeof value === 'string' ? VARCHAR : typeof value === 'bigint' ? BIGINT : INTEGER
    return LIST(typeof value[0] === 'string' ? VARCHAR : BIGINT)
  })
  return { bound, kinds }
}

/** Words of temporary errors: the file is unchanged, and can be opened when the cause is gone. */
const passing =
  /no space left|disk quota|input\/output error|i\/o error|read-only file system|permission denied|operation not permitted|too many open files|cannot allocate|out of memory|stale file handle|no such file or directory|not a directory|file too large/i

/** Words of errors for a file of a newer DuckDB. Such a file is whole, but only the newer version can read the file. */
const newer = /version number|storage version|newer version/i

const damage = /corrupt|checksum|not a valid DuckDB|serializ|replaying WAL|INTERNAL Error/i

/** Returns whether an error of the running DuckDB means that the file is damaged. */
export function tellsOfDamage(error: unknown): boolean {
  return /corrupt|checksum/i.test(describe(error)) && !passing.test(describe(error))
}

/**
 * Returns the error for a database that did not open. `data_dir_locked`: another process has the file.
 * `store_unavailable`: the file cannot be opened now, and is unchanged. `data_dir_unusable`: the file is no database,
 * or a damaged one.
 */
function openError(path: string, error: unknown): HubError {
  if (error instanceof HubError) return error
  const text = describe(error)
  if (/lock on file|file handle conflict/i.test(text)) {
    return new HubError('data_dir_locked', `${path} is in use by another process: ${text}`, { cause: error })
  }
  const isDamaged = damage.test(text) && !newer.test(text)
  if (!isDamaged && (passing.test(text) || newer.test(text))) {
    return new HubError('store_unavailable', `${path} cannot be opened: ${text}`, { cause: error })
  }
  return new HubError('data_dir_unusable', `${path} cannot be used as the DuckDB database: ${text}`, { cause: error })
}

/**
 * Renames a damaged file out of the way: nothing is deleted. `wal` is the log beside the database, without which the
 * database is as at the last checkpoint. Returns the new name. Undefined when there is no file.
 */
export function setAside(path: string, what: 'wal' | 'database', now: number): string | undefined {
  const stamp = new Date(now).toISOString().replace(/[:.]/g, '-')
  const suffix = what === 'wal' ? '.wal' : ''
  if (!existsSync(path + suffix)) return undefined
  let aside = `${path}.damaged-${stamp}`
  for (let n = 2; existsSync(aside + suffix); n++) aside = `${path}.damaged-${stamp}-${n}`
  renameSync(path + suffix, aside + suffix)
  return aside + suffix
}

/** Returns the files, database and log, that the next opening creates. Empty when there is a database. */
export function missingFiles(path: string): readonly string[] {
  const missing = [path, `${path}.wal`].filter(isMissing)
  return missing.includes(path) ? missing : []
}

/** A link is somebody's choice of another disk, which may not be there now. */
function isMissing(file: string): boolean {
  return sizeOf(file) === 0 && !lstatSync(file, { throwIfNoEntry: false })?.isSymbolicLink()
}

/** Bytes of a file; 0 when there is none. */
export function sizeOf(path: string): number {
  try {
    return statSync(path).size
  } catch {
    return 0
  }
}

/** Content of a database. */
export interface DuckDbContent {
  readonly series: number
  readonly readings: number
  /**
   * Last sequence number whose points are stored. Undefined when there is none, or in a database of a version without
   * one.
   */
  readonly sequence: number | undefined
}

/**
 * Reads a database and the log through without changing them: every value is read, so that every checksum is verified.
 * Rejects with a `HubError` of {@link openError}; `data_dir_unusable` also when a part cannot be read.
 */
export async function inspectDuckDb(path: string): Promise<DuckDbContent> {
  let instance: DuckDBInstance | undefined
  try {
    instance = await DuckDBInstance.create(path, { access_mode: 'READ_ONLY', threads: '2', memory_limit: '256MB' })
    const connection = await instance.connect()
    const one = async (sql: string) => Number((await connection.runAndReadAll(sql)).getRows()[0]?.[0] ?? 0)
    const series = await one('SELECT count(id) FROM series')
    let readings = 0
    for (const table of ['numbers', 'texts']) {
      readings += await one(`SELECT count(*) FROM ${table}`)
      // A count alone reads no values.
      await one(`SELECT sum(hash(value) % 2) + sum(hash(time) % 2) + sum(hash(series) % 2) FROM ${table}`)
    }
    const hasProgress = await one("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'progress'")
    const sequence = hasProgress > 0 ? await one('SELECT max(sequence) FROM progress') : 0
    return { series, readings, sequence: sequence > 0 ? sequence : undefined }
  } catch (error) {
    throw openError(path, error)
  } finally {
    instance?.closeSync()
  }
}
