import { isThinningRule, type PlacedRule, type RulePlace, settingsTable } from '../config/settings.js'
import type { FieldValue, IgnoredAs, Message, Point, Reading, Rejection, SeriesId, Tags } from '../model.js'
import { decodeProperties } from '../mqtt/message-properties.js'
import { isTopicName } from '../topics.js'
import { decode } from './decoders/decoders.js'
import { kindOf, noKind } from './decoders/key-names.js'
import type { RuleDecoders } from './decoders/rule-decoders.js'
import { type ReadingRules, type Sample, type TextMemory, Undecodable } from './decoders/sample.js'
import type { JsonLimits } from './decoders/tree-reader.js'
import { type FieldPlans, planned } from './field-plans.js'
import { Knowledge } from './knowledge.js'
import {
  byName,
  type CompiledRule,
  compileRule,
  fallbackMeasurement,
  placeByRule,
  sourcesByRule,
} from './mapping-rules.js'
import { type FoundTopic, Presets } from './presets/presets.js'
import { ReadingClock, type SettableClock } from './reading-clock.js'
import type { SparkplugReader } from './sparkplug/reader.js'
import { readingTopic } from './sparkplug/topic.js'
import { Thinning, type ThinningRule } from './thinning.js'

/** Everything that a topic alone decides, and the texts that its fields have had. */
interface TopicPlace extends TextMemory {
  readonly rule: CompiledRule | undefined
  /** Preset topics that match. */
  readonly preset: FoundTopic
  readonly measurement: string
  readonly tags: Tags
  /** Whether the mapping makes these tags in this measurement from no other topic. */
  readonly isExclusive: boolean
  /** Tags by publisher. Undefined while the place is exclusive or no publisher was seen. */
  byPublisher: Map<string, Tags> | undefined
  /** The user who published last; empty where clients need not authenticate. */
  publisher: string
  readonly reading: ReadingRules
  /** Undefined when all fields are stored as they are. */
  readonly plans: FieldPlans | undefined
  readonly thinning: ThinningRule | undefined
  /** Fields of the payload that become tags. */
  readonly tagFields: ReadonlySet<string> | undefined
  /** Names of these tags. */
  readonly fieldTags: ReadonlySet<string> | undefined
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

export interface MappingOptions {
  /** Whether the hub's clock can be right: otherwise no time of a device is doubted. */
  readonly clock?: SettableClock
  /** Time zone of clocks that name none; `auto`: see {@link ReadingClock}. */
  readonly zone?: string
  /** Words that say that there is no value. */
  readonly absent?: readonly string[]
  /** Reads the topics of Sparkplug B for which no rule names a decoder. */
  readonly sparkplug?: SparkplugReader
  /** Decoders of the rules that name files. */
  readonly decoders?: RuleDecoders
  readonly presets?: Presets
  readonly knowledge?: Knowledge
}

/**
 * Makes points from topic and payload. The first rule whose topic matches decides; a topic without a rule becomes the
 * measurement of its first level, with the whole topic as tag `topic`. Presets say which messages are no readings, and
 * where time and units are, as far as a rule does not.
 *
 * A series belongs to the topic of its messages, so that a client that may publish to one topic cannot write the series
 * of another. Where the mapping makes one series from several topics, and where a rule lets lines name their series
 * (`decoder: line`), the user is a tag of the series. Lines on other topics keep their tags beside the topic's, and so
 * do fields that become tags.
 */
export class Mapping {
  readonly knowledge: Knowledge
  /** All rules, in the order in which they are asked. */
  readonly rules: readonly PlacedRule[]
  readonly #rules: readonly CompiledRule[]
  readonly #thinningRules: readonly CompiledRule[]
  readonly #json: JsonLimits
  readonly #clock: ReadingClock
  readonly #presets: Presets
  readonly #thinning = new Thinning()
  readonly #absent: ReadonlySet<string>
  /** Units that rules give, empty for none, by measurement and field. */
  readonly #unitsByRule = new Map<string, string>()
  readonly #sparkplug: SparkplugReader | undefined
  /** Places by topic. Topics come again and again, so the place of each is computed once. */
  readonly #known = new Map<string, TopicPlace>()
  /** Whether a rule may make the tags that lines get here, so that the topic in those tags proves nothing. */
  readonly #linesNeedPublisher: boolean
  /** Whether a rule may make the tag `topic`, so that the topic in tags with fields of the payload proves nothing. */
  readonly #fieldsNeedPublisher: boolean

