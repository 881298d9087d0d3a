import type { MappingRule } from '../config.js'
import { HubError } from '../errors.js'
import type { Message, Point, Quality, Reading, Rejection, SeriesId, Tags } from '../model.js'
import { isTopicName, parsePattern, type TopicPattern } from '../topics.js'
import { decode } from './decoders/decoders.js'
import type { JsonLimits } from './decoders/json.js'
import { type Sample, Undecodable } from './decoders/sample.js'

/** Before this a device's clock was not set: 2000-01-01, where most real-time clocks begin. */
const earliest = 946_684_800e6
/** A device's time may be this far ahead of the hub's, in microseconds. */
const ahead = 300e6
/** Older than this on arrival, a reading is late. */
const late = 60e6

interface Rule extends MappingRule {
  readonly pattern: TopicPattern
  readonly tagNames: ReadonlySet<string>
  /** The measurement's text: every other part is the name of a level. */
  readonly parts: readonly string[]
  /** Matches the measurements it makes. */
  readonly made: RegExp
}

/**
 * From topic and payload to points. The first rule whose topic matches decides; a topic without a rule becomes the
 * measurement of its first level, with the whole topic as tag `topic`.
 */
export class Mapping {
  readonly #rules: readonly Rule[]
  readonly #json: JsonLimits
  readonly #units = new Map<string, string | undefined>()
  /** Topics come again and again: what a topic alone decides is worked out once. */
  readonly #known = new Map<string, { rule: Rule | undefined; measurement: string; tags: Tags }>()

