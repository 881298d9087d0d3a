import type { Course } from './course.js'
import type { States } from './states.js'
import type { Subject } from './subject.js'

/** A series of a chart, with what is drawn of it. */
export interface Drawn {
  readonly subject: Subject
  /** Place among the series, from 0, which gives colour and dashes. */
  readonly place: number
  readonly isShown: boolean
  /** Undefined for states. */
  readonly course?: Course
  /** The course of an earlier time, moved to now. */
  readonly earlier?: Course
  /** Undefined for numbers. */
  readonly states?: States
  readonly earlierStates?: States
}

/** Dashes by place, so that lines can be told apart without colours. */
const dashes: readonly (readonly number[])[] = [
  [],
  [9, 4],
  [2, 4],
  [12, 4, 2, 4],
  [5, 3],
  [1, 3],
  [14, 3],
  [8, 3, 2, 3, 2, 3],
]

export function dashOf(place: number): readonly number[] {
  return dashes[place % dashes.length] ?? []
}

/** Name of the colour by place: a property of the style sheet. */
export function colourOf(place: number): string {
  return `--course-${(place % dashes.length) + 1}`
}

/** The axis of a line. `none`: the unit has no axis, as there are two others already. */
export type Side = 'left' | 'right' | 'none'

/** Returns the side of each series of numbers: the first unit is on the left, the second on the right. */
export function sidesOf(drawn: readonly Drawn[]): ReadonlyMap<string, Side> {
  const units: string[] = []
  const sides = new Map<string, Side>()
  for (const { subject, isShown, course } of drawn) {
    if (!course) continue
    if (isShown && !units.includes(subject.unit) && units.length < 2) units.push(subject.unit)
    const at = units.indexOf(subject.unit)
    sides.set(subject.key, at === 0 ? 'left' : at === 1 ? 'right' : 'none')
  }
  return sides
}

/** Returns places for labels that want to be at some heights, so that none covers another. */
export function spread(wanted: readonly number[], height: number, room: number): readonly number[] {
  const order = wanted.map((_, i) => i).sort((a, b) => (wanted[a] as number) - (wanted[b] as number))
  const places = [...wanted]
  let least = 0
  for (const i of order) {
    places[i] = Math.max(least, wanted[i] as number)
    least = (places[i] as number) + height
  }
  let most = room - height
  for (const i of [...order].reverse()) {
    places[i] = Math.min(most, places[i] as number)
    most = (places[i] as number) - height
  }
  return places
}

/** Returns a name for each series: that of the value, or of the device where several values have the same name. */
export function namesOf(drawn: readonly Pick<Drawn, 'subject'>[]): ReadonlyMap<string, string> {
  const isOnly = (name: string) => drawn.filter(({ subject }) => subject.name === name).length === 1
  return new Map(
    drawn.map(({ subject: { key, name, device } }) => [key, isOnly(name) || device === '' ? name : device] as const),
  )
}
