import { locale } from '../texts/language.js'

const moments = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'short' })
const exact = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'medium' })
const days = new Intl.DateTimeFormat(locale, { dateStyle: 'medium' })
const clock = new Intl.DateTimeFormat(locale, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
})

/** Returns date and time to the minute. */
export const momentText = (time: number) => moments.format(time)
/** Returns date and time to the second. */
export const exactText = (time: number) => exact.format(time)
export const dayText = (time: number) => days.format(time)
export const clockText = (time: number) => clock.format(time)
