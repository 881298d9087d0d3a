import type { SeriesId } from '../model.js'

/** Readings as stored, and their roll-ups. */
export type KeptTier = 'raw' | '1m' | '1h' | '1d'

/**
 * Series of one retention. A series changes into another class when the rule that decides says other times;
 * then the class is a new one, with another `since`, so that the change has a time of grace.
 */
export interface RetentionClass {
  /** 0: all series of which no rule says how long they are kept. */
  readonly id: number
  /** How long each tier is kept, as a text that means something to the caller only. */
  readonly keep: string
  /** When the class began, in microseconds since the epoch. */
  readonly since: number
  /** Before which time a tier was deleted. What is not there was not. */
  readonly from: TierTimes
}

/** Times by tier, in microseconds since the epoch. */
export type TierTimes = Readonly<Partial<Record<KeptTier, number>>>

export interface RetentionState {
  readonly classes: readonly RetentionClass[]
  /** Series with higher numbers were begun after the last assignment: they are in no class yet. */
  readonly assigned: number
  /** The latest time at which the caller trusted the clock. Undefined: never. */
  readonly seen: number | undefined
}

export interface RetentionChange {
  /** Classes that begin or change. */
  readonly classes?: readonly RetentionClass[]
  /** Series that change into a class. */
  readonly members?: readonly (readonly [series: number, retentionClass: number])[]
  readonly assigned?: number
  readonly seen?: number
}

/** A series with number and class. */
export interface RetainedSeries {
  readonly id: number
  readonly retentionClass: number
  readonly series: SeriesId
}

/** Why readings go. `age`: older than they are kept. `limit`: the store was at its limit. */
export type ExpiryReason = 'age' | 'limit'

/** Readings to delete in one turn: of one class, or of all without one, in [from, to), which are whole hours. */
export interface DropSlice {
  readonly tier: KeptTier
  readonly retentionClass: number | undefined
  readonly from: number
  readonly to: number
  readonly readings: number
}

/** Deleted readings of one day on which they were deleted. Times in microseconds since the epoch. */
export interface DropRow {
  readonly tier: KeptTier
  readonly why: ExpiryReason
  /** Beginning of the day (UTC) of the deletion. */
  readonly day: number
  readonly readings: number
  /** The most series that one turn has deleted of. */
  readonly series: number
  /** Times of the oldest and the newest reading that was deleted. */
  readonly first: number
  readonly last: number
}

export interface TableSize {
  readonly tier: KeptTier
  readonly rows: number
  readonly bytes: number
  /** Times of the oldest and the newest row. Undefined: there is none. */
  readonly oldest: number | undefined
  readonly newest: number | undefined
}

export interface StoreSize {
  /** Bytes of all files of the store. */
  readonly bytes: number
  /** Bytes of them that hold something; the others are filled before the files grow. */
  readonly used: number
  /** Bytes of the disk that are free. */
  readonly diskFree: number
}

/** How far the roll-ups are. Times in microseconds since the epoch. */
export interface RollUpProgress {
  /** All readings before are rolled up, except those of `waiting` hours. Undefined: there are none yet. */
  readonly until: number | undefined
  /** Age of `until` beside the newest reading, in microseconds; about a minute when nothing waits. */
  readonly behind: number
  /** Hours of a series that wait to be rolled up anew, as readings came late or were changed. */
  readonly waiting: number
}

/** Rows of a class that a tier got in a day, on the average of the last days. */
export interface RowRate {
  readonly tier: KeptTier
  readonly retentionClass: number
  readonly perDay: number
}

/**
 * Deletes what was kept long enough, in turns of bounded length between two writes, and gives the room back to the
 * disk. When to delete what is the caller's decision. All reject with `store_unavailable`.
 */
export interface StoreRetention {
  state(): Promise<RetentionState>
  /** Resolves when a change is durable. */
  change(change: RetentionChange): Promise<void>
  /** Resolves with series of higher numbers than `after`, in order of their numbers. */
  series(after: number, limit: number): Promise<readonly RetainedSeries[]>
  /** Resolves with what is to be deleted before `before`, the oldest first, in slices for {@link drop}. */
  plan(tier: KeptTier, retentionClass: number | undefined, before: number): Promise<readonly DropSlice[]>
  /**
   * Deletes the readings of a slice, counts them, and notes that all before the end of the slice is gone, in one
   * transaction: slices are deleted in their order. Resolves with the number of readings; undefined when they may not go
   * yet, as they are not in the coarser tier, or wait to be rolled up anew.
   *
   * @param day The day to count them for, in microseconds since the epoch.
   */
  drop(slice: DropSlice, why: ExpiryReason, day: number): Promise<number | undefined>
  /** Resolves when the room of what was deleted is free for other readings: before, {@link size} counts that as used. */
  settle(): Promise<void>
  /** Resolves with all that was deleted, the newest day first. */
  dropped(): Promise<readonly DropRow[]>
  size(): Promise<StoreSize>
  /** Resolves with how far the roll-ups are. */
  rolledUp(): Promise<RollUpProgress>
  tables(): Promise<readonly TableSize[]>
  /** Resolves with the rows that each tier got in the days [from, to). */
  rates(from: number, to: number): Promise<readonly RowRate[]>
  /**
   * Moves rows from the end of the file into free room before, and cuts the file. Resolves with the bytes that the disk
   * got back; 0 when there is nothing more to gain. Rejects when the disk has no room to move anything.
   */
  pack(): Promise<number>
}
