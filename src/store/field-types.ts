import { type FieldType, type FieldValue, fieldType, type Point, type Rejection } from '../model.js'
import { besideOf, faultOf, typeConflict } from './points.js'

/** Names that were learnt last are kept, at most twice as many; of others the server tells when it refuses a value. */
const maxFields = 100_000

/** So many fields beside each other are tried. */
const maxSteps = 3

/** Types that a server has named for single fields, by `fieldKey`. */
export type NamedTypes = ReadonlyMap<string, FieldType>

export function fieldKey(measurement: string, field: string): string {
  return `${measurement.length}:${measurement}${field}`
}

/**
 * The types that a server holds the fields of its measurements to. A value of another type goes to the field beside its
 * own. `adapt` learns from what it is given, so that a batch is held to its own first values; `forget` takes back what
 * was learnt since `keep`, when that batch was not stored after all.
 */
export class FieldTypes {
  #types = new Map<string, FieldType>()
  #older = new Map<string, FieldType>()
  /** What was learnt since `keep`. */
  #learnt: string[] = []

  get(measurement: string, field: string): FieldType | undefined {
    return this.#get(fieldKey(measurement, field))
  }

  set(measurement: string, field: string, type: FieldType): void {
    this.#set(fieldKey(measurement, field), type)
  }

  /**
   * The point with each value in a field that takes it, the very same object when that is its own; or why it can never
   * be stored. `named` counts for more than what is known.
   */
  adapt(point: Point, named: NamedTypes = none): Point | Rejection {
    const fault = faultOf(point)
    if (fault) return fault
    const { measurement } = point
    const keys: (string | undefined)[] = []
    let fields: (readonly [string, FieldValue])[] | undefined
    for (const [i, [field, value]] of point.fields.entries()) {
      const type = fieldType(value)
      let name = field
      let key = fieldKey(measurement, name)
      let known = named.get(key) ?? this.#get(key)
      for (let step = 1; known !== undefined && known !== type; step++) {
        if (step > maxSteps) return typeConflict(measurement, field)
        do name = besideOf(name, type)
        while (isTaken(point, name))
        key = fieldKey(measurement, name)
        known = named.get(key) ?? this.#get(key)
      }
      keys.push(known === undefined ? key : undefined)
      if (name !== field) {
        fields ??= [...point.fields]
        fields[i] = [name, value]
      }
    }
    for (const [i, key] of keys.entries()) {
      if (key === undefined) continue
      this.#set(key, fieldType((point.fields[i] as Point['fields'][number])[1]))
      this.#learnt.push(key)
    }
    return fields ? { ...point, fields } : point
  }

  /** What was learnt until now stays. */
  keep(): void {
    if (this.#learnt.length > 0) this.#learnt = []
  }

  /** What `adapt` learnt since `keep` was wrong. */
  forget(): void {
    for (const key of this.#learnt) {
      this.#types.delete(key)
      this.#older.delete(key)
    }
    this.#learnt = []
  }

  clear(): void {
    this.#types.clear()
    this.#older.clear()
    this.#learnt = []
  }

  #get(key: string): FieldType | undefined {
    const known = this.#types.get(key)
    if (known !== undefined) return known
    const older = this.#older.get(key)
    if (older !== undefined) this.#set(key, older)
    return older
  }

  #set(key: string, type: FieldType): void {
    this.#types.set(key, type)
    if (this.#types.size < maxFields) return
    this.#older = this.#types
    this.#types = new Map()
  }
}

const none: NamedTypes = new Map()

/** A field of the point itself is not replaced by another one. */
function isTaken(point: Point, name: string): boolean {
  return point.fields.some(([field]) => field === name)
}
