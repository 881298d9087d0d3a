import type { FieldValue, Point, Rejection, Series, SeriesId } from '../model.js'

/** How several readings of one window become one value. Fields that are not numbers always take `last`. */
export const aggregates = ['mean', 'min', 'max', 'first', 'last', 'sum', 'count'] as const
export type Aggregate = (typeof aggregates)[number]

export interface HistoryQuery {
  readonly series: SeriesId
  /** Microseconds since the epoch; `from` is included, `to` is not. */
  readonly from: number
  readonly to: number
  /** At most this many values come back, at least 1. */
  readonly points: number
  readonly fn: Aggregate
}

/** Equal-length columns, ascending by time: what a chart draws and a column store holds. */
export interface Columns {
  /** Microseconds since the epoch. */
  readonly times: number[]
  readonly values: FieldValue[]
}

export interface RejectedPoint extends Rejection {
  /** Position in the array given to `write`. */
  readonly index: number
}

/** Where points live. Implementations only try: no retry, no queue, no back-off of their own. */
export interface TimeSeriesStore {
  /** Resolves when reads and writes can be tried; a server that is down does not make it fail. */
  start(): Promise<void>

  /**
   * Resolves when every point that is not in the answer is durable and readable. A point already there (same
   * series and time) is replaced, so writing a batch again changes nothing; within a batch the later one wins.
   * A tag with an empty value is no tag. The points answered, in ascending order, are refused for ever, with the
   * reason; all others of the batch are stored:
   *
   * - `type_conflict`: the first value of a field fixes its type in the whole measurement (all numbers are one
   *   type); a point with a value of another type is refused whole.
   * - `bad_value`: NaN, infinity, half a microsecond, no name, no fields, text that is not valid Unicode.
   * - `beyond_retention`: older than the server's retention policy keeps anything.
   * - `series_limit`: it would begin a series, or bring a tag value, beyond the server's limit of these.
   * - `too_large`: alone it is more than the server, or a proxy before it, takes.
   * - `store_refused`: for anything else that the server says.
   *
   * What a server refused has the server's own words as `detail`. Rejects with `store_unavailable`, within the time
   * limit of the requests, when nothing can be said of the batch: write all of it again, not before `retryAfterMs` if
   * the server named a time.
   */
  write(points: readonly Point[]): Promise<readonly RejectedPoint[]>

  /**
   * The readings of one series in [from, to). No more than `points` of them: returned as they are. More: the
   * range is cut from `from` on into at most `points` windows of equal width, rounded up to whole microseconds;
   * each window with readings gives one value, stamped with the window's start. An unknown series gives empty
   * columns.
   */
  history(query: HistoryQuery): Promise<Columns>

  /** All series with their newest value, ordered by measurement, tags, field; at most `limit`. */
  series(limit: number): Promise<readonly Series[]>

  stop(): Promise<void>
}
