import { type SeriesId, seriesKey } from '../../model.js'
import { dropOldest } from '../../runtime/drop-oldest.js'
import type { MillisecondClock } from '../../runtime/time.js'
import type { Columns, TimeSeriesStore } from '../../store/store.js'

export interface HistoryWanted {
  /** Microseconds before `to`. */
  readonly span: number
  readonly points: number
  /** Microseconds since the epoch. */
  readonly to: number
  /** Sequence number up to which the store had everything before the question. */
  readonly settled: number
}

/** Part of a history, with the range that it was read for. Microseconds since the epoch; `to` is not included. */
export interface HistoryRead extends Columns {
  /** Sequence number up to which the part has everything: the store's own, or what was settled before it was asked. */
  readonly sequence: number
  readonly from: number
  readonly to: number
}

interface Cached {
  readonly at: number
  readonly columns: Promise<HistoryRead>
}

/** For how long an answer is used again, and how many are kept. */
const maxAgeMs = 2_000
const maxAnswers = 5_000

/**
 * Histories that several feeds ask for at nearly the same time, as when a wall of screens reconnects: the store is asked
 * once. An answer that is two seconds old is as good as a new one, because it tells up to where it is complete.
 */
export class HistoryCache {
  readonly #store: Pick<TimeSeriesStore, 'history'>
  readonly #monotonic: MillisecondClock
  readonly #answers = new Map<string, Cached>()

  constructor(store: Pick<TimeSeriesStore, 'history'>, monotonic: MillisecondClock = performance) {
    this.#store = store
    this.#monotonic = monotonic
  }

  /** Resolves with the history of a series. Rejects with errors of the store. */
  async read(series: SeriesId, { span, points, to, settled }: HistoryWanted): Promise<HistoryRead> {
    const key = `${span} ${points} ${seriesKey(series)}`
    const now = this.#monotonic.now()
    const cached = this.#answers.get(key)
    if (cached && now - cached.at <= maxAgeMs) return cached.columns
    // A clock of a device may be a little ahead, and such readings belong to the history.
    // In whole milliseconds, as other questions for the same windows are asked.
    const range = { from: Math.floor((to - span) / 1_000) * 1_000, to: Math.ceil((to + aheadUs) / 1_000) * 1_000 }
    const query = { series, ...range, points, fn: 'mean', withSequence: true } as const
    const columns = this.#store.history(query).then(read => ({ ...read, sequence: read.sequence ?? settled, ...range }))
    this.#answers.delete(key)
    this.#answers.set(key, { at: now, columns })
    columns.catch(() => this.#answers.delete(key))
    for (const [oldest, { at }] of this.#answers) {
      if (now - at <= maxAgeMs) break
      this.#answers.delete(oldest)
    }
    dropOldest(this.#answers, maxAnswers)
    return columns
  }
}

/** Microseconds that the time of a reading may be ahead of the hub's, and a little more (`ReadingClock`). */
const aheadUs = 310e6
