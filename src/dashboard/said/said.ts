/** Sentences of the hub in the language of the page: of alerts, and of what it refuses. */

import { language, locale, say as sayCommon, vocabulary } from '../texts/language.js'
import type { Vocabulary } from '../texts/locale.js'
import { en, type SaidKey } from './en.js'

/** A sentence as a code with values, as the API has it. */
export interface Said {
  readonly code: string
  readonly values: Readonly<Record<string, string | number | boolean>>
}

const words: Vocabulary<SaidKey> = await vocabulary({
  en: () => Promise.resolve(en),
  de: async () => (await import('./de.js')).de,
  zh: async () => (await import('./zh.js')).zh,
})
const { say } = words

function isKey(key: string): key is SaidKey {
  return Object.hasOwn(en, key)
}

/** Values that have the unit of the series. */
const amounts: ReadonlySet<string> = new Set([
  ...['value', 'limit', 'distance', 'otherValue', 'rate', 'median', 'deviation'],
])

/** Four digits that matter; whole above a thousand, as the hub says them. */
function numberText(value: number): string {
  const rounded = Math.abs(value) >= 1_000 ? Math.round(value) : Number(value.toPrecision(4))
  return rounded.toLocaleString(locale, { maximumSignificantDigits: 15 }).replace(/^-/, '−')
}

function amountText(value: number, unit: unknown): string {
  const text = numberText(value)
  if (typeof unit !== 'string' || unit === '') return text
  return `${text}${unit.startsWith('%') ? '\u202f' : '\u00a0'}${unit}`
}

const units = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1_000],
] as const

/** Returns a span in one unit or two. */
function spanText(milliseconds: number): string {
  if (milliseconds < 1_000) return `${Math.round(milliseconds)} ms`
  let rest = Math.round(milliseconds / 1_000) * 1_000
  const found: string[] = []
  for (const [unit, size] of units) {
    const count = Math.floor(rest / size)
    if (count > 0) found.push(sayCommon(`span.${unit}`, { n: count }))
    else if (found.length > 0) break
    rest -= count * size
    if (found.length === 2) break
  }
  return found.join(' ')
}

const dayName = new Intl.DateTimeFormat(locale, { weekday: 'long', timeZone: 'UTC' })

/** Returns an hour of the week, of which 0 is Monday at midnight. */
function weekHourText(hour: number): string {
  // The 5th of January 1970 was a Monday.
  const day = dayName.format((4 + Math.floor(hour / 24)) * 86_400_000)
  return say('weekHour', { day, time: dayHourText(hour % 24) })
}

function dayHourText(hour: number): string {
  return `${String(hour).padStart(2, '0')}:00`
}

function valueText(name: string, value: Said['values'][string], unit: unknown): string {
  if (typeof value === 'number') {
    if (name.endsWith('Ms')) return spanText(value)
    if (name === 'weekHour') return weekHourText(value)
    if (name === 'dayHour') return dayHourText(value)
    return amounts.has(name) ? amountText(value, unit) : numberText(value)
  }
  if (name === 'wanted') return String(value).replaceAll(', ', say('more-values'))
  const alarm = `alarm.${value}`
  return name === 'alarm' && isKey(alarm) ? say(alarm) : String(value)
}

function fillingOf({ values }: Said): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, valueText(name, value, values.unit)]))
}

/**
 * Returns the sentence of an alert in the language of the page; that of the hub, which is English, for an alert of before
 * there were codes. `label`: what it is about, in words of the page; without, as the hub calls it.
 */
export function alertText(
  row: { readonly sentence: string; readonly said?: Said | undefined },
  label?: string,
): string {
  const { said } = row
  if (!said || !isKey(said.code)) return row.sentence
  const filling = { ...fillingOf(said), ...(label !== undefined && { label }) }
  let sentence = say(said.code, filling)
  const { lastedMs, about } = said.values
  if (lastedMs !== undefined) sentence = say('lasted', { ...filling, sentence })
  if (about !== undefined) sentence = say('about', { ...filling, sentence })
  return firstUpper(sentence)
}

/** Puts the first letter in upper case, unless the text begins with a topic. */
function firstUpper(text: string): string {
  const [word = ''] = text.split(' ')
  return word.includes('/') ? text : text.charAt(0).toLocaleUpperCase(locale) + text.slice(1)
}

/** Returns another sentence of the hub in the language of the page; undefined in English, and for one without a known code. */
export function saidText(said: Said | undefined): string | undefined {
  const key = `said.${said?.code}`
  return said && language !== 'en' && isKey(key) ? say(key, fillingOf(said)) : undefined
}

/** The body of an answer that refuses something. */
export interface Refused {
  readonly error?: string | undefined
  readonly message?: string | undefined
  readonly said?: Said | undefined
}

/**
 * Returns why the hub refuses something, without a full stop. The sentence of the hub is English, and says more than its
 * code: where the page has no words for it, both are there.
 */
export function refusalText({ error, message, said }: Refused, status?: number): string {
  const detail = message?.replace(/\.$/, '')
  if (language === 'en' && detail) return detail
  const refused = `refused.${said?.code}`
  if (said && isKey(refused)) return say(refused, fillingOf(said))
  const known = `error.${error}`
  const text = isKey(known) ? say(known) : say('error.status', { status: status ?? 0 })
  return detail ? say('detail', { text, detail }) : text
}