  constructor(rules: readonly PlacedRule[], json: JsonLimits, options: MappingOptions = {}) {
    const { clock = { isSet: () => true }, zone = 'auto', absent = settingsTable['values.absent'].default } = options
    this.rules = rules
    this.#json = json
    this.#sparkplug = options.sparkplug
    this.#clock = new ReadingClock({ clock, zone })
    this.#presets = options.presets ?? new Presets()
    this.#absent = new Set(['', ...absent.map(word => word.toLowerCase())])
    this.knowledge = options.knowledge ?? new Knowledge()
    const reading = rules.filter(rule => !isThinningRule(rule))
    this.#rules = reading.map(rule => ({ ...compileRule(rule), ownDecoder: options.decoders?.get(rule) }))
    this.#thinningRules = rules.filter(isThinningRule).map(compileRule)
    this.#linesNeedPublisher = this.#rules.some(
      ({ tagNames }) => tagNames.has(topicTag) && tagNames.has(measurementTag),
    )
    this.#fieldsNeedPublisher = this.#rules.some(({ tagNames }) => tagNames.has(topicTag))
  }

  /**
   * Returns the reading of a message; without points when the payload is empty, tells only of absent values, or is no
   * reading at all; or the reason why there is none.
   */
  read(message: Message): Reading | Rejection {
    const place = this.#place(readingTopic(message.topic))
    const { rule, preset } = place
    const role = preset.others && this.#roleOf(message, preset, rule !== undefined)
    if (role) return { message, points: none, quality: 'good', ignored: role }
    if (rule?.ignore) return { message, points: none, quality: 'good', ignored: 'rule' }
    let samples: readonly Sample[]
    try {
      const ofSparkplug = rule?.decoder || rule?.ownDecoder ? undefined : this.#sparkplug?.read(message)
      samples =
        ofSparkplug ??
        decode(message.payload, {
          decoder: rule?.decoder,
          ownDecoder: rule?.ownDecoder,
          contentType: contentTypeOf(message),
          rules: place.reading,
          memory: place,
          receivedAt: message.receivedAt,
          json: this.#json,
        })
    } catch (error) {
      if (error instanceof Undecodable) return { reason: error.reason, detail: error.detail }
      throw error
    }
    if (message.user !== place.publisher) {
      place.publisher = message.user
      this.knowledge.publishedBy(readingTopic(message.topic), message.user)
    }
    const { times, quality, clockError } = this.#clock.timesOf(samples, message.receivedAt, rule?.zone)
    const points: Point[] = []
    let absent: SeriesId[] | undefined
    let unfit: Set<string> | undefined
    let isKept = samples.length === 0
    for (const [i, sample] of samples.entries()) {
      const { fields, tagged } = place.plans
        ? planned(sample.fields, place.plans, place.tagFields)
        : { fields: sample.fields, tagged: none }
      const isByLine = sample.measurement !== undefined && rule?.decoder === 'line'
      const measurement = isByLine ? (sample.measurement as string) : place.measurement
      const tags = this.#tagsOf(sample, message, place, tagged)
      if (sample.units) this.#learnUnits(readingTopic(message.topic), sample.units, place)
      for (const field of sample.absent ?? none) {
        const name = place.plans ? place.plans.of(field).name : field
        isKept = true
        if (name === undefined) continue
        absent ??= []
        absent.push({ measurement, tags, field: name })
      }
      for (const [name, value] of fields) {
        if (value !== undefined) continue
        unfit ??= new Set()
        unfit.add(name)
      }
      const fitting = (unfit === undefined ? [...fields] : fields.filter(([, value]) => value !== undefined)) as [
        string,
        FieldValue,
      ][]
      if (fitting.length === 0) continue
      points.push({ measurement, tags, fields: fitting.sort(byName), time: times[i] as number })
    }
    if (unfit !== undefined && points.length === 0) return notOfType(unfit)
    if (points.length === 0 && !isKept) {
      return { reason: 'no_reading', detail: 'the mapping selects none of the fields in the payload' }
    }
    return {
      message,
      points,
      quality: points.length === 0 && absent ? 'absent' : quality,
      ...(absent && { absent }),
      ...(clockError !== undefined && { clockError }),
      ...(unfit !== undefined && { refused: notOfType(unfit) }),
    }
  }

