import type { MappingRule } from '../config/settings.js'
import { HubError } from '../errors.js'
import type { Message, Point, Quality, Reading, Rejection, SeriesId, Tags } from '../model.js'
import { decodeProperties } from '../mqtt/message-properties.js'
import { isTopicName, parsePattern, type TopicPattern } from '../topics.js'
import { decode } from './decoders/decoders.js'
import type { JsonLimits } from './decoders/json.js'
import { type Sample, Undecodable } from './decoders/sample.js'

/** Before this time a device's clock was not set: 2000-01-01, where most real-time clocks begin. */
const earliest = 946_684_800e6
/** Most microseconds that a device's time may be ahead of the hub's. */
const ahead = 300e6
/** Age in microseconds beyond which a reading is late on arrival. */
const late = 60e6

interface CompiledRule extends MappingRule {
  readonly pattern: TopicPattern
  /** Beginning of every topic that matches. */
  readonly prefix: string
  readonly tagNames: ReadonlySet<string>
  /** The measurement, split: texts, and between two texts the name of a level. */
  readonly parts: readonly string[]
  /** Matches the measurements that this rule makes. */
  readonly made: RegExp
}

/** Everything that a topic alone decides. */
interface TopicPlace {
  readonly rule: CompiledRule | undefined
  readonly measurement: string
  readonly tags: Tags
  /** Whether the mapping makes these tags in this measurement from no other topic. */
  readonly isExclusive: boolean
  /** Tags by publisher. Undefined while the place is exclusive or no publisher was seen. */
  byPublisher: Map<string, Tags> | undefined
}

/** Tag with the user who published, where the topic alone does not tell series apart. */
const publisherTag = 'publisher'
/** Tag with the measurement in a line, where the topic names the measurement. */
const measurementTag = 'measurement'
const topicTag = 'topic'
/** Prefix for a tag of a line whose name the hub uses for another tag. */
const linePrefix = 'line_'
/** Most publishers of one topic whose tags are remembered. */
const maxPublishers = 100

/**
 * Makes points from topic and payload. The first rule whose topic matches decides; a topic without a rule becomes the
 * measurement of its first level, with the whole topic as tag `topic`.
 *
 * A series belongs to the topic of its messages, so that a client that may publish to one topic cannot write the series
 * of another. Where the mapping makes one series from several topics, and where a rule lets lines name their series
 * (`decoder: line`), the user is a tag of the series. Lines on other topics keep their tags beside the topic's.
 */
export class Mapping {
  readonly #rules: readonly CompiledRule[]
  readonly #json: JsonLimits
  readonly #isClockSet: () => boolean
  readonly #units = new Map<string, string | undefined>()
  /** Places by topic. Topics come again and again, so the place of each is computed once. */
  readonly #known = new Map<string, TopicPlace>()
  /** Whether a rule may make the tags that lines get here, so that the topic in those tags proves nothing. */
  readonly #linesNeedPublisher: boolean

