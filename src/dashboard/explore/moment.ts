import { hubNow } from '../api.js'
import { locale } from '../texts/language.js'

const digits = { hour: '2-digit', minute: '2-digit', second: '2-digit' } as const
const today = new Intl.DateTimeFormat(locale, { ...digits, fractionalSecondDigits: 3 })
const earlier = new Intl.DateTimeFormat(locale, { ...digits, year: 'numeric', month: 'short', day: 'numeric' })

/** Returns a time in full: of today with milliseconds, otherwise with the date. */
export function momentOf(time: number): string {
  const isToday = new Date(time).toDateString() === new Date(hubNow()).toDateString()
  return (isToday ? today : earlier).format(time)
}
