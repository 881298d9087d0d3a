import type { MillisecondClock } from '../runtime/time.js'
import type { DuckDbFile } from './duckdb-file.js'
import {
  aggregatedRows,
  bucketOf,
  ceilTo,
  floorTo,
  insertion,
  levels,
  mergedColumns,
  mergedRows,
  packed,
  unpacked,
} from './duckdb-rollups.js'
import type { Placed } from './duckdb-rows.js'
import { tableOf } from './duckdb-sql.js'

const [minutes, hours, days] = levels

/** Microseconds between the newest reading and what is rolled up: most readings are stored by then, and mark nothing. */
const lag = 60e6

/** Microseconds of readings that one turn rolls up: as many as take about so long, and have at most so many readings. */
const shortestStep = minutes.width
const longestStep = 30 * days.width
const mostReadings = 2_000_000

/** Longest turns in milliseconds: beside the writes, and between two of them, which wait meanwhile. */
const beside: TurnLength = { quick: 100, slow: 300 }
const between: TurnLength = { quick: 100, slow: 300 }

interface TurnLength {
  readonly quick: number
  readonly slow: number
}

/** Marks that are redone in one turn, and marks held in memory, so that they are not written again and again. */
const mostRedone = 5_000
const leastRedone = 200
const mostKnown = 200_000

/** Finest source that is left for a mark, beside the number of a level. */
const raw = -1
const nothing = levels.length

/** Readings from `from` on, before `to`, that one turn rolls up. */
export interface RollUpStep {
  readonly from: number
  readonly to: number
}

/**
 * Keeps the roll-ups of a database up to date, in turns. New readings are rolled up on a connection of their own, beside
 * the writes: which readings are in is settled between two writes, by {@link begin}, and what later writes add to that
 * time they mark. Marked hours are rolled up anew on the connection that writes. What readings of a write mark is told by
 * {@link marks}. Memory holds nothing that is not in the database, so that {@link opened} begins anew.
 */
export class Roller {
  readonly #clock: MillisecondClock
  #until = Number.NEGATIVE_INFINITY
  /** End of the step that is being rolled up: readings before that are written now are not in it. */
  #begun = Number.NEGATIVE_INFINITY
  /** Time of the newest reading: the store may lag far behind the clock. */
  #newest = Number.NEGATIVE_INFINITY
  readonly #known = new Set<string>()
  #hasMarks = true
  #values = 0
  /** Whether the last step had no readings: the next one goes on from the next reading. */
  #wasEmpty = false
  #step: number = hours.width
  #redoStep: number = days.width
  #redone = mostRedone

  constructor(clock: MillisecondClock) {
    this.#clock = clock
  }

  /** Reads how far the roll-ups are. `newest`: time of the newest reading. */
  async opened(file: DuckDbFile, newest: number): Promise<void> {
    const [[until] = []] = await file.columns('writer', 'SELECT until FROM rolled')
    this.#until = until == null ? Number.NEGATIVE_INFINITY : Number(until)
    this.#begun = Number.NEGATIVE_INFINITY
    this.#newest = newest
    this.#known.clear()
    this.#hasMarks = true
    this.#wasEmpty = false
  }

  /** Values that were written since the start. */
  get values(): number {
    return this.#values
  }

