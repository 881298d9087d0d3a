import { duration } from '../config/settings.js'
import type { FieldValue } from '../model.js'
import { nearest } from '../runtime/nearest.js'
import { allowedWeekSpans, parseWeekSpan, type WeekSpan } from '../runtime/week-time.js'
import {
  type AlertRule,
  type ConditionRule,
  type HeldBy,
  type NamePatterns,
  type OtherSeries,
  patternOf,
  type Selector,
} from './rule.js'
import { orderedRules } from './rule-order.js'
import { severities } from './transition.js'

/** A mistake in a rule, and where: the names on the way to the value. */
export interface RuleMistake {
  readonly path: readonly (string | number)[]
  readonly sentence: string
}

const selectorKeys = ['measurement', 'field', 'tags', 'device', 'class', 'area', 'icon'] as const
const conditionKeys = ['above', 'below', 'rate', 'silent', 'offline', 'equals', 'not', 'unusual', 'hub'] as const
const helperKeys = ['hysteresis', 'minus', 'of'] as const
const otherKeys = ['about', 'severity', 'for', 'late', 'when', 'unless', 'notify', 'mute', 'enabled'] as const
const ruleKeys: readonly string[] = [...selectorKeys, ...conditionKeys, ...helperKeys, ...otherKeys]

/** Conditions of the hub itself. All but the first three are alarms, by their names. */
export const hubConditions = [
  ...['residual', 'dead', 'clocks'],
  ...['disk', 'spool', 'full', 'certificate', 'series', 'processor', 'client_fight', 'audit', 'alerts', 'store', 'any'],
] as const

/** Most characters of the name of a rule, which is a level of a topic. */
const maxName = 100
/** Most patterns, values, spans or other rules in one list. */
const maxList = 1_000
const maxTargets = 20
const defaultLate = 5e6
/** Longest duration: a year. */
const longest = 366 * 864e8

type GivenRule = Readonly<Record<string, unknown>>

/** Reads rules as they were written, and collects all mistakes instead of stopping at the first. */
export class RuleReader {
  readonly mistakes: RuleMistake[] = []

  /** Reads the rules by name, and what they say of each other. A rule with a mistake is left out. */
  readAll(given: unknown, path: readonly string[] = ['rules']): AlertRule[] {
    if (given === undefined || given === null) return []
    if (!isMap(given)) {
      this.#mistake(path, 'allowed are rules by name, as in "freezer-warm: {field: temperature, above: -15}"')
      return []
    }
    const rules = Object.entries(given).flatMap(([name, rule]) => this.read(name, rule, [...path, name]) ?? [])
    return this.ordered(rules, path)
  }

