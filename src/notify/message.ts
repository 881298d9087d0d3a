import { type AlertState, type AlertTransition, type Severity, severities } from '../alerts/transition.js'
import { plain } from '../observe/log.js'

/** An alert as a message tells of it: the parts of a transition that a receiver needs. */
export interface AlertLine {
  readonly alert: string
  readonly rule: string
  readonly series: string
  readonly device?: string
  readonly severity: Severity
  readonly state: AlertState
  /** Microseconds since the epoch: since when it is so. */
  readonly at: number
  readonly sentence: string
  readonly value?: number | string | boolean
  readonly by?: string
  readonly note?: string
  /** Milliseconds for which nobody has acknowledged: the line is an escalation. */
  readonly overdue?: number
}

/** A message for one receiver. */
export interface AlertMessage {
  /** Stays the same however often the message is sent, so that a receiver can tell a repetition. */
  readonly id: string
  readonly lines: readonly AlertLine[]
  /** Alerts that the message has no room for. */
  readonly more: number
  /** Milliseconds since the epoch. */
  readonly made: number
  /** A test call: the message is about no alert. */
  readonly isTest?: true
}

const maxSentence = 500
const maxName = 200

/** Returns the line of a transition. Texts are cut to a length that every kind of target can take. */
export function lineOf(transition: AlertTransition): AlertLine {
  const { alert, rule, series, device, severity, state, at, sentence, value, by, note } = transition
  return {
    alert,
    rule: cut(rule, maxName),
    series: cut(series, maxSentence),
    ...(device !== undefined && { device: cut(device, maxName) }),
    severity,
    state,
    at,
    sentence: cut(sentence, maxSentence),
    ...(value !== undefined && { value: typeof value === 'string' ? cut(value, maxName) : value }),
    ...(by !== undefined && { by: cut(by, maxName) }),
    ...(note !== undefined && { note: cut(note, maxSentence) }),
  }
}

/** Cuts a text between two characters, not within one. */
export function cut(text: string, length: number): string {
  if (text.length <= length) return text
  const end = /[\ud800-\udbff]/.test(text[length - 2] ?? '') ? length - 2 : length - 1
  return `${text.slice(0, end)}…`
}

const stateWords: Readonly<Record<AlertState, string>> = {
  pending: 'Pending',
  firing: '',
  acknowledged: 'Acknowledged',
  cleared: 'Cleared',
}

const severityWords: Readonly<Record<Severity, string>> = { info: 'Info', warning: 'Warning', critical: 'Critical' }

function wordOf({ state, severity }: AlertLine): string {
  return stateWords[state] || severityWords[severity]
}

/** Returns the worst severity among alerts that fire; of a message that only reports an end, `info`. */
export function severityOf({ lines }: AlertMessage): Severity {
  const firing = lines.filter(({ state }) => state === 'firing').map(({ severity }) => severities.indexOf(severity))
  return severities[Math.max(0, ...firing)] ?? 'info'
}

/** Returns the state of a message: `firing` if one of its alerts fires. */
export function stateOf({ lines }: AlertMessage): AlertState {
  if (lines.some(({ state }) => state === 'firing')) return 'firing'
  return lines[0]?.state ?? 'cleared'
}

/** Returns the alerts that a receiver may acknowledge. */
export function openAlerts({ lines }: AlertMessage): readonly string[] {
  const ended = new Set(lines.filter(({ state }) => state !== 'firing').map(({ alert }) => alert))
  const open = lines.filter(({ state, alert }) => state === 'firing' && !ended.has(alert))
  return [...new Set(open.map(({ alert }) => alert))]
}

/** Returns one line of text without control characters: the subject of a mail, the title of a notification. */
export function titleOf(message: AlertMessage): string {
  const { lines, more, isTest } = message
  if (isTest) return 'Test: notifications of telehub arrive here'
  const [only] = lines
  if (lines.length === 1 && more === 0 && only) return cut(plain(headOf(only).replace(/\s+/g, ' ')), 200)
  const counts = new Map<string, number>()
  for (const line of lines) counts.set(wordOf(line), (counts.get(wordOf(line)) ?? 0) + 1)
  const words = [...counts].map(([word, count]) => `${count} ${word.toLowerCase()}`)
  if (more > 0) words.push(`${more} not listed`)
  return `${lines.length + more} alerts: ${words.join(', ')}`
}

function headOf(line: AlertLine): string {
  return `${wordOf(line)}: ${line.sentence}`
}

/** Returns the text under the title, a line for each alert. */
export function textOf({ lines, more, isTest }: AlertMessage, zone: string): string {
  if (isTest) return 'Nothing has happened: somebody has asked for this test.'
  const time = (at: number) => momentText(at / 1_000, zone)
  const [only] = lines
  if (lines.length === 1 && more === 0 && only) {
    const facts = [
      overdueText(only),
      ...(only.by === undefined ? [] : [`by ${only.by}${only.note ? `: ${only.note}` : ''}`]),
      `${only.state === 'firing' ? 'since' : 'at'} ${time(only.at)}`,
      `rule ${only.rule}`,
      ...(only.device === undefined ? [] : [`device ${only.device}`]),
    ]
    return plain(facts.filter(Boolean).join('\n'), true)
  }
  const listed = lines.map(line => {
    const overdue = overdueText(line)
    return `• ${plain(headOf(line))} (${time(line.at)}${overdue ? `, ${overdue}` : ''})`
  })
  if (more > 0) listed.push(`… and ${more} more, which this message has no room for`)
  return listed.join('\n')
}

function overdueText({ overdue }: AlertLine): string {
  return overdue === undefined ? '' : `nobody has acknowledged for ${spanText(overdue)}`
}

function spanText(ms: number): string {
  const minutes = Math.round(ms / 60_000)
  if (minutes < 1) return `${Math.round(ms / 1_000)} s`
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`
}

function momentText(ms: number, zone: string): string {
  const options = { dateStyle: 'medium', timeStyle: 'medium', timeZone: zone } as const
  return new Intl.DateTimeFormat('en-GB', options).format(ms)
}
