/** How values, times and names are written on the cards. Nothing is concluded from a name: only class and unit count. */

import type { Value } from '../api.js'
import { en, type TextKey } from '../texts/en.js'
import { locale, say } from '../texts/language.js'
import { decimalsOf, nameText } from '../wording.js'
import type { ControlOption, HomeControl, HomeValue } from './catalogue.js'

export { ageText, spanText } from '../wording.js'

export type Tone = 'quiet' | 'on' | 'active' | 'alert'

type Words = readonly [yes: TextKey, no: TextKey, tone: Tone]
const opened: Words = ['state.open', 'state.closed', 'active']
const noticed: Words = ['state.detected', 'state.clear', 'active']
const danger: Words = ['state.detected', 'state.clear', 'alert']
const switched: Words = ['state.on', 'state.off', 'on']

/** Words for yes and no by class, in the sense of Home Assistant's binary sensors. */
const words: Readonly<Record<string, Words>> = {
  ...{ door: opened, window: opened, garage_door: opened, opening: opened, cover: opened, valve: opened, gate: opened },
  ...{ motion: noticed, occupancy: noticed, vibration: noticed, sound: noticed, moving: noticed },
  ...{ smoke: danger, gas: danger, carbon_monoxide: danger, moisture: danger, leak: danger, tamper: danger },
  ...{ problem: danger, safety: danger, heat: danger, cold: danger },
  ...{ switch: switched, light: switched, plug: switched, power: switched, outlet: switched, fan: switched },
  presence: ['state.home', 'state.away', 'on'],
  lock: ['state.unlocked', 'state.locked', 'active'],
  battery: ['state.low', 'state.ok', 'alert'],
  battery_low: ['state.low', 'state.ok', 'alert'],
  battery_charging: ['state.charging', 'state.not-charging', 'on'],
  connectivity: ['state.connected', 'state.disconnected', 'on'],
  running: ['state.running', 'state.idle', 'on'],
}
/** Without a class: a device that writes ON is read as yes, so that these words are nearest to what was sent. */
const plain: Words = ['state.on', 'state.off', 'on']

const formats = new Map<string, Intl.NumberFormat>()

/**
 * Formats a number whole, however long: a number that is cut would be another one. Without `isGrouped` there are no
 * separators of thousands, as in a version or an id.
 */
export function numberText(value: number, decimals: number, isGrouped = true): string {
  const size = Math.abs(value)
  if (size >= 1e15 || (size > 0 && size < 1e-6)) return value.toExponential(3)
  const kind = `${decimals} ${isGrouped}`
  let format = formats.get(kind)
  if (!format) {
    const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals }
    format = new Intl.NumberFormat(locale, { ...digits, useGrouping: isGrouped })
    formats.set(kind, format)
  }
  const text = format.format(value)
  // Minus nothing is nothing.
  return /[1-9]/.test(text) ? text.replace(/^-/, '−') : format.format(0)
}

export interface Shown {
  readonly text: string
  readonly tone: Tone
}

type Spec = Pick<HomeValue, 'class' | 'unit' | 'decimals' | 'texts' | 'thresholds'>

/** Returns the text of a value, and how urgent that looks. */
export function shownOf(value: Value, spec: Spec): Shown {
  const called = spec.texts?.find(text => String(text.value) === String(value))
  if (typeof value === 'number') {
    const isQuantity = spec.unit !== undefined || spec.class !== undefined
    const text = called ? wordOf(called) : numberText(value, spec.decimals ?? decimalsOf(value), isQuantity)
    return { text, tone: toneOf(value, spec) }
  }
  const isSwitched = typeof value === 'string' && /^(on|off)$/i.test(value) && words[spec.class ?? ''] === switched
  if (typeof value === 'boolean' || isSwitched) {
    const [yes, no, tone] = words[spec.class ?? ''] ?? plain
    const word = called?.key === undefined ? undefined : `state.${called.key}`
    const isOn = typeof value === 'boolean' ? value : value.toLowerCase() === 'on'
    // The word of a description counts: a contact of Zigbee2MQTT is true when it is closed.
    const holds = word === yes || (isOn && word !== no)
    return { text: called ? wordOf(called) : say(holds ? yes : no), tone: holds ? tone : 'quiet' }
  }
  const own = called ? undefined : wordOfClass(String(value), spec)
  return { text: called ? wordOf(called) : own ? say(own) : nameText(String(value)), tone: 'quiet' }
}

/** Returns the word of the class that a device has sent as a text: `locked` of a lock. */
function wordOfClass(text: string, spec: Spec): TextKey | undefined {
  const wanted = `state.${text.toLowerCase()}`
  const [yes, no] = words[spec.class ?? ''] ?? []
  return [yes, no].find(key => key === wanted)
}

/** Returns the word of a description for a value, in the language of the page if there is one. */
function wordOf({ key, name }: NonNullable<HomeValue['texts']>[number]): string {
  const wanted = `state.${key}`
  return key !== undefined && Object.hasOwn(en, wanted) ? say(wanted as TextKey) : nameText(name)
}

/** The side of a number, seen from the limits that people have set; empty within these. */
export type Side = '' | 'low' | 'high' | 'very-low' | 'very-high'

export function sideOf(value: Value | undefined, { thresholds }: Pick<HomeValue, 'thresholds'>): Side {
  if (typeof value !== 'number' || !thresholds) return ''
  const { low = -Infinity, high = Infinity, veryLow = -Infinity, veryHigh = Infinity } = thresholds
  if (value < veryLow) return 'very-low'
  if (value > veryHigh) return 'very-high'
  return value < low ? 'low' : value > high ? 'high' : ''
}

function toneOf(value: number, spec: Spec): Tone {
  const side = sideOf(value, spec)
  return side === '' ? 'quiet' : side.startsWith('very') ? 'alert' : 'active'
}

/** Returns the name of a value or a control in the language of the page, where there is a word. */
export function nameOf(
  named: Pick<HomeValue | HomeControl, 'key' | 'name'> & { readonly part?: string | undefined },
): string {
  const { key, name, part } = named
  const wanted = `name.${key}`
  const text = key !== undefined && Object.hasOwn(en, wanted) ? say(wanted as TextKey) : nameText(name)
  return part === undefined ? text : `${text} · ${nameText(part)}`
}

export function optionName({ key, name }: Pick<ControlOption, 'key' | 'name'>): string {
  const wanted = `option.${key}`
  return key !== undefined && Object.hasOwn(en, wanted) ? say(wanted as TextKey) : nameText(name)
}

const clock = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit' })

export function clockText(time: number): string {
  return clock.format(time)
}
