import type { FieldType, FieldValue, Point, Rejection, Series, SeriesId, Tags } from '../model.js'
import type { RetentionPolicies } from './influx-policy.js'
import type { StoreRetention } from './retention.js'

export type { DefaultPolicy, RetentionPolicies } from './influx-policy.js'
export type {
  DropRow,
  DropSlice,
  KeptTier,
  RetentionClass,
  RollUpProgress,
  RowRate,
  StoreRetention,
  StoreSize,
  TableSize,
  TierTimes,
} from './retention.js'

import type { RowSource, SqlReader } from './rows.js'

export type {
  DayPartitions,
  RowChunk,
  RowReading,
  RowSeries,
  RowSource,
  RowsQuery,
  SqlAnswer,
  SqlQuery,
} from './rows.js'

/** Ways to turn several readings of one window into one value. Fields that are not numbers always take `last`. */
export const aggregates = ['mean', 'min', 'max', 'first', 'last', 'sum', 'count'] as const
export type Aggregate = (typeof aggregates)[number]

export interface HistoryQuery {
  readonly series: SeriesId
  /** Microseconds since the epoch; `from` is included, `to` is not. */
  readonly from: number
  readonly to: number
  /** Maximum number of values returned, at least 1. */
  readonly points: number
  readonly fn: Aggregate
  /** Whether the answer needs a `sequence`, for which a store reads once more. */
  readonly withSequence?: boolean
}

/** Columns of equal length, ascending by time: what a chart draws and a column store holds. */
export interface Columns {
  /** Microseconds since the epoch. */
  readonly times: number[]
  readonly values: FieldValue[]
  /** Width in microseconds of the windows that the values are of. Undefined: the values are the readings as stored. */
  readonly window?: number
  /**
   * Readings of all messages up to this sequence number that belong in the answer are in it. Undefined when the store
   * does not know, or was not asked.
   */
  readonly sequence?: number
}

export interface RejectedPoint extends Rejection {
  /** Position in the array given to `write`. */
  readonly index: number
  /** The refused fields, when the others of the point are stored. Undefined: the whole point is refused. */
  readonly fields?: readonly string[]
}

/** Selects a page of series. */
export interface SeriesQuery {
  /** `next` of the page before. Undefined for the first page. */
  readonly after?: string | undefined
  /** Maximum number of series in a page. */
  readonly limit: number
  /** Words, in lower case, that the names of a series must contain, all of them. */
  readonly words?: readonly string[] | undefined
}

/** Some of the series, ordered by measurement, tags, field. The order of pages is the store's own. */
export interface SeriesPage {
  readonly series: readonly Series[]
  /** Beginning of the next page. Undefined on the last page. */
  readonly next: string | undefined
}

/** A change that an operator makes to a series and all its readings. */
export type SeriesChange =
  | { readonly kind: 'rename'; readonly series: SeriesId; readonly to: SeriesId }
  | { readonly kind: 'drop'; readonly series: SeriesId }
  | { readonly kind: 'retype'; readonly series: SeriesId; readonly type: FieldType }

/** Progress of a store. */
export interface LastStored {
  /** Every message up to this sequence number is stored or rejected. Undefined when the store does not know. */
  readonly sequence: number | undefined
  /** True when this opening created the store. */
  readonly isNew: boolean
}

/** Selects series by their names. */
export interface NamesQuery {
  /** Names of measurements, and of fields. Undefined: all. */
  readonly measurements?: readonly string[] | undefined
  readonly fields?: readonly string[] | undefined
  /** Tags that a series must have, all of them. */
  readonly tags?: Tags
  /** Leaves out the other names, so that equal rows become one; `tags` keeps the measurement. */
  readonly only?: 'measurement' | 'field' | 'tags' | undefined
  /** Maximum number of rows. */
  readonly limit: number
}

/** A series with the number in this store. With `only`, names that were not asked for are empty. */
export interface NumberedSeries extends SeriesId {
  readonly id: number
  readonly type: FieldType
}

/** Readings of several series of one type, put into groups. */
export interface GroupQuery {
  readonly type: FieldType
  /** Numbers of the series, and for each the group that the readings are in. */
  readonly series: readonly number[]
  readonly groups: readonly number[]
  /** Microseconds since the epoch; `from` is included, `to` is not. */
  readonly from: number
  readonly to: number
  /** Maximum number of rows. */
  readonly limit: number
}

export type WindowFunction =
  | 'mean'
  | 'median'
  | 'min'
  | 'max'
  | 'sum'
  | 'count'
  | 'first'
  | 'last'
  | 'spread'
  | 'stddev'
  | 'mode'
  | 'percentile'
  | 'count distinct'

