import { hash } from 'node:crypto'
import type { Message, Point, Rejection, SeriesId, Tags } from '../model.js'
import type { IncidentReporter } from '../observe/incidents.js'
import { HashSet } from '../runtime/hash-set.js'
import { SharedPool } from '../runtime/shared-pool.js'
import type { MillisecondClock } from '../runtime/time.js'
import type { Sharing } from '../runtime/user-shares.js'
import { SeenSeries } from './seen-series.js'

export interface SeriesGuardOptions {
  /** Most series in all, and most new ones in a minute; 0: no limit. */
  readonly series: number
  readonly perMinute: number
  /** Shares of users in both limits. */
  readonly sharing: Sharing
  /** Returns milliseconds of a clock that never jumps. */
  readonly monotonic: MillisecondClock
  /** File of the series that were seen. Without a path they are forgotten when the process ends. */
  readonly path?: string
  readonly incidents?: IncidentReporter
}

/** The last refusal of the guard. */
interface Refused {
  readonly user: string
  readonly clientId: string
  readonly at: number
  /** Messages refused without a pause. */
  readonly count: number
}

const minuteMs = 60_000

/** Most fields remembered of one tag set, and of all; most names remembered of tag sets that the mapping does not hold. */
const maxFields = 2_500
const maxAllFields = 200_000
const maxRecent = 20_000

/**
 * Limits the number of series: in all, of one user, and new ones in a minute. A message that would begin more is
 * rejected with `too_many_series`. A hash of each series is held, not the name.
 */
export class SeriesGuard {
  readonly name = 'series guard'
  readonly #options: SeriesGuardOptions
  readonly #known = new HashSet()
  readonly #pool: SharedPool
  #minute: SharedPool
  #minuteBegan = Number.NEGATIVE_INFINITY
  readonly #file: SeenSeries | undefined
  /** Known fields by tag set. The mapping's tag sets are frozen, and the same objects each time. */
  #byTags = new WeakMap<Tags, { readonly measurement: string; readonly fields: Set<string> }>()
  /** Fields in `byTags`. */
  #fields = 0
  #recent = new Set<string>()
  #older = new Set<string>()
  #refused: Refused | undefined

  constructor(options: SeriesGuardOptions) {
    this.#options = options
    this.#pool = new SharedPool(options.sharing)
    this.#minute = new SharedPool(options.sharing)
    if (options.path !== undefined) this.#file = new SeenSeries(options.path, options.incidents)
  }

  start(): void {
    const seen = (high: number, low: number, user: string) => {
      if (this.#known.add(high, low)) this.#pool.add(user, 1)
    }
    this.#file?.start(seen, (high, low, user) => {
      if (this.#known.delete(high, low)) this.#pool.add(user, -1)
    })
  }

  async stop(): Promise<void> {
    await this.#file?.stop()
  }

  get size(): number {
    return this.#known.size
  }

