import type { Sample } from './sample.js'

/** JSON's number grammar, with a leading + or a bare point allowed, as sensors print numbers. */
const number = /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i

const booleans = new Map([
  ['true', true],
  ['on', true],
  ['false', false],
  ['off', false],
])

/** Decodes a bare `23.5`, `ON`, `true` or text as one field called `value`. */
export function decodeValue(text: string): Sample[] {
  const parsed = number.test(text) ? Number(text) : Number.NaN
  const value = Number.isFinite(parsed) ? parsed : (booleans.get(text.toLowerCase()) ?? text)
  return [{ fields: [['value', value]] }]
}
