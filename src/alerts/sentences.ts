import type { Said } from '../model.js'
import { hourName } from '../runtime/week-time.js'
import type { Watch } from './watch.js'
import { amount, sentenceCase, span } from './wording.js'

/* The sentences of alerts: as a code with values, and in English. */

/** A sentence in both forms. */
export interface AlertSentence {
  readonly text: string
  readonly said: Said
}

/** Reasons for the end of an alert that is not over by itself. */
export type EndReason = 'rule-changed' | 'rule-removed' | 'not-selected' | 'device-removed' | 'forgotten'

/** Returns the sentence of an alert that begins or fires. @param now Time up to which messages were taken */
export function sentenceOf(watch: Watch, now: number): AlertSentence {
  const { rule, condition } = watch
  switch (rule.condition.kind) {
    case 'silent': {
      const usual = watch.rhythm?.usual
      const silentMs = milliseconds(now - watch.heard)
      return usual === undefined
        ? made(watch, 'silent', { silentMs })
        : made(watch, 'silent-usual', { silentMs, usualMs: milliseconds(usual) })
    }
    case 'offline':
      return made(watch, 'offline', {
        offlineMs: milliseconds(Math.max(now - watch.since, rule.condition.after)),
      })
    case 'hub':
      return { text: about(watch, watch.hub.sentence), said: hubSaid(watch) }
    default: {
      const { code, values } = condition.said()
      const isLasting = rule.for > 0 && watch.state === 'firing'
      const lasted = Math.max(rule.for, watch.time - watch.since)
      return made(watch, code, isLasting ? { ...values, lastedMs: milliseconds(lasted) } : values)
    }
  }
}

/** Returns the sentence of an alert that ends at a time. */
export function endOf(watch: Watch, at: number, why?: EndReason): AlertSentence {
  const { value, rule } = watch
  if (why !== undefined) return made(watch, `ended-${why}`, {})
  const afterMs = milliseconds(Math.max(0, at - watch.since))
  switch (rule.condition.kind) {
    case 'silent':
      return made(watch, 'heard', { afterMs })
    case 'offline':
      return made(watch, 'online', { afterMs })
    case 'hub':
      return made(watch, 'hub-over', { afterMs })
    default:
      return typeof value === 'number'
        ? made(watch, 'over', { value, afterMs })
        : made(watch, 'over', { value: JSON.stringify(value ?? ''), afterMs })
  }
}

type SaidValues = Said['values']

/** English of each code, with the values as texts. */
export const alertEnglish: Readonly<Record<string, string>> = {
  above: '{label} is {value}, above {limit}',
  below: '{label} is {value}, below {limit}',
  more: '{label} is {value}, {distance} more than {other} ({otherValue})',
  less: '{label} is {value}, {distance} less than {other} ({otherValue})',
  'more-other': '{label} is {value}, {distance} more than the other series ({otherValue})',
  'less-other': '{label} is {value}, {distance} less than the other series ({otherValue})',
  'rises-above': '{label} rises by {rate} per {perMs} (over {overMs}), above {limit} per {perMs}',
  'rises-below': '{label} rises by {rate} per {perMs} (over {overMs}), below {limit} per {perMs}',
  'falls-above': '{label} falls by {rate} per {perMs} (over {overMs}), above {limit} per {perMs}',
  'falls-below': '{label} falls by {rate} per {perMs} (over {overMs}), below {limit} per {perMs}',
  equals: '{label} is {value}',
  not: '{label} is {value}, not {wanted}',
  'not-more': '{label} is {value}, not {wanted} or one of {more} more',
  unusual: '{label} is unusual',
  'unusual-week':
    '{label} is {value}; usual at {weekHour} is {median} ± {deviation}, so this is {times} times the usual distance',
  'unusual-day':
    '{label} is {value}; usual at {dayHour} is {median} ± {deviation}, so this is {times} times the usual distance',
  silent: '{label} has been silent for {silentMs}',
  'silent-usual': '{label} has been silent for {silentMs} (usually every {usualMs})',
  offline: '{label} has been offline for {offlineMs}',
  heard: '{label} is heard of again after {afterMs}',
  online: '{label} is online again after {afterMs}',
  'hub-over': '{label}: over after {afterMs}',
  over: '{label} is {value}: over after {afterMs}',
  'ended-rule-changed': '{label}: the rule was changed',
  'ended-rule-removed': '{label}: the rule was removed',
  'ended-not-selected': '{label}: the rule does not select it any more',
  'ended-device-removed': '{label}: the device was removed',
  'ended-forgotten': '{label}: not heard of for 30 days, and forgotten',
}

/** Values that have the unit of the series. */
const amounts: ReadonlySet<string> = new Set([
  ...['value', 'limit', 'distance', 'otherValue', 'rate', 'median', 'deviation'],
])

function made(watch: Watch, code: string, given: SaidValues): AlertSentence {
  const { label, unit } = watch.subject
  const named = { label, ...(unit !== undefined && { unit }), ...given }
  const { about: note } = watch.rule
  const lasted = typeof given.lastedMs === 'number' ? ` for ${span(given.lastedMs * 1_000)}` : ''
  const template = alertEnglish[code] ?? '{label}'
  const text = template.replace(/\{(\w+)\}/g, (_, name: string) =>
    valueText(name, named[name as keyof typeof named], unit),
  )
  return {
    text: about(watch, `${text}${lasted}`),
    said: { code, values: note === undefined ? named : { ...named, about: note } },
  }
}

function valueText(name: string, value: SaidValues[string] | undefined, unit: string | undefined): string {
  if (typeof value !== 'number') return name === 'wanted' ? String(value).replaceAll(', ', ' or ') : String(value)
  if (name.endsWith('Ms')) return span(value * 1_000)
  if (name === 'weekHour') return hourName(value)
  if (name === 'dayHour') return `${String(value).padStart(2, '0')}:00`
  return amounts.has(name) ? amount(value, unit) : String(value)
}

function about({ rule }: Watch, sentence: string): string {
  return sentenceCase(rule.about === undefined ? sentence : `${rule.about}: ${sentence}`)
}

/** Conditions of the hub that are counts. The others are alarms, whose details are in English. */
const counted: ReadonlySet<string> = new Set(['residual', 'dead', 'clocks'])

function hubSaid({ hub: { name, sentence }, value, rule }: Watch): Said {
  const note = rule.about === undefined ? {} : { about: rule.about }
  return counted.has(name) && typeof value === 'number'
    ? { code: `hub-${name}`, values: { count: value, ...note } }
    : { code: 'hub-alarm', values: { alarm: name, detail: sentence, ...note } }
}

/** Microseconds to whole milliseconds. */
function milliseconds(micros: number): number {
  return Math.round(micros / 1_000)
}
