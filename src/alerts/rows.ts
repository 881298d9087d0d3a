import type { Answer } from '../contract/contract.js'
import type { AlertRecord, Mute } from './alert-journal.js'
import type { AlertRule } from './rule.js'

/* What the API shows of alerts, rules and mutes. Times in milliseconds. */

export type AlertRow = Answer<'GET /api/alerts'>['alerts'][number]
export type MuteRow = Answer<'POST /api/alerts/mute'>
export type RuleRow = Answer<'POST /api/alerts/rules'>
export type BackTestAnswer = Answer<'POST /api/alerts/test'>
export type RuleCheckAnswer = Answer<'POST /api/alerts/check'>

/** Returns the row of an alert with at least one transition on disk. `isMuted`: whether it is at the moment, if not over. */
export function alertRow({ transitions, points, ruleText }: AlertRecord, isMuted: boolean): AlertRow {
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
    ...(last.said && { said: last.said }),
    ...(last.value !== undefined && { value: last.value }),
    ...(acknowledged?.by !== undefined && { by: acknowledged.by }),
    ...(acknowledged?.note !== undefined && { note: acknowledged.note }),
    past: last.past,
    muted: last.state === 'cleared' ? last.muted : isMuted,
    transitions: transitions.map(({ sequence, state, at, decidedAt, sentence, said, by }) => ({
      ...{ sequence, state, at: at / 1_000, decidedAt: decidedAt / 1_000, sentence },
      ...(said && { said }),
      ...(by !== undefined && { by }),
    })),
    points: points.map(([time, value]) => [time / 1_000, value]),
    definition: ruleText === '' ? {} : (JSON.parse(ruleText) as object),
  }
}

/** Returns the row of a rule. `place`: where it is written, if in a file. */
export function ruleRow(
  rule: AlertRule,
  place: { readonly file: string; readonly line: number } | undefined,
  watched: number,
  firing: number,
): RuleRow {
  const { name: _, ...definition } = JSON.parse(rule.text) as { readonly name: string }
  const { name, severity, isEnabled: enabled } = rule
  return { name, severity, source: place ? 'file' : 'api', ...place, enabled, watched, firing, definition }
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
