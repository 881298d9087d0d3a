/** A rule in the hands of the form: pure functions from one rule to the next. */

import type { Rule } from './requests.js'

/** One level of the topic of a rule. */
export interface Level {
  /** `text`: only this one; `name`: any, with a name; `any`: any without; `rest` and `namedRest`: all that follow. */
  readonly kind: 'text' | 'name' | 'any' | 'rest' | 'namedRest'
  /** Text or name; empty for the others. */
  readonly text: string
}

export function levelsOf(topic: string): readonly Level[] {
  return topic.split('/').map((level): Level => {
    if (level === '+') return { kind: 'any', text: '' }
    if (level === '#') return { kind: 'rest', text: '' }
    const [, name, dots] = /^\{([^{}]*?)(\.\.\.)?\}$/.exec(level) ?? []
    if (name === undefined) return { kind: 'text', text: level }
    return { kind: dots ? 'namedRest' : 'name', text: name }
  })
}

export function topicOf(levels: readonly Level[]): string {
  return levels
    .map(({ kind, text }) => {
      if (kind === 'any' || (kind === 'name' && text === '')) return '+'
      if (kind === 'rest' || (kind === 'namedRest' && text === '')) return '#'
      return kind === 'text' ? text : kind === 'name' ? `{${text}}` : `{${text}...}`
    })
    .join('/')
}

/** Returns the topic filter of a rule, in which names are wildcards. */
export function filterOf(topic: string): string {
  return topicOf(levelsOf(topic).map(({ kind, text }) => ({ kind, text: kind === 'text' ? text : '' })))
}

/** Returns the names of levels. */
export function namesOf(rule: Rule): readonly string[] {
  return levelsOf(textOf(rule, 'topic'))
    .filter(({ kind, text }) => (kind === 'name' || kind === 'namedRest') && text !== '')
    .map(({ text }) => text)
}

export function textOf(rule: Rule, key: string): string {
  const value = rule[key]
  return typeof value === 'string' ? value : ''
}

/** Returns the rule with another value of a key; `undefined` and empty texts and maps take it out. */
export function withKey(rule: Rule, key: string, value: unknown): Rule {
  const isEmpty =
    value === undefined ||
    value === '' ||
    value === false ||
    (typeof value === 'object' && value !== null && Object.keys(value).length === 0)
  const entries = Object.entries(rule).filter(([name]) => name !== key)
  if (isEmpty) return Object.fromEntries(entries)
  if (Object.hasOwn(rule, key)) return { ...rule, [key]: value }
  return { ...rule, [key]: value }
}

/** Returns the rule with other levels: names that are gone leave the measurement and the tags, renamed ones follow. */
export function withLevels(rule: Rule, levels: readonly Level[]): Rule {
  const before = levelsOf(textOf(rule, 'topic'))
  const named = ({ kind }: Level) => kind === 'name' || kind === 'namedRest'
  let measurement = textOf(rule, 'measurement')
  let tags = listOf(rule, 'tags')
  for (const [i, level] of before.entries()) {
    const now = levels[i]
    if (!named(level) || level.text === '' || (now && named(now) && now.text === level.text)) continue
    const isRenamed = now && named(now) && now.text !== ''
    measurement = measurement.replaceAll(`{${level.text}}`, isRenamed ? `{${now.text}}` : '')
    tags = tags?.flatMap(tag => (tag === level.text ? (isRenamed ? [now.text] : []) : [tag]))
  }
  const topic = { ...rule, topic: topicOf(levels) }
  const measured = measurement === '' ? topic : { ...topic, measurement }
  return tags === undefined ? measured : { ...measured, tags }
}

function listOf(rule: Rule, key: string): readonly string[] | undefined {
  const value = rule[key]
  return Array.isArray(value) ? value.filter(one => typeof one === 'string') : undefined
}

function mapOf(rule: Rule, key: string): Readonly<Record<string, string>> {
  const value = rule[key]
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, string>) : {}
}

/** Names of levels that become tags. */
export function tagsOf(rule: Rule): readonly string[] {
  return listOf(rule, 'tags')?.filter(tag => !tag.startsWith(fieldTag)) ?? namesOf(rule)
}

/** Returns the rule with a level as tag, or without. */
export function withTag(rule: Rule, name: string, isTag: boolean): Rule {
  const fields = listOf(rule, 'tags')?.filter(tag => tag.startsWith(fieldTag)) ?? []
  const names = namesOf(rule).filter(one => (one === name ? isTag : tagsOf(rule).includes(one)))
  // All names are the default.
  if (names.length === namesOf(rule).length && fields.length === 0) return withKey(rule, 'tags', undefined)
  return { ...rule, tags: [...names, ...fields] }
}

const fieldTag = 'payload.'

/** The part of a rule about one field of the payload. */
export interface FieldPlan {
  readonly isKept: boolean
  /** Name under which it is stored. */
  readonly name: string
  /** Empty: as it comes. */
  readonly type: '' | 'number' | 'boolean' | 'text' | 'tag'
  readonly unit: string
}

