import type { FieldValue } from '../model.js'
import type { DuckDbFile } from './duckdb-file.js'
import { type Table, tableOf } from './duckdb-sql.js'
import { isHeld, type KnownSeries, tagsText, type Wanted } from './known-series.js'

/** Rows of one table in one write, as columns. */
class DuckRows {
  readonly series: number[] = []
  readonly times: bigint[] = []
  readonly values: (number | string)[] = []

  add(series: number, time: number, value: FieldValue): void {
    this.series.push(series)
    this.times.push(BigInt(time))
    this.values.push(typeof value === 'boolean' ? Number(value) : value)
  }
}

/** Rows that may be stored already. Of several with the same identity only the last is kept. */
class LateRows extends DuckRows {
  readonly #positions = new Map<string, number>()

  override add(series: number, time: number, value: FieldValue): void {
    const key = `${series} ${time}`
    const position = this.#positions.get(key)
    if (position !== undefined) {
      this.values[position] = typeof value === 'boolean' ? Number(value) : value
      return
    }
    this.#positions.set(key, this.times.length)
    super.add(series, time, value)
  }
}

/** A field of a point, and the series that takes the value. */
export interface Placed {
  readonly series: KnownSeries
  readonly time: number
  readonly value: FieldValue
}

export interface AppendBatch {
  readonly fresh: Record<Table, DuckRows>
  readonly late: Record<Table, LateRows>
}

/** Returns the values as rows. Moves the newest values in memory; after a failed write they are loaded again. */
export function rowsOf(placed: readonly Placed[]): AppendBatch {
  const batch: AppendBatch = {
    fresh: { numbers: new DuckRows(), texts: new DuckRows() },
    late: { numbers: new LateRows(), texts: new LateRows() },
  }
  for (const { series, time, value } of placed) {
    const rows = time > series.time ? batch.fresh : batch.late
    rows[tableOf(series.type)].add(series.id, time, value)
    if (time < series.time) continue
    series.time = time
    series.value = isHeld(value) ? value : undefined
  }
  return batch
}

export function appendRows(file: DuckDbFile, to: string, table: Table, rows: DuckRows): void {
  file.append(to, [
    ['integer', rows.series],
    ['bigint', rows.times],
    [table === 'texts' ? 'text' : 'double', rows.values],
  ])
}

/** A series that a write begins. */
export interface Created extends Wanted {
  readonly series: KnownSeries
}

export function appendSeries(file: DuckDbFile, created: readonly Created[]): void {
  file.append('series', [
    ['integer', created.map(({ series }) => series.id)],
    ['text', created.map(({ group }) => group.measurement)],
    ['text', created.map(({ group }) => tagsText(group.tags))],
    ['text', created.map(({ field }) => field)],
    ['text', created.map(({ series }) => series.type)],
    ['bigint', created.map(({ first }) => first)],
    ['bigint', created.map(({ second }) => second)],
  ])
}
