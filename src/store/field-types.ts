import { type FieldType, type FieldValue, fieldType, type Point, type Rejection } from '../model.js'
import { besideOf, faultOf, typeConflict } from './points.js'

/** Names of one generation. Two generations are kept; the types of others are learnt from the server's refusals. */
const maxFields = 100_000

/** Maximum number of fields beside each other that are tried. */
const maxSteps = 3

/** Types that a server has named for single fields, by `fieldKey`. */
export type NamedTypes = ReadonlyMap<string, FieldType>

export function fieldKey(measurement: string, field: string): string {
  return `${measurement.length}:${measurement}${field}`
}

/**
 * Types that a server enforces for the fields of a measurement. A value of another type goes to a field beside. `adapt`
 * learns from the points given, so that the first values of a batch fix the types for the rest. `forget` drops what was
 * learnt since `keep`, when that batch was not stored after all.
 */
export class FieldTypes {
  #types = new Map<string, FieldType>()
  #older = new Map<string, FieldType>()
  /** Fields whose types were learnt since `keep`. */
  #learnt: string[] = []

  get(measurement: string, field: string): FieldType | undefined {
    return this.#get(fieldKey(measurement, field))
  }

  set(measurement: string, field: string, type: FieldType): void {
    this.#set(fieldKey(measurement, field), type)
  }

  /**
   * Returns the point with each value in a field that takes the value, the very same object when nothing moves; or why
   * the point can never be stored. Types in `named` override known ones.
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

  /** Keeps what was learnt until now. */
  keep(): void {
    if (this.#learnt.length > 0) this.#learnt = []
  }

  /** Drops what `adapt` has learnt since `keep`. */
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

/** Returns whether the point itself has a field of this name, which is not replaced by another one. */
function isTaken(point: Point, name: string): boolean {
  return point.fields.some(([field]) => field === name)
}