  /** @param isClockSet Whether the hub's clock can be right: otherwise no time of a device is doubted. */
  constructor(rules: readonly MappingRule[], json: JsonLimits, isClockSet: () => boolean = () => true) {
    this.#json = json
    this.#isClockSet = isClockSet
    this.#rules = rules.map(rule => {
      const pattern = parsePattern(rule.topic)
      if (typeof pattern === 'string') throw new HubError('bad_settings', pattern)
      const parts = rule.measurement.split(/\{(.*?)\}/)
      const made = new RegExp(`^${parts.map((part, i) => (i % 2 === 0 ? escapeRegExp(part) : '.*')).join('')}$`, 's')
      const prefix = (/^[^+#]*/.exec(pattern.filter)?.[0] ?? '').replace(/\/$/, '')
      return { ...rule, pattern, prefix, tagNames: new Set(rule.tags ?? pattern.names), parts, made }
    })
    this.#linesNeedPublisher = this.#rules.some(
      ({ tagNames }) => tagNames.has(topicTag) && tagNames.has(measurementTag),
    )
  }

  /** Returns the reading of a message, without points when the payload is empty; or the reason why there is none. */
  read(message: Message): Reading | Rejection {
    const place = this.#place(message.topic)
    const { rule } = place
    let samples: readonly Sample[]
    try {
      samples = decode(message.payload, {
        ...(rule?.decoder && { decoder: rule.decoder }),
        ...contentTypeOf(message),
        timeFields: rule?.time ? [rule.time] : defaultTimeFields,
        receivedAt: message.receivedAt,
        json: this.#json,
      })
    } catch (error) {
      if (error instanceof Undecodable) return { reason: error.reason, detail: error.detail }
      throw error
    }
    const { receivedAt } = message
    // A clock that is not set still runs. The newest time is moved to the time of receipt, and the other times of a
    // batch keep their distance to the newest.
    const newest = samples.reduce((latest, { time = -Infinity }) => Math.max(latest, time), -Infinity)
    const skew =
      newest > -Infinity && (newest < earliest || this.#isAhead(newest, receivedAt)) ? receivedAt - newest : 0
    let quality: Quality = skew === 0 ? 'good' : 'clock'
    const points: Point[] = []
    for (const sample of samples) {
      const time = sample.time === undefined ? receivedAt : sample.time + skew
      if (time < receivedAt - late && quality === 'good') quality = 'late'
      const fields = rule?.fields ? rename(sample, rule.fields) : [...sample.fields]
      if (fields.length === 0) continue
      const byLine = sample.measurement !== undefined && rule?.decoder === 'line'
      points.push({
        measurement: byLine ? sample.measurement : place.measurement,
        tags: this.#tagsOf(sample, message, place),
        fields: fields.sort(byName),
        time,
      })
    }
    if (samples.length > 0 && points.length === 0) {
      return { reason: 'no_reading', detail: 'the mapping keeps none of the fields in the payload' }
    }
    return { message, points, quality }
  }

  /** Returns the unit of a field. Undefined when neither a rule nor the name of the field tells. */
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
   * Returns filters of the topics from which this mapping makes the series. They may match more topics, such as those
   * that an earlier rule takes; never fewer. Empty when the mapping makes the series from no topic: then line protocol
   * named the series, or an older mapping.
   */
  sourcesOf(series: SeriesId): readonly string[] {
    const { measurement, tags, field } = series
    // The mapping makes no other tags: names are unique and sorted, values not empty.
    if (tags.some(([name, value], i) => value === '' || name <= (tags[i - 1]?.[0] ?? ''))) return []
    const sources = new Set(this.#sources(measurement, tags, field))
    const others = tags.filter(([name]) => name !== publisherTag)
    if (others.length < tags.length) {
      // Only series of several topics get the publisher tag.
      const shared = this.#sources(measurement, others, field)
      if (shared.length > 1 || shared.some(source => !isTopicName(source)))
        for (const source of shared) sources.add(source)
    }
    const topic = this.#topicOfLine(measurement, others, field)
    if (topic !== undefined) sources.add(topic)
    return [...sources]
  }

  /** Returns sources like {@link sourcesOf}, for tags that the topic alone makes; for any field when none is given. */
  #sources(measurement: string, tags: Tags, field?: string): readonly string[] {
    const sources = new Set(this.#rules.flatMap(rule => sourcesByRule(rule, measurement, tags, field)))
    const [name, topic = ''] = tags[0] ?? []
    const isDefault = tags.length === 1 && name === topicTag && isTopicName(topic) && measurement === firstLevel(topic)
    if (isDefault && !this.#work(topic).rule) sources.add(topic)
    return [...sources]
  }

  /** Returns the topic on which a line made this series. Undefined when no line could. */
  #topicOfLine(measurement: string, tags: Tags, field: string): string | undefined {
    const named = new Map(tags)
    const topic = named.get(topicTag)
    if (topic === undefined || !named.has(measurementTag) || !isTopicName(topic)) return undefined
    const place = this.#work(topic)
    const { decoder, fields } = place.rule ?? {}
    if (decoder !== undefined || (fields && !Object.values(fields).includes(field))) return undefined
    const isMade = place.measurement === measurement && place.tags.every(([name, level]) => named.get(name) === level)
    return isMade ? topic : undefined
  }

  /** Returns the tags of a sample: those of the topic, and those that keep the series apart from all others. */
  #tagsOf(sample: Sample, { topic, user }: Message, place: TopicPlace): Tags {
    if (sample.measurement === undefined) return place.isExclusive || user === '' ? place.tags : ownTags(place, user)
    const own = new Map<string, string>()
    if (place.rule?.decoder !== 'line') {
      own.set(measurementTag, sample.measurement)
      for (const [name, level] of place.tags) own.set(name, level)
      own.set(topicTag, topic)
    }
    if (user !== '' && (place.rule?.decoder === 'line' || this.#linesNeedPublisher)) own.set(publisherTag, user)
    return merged(own, sample.tags ?? [])
  }

  #isAhead(time: number, receivedAt: number): boolean {
    return time > receivedAt + ahead && this.#isClockSet()
  }

  #place(topic: string): TopicPlace {
    let place = this.#known.get(topic)
    if (place) return place
    const { rule, measurement, tags } = this.#work(topic)
    const isExclusive = this.#isExclusive(topic, rule, measurement, tags)
    // Frozen, so that a writer of points need not examine the same tags again for each point.
    place = { rule, measurement, tags: Object.freeze(tags), isExclusive, byPublisher: undefined }
    if (this.#known.size >= 50_000) this.#known.clear()
    this.#known.set(topic, place)
    return place
  }

  /** Whether no other topic makes these tags in this measurement. */
  #isExclusive(topic: string, rule: CompiledRule | undefined, measurement: string, tags: Tags): boolean {
    let isMade = rule === undefined
    for (const one of this.#rules) {
      for (const source of sourcesByRule(one, measurement, tags, undefined)) {
        if (source !== topic) return false
        isMade = true
      }
    }
    // Topics without a rule make one tag: the topic.
    const isLikeDefault = rule !== undefined && tags.length === 1 && tags[0]?.[0] === topicTag
    return isMade && (!isLikeDefault || this.#sources(measurement, tags).length === 1)
  }

  #work(topic: string): { rule: CompiledRule | undefined; measurement: string; tags: Tags } {
    for (const rule of this.#rules) {
      const levels = topic.startsWith(rule.prefix) ? rule.pattern.match(topic) : undefined
      if (!levels) continue
      const named = new Map(levels)
      const measurement = rule.measurement.replace(/\{(.*?)\}/g, (_, name: string) => named.get(name) ?? '')
      const tags = levels.filter(([name, level]) => rule.tagNames.has(name) && level.length > 0).sort(byName)
      return { rule, measurement: measurement || fallbackMeasurement, tags }
    }
    return { rule: undefined, measurement: firstLevel(topic), tags: [['topic', topic]] }
  }
}

