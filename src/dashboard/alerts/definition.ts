/** Rules as the API takes them, and the changes that the editor makes. Pure functions; nothing of a rule is lost. */

import type { Answer } from '../../contract/contract.js'

export type Severity = Answer<'GET /api/alerts'>['alerts'][number]['severity']
/** A rule as in the file. Keys that the editor has no control for stay as they are. */
export type Definition = Readonly<Record<string, unknown>>

/** Conditions as the sentence names them. */
export const kinds = [
  ...['above', 'below', 'outside', 'rises', 'falls', 'changes', 'equals', 'not'],
  ...['silent', 'silent-usual', 'unusual', 'device-silent', 'offline', 'hub'],
] as const
export type Kind = (typeof kinds)[number]

export const severities = ['info', 'warning', 'critical'] as const

const conditionKeys = ['above', 'below', 'rate', 'silent', 'offline', 'equals', 'not', 'unusual', 'hub']
const helperKeys = ['hysteresis', 'minus', 'of']
export const selectorKeys = ['measurement', 'field', 'device', 'class', 'area', 'icon', 'tags'] as const
/** Selectors of values, which rules about devices do not have. */
const valueKeys = selectorKeys.filter(key => key !== 'device')

export const hubConditions = [
  ...['residual', 'dead', 'clocks', 'disk', 'spool', 'full', 'certificate', 'series'],
  ...['processor', 'client_fight', 'audit', 'alerts', 'store', 'any'],
] as const
/** Conditions of the hub that are numbers, and so have a limit. */
export const hubCounts: readonly string[] = ['residual', 'dead', 'clocks']

/** A change of a value within a time. */
export interface Rate {
  readonly above?: number
  readonly below?: number
  readonly per?: string
  readonly over?: string
}

export function rateOf({ rate }: Definition): Rate {
  return typeof rate === 'object' && rate !== null ? (rate as Rate) : {}
}

/** Returns the condition of a rule. Undefined: there is none. */
export function kindOf(rule: Definition): Kind | undefined {
  if (rule.hub !== undefined) return 'hub'
  if (rule.rate !== undefined) {
    const { above, below } = rateOf(rule)
    return below === undefined ? 'rises' : above === undefined ? 'falls' : 'changes'
  }
  if (rule.silent !== undefined) {
    if (rule.of === 'device') return 'device-silent'
    return rule.silent === 'usual' ? 'silent-usual' : 'silent'
  }
  for (const kind of ['offline', 'equals', 'not', 'unusual'] as const) if (rule[kind] !== undefined) return kind
  if (rule.above !== undefined) return rule.below === undefined ? 'above' : 'outside'
  return rule.below === undefined ? undefined : 'below'
}

/** Whether a rule is about clients and not about values. */
export function isAboutDevices(kind: Kind | undefined): boolean {
  return kind === 'device-silent' || kind === 'offline'
}

/** Whether the condition compares with limits that can be drawn. */
export function hasLimits(kind: Kind | undefined): boolean {
  return kind === 'above' || kind === 'below' || kind === 'outside'
}

/** Whether a rule can be tried on the past: the store has readings only. */
export function isTestable(kind: Kind | undefined): boolean {
  return kind !== undefined && kind !== 'hub' && !isAboutDevices(kind)
}

function without(rule: Definition, keys: readonly string[]): Definition {
  return Object.fromEntries(Object.entries(rule).filter(([key]) => !keys.includes(key)))
}

/** Returns the rule with other values; undefined takes a key out. */
export function withKeys(rule: Definition, change: Definition): Definition {
  return Object.fromEntries(Object.entries({ ...rule, ...change }).filter(([, value]) => value !== undefined))
}

/** Returns the rule with another condition, which begins with what of the one before fits. */
export function withKind(rule: Definition, kind: Kind, now?: number | boolean | string): Definition {
  const { above, below, for: lasts } = rule
  const number = [above, below, typeof now === 'number' ? now : undefined].find(one => typeof one === 'number') ?? 0
  const rest = without(rule, [...conditionKeys, ...helperKeys])
  const kept = { minus: rule.minus, hysteresis: rule.hysteresis }
  const steps = (name: 'above' | 'below', sign: 1 | -1) => ({ rate: { [name]: sign, per: '1m', over: '10m' } })
  switch (kind) {
    case 'above':
    case 'below':
      return withKeys(rest, { [kind]: number, ...kept })
    case 'outside': {
      const low = typeof below === 'number' ? below : number - 1
      const high = typeof above === 'number' && above > low ? above : Math.max(number, low) + 1
      return withKeys(rest, { above: high, below: low, ...kept })
    }
    case 'rises':
      return { ...rest, ...steps('above', 1) }
    case 'falls':
      return { ...rest, ...steps('below', -1) }
    case 'changes':
      return { ...rest, rate: { above: 1, below: -1, per: '1m', over: '10m' } }
    case 'equals':
    case 'not':
      return { ...rest, [kind]: rule.equals ?? rule.not ?? now ?? true }
    case 'silent':
      return { ...rest, silent: '1h' }
    case 'silent-usual':
      return { ...rest, silent: 'usual' }
    case 'unusual':
      return { ...rest, unusual: 6, for: lasts ?? '10m' }
    case 'device-silent':
      return { ...without(rest, valueKeys), silent: '1h', of: 'device' }
    case 'offline':
      return { ...without(rest, valueKeys), offline: '2m' }
    case 'hub':
      return { ...without(rest, selectorKeys), hub: 'any' }
  }
}

