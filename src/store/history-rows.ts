import type { FieldType, FieldValue } from '../model.js'
import { fieldType } from '../model.js'
import type { RowChunk, RowReading, RowSeries, RowSource, RowsQuery } from './rows.js'
import type { TimeSeriesStore } from './store.js'

/** Rows of one question. InfluxDB answers at most 10,000 by default (`max-row-limit`). */
const chunkRows = 10_000
const pageSeries = 10_000

type HistoryStore = Pick<TimeSeriesStore, 'history' | 'series'>

/**
 * Reads rows by the questions that every store answers: page by page of the series, and of each series range by range,
 * as narrow as there are few enough readings in one.
 */
export class HistoryRows implements RowSource {
  readonly #store: HistoryStore

  constructor(store: HistoryStore) {
    this.#store = store
  }

  async open(query: RowsQuery): Promise<RowReading> {
    return new HistoryReading(this.#store, query)
  }
}

class HistoryReading implements RowReading {
  readonly order = 'series'
  readonly extent = undefined
  readonly series: RowSeries[] = []
  readonly #store: HistoryStore
  readonly #query: RowsQuery
  /** Newest reading of each series, by position. */
  readonly #newest: number[] = []
  #after: string | undefined
  #hasMore = true
  #position = 0
  #from: number
  #isClosed = false

  constructor(store: HistoryStore, query: RowsQuery) {
    this.#store = store
    this.#query = query
    this.#from = query.from
  }

  async next(): Promise<RowChunk | undefined> {
    while (!this.#isClosed) {
      if (this.#position === this.series.length) {
        if (!this.#hasMore) return undefined
        await this.#nextPage()
        continue
      }
      const chunk = await this.#read(this.series[this.#position] as RowSeries)
      if (chunk) return chunk
    }
    return undefined
  }

  close(): void {
    this.#isClosed = true
  }

  async #nextPage(): Promise<void> {
    const page = await this.#store.series({ after: this.#after, limit: pageSeries })
    for (const series of page.series) {
      if (!this.#query.chosen.includes(series)) continue
      const { measurement, tags, field, type } = series
      this.series.push({ measurement, tags, field, type })
      this.#newest.push(series.last.time)
    }
    this.#after = page.next
    this.#hasMore = page.next !== undefined
  }

  /** Reads the next rows of the series at the position. Moves on behind the last. */
  async #read(series: RowSeries): Promise<RowChunk | undefined> {
    const end = Math.min(this.#query.to, (this.#newest[this.#position] as number) + 1)
    let to = end
    while (this.#from < to) {
      const query = { series, from: this.#from, to, points: chunkRows, fn: 'count' as const }
      const { times, values, window } = await this.#store.history(query)
      if (this.#isClosed) return undefined
      if (window === undefined) {
        const rows = ownRows(series.type, times, values)
        const position = this.#position
        this.#moveTo(to, end)
        return rows && { series: rows.times.map(() => position), ...rows }
      }
      const first = times[0] ?? this.#from
      to = narrower({ from: this.#from, to, first, window, type: series.type, times, values })
    }
    this.#moveTo(end, end)
    return undefined
  }

  #moveTo(time: number, end: number): void {
    this.#from = time
    if (time < end) return
    this.#position++
    this.#from = this.#query.from
  }
}

/** Returns the rows of the series itself: a store may answer with those of a field beside, which are of another type. */
function ownRows(type: FieldType, times: readonly number[], values: readonly FieldValue[]) {
  if (times.length === 0 || fieldType(values[0] as FieldValue) !== type) return undefined
  return { times, values }
}

interface Counted {
  readonly from: number
  readonly to: number
  readonly first: number
  readonly window: number
  readonly type: FieldType
  readonly times: readonly number[]
  readonly values: readonly FieldValue[]
}

/** Returns the end of a narrower range: behind as many windows as have few enough readings together. */
function narrower({ from, to, first, window, type, times, values }: Counted): number {
  const half = from + Math.max(1, Math.floor((to - from) / 2))
  if (type !== 'number') return half
  let rows = 0
  let end = first
  for (const [i, count] of values.entries()) {
    rows += Number(count)
    if (rows > chunkRows) break
    end = (times[i] as number) + window
  }
  // The first window alone holds too many.
  if (end <= from || end >= to) return Math.min(half, Math.max(from + 1, first + Math.ceil(window / 2)))
  return end
}