  /** Returns why the points of a message must not be stored. Undefined when they may: then their series are known. */
  check(points: readonly Point[], { user, clientId }: Pick<Message, 'user' | 'clientId'>): Rejection | undefined {
    const fresh: (readonly [high: number, low: number])[] = []
    for (const { measurement, tags, fields } of points) {
      const known = this.#fieldsOf(measurement, tags)
      for (const [field] of fields) {
        if (known?.has(field)) continue
        const name = seriesName(measurement, tags, field)
        if (!known && (this.#recent.has(name) || this.#older.has(name))) continue
        const hashed = hashOf(name)
        if (!this.#known.has(...hashed)) {
          if (fresh.push(hashed) > this.#room) return this.#admit(fresh, user, clientId)
        } else if (known) this.#know(known, field)
        else this.#remember(name)
      }
    }
    return fresh.length > 0 ? this.#admit(fresh, user, clientId) : undefined
  }

  /** Called when a series was deleted: it counts for nobody any more. */
  forget({ measurement, tags, field }: SeriesId): void {
    const [high, low] = hashOf(seriesName(measurement, tags, field))
    const user = this.#file?.userOf(high, low)
    if (user === undefined || !this.#known.delete(high, low)) return
    this.#pool.add(user, -1)
    this.#file?.forget(high, low, user)
    this.#byTags = new WeakMap()
    this.#fields = 0
    this.#recent = new Set()
    this.#older = new Set()
  }

  /** Returns a sentence while users are refused, or nearly all series are taken. */
  alarm(): string | undefined {
    const { series, monotonic } = this.#options
    const refused = this.#refused
    if (refused && monotonic.now() - refused.at < 2 * minuteMs) {
      const source =
        refused.user === '' ? `client ${refused.clientId}` : `user ${refused.user}, client ${refused.clientId}`
      return `${source} sends more new series than allowed (limits.series, limits.seriesPerMinute): ${refused.count} messages are dead letters (too_many_series)`
    }
    if (series === 0 || this.#known.size < series * 0.9) return undefined
    const [most] = this.#pool.top(1)
    const source = most && most.user !== '' ? `; user ${most.user} has ${most.amount} of them` : ''
    return `${this.#known.size} of ${series} series are used (limits.series)${source}; at the limit, messages with new series become dead letters`
  }

  /** Number of series that may still begin. A message with more need not be examined any further. */
  get #room(): number {
    const { series } = this.#options
    return series > 0 ? series - this.#known.size : Number.POSITIVE_INFINITY
  }

  #admit(
    fresh: readonly (readonly [high: number, low: number])[],
    user: string,
    clientId: string,
  ): Rejection | undefined {
    const { series, perMinute, monotonic } = this.#options
    const now = monotonic.now()
    if (now - this.#minuteBegan >= minuteMs) {
      this.#minuteBegan = now
      this.#minute = new SharedPool(this.#options.sharing)
    }
    const count = fresh.length
    const isOver = series > 0 && !this.#pool.admits(user, count, series)
    if (isOver || (perMinute > 0 && !this.#minute.admits(user, count, perMinute))) {
      const before = this.#refused && now - this.#refused.at < 2 * minuteMs ? this.#refused.count : 0
      this.#refused = { user, clientId, at: now, count: before + 1 }
      const has = `this user has begun ${this.#pool.used(user)} of ${this.#known.size}`
      const limit = isOver ? `limits.series is ${series} in all` : `limits.seriesPerMinute is ${perMinute} in all`
      return {
        reason: 'too_many_series',
        detail: `the message would begin ${count} series; ${limit}, of which each user is guaranteed a share; ${has}`,
      }
    }
    let added = 0
    for (const [high, low] of fresh) {
      if (!this.#known.add(high, low)) continue
      added++
      this.#file?.add(high, low, user)
    }
    this.#pool.add(user, added)
    this.#minute.add(user, added)
    return undefined
  }

  /** Returns the known fields of a tag set. Undefined when the tags are not the same object each time. */
  #fieldsOf(measurement: string, tags: Tags): Set<string> | undefined {
    if (!Object.isFrozen(tags)) return undefined
    const known = this.#byTags.get(tags)
    if (known && known.measurement === measurement && known.fields.size < maxFields) return known.fields
    const fields = new Set<string>()
    this.#byTags.set(tags, { measurement, fields })
    return fields
  }

  #know(known: Set<string>, field: string): void {
    known.add(field)
    if (++this.#fields < maxAllFields) return
    this.#byTags = new WeakMap()
    this.#fields = 0
  }

  #remember(name: string): void {
    this.#recent.add(name)
    if (this.#recent.size < maxRecent) return
    this.#older = this.#recent
    this.#recent = new Set()
  }
}

/** Returns the name of a series. Each part follows its length, so no text in a part can make two names equal. */
function seriesName(measurement: string, tags: Tags, field: string): string {
  let name = `${measurement.length}:${measurement}${field.length}:${field}`
  for (const [tag, value] of tags) if (value) name += `${tag.length}:${tag}${value.length}:${value}`
  return name
}

/** Returns the first 64 bits of SHA-256: a user cannot choose names that are taken for others. */
function hashOf(name: string): readonly [high: number, low: number] {
  const digest = hash('sha256', name, 'hex')
  return [Number.parseInt(digest.slice(0, 8), 16), Number.parseInt(digest.slice(8, 16), 16)]
}
