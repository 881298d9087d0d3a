/** How rules are said in words. */

import { en as editWords } from '../edit/en.js'
import { say as sayEdit } from '../edit/words.js'
import { en, type TextKey } from '../texts/en.js'
import { say as sayCommon } from '../texts/language.js'
import { nameText } from '../wording.js'
import { type Definition, type Kind, kindOf, rateOf, selectorKeys, seriesName } from './definition.js'
import type { AlertsKey } from './en.js'
import { durationText, numberText } from './when.js'
import { say } from './words.js'

/** Returns the word for a class or a field where there is one, else the name as it is. */
export function quantityName(name: string): string {
  const key = `name.${name}`
  return Object.hasOwn(en, key) ? sayCommon(key as TextKey) : nameText(name)
}

/** Returns the word for an icon where there is one, else its name. */
export function iconName(icon: string): string {
  const key = `icon.${icon}`
  return Object.hasOwn(editWords, key) ? sayEdit(key as keyof typeof editWords) : nameText(icon)
}

function listOf(given: unknown): readonly string[] {
  return (Array.isArray(given) ? given : given === undefined ? [] : [given]).map(String)
}

function orText(names: readonly string[]): string {
  const shown = names.slice(0, 4)
  const rest = names.length - shown.length
  if (rest > 0) shown.push(say('what.more', { count: rest }))
  return shown.join(` ${say('or')} `)
}

function tagsOf({ tags }: Definition): readonly (readonly [string, readonly string[]])[] {
  if (typeof tags !== 'object' || tags === null) return []
  return Object.entries(tags).map(([name, value]) => [name, listOf(value)])
}

/** Names of the value and the device where a rule is about exactly one, as the catalogue has them. */
export interface OneName {
  readonly value: string
  readonly device: string
}

/** Returns what a rule watches, in words: the temperature of the freezer, any contact of room kitchen. */
export function whatText(rule: Definition, one?: OneName): string {
  const kind = kindOf(rule)
  const devices = listOf(rule.device).map(nameText)
  if (kind === 'hub') return say('what.hub')
  if (kind === 'device-silent' || kind === 'offline')
    return devices.length === 0 ? say('what.any-device') : orText(devices)
  if (one) return say('what.of', { value: nameText(one.value), device: nameText(one.device) })
  if (selectorKeys.every(key => rule[key] === undefined)) return say('what.everything')
  const fields = [...listOf(rule.class), ...listOf(rule.field)].map(quantityName)
  const value = fields.length > 0 ? orText(fields) : say('what.any-value')
  const tags = tagsOf(rule).map(([name, values]) => `${nameText(name)} ${orText(values.map(nameText))}`)
  const measurement = listOf(rule.measurement).map(nameText)
  const areas = listOf(rule.area).map(nameText)
  const icons = listOf(rule.icon).map(iconName)
  const of = [
    ...(devices.length > 0 ? [orText(devices)] : []),
    ...(icons.length > 0 ? [say('what.icon', { icon: orText(icons) })] : []),
    ...(areas.length > 0 ? [say('what.area', { area: orText(areas) })] : []),
    ...tags,
  ]
  if (of.length === 0 && measurement.length > 0) of.push(orText(measurement))
  return say('what.of', { value, device: of.length > 0 ? of.join(', ') : say('what.any-device') })
}

/** Returns the value with which a rule compares, in words. */
export function otherText(minus: unknown): string {
  if (typeof minus !== 'object' || minus === null) return ''
  const { measurement, field, tags = {} } = minus as { measurement?: string; field?: string; tags?: object }
  const named = [field === undefined ? '' : quantityName(field), measurement ?? '', ...Object.values(tags).map(String)]
  return named
    .filter(name => name !== '')
    .map(nameText)
    .join(' · ')
}

export function valueText(value: unknown): string {
  const text = String(value)
  const isPlain = typeof value !== 'string' || !(/^(true|false|-?\d.*)?$/.test(text) || text.includes(','))
  return isPlain ? text : JSON.stringify(value)
}

/** Reads values with commas between: `open, true, 5, "true"`. Undefined when there is none, or quotes do not match. */
export function valuesOf(text: string): readonly (string | number | boolean)[] | undefined {
  const parts = text.match(/\s*("(?:[^"\\]|\\.)*"|[^,]*)\s*(?:,|$)/g) ?? []
  const found: (string | number | boolean)[] = []
  for (const part of parts) {
    const one = part.replace(/,$/, '').trim()
    if (one === '') continue
    if (one.startsWith('"')) {
      try {
        found.push(String(JSON.parse(one)))
      } catch {
        return undefined
      }
    } else if (one === 'true' || one === 'false') found.push(one === 'true')
    else found.push(/^-?\d+(\.\d+)?$/.test(one) ? Number(one) : one)
  }
  return found.length > 0 ? found : undefined
}

