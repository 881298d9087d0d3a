import { hash } from 'node:crypto'
import type { FieldType, FieldValue, Tags } from '../model.js'

/** One series of the database, as held in memory. */
export interface KnownSeries {
  readonly id: number
  readonly type: FieldType
  /** No stored point of the series is newer: a later point can be appended without a look at the disk. */
  time: number
  /** Newest value, which is the one at `time`. Undefined when not known. */
  value: FieldValue | undefined
}

/** A field without a known series: `asked` while waiting to be looked up, `absent` when the database has none. */
type Unknown = 'asked' | 'absent'

/** Series of one measurement and tag set. */
export interface SeriesGroup {
  readonly measurement: string
  readonly tags: Tags
  readonly fields: Map<string, KnownSeries | Unknown>
  /** False once the cache has dropped the group: references held elsewhere must not be used any more. */
  isCurrent: boolean
}

/** A field to look up, and two hashes of 60 bits by which the database finds the series. */
export interface Wanted {
  readonly group: SeriesGroup
  readonly field: string
  readonly first: bigint
  readonly second: bigint
}

/** Maximum length of a text that is held in memory as a newest value. */
const maxValue = 200

/** Maximum number of fields of a group that stays in the cache when the generations change. */
const maxFields = 5_000

/**
 * Series that were written last, by name: at least `limit / 2` of them and at most `limit`. All others are looked up in
 * the database again. There are two generations: a used group moves to the young one, and when that is full the old one
 * is dropped.
 */
export class SeriesCache {
  readonly #limit: number
  #young = new Map<string, SeriesGroup>()
  #old = new Map<string, SeriesGroup>()
  /** Series in the young generation. */
  #size = 0
  /** Groups by their tags. Frozen tags are shared by many points: the group is found without the text of the tags. */
  #byTags = new WeakMap<Tags, SeriesGroup>()
  #highest = Number.NEGATIVE_INFINITY

  constructor(limit: number) {
    this.#limit = limit
  }

  /** No point of a series outside the cache is newer. Microseconds since the epoch. */
  get highest(): number {
    return this.#highest
  }

  /** Forgets everything. `highest` is the time of the newest point in the database. */
  clear(highest: number): void {
    for (const generation of [this.#young, this.#old]) for (const group of generation.values()) this.#forget(group)
    this.#young = new Map()
    this.#old = new Map()
    this.#byTags = new WeakMap()
    this.#size = 0
    this.#highest = highest
  }

  /** Returns the group of a measurement and tags: a new, empty one when not held. */
  group(measurement: string, tags: Tags): SeriesGroup {
    const isFrozen = Object.isFrozen(tags)
    const known = isFrozen ? this.#byTags.get(tags) : undefined
    if (known?.isCurrent && known.measurement === measurement) return known
    const key = groupKey(measurement, tags)
    const group = this.#find(key) ?? this.#add(key, measurement, tags)
    if (isFrozen) this.#byTags.set(tags, group)
    return group
  }

  /** Returns the series of a name. Undefined when not held. Does not move the series to the young generation. */
  peek(measurement: string, tags: Tags, field: string): KnownSeries | undefined {
    const group = this.#peekGroup(measurement, tags)
    const found = group?.fields.get(field)
    return typeof found === 'object' ? found : undefined
  }

  #peekGroup(measurement: string, tags: Tags): SeriesGroup | undefined {
    const known = Object.isFrozen(tags) ? this.#byTags.get(tags) : undefined
    if (known?.isCurrent && known.measurement === measurement) return known
    const key = groupKey(measurement, tags)
    return this.#young.get(key) ?? this.#old.get(key)
  }

  /** Drops the older half when there are too many series. To be called between two writes. */
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

  /** Counts a field that was added to a group. */
  grown(): void {
    this.#size++
  }

  #forget(group: SeriesGroup): void {
    group.isCurrent = false
    for (const series of group.fields.values()) {
      if (typeof series === 'object' && series.time > this.#highest) this.#highest = series.time
    }
    // The tags that the mapping holds still lead here.
    group.fields.clear()
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

/** Returns whether a value is small enough to be held as the newest. */
export function isHeld(value: FieldValue): boolean {
  return typeof value !== 'string' || value.length <= maxValue
}

/** Returns the text of tags as stored in the database. */
export function tagsText(tags: Tags): string {
  return JSON.stringify(tags)
}

/** Returns the keys to find a name by. They are hashes, as an index over long texts would have to be held in memory. */
export function wanted(group: SeriesGroup, field: string): Wanted {
  const [first, second] = nameHashes(group.measurement, tagsText(group.tags), field)
  return { group, field, first, second }
}

/** Returns the first 120 bits of SHA-256 over the names, in two halves. Two names never share both. */
export function nameHashes(measurement: string, tags: string, field: string): readonly [first: bigint, second: bigint] {
  const digest = hash('sha256', `${measurement.length}:${field.length}:${measurement}${field}${tags}`, 'hex')
  return [BigInt(`0x${digest.slice(0, 15)}`), BigInt(`0x${digest.slice(15, 30)}`)]
}

/**
 * Returns the key of a group. Lengths before the parts: no text inside them can make two keys equal. A tag with no
 * value is no tag.
 */
function groupKey(measurement: string, tags: Tags): string {
  let key = `${measurement.length}:${measurement}`
  for (const [name, value] of tags) if (value) key += `${name.length}:${name}${value.length}:${value}`
  return key
}