/** A series, as its key names it. */
export interface SeriesName {
  readonly measurement: string
  readonly tags: Readonly<Record<string, string>>
  readonly field: string
}

/** Reads the key of a series: names escaped by backslashes, `measurement,tag=value field`. Undefined for another text. */
export function seriesName(key: string): SeriesName | undefined {
  const parts: string[] = ['']
  const marks: string[] = []
  for (let i = 0; i < key.length; i++) {
    const char = key[i] as string
    if (char === '\\') parts[parts.length - 1] += key[++i] ?? ''
    else if (char === ',' || char === '=' || char === ' ') {
      marks.push(char)
      parts.push('')
    } else parts[parts.length - 1] += char
  }
  if (marks.at(-1) !== ' ') return undefined
  const [measurement = '', ...rest] = parts
  const field = rest.pop() ?? ''
  const tags: Record<string, string> = {}
  for (let i = 0; i + 1 < rest.length; i += 2) tags[rest[i] as string] = rest[i + 1] as string
  return { measurement, tags, field }
}

/** Returns the rule about exactly one series. A rule cannot say that there are no other tags, which is rarely the case. */
export function aboutSeries(rule: Definition, { measurement, tags, field }: SeriesName): Definition {
  const hasTags = Object.keys(tags).length > 0
  // A star in a name would be any text, which takes in the name itself.
  return withKeys(without(rule, selectorKeys), { measurement, field, tags: hasTags ? { ...tags } : undefined })
}

/** Returns what differs between two series, for a comparison of one with the other. */
export function differenceOf(from: SeriesName | undefined, to: SeriesName): Definition {
  if (!from) return { measurement: to.measurement, field: to.field, ...(hasAny(to.tags) && { tags: to.tags }) }
  const names = new Set([...Object.keys(from.tags), ...Object.keys(to.tags)])
  const tags = Object.fromEntries(
    [...names].filter(name => from.tags[name] !== to.tags[name]).map(name => [name, to.tags[name] ?? '']),
  )
  return withKeys(
    {},
    {
      measurement: from.measurement === to.measurement ? undefined : to.measurement,
      field: from.field === to.field ? undefined : to.field,
      tags: hasAny(tags) ? tags : undefined,
    },
  )
}

function hasAny(tags: Readonly<Record<string, string>>): boolean {
  return Object.keys(tags).length > 0
}

/** Returns the series with which a series is compared. */
export function comparedWith(from: SeriesName, minus: unknown): SeriesName {
  const {
    measurement,
    field,
    tags = {},
  } = (typeof minus === 'object' && minus !== null ? minus : {}) as Partial<SeriesName>
  const all = Object.entries({ ...from.tags, ...tags }).filter(([, value]) => value !== '')
  return { measurement: measurement ?? from.measurement, field: field ?? from.field, tags: Object.fromEntries(all) }
}

/** Writes the key of a series, tags in the order of their names. */
export function keyOfSeries({ measurement, tags, field }: SeriesName): string {
  const escaped = (text: string) => text.replace(/[\\,= ]/g, '\\$&')
  const sorted = Object.entries(tags).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  const named = sorted.map(pair => pair.map(escaped).join('='))
  return `${[escaped(measurement), ...named].join(',')} ${escaped(field)}`
}

/** A time such as `10m`, in a number and its unit. */
export interface Duration {
  readonly count: number
  readonly unit: 's' | 'm' | 'h' | 'd'
}

const unitMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** Reads a time. Undefined for another text. */
export function durationOf(text: unknown): Duration | undefined {
  const found = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)$/.exec(typeof text === 'string' ? text.trim() : '')
  if (!found) return undefined
  const [count, unit] = [Number(found[1]), found[2] as keyof typeof unitMs]
  return unit === 'ms' ? { count: count / 1_000, unit: 's' } : { count, unit }
}

export function millisecondsOf({ count, unit }: Duration): number {
  return count * unitMs[unit]
}

/** Proposes a name for a rule, of small letters, that no other has. */
export function nameFor(parts: readonly string[], taken: ReadonlySet<string>): string {
  const plain = parts
    .join(' ')
    .normalize('NFKD')
    .replace(/\p{M}/gu, '')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 80)
  const name = plain || 'rule'
  for (let n = 1; ; n++) {
    const wanted = n === 1 ? name : `${name}-${n}`
    if (!taken.has(wanted)) return wanted
  }
}
