import type { FieldValue } from '../../model.js'
import { type Sample, Undecodable } from './sample.js'

const maxDepth = 16
const maxFields = 1_000

/**
 * A JSON object: nested names joined with `.`, array elements by index, `null` left out. An array of objects that
 * each carry their own time is a batch of readings.
 */
export function decodeJson(text: string, timeFields: readonly string[]): Sample[] {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (error) {
    throw new Undecodable('bad_json', `not valid JSON: ${(error as Error).message}`)
  }
  if (Array.isArray(parsed) && parsed.length > 0) {
    const batch = parsed.map(element => sample(element, timeFields))
    if (batch.every(one => one.time !== undefined && one.fields.length > 0)) return batch
  }
  const one = sample(parsed, timeFields)
  if (one.fields.length === 0) throw new Undecodable('no_reading', 'the JSON holds no number, boolean or text')
  return [one]
}

function sample(value: unknown, timeFields: readonly string[]): Sample {
  const found = new Map<string, FieldValue>()
  flatten(value, '', 0, found)
  for (const name of timeFields) {
    const time = parseTime(found.get(name))
    if (time === undefined) continue
    found.delete(name)
    return { fields: [...found], time }
  }
  return { fields: [...found] }
}

function flatten(value: unknown, name: string, depth: number, found: Map<string, FieldValue>): void {
  if (value === null) return
  if (typeof value !== 'object') {
    if (typeof value === 'number' && !Number.isFinite(value)) {
      throw new Undecodable('bad_value', `${name}: the number is too large`)
    }
    if (found.size >= maxFields) throw new Undecodable('too_many_fields', `more than ${maxFields} fields`)
    found.set(name || 'value', value as FieldValue)
    return
  }
  if (depth >= maxDepth) throw new Undecodable('too_deep', `nested deeper than ${maxDepth} levels`)
  for (const [key, inner] of Object.entries(value)) flatten(inner, name ? `${name}.${key}` : key, depth + 1, found)
}

/**
 * A time in microseconds from a number (seconds, milliseconds, microseconds or nanoseconds since the epoch, told
 * apart by size) or an ISO 8601 text with its zone. A text without a zone could be any of 38 instants: no time.
 */
function parseTime(value: FieldValue | undefined): number | undefined {
  if (typeof value === 'number' && value >= 0) {
    if (value < 1e11) return Math.round(value * 1e6)
    if (value < 1e14) return Math.round(value * 1e3)
    if (value < 1e17) return Math.round(value)
    return Math.round(value / 1e3)
  }
  if (typeof value === 'string' && /^\d{4}-\d\d-\d\d[T ][\d:.,]+(Z|[+-]\d\d:?\d\d)$/i.test(value)) {
    const parsed = Date.parse(value)
    return Number.isNaN(parsed) ? undefined : parsed * 1e3
  }
  return undefined
}
