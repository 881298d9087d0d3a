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

/** Which series are wanted. */
export interface SeriesQuery {
  /** `next` of the page before; without, the first page. */
  readonly after?: string | undefined
  /** Series of a page, at most. */
  readonly limit: number
}

/** Some of the series, ordered by measurement, tags, field. Pages follow each other in an order of the store's own. */
export interface SeriesPage {
  readonly series: readonly Series[]
  /** Where the next page begins; undefined when this is the last one. */
  readonly next: string | undefined
}

/** How far a store has got. */
export interface LastStored {
  /** Every message up to this sequence number is stored or rejected; undefined when the store does not know. */
  readonly sequence: number | undefined
  /** The store was empty when it was opened, because it was made then. */
  readonly isNew: boolean
}

/** Where points live. Implementations only try: no retry, no queue, no back-off of their own. */
export interface TimeSeriesStore {
  /**
   * Resolves when reads and writes can be tried; a server that is down does not make it fail. Rejects with
   * `store_unavailable` when a file cannot be opened now: then each read and write tries to open it again.
   */
  start(): Promise<void>

  /** How far the store has got; undefined when it keeps no account of that. Rejects with `store_unavailable`. */
  last(): Promise<LastStored | undefined>

  /**
   * Resolves when every point that is not in the answer is durable and readable. A point already there (same
   * series and time) is replaced, so writing a batch again changes nothing; within a batch the later one wins.
   * A tag with an empty value is no tag. The points answered, in ascending order, are refused for ever, with the
   * reason; all others of the batch are stored:
   *
   * The first value of a field fixes its type, for its series or, where the server wants it so, for all of its
   * measurement; all numbers are one type. A value of another type is stored in the field beside it: `field_num`,
   * `field_bool` or `field_str`. So no writer can make the values of another one impossible to store.
   *
   * - `type_conflict`: the fields beside it are of other types, too.
   * - `bad_value`: NaN, infinity, half a microsecond, no name, no fields, text that is not valid Unicode.
   * - `beyond_retention`: older than the server's retention policy keeps anything.
   * - `series_limit`: it would begin a series, or bring a tag value, beyond the server's limit of these.
   * - `too_large`: alone it is more than the server, or a proxy before it, takes.
   * - `store_refused`: for anything else that the server says.
   *
   * What a server refused has the server's own words as `detail`. Rejects with `store_unavailable`, within the time
   * limit of the requests, when nothing can be said of the batch: write all of it again, not before `retryAfterMs` if
   * the server named a time.
   *
   * `sequence`: when this write is done, every message up to it is stored or rejected. Kept with the points, so that
   * `last` never tells of more than is there.
   */
  write(points: readonly Point[], sequence?: number): Promise<readonly RejectedPoint[]>

  /**
   * The readings of one series in [from, to). No more than `points` of them: returned as they are. More: the
   * range is cut from `from` on into at most `points` windows of equal width, rounded up to whole microseconds;
   * each window with readings gives one value, stamped with the window's start. A series without readings in the range
   * is answered with those of a field beside it, if there are any, else with empty columns.
   */
  history(query: HistoryQuery): Promise<Columns>

  /** A page of the series, each with its newest value. */
  series(query: SeriesQuery): Promise<SeriesPage>

  stop(): Promise<void>

  /**
   * Stops a store at once whose thread is about to end after an error: reads and writes that are not done never resolve.
   * Resolves when the thread may end, with nothing of the store left open. Only a store with native calls needs it.
   */
  abandon?(): Promise<void>
}
