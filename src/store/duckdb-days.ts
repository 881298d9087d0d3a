import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { directorySynced, fileSynced } from '../disk/files.js'
import { replaceFile } from '../disk/replace-file.js'
import { describe, systemCode } from '../errors.js'
import type { IncidentReporter } from '../observe/incidents.js'
import { partitionOf } from '../runtime/partitions.js'
import type { DuckDbAside } from './duckdb-file.js'
import { guarded, unguarded } from './duckdb-sql.js'
import type { DayPartitions, WrittenDays } from './rows.js'

/*
 * A folder with the readings of whole days, in UTC:
 *
 *     measurement=NAME/day=2026-01-31/telehub.parquet     the readings of a measurement, as an export writes them
 *     complete/2026-01-31.json                            written last: the day is whole. Rows and a checksum of each
 *                   measurement, and the series (ids) of which readings had been deleted before
 *
 * Each file appears by its renaming: `….part` is what a stopped process or a full disk has left, and is written anew.
 */

/** Content of `complete/….json`. */
interface CompleteDay {
  readonly format: 1
  readonly measurements: Readonly<Record<string, { readonly rows: number; readonly sum: string }>>
  /** Series of which the day is not whole. */
  readonly without: readonly number[]
}

/** Days with readings that are compared with what was written: late readings came, or an operator changed some. */
const comparedDays = 31

const dayUs = 86_400_000_000

/** Rest after a day, as a part of the time that the day took. */
const restShare = 1

/** A connection beside the others, for statements that may take long. Implemented by `LastingAside`. */
export interface Aside {
  use<T>(statements: (connection: DuckDbAside) => Promise<T>): Promise<T>
  close(): void
}

/** Writes the rows of the series in `temp.chosen` to a Parquet file. Implemented by the export. */
export type CopyChosen = (connection: DuckDbAside, path: string, from: number, to: number) => Promise<number>

/** Files that answer for times of which the store has no readings any more. */
export interface ArchivedDays {
  /** Ranges of whole days, cut to what was asked for, that the files answer: also where there are no readings. */
  readonly spans: readonly (readonly [from: number, to: number])[]
  readonly files: readonly string[]
}

/** The folder of a store's days: written by {@link write}, and read by history. */
export class DuckDbDays implements DayPartitions {
  readonly folder: string
  readonly #aside: () => Aside
  readonly #copy: CopyChosen
  readonly #incidents: IncidentReporter | undefined
  /** Days by their time, with the time at which the file was changed. */
  readonly #known = new Map<number, { readonly at: number; readonly complete: CompleteDay }>()

  constructor(folder: string, aside: () => Aside, copy: CopyChosen, incidents: IncidentReporter | undefined) {
    this.#incidents = incidents
    this.folder = folder
    this.#aside = aside
    this.#copy = copy
  }

  async write(until: number, signal: AbortSignal): Promise<WrittenDays> {
    const aside = this.#aside()
    const stop = () => aside.close()
    signal.addEventListener('abort', stop)
    const written = { days: 0, files: 0, rows: 0 }
    try {
      mkdirSync(join(this.folder, 'complete'), { recursive: true })
      const days = await aside.use(connection => daysOf(connection, until))
      let compared = 0
      for (const day of days) {
        signal.throwIfAborted()
        const known = this.#complete(day)
        if (known && compared >= comparedDays) continue
        if (known) compared++
        const began = performance.now()
        const files = await this.#writeDay(aside, day, known)
        if (files === undefined) continue
        written.days++
        written.files += files.length
        for (const rows of files) written.rows += rows
        await sleep((performance.now() - began) * restShare, undefined, { signal })
      }
      return written
    } finally {
      signal.removeEventListener('abort', stop)
      aside.close()
    }
  }

  /** Returns what the folder has of a measurement in [from, to), for a series. */
  archived(series: number, measurement: string, from: number, to: number): ArchivedDays {
    const spans: [number, number][] = []
    const files: string[] = []
    for (let day = Math.floor(from / dayUs) * dayUs; day < to; day += dayUs) {
      const complete = this.#complete(day)
      if (!complete || complete.without.includes(series)) continue
      const file = this.#file(measurement, day)
      if (Object.hasOwn(complete.measurements, measurement)) {
        if (!existsSync(file)) continue
        files.push(file)
      }
      const [start, end] = [Math.max(from, day), Math.min(to, day + dayUs)]
      const before = spans.at(-1)
      if (before?.[1] === start) before[1] = end
      else spans.push([start, end])
    }
    return { spans, files }
  }

  /** Tells that files could not be read, and were left out of an answer. */
  unreadable(error: unknown): void {
    const sentence = `files of ${this.folder} (export.nightly) cannot be read, and history leaves them out`
    this.#incidents?.report('nightly_export_unreadable', `${sentence}: ${describe(error)}`)
  }

