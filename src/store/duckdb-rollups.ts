/*
 * Roll-ups of the numbers, booleans (0 and 1) among them, in buckets of a minute, an hour, and a day of UTC:
 *
 *     numbers_1m, numbers_1h, numbers_1d     one row a series and bucket; `time` is the beginning of the bucket.
 *                   count, sum, min, max, first, last; `first_at` and `last_at` are microseconds since `time`.
 *                   Of a bucket with one reading only count, sum (the value) and first_at are there, the others NULL:
 *                   `unpacked` returns whole rows.
 *     rolled        one row: the raw readings before `until`, a whole minute, are in the roll-ups: hours and days that
 *                   end at or before `until`. NULL while there are none. What is newer is answered from raw.
 *     stale         series and hours (before `until`) with readings that came later, or were changed: their roll-ups
 *                   are not right any more, and raw answers. Written in the same transaction as the readings. A row may
 *                   be there twice.
 *     dropped       for a series (0: for every one), before which time retention has deleted the raw numbers, the
 *                   minutes, the hours, the days. Several rows may be of one series: the greatest time counts.
 *
 * Texts have none: they change rarely, and a row with the last text would be as large as the reading.
 *
 * Readings, marks in `stale` and `until` are in one transaction each, so that a process that is killed leaves nothing
 * half done.
 *
 * Whoever deletes history notes that in `dropped` in the same transaction, and keeps to this:
 *
 * - Raw readings and minutes go up to a whole hour, hours and days up to a whole day of UTC.
 * - Only what is rolled up goes: up to `until` at most, and not beyond the first hour in `stale`.
 * - The finer goes first: minutes never before the raw readings, hours never before the minutes.
 *
 * A late reading for which the raw readings are gone is stored as any other, and added to the finest roll-up that is left,
 * and those coarser, in the same transaction that deletes it. A reading that replaces one that is gone counts twice, as a
 * roll-up does not tell its readings.
 */

export interface RollUpLevel {
  readonly name: '1m' | '1h' | '1d'
  readonly table: string
  /** Width of a bucket in microseconds. */
  readonly width: number
  /** Column of `dropped`. */
  readonly column: string
}

const minute = 60e6
const hour = 60 * minute
const day = 24 * hour

/** From fine to coarse. */
export const levels: readonly [RollUpLevel, RollUpLevel, RollUpLevel] = [
  { name: '1m', table: 'numbers_1m', width: minute, column: 'minutes' },
  { name: '1h', table: 'numbers_1h', width: hour, column: 'hours' },
  { name: '1d', table: 'numbers_1d', width: day, column: 'days' },
]

export const rollUpSchema = `
  ${levels
    .map(
      ({ table }) => `CREATE TABLE IF NOT EXISTS ${table} (series INTEGER NOT NULL, time BIGINT NOT NULL,
        count BIGINT NOT NULL, sum DOUBLE NOT NULL, min DOUBLE, max DOUBLE, first DOUBLE, first_at BIGINT NOT NULL,
        last DOUBLE, last_at BIGINT);`,
    )
    .join('\n')}
  CREATE TABLE IF NOT EXISTS rolled (until BIGINT);
  INSERT INTO rolled SELECT NULL WHERE NOT EXISTS (FROM rolled);
  CREATE TABLE IF NOT EXISTS stale (series INTEGER NOT NULL, hour BIGINT NOT NULL);
  CREATE TABLE IF NOT EXISTS dropped (series INTEGER NOT NULL, raw BIGINT, minutes BIGINT, hours BIGINT, days BIGINT);
  CREATE TEMP TABLE redo (series INTEGER NOT NULL, hour BIGINT NOT NULL, finest INTEGER NOT NULL);
`

/** All tables with rows of series. */
export const rollUpTables = [...levels.map(({ table }) => table), 'stale', 'dropped']

/** Returns whole rows of a level: with the columns `first_time` and `last_time`, and none of them NULL. */
export function unpacked({ table }: RollUpLevel): string {
  return `(SELECT series, time, count, sum, coalesce(min, sum) AS min, coalesce(max, sum) AS max,
    coalesce(first, sum) AS first, time + first_at AS first_time, coalesce(last, sum) AS last,
    time + coalesce(last_at, first_at) AS last_time FROM ${table})`
}

/** Returns the beginning of the bucket that a time is in, also before 1970. */
export function floorTo(time: number, width: number): number {
  return Math.floor(time / width) * width
}

export function ceilTo(time: number, width: number): number {
  return Math.ceil(time / width) * width
}

/** Returns the beginning of the bucket that a time is in, in SQL. */
export function bucketOf(time: string, width: number): string {
  return `(${time} - ((${time} % ${width}) + ${width}) % ${width})`
}

/** Returns whole rows by series and bucket of the raw readings that a condition selects. */
export function aggregatedRows(where: string, width: number): string {
  return `SELECT series, ${bucketOf('time', width)} AS bucket, count(*) AS count, sum(value) AS sum, min(value) AS min,
    max(value) AS max, arg_min(value, time) AS first, min(time) AS first_time, arg_max(value, time) AS last,
    max(time) AS last_time FROM numbers WHERE ${where} GROUP BY series, bucket`
}

/** Columns of whole rows from several whole rows. */
export const mergedColumns = `sum(count)::BIGINT AS count, sum(sum) AS sum, min(min) AS min, max(max) AS max,
  arg_min(first, first_time) AS first, min(first_time) AS first_time, arg_max(last, last_time) AS last,
  max(last_time) AS last_time`

/** Returns whole rows by series and coarser bucket of the rows of a level that a condition selects. */
export function mergedRows(finer: RollUpLevel, where: string, width: number, series = 'series'): string {
  return `SELECT ${series} AS series, ${bucketOf('time', width)} AS bucket, ${mergedColumns} FROM ${unpacked(finer)} WHERE ${where}
    GROUP BY series, bucket`
}

/** Returns whole rows as they are stored. */
export function packed(rows: string): string {
  const several = ['min', 'max', 'first', 'last'].map(name => [name, `CASE WHEN count > 1 THEN ${name} END`])
  const { min, max, first, last } = Object.fromEntries(several) as Record<string, string>
  return `SELECT series, bucket AS time, count, sum, ${min} AS min, ${max} AS max, ${first} AS first,
    first_time - bucket AS first_at, ${last} AS last, CASE WHEN count > 1 THEN last_time - bucket END AS last_at
    FROM (${rows}) ORDER BY series, time`
}

/** Returns the statement that stores whole rows. */
export function insertion({ table }: RollUpLevel, rows: string): string {
  return `INSERT INTO ${table} ${packed(rows)}`
}

/** Before which time retention has deleted what: raw readings, then by level. Microseconds since the epoch. */
export interface GoneBefore {
  readonly raw: number
  readonly byLevel: readonly number[]
}
