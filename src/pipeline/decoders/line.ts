import { describe } from '../../errors.js'
import { type Point, seriesKey } from '../../model.js'
import { parseLineProtocol } from '../../store/line-protocol.js'
import { type Sample, Undecodable } from './sample.js'

/** Whether a text looks like `measurement[,tag=value…] field=value…`, which no bare text does by chance. */
export function looksLikeLine(text: string): boolean {
  // Each part ends where the next can begin, or a hostile text would take exponential time.
  return /^[^\s,=]+(,[^\s,=]+=[^\s,=]+)* [^\s=]+=("|-?\d|t|f)/i.test(text)
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
