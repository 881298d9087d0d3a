/** Questions about the past that a chart asks beside its readings. */

import type { HistoryColumns } from '@telehub/client'
import { hubNow } from '../api.js'
import { hub } from '../hub.js'
import { type Comparison, comparisons, ranges, type Selection } from './address.js'
import { Course } from './course.js'
import { filledRange, type Span } from './span.js'
import { States } from './states.js'
import type { Subject } from './subject.js'

const day = 86_400_000
/** How far back readings are looked for, with the number of windows, until there are some. */
const looks = [
  { back: day, points: 288 },
  { back: 30 * day, points: 720 },
  { back: 5 * 365 * day, points: 1_000 },
] as const
const fewReadings = 50
const defaultRange = '1h'

/**
 * Resolves with the range in which the first series with readings has some, or with a span that ends with the newest.
 * `chosen`: a range that is taken if there are readings in it.
 */
export async function filled(
  keys: readonly string[],
  chosen: string | undefined,
): Promise<Pick<Selection, 'range' | 'span'>> {
  const now = Math.ceil(hubNow())
  for (const key of keys) {
    for (const [i, { back, points }] of looks.entries()) {
      const query = { from: now - back, to: now + day, points, fn: 'count' } as const
      const answer = await hub.history(key, query).catch(() => undefined)
      if (!answer || answer.times.length === 0) continue
      const isLast = i === looks.length - 1
      const counts = countsOf(answer)
      const total = counts.reduce((sum, count) => sum + count, 0)
      // A few readings a day make a course in a week or a month.
      if (i === 0 && total < fewReadings && !isLast) {
        const longer = await hub.history(key, { ...query, from: now - looks[1].back, points: looks[1].points })
        return rangeIn(longer.times.length > 0 ? longer : answer, now, chosen)
      }
      return isLast ? { range: defaultRange, span: around(answer.times) } : rangeIn(answer, now, chosen)
    }
  }
  return { range: chosen ?? defaultRange }
}

function rangeIn(answer: HistoryColumns, now: number, chosen: string | undefined): Pick<Selection, 'range'> {
  const found = { times: answer.times, counts: countsOf(answer) }
  const isIn = chosen !== undefined && found.times.some(time => time >= now - (ranges.get(chosen) ?? 0))
  return { range: (isIn ? chosen : filledRange(found, now)) ?? defaultRange }
}

/** Returns the readings of each window: one where the answer has the readings as they are, or no counts. */
function countsOf({ values, window }: HistoryColumns): readonly number[] {
  return values.map(value => (window !== undefined && typeof value === 'number' ? value : 1))
}

/** Returns the span of the last windows with readings. */
function around(times: readonly number[]): Span {
  const newest = times.at(-1) ?? 0
  const window = looks[2].back / looks[2].points
  return { from: newest - window, to: newest + window }
}

/** The course of an earlier time, or the states. */
export interface Earlier {
  readonly course: Course | undefined
  readonly states: States | undefined
}

/** Resolves with what a series was a day or a week before, moved to the time of the span. Undefined: without an answer. */
export async function earlierOf(
  { key, type }: Subject,
  { from, to }: Span,
  points: number,
  comparison: Comparison,
): Promise<Earlier | undefined> {
  const shift = comparisons[comparison]
  const fn = type === 'number' ? 'mean' : 'last'
  const whole = { from: Math.floor(from) - shift, to: Math.ceil(to) - shift }
  const past = await hub.history(key, { ...whole, points, fn }).catch(() => undefined)
  if (!past) return undefined
  const course = type === 'number' ? new Course() : undefined
  course?.set(past, (to - from) / points, shift)
  const states = type === 'number' ? undefined : new States()
  states?.set(past, shift)
  return { course, states }
}
