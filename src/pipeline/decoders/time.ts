/** A time read from a payload, in microseconds since the epoch. */
export interface ReadTime {
  readonly time: number
  /** True for a clock without a zone: the time is written down as if it were UTC. */
  readonly isLocal: boolean
}

const iso =
  /^(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s?(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?(?:\[[\w/+-]{1,40}\])?$/i
const basic = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d(?::?\d\d)?)?$/i
/** `20240501120000`: a clock time without separators, which as milliseconds would be a time after the year 2600. */
const compact = /^((?:19|20)\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])([01]\d|2[0-3])([0-5]\d)([0-5]\d)$/
/** The time as `asctime` of C writes it: `Wed May  1 12:00:00 2024`. */
const ctime =
  /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) {1,2}(\d\d?) (\d\d):(\d\d):(\d\d) (\d{4})$/
const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
/** `29/11/2024 21:14:42`, `11/29/2024 9:14:42 PM`; the day may come first or second. */
const slashed = /^(\d\d?)\/(\d\d?)\/(\d{4})[T, ]+(\d\d?):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(?:\s?([AP])M)?$/i
/** A time as .NET writes it in JSON: `/Date(1700000000000)/`. */
const dotNet = /^\/Date\((\d{1,15})(?:[+-]\d{4})?\)\/$/
const european = /^(\d\d?)\.(\d\d?)\.(\d{4})[T, ]+(\d\d?):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?$/
const rfc2822 = /^[A-Z][a-z]{2}, \d\d? [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d (?:GMT|UTC|[+-]\d{4})$/
const unixText = /^\d{9,19}(?:\.\d+)?$/
const isoDate = /^\d{4}-\d\d-\d\d$/
const otherDate = /^(?:\d\d?[./]\d\d?[./]\d{2,4}|\d{4}\/\d\d?\/\d\d?)$/
/** Digits with the separators of dates and times between them, and no other number. */
const clockLike = /^(?=.*\d\d?:\d\d)(?=.*(?:\d[./-]\d|\d{4}))[\d:./, TZ+-]{10,32}(?: ?[AP]M)?(?:\[[\w/+-]{1,40}\])?$/i
const timeOfDay = /^(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:[.,]\d{1,9})?)?(?:\s?[AP]M)?$/i

/** Returns whether a text is the time of a day, which alone is no instant. */
export function isTimeOfDay(text: string): boolean {
  return text.length <= 18 && timeOfDay.test(text)
}

export function isDate(text: string): boolean {
  return text.length <= 10 && (isoDate.test(text) || otherDate.test(text))
}

/** Returns whether a text can only be a date with the time of a day, also in an order that is not sure. */
export function isClockLike(text: string): boolean {
  return text.length <= 75 && (clockLike.test(text) || ctime.test(text) || dotNet.test(text))
}

/** Returns a date and the time of a day as one text. Undefined when they are none. */
export function joined(day: unknown, time: unknown): string | undefined {
  return typeof day === 'string' && typeof time === 'string' && isoDate.test(day) && isTimeOfDay(time)
    ? `${day}T${time.length < 8 && time[1] === ':' ? '0' : ''}${time}`
    : undefined
}

/**
 * Reads a time: a number or digits (seconds, milliseconds, microseconds or nanoseconds since the epoch, told apart by
 * size), or a date with the time of a day. Undefined for anything else, and for a date whose order is not sure.
 */