  /** Returns which rule and where it stands, or which preset, decides about a topic. */
  decidedBy(topic: string): { readonly rule?: string; readonly place?: RulePlace; readonly preset?: string } {
    const { rule, preset } = this.#place(topic)
    if (rule) return { rule: rule.topic, ...(rule.place && { place: rule.place }) }
    const name = preset.preset ?? preset.others?.[0]?.of.preset
    return name === undefined ? {} : { preset: name }
  }

  /** Whether a rule or a preset says how messages on a topic are read. Keeps nothing in mind, as {@link decidedBy} does. */
  isKnown(topic: string): boolean {
    const { preset, others } = this.#presets.find(topic)
    return this.#rules.some(rule => placeByRule(rule, topic)) || (preset ?? others?.[0]?.of.preset) !== undefined
  }

  /** Returns the measurement of all points that the topic's messages make. Undefined where lines name theirs. */
  measurementOf(topic: string): string | undefined {
    const { rule, measurement } = this.#place(topic)
    return rule?.decoder === 'line' ? undefined : measurement
  }

  /** Returns those of the points of a message on a topic that a rule wants stored. Called once for each message. */
  thin(topic: string, points: readonly Point[]): readonly Point[] {
    return this.#thinning.thin(points, this.#place(topic))
  }

  /** Returns the unit of a series: of a rule, of the payload, of a description or a preset. Undefined: not known. */
  unit({ measurement, field }: Pick<SeriesId, 'measurement' | 'field'>, topic: string | undefined): string | undefined {
    const unit = this.#unitByRule(measurement, field)
    if (unit !== undefined || topic === undefined) return unit
    return this.knowledge.unitOf(topic, field) ?? this.#place(topic).preset.units?.unitOf(field)
  }

  #unitByRule(measurement: string, field: string): string | undefined {
    const key = `${measurement}\0${field}`
    const known = this.#unitsByRule.get(key)
    if (known !== undefined) return known || undefined
    const rule = this.#rules.find(({ units = {}, made }) => Object.hasOwn(units, field) && made.test(measurement))
    const unit = rule?.units?.[field]
    if (this.#unitsByRule.size >= 50_000) this.#unitsByRule.clear()
    this.#unitsByRule.set(key, unit ?? '')
    return unit
  }

  /** Returns the one topic from which the mapping makes a series. Undefined when there are several, or none. */
  topicOf(series: SeriesId): string | undefined {
    const sources = this.sourcesOf(series)
    return sources.length === 1 && isTopicName(sources[0] as string) ? sources[0] : undefined
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
    const topic = this.#topicOfTagged(measurement, others, field)
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

  /** Returns the topic on which a line, or fields that become tags, made this series. Undefined when none could. */
  #topicOfTagged(measurement: string, tags: Tags, field: string): string | undefined {
    const named = new Map(tags)
    const topic = named.get(topicTag)
    if (topic === undefined || !isTopicName(topic)) return undefined
    const place = this.#work(topic)
    const { decoder, fields } = place.rule ?? {}
    if (decoder === 'line' || (fields && !Object.values(fields).includes(field))) return undefined
    const isMade = place.measurement === measurement && place.tags.every(([name, level]) => named.get(name) === level)
    if (!isMade) return undefined
    if (named.has(measurementTag) && decoder === undefined) return topic
    const { fieldTags } = this.#place(topic)
    const own = new Set([topicTag, ...place.tags.map(([name]) => name)])
    const areFields = [...named.keys()].every(
      name => own.has(name) || fieldTags?.has(name) || fieldTags?.has(name.replace(/^(?:line_)+/, '')),
    )
    return fieldTags && areFields ? topic : undefined
  }

