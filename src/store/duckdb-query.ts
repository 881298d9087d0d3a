import { describe, HubError } from '../errors.js'
import { SerialQueue } from '../runtime/serial-queue.js'
import type { DuckDbAside, DuckDbFile, SqlValue } from './duckdb-file.js'
import type { SqlAnswer, SqlQuery, SqlReader } from './rows.js'
import { checkTree, refused } from './sql-guard.js'

/** Limits of a question: time, memory, bytes of the answer, and characters of the text. */
const patienceMs = 20_000
const mostMemory = 512_000_000
const mostBytes = 16_000_000
const longest = 20_000

/** Interval of looks at the memory of the process. */
const lookEveryMs = 25

/** Questions that may wait. */
const mostWaiting = 8

/**
 * Answers questions in SQL. The tree of a statement is checked first; then follows a read-only transaction on an own
 * connection, which sees two views. DuckDB limits memory by process and not by statement: the process is watched, and
 * the statement interrupted when that grows.
 */
export class DuckDbQuestions implements SqlReader {
  readonly #open: () => Promise<DuckDbFile>
  readonly #turns = new SerialQueue()
  #waiting = 0
  #connection: DuckDbAside | undefined

  constructor(open: () => Promise<DuckDbFile>) {
    this.#open = open
  }

  async ask(query: SqlQuery): Promise<SqlAnswer> {
    if (query.sql.includes('\0')) throw refused('it has a NUL character')
    if (query.sql.length > longest) throw refused(`it has more than ${longest} characters`)
    if (this.#waiting >= mostWaiting)
      throw new HubError('overloaded', `${mostWaiting} questions wait to be answered; try again`, {
        retryAfterMs: 1_000,
      })
    this.#waiting++
    try {
      return await this.#turns.run(() => this.#answer(query))
    } finally {
      this.#waiting--
    }
  }

  /** Makes the statement under way fail. */
  interrupt(): void {
    this.#connection?.interrupt()
  }

  /** Interrupts the question under way. Resolves when no connection is open. */
  async release(): Promise<void> {
    this.interrupt()
    while (this.#connection) await new Promise(resolve => setTimeout(resolve, 5))
  }

  async #answer({ sql, limit }: SqlQuery): Promise<SqlAnswer> {
    const file = await this.#open()
    const connection = await file.aside()
    this.#connection = connection
    let stopped: string | undefined
    const stop = (why: string) => {
      stopped ??= why
      connection.interrupt()
    }
    const timer = setTimeout(() => stop(`the question takes longer than ${patienceMs / 1_000} s`), patienceMs)
    const before = process.memoryUsage.rss()
    const watch = setInterval(() => {
      if (process.memoryUsage.rss() - before > mostMemory) stop('the question needs too much memory')
    }, lookEveryMs)
    try {
      if (!file.isOpen) throw new HubError('store_unavailable', 'the DuckDB store was closed; try again')
      await check(connection, sql)
      await prepareViews(connection)
      await connection.run('BEGIN TRANSACTION READ ONLY')
      return await answered(connection, sql, limit)
    } catch (error) {
      if (stopped !== undefined)
        throw new HubError('too_large', `${stopped}; narrow the time range, or select fewer series`)
      if (error instanceof HubError) throw error
      throw new HubError('bad_request', `sql: ${describe(error)}`)
    } finally {
      clearTimeout(timer)
      clearInterval(watch)
      this.#connection = undefined
      // An open transaction is undone.
      connection.close()
    }
  }
}

async function check(connection: DuckDbAside, sql: string): Promise<void> {
  const bare = sql.replace(/^\s*EXPLAIN\s+(?!ANALY[SZ]E\b)/i, '')
  const literal = `'${bare.replaceAll("'", "''")}'`
  const [[tree] = []] = await connection.columns(`SELECT json_serialize_sql(${literal})::VARCHAR`)
  checkTree(JSON.parse(String(tree)))
}

/** Makes the views that questions see. A view of the connection stands before a table of the same name. */
async function prepareViews(connection: DuckDbAside): Promise<void> {
  const [[name] = []] = await connection.columns('SELECT current_database()')
  const catalog = `"${String(name).replaceAll('"', '""')}".main`
  const tags = 'map_from_entries(list_transform(from_json(tags, \'[["VARCHAR"]]\'), lambda p: {k: p[1], v: p[2]}))'
  const names = `(SELECT id, measurement, ${tags} AS tags, field, type FROM ${catalog}.series)`
  const time = 'make_timestamptz(time) AS time, measurement, tags, field, type'
  await connection.run(`
    CREATE TEMP VIEW series AS SELECT measurement, tags, field, type FROM ${names};
    CREATE TEMP VIEW readings AS
      SELECT ${time}, CASE WHEN type = 'number' THEN value END AS number, CASE WHEN type = 'boolean' THEN value = 1 END AS boolean,
        NULL::VARCHAR AS text, n.time AS us FROM ${catalog}.numbers n JOIN ${names} ON id = series
      UNION ALL
      SELECT ${time}, NULL::DOUBLE, NULL::BOOLEAN, value, x.time AS us FROM ${catalog}.texts x JOIN ${names} ON id = series;
    SET TimeZone = 'UTC'`)
}

async function answered(connection: DuckDbAside, sql: string, limit: number): Promise<SqlAnswer> {
  const { columns, chunks } = await connection.stream(sql)
  const rows: SqlValue[][] = []
  let bytes = 0
  for await (const chunk of chunks) {
    for (const row of chunk) {
      if (rows.length === limit) return { columns, rows, isWhole: false }
      bytes += JSON.stringify(row).length
      if (bytes > mostBytes) throw new HubError('too_large', `the answer has more than ${mostBytes} bytes; select less`)
      rows.push(row.map((value, i) => plainNumber(value, columns[i]?.type)))
    }
  }
  return { columns, rows, isWhole: true }
}

/** Returns whole numbers as such as far as JSON has them exactly; the driver makes texts of them. */
function plainNumber(value: SqlValue, type: string | undefined): SqlValue {
  if (typeof value !== 'string' || !/^U?BIGINT$|^HUGEINT$/.test(type ?? '')) return value
  return Number.isSafeInteger(Number(value)) ? Number(value) : value
}
