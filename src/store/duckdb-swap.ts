import { type FieldType, fieldType, type Point } from '../model.js'
import type { DuckDbFile } from './duckdb-file.js'
import { bucketOf, levels } from './duckdb-rollups.js'
import { appendRows, type Placed, rowsOf } from './duckdb-rows.js'
import { swapTables as stagedTables } from './duckdb-swap-schema.js'
import { nameHashes, tagsText } from './known-series.js'
import { besideOf, maxBesides } from './points.js'
import type { ReadingSwaps, RejectedPoint, SwapState, SwapStep } from './store.js'

const keptTables = ['swap_keys', 'kept_numbers', 'kept_texts']
const tables = ['numbers', 'texts'] as const

/** The store, as a swap needs it. Implemented by `DuckDbStore`. */
export interface SwapHost {
  /** Runs work between two writes. `isChanging`: what memory knows of series is not so any more afterwards. */
  between<T>(work: (file: DuckDbFile) => Promise<T>, isChanging?: boolean): Promise<T>
  /** Decides which series takes each value, and appends the series that begin with that, within a transaction. */
  place(file: DuckDbFile, points: readonly Point[], rejected: RejectedPoint[]): Promise<readonly Placed[]>
}

/** Most names of series that are held in memory while readings are staged. */
const mostNames = 100_000

/** Replaces readings of the past by those of other rules, all at once, and keeps what was. */
export class DuckDbSwaps implements ReadingSwaps {
  readonly #host: SwapHost
  readonly #names = new Map<string, StoredName | undefined>()

  constructor(host: SwapHost) {
    this.#host = host
  }

  state(): Promise<SwapState | undefined> {
    return this.#host.between(async file => {
      const [ids = [], aboves = []] = await file.columns('writer', 'SELECT id, above FROM swap')
      return ids.length === 0 ? undefined : { id: String(ids[0]), above: Number(aboves[0]) }
    })
  }

  async discard(): Promise<void> {
    this.#names.clear()
    await this.#host.between(file => this.#inOne(file, () => file.run(emptied(stagedTables))), true)
  }

  async forget(): Promise<void> {
    await this.#host.between(file => this.#inOne(file, () => file.run(emptied([...keptTables, 'swap']))))
  }

  stage(made: readonly Point[], points: readonly Point[]): Promise<readonly RejectedPoint[]> {
    return this.#host.between(async file => {
      const rejected: RejectedPoint[] = []
      await this.#inOne(file, async () => {
        const keys = await this.#stored(file, made)
        file.append('swap_made', [
          ['integer', keys.map(({ id }) => id)],
          ['bigint', keys.map(({ time }) => BigInt(time))],
        ])
        const placed = await this.#host.place(file, points, rejected)
        // Only the columns are wanted: series that are known in memory stay as they are.
        const { fresh } = rowsOf(
          placed.map(one => ({ ...one, series: { ...one.series, time: Number.NEGATIVE_INFINITY } })),
        )
        for (const table of tables) appendRows(file, `swap_${table}`, table, fresh[table])
      })
      return rejected
    })
  }

  commit({ id, above, kind }: SwapStep): Promise<{ readonly removed: number; readonly written: number }> {
    this.#names.clear()
    return this.#host.between(
      file =>
        this.#inOne(file, async () => {
          if (kind === 'undo') await restore(file)
          const counts = await exchange(file, kind)
          await file.run(
            `${emptied(stagedTables)}; DELETE FROM swap; INSERT INTO swap VALUES ('${id.replaceAll("'", "''")}', ${above})`,
          )
          return counts
        }),
      true,
    )
  }

  /** Runs work in a transaction. After a rejection the caller closes the file, which undoes it. */
  async #inOne<T>(file: DuckDbFile, work: () => Promise<T>): Promise<T> {
    await file.run('BEGIN TRANSACTION')
    const result = await work()
    await file.run('COMMIT')
    return result
  }

  /** Returns the series and times at which the values of points are stored, if they are. */
  async #stored(file: DuckDbFile, points: readonly Point[]) {
    const found: { readonly id: number; readonly time: number }[] = []
    if (this.#names.size > mostNames) this.#names.clear()
    for (const { measurement, tags, fields, time } of points) {
      const own = tagsText(tags.filter(([, value]) => value !== ''))
      for (const [field, value] of fields) {
        // Values of another type than the series are in the fields beside it.
        let name = field
        for (let step = 0; step <= maxBesides; step++) {
          const known = await this.#named(file, measurement, own, name)
          if (!known) break
          if (known.type === fieldType(value)) {
            found.push({ id: known.id, time })
            break
          }
          name = besideOf(name, fieldType(value))
        }
      }
    }
    return found
  }

  async #named(file: DuckDbFile, measurement: string, tags: string, field: string): Promise<StoredName | undefined> {
    const key = JSON.stringify([measurement, tags, field])
    if (this.#names.has(key)) return this.#names.get(key)
    const [first, second] = nameHashes(measurement, tags, field)
    const [ids = [], types = [], seconds = []] = await file.columns(
      'writer',
      'SELECT id, type, second_hash FROM series WHERE first_hash = $1',
      [first],
    )
    const at = seconds.indexOf(second)
    const known = at < 0 ? undefined : { id: Number(ids[at]), type: types[at] as FieldType }
    this.#names.set(key, known)
    return known
  }
}