export function parseTime(value: unknown, isUtc = false): ReadTime | undefined {
  if (typeof value === 'number') {
    // Rare enough to look at the digits: later than the year 2600 as milliseconds.
    if (value >= 2e13 && value < 2.1e13) return parseTime(String(value), isUtc)
    return value >= 0 && value < 1e20 ? { time: fromUnix(value), isLocal: false } : undefined
  }
  if (typeof value === 'object') return parseWrapped(value)
  if (typeof value !== 'string' || value.length < 9 || value.length > 75) return undefined
  if (unixText.test(value)) {
    const [, ...clock] = compact.exec(value) ?? []
    return clock.length > 0 ? fromParts(clock, undefined, isUtc) : { time: fromUnix(Number(value)), isLocal: false }
  }
  const parts = iso.exec(value) ?? basic.exec(value)
  if (parts) return fromParts(parts.slice(1, 8), parts[8], isUtc)
  const [, day, month, year, ...rest] = european.exec(value) ?? []
  if (year) return fromParts([year, month, day, ...rest], undefined, isUtc)
  const first = value.charCodeAt(0)
  if (first >= 48 && first <= 57) return parseSlashed(value, isUtc)
  if (rfc2822.test(value)) {
    const time = Date.parse(value)
    return Number.isNaN(time) ? undefined : { time: time * 1e3, isLocal: false }
  }
  const [, name, inMonth = '', hour, minute, second, inYear] = ctime.exec(value) ?? []
  if (name) {
    const number = String(months.indexOf(name) + 1)
    return fromParts([inYear, number, inMonth, hour, minute, second], undefined, isUtc)
  }
  const [, unix] = dotNet.exec(value) ?? []
  return unix === undefined ? undefined : { time: Number(unix) * 1e3, isLocal: false }
}

/** Reads a time within an object that says nothing else: `{"$date": …}`, `{"seconds": …, "nanos": …}`. */
function parseWrapped(value: object | null): ReadTime | undefined {
  if (value === null || Array.isArray(value)) return undefined
  const { $date: date, seconds, nanos = 0, ...others } = value as Record<string, unknown>
  if (Object.keys(others).length > 0) return undefined
  if (date !== undefined) return typeof date === 'object' ? undefined : parseTime(date)
  const whole = typeof seconds === 'string' && unixText.test(seconds) ? Number(seconds) : seconds
  if (typeof whole !== 'number' || typeof nanos !== 'number') return undefined
  return { time: Math.round(whole * 1e6 + nanos / 1e3), isLocal: false }
}

/**
 * Reads a date with slashes and the time of a day. With AM or PM the month comes first, as in the United States;
 * otherwise one of the two must be more than twelve. Undefined when the order is not sure.
 */
function parseSlashed(value: string, isUtc: boolean): ReadTime | undefined {
  const [, a = '', b = '', year, hour = '', minute, second = '0', fraction = '', half] = slashed.exec(value) ?? []
  if (!year) return undefined
  const isMonthFirst = half !== undefined || Number(b) > 12
  if (!isMonthFirst && Number(a) <= 12 && a !== b) return undefined
  const [month, day] = isMonthFirst ? [a, b] : [b, a]
  const inDay = half === undefined ? hour : String((Number(hour) % 12) + (/p/i.test(half) ? 12 : 0))
  return fromParts([year, month, day, inDay, minute, second, fraction], undefined, isUtc)
}

function fromUnix(value: number): number {
  if (value < 1e11) return Math.round(value * 1e6)
  if (value < 1e14) return Math.round(value * 1e3)
  if (value < 1e17) return Math.round(value)
  return Math.round(value / 1e3)
}

function fromParts(
  [year, month, day, hour, minute, second = '0', fraction = '']: readonly (string | undefined)[],
  zone: string | undefined,
  isUtc: boolean,
): ReadTime | undefined {
  const [y, mo, d, h, mi, s] = [year, month, day, hour, minute, second].map(Number) as [number, ...number[]]
  if (mo === undefined || d === undefined || h === undefined || mi === undefined || s === undefined) return undefined
  if (mo < 1 || mo > 12 || d < 1 || d > 31 || h > 24 || mi > 59 || s > 60) return undefined
  const time = Date.UTC(y, mo - 1, d, h, mi, s) * 1e3 + Number(fraction.padEnd(6, '0').slice(0, 6))
  if (zone === undefined) return { time, isLocal: !isUtc }
  if (/^[zug]/i.test(zone)) return { time, isLocal: false }
  const [, sign, hours, minutes = '0'] = /^([+-])(\d\d):?(\d\d)?$/.exec(zone) ?? []
  const offset = (Number(hours) * 60 + Number(minutes)) * (sign === '-' ? -60e6 : 60e6)
  return { time: time - offset, isLocal: false }
}
