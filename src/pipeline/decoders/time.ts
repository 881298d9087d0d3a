/** A time read from a payload, in microseconds since the epoch. */
export interface ReadTime {
  readonly time: number
  /** True for a clock without a zone: the time is written down as if it were UTC. */
  readonly isLocal: boolean
}

const iso =
  /^(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s?(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?$/i
const basic = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d(?::?\d\d)?)?$/i
const european = /^(\d\d?)\.(\d\d?)\.(\d{4})[T, ]+(\d\d?):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?$/
const rfc2822 = /^[A-Z][a-z]{2}, \d\d? [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d (?:GMT|UTC|[+-]\d{4})$/
const unixText = /^\d{9,19}(?:\.\d+)?$/
const isoDate = /^\d{4}-\d\d-\d\d$/
const otherDate = /^(?:\d\d?[./]\d\d?[./]\d{2,4}|\d{4}\/\d\d?\/\d\d?)$/
const timeOfDay = /^(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:[.,]\d{1,9})?)?(?:\s?[AP]M)?$/i

/** Returns whether a text is the time of a day, which alone is no instant. */
export function isTimeOfDay(text: string): boolean {
  return text.length <= 18 && timeOfDay.test(text)
}

export function isDate(text: string): boolean {
  return text.length <= 10 && (isoDate.test(text) || otherDate.test(text))
}

/** Returns a date and the time of a day as one text. Undefined when they are none. */
export function joined(day: unknown, time: unknown): string | undefined {
  return typeof day === 'string' && typeof time === 'string' && isoDate.test(day) && isTimeOfDay(time)
    ? `${day}T${time.length < 8 && time[1] === ':' ? '0' : ''}${time}`
    : undefined
}

/**
 * Reads a time: a number or digits (seconds, milliseconds, microseconds or nanoseconds since the epoch, told apart by
 * size), or a date with the time of a day. Undefined for anything else.
 */
export function parseTime(value: unknown, isUtc = false): ReadTime | undefined {
  if (typeof value === 'number')
    return value >= 0 && value < 1e20 ? { time: fromUnix(value), isLocal: false } : undefined
  if (typeof value !== 'string' || value.length < 9 || value.length > 40) return undefined
  if (unixText.test(value)) return { time: fromUnix(Number(value)), isLocal: false }
  const parts = iso.exec(value) ?? basic.exec(value)
  if (parts) return fromParts(parts.slice(1, 8), parts[8], isUtc)
  const [, day, month, year, ...rest] = european.exec(value) ?? []
  if (year) return fromParts([year, month, day, ...rest], undefined, isUtc)
  if (!rfc2822.test(value)) return undefined
  const time = Date.parse(value)
  return Number.isNaN(time) ? undefined : { time: time * 1e3, isLocal: false }
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
