/** Wording of places, names, numbers, states and ages on the page. Pure functions. */

import type { SeriesInfo, Value } from './api.js'
import { en, type TextKey } from './texts/en.js'
import { locale, say } from './texts/language.js'

/** Place and name under which a series is shown. */
export interface Label {
  /** Mostly the field. A series whose field is just `value` is named by the measurement or by the end of the topic. */
  readonly name: string
  /** The group's heading; empty when the series belongs nowhere. */
  readonly place: string
  /** The rest of the tags: mostly the device. */
  readonly device: string
}

const placeTags = ['room', 'area', 'zone', 'place', 'location', 'floor', 'building', 'site']

/** Returns the place that a tag names, such as `room`. */
export function placeOf(tags: SeriesInfo['tags']): string | undefined {
  return placeTags.map(name => tags[name]).find(Boolean)
}

/**
 * Returns the label of a series. The place is `room` or another tag that names a place, else the first tag. A series
 * that has only a topic is grouped with the one of `places` that is a level of the topic, so that all series of a room
 * are together, else by the first levels of the topic.
 */
export function labelOf(
  series: Pick<SeriesInfo, 'tags' | 'measurement' | 'field'>,
  places: ReadonlySet<string>,
): Label {
  const { measurement, field } = series
  const tags = Object.entries(series.tags).filter(([, value]) => value !== '')
  const named = tags.filter(([name]) => name !== 'topic')
  if (named.length > 0) {
    const place = placeOf(series.tags) ?? named[0]?.[1] ?? ''
    const at = named.findIndex(([, value]) => value === place)
    const rest = named.filter((_, i) => i !== at).map(([, value]) => value)
    const name = field === 'value' ? measurement : field
    return { name, place, device: rest.join(' · ') || (name === measurement ? '' : measurement) }
  }
  const levels = (tags[0]?.[1] ?? '').split('/').filter(level => level !== '')
  if (levels.length === 0) return { name: field, place: '', device: measurement }
  // A number alone, as in `…/relay/0`, says no more than `…/value`.
  const bare = field === 'value' ? (/^\d+$/.test(levels.at(-1) ?? '') && levels.length > 2 ? 2 : 1) : 0
  const name = bare > 0 ? levels.splice(-bare).join('/') : field
  const at = levels.findIndex(level => places.has(level))
  if (at >= 0) return { name, place: levels[at] as string, device: levels.slice(at + 1).join('/') }
  const depth = Math.min(2, bare > 0 ? levels.length : levels.length - 1)
  return { name, place: levels.slice(0, depth).join('/'), device: levels.slice(depth).join('/') }
}

/**
 * Returns the number of decimals worth showing. A series keeps the largest number so far, so that the width of the
 * value does not jitter.
 */
export function decimalsOf(value: number): number {
  if (Number.isInteger(value)) return 0
  const whole = Math.abs(value)
  const most = whole >= 10_000 ? 1 : whole >= 1 ? 3 : Math.min(8, 2 - Math.floor(Math.log10(whole || 1)))
  const text = whole.toFixed(most).replace(/0+$/, '')
  return text.length - text.indexOf('.') - 1
}

const numbers = new Map<number, Intl.NumberFormat>()

export function numberText(value: number, decimals: number): string {
  const whole = Math.abs(value)
  if (whole >= 1e12 || (whole > 0 && whole < 1e-6)) return value.toExponential(3)
  let format = numbers.get(decimals)
  if (!format) {
    const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals }
    format = new Intl.NumberFormat(locale, { ...digits, useGrouping: false, signDisplay: 'negative' })
    numbers.set(decimals, format)
  }
  return format.format(value)
}

/** Word for a state, and how urgently the state needs attention. */
export interface State {
  readonly word: string
  readonly tone: 'quiet' | 'on'
}

/** Returns the word for a state of which nothing is known but that it is one: nothing is concluded from its name. */
export function stateOf(value: boolean): State {
  return { word: say(value ? 'state.on' : 'state.off'), tone: value ? 'on' : 'quiet' }
}

export function valueText(value: Value, decimals: number): string {
  if (typeof value === 'number') return numberText(value, decimals)
  return typeof value === 'boolean' ? stateOf(value).word : value
}

export function ageText(milliseconds: number): string {
  return milliseconds < 2_000 ? say('age.now') : say('age.ago', { span: spanText(milliseconds) })
}

