import type { Said } from '../model.js'
import { parsePattern } from '../topics.js'
import { type KeepTimes, keepAllowed, keepTimes } from './keep.js'
import { duration, isTimeZone, type SettingKind } from './kinds.js'

const decoderNames = ['json', 'value', 'line', 'senml', 'cbor', 'msgpack', 'gzip', 'zlib'] as const
export type DecoderName = (typeof decoderNames)[number]

/** One mapping rule of `telehub.yaml`: which topics, and how they become measurement, tags and fields. */
export interface MappingRule {
  /** A topic filter whose levels may be named: `home/{room}/{device}/telemetry`, `plant/{path...}`. */
  readonly topic: string
  /**
   * Text in which `{name}` stands for a named level. Needed unless the topics are ignored, or the rule only thins: see
   * {@link isThinningRule}.
   */
  readonly measurement: string
  /** Whether messages on these topics are not stored; they are counted as ignored. */
  readonly ignore?: boolean
  /** Named levels that become tags, default all; `payload.x` is the field `x` of the payload. */
  readonly tags?: readonly string[]
  /** Fields to keep, by flattened name, with their new names; default all under their own name. */
  readonly fields?: Readonly<Record<string, string>>
  /**
   * A list: fields to keep, by flattened name; `*` is any text. A map: how long the readings of the series are kept,
   * `{raw: 90d, 1m: 2y}`, in place of `store.keep`.
   */
  readonly keep?: readonly string[] | Readonly<Record<string, string>>
  /** Fields to leave out, by flattened name; `*` is any text. */
  readonly drop?: readonly string[]
  /** Types of fields; `*` in a name is any text. */
  readonly types?: Readonly<Record<string, ForcedType>>
  /** Flattened name of the field that holds the device's time; default: the usual names, such as `time` and `ts`. */
  readonly time?: string
  /** Time zone of times that name none. */
  readonly zone?: string
  /** Unit of each field, by final name; default: what the payload or the device's description says. */
  readonly units?: Readonly<Record<string, string>>
  /** Words that say that there is no value; default: the setting `values.absent`. */
  readonly absent?: readonly string[]
  /** Whether `21,5` is a number; default: where it can hardly be anything else. */
  readonly decimalComma?: boolean
  /** Name of the member by which elements of arrays are told apart; default: `id`, `name`, … */
  readonly each?: string
  /** Decoder of the payload; default by content type and by the payload: see `decode` in the pipeline. */
  readonly decoder?: DecoderName
  /** File with descriptors of Protobuf, and the full name of the message that the payloads are. */
  readonly descriptor?: string
  readonly message?: string
  /** File with the JavaScript of a LoRaWAN codec: `decodeUplink`. */
  readonly codec?: string
  /** Store only values that differ from the last one; `{heartbeat: 10m}` stores an unchanged one after so long. */
  readonly onChange?: boolean | { readonly heartbeat: string }
  /** Difference up to which a number counts as unchanged: of all fields, or by field. */
  readonly deadband?: number | Readonly<Record<string, number>>
  /** Least time between two stored values, such as `10s`. */
  readonly every?: string
}

const thinningMembers: readonly string[] = ['onChange', 'deadband', 'every']

/**
 * Whether a rule says nothing but how often values are stored: `{topic, deadband: {temperature: 0.1}}`. Then it decides
 * about no topic: another rule, or none, says how messages are read.
 */
export function isThinningRule(rule: object): boolean {
  const names = Object.keys(rule).filter(name => name !== 'topic' && name !== 'place')
  return names.length > 0 && names.every(name => thinningMembers.includes(name))
}

/** Place of a rule: its number, from 1 on, among the rules of the hub or those of the settings. */
export interface RulePlace {
  readonly from: 'hub' | 'settings'
  readonly number: number
}

export interface PlacedRule extends MappingRule {
  /** Undefined where there are no rules but those of the settings. */
  readonly place?: RulePlace
}