  /** Resolves with the rows of each file written. Undefined: the day is as it was, or has nothing to write. */
  async #writeDay(aside: Aside, day: number, known: CompleteDay | undefined): Promise<readonly number[] | undefined> {
    const found = await aside.use(connection => summaryOf(connection, day))
    // What was written stays when retention takes readings away, and nothing is written of a part.
    if (known ? found.isCut : found.isGone) return undefined
    const names = Object.keys(found.measurements)
    if (!known && names.length === 0) return undefined
    // A store that has lost readings, as one that was begun anew, takes none from the files.
    const changed = names.filter(name => {
      const [before, now] = [known?.measurements[name], found.measurements[name]]
      return !before || (now && now.sum !== before.sum && now.rows >= before.rows)
    })
    if (known && changed.length === 0) return undefined
    // The day is not whole while the files change.
    if (known) await rm(this.#marker(day), { force: true })
    const rows: number[] = []
    for (const name of changed) rows.push(await this.#writeFile(aside, name, day))
    const measurements = { ...known?.measurements }
    for (const name of changed) measurements[name] = found.measurements[name] as (typeof measurements)[string]
    const complete: CompleteDay = { format: 1, measurements, without: known?.without ?? found.without }
    await replaceFile(this.#marker(day), `${JSON.stringify(complete)}\n`, { mode: 0o644 })
    return rows
  }

  async #writeFile(aside: Aside, measurement: string, day: number): Promise<number> {
    const path = this.#file(measurement, day)
    const part = `${path}.part`
    mkdirSync(dirname(path), { recursive: true })
    try {
      const rows = await aside.use(async connection => {
        await connection.run('CREATE OR REPLACE TEMP TABLE chosen (id INTEGER)')
        const named = `INSERT INTO chosen SELECT id FROM series WHERE ${guarded('measurement')} = $1`
        await connection.columns(named, [`.${measurement}`])
        return this.#copy(connection, part, day, day + dayUs)
      })
      await fileSynced(part)
      await rename(part, path)
      await directorySynced(dirname(path))
      return rows
    } catch (error) {
      await rm(part, { force: true })
      await removeEmpty(dirname(path))
      throw error
    }
  }

  #complete(day: number): CompleteDay | undefined {
    const path = this.#marker(day)
    try {
      const at = statSync(path, { throwIfNoEntry: false })?.mtimeMs
      if (at === undefined) return undefined
      const known = this.#known.get(day)
      if (known?.at === at) return known.complete
      const complete = JSON.parse(readFileSync(path, 'utf8')) as CompleteDay
      if (complete.format !== 1) return undefined
      this.#known.set(day, { at, complete })
      return complete
    } catch {
      // The day is written again if the store has the readings, and else does not count as whole.
      return undefined
    }
  }

  #marker(day: number): string {
    return join(this.folder, 'complete', `${dateOf(day)}.json`)
  }

  #file(measurement: string, day: number): string {
    return join(this.folder, ...partitionOf(measurement, day / 1_000), 'telehub.parquet')
  }
}

/** Returns the days with readings that ended before a time. Newest first: these are read most, and change most. */
async function daysOf(connection: DuckDbAside, until: number): Promise<readonly number[]> {
  const of = (table: string) =>
    `SELECT DISTINCT time // ${dayUs} AS day FROM ${table} WHERE time >= 0 AND time < ${until}`
  const [days = []] = await connection.columns(
    `SELECT DISTINCT day FROM (${of('numbers')} UNION ALL ${of('texts')}) ORDER BY day DESC`,
  )
  return days.map(day => Number(day) * dayUs)
}

/** The readings of a day in the store, in sum. */
interface DaySummary {
  readonly measurements: CompleteDay['measurements']
  readonly without: readonly number[]
  /** Retention has deleted readings of some series, or of those without a rule of their own. */
  readonly isCut: boolean
  readonly isGone: boolean
}

async function summaryOf(connection: DuckDbAside, day: number): Promise<DaySummary> {
  const range = `WHERE time >= ${day} AND time < ${day + dayUs}`
  const [ids = []] = await connection.columns(`SELECT DISTINCT series FROM dropped WHERE raw > ${day}`)
  const [[classes] = []] = await connection.columns(`SELECT count(*) FROM retention_classes WHERE raw > ${day}`)
  const cut = ids.map(Number)
  const [names = [], counts = [], sums = []] = await connection.columns(
    `SELECT ${guarded('measurement')}, count(*), sum(row)::VARCHAR FROM
       (SELECT series, hash(series, time, value) AS row FROM numbers ${range}
        UNION ALL SELECT series, hash(series, time, value) FROM texts ${range})
     JOIN series ON id = series GROUP BY ALL`,
  )
  const measurements = Object.fromEntries(
    names.map((name, i) => [unguarded(name), { rows: Number(counts[i]), sum: String(sums[i]) }]),
  )
  const without = cut.filter(id => id !== 0)
  return { measurements, without, isCut: cut.length > 0 || Number(classes) > 0, isGone: cut.includes(0) }
}

function dateOf(day: number): string {
  return new Date(day / 1_000).toISOString().slice(0, 10)
}

async function removeEmpty(path: string): Promise<void> {
  try {
    if ((await readdir(path)).length === 0) await rm(path, { recursive: true })
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
  }
}