export function planOf(rule: Rule, field: string): FieldPlan {
  const fields = mapOf(rule, 'fields')
  const name = Object.hasOwn(fields, field) ? (fields[field] as string) : field
  const types = mapOf(rule, 'types')
  const isTag = listOf(rule, 'tags')?.includes(fieldTag + field) === true
  const type = isTag
    ? 'tag'
    : ((Object.entries(types).find(([one]) => fits(one, field))?.[1] ?? '') as FieldPlan['type'])
  return { isKept: isTag || isKept(rule, field), name, type, unit: mapOf(rule, 'units')[name] ?? '' }
}

function isKept(rule: Rule, field: string): boolean {
  const [keep, drop] = [listOf(rule, 'keep'), listOf(rule, 'drop')]
  if (drop?.some(one => fits(one, field)) || (keep && !keep.some(one => fits(one, field)))) return false
  return rule.fields === undefined || Object.hasOwn(mapOf(rule, 'fields'), field)
}

/** Whether a name is what a pattern says, in which `*` is any text. */
function fits(pattern: string, name: string): boolean {
  const parts = pattern.split('*').map(part => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  return new RegExp(`^${parts.join('.*')}$`, 's').test(name)
}

/** Returns the rule that keeps a field, or leaves it out. */
export function withKept(rule: Rule, field: string, isOn: boolean): Rule {
  if (rule.fields !== undefined) {
    const { [field]: _, ...others } = mapOf(rule, 'fields')
    const fields = isOn ? { ...mapOf(rule, 'fields'), [field]: field } : others
    return withoutDrop({ ...rule, fields }, field, isOn)
  }
  if (!isOn) return { ...rule, drop: [...(listOf(rule, 'drop') ?? []), field] }
  const keep = listOf(rule, 'keep')
  const kept = keep && !keep.some(one => fits(one, field)) ? { ...rule, keep: [...keep, field] } : rule
  return withoutDrop(kept, field, true)
}

function withoutDrop(rule: Rule, field: string, isOn: boolean): Rule {
  const drop = listOf(rule, 'drop')
  return isOn && drop
    ? withKey(
        rule,
        'drop',
        drop.filter(one => !fits(one, field)),
      )
    : rule
}

/** Returns the rule with another name for a field. `all`: the fields that are known. */
export function withName(rule: Rule, field: string, name: string, all: readonly string[]): Rule {
  const before = planOf(rule, field).name
  const kept = all.filter(one => planOf(rule, one).isKept && planOf(rule, one).type !== 'tag')
  const given = rule.fields === undefined ? Object.fromEntries(kept.map(one => [one, one])) : mapOf(rule, 'fields')
  const fields = { ...given, [field]: name === '' ? field : name }
  const isPlain =
    Object.entries(fields).every(([one, own]) => one === own) && all.every(one => Object.hasOwn(fields, one))
  const { [before]: unit, ...units } = mapOf(rule, 'units')
  const moved = unit === undefined ? rule : { ...rule, units: { ...units, [fields[field] as string]: unit } }
  return isPlain ? withKey(moved, 'fields', undefined) : { ...moved, fields }
}

export function withType(rule: Rule, field: string, type: FieldPlan['type']): Rule {
  const types = Object.fromEntries(Object.entries(mapOf(rule, 'types')).filter(([one]) => !fits(one, field)))
  const plain = withKey(rule, 'types', type === '' || type === 'tag' ? types : { ...types, [field]: type })
  const tags = [...tagsOf(rule), ...(listOf(rule, 'tags') ?? []).filter(tag => tag.startsWith(fieldTag))]
  const others = tags.filter(tag => tag !== fieldTag + field)
  if (type === 'tag') return { ...plain, tags: [...others, fieldTag + field] }
  if (others.length === tags.length) return plain
  const isDefault = others.length === namesOf(rule).length && others.every(tag => namesOf(rule).includes(tag))
  return isDefault ? withKey(plain, 'tags', undefined) : { ...plain, tags: others }
}

export function withUnit(rule: Rule, field: string, unit: string): Rule {
  const { name } = planOf(rule, field)
  const { [name]: _, ...others } = mapOf(rule, 'units')
  return withKey(rule, 'units', unit === '' ? others : { ...others, [name]: unit })
}

/** Keys that the form has controls for. */
const inForm: readonly string[] = [
  ...['topic', 'measurement', 'ignore', 'tags', 'fields', 'keep', 'drop', 'types', 'units', 'decoder', 'decimalComma'],
  ...['every', 'onChange'],
]

/** Returns the other keys of a rule, which the form leaves as they are. */
export function othersOf(rule: Rule): readonly string[] {
  return Object.keys(rule).filter(key => !inForm.includes(key))
}

/** Returns a name for a level that a person makes any. */
export function nameFor(level: string, taken: readonly string[]): string {
  const stem = /^[A-Za-z]+/.exec(level)?.[0].toLowerCase() ?? ''
  const base = /\d/.test(level) && stem.length > 1 ? stem : 'name'
  let name = base
  for (let n = 2; taken.includes(name); n++) name = `${base}${n}`
  return name
}