/** Returns all rules in the order in which they are asked: those that the hub keeps itself come first. */
export function placedRules(own: readonly MappingRule[], given: readonly MappingRule[]): readonly PlacedRule[] {
  const place = (from: RulePlace['from'], rules: readonly MappingRule[]) =>
    rules.map((rule, i) => ({ ...rule, place: { from, number: i + 1 } }))
  return [...place('hub', own), ...place('settings', given)]
}

const types = ['number', 'boolean', 'text'] as const
export type ForcedType = (typeof types)[number]

type Test = (value: unknown) => boolean

const isText: Test = value => typeof value === 'string' && value !== ''
const isFlag: Test = value => typeof value === 'boolean'
const isNumber: Test = value => typeof value === 'number' && Number.isFinite(value) && value >= 0
const isDuration: Test = value => duration.parse(value) !== undefined
const isList: Test = value => Array.isArray(value) && value.every(one => typeof one === 'string')
const isMapOf =
  (test: Test): Test =>
  value =>
    typeof value === 'object' && value !== null && !Array.isArray(value) && Object.values(value).every(test)

/** Tests and allowed values of each member of a rule. */
const members: Readonly<Record<keyof MappingRule, readonly [Test, allowed: string]>> = {
  topic: [isText, 'a topic filter such as plant/{line}/#'],
  measurement: [isText, 'a text such as machines or {line}_data'],
  ignore: [isFlag, 'true or false'],
  tags: [isList, 'a list of named levels, and of fields such as payload.model'],
  fields: [isMapOf(isText), 'new names by field, such as {p.bar: pressure}'],
  keep: [
    value => isList(value) || (typeof value === 'object' && keepTimes(value) !== undefined),
    `a list of fields, in which * is any text, or ${keepAllowed}`,
  ],
  drop: [isList, 'a list of fields, in which * is any text'],
  types: [isMapOf(value => types.some(type => type === value)), 'number, boolean or text by field'],
  time: [isText, 'the name of a field'],
  zone: [value => isText(value) && isTimeZone(value as string), 'a time zone such as Europe/Berlin or UTC'],
  units: [isMapOf(isText), 'units by field, such as {pressure: bar}'],
  absent: [isList, 'a list of words'],
  decimalComma: [isFlag, 'true or false'],
  each: [isText, 'the name of a member'],
  decoder: [value => decoderNames.some(name => name === value), `one of ${decoderNames.join(', ')}`],
  descriptor: [isText, 'a file that protoc --descriptor_set_out has written'],
  message: [isText, 'the full name of a message, such as acme.Telemetry'],
  codec: [isText, 'a file with a function decodeUplink'],
  onChange: [
    value => isFlag(value) || (isMapOf(isDuration)(value) && Object.keys(value as object).join() === 'heartbeat'),
    'true, false or {heartbeat: 10m}',
  ],
  deadband: [value => isNumber(value) || isMapOf(isNumber)(value), 'a number, or numbers by field'],
  every: [isDuration, 'a time such as 10s'],
}

/** A mistake of a rule. */
export interface MappingMistake {
  /** Member of the rule. Undefined: the rule as a whole. */
  readonly key?: keyof MappingRule
  readonly sentence: string
  /** The sentence as a code with values, if it has one. */
  readonly said?: Said
}

const missing = { sentence: 'missing', said: { code: 'missing', values: {} } } as const

