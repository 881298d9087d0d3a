import type { FeedReceiver, FeedState } from './feed.js'
import type { Cleared, FeedEvent, FieldValue, Quality, Reading, RefusedReading, SeriesValue } from './messages.js'

/** Newest value of one series. */
export interface NewestValue {
  readonly series: string
  readonly topic: string
  /** Undefined when the device says that there is no value. */
  readonly value: FieldValue | undefined
  readonly unit: string | undefined
  /** Milliseconds since the epoch. */
  readonly time: number
  readonly quality: Quality
  /** Why the newest message of the topic was not stored as sent. */
  readonly refused: RefusedReading | undefined
}

export interface NewestValuesOptions {
  /** Most series that are kept; beyond them the one that has not changed for longest is forgotten. Default: 100,000. */
  readonly limit?: number
  /** Called after each change, with the series that changed. */
  readonly changed?: (value: NewestValue) => void
  /** Called with each value that is gone, as its topic was cleared or its device removed. */
  readonly cleared?: (value: NewestValue) => void
  /** Called when the phase of the feed changes. */
  readonly state?: (state: FeedState) => void
  /** Wall clock in milliseconds, for ages. */
  readonly now?: () => number
}

/** The newest value of each series of a feed. To be given to `Hub.subscribe` as `on`. */
export class NewestValues implements FeedReceiver, Iterable<NewestValue> {
  readonly #options: NewestValuesOptions
  readonly #bySeries = new Map<string, NewestValue>()
  /** Number of series that were forgotten for the limit. */
  forgotten = 0

  constructor(options: NewestValuesOptions = {}) {
    this.#options = options
  }

  get size(): number {
    return this.#bySeries.size
  }

  get(series: string): NewestValue | undefined {
    return this.#bySeries.get(series)
  }

  /** Returns the milliseconds since the time of a value, by the clock of this machine; undefined without a value. */
  ageMs(series: string): number | undefined {
    const { now = Date.now } = this.#options
    const known = this.#bySeries.get(series)
    return known && Math.max(0, now() - known.time)
  }

  [Symbol.iterator](): Iterator<NewestValue> {
    return this.#bySeries.values()
  }

  event({ kind, ...event }: FeedEvent): void {
    if (kind === 'start') this.#bySeries.clear()
    if (kind === 'cleared' && 'data' in event) this.#clear(event.data as Cleared)
    if ((kind !== 'values' && kind !== 'live') || !('data' in event)) return
    const reading = event.data as Reading
    for (const value of reading.values) this.#put(reading, value)
    for (const series of reading.absent ?? []) this.#noteAbsent(reading, series)
  }

  state(state: FeedState): void {
    this.#options.state?.(state)
  }

  #put({ topic, time: newest, quality, refused }: Reading, { series, value, unit, time = newest }: SeriesValue): void {
    const known = this.#bySeries.get(series)
    // A late reading is older than what is shown.
    if (known && known.time > time) return
    this.#keep({ series, topic, value, unit: unit ?? known?.unit, time, quality, refused })
  }

  #noteAbsent({ topic, time, refused }: Reading, series: string): void {
    const known = this.#bySeries.get(series)
    if (!known || known.time > time) return
    this.#keep({ ...known, topic, value: undefined, time, quality: 'absent', refused })
  }

  #clear({ topic }: Cleared): void {
    for (const value of this.#bySeries.values()) {
      if (value.topic !== topic) continue
      this.#bySeries.delete(value.series)
      this.#options.cleared?.(value)
    }
  }

  #keep(value: NewestValue): void {
    const { limit = 100_000, changed } = this.#options
    this.#bySeries.delete(value.series)
    this.#bySeries.set(value.series, value)
    if (this.#bySeries.size > limit) {
      for (const oldest of this.#bySeries.keys()) {
        this.#bySeries.delete(oldest)
        this.forgotten++
        break
      }
    }
    changed?.(value)
  }
}