/** Returns the values of an `equals` or `not` with commas between. */
export function valuesText(given: unknown): string {
  return (Array.isArray(given) ? given : [given]).map(valueText).join(', ')
}

function limitText(given: unknown, unit: string): string {
  return typeof given === 'number' ? `${numberText(given)}${unit === '' ? '' : ` ${unit}`}` : '?'
}

/** Returns the template of a condition. */
export function templateOf(kind: Kind, rule: Definition): AlertsKey {
  const isDifference = rule.minus !== undefined && (kind === 'above' || kind === 'below' || kind === 'outside')
  return isDifference ? `rule.${kind}.minus` : `rule.${kind}`
}

/** Returns a rule as one text. */
export function ruleText(rule: Definition, one?: OneName, unit = ''): string {
  const kind = kindOf(rule)
  if (!kind) return say('rule.none')
  const { above, below, per = '1m', over } = rateOf(rule)
  const texts: Readonly<Record<string, string>> = {
    what: whatText(rule, one),
    kind: say(`kind.${kind}`),
    above: limitText(rule.above, unit),
    below: limitText(rule.below, unit),
    other: otherText(rule.minus),
    rise: limitText(above, unit),
    fall: limitText(below === undefined ? undefined : -below, unit),
    per: durationText(per),
    over: over === undefined ? say('over.reading') : durationText(over),
    values: valuesText(rule.equals ?? rule.not).replaceAll(', ', ` ${say('or')} `),
    silent: durationText(rule.silent),
    offline: durationText(rule.offline),
    times: String(rule.unusual === true ? 6 : rule.unusual),
    hub: kind === 'hub' ? hubText(rule) : '',
  }
  const parts = [say(templateOf(kind, rule), texts)]
  if (rule.for !== undefined) parts.push(say('rule.for', { for: durationText(rule.for) }))
  if (typeof rule.hysteresis === 'number' && rule.hysteresis > 0)
    parts.push(say('rule.back', { hysteresis: limitText(rule.hysteresis, unit) }))
  if (rule.when !== undefined) parts.push(say('rule.when', { when: listOf(rule.when).join(` ${say('or')} `) }))
  const held = (Array.isArray(rule.unless) ? rule.unless : rule.unless === undefined ? [] : [rule.unless]).map(other =>
    typeof other === 'object' && other !== null ? String((other as { rule?: unknown }).rule) : String(other),
  )
  if (held.length > 0) parts.push(say('rule.unless', { rules: orText(held.map(nameText)) }))
  const told = listOf(rule.notify)
  if (told.length > 0) parts.push(say('rule.notify', { targets: told.map(nameText).join(', ') }))
  return parts.join(' ')
}

/** Returns a condition of the hub in words. */
export function hubText({ hub, above }: Definition): string {
  const key = `hub.${String(hub)}`
  const word = Object.hasOwn(hubWords, key) ? say(hubWords[key as keyof typeof hubWords]) : nameText(String(hub))
  return typeof above === 'number' && above > 0 ? `${word} > ${numberText(above)}` : word
}

const hubWords = {
  'hub.residual': 'hub.residual',
  'hub.dead': 'hub.dead',
  'hub.clocks': 'hub.clocks',
  'hub.disk': 'hub.disk',
  'hub.spool': 'hub.spool',
  'hub.full': 'hub.full',
  'hub.certificate': 'hub.certificate',
  'hub.series': 'hub.series',
  'hub.store': 'hub.store',
  'hub.processor': 'hub.processor',
  'hub.client_fight': 'hub.client_fight',
  'hub.audit': 'hub.audit',
  'hub.alerts': 'hub.alerts',
  'hub.any': 'hub.any',
} as const satisfies Record<string, AlertsKey>

/** Returns the key of the series that a rule is about, if its names can mean one only. */
export function exactOf(rule: Definition): boolean {
  const { measurement, field, tags } = rule
  const isExact = (one: unknown) => typeof one === 'string' && !one.includes('*')
  if (
    !isExact(measurement) ||
    !isExact(field) ||
    [rule.device, rule.class, rule.area, rule.icon].some(one => one !== undefined)
  )
    return false
  return typeof tags === 'object' && tags !== null && Object.values(tags).every(isExact)
}

/** Returns the field that a key of a series ends with. */
export function fieldOf(series: string): string {
  return seriesName(series)?.field ?? series
}
