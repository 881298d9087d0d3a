import type { FieldType, FieldValue, Tags } from '../model.js'
import type { DuckDbFile, Value } from './duckdb-file.js'
import { read, type Table, tableOf, typed } from './duckdb-sql.js'
import type { SeriesCache } from './known-series.js'

/** A series as the database names one. */
interface NamedSeries {
  readonly id: number
  readonly measurement: string
  readonly tags: Tags
  readonly field: string
  readonly type: FieldType
}

/** Returns the newest reading of each series, by id: from memory if held there, else from the disk. */
export async function newestOf(file: DuckDbFile, cache: SeriesCache, named: readonly NamedSeries[]) {
  const newest = new Map<number, { time: number; value: FieldValue }>()
  const unknown: Record<Table, NamedSeries[]> = { numbers: [], texts: [] }
  for (const series of named) {
    const known = cache.peek(series.measurement, series.tags, series.field)
    if (known?.value === undefined) unknown[tableOf(series.type)].push(series)
    else newest.set(series.id, { time: known.time, value: known.value })
  }
  for (const table of ['numbers', 'texts'] as const) {
    const some = unknown[table]
    if (some.length === 0) continue
    const types = new Map(some.map(({ id, type }) => [id, type]))
    const [ids = [], times = [], values = []] = await file.columns(
      'reader',
      `SELECT series, max(time), ${read(table, 'arg_max(value, time)')} FROM ${table}
       WHERE series BETWEEN $1 AND $2 AND series IN (SELECT unnest($3)) GROUP BY series`,
      [BigInt(some[0]?.id ?? 0), BigInt(some.at(-1)?.id ?? 0), some.map(({ id }) => BigInt(id))],
    )
    for (const [i, id] of ids.entries()) {
      const type = types.get(Number(id)) ?? 'number'
      newest.set(Number(id), { time: Number(times[i]), value: typed([values[i] as Value], type)[0] as FieldValue })
    }
  }
  return newest
}
