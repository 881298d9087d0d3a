import type { Answer } from '../contract/contract.js'
import type { AlertRecord, Mute } from './alert-journal.js'
import type { AlertRule } from './rule.js'

/* What the API shows of alerts, rules and mutes. Times in milliseconds. */

export type AlertRow = Answer<'GET /api/alerts'>['alerts'][number]
export type MuteRow = Answer<'POST /api/alerts/mute'>
export type RuleRow = Answer<'POST /api/alerts/rules'>
export type BackTestAnswer = Answer<'POST /api/alerts/test'>

/** Returns the row of an alert with at least one transition on disk. */
export function alertRow({ transitions, points, ruleText }: AlertRecord): AlertRow {
  const first = transitions[0] as AlertRecord['transitions'][number]
  const last = transitions.at(-1) ?? first
  const acknowledged = transitions.findLast(({ state }) => state === 'acknowledged')
  return {
    alert: last.alert,
    rule: last.rule,
    series: last.series,
    ...(last.device !== undefined && { device: last.device }),
    severity: last.severity,
    state: last.state,
    since: first.at / 1_000,
    ...(last.state === 'cleared' && { until: last.at / 1_000 }),
    sentence: last.sentence,
    ...(last.value !== undefined && { value: last.value }),
    ...(acknowledged?.by !== undefined && { by: acknowledged.by }),
    ...(acknowledged?.note !== undefined && { note: acknowledged.note }),
    past: last.past,
    muted: last.muted,
    transitions: transitions.map(({ sequence, state, at, decidedAt, sentence, by }) => ({
      ...{ sequence, state, at: at / 1_000, decidedAt: decidedAt / 1_000, sentence },
      ...(by !== undefined && { by }),
    })),
    points: points.map(([time, value]) => [time / 1_000, value]),
    definition: ruleText === '' ? {} : (JSON.parse(ruleText) as object),
  }
}

export function ruleRow(rule: AlertRule, source: 'file' | 'api', watched: number, firing: number): RuleRow {
  const { name: _, ...definition } = JSON.parse(rule.text) as { readonly name: string }
  return { name: rule.name, severity: rule.severity, source, watched, firing, definition }
}

export function muteRow({ since, until, rule, series, device, note, ...mute }: Mute): MuteRow {
  return {
    ...mute,
    ...(rule !== undefined && { rule }),
    ...(series !== undefined && { series }),
    ...(device !== undefined && { device }),
    ...(note !== undefined && { note }),
    since: since / 1_000,
    ...(until !== undefined && { until: until / 1_000 }),
  }
}
