import type { FieldValue } from '../../model.js'
import { identityAt, identityOf } from './identity.js'
import { type KeyKind, kindOf, noKind } from './key-names.js'
import { isWide, MemberTimes, type NamedTime } from './member-times.js'
import { isEmbedded, isMembers, isObject, type Members, trimmed } from './members.js'
import { unitFor, unitsIn } from './payload-units.js'
import { type ReadingRules, type Sample, type TextMemory, Undecodable } from './sample.js'
import { parseTime, type ReadTime } from './time.js'
import { meaningOf, rememberText } from './value.js'

/** How much of a payload of JSON, or of a binary format with the same structure, is examined before it is refused. */
export interface JsonLimits {
  /** Levels of nesting. */
  readonly depth: number
  /** Fields of one reading. */
  readonly fields: number
  /** Bytes that a compressed payload may become. */
  readonly inflated: number
}

export interface TreeOptions {
  readonly rules: ReadingRules
  readonly memory: TextMemory
  readonly json: JsonLimits
  /** Time of receipt in microseconds. */
  readonly receivedAt: number
  /** Whether the numbers are those that were sent: whole ones beyond 2^53 are bigints or texts of their digits. */
  readonly isExact: boolean
  /** Parses JSON in a text of the tree, with exact numbers. Undefined when the text is no JSON. */
  readonly parseInner: (text: string) => object | undefined
}

/** Thrown when a number is a whole one of more digits than a float holds, and perhaps not the one that was sent. */
export const LongInteger = new Undecodable('number_too_long', 'a whole number has more digits than a float holds')

/**
 * Limit for the names of all fields together: so many times the length of the payload, and for short payloads a little
 * more. A long name with many short ones inside becomes many long ones.
 */
const maxNameGrowth = 8
const alwaysAllowed = 10_000

/** Most elements of an array that are told apart by their place; more of them are a curve, or a list. */
const maxPlaces = 32
/** Most characters of a list of texts that is kept as one text. */
const maxList = 500

/** Names of members that only hold the readings, and so say nothing about them. */
const containers: ReadonlySet<string> = new Set([
  'values',
  'data',
  'samples',
  'metrics',
  'readings',
  'measurements',
  'points',
  'records',
  'items',
  'sensors',
  'tags',
  'vals',
  'dataitems',
  'sensordatavalues',
])

/** Names of members that tell about the message as a whole: a time in them is that of all readings beside them. */
const heads: ReadonlySet<string> = new Set([
  ...['head', 'header', 'headers', 'hdr', 'meta', 'metadata', 'envelope', 'msginfo', 'messageinfo', 'info'],
])

/**
 * Reads a tree of objects, arrays and values, as a JSON text is one, from a payload of `length` characters or bytes.
 *
 * - Nested names are joined with `.`; `null` and absent words are no value.
 * - An object with a time of its own is a reading of its own; so is each element of an array whose elements have times,
 *   each `[time, value]` in an array of such pairs, and each member of an object whose names are all times.
 * - Columns are an array of times, and beside it arrays of as many values: a reading for each time.
 * - Elements of other arrays are told apart by their identity (`id`, `name`, …), and by their place only where they have
 *   none. A list of texts is one text. Arrays in arrays, and curves of many numbers, are not read.
 * - A text that is a JSON object itself is read like the object.
 * - `{value, unit}` is one value with a unit; `temperature_unit` and the like name the unit of what they begin with.
 */
export function readTree(tree: unknown, length: number, options: TreeOptions): Sample[] {
  return new TreeReader(length, options).read(tree)
}

/** A reading while its fields are gathered. */
class Gathered {
  readonly fields = new Map<string, FieldValue>()
  absent: string[] | undefined
  units: Map<string, string> | undefined
  time: ReadTime | undefined
  /** The reading whose time counts when this one has none. */
  readonly outer: Gathered | undefined

  constructor(time: ReadTime | undefined, outer?: Gathered) {
    this.time = time
    this.outer = outer
  }
}

class TreeReader {
  readonly #rules: ReadingRules
  readonly #memory: TextMemory
  readonly #limits: JsonLimits
  readonly #times: MemberTimes
  readonly #isExact: boolean
  readonly #parseInner: (text: string) => object | undefined
  #nameCharacters: number
  readonly #gathered: Gathered[] = []
  /** The member whose time the mapping names, which is not read as a field. */
  #named: NamedTime | undefined
  /** Why a part of the payload was left out, when nothing else is in it. */
  #leftOut: Undecodable | undefined

