/** The small line of a tile: the last quarter of an hour, one point per ten seconds, as SVG path text. */

import { leastHeight, type Wobble, withFloor } from '../noise.js'

export const sparkSpan = 900_000
export const sparkPoints = 90
const step = sparkSpan / sparkPoints
const shortest = 30_000
/** A small line needs more news than a chart to look lively. */
const calm = 2
const most = 400

export class Spark {
  readonly #stepped: boolean
  #times: number[] = []
  #values: number[] = []
  /** The step that live readings fall into, for which the mean of numbers is drawn. */
  #open = { start: 0, sum: 0, count: 0 }

  constructor(stepped: boolean) {
    this.#stepped = stepped
  }

  /** Takes the history. Live readings after the end of the history are kept. */
  seed(times: readonly number[], values: readonly number[]): void {
    const end = times.at(-1) ?? 0
    const live = this.#times.findIndex(time => time > end)
    this.#times = [...times, ...(live < 0 ? [] : this.#times.slice(live))]
    this.#values = [...values, ...(live < 0 ? [] : this.#values.slice(live))]
    if (live < 0) this.#open = { start: 0, sum: 0, count: 0 }
  }

  add(time: number, value: number): void {
    const end = this.#times.length - 1
    if (end >= 0 && time < (this.#times[end] as number)) return
    const open = this.#open
    if (this.#stepped && end > 0 && this.#values[end] === value && this.#values[end - 1] === value) {
      // For states only the changes are kept: a reading without a change extends the line.
      this.#times[end] = time
    } else if (!this.#stepped && open.count > 0 && time - open.start < step) {
      open.sum += value
      open.count++
      this.#times[end] = time
      this.#values[end] = open.sum / open.count
    } else {
      this.#open = { start: time, sum: value, count: 1 }
      this.#times.push(time)
      this.#values.push(value)
    }
    if (this.#times.length <= most) return
    const cut = Math.max(this.#times.findIndex(at => at >= time - sparkSpan) - 1, this.#times.length - most)
    this.#times.splice(0, cut)
    this.#values.splice(0, cut)
  }

  /** Returns the line, and the same path closed to the bottom; empty strings when there is nothing to see yet. */
  paths(width: number, height: number, now: number, wobble: Wobble): { readonly line: string; readonly area: string } {
    const count = this.#times.length
    if (count < 2 && !(this.#stepped && count > 0)) return { line: '', area: '' }
    const oldest = this.#times[0] as number
    const from = Math.max(now - sparkSpan, Math.min(oldest, now - shortest))
    let start = 0
    while (start < count - 1 && (this.#times[start + 1] as number) < from) start++
    let low = this.#stepped ? 0 : Number.POSITIVE_INFINITY
    let high = this.#stepped ? 1 : Number.NEGATIVE_INFINITY
    for (let i = start; i < count && !this.#stepped; i++) {
      const value = this.#values[i] as number
      if (value < low) low = value
      if (value > high) high = value
    }
    // A value that wobbles by a step of its own is drawn as calm, not enlarged to fill the height.
    if (!this.#stepped) [low, high] = withFloor(low, high, calm * leastHeight(low, high, wobble))
    const x = (time: number) => (Math.max(0, (time - from) / (now - from)) * width).toFixed(1)
    const y = (value: number) => (2 + (1 - (value - low) / (high - low)) * (height - 4)).toFixed(1)
    const startX = x(this.#times[start] as number)
    let line = `M${startX} ${y(this.#values[start] as number)}`
    let endX = startX
    for (let i = start + 1; i < count; i++) {
      endX = x(this.#times[i] as number)
      line += this.#stepped ? `H${endX}V${y(this.#values[i] as number)}` : `L${endX} ${y(this.#values[i] as number)}`
    }
    if (this.#stepped) {
      endX = String(width)
      line += `H${endX}`
    }
    return { line, area: `${line}V${height}H${startX}Z` }
  }
}

/**
 * The usual interval of a series, learned as TCP learns round-trip times: a mean and a deviation. Silence well beyond
 * both means that something is wrong, for a reading each second as for one each hour.
 */
export class Cadence {
  #mean = 0
  #deviation = 0

  learn(interval: number): void {
    if (interval <= 0) return
    if (this.#mean === 0) {
      this.#mean = interval
      this.#deviation = interval / 2
      return
    }
    this.#deviation += (Math.abs(interval - this.#mean) - this.#deviation) / 4
    this.#mean += (interval - this.#mean) / 8
  }

  /** The mean interval; 0 while unknown. */
  get interval(): number {
    return this.#mean
  }

  /** The age from which a value is stale. */
  get limit(): number {
    return this.#mean === 0 ? 3_600_000 : Math.max(10_000, 2 * (this.#mean + 4 * this.#deviation))
  }
}
