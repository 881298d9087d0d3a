/** Axes: which times and numbers are written beside them. */

import { numberText } from '../home/format.js'
import { locale } from '../texts/language.js'
import { decimalsOf } from '../wording.js'

export function axisNumbers(splits: readonly number[]): string[] {
  const step = Math.abs((splits[1] ?? 0) - (splits[0] ?? 0))
  const millions = step >= 10_000 && splits.some(split => Math.abs(split) >= 1e6)
  const scaled = splits.map(split => Number((millions ? split / 1e6 : split).toPrecision(12)))
  const decimals = Math.max(0, ...scaled.map(decimalsOf))
  return scaled.map(split => numberText(split, decimals) + (millions ? ' M' : ''))
}

const second = 1000
const minute = 60 * second
const hour = 60 * minute
const day = 24 * hour
/** Allowed distances between times on the axis. */
export const timeSteps = [
  ...[1, 2, 5, 10, 15, 30].map(step => step * second),
  ...[1, 2, 5, 10, 15, 30].map(step => step * minute),
  ...[1, 2, 3, 6, 12].map(step => step * hour),
  ...[1, 2, 4, 7, 14, 30, 90, 180, 365, 730, 1825].map(step => step * day),
]

const clock = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' } as const
const time = new Intl.DateTimeFormat(locale, clock)
const timeWithSeconds = new Intl.DateTimeFormat(locale, { ...clock, second: '2-digit' })
const date = new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'short' })

export function axisTime(at: number, step: number): string {
  const midnight = new Date(at).setHours(0, 0, 0, 0) === at
  if (step >= day || midnight) return date.format(at)
  return step < minute ? timeWithSeconds.format(at) : time.format(at)
}