  /** Before when everything but what is marked is rolled up, and the time of the newest reading. */
  get progress(): { readonly until: number; readonly newest: number } {
    return { until: this.#until, newest: this.#newest }
  }

  /**
   * Returns the marks, in columns, that a write of these values has to store in `stale` in the same transaction. After a
   * failed write {@link opened} must be called.
   */
  marks(placed: readonly Placed[]): { readonly series: number[]; readonly hours: bigint[] } {
    const series: number[] = []
    const marked: bigint[] = []
    if (this.#known.size > mostKnown) this.#known.clear()
    const settled = Math.max(this.#until, this.#begun)
    this.#values += placed.length
    for (const { series: known, time } of placed) {
      if (time > this.#newest) this.#newest = time
      if (time >= settled || tableOf(known.type) === 'texts') continue
      const hour = floorTo(time, hours.width)
      const key = `${known.id} ${hour}`
      if (this.#known.has(key)) continue
      this.#known.add(key)
      this.#hasMarks = true
      series.push(known.id)
      marked.push(BigInt(hour))
    }
    return { series, hours: marked }
  }

  /**
   * Begins a turn, between two writes. Resolves with a step for {@link advance}, or, when what there was to do is done,
   * with whether there is more to do at once. After a rejection transactions may be open: the file must be closed.
   */
  async begin(file: DuckDbFile): Promise<RollUpStep | boolean> {
    if (this.#until === Number.NEGATIVE_INFINITY) {
      const [[first] = []] = await file.columns('writer', 'SELECT min(time) FROM numbers')
      if (first == null) return false
      // There are no earlier readings: nothing to roll up.
      const start = floorTo(Number(first), days.width)
      await file.run(`UPDATE rolled SET until = ${start}`)
      this.#until = start
    }
    const limit = this.#limit()
    if (this.#until >= limit) return this.#hasMarks && (await this.#redo(file))
    const from = this.#until
    let to = Math.min(from + this.#step, limit)
    if (this.#wasEmpty) {
      const [[next] = []] = await file.columns(
        'writer',
        `SELECT min(time) FROM numbers WHERE time >= ${from} AND time < ${limit}`,
      )
      const start = next == null ? limit : floorTo(Number(next), minutes.width)
      if (start > from) to = start
    }
    // The first statement settles which rows the transaction sees.
    await file.run('BEGIN TRANSACTION; FROM rolled', 'roller')
    this.#begun = to
    return { from, to }
  }

  #limit(): number {
    return floorTo(Math.min(this.#clock.now() * 1_000, this.#newest) - lag, minutes.width)
  }

  /**
   * Rolls up the readings of a step, beside the writes. Resolves with whether there is more to do at once. After a
   * rejection the file must be closed.
   */
  async advance(file: DuckDbFile, { from, to: wanted }: RollUpStep): Promise<boolean> {
    const began = performance.now()
    const to = await bounded(file, 'roller', from, wanted, shortestStep)
    const where = `time >= ${from} AND time < ${to}`
    const [[count] = []] = await file.columns('roller', insertion(minutes, aggregatedRows(where, minutes.width)))
    for (const [level, finer] of [
      [hours, minutes],
      [days, hours],
    ] as const) {
      const [first, end] = [floorTo(from, level.width), floorTo(to, level.width)]
      if (first === end) continue
      await file.run(insertion(level, mergedRows(finer, `time >= ${first} AND time < ${end}`, level.width)), 'roller')
      // Marks of an hour that had not ended have waited for this.
      this.#hasMarks = true
    }
    await file.run(`UPDATE rolled SET until = ${to}; COMMIT`, 'roller')
    this.#until = to
    this.#begun = Number.NEGATIVE_INFINITY
    this.#wasEmpty = Number(count) === 0
    this.#step = nextStep(this.#step, performance.now() - began, beside, shortestStep)
    return to < this.#limit() || this.#hasMarks
  }

  /** Rolls up the oldest marked hours anew. Marks of the hour that is not rolled up yet wait for it. */
  async #redo(file: DuckDbFile): Promise<boolean> {
    const began = performance.now()
    const end = floorTo(this.#until, hours.width)
    const [[first] = []] = await file.columns('writer', `SELECT min(hour) FROM stale WHERE hour < ${end}`)
    if (first == null) {
      this.#hasMarks = false
      return false
    }
    const to = await bounded(file, 'writer', Number(first), Math.min(Number(first) + this.#redoStep, end), hours.width)
    await file.run('BEGIN TRANSACTION')
    await redoMarks(file, `hour >= ${first} AND hour < ${to}`, this.#until, this.#redone)
    await file.run('COMMIT')
    // Those that are done must be written again when they are stale again.
    this.#known.clear()
    const took = performance.now() - began
    // Most of a turn is the same for an hour and for a day: shorter steps only make more of them.
    this.#redoStep = nextStep(this.#redoStep, took, between, days.width)
    const most = took > between.slow ? this.#redone / 2 : took < between.quick ? this.#redone * 2 : this.#redone
    this.#redone = Math.ceil(Math.min(mostRedone, Math.max(leastRedone, most)))
    return true
  }
}

/** Returns the end of a range with not too many readings, by halves, down to the shortest. */
async function bounded(
  file: DuckDbFile,
  by: 'writer' | 'roller',
  from: number,
  to: number,
  shortest: number,
): Promise<number> {
  for (let end = to; ; end = from + ceilTo((end - from) / 2, shortest)) {
    if (end - from <= shortest) return end
    const [[count] = []] = await file.columns(
      by,
      `SELECT count(*) FROM numbers WHERE time >= ${from} AND time < ${end}`,
    )
    if (Number(count) <= mostReadings) return end
  }
}

function nextStep(step: number, tookMs: number, { quick, slow }: TurnLength, shortest: number): number {
  if (tookMs < quick) return Math.min(step * 2, longestStep)
  return tookMs > slow ? Math.max(shortest, floorTo(step / 2, shortest)) : step
}

/**
 * Rolls up hours of `stale` anew, at most `most` of those that a condition selects, and deletes these marks:
 * from the raw readings, or, where these are gone, by adding the raw readings that came later to the finest roll-up that
 * is left. The caller begins and ends the transaction. `until`: that of `rolled`.
 */
export async function redoMarks(file: DuckDbFile, condition: string, until: number, most = mostRedone): Promise<void> {
  const gone = ({ column }: { readonly column: string }) =>
    `hour < greatest(coalesce(own.${column}, everyone.${column}), coalesce(everyone.${column}, own.${column}))`
  const greatest = ['raw', ...levels.map(({ column }) => column)].map(name => `max(${name}) AS ${name}`).join(', ')
  await file.run(
    `INSERT INTO redo SELECT marks.series, hour, CASE WHEN ${gone(days)} THEN ${nothing} WHEN ${gone(hours)} THEN 2
         WHEN ${gone(minutes)} THEN 1 WHEN ${gone({ column: 'raw' })} THEN 0 ELSE ${raw} END
       FROM (SELECT DISTINCT series, hour FROM stale WHERE ${condition} ORDER BY hour, series LIMIT ${most}) AS marks
       LEFT JOIN (SELECT series, ${greatest} FROM dropped WHERE series > 0 GROUP BY series) AS own
         ON own.series = marks.series
       CROSS JOIN (SELECT ${greatest} FROM dropped WHERE series = 0) AS everyone`,
  )
  const [[first] = [], [last] = [], [added] = []] = await file.columns(
    'writer',
    `SELECT min(hour), max(hour), count(*) FILTER (finest >= 0) FROM redo`,
  )
  if (first == null) return
  /** Times of the marked buckets of a level, so that a scan skips the others. */
  const spanOf = (width: number) =>
    `time >= ${floorTo(Number(first), width)} AND time < ${ceilTo(Number(last) + hours.width, width)}`
  /** The buckets of a level that marks with this finest source are in. */
  const rowsOf = (width: number, finest: string) =>
    `${spanOf(width)} AND (series, ${bucketOf('time', Math.max(width, hours.width))}) IN
       (SELECT series, ${bucketOf('hour', Math.max(width, hours.width))} FROM redo WHERE ${finest})`
  const rawRows = (finest: string) =>
    `${spanOf(hours.width)} AND time < ${until} AND (series, ${bucketOf('time', hours.width)}) IN (SELECT series, hour FROM redo WHERE ${finest})`

  await file.run(
    `DELETE FROM ${minutes.table} WHERE ${rowsOf(minutes.width, `finest = ${raw}`)};
     ${insertion(minutes, aggregatedRows(rawRows(`finest = ${raw}`), minutes.width))}`,
  )
  for (const [finest, level] of Number(added) > 0 ? levels.entries() : []) {
    const late = rawRows(`finest = ${finest}`)
    const whole = rowsOf(level.width, `finest = ${finest}`)
    await file.run(
      `CREATE OR REPLACE TEMP TABLE added AS ${packed(
        `SELECT series, bucket, ${mergedColumns} FROM (
           SELECT series, time AS bucket, * EXCLUDE (series, time) FROM ${unpacked(level)} WHERE ${whole}
           UNION ALL BY NAME ${aggregatedRows(late, level.width)}) GROUP BY series, bucket`,
      )};
       DELETE FROM ${level.table} WHERE ${whole};
       INSERT INTO ${level.table} FROM added;
       DROP TABLE added;
       DELETE FROM numbers WHERE ${late}`,
    )
  }
  for (const [finest, level, finer] of [
    [0, hours, minutes],
    [1, days, hours],
  ] as const) {
    // A bucket that has not ended is not rolled up yet.
    const whole = `${rowsOf(level.width, `finest <= ${finest}`)} AND time < ${floorTo(until, level.width)}`
    await file.run(
      `DELETE FROM ${level.table} WHERE ${whole};
       ${insertion(level, mergedRows(finer, whole, level.width))}`,
    )
  }
  await file.run(
    'DELETE FROM stale USING redo WHERE stale.series = redo.series AND stale.hour = redo.hour; DELETE FROM redo',
  )
}
