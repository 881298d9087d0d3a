import type { FieldValue } from '../../model.js'
import { type KeyKind, noKind } from './key-names.js'
import type { ReadingRules, Sample, TextMemory } from './sample.js'
import { knownUnit } from './units.js'

/** A number with the unit that stood behind it. */
export interface Measured {
  readonly number: number
  readonly unit: string
}

/** Meaning of a text: a value, a number with a unit, or that there is no value. */
export type TextMeaning = FieldValue | Measured | undefined

/** A decimal number without needless zeros in front. */
const decimal = /^[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i
/** Digits with separators of thousands and a decimal point, or the other way round: only one reading is possible. */
const grouped = /^[+-]?(?:[1-9]\d{0,2}(?:,\d{3})+\.\d+|[1-9]\d{0,2}(?:\.\d{3})+,\d+)$/
const withComma = /^[+-]?(?:0|[1-9]\d*),\d+$/
/** One or two digits behind the comma: with three, the comma may separate thousands. */
const shortComma = /^[+-]?(?:0|[1-9]\d*),\d{1,2}$/
const withUnit = /^([+-]?[\d.,]*\d(?:e[+-]?\d+)?)(\s*)([^\d\s.,+-][^\d]{0,12}|[^\d\s.,+-][^\d]{0,10}[23²³][^\d]{0,4})$/i
const timeAndValues = /^\d{9,10}(?:\.\d+)?(?::(?:[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?|u|nan))+$/i

const booleans = new Map([
  ['true', true],
  ['on', true],
  ['yes', true],
  ['false', false],
  ['off', false],
  ['no', false],
])

/** Numbers that are none, as C libraries print them: `nan(ind)`, `-nan(snan)`, `1.#QNAN`, `-1.#IND`. */
const printedNan = /^[+-]?(?:nan\([\w-]*\)|1\.#(?:q?nan|ind|inf)0*)$/

/** The longest text that may be a number or a word. */
const maxLength = 40

/**
 * Returns what a text means where a device may have meant a number.
 *
 * - A number is written in decimal, without zeros in front: `19.6`, `-.5`, `1.5e-3`; an exponent needs a sign or a
 *   decimal point before it. So `0042`, `8E27` and `00317.39` stay text, as do whole numbers of more digits than a
 *   float holds exactly, and a number of eight digits or more with a plus, which is a phone's.
 * - A number with a unit behind is that number: `19.8 °C`, `1,016.76 mbar`.
 * - `on`, `true`, `yes` and `off`, `false`, `no` are booleans, in any case.
 * - Absent words say that there is no value.
 *
 * Words stay text where the field has had other texts: an operating mode that was `heat` is `off` then, not false. So do
 * digits where the field has had codes like them: `583291` after `E8329E`, and `2024.7` after `2024.6.1`.
 */
export function meaningOf(
  text: string,
  rules: ReadingRules,
  { isText, isChoice }: Pick<KeyKind, 'isText' | 'isChoice'>,
  memory: TextMemory,
  field: string,
): TextMeaning {
  const length = text.length
  if (length > maxLength) return text
  const first = text.charCodeAt(0)
  if (isNumeric(first)) {
    if (!isText) {
      const number = numberOf(text, rules)
      if (number !== undefined && memory.codes && isCode(text, memory.codes.get(field))) return text
      if (number !== undefined) return Number.isFinite(number) ? number : undefined
      const measured = measuredOf(text, rules)
      if (measured) return measured
    }
    if (first !== minus && first !== plus) return printedNan.test(text.toLowerCase()) ? undefined : text
  }
  if (length > 16) return text
  const word = text.toLowerCase()
  if (word !== '' && memory.texts?.has(field)) return text
  if (rules.absent.has(word) || printedNan.test(word)) return undefined
  return (isText || isChoice ? undefined : booleans.get(word)) ?? text
}

const minus = 45
const plus = 43

/** Digits, and what else a number begins with. */
function isNumeric(code: number): boolean {
  return (code >= 48 && code <= 57) || code === minus || code === plus || code === 46
}

function numberOf(text: string, { decimalComma }: ReadingRules): number | undefined {
  if (decimal.test(text)) {
    const e = text.search(/e/i)
    if (e > 0 && !/[+-]/.test(text[e + 1] as string) && text.lastIndexOf('.', e) < 0) return undefined
    const number = Number(text)
    if (Math.abs(number) > Number.MAX_SAFE_INTEGER && /^[+-]?\d+$/.test(text)) return undefined
    if (text.charCodeAt(0) === plus && /^\+\d{8,}$/.test(text)) return undefined
    return number
  }
  if (!text.includes(',')) return undefined
  if (decimalComma === false) return undefined
  if (decimalComma ? withComma.test(text) : shortComma.test(text)) return Number(text.replace(',', '.'))
  if (!grouped.test(text)) return undefined
  const point = Math.max(text.lastIndexOf(','), text.lastIndexOf('.'))
  return Number(`${text.slice(0, point).replace(/[,.]/g, '')}.${text.slice(point + 1)}`)
}

function measuredOf(text: string, rules: ReadingRules): Measured | undefined {
  const [, digits = '', space, name = ''] = withUnit.exec(text) ?? []
  const unit = name && knownUnit(name)
  // A letter right behind a number may be a part of a code: 3F, 12A, 5m.
  if (!unit || (space === '' && name.length === 1 && /[a-z]/i.test(name) && !/^[VW]$/.test(name))) return undefined
  const number = numberOf(digits, rules)
  return number !== undefined && Number.isFinite(number) ? { number, unit } : undefined
}

/** Returns whether a text is a word that could also be a boolean or an absent value, or asks for the other of two. */
export function isWord(text: string, rules: ReadingRules): boolean {
  if (text.length > 16) return false
  const word = text.toLowerCase()
  return booleans.has(word) || rules.absent.has(word) || word === 'toggle'
}

/** Most texts remembered of one topic. */
const maxTexts = 1_000

/** A code in which digits and letters are mixed. */
const mixedCode = /^(?=.*\d)(?=.*[a-z])[\da-z]{4,32}$/i
/** A version, or an address, with more than one dot. */
const dotted = /^\d{1,5}(?:\.\d{1,6}){2,5}$/
/** Length of a code that stands for those with dots. */
const dottedLength = -1

/** Whether a number is written like the codes that the field has had: of so many digits, or with a dot. */
function isCode(text: string, length: number | undefined): boolean {
  if (length === undefined) return false
  return length === dottedLength ? /^\d+\.\d+$/.test(text) : text.length === length && /^\d+$/.test(text)
}

function rememberCode(memory: TextMemory, name: string, text: string): void {
  const length = mixedCode.test(text) ? text.length : dotted.test(text) ? dottedLength : undefined
  if (length === undefined || memory.codes?.get(name) === length) return
  memory.codes ??= new Map()
  if (memory.codes.size < maxTexts) memory.codes.set(name, length)
}

/** Remembers that a field has had a text that is nothing but a text. */
export function rememberText(memory: TextMemory, name: string, text: string, rules: ReadingRules): void {
  rememberCode(memory, name, text)
  if (memory.texts?.has(name) || isWord(text, rules) || /^[\d+-]/.test(text)) return
  memory.texts ??= new Set()
  if (memory.texts.size < maxTexts) memory.texts.add(name)
}

/** Decodes a bare `23.5`, `19.8 °C`, `ON`, `true`, `nan` or text as one field called `value`. */
export function decodeValue(text: string, rules: ReadingRules, memory: TextMemory): Sample[] {
  if (rules.isTextField?.('value')) return [{ fields: [['value', text]] }]
  if (timeAndValues.test(text)) return decodeTimed(text)
  const meaning = meaningOf(text, rules, rules.topicKind ?? noKind, memory, 'value')
  if (meaning === undefined) return [{ fields: [], absent: ['value'] }]
  if (typeof meaning === 'object') {
    return [{ fields: [['value', meaning.number]], units: [['value', meaning.unit]] }]
  }
  if (typeof meaning === 'string') rememberText(memory, 'value', meaning, rules)
  return [{ fields: [['value', meaning]] }]
}

/** Decodes `time:value[:value…]`, as collectd and RRDtool write it. */
function decodeTimed(text: string): Sample[] {
  const [time, ...values] = text.split(':')
  const fields: [string, number][] = []
  const absent: string[] = []
  for (const [i, value] of values.entries()) {
    const name = values.length === 1 ? 'value' : `value.${i}`
    const number = Number(value)
    if (Number.isFinite(number)) fields.push([name, number])
    else absent.push(name)
  }
  return [{ fields, time: Math.round(Number(time) * 1e6), ...(absent.length > 0 && { absent }) }]
}