  /** Returns the rule. Undefined when there is a mistake in it. */
  read(name: string, given: unknown, path: readonly (string | number)[] = [name]): AlertRule | undefined {
    const before = this.mistakes.length
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what a name must not have
    if (name === '' || name.length > maxName || /[\u0000-\u001f\u007f/+#]/.test(name)) {
      this.#mistake(path, `a name has 1 to ${maxName} characters, and none of / + #`)
    }
    if (!isMap(given)) {
      this.#mistake(path, `given ${show(given)}, allowed is a rule such as {field: temperature, above: -15, for: 10m}`)
      return undefined
    }
    for (const key of Object.keys(given)) {
      if (ruleKeys.includes(key)) continue
      const meant = this.mistakes.length < 200 ? nearest(key, ruleKeys) : undefined
      this.#mistake([...path, key], `there is no ${show(key)}${meant ? `; did you mean ${meant}?` : ''}`)
    }
    const condition = this.#condition(given, path)
    if (condition && !isOfValues(condition)) {
      for (const key of ['area', 'icon'])
        if (given[key] !== undefined) this.#mistake([...path, key], `${key} belongs to rules about values`)
    }
    const rule = {
      name,
      about: this.#text(given, 'about', path),
      severity: this.#word(given, 'severity', severities, path) ?? 'warning',
      select: this.#selector(given, path),
      condition,
      for: this.#duration(given, 'for', path) ?? 0,
      late: this.#duration(given, 'late', path) ?? defaultLate,
      when: this.#schedule(given.when, [...path, 'when']),
      unless: this.#unless(given.unless, [...path, 'unless']),
      notify: this.#targets(given.notify, [...path, 'notify']),
      isMuted: this.#flag(given, 'mute', path),
      isEnabled: given.enabled === undefined || this.#flag(given, 'enabled', path),
      depth: 0,
      text: this.#wholeText(name, given, path),
    }
    return this.mistakes.length > before || !condition ? undefined : { ...rule, condition }
  }

  /** Reads what selects series, outside of a rule: by all that does not need the screen. */
  selector(given: unknown): Selector {
    const map = isMap(given) ? given : {}
    if (!isMap(given)) this.#mistake([], `given ${show(given)}, allowed is such as {field: temperature}`)
    this.#known(map, ['measurement', 'field', 'tags', 'device', 'class'], [])
    return this.#selector(map, [])
  }

  /** Checks what rules say of each other, and returns them with their depths. */
  ordered(rules: readonly AlertRule[], path: readonly string[] = ['rules']): AlertRule[] {
    const { rules: ordered, mistakes } = orderedRules(rules)
    for (const { rule, sentence } of mistakes) this.#mistake([...path, rule, 'unless'], sentence)
    return ordered
  }

  #condition(given: GivenRule, path: readonly (string | number)[]): ConditionRule | undefined {
    const kinds = conditionKeys.filter(key => given[key] !== undefined)
    const isRange = kinds.length > 0 && kinds.every(key => key === 'above' || key === 'below')
    const isHub = given.hub !== undefined && kinds.every(key => key === 'above' || key === 'hub')
    if (kinds.length === 0 || (kinds.length > 1 && !isRange && !isHub)) {
      const said = kinds.length === 0 ? 'the rule has no condition' : `given ${kinds.join(' and ')}`
      this.#mistake(path, `${said}; allowed is one of ${conditionKeys.join(', ')} (above and below also together)`)
      return undefined
    }
    if (!isRange) {
      for (const key of ['hysteresis', 'minus'])
        if (given[key] !== undefined) this.#mistake([...path, key], `${key} belongs to above or below`)
    }
    if (given.of !== undefined && kinds[0] !== 'silent') this.#mistake([...path, 'of'], 'of belongs to silent')
    if (isHub) {
      const what = this.#word(given, 'hub', hubConditions, path)
      return what && { kind: 'hub', what, above: this.#number(given, 'above', path) ?? 0 }
    }
    if (isRange) return this.#range(given, path)
    switch (kinds[0]) {
      case 'rate':
        return this.#rate(given.rate, [...path, 'rate'])
      case 'silent': {
        const after = given.silent === 'usual' ? undefined : this.#duration(given, 'silent', path, ', or usual')
        return { kind: 'silent', of: this.#word(given, 'of', ['value', 'device'], path) ?? 'value', after }
      }
      case 'offline':
        return { kind: 'offline', after: this.#duration(given, 'offline', path) ?? 0 }
      case 'unusual': {
        const times = given.unusual === true ? 6 : this.#number(given, 'unusual', path)
        if (times !== undefined && times < 1) this.#mistake([...path, 'unusual'], 'allowed is a number from 1')
        return { kind: 'unusual', times: times ?? 6 }
      }
      default: {
        const key = given.equals === undefined ? 'not' : 'equals'
        return { kind: 'equals', values: this.#values(given[key], [...path, key]), isNegated: key === 'not' }
      }
    }
  }

  #range(given: GivenRule, path: readonly (string | number)[]): ConditionRule {
    const above = this.#number(given, 'above', path)
    const below = this.#number(given, 'below', path)
    const hysteresis = this.#number(given, 'hysteresis', path) ?? 0
    if (hysteresis < 0) this.#mistake([...path, 'hysteresis'], `given ${hysteresis}, allowed is a number from 0`)
    if (above !== undefined && below !== undefined && below >= above)
      this.#mistake(
        [...path, 'below'],
        `given ${below}, allowed is less than above (${above}): both are the limits of a range`,
      )
    const minus = given.minus === undefined ? undefined : this.#other(given.minus, [...path, 'minus'])
    return { kind: 'range', above, below, hysteresis, minus }
  }

  #rate(given: unknown, path: readonly (string | number)[]): ConditionRule | undefined {
    if (!isMap(given)) {
      this.#mistake(path, `given ${show(given)}, allowed is such as {above: 2, per: 1m, over: 10m}`)
      return undefined
    }
    this.#known(given, ['above', 'below', 'per', 'over'], path)
    const above = this.#number(given, 'above', path)
    const below = this.#number(given, 'below', path)
    if (above === undefined && below === undefined)
      this.#mistake(path, 'allowed is a rate with above or below, or both')
    const per = this.#duration(given, 'per', path) ?? 60e6
    if (per === 0) this.#mistake([...path, 'per'], 'allowed is a time of more than 0')
    return { kind: 'rate', above, below, per, over: this.#duration(given, 'over', path) ?? 0 }
  }

  #other(given: unknown, path: readonly (string | number)[]): OtherSeries | undefined {
    if (!isMap(given)) {
      this.#mistake(path, `given ${show(given)}, allowed is another series, such as {field: setpoint}`)
      return undefined
    }
    this.#known(given, ['measurement', 'field', 'tags'], path)
    const measurement = this.#text(given, 'measurement', path)
    const field = this.#text(given, 'field', path)
    const tags: [string, string][] = []
    if (given.tags !== undefined && !isMap(given.tags)) this.#mistake([...path, 'tags'], 'allowed are tags by name')
    for (const [name, value] of Object.entries(isMap(given.tags) ? given.tags : {})) {
      if (typeof value === 'string' || typeof value === 'number') tags.push([name, String(value)])
      else this.#mistake([...path, 'tags', name], `given ${show(value)}, allowed is a text`)
    }
    if (measurement === undefined && field === undefined && tags.length === 0)
      this.#mistake(path, 'the other series is the same one: name its field, its measurement, or tags')
    return { ...(measurement !== undefined && { measurement }), ...(field !== undefined && { field }), tags }
  }

  #selector(given: GivenRule, path: readonly (string | number)[]): Selector {
    const tags: (readonly [string, NonNullable<NamePatterns>])[] = []
    if (given.tags !== undefined && !isMap(given.tags))
      this.#mistake([...path, 'tags'], 'allowed are tags by name, as in {room: kitchen}')
    for (const [name, value] of Object.entries(isMap(given.tags) ? given.tags : {})) {
      const patterns = this.#patterns(value, [...path, 'tags', name])
      if (patterns) tags.push([name, patterns])
    }
    return {
      measurement: this.#patterns(given.measurement, [...path, 'measurement']),
      field: this.#patterns(given.field, [...path, 'field']),
      device: this.#patterns(given.device, [...path, 'device']),
      deviceClass: this.#patterns(given.class, [...path, 'class']),
      area: this.#patterns(lowerCase(given.area), [...path, 'area']),
      icon: this.#patterns(given.icon, [...path, 'icon']),
      tags,
    }
  }

