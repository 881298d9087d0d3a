import { HubError } from '../errors.js'
import type { FieldType, FieldValue } from '../model.js'
import type { DuckDbFile, Value } from './duckdb-file.js'
import { rollUpSchema } from './duckdb-rollups.js'
import { swapSchema } from './duckdb-swap-schema.js'
import { nameHashes } from './known-series.js'
import type { Aggregate } from './store.js'

/*
 * The tables of a DuckDB store:
 *
 *     series     one row a series: names, type, and hashes of the names, by which the series is found
 *     numbers    readings; booleans are 0 and 1 among them
 *     texts
 *     progress   one row: every message up to this sequence number is stored or rejected; NULL while that is not known
 *     format     one row: the number of this layout
 *
 * The tables of roll-ups: see `duckdb-rollups.ts`; those of a swap of the past: see `duckdb-swap-schema.ts`.
 *
 * There is no index: DuckDB would hold one in memory, and a scan of a column of a million hashes takes milliseconds.
 */

/** Booleans are 0 and 1 among the numbers. */
export type Table = 'numbers' | 'texts'

/** Late points this far apart in time are searched for separately, so that a scan skips all between them. */
const gapBetweenRanges = 3_600_000_000
const maxRanges = 16

const columnsOfSeries = `id INTEGER NOT NULL, measurement VARCHAR NOT NULL, tags VARCHAR NOT NULL, field VARCHAR NOT NULL,
  type VARCHAR NOT NULL, first_hash BIGINT NOT NULL, second_hash BIGINT NOT NULL`

/** Number of the layout. 1: without roll-ups, and without a number. */
const format = 2

const schema = `
  CREATE TABLE IF NOT EXISTS series (${columnsOfSeries});
  CREATE TABLE IF NOT EXISTS numbers (series INTEGER NOT NULL, time BIGINT NOT NULL, value DOUBLE NOT NULL);
  CREATE TABLE IF NOT EXISTS texts (series INTEGER NOT NULL, time BIGINT NOT NULL, value VARCHAR NOT NULL);
  CREATE TABLE IF NOT EXISTS progress (sequence BIGINT);
  INSERT INTO progress SELECT NULL WHERE NOT EXISTS (FROM progress);
  CREATE TABLE IF NOT EXISTS format (number INTEGER NOT NULL);
  DELETE FROM format WHERE number < ${format};
  INSERT INTO format SELECT ${format} WHERE NOT EXISTS (FROM format);
  CREATE TEMP TABLE late_numbers (series INTEGER NOT NULL, time BIGINT NOT NULL, value DOUBLE NOT NULL);
  CREATE TEMP TABLE late_texts (series INTEGER NOT NULL, time BIGINT NOT NULL, value VARCHAR NOT NULL);
`

/** Rows of an older version's table that are hashed at a time. */
const migratedRows = 100_000

export const aggregateSql: Record<Aggregate, string> = {
  mean: 'avg(value)',
  min: 'min(value)',
  max: 'max(value)',
  first: 'arg_min(value, time)',
  last: 'arg_max(value, time)',
  sum: 'sum(value)',
  count: 'count(*)::DOUBLE',
}

/**
 * Creates the tables that are missing. Resolves with whether there were none before. Rejects with `store_unavailable`
 * when a newer version has made the file, which is left as it is.
 */
export async function prepareDatabase(file: DuckDbFile): Promise<boolean> {
  await refuseNewer(file)
  const [names = []] = await file.columns(
    'writer',
    "SELECT column_name FROM information_schema.columns WHERE table_schema = 'main' AND table_name = 'series'",
  )
  if (names.length > 0 && !names.includes('first_hash')) await migrate(file)
  await file.run(schema)
  await file.run(rollUpSchema)
  await file.run(swapSchema)
  return names.length === 0
}

async function refuseNewer(file: DuckDbFile): Promise<void> {
  const [tables = []] = await file.columns(
    'writer',
    "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main' AND table_name = 'format'",
  )
  if (tables.length === 0) return
  const [[found] = []] = await file.columns('writer', 'SELECT max(number) FROM format')
  if (Number(found ?? 0) <= format) return
  throw new HubError(
    'store_unavailable',
    `the DuckDB store has format ${found}, and this version of telehub knows formats up to ${format}: start the version that made it`,
  )
}

/** Adds hashes to the series of a version that found them by a unique index, in one transaction. */
async function migrate(file: DuckDbFile): Promise<void> {
  await file.run(`BEGIN TRANSACTION; CREATE TABLE series_with_hashes (${columnsOfSeries})`)
  for (let after = -1; ; ) {
    const [ids = [], measurements = [], tags = [], fields = []] = await file.columns(
      'writer',
      `SELECT id, ${guarded('measurement')}, tags, ${guarded('field')} FROM series WHERE id > $1
       ORDER BY id LIMIT ${migratedRows}`,
      [after],
    )
    if (ids.length === 0) break
    const hashes = ids.map((_, i) => nameHashes(unguarded(measurements[i]), String(tags[i]), unguarded(fields[i])))
    const lists = [
      ids.map(id => BigInt(Number(id))),
      hashes.map(([first]) => first),
      hashes.map(([, second]) => second),
    ]
    await file.columns(
      'writer',
      `INSERT INTO series_with_hashes SELECT id, measurement, tags, field, type, first_hash, second_hash FROM series
       JOIN (SELECT unnest($1) AS hashed, unnest($2) AS first_hash, unnest($3) AS second_hash) ON hashed = id`,
      lists,
    )
    after = Number(ids.at(-1))
  }
  await file.run('DROP TABLE series; ALTER TABLE series_with_hashes RENAME TO series; COMMIT')
}

/** Puts a character before a text: the driver drops a byte order mark at the beginning of a text. */
export function guarded(expression: string): string {
  return `'.' || ${expression}`
}

export function unguarded(text: Value | undefined): string {
  return String(text).slice(1)
}

export function read(table: Table, expression: string): string {
  return table === 'texts' ? guarded(expression) : expression
}

/** Replaces rows of the same series and time by the staged ones, even rows of this very transaction. */
export async function replaceStaged(file: DuckDbFile, table: Table, times: readonly bigint[]): Promise<void> {
  for (const [first, last] of ranges(times)) {
    await file.run(
      `DELETE FROM ${table} USING late_${table} AS late
       WHERE ${table}.time BETWEEN ${first} AND ${last} AND ${table}.series = late.series AND ${table}.time = late.time`,
    )
  }
  await file.run(`INSERT INTO ${table} SELECT * FROM late_${table}; DELETE FROM late_${table}`)
}

function ranges(times: readonly bigint[]): [first: bigint, last: bigint][] {
  const result: [bigint, bigint][] = []
  for (const time of [...times].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))) {
    const range = result.at(-1)
    if (range && (time - range[1] < gapBetweenRanges || result.length === maxRanges)) range[1] = time
    else result.push([time, time])
  }
  return result
}

/** Returns the condition that the names of a series contain a word. */
export function having(word: string): string {
  const literal = `'${word.replaceAll("'", "''").replaceAll('\0', '')}'`
  return `AND contains(lower(measurement || ' ' || tags || ' ' || field), ${literal})`
}

/** Returns the table that holds the readings of a type. */
export function tableOf(type: FieldType): Table {
  return type === 'text' ? 'texts' : 'numbers'
}

/** Returns values of a table as those of a type. */
export function typed(values: readonly Value[], type: FieldType): FieldValue[] {
  if (type === 'text') return values.map(unguarded)
  return type === 'boolean' ? values.map(value => value === 1) : values.map(Number)
}
