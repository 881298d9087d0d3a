import { type FieldValue, type Point, type Reading, type Rejection, seriesKey, type Tags } from '../../model.js'
import type { TimeSeriesStore } from '../../store/store.js'
import type { Mapping } from '../mapping.js'
import { readingTopic } from '../sparkplug/topic.js'

/** Part of a rejection that receivers are told. */
export type RefusedReading = Pick<Rejection, 'reason' | 'detail' | 'fields'>

/** A reading as receivers of newest readings get it. Times in milliseconds since the epoch. */
export interface LiveJson {
  readonly time: number
  readonly received: number
  readonly absent?: readonly string[]
  readonly values: readonly {
    readonly series: string
    /** Where it differs from the time of the reading. */
    readonly time?: number
  }[]
}

/** For receivers that follow every message: each value has its own time and all earlier values of the message. */
export interface FollowOptions {
  /** Sequence number of the message. */
  readonly sequence: number
  /** Whether that there is no value is news. */
  readonly isAbsenceWanted: boolean
  /** Returns false for a series to leave out. */
  isWanted(series: string): boolean
}

export interface EncodeOptions {
  /** Why the newest message of the topic is not stored as it is. */
  readonly refused?: RefusedReading | undefined
  /** Undefined for receivers of newest readings. */
  readonly follow?: FollowOptions
}

/**
 * Most characters of the values of one reading. Values beyond are in the store alone. Each value contains names, so a
 * small batch grows large.
 */
const maxCharacters = 100_000

/** Most series of one reading that are named as having no value. */
const maxAbsent = 100

/** The newest value of a series in a reading. Times in milliseconds since the epoch. */
interface ValueOfSeries {
  readonly measurement: string
  readonly tags: Tags
  readonly name: string
  readonly field: string
  readonly time: number
  readonly value: FieldValue
  /** The other values of the series in this reading, in the order of the message. */
  earlier: { readonly times: number[]; readonly values: FieldValue[] } | undefined
}

/** Writes readings as JSON for screens. Values are named by the field in which the store keeps them. */
export class ReadingJson {
  readonly #mapping: Pick<Mapping, 'unit'>
  readonly #store: Pick<TimeSeriesStore, 'fieldOf'>

  constructor(mapping: Pick<Mapping, 'unit'>, store: Pick<TimeSeriesStore, 'fieldOf'>) {
    this.#mapping = mapping
    this.#store = store
  }

  /** Returns the JSON of the newest value of each series in a reading. Undefined when that is no news to who follows. */
  encode(reading: Reading, { refused, follow }: EncodeOptions = {}): string | undefined {
    const { message, points, quality, absent, clockError } = reading
    const topic = readingTopic(message.topic)
    const series = this.#bySeries(points, follow)
    if (follow && series.size === 0 && !(absent && follow.isAbsenceWanted)) return undefined
    const newestTime = points.reduce((latest, point) => Math.max(latest, point.time), 0) / 1_000
    const values: string[] = []
    let length = 0
    for (const [key, found] of series) {
      const { measurement, tags, name, field, time, value } = found
      const unit = this.#mapping.unit({ measurement, field: name }, topic)
      const json = JSON.stringify({
        ...{ series: key, measurement, tags: Object.fromEntries(tags), field, value, unit },
        ...(time !== newestTime && { time }),
        ...(follow && found.earlier && { earlier: found.earlier }),
      })
      length += json.length
      if (values.length > 0 && length > maxCharacters) break
      values.push(json)
    }
    const received = message.receivedAt / 1_000
    const head = JSON.stringify({
      topic,
      ...(follow && { sequence: follow.sequence }),
      time: points.length > 0 ? newestTime : received,
      received,
      quality,
      ...(clockError !== undefined && { clockError: clockError / 1_000 }),
      ...(absent && { absent: absent.slice(0, maxAbsent).map(seriesKey) }),
    })
    const mark = refused ? `,"refused":${JSON.stringify(refused)}` : ''
    return `${head.slice(0, -1)},"values":[${values.join(',')}]${mark}}`
  }

  /** Returns the values of a reading by series, in the order of their first points. */
  #bySeries(points: readonly Point[], follow: FollowOptions | undefined): Map<string, ValueOfSeries> {
    const series = new Map<string, ValueOfSeries>()
    for (const { measurement, tags, fields, time: at } of points) {
      const time = at / 1_000
      for (const [name, value] of fields) {
        const field = this.#store.fieldOf({ measurement, tags, field: name }, value)
        const key = seriesKey({ measurement, tags, field })
        if (follow && !follow.isWanted(key)) continue
        const known = series.get(key)
        if (!known) {
          series.set(key, { measurement, tags, name, field, time, value, earlier: undefined })
          continue
        }
        known.earlier ??= { times: [], values: [] }
        const isNewer = time >= known.time
        known.earlier.times.push(isNewer ? known.time : time)
        known.earlier.values.push(isNewer ? known.value : value)
        if (isNewer) Object.assign(known, { name, time, value })
      }
    }
    return series
  }
}
