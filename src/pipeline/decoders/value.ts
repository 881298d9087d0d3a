import type { Sample } from './sample.js'

/** JSON's number grammar, a leading + or a bare point allowed: what sensors print. */
const number = /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i

const booleans = new Map([
  ['true', true],
  ['on', true],
  ['false', false],
  ['off', false],
])

/** A bare `23.5`, `ON`, `true` or text: one field called `value`. */
export function decodeValue(text: string): Sample[] {
  const parsed = number.test(text) ? Number(text) : Number.NaN
  const value = Number.isFinite(parsed) ? parsed : (booleans.get(text.toLowerCase()) ?? text)
  return [{ fields: [['value', value]] }]
}
