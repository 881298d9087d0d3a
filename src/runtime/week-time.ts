const minuteMicros = 60e6
const quarterMicros = 900e6
const dayMinutes = 1_440
const weekMinutes = 7 * dayMinutes
const maxQuarters = 10_000

const dayNames = ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday']

/** Part of each week. A span whose end is not after its beginning ends on the next day. */
export interface WeekSpan {
  /** Days on which the span begins, from 0 (Monday) to 6. */
  readonly days: ReadonlySet<number>
  /** Minutes since midnight. `to` is not included. */
  readonly from: number
  readonly to: number
}

/** Names, for a mistake, what {@link parseWeekSpan} reads. */
export const allowedWeekSpans = 'days and times such as "mon-fri 08:00-18:00", "sat,sun" or "22:00-06:00"'

/**
 * Reads `mon-fri 08:00-18:00`, `sat, sun` or `22:00-6:00`. Days may have their whole names. Returns undefined for any
 * other text.
 */
export function parseWeekSpan(text: string): WeekSpan | undefined {
  const found = /^\s*([a-z,\s-]*?)\s*(?:(\d\d?):(\d\d)\s*-\s*(\d\d?):(\d\d))?\s*$/i.exec(text)
  if (!found || (found[1] === '' && found[2] === undefined)) return undefined
  const [, named = '', ...times] = found
  const days = named === '' ? [0, 1, 2, 3, 4, 5, 6] : daysOf(named)
  if (!days) return undefined
  if (times[0] === undefined) return { days: new Set(days), from: 0, to: dayMinutes }
  const [fromHour = 0, fromMinute = 0, toHour = 0, toMinute = 0] = times.map(Number)
  const [from, to] = [fromHour * 60 + fromMinute, toHour * 60 + toMinute]
  if (from > dayMinutes || to > dayMinutes || fromMinute > 59 || toMinute > 59 || from === to) return undefined
  return { days: new Set(days), from, to }
}

function daysOf(text: string): readonly number[] | undefined {
  const found: number[] = []
  for (const part of text
    .toLowerCase()
    .trim()
    .split(/\s*,\s*/)) {
    const [first = '', last = first, ...more] = part.split(/\s*-\s*/).map(dayOf)
    if (first === '' || last === '' || more.length > 0) return undefined
    for (let day = first; ; day = (day + 1) % 7) {
      found.push(day)
      if (day === last) break
    }
  }
  return found
}

/** Returns the number of a day; an empty text when there is none. */
function dayOf(text: string): number | '' {
  const day = text.length < 3 ? -1 : dayNames.findIndex(name => name.toLowerCase().startsWith(text))
  return day < 0 ? '' : day
}

/** Tells the time of the week on the clocks of one time zone, with its daylight saving. */
export class WeekTime {
  #format: Intl.DateTimeFormat
  /** Minute of the week at the beginning of quarters of an hour, in which no zone changes. */
  readonly #quarters = new Map<number, number>()

  /** @param zone Name in the IANA database. Undefined: the zone of this machine. Throws RangeError for an unknown one */
  constructor(zone?: string) {
    this.#format = formatOf(zone)
  }

  /** Goes on with another zone. */
  use(zone: string | undefined): void {
    this.#format = formatOf(zone)
    this.#quarters.clear()
  }

  /** Returns the minutes since Monday 00:00. @param time Microseconds since the epoch */
  minute(time: number): number {
    const quarter = Math.floor(time / quarterMicros)
    let begin = this.#quarters.get(quarter)
    if (begin === undefined) {
      begin = this.#minuteAt((quarter * quarterMicros) / 1e3)
      if (this.#quarters.size >= maxQuarters) this.#quarters.clear()
      this.#quarters.set(quarter, begin)
    }
    return (begin + Math.floor((time - quarter * quarterMicros) / minuteMicros)) % weekMinutes
  }

  /** Returns the hour of the week, from 0 to 167. */
  hour(time: number): number {
    return Math.floor(this.minute(time) / 60)
  }

  /** Whether a time lies in one of the spans. */
  isWithin(spans: readonly WeekSpan[], time: number): boolean {
    const minute = this.minute(time)
    const day = Math.floor(minute / dayMinutes)
    const ofDay = minute % dayMinutes
    return spans.some(({ days, from, to }) => {
      if (from < to) return days.has(day) && ofDay >= from && ofDay < to
      // Past midnight a span belongs to the day on which it began.
      return (days.has(day) && ofDay >= from) || (days.has((day + 6) % 7) && ofDay < to)
    })
  }

  #minuteAt(ms: number): number {
    if (Math.abs(ms) >= 8.64e15) return 0
    const parts = new Map(this.#format.formatToParts(ms).map(({ type, value }) => [type, value]))
    const day = dayNames.findIndex(name => name.startsWith(parts.get('weekday') ?? '?'))
    return Math.max(0, day) * dayMinutes + Number(parts.get('hour')) * 60 + Number(parts.get('minute'))
  }
}

function formatOf(zone: string | undefined): Intl.DateTimeFormat {
  return new Intl.DateTimeFormat('en-US', {
    ...(zone !== undefined && { timeZone: zone }),
    hourCycle: 'h23',
    weekday: 'short',
    hour: 'numeric',
    minute: 'numeric',
  })
}

/** Returns the words for an hour of the week: `Monday 03:00`. */
export function hourName(hour: number): string {
  return `${dayNames[Math.floor(hour / 24)]} ${String(hour % 24).padStart(2, '0')}:00`
}
