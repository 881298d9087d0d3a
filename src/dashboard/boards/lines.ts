import type { HistoryColumns } from '@telehub/client'

type Value = number | boolean | string

export interface Lines {
  /** SVG paths: the line, and the same closed to the bottom. */
  readonly line: string
  readonly area: string
  readonly low: Value
  readonly high: Value
  readonly now: Value
}

interface Field {
  readonly width: number
  readonly height: number
  /** Milliseconds. */
  readonly from: number
  readonly to: number
}

/** A gap of so many usual distances is no line. */
const gapTimes = 6

/** Returns the course of a series as lines; numbers slope, and all else goes by steps. Undefined without readings. */
export function linesOf({ times, values }: HistoryColumns, { width, height, from, to }: Field): Lines | undefined {
  const isNumber = values.every(value => typeof value === 'number')
  const numbers = values.map(value => (typeof value === 'number' ? value : value === true ? 1 : 0))
  const now = values.at(-1)
  if (now === undefined || (!isNumber && values.some(value => typeof value === 'string'))) {
    return now === undefined ? undefined : { line: '', area: '', low: now, high: now, now }
  }
  let [low, high] = [Math.min(...numbers), Math.max(...numbers)]
  const ends = { low, high }
  // A value that hardly changes is drawn as constant: noise is no news.
  const least = Math.max(Math.abs(low), Math.abs(high)) * 0.05 || 1
  if (high - low < least) [low, high] = [(low + high - least) / 2, (low + high + least) / 2]
  const x = (time: number) => (((time - from) / (to - from)) * width).toFixed(1)
  const y = (value: number) => (4 + (1 - (value - low) / (high - low)) * (height - 8)).toFixed(1)
  const distances = times.slice(1).map((time, i) => time - (times[i] as number))
  const usual = [...distances].sort((a, b) => a - b)[distances.length >> 1] ?? 0
  let [line, area, start] = ['', '', '']
  for (const [i, time] of times.entries()) {
    const [atX, atY] = [x(time), y(numbers[i] as number)]
    const isGap = i > 0 && isNumber && (distances[i - 1] as number) > Math.max(usual * gapTimes, 60_000)
    if (i === 0 || isGap) {
      if (i > 0) area += `V${height}H${start}Z`
      line += `M${atX} ${atY}`
      area += `M${atX} ${atY}`
      start = atX
      continue
    }
    const step = isNumber ? `L${atX} ${atY}` : `H${atX}V${atY}`
    line += step
    area += step
  }
  if (!isNumber) {
    line += `H${width}`
    area += `H${width}`
  }
  area += `V${height}H${start}Z`
  const shown = (value: number): Value => (isNumber ? value : value === 1)
  return { line, area, low: shown(ends.low), high: shown(ends.high), now }
}