export function spanText(milliseconds: number): string {
  const seconds = Math.max(0, milliseconds / 1_000)
  if (seconds < 60) return say('span.s', { n: Math.floor(seconds) })
  if (seconds < 3_600) return say('span.min', { n: Math.floor(seconds / 60) })
  if (seconds < 172_800) return say('span.h', { n: Math.floor(seconds / 3_600) })
  return say('span.d', { n: Math.floor(seconds / 86_400) })
}

const clock = new Intl.DateTimeFormat(locale, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
})
const minute = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' })
const day = new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'short' })

/** Formats a time of day, with the date unless today. */
export function momentText(time: number, now: number): string {
  const today = new Date(time).toDateString() === new Date(now).toDateString()
  return today ? clock.format(time) : `${day.format(time)}, ${clock.format(time)}`
}

/** Formats the same to the minute, for the time since when a state holds. */
export function sinceText(time: number, now: number): string {
  const today = new Date(time).toDateString() === new Date(now).toDateString()
  return today
    ? minute.format(time)
    : now - time < 518_400_000
      ? `${day.format(time)}, ${minute.format(time)}`
      : day.format(time)
}

const dependencyNames: Readonly<Record<string, TextKey>> = {
  store: 'dependency.store',
  queue: 'dependency.queue',
  spool: 'dependency.spool',
}
const products = new Map([
  ['influxdb', 'InfluxDB'],
  ['influx', 'InfluxDB'],
  ['duckdb', 'DuckDB'],
  ['rabbitmq', 'RabbitMQ'],
  ['kafka', 'Kafka'],
])

export function dependencyText(name: string): string {
  const known = name.toLowerCase()
  const key = Object.hasOwn(dependencyNames, known) ? dependencyNames[known] : undefined
  return key === undefined ? (products.get(known) ?? name) : say(key)
}

/** Returns the word for the state of a dependency. */
export function stateText(state: 'up' | 'down' | 'starting'): string {
  return say(`dependency.${state}`)
}

/** Returns words for a reason of a dead letter or a refusal; empty when there are none beside the code. */
export function reasonText(reason: string): string {
  const key = `reason.${reason}`
  return Object.hasOwn(en, key) ? say(key as TextKey) : ''
}

const counts = new Intl.NumberFormat(locale)

/** Formats a count with separated thousands. */
export function countText(count: number): string {
  return counts.format(count)
}

/** Formats the hour that begins at `time`, as `14:00`, with the date unless today. */
export function hourText(time: number, now: number): string {
  const today = new Date(time).toDateString() === new Date(now).toDateString()
  return today ? minute.format(time) : `${day.format(time)}, ${minute.format(time)}`
}

const printable = new TextDecoder('utf-8', { fatal: true })
/** Control characters, and characters that change the direction of the text beside them. */
const unprintable = /[^\P{Cc}\t\n\r]|[\u202a-\u202e\u2066-\u2069]/u

/** Formats bytes as text if they are text, else in hexadecimal; at most `most` bytes. */
export function bytesText(bytes: Uint8Array, most: number): { readonly text: string; readonly hex: boolean } {
  const shown = bytes.subarray(0, most)
  // The cut may be within a character, which then begins up to three bytes earlier.
  const earliest = shown.length < bytes.length ? shown.length - 3 : shown.length
  for (let end = shown.length; end >= earliest; end--) {
    try {
      const text = printable.decode(shown.subarray(0, end))
      if (!unprintable.test(text)) return { text, hex: false }
    } catch {
      // No valid text up to this byte.
    }
  }
  return { text: hexText(shown), hex: true }
}

function hexText(bytes: Uint8Array): string {
  return [...bytes].map(byte => byte.toString(16).padStart(2, '0')).join(' ')
}

/** Control characters, and characters that are invisible or change the direction of the text beside them. */
const hiddenCharacters = /[\p{Cc}\u00ad\u061c\u115f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/gu

export function hasHidden(text: string): boolean {
  return text.search(hiddenCharacters) >= 0
}

/** Returns a name that a device chose, with invisible characters made visible. */
export function nameText(name: string): string {
  if (!hasHidden(name)) return name
  return name.replace(hiddenCharacters, char => `‹${char.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}›`)
}

/** Returns a reason of the hub as a sentence of its own, with a full stop. */
export function asSentence(reason: string): string {
  if (/[.!?…)。！？）]$/.test(reason)) return reason
  return `${reason}${locale.startsWith('zh') ? '。' : '.'}`
}
