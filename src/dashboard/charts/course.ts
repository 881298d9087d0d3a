import type { HistoryColumns } from '@telehub/client'
import { decimalsOf } from '../wording.js'
import type { Span } from './span.js'

type Column = (number | null)[]

/** The numbers of one series over time: a value for each reading or window, with the extremes of the window. */
export class Course {
  readonly times: number[] = []
  /** Null: the series was silent here. */
  readonly values: Column = []
  readonly lows: Column = []
  readonly highs: Column = []
  /** Most digits behind the point of a reading. */
  decimals = 0
  /** Readings or windows. */
  count = 0
  /** Usual time between two readings in milliseconds; 0: not known. */
  usual = 0
  #window = 1
  /** Distance in time from which two readings are not joined, as the series was silent in between. */
  #gap = Number.POSITIVE_INFINITY
  /** Sum and count of the newest window, while live readings fall into that window. */
  #open = { start: 0, sum: 0, count: 0 }

  /** Replaces all by history. `window`: width of a window; `shift`: time by which all is moved to the right. */
  set({ times, values }: HistoryColumns, window: number, shift = 0): void {
    for (const column of [this.times, this.values, this.lows, this.highs]) column.length = 0
    this.count = 0
    this.decimals = 0
    this.#window = window
    this.usual = usualStep(times)
    this.#gap = this.usual === 0 ? Number.POSITIVE_INFINITY : Math.max(this.usual * 5, window * 3)
    for (const [i, time] of times.entries()) {
      const value = Number(values[i])
      this.#append(time + shift, value)
    }
    this.#open = { start: this.times.at(-1) ?? 0, sum: this.values.at(-1) ?? 0, count: 1 }
  }

  /** Takes the extremes of the windows whose means are shown. */
  widen(lows: HistoryColumns, highs: HistoryColumns): void {
    const [low, high] = [byTime(lows), byTime(highs)]
    // The means of windows have more digits than any reading.
    let decimals = 0
    this.times.forEach((time, i) => {
      if (this.values[i] === null) return
      // Live readings may have reached further meanwhile.
      const [least, most] = [low.get(time), high.get(time)]
      if (least !== undefined) this.lows[i] = Math.min(this.lows[i] ?? least, least)
      if (most !== undefined) this.highs[i] = Math.max(this.highs[i] ?? most, most)
      decimals = Math.max(decimals, decimalsOf(least ?? 0), decimalsOf(most ?? 0))
    })
    this.decimals = decimals
  }

  /** Adds a live reading. Returns whether it is newer than all. */
  push(time: number, value: number): boolean {
    const end = this.times.length - 1
    const newest = this.times[end]
    if (newest !== undefined && time <= newest) return false
    const open = this.#open
    if (newest === undefined || time - open.start >= this.#window) {
      this.#open = { start: time, sum: value, count: 1 }
      this.#append(time, value)
      return true
    }
    // Like the store, one value per window.
    open.sum += value
    open.count++
    this.values[end] = open.sum / open.count
    this.lows[end] = Math.min(this.lows[end] ?? value, value)
    this.highs[end] = Math.max(this.highs[end] ?? value, value)
    this.decimals = Math.max(this.decimals, decimalsOf(value))
    return true
  }

  /** Forgets what is before a span, but for one point, so that the line enters from there. */
  trim({ from }: Span): void {
    let cut = 0
    while ((this.times[cut + 1] ?? Number.POSITIVE_INFINITY) < from) cut++
    if (cut === 0) return
    for (let i = 0; i < cut; i++) if (this.values[i] !== null) this.count--
    for (const column of [this.times, this.values, this.lows, this.highs]) column.splice(0, cut)
  }

  /** Smallest, mean and largest value; undefined without any. */
  get figures(): { readonly low: number; readonly mean: number; readonly high: number } | undefined {
    let [low, high, sum, count] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, 0]
    this.values.forEach((value, i) => {
      if (value === null) return
      low = Math.min(low, this.lows[i] ?? value)
      high = Math.max(high, this.highs[i] ?? value)
      sum += value
      count++
    })
    return count === 0 ? undefined : { low, mean: sum / count, high }
  }

  #append(time: number, value: number): void {
    const newest = this.times.at(-1)
    if (newest !== undefined && time - newest > this.#gap) {
      this.times.push(newest + this.#gap / 2)
      this.values.push(null)
      this.lows.push(null)
      this.highs.push(null)
    }
    this.times.push(time)
    this.values.push(value)
    this.lows.push(value)
    this.highs.push(value)
    this.count++
    this.decimals = Math.max(this.decimals, decimalsOf(value))
  }
}

/** Columns that share their times: a value for each time and column; undefined where a column has none. */
export interface Aligned {
  readonly times: number[]
  readonly columns: (number | null | undefined)[][]
}

/** Puts columns over the times of all of them, in order. */
export function aligned(
  parts: readonly { readonly times: readonly number[]; readonly columns: readonly Column[] }[],
): Aligned {
  const times = [...new Set(parts.flatMap(part => [...part.times]))].sort((a, b) => a - b)
  const at = new Map(times.map((time, i) => [time, i]))
  const columns = parts.flatMap(part =>
    part.columns.map(column => {
      const whole = new Array<number | null | undefined>(times.length)
      for (const [i, time] of part.times.entries()) whole[at.get(time) as number] = column[i] ?? null
      return whole
    }),
  )
  return { times, columns }
}

function byTime({ times, values }: HistoryColumns): Map<number, number> {
  return new Map(times.map((time, i) => [time, Number(values[i])]))
}

/** Returns the time that lies between two readings nine times of ten; 0 with few readings. */
export function usualStep(times: readonly number[]): number {
  if (times.length < 8) return 0
  const steps: number[] = []
  for (let i = 1; i < times.length; i++) steps.push((times[i] as number) - (times[i - 1] as number))
  steps.sort((a, b) => a - b)
  return steps[Math.floor(steps.length * 0.9)] as number
}