  constructor(length: number, { rules, memory, json, receivedAt, isExact, parseInner }: TreeOptions) {
    this.#rules = rules
    this.#memory = memory
    this.#limits = json
    this.#times = new MemberTimes(rules.timeFields, receivedAt)
    this.#isExact = isExact
    this.#parseInner = parseInner
    this.#nameCharacters = maxNameGrowth * length + alwaysAllowed
  }

  read(tree: unknown): Sample[] {
    this.#named = this.#times.named(tree)
    const root = this.#open(this.#named?.time)
    this.#value(root, '', tree, 0, undefined)
    return this.#samples(root)
  }

  #samples(root: Gathered): Sample[] {
    const samples: Sample[] = []
    const inner = this.#gathered.length > 1 ? this.#gathered.find(one => one !== root && one.time) : undefined
    // What surrounds a reading with a time, and only describes it, has the same time.
    const around = root.time ?? (inner && isDescription(root) ? inner.time : undefined)
    for (const one of this.#gathered) {
      if (one.fields.size === 0 && !one.absent) continue
      let time = one.time
      for (let outer = one.outer; !time && outer; outer = outer.outer) time = outer.time
      time ??= around
      samples.push({
        fields: [...one.fields],
        ...(time && { time: time.time }),
        ...(time?.isLocal && { isLocal: true }),
        ...(one.units && { units: [...one.units] }),
        ...(one.absent && { absent: one.absent }),
      })
    }
    if (samples.length === 0 && this.#leftOut) throw this.#leftOut
    return samples
  }

