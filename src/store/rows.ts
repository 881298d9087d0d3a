import type { FieldType, FieldValue, SeriesId } from '../model.js'

/* The port through which stored rows leave a store, as an export needs them: many series, any number of rows. */

/** A series that an export reads. */
export interface RowSeries extends SeriesId {
  readonly type: FieldType
}

export interface RowsQuery {
  /** Microseconds since the epoch; `from` is included, `to` is not. */
  readonly from: number
  readonly to: number
  /** Chooses the series. Asked once for each series of the store. */
  readonly chosen: SeriesChoice
}

export interface SeriesChoice {
  includes(series: RowSeries): boolean
}

/** Rows as columns of equal length. */
export interface RowChunk {
  /** Position in `series` of the reading. */
  readonly series: readonly number[]
  /** Microseconds since the epoch. */
  readonly times: readonly number[]
  readonly values: readonly FieldValue[]
}

/** The rows of a query, read one chunk at a time. Between two chunks nothing of the store is held. */
export interface RowReading {
  readonly series: readonly RowSeries[]
  /** `time`: all rows ascend by time, then by the order in which the series began. `series`: one series after the other. */
  readonly order: 'time' | 'series'
  /** Microseconds of the first and the last row that there were at the beginning. Undefined: none, or not known. */
  readonly extent: { readonly first: number; readonly last: number } | undefined
  /** Resolves with the next rows; undefined behind the last. Rejects with `store_unavailable`. */
  next(): Promise<RowChunk | undefined>
  /** Ends the reading, also in the middle of a statement. */
  close(): void
}

/** Parquet columns: time, measurement, tags (JSON), field, type, number, boolean, text. */
export interface ParquetFile {
  readonly rows: number
}

/** Reads the rows of many series. Rejects with `store_unavailable`, and with `too_large` for more series than fit. */
export interface RowSource {
  open(query: RowsQuery): Promise<RowReading>
  /**
   * Writes the rows of a query to a new file of Apache Parquet, in the order of storing. Resolves when the file is
   * whole. Undefined: the store cannot.
   */
  parquet?(query: RowsQuery, path: string, signal: AbortSignal): Promise<ParquetFile>
  /** A folder with the readings of whole days. Undefined: there is none, or the store cannot. */
  readonly days?: DayPartitions | undefined
}

/** Counts of the days, files and rows that were written. */
export interface WrittenDays {
  readonly days: number
  readonly files: number
  readonly rows: number
}

/** A folder with a Parquet file of each measurement and day of UTC, from which history is answered, too. */
export interface DayPartitions {
  readonly folder: string
  /**
   * Writes the days that ended before `until` (microseconds since the epoch) and are not there yet, or of which the store
   * has other readings by now. A file appears when it is whole. Rejects when one could not be written: call again.
   */
  write(until: number, signal: AbortSignal): Promise<WrittenDays>
}

/** A question in SQL. */
export interface SqlQuery {
  readonly sql: string
  /** Most rows of the answer. */
  readonly limit: number
}

export interface SqlAnswer {
  readonly columns: readonly { readonly name: string; readonly type: string }[]
  /** Values as JSON. */
  readonly rows: readonly (readonly unknown[])[]
  /** False when there are more rows. */
  readonly isWhole: boolean
}

/**
 * Answers questions in SQL that change nothing. Rejects with `bad_request` for any other statement, and with `too_large`
 * when a question takes too much time or memory.
 */
export interface SqlReader {
  ask(query: SqlQuery): Promise<SqlAnswer>
}

/** Most series of one export: each takes about 200 bytes of memory. */
export const mostSeries = 2_000_000
