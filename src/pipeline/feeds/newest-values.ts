import type { LiveJson } from './reading-json.js'

/** Most characters of the values that a reading keeps from earlier messages of the topic. */
const maxKept = 4_000

/** Age from which a value of an earlier message is not kept, in milliseconds. */
const keptFor = 86_400_000

/**
 * Returns the JSON of a reading with the newest values of the topic's other series, each with a time of its own. Some
 * devices send their values in turn. A receiver that is given only the last of several messages must not miss a value.
 *
 * @param json Reading, as `ReadingJson.encode` makes one for newest readings.
 * @param before The same of the message before.
 */
export function withEarlierValues(json: string, before: string): string {
  const reading = JSON.parse(json) as LiveJson
  const earlier = JSON.parse(before) as LiveJson
  const known = new Set([...reading.values.map(({ series }) => series), ...(reading.absent ?? [])])
  const kept: LiveJson['values'][number][] = []
  let length = 0
  for (const value of earlier.values) {
    const { time = earlier.time } = value
    if (known.has(value.series) || time < reading.received - keptFor) continue
    length += JSON.stringify(value).length
    if (length > maxKept) break
    kept.push({ ...value, time })
  }
  return kept.length === 0 ? json : JSON.stringify({ ...reading, values: [...reading.values, ...kept] })
}

const brace = 0x7b
const bracket = 0x5b
const quote = 0x22
const backslash = 0x5c

/** Bytes of a number, but for the `e` of an exponent. */
const isOfNumber = new Uint8Array(256)
for (const sign of '0123456789+-.') isOfNumber[sign.charCodeAt(0)] = 1

/**
 * Whether two payloads differ in nothing but the numbers of a JSON text, so that both have values of the same fields.
 * Compares bytes, which costs far less than to decode the payloads.
 */
export function haveSameFields(one: Uint8Array, other: Uint8Array): boolean {
  const [first = 0] = one
  if (first !== brace && first !== bracket && isOfNumber[first] === 0) return false
  let i = 0
  let j = 0
  let isText = false
  for (;;) {
    if (!isText) {
      while (isOfNumber[one[i] as number] === 1) i++
      while (isOfNumber[other[j] as number] === 1) j++
    }
    const byte = one[i]
    if (byte !== other[j]) return false
    if (byte === undefined) return true
    if (byte === quote) isText = !isText
    // The byte after a backslash is compared here, so that no escaped quote ends the text.
    else if (isText && byte === backslash && one[++i] !== other[++j]) return false
    i++
    j++
  }
}
