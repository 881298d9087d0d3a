import { type FieldValue, seriesKey, type Tags } from '../model.js'
import type { Watch } from './watch.js'

/** A series as met in readings. Rebound when the rules, or what is known of devices, have changed. */
export interface MetSeries {
  generation: number
  watches: readonly Watch[]
  /** Newest reading, while there are rules that compare two series. */
  last: readonly [time: number, value: FieldValue] | undefined
  /** Watches that compare their series with this one. */
  others: readonly Watch[]
}

/** Series of one measurement and tag set. */
export interface MetGroup {
  readonly measurement: string
  readonly fields: Map<string, MetSeries>
}

/** Most groups that are found by the text of their tags. */
const maxGroups = 100_000
/** Most fields of all groups: devices name them, too. */
const usualMaxFields = 500_000

/** The series that were met in readings, by measurement and tags. Frozen tags are shared by many points, and are found without their text. */
export class MetGroups {
  readonly #maxFields: number
  /** Not weak: a weak map of that size costs the garbage collector more than all rules cost otherwise. */
  readonly #byTags = new Map<Tags, MetGroup>()
  #byText = new Map<string, MetGroup>()
  #fields = 0

  constructor(maxFields = usualMaxFields) {
    this.#maxFields = maxFields
  }

  /** Number of fields that are known. */
  get size(): number {
    return this.#fields
  }

  /** Returns the group of a measurement and tags: a new, empty one when not known. */
  of(measurement: string, tags: Tags): MetGroup {
    // Only frozen tags are in there.
    const known = this.#byTags.get(tags)
    if (known?.measurement === measurement) return known
    const text = seriesKey({ measurement, tags, field: '' })
    let group = this.#byText.get(text)
    if (!group) {
      group = { measurement, fields: new Map() }
      if (this.#byText.size >= maxGroups) this.#forget()
      this.#byText.set(text, group)
    }
    if (Object.isFrozen(tags)) {
      if (this.#byTags.size >= maxGroups) this.#byTags.clear()
      this.#byTags.set(tags, group)
    }
    return group
  }

  /** Adds a series to its group. Beyond the limit all are forgotten, and found again with their next readings. */
  add(group: MetGroup, field: string, met: MetSeries): void {
    if (!group.fields.has(field) && ++this.#fields > this.#maxFields) this.#forget()
    group.fields.set(field, met)
  }

  #forget(): void {
    this.#byTags.clear()
    this.#byText = new Map()
    this.#fields = 0
  }
}

/** Watches by the key of the series that they compare theirs with. */
export class ComparedSeries {
  readonly #watches = new Map<string, Set<Watch>>()

  get size(): number {
    return this.#watches.size
  }

  /** Returns the watches that compare with a series. */
  of(key: string): readonly Watch[] {
    return [...(this.#watches.get(key) ?? [])]
  }

  add(watch: Watch, key: string): void {
    watch.otherKey = key
    this.#watches.set(key, (this.#watches.get(key) ?? new Set()).add(watch))
  }

  delete(watch: Watch): void {
    if (watch.otherKey === undefined) return
    const all = this.#watches.get(watch.otherKey)
    all?.delete(watch)
    if (all?.size === 0) this.#watches.delete(watch.otherKey)
  }
}