function contentTypeOf({ properties }: Message): { readonly contentType?: string } | undefined {
  const contentType = properties && decodeProperties(properties)?.contentType
  return contentType === undefined ? undefined : { contentType }
}

const fallbackMeasurement = 'mqtt'
const defaultTimeFields = ['time', 'timestamp', 'ts']

const none: readonly never[] = []

function firstLevel(topic: string): string {
  let begin = 0
  while (topic[begin] === '/') begin++
  const end = topic.indexOf('/', begin)
  return (end < 0 ? topic.slice(begin) : topic.slice(begin, end)) || fallbackMeasurement
}

/** Returns the tags of one publisher on a topic that shares its series with others. */
function ownTags(place: TopicPlace, user: string): Tags {
  const known = place.byPublisher?.get(user)
  if (known) return known
  const own = Object.freeze(merged(new Map([[publisherTag, user]]), place.tags))
  if (!place.byPublisher || place.byPublisher.size >= maxPublishers) place.byPublisher = new Map()
  place.byPublisher.set(user, own)
  return own
}

/** Merges tags of the hub and other tags, sorted. Another tag with the name of a hub tag is renamed. */
function merged(own: Map<string, string>, others: Tags): Tags {
  for (const [name, value] of others) {
    let free = name
    while (own.has(free)) free = linePrefix + free
    own.set(free, value)
  }
  return [...own].sort(byName)
}

function rename(
  sample: Sample,
  names: Readonly<Record<string, string>>,
): (readonly [string, Sample['fields'][number][1]])[] {
  return sample.fields.flatMap(([name, value]) =>
    Object.hasOwn(names, name) ? [[names[name] as string, value] as const] : [],
  )
}

/** Returns the sources that one rule makes; of any field when none is given. */
function sourcesByRule(
  { decoder, fields, tagNames, parts, pattern }: CompiledRule,
  measurement: string,
  tags: Tags,
  field: string | undefined,
): readonly string[] {
  // With line protocol the line names the series.
  if (decoder === 'line' || (field !== undefined && fields && !Object.values(fields).includes(field))) return none
  // Most rules make other measurements, so this check must be cheap.
  if (!measurement.startsWith(parts[0] as string)) return none
  if (!tags.every(([name]) => tagNames.has(name))) return none
  // An empty level makes no tag, and an empty measurement gets the fallback name.
  const named = new Map([...[...tagNames].map(name => [name, ''] as const), ...tags])
  const texts = measurement === fallbackMeasurement ? [measurement, ''] : [measurement]
  return texts.flatMap(text => {
    const more = levelsIn(text, parts, named)
    return more ? pattern.fill(new Map([...named, ...more])) : []
  })
}

/**
 * Returns the levels not in `named` with which the parts of a rule's measurement make `text`. Undefined when no levels
 * do. Several such levels are not returned: the text does not show where one ends and the next begins.
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
  // No regular expression here: the caller chooses the text, and could make the match take for ever.
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

/** Returns the unit by the field names that Zigbee2MQTT, Tasmota and Home Assistant use. */
function knownUnit(field: string): string | undefined {
  return units.find(([name]) => name.test(field))?.[1]
}
