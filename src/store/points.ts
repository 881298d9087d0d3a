import type { FieldType, FieldValue, Point, Rejection, SeriesId } from '../model.js'
import type { RejectedPoint } from './store.js'

/** Furthest time from 1970, about 285 years: up to there times are exact in JavaScript and in every store. */
const furthest = Number.MAX_SAFE_INTEGER

/** Suffix of the field that takes the values of a type beside another field: for text, Home Assistant's. */
const suffixes = { text: '_str', number: '_num', boolean: '_bool' } as const

/** Returns the field that takes a value of `type` when the field `name` is of another type. */
export function besideOf(name: string, type: FieldType): string {
  return name + suffixes[type]
}

/** Maximum number of fields beside each other that are tried. */
export const maxBesides = 3

/**
 * Returns the field that takes a value of `type`: the field itself, or the first one beside for which `isOther` is
 * false. Undefined when there is none.
 */
export function fieldTaking(field: string, type: FieldType, isOther: (name: string) => boolean): string | undefined {
  let name = field
  for (let step = 0; isOther(name); step++) {
    if (step === maxBesides) return undefined
    name = besideOf(name, type)
  }
  return name
}

/** Returns the fields that may be beside a field; numbers first, as they are drawn. */
export function besides(name: string): readonly string[] {
  return [besideOf(name, 'number'), besideOf(name, 'boolean'), besideOf(name, 'text')]
}

export function typeConflict(measurement: string, field: string): Rejection {
  const beside = besides(field).join(', ')
  return {
    reason: 'type_conflict',
    detail: `field '${field}' of '${measurement}' has another type than this value, and so have its alternatives (${beside})`,
  }
}

/** @param from The time from which on there are readings, in microseconds since the epoch */
export function beyondRetention(measurement: string, field: string, from: number): Rejection {
  const time = new Date(from / 1_000).toISOString()
  return {
    reason: 'beyond_retention',
    detail: `readings of field '${field}' of '${measurement}' from before ${time} were deleted, as they are kept no longer (store.keep, store.limit, or keep of the mapping rule)`,
  }
}

/** Orders by measurement, then tag by tag, then field. Compares code units, so the order is the same everywhere. */
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

/** Returns the width in whole microseconds, at least one: `points` windows cover the range, the last may be shorter. */
export function windowWidth(from: number, to: number, points: number): number {
  return Math.max(1, Math.ceil((to - from) / points))
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/**
 * Refused fields of one point of a batch. The point is refused as a whole when none of the fields is left. The reason
 * is that of the first fault.
 */
export class RefusedFields {
  readonly #fields = new Set<string>()
  #first: Rejection | undefined

  has(field: string): boolean {
    return this.#fields.has(field)
  }

  add(field: string, rejection: Rejection): void {
    this.#first ??= rejection
    this.#fields.add(field)
  }

  /** Returns the refusal of the point at `index`, for a point of `count` fields. */
  rejection(index: number, count: number): RejectedPoint {
    const { reason, detail } = this.#first as Rejection
    const others = this.#fields.size - 1
    const all = others > 0 ? `${detail}; ${others} other field${others > 1 ? 's are' : ' is'} refused, too` : detail
    return { index, reason, detail: all, ...(this.#fields.size < count && { fields: [...this.#fields] }) }
  }
}

/** Returns the fields of a point that no store can ever store. Undefined when there are none. */
export function faultyFields({ measurement, fields }: Point): RefusedFields | undefined {
  let refused: RefusedFields | undefined
  for (const [field, value] of fields) {
    const fault = faultOfField(measurement, field, value)
    if (!fault) continue
    refused ??= new RefusedFields()
    refused.add(field, fault)
  }
  return refused
}

/** Returns why no store can ever store this point, whatever the fields. Undefined when the fields decide. */
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
  return undefined
}

function faultOfField(measurement: string, field: string, value: FieldValue): Rejection | undefined {
  const wrong = badName(field)
  if (wrong) return bad(`the field name '${field}' of '${measurement}' ${wrong}`)
  if (typeof value === 'number' && !Number.isFinite(value)) {
    return bad(`field '${field}' of '${measurement}' is ${value}, which cannot be stored`)
  }
  if (typeof value === 'string' && loneSurrogate(value)) {
    return bad(`the text of field '${field}' of '${measurement}' is not valid Unicode`)
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

/**
 * Returns whether a text has half of a surrogate pair, which has no UTF-8 form: the text would come back as another
 * one. Texts without a fault are remembered, as names come often.
 */
function loneSurrogate(text: string): boolean {
  if (wellFormed.has(text)) return false
  if (/\p{Surrogate}/u.test(text)) return true
  if (text.length <= maxKnownLength && wellFormed.size < maxKnown) wellFormed.add(text)
  return false
}

const wellFormed = new Set<string>()
const maxKnownLength = 100
const maxKnown = 20_000