/** Returns all that is wrong with a rule; empty when nothing is. */
export function ruleMistakes(rule: unknown): readonly MappingMistake[] {
  if (typeof rule !== 'object' || rule === null || Array.isArray(rule))
    return [{ sentence: 'a rule is {topic, measurement, …}' }]
  const given = rule as Readonly<Record<string, unknown>>
  const mistakes: MappingMistake[] = []
  for (const [name, value] of Object.entries(given)) {
    const member = Object.hasOwn(members, name) ? members[name as keyof MappingRule] : undefined
    const key = name as keyof MappingRule
    if (!member) {
      const options = Object.keys(members).join(', ')
      const said = { code: 'no-option', values: { options } }
      mistakes.push({ key, sentence: `no such option; there are ${options}`, said })
    } else if (!member[0](value)) {
      const given = JSON.stringify(value)
      const said = { code: 'not-allowed', values: { given, allowed: member[1] } }
      mistakes.push({ key, sentence: `given ${given}, allowed is ${member[1]}`, said })
    }
  }
  if (given.topic === undefined) mistakes.push({ key: 'topic', ...missing })
  if (given.measurement === undefined && given.ignore !== true && !isThinningRule(given))
    mistakes.push({ key: 'measurement', ...missing })
  if ((given.descriptor === undefined) !== (given.message === undefined))
    mistakes.push({ sentence: 'descriptor needs message' })
  if (given.decoder === 'line' && timesOf(given as Pick<MappingRule, 'keep'>))
    mistakes.push({
      key: 'keep',
      sentence: 'times need series that the topic names, not lines: use store.keep for these',
    })
  const ways = ['decoder', 'descriptor', 'codec'].filter(name => given[name] !== undefined)
  if (ways.length > 1) mistakes.push({ sentence: `${ways.join(' and ')}: one of them decides how payloads are read` })
  if (typeof given.topic !== 'string') return mistakes
  const pattern = parsePattern(given.topic)
  if (typeof pattern === 'string') return [...mistakes, { key: 'topic', sentence: pattern }]
  const inMeasurement = [...String(given.measurement ?? '').matchAll(/\{(.*?)\}/g)].map(found => found[1] as string)
  const inTags = isList(given.tags ?? []) ? ((given.tags ?? []) as string[]).filter(tag => !isFieldTag(tag)) : []
  for (const [key, names] of [['measurement', inMeasurement] as const, ['tags', inTags] as const]) {
    for (const name of names) {
      if (pattern.names.includes(name)) continue
      const said = { code: 'no-level', values: { name, topic: given.topic } }
      mistakes.push({ key, sentence: `${name}: no level of ${given.topic} has this name`, said })
    }
  }
  return mistakes
}

function sentencesOf(rule: unknown): string[] {
  return ruleMistakes(rule).map(({ key, sentence }) => (key === undefined ? sentence : `${key}: ${sentence}`))
}

/** Returns the fields that a rule keeps. Undefined: all. */
export function keptFields({ keep }: Pick<MappingRule, 'keep'>): readonly string[] | undefined {
  return Array.isArray(keep) ? keep : undefined
}

/** Returns how long a rule keeps readings. Undefined: as `store.keep` says. */
export function timesOf({ keep }: Pick<MappingRule, 'keep'>): KeepTimes | undefined {
  return keep === undefined || Array.isArray(keep) ? undefined : keepTimes(keep)
}

/** Returns microseconds of a duration such as `10s`. */
export function microsOf(text: string): number {
  return (duration.parse(text) ?? 0) * 1_000
}

const fieldTag = 'payload.'

/** Whether a tag of a rule is a field of the payload. */
export function isFieldTag(tag: string): boolean {
  return tag.startsWith(fieldTag) && tag.length > fieldTag.length
}

/** Returns the fields of the payload that a rule makes tags. */
export function fieldTagsOf({ tags = [] }: Pick<MappingRule, 'tags'>): readonly string[] {
  return tags.filter(isFieldTag).map(tag => tag.slice(fieldTag.length))
}

export const mappingRules: SettingKind<readonly MappingRule[]> = {
  allowed:
    'a list of rules {topic, measurement, tags?, fields?, …} in the settings file (docs/devices.md); named levels are {name}, and {name...} for all that follow',
  parse: given => (Array.isArray(given) && given.every(rule => ruleMistakes(rule).length === 0) ? given : undefined),
  mistakes: given =>
    Array.isArray(given) ? given.flatMap((rule, i) => sentencesOf(rule).map(one => [i, one] as const)) : [],
}
