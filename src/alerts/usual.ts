import type { WeekTime } from '../runtime/week-time.js'

const hours = 168
/** Fewest readings of an hour that tell what is usual then. */
const fewest = 12

/** Middle and spread of the usual values at one time. */
export interface UsualValues {
  readonly median: number
  /** Median of the distances to the median; never 0, so that a constant series has a limit too. */
  readonly deviation: number
  /** Whether the values are of this hour of the week alone, or of this hour of every day. */
  readonly isOfWeek: boolean
}

/**
 * The usual values of a series by the hour of the week: the median, and the median absolute deviation (MAD), which a few
 * outliers do not move. An hour with too few readings takes those of the same hour of all days.
 */
export class UsualWeek {
  readonly #week: WeekTime
  readonly #byHour: (UsualValues | undefined)[]

  constructor(week: WeekTime, times: readonly number[], values: readonly unknown[]) {
    this.#week = week
    const ofWeek: number[][] = Array.from({ length: hours }, () => [])
    const ofDay: number[][] = Array.from({ length: 24 }, () => [])
    for (const [i, time] of times.entries()) {
      const value = values[i]
      if (typeof value !== 'number' || !Number.isFinite(value)) continue
      const hour = week.hour(time)
      ofWeek[hour]?.push(value)
      ofDay[hour % 24]?.push(value)
    }
    const days = ofDay.map(all => usualOf(all, false))
    this.#byHour = ofWeek.map((all, hour) => usualOf(all, true) ?? days[hour % 24])
  }

  /** Returns what is usual at a time. Undefined while too few readings are known. */
  at(time: number): UsualValues | undefined {
    return this.#byHour[this.#week.hour(time)]
  }
}

function usualOf(values: readonly number[], isOfWeek: boolean): UsualValues | undefined {
  if (values.length < fewest) return undefined
  const median = medianOf(values)
  const deviation = medianOf(values.map(value => Math.abs(value - median)))
  // Values that hardly ever change are not unusual when they differ by a rounding.
  return { median, deviation: Math.max(deviation, Math.abs(median) * 0.005, 1e-9), isOfWeek }
}

function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] as number
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] as number) + upper) / 2
}

/** Rests between messages that are told apart from a rhythm, and how many are needed for one. */
const fewestRests = 10

/**
 * The rhythm in which a device or a value is heard of: an estimate of the median rest between two, and of the longest
 * rests. Two numbers, whatever the number of readings.
 */
export class Rhythm {
  #count = 0
  #median = 0
  #longest = 0

  /** Takes the rest between two messages, in microseconds. */
  take(rest: number): void {
    if (!(rest > 0)) return
    this.#count = Math.min(this.#count + 1, 1_000)
    if (this.#median === 0) this.#median = rest
    // A step towards each rest, in proportion: goes to the median, whatever the outliers.
    else this.#median *= rest > this.#median ? 1.05 : rest < this.#median ? 1 / 1.05 : 1
    if (this.#count < 20) this.#median = Math.min(this.#median, this.#median + (rest - this.#median) / this.#count)
    this.#longest = Math.max(rest, this.#longest * 0.999)
  }

  /** Usual rest, in microseconds. Undefined while too few are known. */
  get usual(): number | undefined {
    return this.#count >= fewestRests ? this.#median : undefined
  }

  /** Rest after which the silence is not usual: ten times the usual, and twice the longest of late. */
  get limit(): number | undefined {
    const { usual } = this
    return usual === undefined ? undefined : Math.max(usual * 10, this.#longest * 2, 60e6)
  }

  save(): readonly number[] {
    return [this.#count, this.#median, this.#longest]
  }

  restore(saved: unknown): void {
    if (!Array.isArray(saved) || saved.length !== 3 || !saved.every(Number.isFinite)) return
    ;[this.#count, this.#median, this.#longest] = saved as [number, number, number]
  }
}
