import type { FieldValue } from '../../model.js'
import { type Sample, Undecodable } from './sample.js'
import { isTreeObject, type Tree, type TreeObject } from './tree.js'

/*
 * SenML (RFC 8428): a pack is an array of records. A base value counts from its record on for all that follow.
 *
 *   [{"bn":"urn:dev:ow:10e2:","bt":1.7e9,"n":"temperature","u":"Cel","v":23.1},{"n":"humidity","u":"%RH","v":67}]
 */

/** Labels in CBOR and in JSON. [RFC 8428 §6] */
const labelOf: Readonly<Record<string, string>> = {
  '-1': 'bver',
  '-2': 'bn',
  '-3': 'bt',
  '-4': 'bu',
  '-5': 'bv',
  '-6': 'bs',
  '0': 'n',
  '1': 'u',
  '2': 'v',
  '3': 'vs',
  '4': 'vb',
  '5': 's',
  '6': 't',
  '7': 'ut',
  '8': 'vd',
}
const labels = new Set([...Object.keys(labelOf), ...Object.values(labelOf)])
const values = ['v', 'vs', 'vb', 'vd', 's', 'bv', 'bs', '2', '3', '4', '5', '8', '-5', '-6']
const names = ['n', 'bn', '0', '-2']

/** Units of SenML (RFC 8428 §12.1) that people write in another way. */
const written: Readonly<Record<string, string>> = {
  Cel: '°C',
  degF: '°F',
  '%RH': '%',
  '%EL': '%',
  '%vol': '%',
  'm/s2': 'm/s²',
  'ug/m3': 'µg/m³',
  deg: '°',
  Ohm: 'Ω',
  uS: 'µS',
}

/** The highest version of SenML there is. [RFC 8428 §4.4] */
const newestVersion = 10
/** Times below are relative to now. [RFC 8428 §4.5.3] */
const relative = 2 ** 28
/** Times from here on are milliseconds, which SenML does not have and some devices send. */
const notSeconds = 1e11

/**
 * Whether a decoded payload is surely a SenML pack: an array of objects that have SenML's labels and no others, of which
 * the first has a name, and one a value.
 */
export function looksLikeSenml(tree: unknown): boolean {
  if (!Array.isArray(tree) || tree.length === 0) return false
  const has = (one: TreeObject, some: readonly string[]) => some.some(label => Object.hasOwn(one, label))
  return (
    tree.every(one => isTreeObject(one) && Object.keys(one).every(label => labels.has(label))) &&
    has(tree[0], names) &&
    tree.some(one => has(one, values))
  )
}

/**
 * Reads a SenML pack: a sample for each time, whose fields have the full names of the records (base name and name).
 * Throws {@link Undecodable}.
 * @param receivedAt Microseconds since the epoch, for relative times
 */
export function readSenml(pack: Tree, receivedAt: number, limits: { readonly fields: number }): Sample[] {
  if (!Array.isArray(pack)) throw bad('not an array of records')
  const base = new Base()
  const samples = new Map<number | undefined, { fields: Map<string, FieldValue>; units: Map<string, string> }>()
  for (const record of pack) {
    if (!isTreeObject(record)) throw bad('a record is no object')
    const labelled = new Map(Object.entries(record).map(([label, value]) => [labelOf[label] ?? label, value]))
    for (const label of labelled.keys()) {
      if (label.endsWith('_')) throw bad(`a field that must be understood, and is not: ${label}`)
    }
    base.take(labelled)
    const { name, time, unit, found } = base.resolve(labelled, receivedAt)
    if (found.length === 0) continue
    let sample = samples.get(time)
    if (!sample) {
      sample = { fields: new Map(), units: new Map() }
      samples.set(time, sample)
    }
    for (const [suffix, value] of found) {
      const field = name + suffix
      if (time === undefined && sample.fields.has(field)) {
        throw new Undecodable('no_time', `several records of ${field} need a time each`)
      }
      sample.fields.set(field, value)
      if (unit !== undefined && suffix === '' && typeof value === 'number') sample.units.set(field, unit)
      if (sample.fields.size > limits.fields) {
        throw new Undecodable('too_many_fields', `more than ${limits.fields} fields (limits.jsonFields)`)
      }
    }
  }
  if (samples.size === 0) throw new Undecodable('no_reading', 'the SenML pack holds no value')
  return [...samples].map(([time, { fields, units }]) => ({
    fields: [...fields],
    ...(time !== undefined && { time }),
    ...(units.size > 0 && { units: [...units] }),
  }))
}

type Labelled = ReadonlyMap<string, Tree>

/** The base values that count for a record. */
class Base {
  #name = ''
  #time = 0
  #unit: string | undefined
  #value = 0
  #sum = 0

  /** Takes the base values of a record, which count from this record on. */
  take(record: Labelled): void {
    const version = number(record, 'bver')
    if (version !== undefined && version > newestVersion) throw bad(`version ${version} is not known`)
    this.#name = text(record, 'bn') ?? this.#name
    this.#time = number(record, 'bt') ?? this.#time
    this.#unit = text(record, 'bu') ?? this.#unit
    this.#value = number(record, 'bv') ?? this.#value
    this.#sum = number(record, 'bs') ?? this.#sum
  }

  /** Returns a record with everything that the base values add; the values by the ending of their field's name. */
  resolve(record: Labelled, receivedAt: number) {
    const found: [ending: string, FieldValue][] = []
    const value = number(record, 'v')
    if (value !== undefined) found.push(['', this.#value + value])
    else if (record.has('bv') && !['vs', 'vb', 'vd', 's'].some(label => record.has(label))) {
      found.push(['', this.#value])
    }
    const others = [text(record, 'vs'), text(record, 'vd'), boolean(record, 'vb')]
    for (const other of others) if (other !== undefined) found.push(['', other])
    if (found.length > 1) throw bad('a record with several values')
    const sum = number(record, 's')
    if (sum !== undefined) found.push([found.length > 0 ? '.sum' : '', this.#sum + sum])
    if (found.some(([, one]) => typeof one === 'number' && !Number.isFinite(one))) throw bad('a value is too large')
    const unit = text(record, 'u') ?? this.#unit
    return {
      name: this.#name + (text(record, 'n') ?? '') || 'value',
      time: timeOf(this.#time + (number(record, 't') ?? 0), receivedAt),
      unit: unit === undefined ? undefined : (written[unit] ?? unit),
      found,
    }
  }
}

/** Returns microseconds since the epoch. Undefined for now. */
function timeOf(seconds: number, receivedAt: number): number | undefined {
  if (seconds === 0) return undefined
  if (seconds < relative) return Math.round(seconds * 1e6) + receivedAt
  return Math.round(seconds < notSeconds ? seconds * 1e6 : seconds * 1e3)
}

function number(record: Labelled, label: string): number | undefined {
  const value = record.get(label)
  if (value === undefined || value === null) return undefined
  if (typeof value === 'number' && Number.isFinite(value)) return value
  throw bad(`${label} is no number, or too large`)
}

function text(record: Labelled, label: string): string | undefined {
  const value = record.get(label)
  if (value === undefined || value === null || typeof value === 'string') return value ?? undefined
  throw bad(`${label} is no text`)
}

function boolean(record: Labelled, label: string): boolean | undefined {
  const value = record.get(label)
  if (value === undefined || value === null || typeof value === 'boolean') return value ?? undefined
  throw bad(`${label} is not true or false`)
}

function bad(detail: string): Undecodable {
  return new Undecodable('bad_senml', `not valid SenML: ${detail}`)
}
