import type { FieldValue } from '../model.js'
import type { WeekSpan } from '../runtime/week-time.js'
import type { Severity } from './transition.js'

/* The rules of alerts, as the evaluator uses them. All durations and times are microseconds. */

/** Matches a name: exactly, or by a pattern in which `*` is any text. */
export interface NamePattern {
  /** The text, if there is no `*` in it: rules are found by it without a look at all of them. */
  readonly exact: string | undefined
  matches(text: string): boolean
}

/** Patterns of which one must match. Undefined: any name will do. */
export type NamePatterns = readonly NamePattern[] | undefined

/** Selects series, or devices. A part that is left out selects all. */
export interface Selector {
  readonly measurement: NamePatterns
  readonly field: NamePatterns
  readonly device: NamePatterns
  /** Class of what is measured, in the words of Home Assistant. */
  readonly deviceClass: NamePatterns
  /** Area of the device on Home, in lower case. */
  readonly area: NamePatterns
  /** Icon of the device on Home, which follows from its class unless a person chose it. */
  readonly icon: NamePatterns
  readonly tags: readonly (readonly [name: string, patterns: readonly NamePattern[]])[]
}

/** The other series of a comparison: like the selected one, but for what is named here. */
export interface OtherSeries {
  readonly measurement?: string
  readonly field?: string
  readonly tags: readonly (readonly [name: string, value: string])[]
}

export type ConditionRule =
  | {
      readonly kind: 'range'
      readonly above: number | undefined
      readonly below: number | undefined
      /** How far the value must come back before the condition is over. */
      readonly hysteresis: number
      /** With another series the difference to that series is compared. */
      readonly minus: OtherSeries | undefined
    }
  | {
      readonly kind: 'rate'
      readonly above: number | undefined
      readonly below: number | undefined
      readonly per: number
      /** Span over which the change is taken; 0: from one reading to the next. */
      readonly over: number
    }
  /** `after` undefined: by the learned rhythm. */
  | { readonly kind: 'silent'; readonly of: 'value' | 'device'; readonly after: number | undefined }
  | { readonly kind: 'offline'; readonly after: number }
  | { readonly kind: 'equals'; readonly values: readonly FieldValue[]; readonly isNegated: boolean }
  | { readonly kind: 'unusual'; readonly times: number }
  | { readonly kind: 'hub'; readonly what: string; readonly above: number }

/** Another rule, whose alerts hold back those of this rule. */
export interface HeldBy {
  readonly rule: string
  /** Names of tags, or `device`, that both alerts must share. Empty: any alert of that rule. */
  readonly same: readonly string[]
}

export interface AlertRule {
  readonly name: string
  /** Words for people, put before the sentences of the alerts. */
  readonly about: string | undefined
  readonly severity: Severity
  readonly select: Selector
  readonly condition: ConditionRule
  /** Time for which the condition must hold. */
  readonly for: number
  /** Time for which late readings are waited for before a timer decides. */
  readonly late: number
  /** Undefined: always. */
  readonly when: readonly WeekSpan[] | undefined
  readonly unless: readonly HeldBy[]
  /** Targets of notify.file that are told, besides those of the routes. */
  readonly notify: readonly string[]
  readonly isMuted: boolean
  /** Whether the rule is evaluated at all. */
  readonly isEnabled: boolean
  /** Number of rules below this one in the order of `unless`. */
  readonly depth: number
  /** The rule as given, in JSON: what an alert keeps. */
  readonly text: string
}

/** Whether a name is one of those selected. */
export function isSelected(patterns: NamePatterns, name: string | undefined): boolean {
  if (!patterns) return true
  return name !== undefined && patterns.some(pattern => pattern.matches(name))
}

/** Returns the pattern of a text in which `*` stands for any text. */
export function patternOf(text: string): NamePattern {
  if (!text.includes('*')) return { exact: text, matches: other => other === text }
  const parts = text.split('*')
  return { exact: undefined, matches: other => matchesParts(parts, other) }
}

/** Matches the parts between the stars one after the other, in time proportional to the text: no backtracking. */
function matchesParts(parts: readonly string[], text: string): boolean {
  const first = parts[0] as string
  const last = parts.at(-1) as string
  if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) return false
  let at = first.length
  const end = text.length - last.length
  for (const part of parts.slice(1, -1)) {
    const found = text.indexOf(part, at)
    if (found < 0 || found + part.length > end) return false
    at = found + part.length
  }
  return at <= end
}
