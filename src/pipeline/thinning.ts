import type { FieldValue, Point } from '../model.js'

/** Most series whose last stored value is remembered. A series that is forgotten is stored once more. */
const maxSeries = 200_000

/** Settings of a rule for how often values are stored. Times in microseconds. */
export interface ThinningRule {
  /** Store only values that differ from the last one, or after so long. */
  readonly onChange?: { readonly heartbeat: number | undefined } | undefined
  /** Difference up to which a number counts as unchanged, by field; `*` for all others. */
  readonly deadband?: Readonly<Record<string, number>> | undefined
  /** Least time between two stored values. */
  readonly every?: number | undefined
}

/** Leaves out values that a rule does not want stored. They are shown all the same. */
export class Thinning {
  #stored = new Map<string, { readonly time: number; readonly value: FieldValue }>()

  /** Returns the points with what is to be stored; the very same array when all of it is. */
  thin(points: readonly Point[], { thinning }: { readonly thinning: ThinningRule | undefined }): readonly Point[] {
    if (!thinning) return points
    const kept: Point[] = []
    for (const point of points) {
      const series = `${point.measurement}\0${point.tags.join('\0')}\0`
      const fields = point.fields.filter(([field, value]) =>
        this.#isStored(series + field, field, value, point.time, thinning),
      )
      if (fields.length > 0) kept.push(fields.length === point.fields.length ? point : { ...point, fields })
    }
    return kept
  }

  #isStored(key: string, field: string, value: FieldValue, time: number, rule: ThinningRule): boolean {
    const last = this.#stored.get(key)
    if (last) {
      // Data that comes late, or once more, is no question of how often.
      if (time <= last.time) return true
      if (rule.every !== undefined && time - last.time < rule.every) return false
      const isChanged = hasChanged(last.value, value, rule.deadband?.[field] ?? rule.deadband?.['*'] ?? 0)
      const heartbeat = rule.onChange?.heartbeat
      const isDue = heartbeat !== undefined && time - last.time >= heartbeat
      if ((rule.onChange || rule.deadband) && !isChanged && !isDue) return false
    }
    if (!last && this.#stored.size >= maxSeries) this.#stored = new Map()
    this.#stored.set(key, { time, value })
    return true
  }
}

function hasChanged(last: FieldValue, value: FieldValue, deadband: number): boolean {
  if (typeof last === 'number' && typeof value === 'number')
    return Math.abs(value - last) > deadband || (deadband === 0 && value !== last)
  return value !== last
}
