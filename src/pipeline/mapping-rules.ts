import { fieldTagsOf, isFieldTag, keptFields, type MappingRule, microsOf, type PlacedRule } from '../config/settings.js'
import { HubError } from '../errors.js'
import type { Tags } from '../model.js'
import { parsePattern, type TopicPattern } from '../topics.js'
import type { RuleDecoder } from './decoders/rule-decoders.js'
import { FieldPlans } from './field-plans.js'
import { compileNames } from './presets/pattern.js'
import type { ThinningRule } from './thinning.js'

/*
 * The rules of the setting `mapping`, prepared: which topics a rule takes, and from which topics a rule makes a series.
 */

export interface CompiledRule extends PlacedRule {
  readonly pattern: TopicPattern
  /** Beginning of every topic that matches. */
  readonly prefix: string
  readonly tagNames: ReadonlySet<string>
  /** The measurement, split: texts, and between two texts the name of a level. */
  readonly parts: readonly string[]
  /** Matches the measurements that this rule makes. */
  readonly made: RegExp
  /** Undefined when all fields are stored as they are. */
  readonly plans: FieldPlans | undefined
  /** Fields of the payload that become tags. */
  readonly tagFields: ReadonlySet<string> | undefined
  readonly textFields: ((field: string) => boolean) | undefined
  readonly thinning: ThinningRule | undefined
  /** Made of the files that the rule names. */
  readonly ownDecoder?: RuleDecoder | undefined
}

/** Measurement of a topic whose name for it is empty. */
export const fallbackMeasurement = 'mqtt'

export function compileRule(rule: PlacedRule): CompiledRule {
  const pattern = parsePattern(rule.topic)
  if (typeof pattern === 'string') throw new HubError('bad_settings', pattern)
  const measurement = rule.measurement ?? ''
  const parts = measurement.split(/\{(.*?)\}/)
  const made = new RegExp(`^${parts.map((part, i) => (i % 2 === 0 ? escapeRegExp(part) : '.*')).join('')}$`, 's')
  const prefix = (/^[^+#]*/.exec(pattern.filter)?.[0] ?? '').replace(/\/$/, '')
  const { fields, drop, types } = rule
  const plans = new FieldPlans({ fields, keep: keptFields(rule), drop, types })
  const tagFields = fieldTagsOf(rule)
  return {
    ...rule,
    measurement,
    ...{ pattern, prefix, parts, made },
    tagFields: tagFields.length > 0 ? new Set(tagFields) : undefined,
    tagNames: new Set(rule.tags?.filter(tag => !isFieldTag(tag)) ?? pattern.names),
    plans: plans.isIdentity && tagFields.length === 0 ? undefined : plans,
    textFields: textFieldsOf(rule),
    thinning: thinningOf(rule),
  }
}

/** Returns whether a rule makes a field a text, so that its digits stay as they were sent. */
function textFieldsOf({ types = {} }: MappingRule): ((field: string) => boolean) | undefined {
  const texts = Object.keys(types).filter(field => types[field] === 'text')
  return texts.length > 0 ? compileNames(texts) : undefined
}

function thinningOf({ onChange, deadband, every }: MappingRule): ThinningRule | undefined {
  if (!onChange && deadband === undefined && every === undefined) return undefined
  const heartbeat = typeof onChange === 'object' ? microsOf(onChange.heartbeat) : undefined
  return {
    onChange: onChange ? { heartbeat } : undefined,
    deadband: typeof deadband === 'number' ? { '*': deadband } : deadband,
    every: every === undefined ? undefined : microsOf(every),
  }
}

/** Returns measurement and tags that a rule makes of a topic. Undefined when the rule does not match. */
export function placeByRule(rule: CompiledRule, topic: string): { measurement: string; tags: Tags } | undefined {
  const levels = topic.startsWith(rule.prefix) ? rule.pattern.match(topic) : undefined
  if (!levels) return undefined
  const named = new Map(levels)
  const measurement = rule.measurement.replace(/\{(.*?)\}/g, (_, name: string) => named.get(name) ?? '')
  const tags = levels.filter(([name, level]) => rule.tagNames.has(name) && level.length > 0).sort(byName)
  return { measurement: measurement || fallbackMeasurement, tags }
}

export function byName(a: readonly [string, unknown], b: readonly [string, unknown]): number {
  return a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}

const none: readonly never[] = []

/** Returns the sources that one rule makes; of any field when none is given. */
export function sourcesByRule(
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
