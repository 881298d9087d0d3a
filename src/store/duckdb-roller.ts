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
const quickMs = 100
const slowMs = 300
const mostReadings = 2_000_000

/** Marks that are redone in one turn, and marks held in memory, so that they are not written again and again. */
const mostRedone = 5_000
const mostKnown = 200_000

/** Finest source that is left for a mark, beside the number of a level. */
const raw = -1
const nothing = levels.length

/**
 * Keeps the roll-ups of a database up to date, in turns on the connection that writes. What readings of a write mark is
 * told by {@link marks}. Memory holds nothing that is not in the database, so that {@link opened} begins anew.
 */
export class Roller {
  readonly #clock: MillisecondClock
  #until = Number.NEGATIVE_INFINITY
  /** Time of the newest reading: the store may lag far behind the clock. */
  #newest = Number.NEGATIVE_INFINITY
  readonly #known = new Set<string>()
  #hasMarks = true
  #step: number = hours.width
  #redoStep: number = days.width

  constructor(clock: MillisecondClock) {
    this.#clock = clock
  }

  /** Reads how far the roll-ups are. `newest`: time of the newest reading. */
  async opened(file: DuckDbFile, newest: number): Promise<void> {
    const [[until] = []] = await file.columns('writer', 'SELECT until FROM rolled')
    this.#until = until == null ? Number.NEGATIVE_INFINITY : Number(until)
    this.#newest = newest
    this.#known.clear()
    this.#hasMarks = true
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
    for (const { series: known, time } of placed) {
      if (time > this.#newest) this.#newest = time
      if (time >= this.#until || tableOf(known.type) === 'texts') continue
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
   * Does a piece of the work, in a transaction of its own. Resolves with whether there is more to do at once. After a
   * rejection the transaction may be open: the file must be closed.
   */
  async turn(file: DuckDbFile): Promise<boolean> {
    if (this.#until === Number.NEGATIVE_INFINITY) {
      const [[first] = []] = await file.columns('writer', 'SELECT min(time) FROM numbers')
      if (first == null) return false
      // There are no earlier readings: nothing to roll up.
      const start = floorTo(Number(first), days.width)
      await file.run(`UPDATE rolled SET until = ${start}`)
      this.#until = start
    }
    if (this.#until < this.#limit()) return (await this.#advance(file)) || this.#hasMarks
    return this.#hasMarks && (await this.#redo(file))
  }

  #limit(): number {
    return floorTo(Math.min(this.#clock.now() * 1_000, this.#newest) - lag, minutes.width)
  }

  /** Rolls up readings after `until`. */
  async #advance(file: DuckDbFile): Promise<boolean> {
    const began = performance.now()
    const limit = this.#limit()
    const from = this.#until
    let to = await bounded(file, from, Math.min(from + this.#step, limit), shortestStep)
    await file.run('BEGIN TRANSACTION')
    const where = `time >= ${from} AND time < ${to}`
    const [[count] = []] = await file.columns('writer', insertion(minutes, aggregatedRows(where, minutes.width)))
    if (Number(count) === 0 && to < limit) {
      const [[next] = []] = await file.columns(
        'writer',
        `SELECT min(time) FROM numbers WHERE time >= ${to} AND time < ${limit}`,
      )
      to = next == null ? limit : floorTo(Number(next), minutes.width)
    }
    for (const [level, finer] of [
      [hours, minutes],
      [days, hours],
    ] as const) {
      const [first, end] = [floorTo(from, level.width), floorTo(to, level.width)]
      if (first === end) continue
      await file.run(insertion(level, mergedRows(finer, `time >= ${first} AND time < ${end}`, level.width)))
    }
    await file.run(`UPDATE rolled SET until = ${to}; COMMIT`)
    this.#until = to
    this.#step = nextStep(this.#step, performance.now() - began, shortestStep)
    return to < this.#limit()
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
    const to = await bounded(file, Number(first), Math.min(Number(first) + this.#redoStep, end), hours.width)
    await file.run('BEGIN TRANSACTION')
    await redoMarks(file, `hour >= ${first} AND hour < ${to}`, this.#until)
    await file.run('COMMIT')
    // Those that are done must be written again when they are stale again.
    this.#known.clear()
    this.#redoStep = nextStep(this.#redoStep, performance.now() - began, hours.width)
    return true
  }
}

/** Returns the end of a range with not too many readings, by halves, down to the shortest. */
async function bounded(file: DuckDbFile, from: number, to: number, shortest: number): Promise<number> {
  for (let end = to; ; end = from + ceilTo((end - from) / 2, shortest)) {
    if (end - from <= shortest) return end
    const [[count] = []] = await file.columns(
      'writer',
      `SELECT count(*) FROM numbers WHERE time >= ${from} AND time < ${end}`,
    )
    if (Number(count) <= mostReadings) return end
  }
}

function nextStep(step: number, tookMs: number, shortest: number): number {
  if (tookMs < quickMs) return Math.min(step * 2, longestStep)
  return tookMs > slowMs ? Math.max(shortest, floorTo(step / 2, shortest)) : step
}

/**
 * Rolls up hours of `stale` anew, at most {@link mostRedone} of those that a condition selects, and deletes these marks:
 * from the raw readings, or, where these are gone, by adding the raw readings that came later to the finest roll-up that
 * is left. The caller begins and ends the transaction. `until`: that of `rolled`.
 */
export async function redoMarks(file: DuckDbFile, condition: string, until: number): Promise<void> {
  const gone = ({ column }: { readonly column: string }) =>
    `hour < greatest(coalesce(own.${column}, everyone.${column}), coalesce(everyone.${column}, own.${column}))`
  const greatest = ['raw', ...levels.map(({ column }) => column)].map(name => `max(${name}) AS ${name}`).join(', ')
  await file.run(
    `INSERT INTO redo SELECT marks.series, hour, CASE WHEN ${gone(days)} THEN ${nothing} WHEN ${gone(hours)} THEN 2
         WHEN ${gone(minutes)} THEN 1 WHEN ${gone({ column: 'raw' })} THEN 0 ELSE ${raw} END
       FROM (SELECT DISTINCT series, hour FROM stale WHERE ${condition} ORDER BY hour, series LIMIT ${mostRedone}) AS marks
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

/** Times between two turns: at the start, when nothing is left, and after a failure. */
const firstMs = 10_000
const idleMs = 2_000
const failedMs = 30_000
/** Turns take at most this part of the time, so that writes and questions have theirs. */
const share = 0.2

/** Gives the roll-ups their turns while a store is running. */
export class RollUpTurns {
  readonly #store: { rollUp(): Promise<boolean> }
  #timer: NodeJS.Timeout | undefined
  #isRunning = false

  constructor(store: { rollUp(): Promise<boolean> }) {
    this.#store = store
  }

  start(): void {
    this.#isRunning = true
    this.#after(firstMs)
  }

  stop(): void {
    this.#isRunning = false
    clearTimeout(this.#timer)
  }

  #after(ms: number): void {
    if (!this.#isRunning) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.#turn(), ms)
    this.#timer.unref()
  }

  async #turn(): Promise<void> {
    const began = performance.now()
    try {
      const isMore = await this.#store.rollUp()
      this.#after(isMore ? (performance.now() - began) * (1 / share - 1) : idleMs)
    } catch {
      // The next write or question tells of a store that is away. Raw readings answer meanwhile.
      this.#after(failedMs)
    }
  }
}