  /** Returns the tags of a sample: those of the topic, and those that keep the series apart from all others. */
  #tagsOf(sample: Sample, { topic, user }: Message, place: TopicPlace, tagged: Tags): Tags {
    if (sample.measurement === undefined && tagged.length === 0) {
      return place.isExclusive || user === '' ? place.tags : ownTags(place, user)
    }
    const own = new Map<string, string>()
    const isByLine = sample.measurement !== undefined && place.rule?.decoder === 'line'
    if (!isByLine) {
      if (sample.measurement !== undefined) own.set(measurementTag, sample.measurement)
      for (const [name, level] of place.tags) own.set(name, level)
      own.set(topicTag, topic)
    }
    const needsPublisher =
      isByLine || this.#linesNeedPublisher || (sample.measurement === undefined && this.#fieldsNeedPublisher)
    if (user !== '' && needsPublisher) own.set(publisherTag, user)
    return merged(own, sample.tags ? [...sample.tags, ...tagged] : tagged)
  }

  /** Returns what a message is when it is no reading, and learns from it when it describes devices. */
  #roleOf(message: Message, preset: FoundTopic, hasRule: boolean): IgnoredAs | undefined {
    const found = this.#presets.examine(message, preset)
    if (found?.devices) this.knowledge.describe(message.topic, found.devices, message.user)
    // A rule for the topic comes first: then the message is read as the rule says.
    return hasRule ? undefined : found?.role
  }

  #learnUnits(topic: string, units: readonly (readonly [string, string])[], { plans }: TopicPlace): void {
    const renamed = units.flatMap(([field, unit]) => {
      const name = plans ? plans.of(field).name : field
      return name === undefined ? [] : [[name, unit] as const]
    })
    this.knowledge.learnUnits(topic, renamed)
  }

  #place(topic: string): TopicPlace {
    let place = this.#known.get(topic)
    if (place) return place
    const { rule, measurement, tags } = this.#work(topic)
    const preset = this.#presets.find(topic)
    const isExclusive = this.#isExclusive(topic, rule, measurement, tags)
    const tagFields = rule ? rule.tagFields : preset.tagFields
    place = {
      rule,
      preset,
      measurement,
      // Frozen, so that a writer of points need not examine the same tags again for each point.
      tags: Object.freeze(tags),
      isExclusive,
      byPublisher: undefined,
      publisher: '',
      texts: undefined,
      reading: readingRules(topic, rule, preset, this.#absent),
      plans: rule ? rule.plans : preset.plans,
      thinning: (this.#thinningRules.find(one => placeByRule(one, topic)) ?? rule)?.thinning,
      tagFields,
      fieldTags: tagFields && new Set([...tagFields].map(field => field.slice(field.lastIndexOf('.') + 1))),
    }
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
      const place = placeByRule(rule, topic)
      if (place) return { rule, ...place }
    }
    return { rule: undefined, measurement: firstLevel(topic), tags: [[topicTag, topic]] }
  }
}

const none: readonly never[] = []

function readingRules(
  topic: string,
  rule: CompiledRule | undefined,
  preset: FoundTopic,
  absent: ReadonlySet<string>,
): ReadingRules {
  return {
    timeFields: rule?.time === undefined ? preset.time : [rule.time],
    absent: rule?.absent ? new Set(['', ...rule.absent.map(word => word.toLowerCase())]) : absent,
    decimalComma: rule?.decimalComma,
    isTextField: rule?.textFields,
    each: rule?.each,
    topicKind: preset.isText ? { ...noKind, isText: true } : kindOf(tellingLevel(topic)),
  }
}

/** Returns the last level of a topic that says what its value is: `…/version/state` is a version. */
function tellingLevel(topic: string): string {
  const levels = topic.split('/')
  const last = levels.pop() as string
  return /^(?:state|value|val|status|current|get)$/i.test(last) ? (levels.pop() ?? last) : last
}

function contentTypeOf({ properties }: Message): string | undefined {
  return properties && decodeProperties(properties)?.contentType
}

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

/** Returns the rejection of values; at least one. */
function notOfType(unfit: ReadonlySet<string>): Rejection {
  const fields = [...unfit]
  return { reason: 'not_of_type', detail: `the field '${fields[0]}' is not of the type that the mapping says`, fields }
}
