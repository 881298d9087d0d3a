import type { HistoryColumns } from '@telehub/client'
import type { Value } from '../api.js'
import type { Selection } from './address.js'
import { Course } from './course.js'
import type { Earlier } from './history.js'
import type { Drawn } from './line.js'
import { States } from './states.js'
import type { Subject } from './subject.js'

/** Everything that is drawn of one series. */
interface Part {
  readonly subject: Subject
  readonly course: Course | undefined
  readonly states: States | undefined
  earlier: Earlier | undefined
}

/** The drawn parts of the series of a chart, by key. */
export class Parts {
  readonly #parts = new Map<string, Part>()

  /** Number of readings or windows that are drawn. */
  get points(): number {
    return [...this.#parts.values()].reduce((sum, part) => sum + (part.course ?? part.states ?? { count: 0 }).count, 0)
  }

  /** Keeps what is drawn of these series; courses of an earlier time are forgotten. */
  set(subjects: ReadonlyMap<string, Subject>): void {
    for (const key of [...this.#parts.keys()]) if (!subjects.has(key)) this.#parts.delete(key)
    for (const [key, subject] of subjects) {
      const part = this.#parts.get(key)
      if (part) {
        part.earlier = undefined
        continue
      }
      const isNumber = subject.type === 'number'
      const course = isNumber ? new Course() : undefined
      const states = isNumber ? undefined : new States()
      this.#parts.set(key, { subject, course, states, earlier: undefined })
    }
  }

  /** Returns the series in the order of the address. */
  drawn({ keys, off }: Pick<Selection, 'keys' | 'off'>): readonly Drawn[] {
    return keys.flatMap((key, place) => {
      const part = this.#parts.get(key)
      if (!part) return []
      const { subject, course, states, earlier } = part
      return {
        ...{ subject, place, isShown: !off.includes(key) },
        ...(course && { course }),
        ...(states && { states }),
        ...(earlier?.course && { earlier: earlier.course }),
        ...(earlier?.states && { earlierStates: earlier.states }),
      }
    })
  }

  /** Replaces what is drawn of a series by history. Returns whether the series is one of the chart. */
  past(key: string, past: HistoryColumns, window: number): boolean {
    const part = this.#parts.get(key)
    part?.course?.set(past, window)
    part?.states?.set(past)
    return part !== undefined
  }

  widen(key: string, lows: HistoryColumns, highs: HistoryColumns): void {
    this.#parts.get(key)?.course?.widen(lows, highs)
  }

  /** Takes the state that held when the history begins. */
  begin(key: string, time: number, value: Value): void {
    this.#parts.get(key)?.states?.begin(time, value)
  }

  push(key: string, time: number, value: Value): void {
    const part = this.#parts.get(key)
    if (typeof value === 'number') part?.course?.push(time, value)
    part?.states?.push(time, value)
  }

  compare(key: string, earlier: Earlier): void {
    const part = this.#parts.get(key)
    if (part) part.earlier = earlier
  }

  /** Forgets what is before a time, but for one point of each line. */
  trim(from: number): void {
    for (const { course } of this.#parts.values()) course?.trim({ from, to: from })
  }

  /** Forgets all readings, and keeps the series. */
  empty(): void {
    for (const key of this.#parts.keys()) this.past(key, { times: [], values: [] }, 1)
  }

  clear(): void {
    this.#parts.clear()
  }
}
