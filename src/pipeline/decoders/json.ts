import type { FieldValue } from '../../model.js'
import { type Sample, Undecodable } from './sample.js'

/** How much of a payload of JSON, or of a binary format with the same structure, is examined before it is refused. */
export interface JsonLimits {
  /** Levels of nesting. */
  readonly depth: number
  /** Fields of one reading. */
  readonly fields: number
  /** Bytes that a compressed payload may become. */
  readonly inflated: number
}

/**
 * Limit for the names of all fields together: so many times the length of the payload, and for short payloads a little
 * more. A long name with many short ones inside becomes many long ones.
 */
const maxNameGrowth = 8
const alwaysAllowed = 10_000

/** Parses a JSON text. Throws {@link Undecodable}. */
export function parseJson(text: string, limits: JsonLimits): unknown {
  if (text.length > worthScanning) refuseHuge(text, limits)
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new Undecodable('bad_json', `not valid JSON: ${(error as Error).message}`)
  }
}

/**
 * Reads a payload of `length` characters or bytes that holds what JSON can: nested names joined with `.`, array elements
 * by index, `null` left out. An array of objects that each carry their own time is a batch of readings.
 */
export function readTree(parsed: unknown, length: number, timeFields: readonly string[], limits: JsonLimits): Sample[] {
  const names = { left: maxNameGrowth * length + alwaysAllowed }
  const batch = Array.isArray(parsed) ? readBatch(parsed, timeFields, limits, names) : undefined
  if (batch) return batch
  const one = sample(parsed, timeFields, limits, names)
  if (one.fields.length === 0) throw new Undecodable('no_reading', 'the payload holds no number, boolean or text')
  return [one]
}

/** Shorter payloads take no time worth saving. */
const worthScanning = 65_536

/**
 * Refuses a payload with far too much before parsing: an object of a million names takes seconds. Members that are null
 * count here. The elements of a batch may be of any number.
 */
function refuseHuge(text: string, { depth, fields }: JsonLimits): void {
  /** Commas so far, of each object and array that is open. */
  const open: number[] = []
  const mayBeBatch = text.startsWith('[') ? 1 : 0
  for (let i = 0; i < text.length; i++) {
    const char = text[i]
    if (char === '"') i = endOfString(text, i)
    else if (char === '[' || char === '{') {
      open.push(0)
      if (open.length > depth + mayBeBatch) throw tooDeep(depth)
    } else if (char === ']' || char === '}') open.pop()
    else if (char === ',' && open.length > mayBeBatch) {
      const commas = (open.pop() as number) + 1
      if (commas >= fields) throw tooManyFields(fields)
      open.push(commas)
    }
  }
}

/**
 * Returns the position of the quote that ends the string which begins at `start`; the end of the text when there is
 * none.
 */
function endOfString(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let backslashes = 0
    while (text[at - 1 - backslashes] === '\\') backslashes++
    if (backslashes % 2 === 0) return at
  }
  return text.length
}

export function tooDeep(depth: number): Undecodable {
  return new Undecodable('too_deep', `nested deeper than ${depth} levels (limits.jsonDepth)`)
}

function tooManyFields(fields: number): Undecodable {
  return new Undecodable('too_many_fields', `more than ${fields} fields (limits.jsonFields)`)
}

/** Characters left for the names of fields still to be read. */
interface NameBudget {
  left: number
}

/** Reads a batch. Undefined when not every element is a reading with a time. */
function readBatch(
  elements: readonly unknown[],
  timeFields: readonly string[],
  limits: JsonLimits,
  names: NameBudget,
): Sample[] | undefined {
  const batch: Sample[] = []
  for (const element of elements) {
    if (typeof element !== 'object') return undefined
    const one = sample(element, timeFields, limits, names)
    if (one.time === undefined || one.fields.length === 0) return undefined
    batch.push(one)
  }
  return batch.length > 0 ? batch : undefined
}

function sample(value: unknown, timeFields: readonly string[], limits: JsonLimits, names: NameBudget): Sample {
  const found = new Map<string, FieldValue>()
  const flatten = (inner: unknown, name: string, depth: number): void => {
    if (inner === null) return
    if (typeof inner !== 'object') {
      if (typeof inner === 'number' && !Number.isFinite(inner)) {
        throw new Undecodable('bad_value', `${name}: the number is too large`)
      }
      if (found.size >= limits.fields) throw tooManyFields(limits.fields)
      names.left -= name.length
      if (names.left < 0) {
        throw new Undecodable(
          'names_too_long',
          `names within names: together more than ${maxNameGrowth} times the payload`,
        )
      }
      found.set(name || 'value', inner as FieldValue)
      return
    }
    if (depth >= limits.depth) throw tooDeep(limits.depth)
    for (const [key, next] of Object.entries(inner as object)) flatten(next, name ? `${name}.${key}` : key, depth + 1)
  }
  flatten(value, '', 0)
  for (const name of timeFields) {
    const time = parseTime(found.get(name))
    if (time === undefined) continue
    found.delete(name)
    return { fields: [...found], time }
  }
  return { fields: [...found] }
}

/**
 * Parses a time in microseconds from a number (seconds, milliseconds, microseconds or nanoseconds since the epoch, told
 * apart by size) or an ISO 8601 text with a zone. A text without a zone could be any of 38 instants: no time.
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
