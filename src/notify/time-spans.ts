/** Days of the week, Monday first. */
const days = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const

/** A span of each week. A span whose end is not after its beginning ends on the next day. */
export interface TimeSpan {
  /** Days on which the span begins, as indexes of Monday to Sunday. */
  readonly days: ReadonlySet<number>
  /** Minutes since midnight. `to` is not included. */
  readonly from: number
  readonly to: number
}

export const allowedSpans = 'days and times such as mon-fri 08:00-18:00, sat,sun or 22:00-06:00'

/** Reads `mon-fri 08:00-18:00`, `sat,sun` or `22:00-06:00`. Returns undefined for any other text. */
export function parseSpan(text: string): TimeSpan | undefined {
  const [, dayText, fromText, toText] =
    /^\s*([a-z]{3}(?:[-,][a-z]{3})*)?\s*(?:(\d\d:\d\d)\s*-\s*(\d\d:\d\d))?\s*$/i.exec(text) ?? []
  if (dayText === undefined && fromText === undefined) return undefined
  const found = dayText === undefined ? [0, 1, 2, 3, 4, 5, 6] : daysOf(dayText.toLowerCase())
  const from = minutesOf(fromText ?? '00:00')
  const to = minutesOf(toText ?? '24:00')
  if (!found || from === undefined || to === undefined || from === to) return undefined
  return { days: new Set(found), from, to }
}

function daysOf(text: string): readonly number[] | undefined {
  const found: number[] = []
  for (const part of text.split(',')) {
    const [first = '', last = first, ...rest] = part.split('-')
    const [from, to] = [first, last].map(day => (days as readonly string[]).indexOf(day))
    if (from === undefined || to === undefined || from < 0 || to < 0 || rest.length > 0) return undefined
    for (let day = from; ; day = (day + 1) % 7) {
      found.push(day)
      if (day === to) break
    }
  }
  return found
}

function minutesOf(text: string): number | undefined {
  const [hours = 0, minutes = 0] = text.split(':').map(Number)
  const all = hours * 60 + minutes
  return minutes < 60 && all <= 24 * 60 ? all : undefined
}

/** Whether a moment, in milliseconds since the epoch, is in one of the spans, by the clocks of a time zone. */
export function isWithin(spans: readonly TimeSpan[], ms: number, zone: string): boolean {
  const options = { weekday: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23', timeZone: zone } as const
  const parts = new Map(new Intl.DateTimeFormat('en-GB', options).formatToParts(ms).map(one => [one.type, one.value]))
  const day = (days as readonly string[]).indexOf((parts.get('weekday') ?? '').toLowerCase())
  const minute = Number(parts.get('hour')) * 60 + Number(parts.get('minute'))
  return spans.some(({ days, from, to }) => {
    if (from < to) return days.has(day) && minute >= from && minute < to
    return (days.has(day) && minute >= from) || (days.has((day + 6) % 7) && minute < to)
  })
}