  #open(time: ReadTime | undefined, outer?: Gathered): Gathered {
    const gathered = new Gathered(time, outer)
    this.#gathered.push(gathered)
    return gathered
  }

  #value(into: Gathered, name: string, value: unknown, depth: number, kind: KeyKind | undefined): void {
    if (typeof value !== 'object') {
      const embedded = typeof value === 'string' ? this.#embedded(name, value) : undefined
      if (embedded) this.#value(into, name, embedded, depth + 1, undefined)
      else this.#scalar(into, name, value, kind)
    } else if (value === null) this.#lack(into, name)
    else if (depth >= this.#limits.depth) this.#leftOut ??= tooDeep(this.#limits.depth)
    else if (Array.isArray(value)) this.#array(into, name, value, depth)
    else this.#members(into, name, value as Members, depth)
  }

  /** Returns the JSON in a text, which somebody has made a text once too often. */
  #embedded(name: string, text: string): object | undefined {
    const inner = trimmed(text)
    if (!isEmbedded(inner) || this.#rules.isTextField?.(name || 'value')) return undefined
    return this.#parseInner(inner)
  }

  #scalar(into: Gathered, name: string, value: unknown, kind: KeyKind | undefined): void {
    let meaning: FieldValue | undefined
    if (typeof value === 'number') {
      // Too large a number comes out as infinity, whether it has an exponent or many digits.
      if (!this.#isExact && isPerhapsLong(value)) throw LongInteger
      if (!Number.isFinite(value)) {
        this.#lack(into, name)
        return
      }
      meaning = value
    } else if (typeof value === 'boolean') meaning = value
    else if (typeof value === 'string') {
      const text = trimmed(value)
      const field = name || 'value'
      const isText = this.#rules.isTextField?.(field) ?? false
      const read = isText ? text : meaningOf(text, this.#rules, kind ?? noKind, this.#memory, field)
      if (read === undefined) {
        this.#lack(into, name)
        return
      }
      if (typeof read === 'object') {
        into.units ??= new Map()
        into.units.set(field, read.unit)
        meaning = read.number
      } else meaning = read
      if (typeof meaning === 'string') rememberText(this.#memory, field, meaning, this.#rules)
    } else if (typeof value === 'bigint') {
      meaning = Number.isSafeInteger(Number(value)) ? Number(value) : String(value)
    } else return
    this.#put(into, name || 'value', meaning)
  }

  #put(into: Gathered, name: string, value: FieldValue): void {
    if (into.fields.size >= this.#limits.fields) throw tooManyFields(this.#limits.fields)
    this.#spend(name)
    into.fields.set(name, value)
  }

  #lack(into: Gathered, name: string): void {
    into.absent ??= []
    if (into.absent.length >= this.#limits.fields) return
    this.#spend(name)
    into.absent.push(name || 'value')
  }

  #spend(name: string): void {
    this.#nameCharacters -= name.length
    if (this.#nameCharacters >= 0) return
    throw new Undecodable(
      'names_too_long',
      `nested names: together more than ${maxNameGrowth} times the size of the payload`,
    )
  }

  #members(outer: Gathered, name: string, members: Members, depth: number): void {
    const keys = Object.keys(members)
    if (this.#times.areTimes(keys)) {
      for (const key of keys) this.#value(this.#open(parseTime(key)), name, members[key], depth + 1, undefined)
      return
    }
    const column = this.#times.columnOf(members, keys)
    if (column !== undefined && this.#columns(outer, name, members, keys, column, depth)) return
    let into = outer
    let time: ReadTime | undefined
    let timeKey: string | undefined
    let best = Number.POSITIVE_INFINITY
    for (const key of keys) {
      const { time: rank } = kindOf(key)
      if (rank === 0 || rank >= best) continue
      const found = this.#times.in(members, key, name === '' && outer.time === undefined)
      if (!found) continue
      best = rank
      time = found
      timeKey = key
    }
    if (time) {
      const isOfAll = name === '' || (outer === this.#gathered[0] && heads.has(name.toLowerCase()))
      if (isOfAll && outer.time === undefined) outer.time = time
      else into = this.#open(time)
    }
    this.#fill(into, name, members, keys, { timeKey, isElement: false }, depth)
  }

  /**
   * Reads columns: an array of times, and beside it arrays with as many values. Returns false when there are none beside
   * the times.
   */
  #columns(
    outer: Gathered,
    name: string,
    members: Members,
    keys: readonly string[],
    timeKey: string,
    depth: number,
  ): boolean {
    const times = members[timeKey] as readonly unknown[]
    const isColumn = (value: unknown): value is readonly unknown[] =>
      Array.isArray(value) && value.length === times.length && !value.some(isObject)
    const columns = keys.filter(key => key !== timeKey && isColumn(members[key]))
    if (columns.length === 0) return false
    for (const [i, time] of times.entries()) {
      const row = this.#open(parseTime(time, kindOf(timeKey).isUtc))
      for (const key of columns) {
        const value = (members[key] as readonly unknown[])[i]
        const own = name ? `${name}.${key}` : key
        if (value === null || value === undefined) this.#lack(row, own)
        else this.#scalar(row, own, value, kindOf(key))
      }
    }
    const others = keys.filter(key => key !== timeKey && !columns.includes(key))
    this.#fill(outer, name, members, others, { timeKey, isElement: false }, depth)
    return true
  }

  /** Reads the members of an object, or of an element of an array, whose time is known. */
  #fill(into: Gathered, name: string, members: Members, keys: readonly string[], known: Known, depth: number): void {
    const { timeKey, identityKey, isElement } = known
    const units = unitsIn(members, keys)
    const isBad = isElement && members.q === false
    for (const key of keys) {
      const value = members[key]
      const kind = kindOf(key)
      if (key === timeKey || key === identityKey || this.#isNamedTime(members, key)) continue
      if (kind.time > 0 && this.#times.isLeftOver(value, kind)) continue
      if (units && kind.unitOf !== undefined && units.has(kind.unitOf) && typeof value === 'string') continue
      if (isElement && key === 'q' && typeof value === 'boolean') continue
      const isOnly = kind.isValue && name !== '' && (isElement || units?.has('') === true)
      const isHolder = key === 'values' && (isElement || timeKey !== undefined) && isMembers(value)
      const own = isOnly || isHolder ? name : name ? `${name}.${key}` : key
      const named = units && typeof value !== 'object' ? unitFor(units, key, kind, keys) : undefined
      const unit = named ?? kind.ownUnit
      if (unit !== undefined) setUnit(into, own || 'value', unit)
      if (isBad && kind.isValue) this.#lack(into, own)
      else this.#value(into, own, value, depth + 1, kind)
      if (units && isObject(value)) this.#inheritUnits(into, own, units)
    }
  }

  #isNamedTime(members: Members, key: string): boolean {
    return this.#named?.key === key && this.#named.of === members
  }

  /** Units named at one level count for the levels below, where Tasmota puts its sensors. */
  #inheritUnits(into: Gathered, name: string, units: ReadonlyMap<string, string>): void {
    for (const field of into.fields.keys()) {
      if (!field.startsWith(`${name}.`) || into.units?.has(field)) continue
      const last = field.slice(field.lastIndexOf('.') + 1)
      const unit = unitFor(units, last, kindOf(last), none)
      if (unit !== undefined) setUnit(into, field, unit)
    }
  }

  #array(into: Gathered, name: string, elements: readonly unknown[], depth: number): void {
    if (elements.length === 0) return
    if (elements.every(isMembers)) this.#objects(into, name, elements, depth)
    else if (elements.every(element => typeof element !== 'object' || element === null)) {
      this.#list(into, name, elements)
    } else if (elements.every(Array.isArray)) this.#pairs(name, elements as readonly (readonly unknown[])[])
    else this.#places(into, name, elements, depth)
  }

  /** A list of texts is one text; numbers are told apart by their place. */
  #list(into: Gathered, name: string, elements: readonly unknown[]): void {
    if (elements.length > 1 && elements.every(element => typeof element === 'string')) {
      const text = elements.join(', ')
      if (text.length <= maxList) this.#put(into, name || 'value', text)
      return
    }
    this.#places(into, name, elements, 0)
  }

  #places(into: Gathered, name: string, elements: readonly unknown[], depth: number): void {
    if (elements.length > maxPlaces) {
      this.#leftOut ??= new Undecodable(
        'too_many_fields',
        `${name || 'the payload'}: an array of ${elements.length} elements without a time or an identity`,
      )
      return
    }
    for (const [i, element] of elements.entries()) {
      if (!Array.isArray(element)) this.#value(into, name ? `${name}.${i}` : String(i), element, depth + 1, undefined)
    }
  }

  /** Reads pairs of a time and a value. Other arrays in arrays are not read. */
  #pairs(name: string, pairs: readonly (readonly unknown[])[]): void {
    for (const [at, of] of [
      [0, 1],
      [1, 0],
    ] as const) {
      const areTimed = pairs.every(
        pair =>
          pair.length === 2 && isWide(pair[at]) && this.#times.isPlausible(parseTime(pair[at])) && !isObject(pair[of]),
      )
      if (!areTimed) continue
      for (const pair of pairs) this.#scalar(this.#open(parseTime(pair[at])), name, pair[of], undefined)
      return
    }
    this.#leftOut ??= new Undecodable('no_reading', `${name || 'the payload'}: arrays in an array are not read`)
  }

  #objects(into: Gathered, name: string, elements: readonly Members[], depth: number): void {
    const timeKeys = elements.map(element => this.#times.keyOf(element, name))
    const isBatch = timeKeys.every(key => key !== undefined)
    const identity = this.#rules.each ?? identityOf(elements, isBatch)
    if (!isBatch && identity === undefined && elements.length > 1) {
      this.#places(into, name, elements, depth)
      return
    }
    if (depth + 1 >= this.#limits.depth) {
      this.#leftOut ??= tooDeep(this.#limits.depth)
      return
    }
    for (const [i, element] of elements.entries()) {
      const called = identity === undefined ? undefined : identityAt(element, identity)
      const own = called ? [withoutContainer(name), called.text].filter(Boolean).join('.') : name
      const timeKey = timeKeys[i]
      const time = timeKey === undefined ? undefined : parseTime(element[timeKey], kindOf(timeKey).isUtc)
      const known = { timeKey, identityKey: called?.key, isElement: true }
      this.#fill(time || called ? this.#open(time, into) : into, own, element, Object.keys(element), known, depth + 1)
    }
  }
}

