/** Moments, days and spans in the language of the page. */

import { hubNow } from '../api.js'
import { locale } from '../texts/language.js'
import { type Duration, durationOf } from './definition.js'
import { say } from './words.js'

const clock = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit' })
const moment = new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' })
const day = new Intl.DateTimeFormat(locale, { weekday: 'long', day: 'numeric', month: 'long' })
const relative = new Intl.RelativeTimeFormat(locale, { numeric: 'auto' })

/** Returns the time of day, with the date unless today. */
export function momentText(time: number): string {
  const isToday = new Date(time).toDateString() === new Date(hubNow()).toDateString()
  return (isToday ? clock : moment).format(time)
}

/** Returns midnight before a time, on the clocks of this browser. */
export function dayOf(time: number): number {
  return new Date(time).setHours(0, 0, 0, 0)
}

/** Returns the name of the day that begins at a time. */
export function dayText(begin: number): string {
  const days = Math.round((begin - dayOf(hubNow())) / 86_400_000)
  const text = days > -2 ? relative.format(days, 'day') : day.format(begin)
  return text.charAt(0).toLocaleUpperCase(locale) + text.slice(1)
}

const parts = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1_000],
] as const

/** Returns a span in one unit or two: `1 h 20 min`. */
export function spanText(milliseconds: number): string {
  let rest = Math.max(0, Math.round(milliseconds / 1_000)) * 1_000
  const found: string[] = []
  for (const [unit, size] of parts) {
    const count = Math.floor(rest / size)
    if (count > 0) found.push(say(`span.${unit}`, { n: count }))
    else if (found.length > 0) break
    rest -= count * size
    if (found.length === 2) break
  }
  return found.join(' ') || say('span.s', { n: 0 })
}

const numbers = new Intl.NumberFormat(locale, { maximumFractionDigits: 6 })

export function numberText(value: number): string {
  return numbers.format(value).replace(/^-/, '−')
}

const short = { s: 'span.s', m: 'span.min', h: 'span.h', d: 'span.d' } as const

/** Returns a time of a rule such as `10m` in words; another text as it is. */
export function durationText(given: unknown): string {
  const duration: Duration | undefined = durationOf(given)
  return duration ? say(short[duration.unit], { n: numberText(duration.count) }) : String(given)
}
