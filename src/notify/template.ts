import { severities } from '../alerts/transition.js'
import type { AlertMessage } from './message.js'
import { openAlerts, severityOf, stateOf, textOf, titleOf } from './message.js'

/** TemplateValues that a template may name, as {{name}}. */
export const variables = [
  ...['id', 'title', 'text', 'severity', 'state', 'priority', 'count', 'url'],
  ...['alert', 'rule', 'series', 'device', 'sentence', 'value', 'at', 'acknowledgeUrl', 'acknowledgeToken', 'json'],
] as const
export type Variable = (typeof variables)[number]
export type TemplateValues = Readonly<Record<Variable, string>>

export type Escape = (value: string) => string

/** Escapes a value for the place that a template gives it, by the media type of the body. */
export function escapeFor(mediaType: string): Escape {
  if (/\bjson\b/i.test(mediaType)) return value => JSON.stringify(value).slice(1, -1)
  if (/x-www-form-urlencoded/i.test(mediaType)) return encodeURIComponent
  if (/\b(html|xml)\b/i.test(mediaType)) return value => value.replace(/[&<>"']/g, char => `&#${char.charCodeAt(0)};`)
  return value => value
}

/** Returns the names in a template that are no variables. */
export function unknownVariables(template: string): readonly string[] {
  const names = [...template.matchAll(/\{\{\s*([^{}]*?)\s*\}\}/g)].map(([, name = '']) => name)
  return names.filter(name => !(variables as readonly string[]).includes(name))
}

/**
 * Fills a template in. TemplateValues are inserted once, and escaped: braces in the sentence of an alert stay what they are, and
 * a quote ends no text. `{{json}}` is the whole message as a JSON value.
 */
export function fill(template: string, values: TemplateValues, escaping: Escape): string {
  return template.replace(/\{\{\s*([^{}]*?)\s*\}\}/g, (all, name: Variable) => {
    if (!variables.includes(name)) return all
    return name === 'json' ? values.json : escaping(values[name])
  })
}

export interface Links {
  /** Address of the dashboard; empty when unknown. */
  readonly url: string
  /** Empty when the message cannot be acknowledged. */
  readonly acknowledgeToken: string
}

/** Returns the values of a message. Times are in ISO 8601. */
export function valuesOf(message: AlertMessage, zone: string, { url, acknowledgeToken }: Links): TemplateValues {
  const [first] = message.lines
  const severity = severityOf(message)
  const page = linkOf(url, message)
  const { id, lines, more, isTest } = message
  const time = (at: number) => new Date(at / 1_000).toISOString()
  const acknowledge = acknowledgeToken && url ? `${url}/api/notify/acknowledge` : ''
  const alerts = lines.map(({ at, overdue, ...line }) => ({
    ...line,
    at: time(at),
    ...(overdue !== undefined && { unacknowledgedFor: overdue }),
  }))
  return {
    id,
    title: titleOf(message),
    text: textOf(message, zone),
    severity,
    state: stateOf(message),
    // 5 is the highest, as in ntfy.
    priority: String(stateOf(message) === 'firing' ? 3 + severities.indexOf(severity) : 3),
    count: String(lines.length + more),
    url: page,
    alert: openAlerts(message)[0] ?? first?.alert ?? '',
    rule: first?.rule ?? '',
    series: first?.series ?? '',
    device: first?.device ?? '',
    sentence: first?.sentence ?? titleOf(message),
    value: first?.value === undefined ? '' : String(first.value),
    at: time(first?.at ?? message.made * 1_000),
    acknowledgeUrl: acknowledge,
    acknowledgeToken: acknowledge && acknowledgeToken,
    json: JSON.stringify({
      id,
      title: titleOf(message),
      severity,
      state: stateOf(message),
      ...(isTest && { test: true }),
      alerts,
      ...(more > 0 && { more }),
      ...(page && { url: page }),
      ...(acknowledge && { acknowledge: { url: acknowledge, token: acknowledgeToken } }),
    }),
  }
}

/** Returns the address of the page about a message: that of the device, if all alerts are of one. */
export function linkOf(url: string, { lines }: AlertMessage): string {
  const devices = new Set(lines.map(({ device }) => device))
  const [device] = devices
  if (!url) return ''
  return devices.size === 1 && device !== undefined ? `${url}/#${new URLSearchParams({ device })}` : `${url}/`
}
