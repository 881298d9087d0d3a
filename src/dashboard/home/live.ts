import type { Quality, Value } from '../api.js'
import type { LastReading } from '../feed.js'
import { keyOf } from './catalogue.js'

/** The newest value of a field of a topic. The object stays the same as long as there is one, and is overwritten. */
export interface Now {
  value: Value
  /** Milliseconds of the hub's clock. */
  time: number
  quality: Quality
  /** Why the newest message was not stored, or this value alone. */
  refused: { readonly reason: string; readonly detail: string } | undefined
}

type Paint = () => void

/**
 * The newest values, and those who show them. Values are taken as fast as they come; whoever shows one is called at
 * most once in a frame, and only what is on the page is watched, so that the work depends on what is seen.
 */
export class Live {
  readonly #now = new Map<string, Now>()
  readonly #heard = new Map<string, number>()
  readonly #fields = new Map<string, Set<string>>()
  readonly #watchers = new Map<string, Set<Paint>>()
  readonly #clocks = new Set<Paint>()
  readonly #changed = new Set<Paint>()
  #frame = 0

  get size(): number {
    return this.#now.size
  }

  of(key: string): Now | undefined {
    return this.#now.get(key)
  }

  /** When the hub last received a message of a topic, in milliseconds of the hub's clock; 0: never. */
  heard(topic: string): number {
    return this.#heard.get(topic) ?? 0
  }

  take(reading: LastReading): void {
    const { topic, quality, refused, absent = [] } = reading
    this.#heard.set(topic, reading.received)
    const fields = this.#fields.get(topic) ?? new Set<string>()
    this.#fields.set(topic, fields)
    for (const { field, value, time: own } of reading.values) {
      const time = own ?? reading.time
      const key = keyOf({ topic, field })
      fields.add(key)
      const now = this.#now.get(key)
      // A value of an earlier message, which is most often known, is told with each reading of the topic.
      if (own !== undefined && now && time <= now.time) continue
      const why = refused && (refused.fields?.includes(field) ?? true) ? refused : undefined
      if (!now) this.#now.set(key, { value, time, quality, refused: why })
      else if (time >= now.time) Object.assign(now, { value, time, quality, refused: why })
      this.#touch(key)
    }
    for (const field of refused?.fields ?? []) {
      const now = this.#now.get(keyOf({ topic, field }))
      if (now) now.refused = refused
      this.#touch(keyOf({ topic, field }))
    }
    for (const series of absent) {
      // The key of a series ends with the field.
      for (const key of fields) {
        const now = this.#now.get(key)
        if (!now || !series.endsWith(` ${key.slice(topic.length + 1)}`)) continue
        now.quality = 'absent'
        this.#touch(key)
      }
    }
  }

  /** Forgets a topic, of which the hub shows no reading any more. */
  clear(topic: string): void {
    for (const key of this.#fields.get(topic) ?? []) {
      this.#now.delete(key)
      this.#touch(key)
    }
    this.#fields.delete(topic)
  }

  /** Calls `paint` in the frame after each change of a value. Returns how to end that. */
  watch(key: string, paint: Paint): () => void {
    const watchers = this.#watchers.get(key) ?? new Set<Paint>()
    this.#watchers.set(key, watchers)
    watchers.add(paint)
    return () => {
      watchers.delete(paint)
      if (watchers.size === 0) this.#watchers.delete(key)
    }
  }

  /** Calls `paint` once a second. Returns how to end that. */
  eachSecond(paint: Paint): () => void {
    this.#clocks.add(paint)
    return () => this.#clocks.delete(paint)
  }

  tick(): void {
    for (const paint of this.#clocks) paint()
  }

  #touch(key: string): void {
    const watchers = this.#watchers.get(key)
    if (!watchers) return
    for (const paint of watchers) this.#changed.add(paint)
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0
      const changed = [...this.#changed]
      this.#changed.clear()
      for (const paint of changed) paint()
    })
  }
}
