import { type FieldType, type FieldValue, fieldType, type Point, type Rejection } from '../model.js'
import type { IntegerFields } from './line-protocol.js'
import { besideOf, faultOf, faultyFields, fieldTaking, maxBesides, RefusedFields, typeConflict } from './points.js'

/** Names of one generation. Two generations are kept; the types of others are learnt from the server's refusals. */
const maxFields = 100_000

/** Type of a field in the server. Other programs, such as Telegraf, store whole numbers as integers. */
export type StoredType = FieldType | 'integer' | 'unsigned'

/** Types that a server has named for single fields, by `fieldKey`. */
export type NamedTypes = ReadonlyMap<string, StoredType>

/** A point, or what is left of a point, with each value in a field that takes the value. */
export interface AdaptedPoint {
  readonly point: Point
  readonly integers?: IntegerFields | undefined
  /** Fields of the original point that can never be stored. */
  readonly refused?: RefusedFields | undefined
}

export function fieldKey(measurement: string, field: string): string {
  return `${measurement.length}:${measurement}${field}`
}

/** Returns the type by InfluxDB's word. */
export function typeOfKind(kind: unknown): StoredType {
  switch (kind) {
    case 'string':
      return 'text'
    case 'boolean':
    case 'integer':
    case 'unsigned':
      return kind
    default:
      return 'number'
  }
}

/** Returns the integer type of a letter behind a value in line protocol. */
export function integerOf(letter: 'i' | 'u'): StoredType {
  return letter === 'i' ? 'integer' : 'unsigned'
}

/**
 * Types that a server enforces for the fields of a measurement. A value of another type goes to a field beside. `adapt`
 * learns from the points given, so that the first values of a batch fix the types for the rest. `forget` drops what was
 * learnt since `keep`, when that batch was not stored after all.
 */
export class FieldTypes {
  #types = new Map<string, StoredType>()
  #older = new Map<string, StoredType>()
  /** Fields whose types were learnt since `keep`. */
  #learnt: string[] = []

  get(measurement: string, field: string): StoredType | undefined {
    return this.#get(fieldKey(measurement, field))
  }

  set(measurement: string, field: string, type: StoredType): void {
    this.#set(fieldKey(measurement, field), type)
  }

  /**
   * Returns the point with each value in a field that takes the value, the very same object when nothing moves; or why
   * the point can never be stored. Fields that can never be stored are left out. Types in `named` override known ones.
   */
  adapt(point: Point, named: NamedTypes = none): AdaptedPoint | Rejection {
    const fault = faultOf(point)
    if (fault) return fault
    let refused = faultyFields(point)
    const { measurement } = point
    const fields: (readonly [string, FieldValue])[] = []
    const fresh: (readonly [key: string, type: FieldType])[] = []
    let integers: Map<string, 'i' | 'u'> | undefined
    let isMoved = false
    for (const [field, value] of point.fields) {
      if (refused?.has(field)) continue
      const type = fieldType(value)
      let name: string | undefined = field
      let key = fieldKey(measurement, field)
      let known = named.get(key) ?? this.#get(key)
      for (let step = 1; known !== undefined && !takes(known, value); step++) {
        if (step > maxBesides) {
          name = undefined
          break
        }
        do name = besideOf(name, type)
        while (isTaken(point, name))
        key = fieldKey(measurement, name)
        known = named.get(key) ?? this.#get(key)
      }
      if (name === undefined) {
        refused ??= new RefusedFields()
        refused.add(field, typeConflict(measurement, field))
        continue
      }
      if (known === undefined) fresh.push([key, type])
      else if (known === 'integer' || known === 'unsigned') {
        integers ??= new Map()
        integers.set(name, known === 'integer' ? 'i' : 'u')
      }
      if (name !== field) isMoved = true
      fields.push([name, value])
    }
    if (refused && fields.length === 0) return refused.rejection(0, point.fields.length)
    for (const [key, type] of fresh) {
      this.#set(key, type)
      this.#learnt.push(key)
    }
    return { point: isMoved || refused ? { ...point, fields } : point, integers, refused }
  }

  /** Returns the field that takes a value, as far as known. */
  fieldOf(measurement: string, field: string, value: FieldValue): string {
    const isOther = (name: string) => {
      const known = this.get(measurement, name)
      return known !== undefined && !takes(known, value)
    }
    return fieldTaking(field, fieldType(value), isOther) ?? field
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

  #get(key: string): StoredType | undefined {
    const known = this.#types.get(key)
    if (known !== undefined) return known
    const older = this.#older.get(key)
    if (older !== undefined) this.#set(key, older)
    return older
  }

  #set(key: string, type: StoredType): void {
    this.#types.set(key, type)
    if (this.#types.size < maxFields) return
    this.#older = this.#types
    this.#types = new Map()
  }
}

const none: NamedTypes = new Map()

function takes(type: StoredType, value: FieldValue): boolean {
  if (type === 'integer') return Number.isSafeInteger(value)
  if (type === 'unsigned') return Number.isSafeInteger(value) && Number(value) >= 0
  return type === fieldType(value)
}

/** Returns whether the point itself has a field of this name, which is not replaced by another one. */
function isTaken(point: Point, name: string): boolean {
  return point.fields.some(([field]) => field === name)
}