  #patterns(given: unknown, path: readonly (string | number)[]): NamePatterns {
    if (given === undefined) return undefined
    const all = Array.isArray(given) ? given : [given]
    const isText = (one: unknown) => (typeof one === 'string' && one !== '') || typeof one === 'number'
    if (all.length === 0 || all.length > maxList || !all.every(isText)) {
      this.#mistake(path, `given ${show(given)}, allowed is a name, or a list of names, in which * is any text`)
      return undefined
    }
    return all.map(one => patternOf(String(one)))
  }

  #values(given: unknown, path: readonly (string | number)[]): FieldValue[] {
    const all: unknown[] = Array.isArray(given) ? given : [given]
    const isValue = (one: unknown): one is FieldValue => ['string', 'number', 'boolean'].includes(typeof one)
    if (all.length === 0 || all.length > maxList || !all.every(isValue)) {
      this.#mistake(path, `given ${show(given)}, allowed is a text, a number, true or false, or a list of these`)
      return []
    }
    return all
  }

  #schedule(given: unknown, path: readonly (string | number)[]): WeekSpan[] | undefined {
    if (given === undefined) return undefined
    const all: unknown[] = Array.isArray(given) ? given : [given]
    const spans: WeekSpan[] = []
    for (const one of all.slice(0, maxList)) {
      const span = typeof one === 'string' ? parseWeekSpan(one) : undefined
      if (span) spans.push(span)
      else this.#mistake(path, `given ${show(one)}, allowed are ${allowedWeekSpans}`)
    }
    return spans
  }

  #unless(given: unknown, path: readonly (string | number)[]): HeldBy[] {
    if (given === undefined) return []
    const all: unknown[] = Array.isArray(given) ? given : [given]
    return all.slice(0, maxList).flatMap(one => {
      if (typeof one === 'string') return [{ rule: one, same: [] }]
      if (isMap(one) && typeof one.rule === 'string') {
        this.#known(one, ['rule', 'same'], path)
        const same: unknown[] = one.same === undefined ? [] : Array.isArray(one.same) ? one.same : [one.same]
        if (same.every(name => typeof name === 'string')) return [{ rule: one.rule, same: same as string[] }]
      }
      this.#mistake(path, `given ${show(one)}, allowed is the name of a rule, or {rule: NAME, same: device}`)
      return []
    })
  }

  #targets(given: unknown, path: readonly (string | number)[]): string[] {
    const all: unknown[] = given === undefined ? [] : Array.isArray(given) ? given : [given]
    if (all.length <= maxTargets && all.every(one => typeof one === 'string' && one !== '')) return all as string[]
    this.#mistake(path, `given ${show(given)}, allowed are up to ${maxTargets} names of targets of notify.file`)
    return []
  }

  #number(given: GivenRule, key: string, path: readonly (string | number)[]): number | undefined {
    const value = given[key]
    if (value === undefined) return undefined
    if (typeof value === 'number' && Number.isFinite(value)) return value
    this.#mistake([...path, key], `given ${show(value)}, allowed is a number`)
    return undefined
  }

  #text(given: GivenRule, key: string, path: readonly (string | number)[]): string | undefined {
    const value = given[key]
    if (value === undefined) return undefined
    if (typeof value === 'string' && value !== '' && value.length <= 500) return value
    this.#mistake([...path, key], `given ${show(value)}, allowed is a text of up to 500 characters`)
    return undefined
  }

  #flag(given: GivenRule, key: string, path: readonly (string | number)[]): boolean {
    const value = given[key]
    if (value !== undefined && typeof value !== 'boolean')
      this.#mistake([...path, key], `given ${show(value)}, allowed is true or false`)
    return value === true
  }

  #word<Word extends string>(given: GivenRule, key: string, all: readonly Word[], path: readonly (string | number)[]) {
    const value = given[key]
    if (value === undefined) return undefined
    const word = all.find(one => one === value)
    if (word === undefined) this.#mistake([...path, key], `given ${show(value)}, allowed is one of ${all.join(', ')}`)
    return word
  }

  /** Returns microseconds. */
  #duration(given: GivenRule, key: string, path: readonly (string | number)[], also = ''): number | undefined {
    const value = given[key]
    if (value === undefined) return undefined
    const ms = typeof value === 'string' ? duration.parse(value) : undefined
    if (ms !== undefined && ms * 1_000 <= longest) return ms * 1_000
    this.#mistake([...path, key], `given ${show(value)}, allowed is ${duration.allowed}${also}`)
    return undefined
  }

  #known(given: GivenRule, keys: readonly string[], path: readonly (string | number)[]): void {
    for (const key of Object.keys(given))
      if (!keys.includes(key)) this.#mistake([...path, key], `there is no ${show(key)}; allowed are ${keys.join(', ')}`)
  }

  /** Returns the rule as a text. YAML can name a map within itself, which no text can. */
  #wholeText(name: string, given: GivenRule, path: readonly (string | number)[]): string {
    try {
      return JSON.stringify({ name, ...given })
    } catch {
      this.#mistake(path, 'the rule contains itself, or is nested too deeply')
      return ''
    }
  }

  #mistake(path: readonly (string | number)[], sentence: string): void {
    this.mistakes.push({ path, sentence })
  }
}

function isOfValues(condition: ConditionRule): boolean {
  return !['hub', 'offline'].includes(condition.kind) && !(condition.kind === 'silent' && condition.of === 'device')
}

/** Returns names in lower case; anything else as it is. */
function lowerCase(given: unknown): unknown {
  if (Array.isArray(given)) return given.map(lowerCase)
  return typeof given === 'string' ? given.toLowerCase() : given
}

function isMap(value: unknown): value is GivenRule {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function show(value: unknown): string {
  let text: string
  try {
    text = JSON.stringify(value) ?? String(value)
  } catch {
    return 'a value that contains itself, or is nested too deeply'
  }
  return text.length > 100 ? `${text.slice(0, 100)}…` : text
}