export interface WindowQuery extends GroupQuery {
  /** Windows of `width` microseconds, one of which begins at `origin`, at or before `from`. Undefined: one window. */
  readonly windows: { readonly width: number; readonly origin: number } | undefined
  readonly functions: readonly {
    readonly name: WindowFunction
    /** Of `percentile`. */
    readonly nth: number
    /** Whether the time of the reading is wanted beside the value. */
    readonly isTimed: boolean
  }[]
}

/** A value for each function; or, for `distinct`, the one value. Undefined: the function has none. */
export interface WindowRow {
  readonly group: number
  /** Number of the window, from 0 at the origin. */
  readonly window: number
  readonly values: readonly (FieldValue | undefined)[]
  /** Microseconds since the epoch, for the functions that are timed. */
  readonly times: readonly (number | undefined)[]
}

export interface GroupReading {
  /** Position in `series` of the query. */
  readonly position: number
  readonly time: number
  readonly value: FieldValue
}

export interface BusiestQuery {
  /** Microseconds since the epoch; `from` is included, `to` is not. */
  readonly from: number
  readonly to: number
  /** Maximum number of series. */
  readonly limit: number
  /** Asks for this series only. */
  readonly series?: SeriesId | undefined
}

/** Readings of a span in numbers: of all series, and of those with the most. Bytes are those before compression. */
export interface BusiestSeries {
  readonly series: number
  readonly points: number
  readonly bytes: number
  readonly busiest: readonly (NumberedSeries & { readonly points: number; readonly bytes: number })[]
}

/**
 * Reads many series at once, for a query language. Rows beyond a limit are not answered: ask for one more than wanted
 * to learn of them. All reject with `store_unavailable`, and with `too_large` when an answer would need too much memory
 * or time.
 */
export interface SeriesReader {
  names(query: NamesQuery): Promise<readonly NumberedSeries[]>
  /** Resolves with the positions of the texts that a regular expression (RE2) matches somewhere. Rejects with `bad_request`. */
  matching(pattern: string, texts: readonly string[]): Promise<readonly number[]>
  /** Resolves with the windows that have readings, in order of group and window. */
  windows(query: WindowQuery): Promise<readonly WindowRow[]>
  /** Resolves with the different values of each window, in order of group, window, and first time. */
  distinct(query: Omit<WindowQuery, 'functions'>): Promise<readonly WindowRow[]>
  /** Resolves with at most `perGroup` readings of each group, in order of group, time, and position. */
  readings(
    query: GroupQuery & { readonly descending: boolean; readonly perGroup: number },
  ): Promise<readonly GroupReading[]>
  /** Resolves with the series that have the most readings in a span. */
  busiest(query: BusiestQuery): Promise<BusiestSeries>
}

/** Storage of points. Implementations only try: no retry, no queue, no back-off of their own. */
/** A store whose file can be copied while it is written to. */
export interface HeldStore {
  /** Bytes of the log beside the database, up to a whole write. */
  readonly logBytes: number
}

/** A swap that is in force, or was undone. */
export interface SwapState {
  readonly id: string
  /** Messages above this sequence number may be stored by the rules before. */
  readonly above: number
}

/** A step of a swap: its main part; what was stored meanwhile; and the same when it is undone. */
export interface SwapStep extends SwapState {
  readonly kind: 'swap' | 'rest' | 'undo' | 'rest of undo'
}

/**
 * Puts readings that other rules make of the past in the place of those that are stored. What is staged shows nowhere, and
 * is kept over a restart. All reject with `store_unavailable`, and then nothing has changed.
 */
export interface ReadingSwaps {
  /** Resolves with the swap that was committed last, unless that is forgotten. */
  state(): Promise<SwapState | undefined>
  /**
   * Stages readings. `made`: what the rules before have made of a message, to be removed where it is stored; `points`:
   * what the other rules make, of which those that are not taken are answered.
   */
  stage(made: readonly Point[], points: readonly Point[]): Promise<readonly RejectedPoint[]>
  /**
   * Puts what is staged into force in one transaction, which also says so in the state. A swap keeps what it removes or
   * replaces; an undo puts that back first. Resolves with how many readings are gone, and how many were written.
   */
  commit(step: SwapStep): Promise<{ readonly removed: number; readonly written: number }>
  /** Forgets what is staged. */
  discard(): Promise<void>
  /** Forgets what is kept for an undo, and the state. */
  forget(): Promise<void>
}

