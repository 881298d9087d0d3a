import type { Course } from './course.js'
import { type Drawn, namesOf } from './line.js'
import type { Span } from './span.js'
import { quantityText, stateOf } from './subject.js'
import { say } from './words.js'

/** A line of words under the cursor. */
export interface Said {
  readonly place: number
  readonly name: string
  readonly text: string
  /** Smallest and largest of the window, where they differ. */
  readonly extremes: string
  readonly earlier: string
}

/** Returns the position of the time that is nearest; undefined where there is none, or a gap is nearer. */
export function nearest(
  times: readonly number[],
  values: readonly (number | null)[],
  time: number,
): number | undefined {
  let [low, high] = [0, times.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((times[middle] as number) < time) low = middle + 1
    else high = middle
  }
  const [before, after] = [low - 1, low]
  const distance = (i: number) => Math.abs((times[i] ?? Number.POSITIVE_INFINITY) - time)
  const at = distance(before) <= distance(after) ? before : after
  return times[at] !== undefined && values[at] !== null ? at : undefined
}

/** Returns what each series shown was at a time. */
export function under(drawn: readonly Drawn[], time: number, span: Span, now: number): readonly Said[] {
  const names = namesOf(drawn)
  return drawn
    .filter(({ isShown }) => isShown)
    .flatMap(({ subject, place, course, earlier, states, earlierStates }) => {
      const name = names.get(subject.key) ?? subject.name
      const said = { place, name, extremes: '', earlier: '' }
      if (states) {
        const at = (of: typeof states) => of.within(span, now).find(({ from, to }) => time >= from && time <= to)
        const [held, was] = [at(states), earlierStates && at(earlierStates)]
        if (!held) return []
        const word = was === undefined ? '' : say('tip.earlier', { value: stateOf(subject, was.value).text })
        return [{ ...said, text: stateOf(subject, held.value).text, earlier: word }]
      }
      const found = course && valueAt(course, time)
      if (!course || !found) return []
      const { value, low, high } = found
      const was = earlier && valueAt(earlier, time)
      const number = (one: number, more = 0) => quantityText(subject, one, course.decimals, more)
      return [
        {
          ...said,
          text: number(value, high > low ? 1 : 0),
          extremes: high > low ? `${number(low)} – ${number(high)}` : '',
          earlier: was ? say('tip.earlier', { value: number(was.value) }) : '',
        },
      ]
    })
}

function valueAt({ times, values, lows, highs }: Course, time: number) {
  const at = nearest(times, values, time)
  const value = at === undefined ? null : values[at]
  if (at === undefined || value == null) return undefined
  return { value, low: lows[at] ?? value, high: highs[at] ?? value }
}
