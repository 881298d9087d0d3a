import type { FieldValue } from '../model.js'
import { byCodePoints } from './catalogue.js'
import type { Fill, Operator, SelectStatement } from './statement.js'

/** A value of a column. Points with the same time and row are in one row of the answer. */
export interface Entry {
  /** Nanoseconds since the epoch. */
  readonly time: bigint
  /** Tells rows of the same time apart: the tag set that a reading is of. */
  readonly row: number
  readonly value: FieldValue | null
}

/** Windows from the one that begins at `first` to the one that begins at `last`, in nanoseconds. */
export interface Span {
  /** Undefined: from the first point on. */
  readonly first: bigint | undefined
  readonly last: bigint
  readonly width: bigint
}

/** Fills windows without a value. Points are in ascending order, and so is what is returned, unless `descending`. */
export function filled(
  points: readonly Entry[],
  { first, last, width }: Span,
  fill: Fill,
  { descending, isCount }: { readonly descending: boolean; readonly isCount: boolean },
): Entry[] {
  const inOrder = (all: Entry[]) => (descending ? all.reverse() : all)
  if (fill.kind === 'none' || points.length === 0) return inOrder([...points])
  const all: Entry[] = []
  let next = 0
  for (let time = first ?? (points[0] as Entry).time; time <= last || next < points.length; time += width) {
    const found = points[next]?.time === time ? (points[next++] as Entry) : undefined
    const empty = fill.kind === 'number' ? fill.value : isCount && fill.kind === 'null' ? 0 : null
    all.push(found ?? { time, row: 0, value: empty })
  }
  if (fill.kind === 'linear') interpolate(all)
  const ordered = inOrder(all)
  if (fill.kind === 'previous') {
    for (let i = 1; i < ordered.length; i++) {
      const [before, one] = [ordered[i - 1] as Entry, ordered[i] as Entry]
      if (one.value === null) ordered[i] = { ...one, value: before.value }
    }
  }
  return ordered
}

function interpolate(points: Entry[]): void {
  let before = -1
  for (const [i, { value }] of points.entries()) {
    if (typeof value !== 'number') continue
    const start = points[before]?.value
    for (let k = before + 1; k < i && typeof start === 'number'; k++) {
      const share = (k - before) / (i - before)
      points[k] = { ...(points[k] as Entry), value: start + (value - start) * share }
    }
    before = i
  }
}

/** Applies a function of a sequence of values. `unit`: nanoseconds, of rates. `size`: of a moving average. */
export function transformed(
  name: string,
  points: readonly Entry[],
  { unit, size }: { readonly unit: bigint; readonly size: number },
): Entry[] {
  const result: Entry[] = []
  let before: Entry | undefined
  let sum = 0
  const last: number[] = []
  for (const point of points) {
    if (point.value === null) continue
    const value = Number(point.value)
    if (name === 'cumulative_sum') {
      sum += value
      result.push({ ...point, value: sum })
      continue
    }
    if (name === 'moving_average') {
      sum += value
      if (last.push(value) > size) sum -= last.shift() ?? 0
      if (last.length === size) result.push({ ...point, value: sum / size })
      continue
    }
    // The first of several readings at a time counts.
    if (before?.time === point.time && name !== 'elapsed') continue
    if (before) {
      const elapsed = point.time > before.time ? point.time - before.time : before.time - point.time
      const difference = value - Number(before.value)
      const isRate = name.endsWith('derivative')
      if (name === 'elapsed') result.push({ ...point, value: Number(elapsed / unit) })
      else if (!(difference < 0) || !name.startsWith('non_negative')) {
        result.push({ ...point, value: isRate ? difference / (Number(elapsed) / Number(unit)) : difference })
      }
    }
    before = point
  }
  return result
}

/** Applies an operator. A value that is missing makes the result missing. */
export function calculated(operator: Operator, a: FieldValue | null, b: FieldValue | null): number | null {
  if (typeof a !== 'number' || typeof b !== 'number') return null
  switch (operator) {
    case '+':
      return a + b
    case '-':
      return a - b
    case '*':
      return a * b
    case '/':
      return b === 0 ? 0 : a / b
    case '%':
      return b === 0 ? null : a % b
  }
}

/**
 * Joins the columns of a group by time and row. Returns rows in order: a time, a row number, and a value for each column;
 * where a column has none, the number of `fill`, or, with `fill(previous)`, that of the row before: in the order of the
 * answer, as InfluxDB has it.
 */
export function joined(
  columns: readonly (readonly Entry[])[],
  { descending, windows, fill }: Pick<SelectStatement, 'descending' | 'windows' | 'fill'>,
) {
  const missing = windows && fill.kind === 'number' ? fill.value : null
  const isPrevious = windows && fill.kind === 'previous'
  const rows = new Map<
    string,
    { readonly time: bigint; readonly row: number; readonly values: (FieldValue | null)[] }
  >()
  for (const [i, points] of columns.entries()) {
    for (const { time, row, value } of points) {
      const key = `${time} ${row}`
      let found = rows.get(key)
      if (!found) {
        found = { time, row, values: isPrevious ? [] : columns.map(() => missing) }
        rows.set(key, found)
      }
      found.values[i] = value
    }
  }
  const sign = descending ? -1 : 1
  const all = [...rows.values()]
  all.sort((a, b) => sign * (a.time < b.time ? -1 : a.time > b.time ? 1 : a.row - b.row))
  for (const [n, { values }] of isPrevious ? all.entries() : []) {
    for (const i of columns.keys()) values[i] = values[i] === undefined ? (all[n - 1]?.values[i] ?? null) : values[i]
  }
  return all
}

/** Orders lists of texts. */
export function compareLists(a: readonly string[], b: readonly string[]): number {
  for (const [i, one] of a.entries()) {
    const order = byCodePoints(one, b[i] ?? '')
    if (order) return order
  }
  return a.length - b.length
}