export interface TimeSeriesStore {
  /** Replaces readings of the past. Undefined: the store has no transactions, or cannot delete single readings. */
  readonly swaps?: ReadingSwaps
  /** Reads for a query language. Undefined: the server of the store has one, and is to be asked directly. */
  readonly reader?: SeriesReader
  /** Reads rows of many series. Undefined: they are read by `series` and `history`. */
  readonly rows?: RowSource
  /** Answers SQL. Undefined: the server of the store has a language of its own. */
  readonly sql?: SqlReader

  /** Deletes what was kept long enough. Undefined: the server of the store does, by its policies. */
  readonly retention?: StoreRetention

  /** Policies of the server, by which that deletes. Undefined: there is no server. */
  readonly policies?: RetentionPolicies

  /**
   * Resolves when reads and writes can be tried, even if a server is down. Rejects with `store_unavailable` when a file
   * cannot be opened now: then each read and write tries to open the file again.
   */
  start(): Promise<void>

  /**
   * Keeps what is in the file as it is, for `ms` or until `release`: meanwhile writes only append to the log beside the
   * file, so that both can be copied. Undefined: the store is not a file of the hub.
   */
  hold?(ms: number): Promise<HeldStore>
  release?(): Promise<void>

  /** Resolves with the progress of the store. Undefined when the store keeps none. Rejects with `store_unavailable`. */
  last(): Promise<LastStored | undefined>

  /**
   * Resolves when every point that is not in the answer is durable and readable. A stored point of the same series and
   * time is replaced, so writing a batch again changes nothing; within a batch the later one wins. A tag with an empty
   * value is no tag. The points answered, in ascending order, are refused for ever, with the reason; all others of the
   * batch are stored, and so are the fields of a refused point that are not named in `fields`:
   *
   * The first value of a field fixes the type, for the series or, where the server requires that, for the whole
   * measurement; all numbers are one type. Where the server has integers already, from another program, whole numbers
   * are stored as such and others in the field beside. A value of another type is stored in the field beside: `field_num`,
   * `field_bool` or `field_str`. So no writer can make the values of another one impossible to store.
   *
   * - `type_conflict`: the fields beside are of other types, too.
   * - `bad_value`: NaN, infinity, half a microsecond, no name, no fields, text that is not valid Unicode.
   * - `beyond_retention`: older than the store keeps readings of the series; those of that time were deleted.
   * - `series_limit`: the point would begin a series, or bring a tag value, beyond the server's limit of these.
   * - `too_large`: the point alone is more than the server, or a proxy before the server, takes.
   * - `store_refused`: any other reason that the server gives.
   *
   * For a point that a server refused, `detail` is in the server's own words. Rejects with `store_unavailable`, within
   * the time limit of the requests, when nothing is known of the batch: write all of the batch again, not before
   * `retryAfterMs` if the server named a time.
   *
   * `sequence`: after this write, every message up to this number is stored or rejected. Stored together with the
   * points, so that `last` never returns more than is stored.
   */
  write(points: readonly Point[], sequence?: number): Promise<readonly RejectedPoint[]>

  /**
   * Returns the field in which a value of this series is stored: the field itself, or the one beside where the field is
   * of another type. Without asking anybody: as far as the store knows the types by now.
   */
  fieldOf(series: SeriesId, value: FieldValue): string

  /**
   * Resolves with the readings of one series in [from, to). At most `points` readings are returned unchanged. For more,
   * the range is cut from `from` on into at most `points` windows of equal width, rounded up to whole microseconds;
   * each window with readings gives one value, stamped with the window's start. A series without readings in the range
   * is answered with those of a field beside, if there are any, else with empty columns.
   *
   * A store with roll-ups of numbers and booleans in buckets (of a minute, an hour, a day of UTC) cuts windows at least
   * twice as wide as a bucket at whole buckets: they are as many whole buckets wide as it takes, and the first one begins
   * with a bucket, at `from` or before; readings before `from` are not in it. Where the readings themselves are not kept
   * any more, windows are at least as wide as the finest bucket kept, also where there are not more than `points`, and
   * whole buckets belong to the answer, which may have readings before `from` and after `to`.
   */
  history(query: HistoryQuery): Promise<Columns>

  /** Returns a page of the series, each with the newest value. */
  series(query: SeriesQuery): Promise<SeriesPage>

  /**
   * Resolves when the change is durable. A field that is retyped takes the values stored beside for that type, and
   * those that can be converted; the others go beside. Rejects with `not_found` when there is no such series, and with
   * `bad_request` when the new name is taken, or the store cannot change series.
   */
  change(change: SeriesChange): Promise<void>

  stop(): Promise<void>

  /**
   * Stops a store at once whose thread is about to end after an error: reads and writes that are not done never
   * resolve. Resolves when the thread may end, with nothing of the store left open. Needed only by a store with native
   * calls.
   */
  abandon?(): Promise<void>
}