  constructor(rules: readonly MappingRule[], json: JsonLimits) {
    this.#json = json
    this.#rules = rules.map(rule => {
      const pattern = parsePattern(rule.topic)
      if (typeof pattern === 'string') throw new HubError('bad_settings', pattern)
      const parts = rule.measurement.split(/\{(.*?)\}/)
      const made = new RegExp(`^${parts.map((part, i) => (i % 2 === 0 ? escapeRegExp(part) : '.*')).join('')}$`, 's')
      return { ...rule, pattern, tagNames: new Set(rule.tags ?? pattern.names), parts, made }
    })
  }

  /** The reading of a message, without points when the payload is empty; or why there is none. */
  read(message: Message): Reading | Rejection {
    const { rule, measurement, tags } = this.#place(message.topic)
    let samples: readonly Sample[]
    try {
      samples = decode(message.payload, {
        ...(rule?.decoder && { decoder: rule.decoder }),
        timeFields: rule?.time ? [rule.time] : defaultTimeFields,
        receivedAt: message.receivedAt,
        json: this.#json,
      })
    } catch (error) {
      if (error instanceof Undecodable) return { reason: error.reason, detail: error.detail }
      throw error
    }
    const { receivedAt } = message
    // A clock that is not set still runs: when its newest time is put where the reading was received, the others of a
    // batch keep their distance to it.
    const newest = samples.reduce((latest, { time = -Infinity }) => Math.max(latest, time), -Infinity)
    const skew = newest > -Infinity && (newest < earliest || newest > receivedAt + ahead) ? receivedAt - newest : 0
    let quality: Quality = skew === 0 ? 'good' : 'clock'
    const points: Point[] = []
    for (const sample of samples) {
      const time = sample.time === undefined ? receivedAt : sample.time + skew
      if (time < receivedAt - late && quality === 'good') quality = 'late'
      const fields = rule?.fields ? rename(sample, rule.fields) : [...sample.fields]
      if (fields.length === 0) continue
      points.push({
        measurement: sample.measurement ?? measurement,
        tags: sample.tags ?? tags,
        fields: fields.sort(byName),
        time,
      })
    }
    if (samples.length > 0 && points.length === 0) {
      return { reason: 'no_reading', detail: 'the mapping keeps none of the fields in the payload' }
    }
    return { message, points, quality }
  }

  /** What a field is measured in; undefined when neither a rule nor its name tells. */
  unit(measurement: string, field: string): string | undefined {
    const key = `${measurement}\0${field}`
    if (!this.#units.has(key)) {
      if (this.#units.size >= 50_000) this.#units.clear()
      const rule = this.#rules.find(({ units = {}, made }) => Object.hasOwn(units, field) && made.test(measurement))
      this.#units.set(key, rule?.units?.[field] ?? knownUnit(field))
    }
    return this.#units.get(key)
  }

  /**
   * Filters of the topics from which this mapping makes the series. They may match more topics, as those that an earlier
   * rule takes; never fewer. None when it makes it from no topic: then line protocol named it, or an older mapping.
   */
  sourcesOf(series: SeriesId): readonly string[] {
    const { measurement, tags } = series
    // Others are not made: names are unique and sorted, values not empty.
    if (tags.some(([name, value], i) => value === '' || name <= (tags[i - 1]?.[0] ?? ''))) return []
    const sources = new Set(this.#rules.flatMap(rule => sourcesByRule(rule, series)))
    const [name, topic = ''] = tags[0] ?? []
    const isDefault = tags.length === 1 && name === 'topic' && isTopicName(topic) && measurement === firstLevel(topic)
    if (isDefault && !this.#work(topic).rule) sources.add(topic)
    return [...sources]
  }

  #place(topic: string): { rule: Rule | undefined; measurement: string; tags: Tags } {
    let place = this.#known.get(topic)
    if (place) return place
    place = this.#work(topic)
    // So whoever writes the points need not look at them anew for each.
    Object.freeze(place.tags)
    if (this.#known.size >= 50_000) this.#known.clear()
    this.#known.set(topic, place)
    return place
  }

  #work(topic: string): { rule: Rule | undefined; measurement: string; tags: Tags } {
    for (const rule of this.#rules) {
      const levels = rule.pattern.match(topic)
      if (!levels) continue
      const named = new Map(levels)
      const measurement = rule.measurement.replace(/\{(.*?)\}/g, (_, name: string) => named.get(name) ?? '')
      const tags = levels.filter(([name, level]) => rule.tagNames.has(name) && level.length > 0).sort(byName)
      return { rule, measurement: measurement || fallbackMeasurement, tags }
    }
    return { rule: undefined, measurement: firstLevel(topic), tags: [['topic', topic]] }
  }
}

const fallbackMeasurement = 'mqtt'
const defaultTimeFields = ['time', 'timestamp', 'ts']

function firstLevel(topic: string): string {
  return topic.split('/').find(level => level.length > 0) ?? fallbackMeasurement
}

function rename(
  sample: Sample,
  names: Readonly<Record<string, string>>,
): (readonly [string, Sample['fields'][number][1]])[] {
  return sample.fields.flatMap(([name, value]) =>
    Object.hasOwn(names, name) ? [[names[name] as string, value] as const] : [],
  )
}

/** As {@link Mapping.sourcesOf}, of one rule. */
function sourcesByRule({ decoder, fields, tagNames, parts, pattern }: Rule, series: SeriesId): readonly string[] {
  const { measurement, tags, field } = series
  // Line protocol names its series itself.
  if (decoder === 'line' || (fields && !Object.values(fields).includes(field))) return []
  if (!tags.every(([name]) => tagNames.has(name))) return []
  // Most rules make other measurements: it must be cheap to see.
  if (!measurement.startsWith(parts[0] as string)) return []
  // An empty level makes no tag, and a measurement without a character is called otherwise.
  const named = new Map([...[...tagNames].map(name => [name, ''] as const), ...tags])
  const texts = measurement === fallbackMeasurement ? [measurement, ''] : [measurement]
  return texts.flatMap(text => {
    const more = levelsIn(text, parts, named)
    return more ? pattern.fill(new Map([...named, ...more])) : []
  })
}

/**
 * What the levels that are not among the `named` are when the parts of a rule's measurement make `text`; undefined when
 * they cannot. Of several it is not told: where one ends and the next begins, the text does not say.
 */
function levelsIn(
  text: string,
  parts: readonly string[],
  named: ReadonlyMap<string, string>,
): readonly (readonly [name: string, level: string])[] | undefined {
  const unknown: string[] = []
  const literals = ['']
  for (const [i, part] of parts.entries()) {
    const literal = i % 2 === 0 ? part : named.get(part)
    if (literal !== undefined) literals.push(literals.pop() + literal)
    else {
      unknown.push(part)
      literals.push('')
    }
  }
  const [first = '', ...others] = literals
  const last = others.pop()
  if (last === undefined) return text === first ? [] : undefined
  const end = text.length - last.length
  if (!text.startsWith(first) || !text.endsWith(last) || end < first.length) return undefined
  if (unknown.length === 1) return [[unknown[0] as string, text.slice(first.length, end)]]
  // Not by a regular expression: who asks chooses the text, and could make it take for ever.
  let at = first.length
  for (const literal of others) {
    const found = text.indexOf(literal, at)
    at = found + literal.length
    if (found < 0 || at > end) return undefined
  }
  return []
}

function byName(a: readonly [string, unknown], b: readonly [string, unknown]): number {
  return a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0
}

const units: readonly (readonly [RegExp, string])[] = [
  [/(^|[._])(temp(erature)?|setpoint)$/i, '°C'],
  [/(^|[._])(humidity|battery|brightness|soil_moisture)$/i, '%'],
  [/(^|[._])power$/i, 'W'],
  [/(^|[._])energy$/i, 'kWh'],
  [/(^|[._])voltage$/i, 'V'],
  [/(^|[._])current$/i, 'A'],
  [/(^|[._])frequency$/i, 'Hz'],
  [/(^|[._])pressure$/i, 'hPa'],
  [/(^|[._])(co2|voc)$/i, 'ppm'],
  [/(^|[._])pm(25|2_5|10)$/i, 'µg/m³'],
  [/(^|[._])(illuminance|lux)$/i, 'lx'],
  [/(^|[._])rssi$/i, 'dBm'],
]

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}

/** By the names Zigbee2MQTT, Tasmota and Home Assistant use. */
function knownUnit(field: string): string | undefined {
  return units.find(([name]) => name.test(field))?.[1]
}
