import type { ForcedType } from '../config/settings.js'
import type { FieldValue, Tags } from '../model.js'
import type { Sample } from './decoders/sample.js'
import { compileNames, wildcard } from './presets/pattern.js'

/** Settings of a rule or a preset for fields. `*` in a name is any text. */
export interface FieldSettings {
  /** Fields that are kept, with their new names. */
  readonly fields?: Readonly<Record<string, string>> | undefined
  readonly keep?: readonly string[] | undefined
  readonly drop?: readonly string[] | undefined
  /** Beginnings of names that are left out. */
  readonly strip?: readonly string[] | undefined
  readonly types?: Readonly<Record<string, ForcedType>> | undefined
  /** Units by final name. */
  readonly units?: Readonly<Record<string, string>> | undefined
}

/** Plan for one field. */
export interface FieldPlan {
  /** Final name. Undefined: the field is not stored. */
  readonly name: string | undefined
  readonly type: ForcedType | undefined
}

/** Most names remembered. Devices choose the names. */
const maxKnown = 10_000

/** Plans of the fields of one rule or preset topic: each name is examined once. */
export class FieldPlans {
  readonly #settings: FieldSettings
  readonly #isKept: ((name: string) => boolean) | undefined
  readonly #isDropped: ((name: string) => boolean) | undefined
  readonly #types: readonly (readonly [RegExp, ForcedType])[]
  readonly #units: readonly (readonly [RegExp, string])[]
  readonly #known = new Map<string, FieldPlan>()
  /** Units by final name, empty for none. */
  readonly #unitsByName = new Map<string, string>()
  /** Whether every field is stored under its own name, as it is. */
  readonly isIdentity: boolean

  constructor(settings: FieldSettings) {
    const { fields, keep, drop, strip, types = {}, units = {} } = settings
    this.#settings = settings
    this.#isKept = keep && compileNames(keep)
    this.#isDropped = drop && compileNames(drop)
    this.#types = Object.entries(types).map(([name, type]) => [wildcard(name), type] as const)
    this.#units = Object.entries(units).map(([name, unit]) => [wildcard(name), unit] as const)
    this.isIdentity = !fields && !keep && !drop && !strip && this.#types.length === 0
  }

  of(field: string): FieldPlan {
    let plan = this.#known.get(field)
    if (plan) return plan
    plan = this.#planOf(field)
    if (this.#known.size >= maxKnown) this.#known.clear()
    this.#known.set(field, plan)
    return plan
  }

  /** Returns the unit of a field by its final name. */
  unitOf(name: string): string | undefined {
    let unit = this.#unitsByName.get(name)
    if (unit === undefined) {
      // Elements of an array have the unit of the array.
      const whole = name.replace(/\.\d+$/, '')
      unit = this.#units.find(([pattern]) => pattern.test(name) || pattern.test(whole))?.[1] ?? ''
      if (this.#unitsByName.size >= maxKnown) this.#unitsByName.clear()
      this.#unitsByName.set(name, unit)
    }
    return unit === '' ? undefined : unit
  }

  #planOf(field: string): FieldPlan {
    const { fields, strip = [] } = this.#settings
    const beginning = strip.find(one => field.startsWith(one) && field.length > one.length)
    const short = beginning === undefined ? field : field.slice(beginning.length)
    const isOut = this.#isDropped?.(field) || (this.#isKept && !this.#isKept(field))
    const renamed = fields ? (Object.hasOwn(fields, field) ? fields[field] : undefined) : short
    const name = isOut ? undefined : renamed
    const type = this.#types.find(([pattern]) => pattern.test(field))?.[1]
    return { name, type }
  }
}

/** Returns a value as a value of the type; undefined when the value cannot be one. */
function forced(value: FieldValue, type: ForcedType): FieldValue | undefined {
  if (type === 'text') return String(value)
  if (typeof value === type) return value
  if (type === 'boolean') {
    if (value === 1 || value === 0) return value === 1
    const word = String(value).toLowerCase()
    if (trueWords.has(word)) return true
    return falseWords.has(word) ? false : undefined
  }
  if (typeof value === 'boolean') return value ? 1 : 0
  const number = /^[+-]?(0x[\da-f]+|[\d.]+(e[+-]?\d+)?)$/i.test(String(value)) ? Number(value) : Number.NaN
  return Number.isFinite(number) ? number : undefined
}

const trueWords: ReadonlySet<string> = new Set(['1', 'true', 't', 'on', 'yes', 'y', 'open', 'online', 'active', 'high'])
const falseWords: ReadonlySet<string> = new Set([
  ...['0', 'false', 'f', 'off', 'no', 'n', 'closed', 'close', 'offline', 'inactive', 'low'],
])

/** Fields of a sample as planned: a value is undefined when it is not of the type it should be. */
export interface PlannedFields {
  readonly fields: readonly (readonly [name: string, value: FieldValue | undefined])[]
  /** Tags from the payload, sorted. */
  readonly tagged: Tags
}

/** Names, leaves out and converts the fields of a sample, and takes those that become tags. */
export function planned(
  fields: Sample['fields'],
  plans: FieldPlans,
  tagFields: ReadonlySet<string> | undefined,
): PlannedFields {
  const kept: (readonly [string, FieldValue | undefined])[] = []
  const tagged: (readonly [string, string])[] = []
  for (const [field, value] of fields) {
    if (tagFields?.has(field)) {
      const text = String(value)
      if (text !== '') tagged.push([field.slice(field.lastIndexOf('.') + 1), text])
      continue
    }
    const { name, type } = plans.of(field)
    if (name !== undefined) kept.push([name, type === undefined ? value : forced(value, type)])
  }
  return { fields: kept, tagged: tagged.length > 1 ? tagged.sort(([a], [b]) => (a < b ? -1 : 1)) : tagged }
}
