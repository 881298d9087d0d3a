/** Stretches of time. Pure functions. */

import { ranges } from './address.js'

/** A stretch of time; `to` is not included. */
export interface Span {
  readonly from: number
  readonly to: number
}

const shortest = 2_000
const longest = 5 * 365 * 86_400_000
/** Readings that make a course. */
const enough = 50

/** Returns a span of a length that can be drawn, which does not end after `now`. */
export function drawable({ from, to }: Span, now: number): Span {
  const length = Math.max(shortest, Math.min(longest, to - from))
  const end = Math.round(Math.min(to, now))
  return { from: Math.round(end - length), to: end }
}

export type Step = 'earlier' | 'later' | 'in' | 'out'

/** Returns the span after a step; undefined when that reaches the present, and so is a range up to now. */
export function stepped({ from, to }: Span, step: Step, isLive: boolean, now: number): Span | undefined {
  const half = (to - from) / 2
  if (step === 'earlier') return { from: from - half, to: to - half }
  if (step === 'later') return to + half >= now ? undefined : { from: from + half, to: to + half }
  if (step === 'out') return { from: from - half, to: to + half }
  return isLive ? { from: to - half, to } : { from: from + half / 2, to: to - half / 2 }
}

/** How many readings there are around some times. */
export interface Found {
  readonly times: readonly number[]
  readonly counts: readonly number[]
}

/**
 * Returns the range in which a chart should begin: the first one that has enough readings for a course; where there are
 * few, the smallest that has all of them. Undefined: none has any.
 */
export function filledRange({ times, counts }: Found, now: number): string | undefined {
  const within = (length: number) =>
    times.reduce((sum, time, i) => (time >= now - length ? sum + (counts[i] ?? 0) : sum), 0)
  const all = within(Number.POSITIVE_INFINITY)
  let best: string | undefined
  let most = 0
  for (const [name, length] of ranges) {
    const count = within(length)
    if (count >= enough) return name
    if (count > most) {
      best = name
      most = count
    }
    if (count === all) break
  }
  return best
}
