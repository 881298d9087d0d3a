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

/** The series that were met in readings, by measurement and tags. Frozen tags are shared by many points, and are found without their text. */
export class MetGroups {
  readonly #byTags = new WeakMap<Tags, MetGroup>()
  readonly #byText = new Map<string, MetGroup>()

  /** Returns the group of a measurement and tags: a new, empty one when not known. */
  of(measurement: string, tags: Tags): MetGroup {
    const isFrozen = Object.isFrozen(tags)
    const known = isFrozen ? this.#byTags.get(tags) : undefined
    if (known?.measurement === measurement) return known
    const text = seriesKey({ measurement, tags, field: '' })
    let group = this.#byText.get(text)
    if (!group) {
      group = { measurement, fields: new Map() }
      if (this.#byText.size >= maxGroups) this.#byText.clear()
      this.#byText.set(text, group)
    }
    if (isFrozen) this.#byTags.set(tags, group)
    return group
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
