import { type FieldType, fieldType, type Point, type Rejection, type SeriesId } from '../model.js'
import type { RejectedPoint } from './store.js'

/** Times from here to there, about 285 years around 1970, are exact in JavaScript and in every store. */
const furthest = Number.MAX_SAFE_INTEGER

/**
 * The type every field of every measurement is fixed to. `check` learns from what it is given, so that a batch
 * is held to its own first values; when that batch is not stored after all, `forget` them, or `clear` and `set` anew.
 */
export class FieldTypes {
  readonly #types = new Map<string, Map<string, FieldType>>()
  /** What was learnt since `keep`. */
  #learnt: (readonly [measurement: string, field: string])[] = []

  get(measurement: string, field: string): FieldType | undefined {
    return this.#types.get(measurement)?.get(field)
  }

  set(measurement: string, field: string, type: FieldType): void {
    const fields = this.#types.get(measurement)
    if (fields) fields.set(field, type)
    else this.#types.set(measurement, new Map([[field, type]]))
  }

  /** Why this point can never be stored; undefined when it can, and then its fields are learnt. */
  check(point: Point): Rejection | undefined {
    const fault = faultOf(point)
    if (fault) return fault
    const { measurement, fields } = point
    const known = this.#types.get(measurement)
    let complete = true
    for (const [field, value] of fields) {
      const type = known?.get(field)
      const given = fieldType(value)
      if (type === undefined) complete = false
      else if (type !== given) return conflict(measurement, field, type, given)
    }
    if (!complete) {
      for (const [field, value] of fields) {
        if (known?.has(field)) continue
        this.set(measurement, field, fieldType(value))
        this.#learnt.push([measurement, field])
      }
    }
    return undefined
  }

  /** What was learnt until now stays. */
  keep(): void {
    if (this.#learnt.length > 0) this.#learnt = []
  }

  /** What `check` learnt since `keep` was wrong. */
  forget(): void {
    for (const [measurement, field] of this.#learnt) this.#types.get(measurement)?.delete(field)
    this.#learnt = []
  }

  clear(): void {
    this.#types.clear()
    this.#learnt = []
  }
}

/** Splits a batch into the positions that can be stored and the points that never will be. Earlier lessons are kept. */
export function sift(points: readonly Point[], types: FieldTypes): { good: number[]; rejected: RejectedPoint[] } {
  const good: number[] = []
  const rejected: RejectedPoint[] = []
  types.keep()
  for (const [index, point] of points.entries()) {
    const rejection = types.check(point)
    if (rejection) rejected.push({ index, ...rejection })
    else good.push(index)
  }
  return { good, rejected }
}

/** Orders by measurement, then tag by tag, then field; by code unit, so the same everywhere. */
export function compareSeries(a: SeriesId, b: SeriesId): number {
  const byMeasurement = compareText(a.measurement, b.measurement)
  if (byMeasurement) return byMeasurement
  for (const [i, [name, value]] of a.tags.entries()) {
    const other = b.tags[i]
    if (!other) return 1
    const byTag = compareText(name, other[0]) || compareText(value, other[1])
    if (byTag) return byTag
  }
  return a.tags.length - b.tags.length || compareText(a.field, b.field)
}

/** Whole microseconds, at least one: `points` windows of this width cover the range, the last may be shorter. */
export function windowWidth(from: number, to: number, points: number): number {
  return Math.max(1, Math.ceil((to - from) / points))
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function conflict(measurement: string, field: string, type: FieldType, given: FieldType): Rejection {
  return {
    reason: 'type_conflict',
    detail: `field '${field}' of '${measurement}' is fixed to ${type} by its first value, but this value is ${given}`,
  }
}

function faultOf({ measurement, tags, fields, time }: Point): Rejection | undefined {
  if (fields.length === 0) return bad(`the point of '${measurement}' has no fields`)
  if (!Number.isInteger(time) || Math.abs(time) > furthest) {
    return bad(`the time ${time} of the point of '${measurement}' is not a whole number of microseconds`)
  }
  const wrongName = badName(measurement)
  if (wrongName) return bad(`the measurement name '${measurement}' ${wrongName}`)
  for (const [name, value] of tags) {
    const wrong = badName(name) ?? (loneSurrogate(value) ? 'is not valid Unicode' : undefined)
    if (wrong) return bad(`the tag '${name}' of '${measurement}' ${wrong}`)
  }
  for (const [field, given] of fields) {
    const wrong = badName(field)
    if (wrong) return bad(`the field name '${field}' of '${measurement}' ${wrong}`)
    if (typeof given === 'number' && !Number.isFinite(given)) {
      return bad(`field '${field}' of '${measurement}' is ${given}, which no store can hold`)
    }
    if (typeof given === 'string' && loneSurrogate(given)) {
      return bad(`the text of field '${field}' of '${measurement}' is not valid Unicode`)
    }
  }
  return undefined
}

function bad(detail: string): Rejection {
  return { reason: 'bad_value', detail }
}

function badName(name: string): string | undefined {
  if (name === '') return 'is empty'
  return loneSurrogate(name) ? 'is not valid Unicode' : undefined
}

/** Half of a surrogate pair has no UTF-8 form: it would come back as another name. Names of known texts come often. */
function loneSurrogate(text: string): boolean {
  if (wellFormed.has(text)) return false
  if (/\p{Surrogate}/u.test(text)) return true
  if (text.length <= longestKnown && wellFormed.size < mostKnown) wellFormed.add(text)
  return false
}

const wellFormed = new Set<string>()
const longestKnown = 100
const mostKnown = 20_000
