import { locale } from '../texts/language.js'
import type { NotifyRoute } from './requests.js'

const short = new Intl.DateTimeFormat(locale, { weekday: 'short', timeZone: 'UTC' })
const list = new Intl.ListFormat(locale, { type: 'unit', style: 'short' })

/** Returns a part of the week of a route in words, such as `Mon, Tue 08:00–18:00`. */
export function weekText({ days, from, to }: NotifyRoute['when'][number]): string {
  const clock = (minutes: number) =>
    `${String(Math.floor(minutes / 60)).padStart(2, '0')}:${String(minutes % 60).padStart(2, '0')}`
  // The first of January 2024 was a Monday.
  const named = days.length === 7 ? '' : list.format(days.map(day => short.format(Date.UTC(2024, 0, 1 + day))))
  const time = from === 0 && to === 1_440 ? '' : `${clock(from)}–${clock(to)}`
  return [named, time].filter(Boolean).join(' ')
}
