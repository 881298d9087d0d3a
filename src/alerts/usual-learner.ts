import type { SeriesId } from '../model.js'
import { seriesKey } from '../model.js'
import { SerialQueue } from '../runtime/serial-queue.js'
import type { MicrosecondClock } from '../runtime/time.js'
import type { WeekTime } from '../runtime/week-time.js'
import type { TimeSeriesStore } from '../store/store.js'
import type { UsualSource } from './condition.js'
import type { UsualSeries } from './evaluator.js'
import { type UsualValues, UsualWeek } from './usual.js'

export interface UsualLearnerOptions {
  readonly store: Pick<TimeSeriesStore, 'history'>
  readonly week: WeekTime
  readonly clock: MicrosecondClock
}

const day = 86_400e6
/** Past from which the usual is learned, and the most values of it: one for each five minutes. */
const learnedFrom = 28 * day
const learnedValues = 8_064
/** Most series whose usual values are in memory. */
const maxSeries = 10_000

interface Learned {
  week: UsualWeek | undefined
  /** When to learn again. */
  dueAt: number
  isAsked: boolean
}

/** Learns what is usual for series from the last four weeks in the store: one series at a time, each once a day. */
export class UsualLearner implements UsualSeries {
  readonly #options: UsualLearnerOptions
  readonly #series = new Map<string, Learned>()
  readonly #queue = new SerialQueue()
  #isStopped = false
  /** Series that are not learned, as there were too many. */
  overLimit = 0

  constructor(options: UsualLearnerOptions) {
    this.#options = options
  }

  usualOf(id: SeriesId): UsualSource {
    const key = seriesKey(id)
    return { usualAt: time => this.#at(key, id, time) }
  }

  stop(): void {
    this.#isStopped = true
  }

  #at(key: string, id: SeriesId, time: number): UsualValues | undefined {
    let learned = this.#series.get(key)
    if (!learned) {
      if (this.#series.size >= maxSeries) {
        this.overLimit++
        return undefined
      }
      learned = { week: undefined, dueAt: 0, isAsked: false }
      this.#series.set(key, learned)
    }
    if (!learned.isAsked && this.#options.clock.now() >= learned.dueAt) this.#learn(learned, id)
    return learned.week?.at(time)
  }

  #learn(learned: Learned, series: SeriesId): void {
    learned.isAsked = true
    const { store, week, clock } = this.#options
    void this.#queue.run(async () => {
      const to = clock.now()
      try {
        if (this.#isStopped) return
        const query = { series, from: to - learnedFrom, to, points: learnedValues, fn: 'last' } as const
        const { times, values } = await store.history(query)
        learned.week = new UsualWeek(week, times, values)
        learned.dueAt = to + day
      } catch {
        // The store is away.
        learned.dueAt = to + 60e6
      } finally {
        learned.isAsked = false
      }
    })
  }
}
