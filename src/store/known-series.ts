import { hash } from 'node:crypto'
import type { FieldType, FieldValue, Tags } from '../model.js'

/** One series of the database, as far as it is held in memory. */
export interface KnownSeries {
  readonly id: number
  readonly type: FieldType
  /** No stored point of the series is newer: a point after it can be appended without a look at the disk. */
  time: number
  /** The newest value, which then is the one at `time`; undefined when that is not known. */
  value: FieldValue | undefined
}

/** A field that was not looked up yet: `asked` once it is among those that will be. */
type Unknown = 'asked' | 'absent'

/** The series of one measurement and tag set. */
export interface SeriesGroup {
  readonly measurement: string
  readonly tags: Tags
  readonly fields: Map<string, KnownSeries | Unknown>
  /** Whether the cache still answers with it: what is held elsewhere must not be used any more otherwise. */
  isCurrent: boolean
}

/** The name of a field that was asked for, and two hashes of 60 bits by which the database finds its series. */
export interface Wanted {
  readonly group: SeriesGroup
  readonly field: string
  readonly first: bigint
  readonly second: bigint
}

/** Longer texts are not held in memory as a newest value. */
const maxValue = 200

/** A group with more fields is not held longer than its generation is young. */
const maxFields = 5_000

/**
 * The series that were written last, by name: at least `limit / 2` of them and at most `limit`. All others are looked up
 * in the database again. Two generations: what is used moves to the young one, and when that is full the old one goes.
 */
export class SeriesCache {
  readonly #limit: number
  #young = new Map<string, SeriesGroup>()
  #old = new Map<string, SeriesGroup>()
  /** Series in the young generation. */
  #size = 0
  /** Tags that are frozen are those of many points: their group is found without their text. */
  #byTags = new WeakMap<Tags, SeriesGroup>()
  #highest = Number.NEGATIVE_INFINITY

  constructor(limit: number) {
    this.#limit = limit
  }

  /** No point of a series that is not in the cache is newer. Microseconds since the epoch. */
  get highest(): number {
    return this.#highest
  }

  /** Forgets everything. `highest` is the time of the newest point in the database. */
  clear(highest: number): void {
    for (const generation of [this.#young, this.#old]) for (const group of generation.values()) group.isCurrent = false
    this.#young = new Map()
    this.#old = new Map()
    this.#byTags = new WeakMap()
    this.#size = 0
    this.#highest = highest
  }

  /** The group of a measurement and tags; a new, empty one when it is not held. */
  group(measurement: string, tags: Tags): SeriesGroup {
    const isFrozen = Object.isFrozen(tags)
    const known = isFrozen ? this.#byTags.get(tags) : undefined
    if (known?.isCurrent && known.measurement === measurement) return known
    const key = groupKey(measurement, tags)
    const group = this.#find(key) ?? this.#add(key, measurement, tags)
    if (isFrozen) this.#byTags.set(tags, group)
    return group
  }

  /** The series of a name; undefined when it is not held. Does not make it younger. */
  peek(measurement: string, tags: Tags, field: string): KnownSeries | undefined {
    const key = groupKey(measurement, tags)
    const found = (this.#young.get(key) ?? this.#old.get(key))?.fields.get(field)
    return typeof found === 'object' ? found : undefined
  }

  /** Between two writes: the older half goes when there are too many. */
  trim(): void {
    if (this.#size <= this.#limit / 2) return
    for (const group of this.#old.values()) this.#forget(group)
    this.#old = this.#young
    this.#young = new Map()
    this.#size = 0
    // A group that is used all the time would grow for ever.
    for (const [key, group] of this.#old) {
      if (group.fields.size <= maxFields) continue
      this.#old.delete(key)
      this.#forget(group)
    }
  }

  /** A field was added to a group. */
  grown(): void {
    this.#size++
  }

  #forget(group: SeriesGroup): void {
    group.isCurrent = false
    for (const series of group.fields.values()) {
      if (typeof series === 'object' && series.time > this.#highest) this.#highest = series.time
    }
  }

  #find(key: string): SeriesGroup | undefined {
    const young = this.#young.get(key)
    if (young) return young
    const old = this.#old.get(key)
    if (!old) return undefined
    this.#old.delete(key)
    this.#young.set(key, old)
    this.#size += old.fields.size
    return old
  }

  #add(key: string, measurement: string, tags: Tags): SeriesGroup {
    const own = tags.filter(([, value]) => value !== '')
    const group = { measurement, tags: own, fields: new Map(), isCurrent: true }
    this.#young.set(key, group)
    return group
  }
}

/** Whether a value is small enough to be held as the newest. */
export function isHeld(value: FieldValue): boolean {
  return typeof value !== 'string' || value.length <= maxValue
}

/** The text of tags as the database keeps it. */
export function tagsText(tags: Tags): string {
  return JSON.stringify(tags)
}

/** What a name is found by: hashed, as an index over long texts would have to be held in memory. */
export function wanted(group: SeriesGroup, field: string): Wanted {
  const [first, second] = nameHashes(group.measurement, tagsText(group.tags), field)
  return { group, field, first, second }
}

/** The first 120 bits of SHA-256 over the names, in two halves. Two names never share both. */
export function nameHashes(measurement: string, tags: string, field: string): readonly [first: bigint, second: bigint] {
  const digest = hash('sha256', `${measurement.length}:${field.length}:${measurement}${field}${tags}`, 'hex')
  return [BigInt(`0x${digest.slice(0, 15)}`), BigInt(`0x${digest.slice(15, 30)}`)]
}

/** Lengths before the parts: no text inside them can make two keys equal. A tag with no value is no tag. */
function groupKey(measurement: string, tags: Tags): string {
  let key = `${measurement.length}:${measurement}`
  for (const [name, value] of tags) if (value) key += `${name.length}:${name}${value.length}:${value}`
  return key
}