interface StoredName {
  readonly id: number
  readonly type: FieldType
}

function emptied(names: readonly string[]): string {
  return names.map(name => `DELETE FROM ${name}`).join('; ')
}

/** Readings of a table whose raw rows retention has not deleted, in SQL: a condition on `series` and `time`. */
const isRaw = `time >= coalesce((SELECT max(raw) FROM dropped WHERE dropped.series = 0), ${Number.MIN_SAFE_INTEGER})
  AND time >= coalesce((SELECT max(raw) FROM dropped WHERE dropped.series = keys.series), ${Number.MIN_SAFE_INTEGER})`

/**
 * Puts what is staged in the place of what is stored, and keeps that unless this undoes a swap. Resolves with how many
 * readings were removed and not written anew, and how many were written.
 */
async function exchange(file: DuckDbFile, kind: SwapStep['kind']) {
  await file.run(
    `CREATE OR REPLACE TEMP TABLE changed AS SELECT series, time, bool_or(is_made) AS is_made FROM (
       SELECT series, time, true AS is_made FROM swap_made UNION ALL SELECT series, time, false FROM swap_numbers
       UNION ALL SELECT series, time, false FROM swap_texts) AS keys WHERE ${isRaw} GROUP BY series, time`,
  )
  let [removed, written] = [0, 0]
  for (const table of tables) {
    if (kind === 'swap' || kind === 'rest') {
      // What the swap itself has written is not kept: of the messages behind it, only what the rules before have made is.
      const isOld =
        kind === 'swap'
          ? 'true'
          : 'changed.is_made AND NOT EXISTS (FROM swap_keys AS known WHERE known.series = changed.series AND known.time = changed.time)'
      await file.run(
        `INSERT INTO kept_${table} SELECT old.series, old.time, old.value FROM ${table} AS old
           JOIN changed ON old.series = changed.series AND old.time = changed.time WHERE ${isOld} AND ${within('old.time')}`,
      )
    }
    removed += await countGone(file, table)
    await deleteRows(file, table, 'changed')
    const [[count] = []] = await file.columns(
      'writer',
      `INSERT INTO ${table} SELECT staged.series, staged.time, arg_max(staged.value, staged.rowid) FROM swap_${table} AS staged
         SEMI JOIN changed ON staged.series = changed.series AND staged.time = changed.time
         GROUP BY staged.series, staged.time`,
    )
    written += Number(count)
  }
  await markStale(file, 'changed')
  if (kind === 'swap' || kind === 'rest') {
    await file.run(
      `INSERT INTO swap_keys SELECT series, time FROM changed ANTI JOIN swap_keys AS known
         ON changed.series = known.series AND changed.time = known.time`,
    )
  }
  await file.run('DROP TABLE changed')
  return { removed, written }
}

/** Puts back what a swap has removed or replaced, as far as its series are still there, and keeps nothing any more. */
async function restore(file: DuckDbFile): Promise<void> {
  await file.run(
    `CREATE OR REPLACE TEMP TABLE changed AS SELECT series, time FROM swap_keys AS keys
       WHERE ${isRaw} AND series IN (SELECT id FROM series)`,
  )
  for (const table of tables) {
    await deleteRows(file, table, 'changed')
    await file.run(
      `INSERT INTO ${table} SELECT kept.series, kept.time, kept.value FROM kept_${table} AS kept
         SEMI JOIN changed ON kept.series = changed.series AND kept.time = changed.time
         JOIN series ON series.id = kept.series WHERE (series.type = 'text') = ${table === 'texts'}`,
    )
  }
  await markStale(file, 'changed')
  await file.run(`DROP TABLE changed; ${emptied(keptTables)}`)
}

/** Condition that a time is in the span of what changes, so that a scan skips all others. */
function within(time: string): string {
  return `${time} BETWEEN (SELECT min(time) FROM changed) AND (SELECT max(time) FROM changed)`
}

/** Resolves with how many readings go that are not written anew. */
async function countGone(file: DuckDbFile, table: string): Promise<number> {
  const [[count] = []] = await file.columns(
    'writer',
    `SELECT count(*) FROM ${table} AS old JOIN changed ON old.series = changed.series AND old.time = changed.time
       ANTI JOIN swap_${table} AS staged ON staged.series = old.series AND staged.time = old.time
       WHERE ${within('old.time')}`,
  )
  return Number(count)
}

async function deleteRows(file: DuckDbFile, table: string, keys: string): Promise<void> {
  const [[first] = [], [last] = []] = await file.columns('writer', `SELECT min(time), max(time) FROM ${keys}`)
  if (first == null) return
  await file.run(
    `DELETE FROM ${table} USING ${keys} WHERE ${table}.time BETWEEN ${first} AND ${last}
       AND ${table}.series = ${keys}.series AND ${table}.time = ${keys}.time`,
  )
}

/** Marks the hours of the roll-ups that are not right any more, as late readings do. */
async function markStale(file: DuckDbFile, keys: string): Promise<void> {
  const [, hours] = levels
  await file.run(
    `INSERT INTO stale SELECT DISTINCT ${keys}.series, ${bucketOf(`${keys}.time`, hours.width)} FROM ${keys}
       JOIN series ON series.id = ${keys}.series
       WHERE series.type <> 'text' AND ${keys}.time < (SELECT until FROM rolled)`,
  )
}
