import type { FieldType, Point, Rejection, SeriesId } from '../model.js'

/** Times from here to there, about 285 years around 1970, are exact in JavaScript and in every store. */
const furthest = Number.MAX_SAFE_INTEGER

/** The suffix of the field beside another one that takes the values of a type: Home Assistant's, for text. */
const suffixes = { text: '_str', number: '_num', boolean: '_bool' } as const

/** The field that takes a value of `type` when the field `name` is of another type. */
export function besideOf(name: string, type: FieldType): string {
  return name + suffixes[type]
}

/** The fields that may be beside a field; numbers first, as they are what is drawn. */
export function besides(name: string): readonly string[] {
  return [besideOf(name, 'number'), besideOf(name, 'boolean'), besideOf(name, 'text')]
}

export function typeConflict(measurement: string, field: string): Rejection {
  const beside = besides(field).join(', ')
  return {
    reason: 'type_conflict',
    detail: `field '${field}' of '${measurement}' is of another type than this value, and so are the fields beside it (${beside})`,
  }
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

/** Why this point can never be stored by any store; undefined when it can. */
export function faultOf({ measurement, tags, fields, time }: Point): Rejection | undefined {
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
  if (text.length <= maxKnownLength && wellFormed.size < maxKnown) wellFormed.add(text)
  return false
}

const wellFormed = new Set<string>()
const maxKnownLength = 100
const maxKnown = 20_000
