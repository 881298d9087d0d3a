/** Dates in the time zone of the browser. Pure functions. */

import type { Span } from './span.js'

export const quicks = ['today', 'yesterday', 'week', 'month'] as const
export type Quick = (typeof quicks)[number]

/** Returns a time as an input of dates takes it: local, to the second. */
export function inputText(time: number): string {
  const date = new Date(time)
  const two = (number: number) => String(number).padStart(2, '0')
  const day = `${String(date.getFullYear()).padStart(4, '0')}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
  return `${day}T${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
}

/** Returns a stretch of the calendar, which does not end after `now`. Weeks begin on Monday (ISO 8601). */
export function calendarSpan(name: Quick, now: number): Span {
  const date = new Date(now)
  const midnight = (days: number) => new Date(date.getFullYear(), date.getMonth(), date.getDate() + days).getTime()
  const today = midnight(0)
  switch (name) {
    case 'today':
      return { from: today, to: now }
    case 'yesterday':
      return { from: midnight(-1), to: today }
    case 'week':
      return { from: midnight(-((date.getDay() + 6) % 7)), to: now }
    case 'month':
      return { from: new Date(date.getFullYear(), date.getMonth(), 1).getTime(), to: now }
  }
}
