import { describe } from '../../errors.js'
import { type Point, seriesKey } from '../../model.js'
import { parseLineProtocol } from '../../store/line-protocol.js'
import { type Sample, Undecodable } from './sample.js'

/**
 * Whether a text can only be line protocol: measurement and fields, and with them tags, a time, an integer as only lines
 * have it (`3i`), or another line. `Alarm zone=3` is a text.
 */
export function looksLikeLine(text: string): boolean {
  // Each part ends where the next can begin, or a hostile text would take exponential time.
  if (!/^[^\s,=<{[]+(,[^\s,=]+=[^\s,=]+)* [^\s=]+=("|[+-]?[\d.]|t|f)/i.test(text)) return false
  const end = text.indexOf('\n')
  const first = end < 0 ? text : text.slice(0, end)
  if (/=\S* \d{10,19}\s*$/.test(first)) return true
  try {
    const [point] = parseLineProtocol(first, 0)
    if (point === undefined) return false
    return point.tags.length > 0 || end > 0 || /=[+-]?\d+[iu](?:,|\s*$)/.test(first)
  } catch {
    return false
  }
}

/**
 * Decodes InfluxDB line protocol, one reading a line. The mapping decides whether the measurement and tags of the line
 * are kept as they are.
 */
export function decodeLine(text: string, receivedAt: number): Sample[] {
  let points: Point[]
  try {
    points = parseLineProtocol(text, receivedAt)
  } catch (error) {
    throw new Undecodable('bad_line', `not valid line protocol: ${describe(error)}`)
  }
  // Two values of one series at one time are one value. For times that no device sent, that would lose the first
  // silently.
  const seen = new Set<string>()
  for (const { measurement, tags, fields, time } of points) {
    if (points.length === 1 || time !== receivedAt) continue
    for (const [field] of fields) {
      const key = seriesKey({ measurement, tags, field })
      if (seen.has(key)) throw new Undecodable('no_time', `several lines of ${key} need a time each`)
      seen.add(key)
    }
  }
  return points
}