/** Knowledge of an object before its members are read. */
interface Known {
  readonly timeKey: string | undefined
  readonly identityKey?: string | undefined
  /** Elements of arrays are called by their identity, so their value needs no name of its own. */
  readonly isElement: boolean
}

function setUnit(into: Gathered, field: string, unit: string): void {
  into.units ??= new Map()
  into.units.set(field, unit)
}

/** Removes a last name that only says that readings follow. */
function withoutContainer(name: string): string {
  const dot = name.lastIndexOf('.')
  return containers.has(name.slice(dot + 1)) ? name.slice(0, Math.max(0, dot)) : name
}

const none: readonly never[] = []

/** Whether a number may be a whole one of more digits than a float holds. */
function isPerhapsLong(value: number): boolean {
  return value > Number.MAX_SAFE_INTEGER || value < Number.MIN_SAFE_INTEGER
}

function isDescription({ fields }: Gathered): boolean {
  for (const value of fields.values()) if (typeof value !== 'string') return false
  return true
}

export function tooDeep(depth: number): Undecodable {
  return new Undecodable('too_deep', `nested deeper than ${depth} levels (limits.jsonDepth)`)
}

export function tooManyFields(fields: number): Undecodable {
  return new Undecodable('too_many_fields', `more than ${fields} fields (limits.jsonFields)`)
}
