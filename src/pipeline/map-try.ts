import type { Answer } from '../contract/contract.js'
import { type Message, seriesKey } from '../model.js'
import type { Mapping } from './mapping.js'

/** Tells what a mapping makes of a message: which rule or preset applies, the points, their time and units, and why. */
export function tryMapping(mapping: Mapping, message: Message): Answer<'POST /api/map/try'> {
  const { topic } = message
  const by = mapping.decidedBy(topic)
  const read = mapping.read(message)
  if ('reason' in read) return { ...by, outcome: 'dead', reason: read.reason, detail: read.detail, points: [] }
  const { points, quality, absent = [], ignored, clockError, refused } = read
  const outcome = ignored ? 'ignored' : points.length > 0 ? 'stored' : 'nothing'
  return {
    ...by,
    outcome,
    ...(ignored && { ignored }),
    ...(refused && { reason: refused.reason, detail: refused.detail }),
    quality,
    ...(clockError !== undefined && { clockError: clockError / 1_000 }),
    points: points.map(({ measurement, tags, fields, time }) => ({
      measurement,
      tags: Object.fromEntries(tags),
      fields: fields.map(([name, value]) => {
        const unit = mapping.unit({ measurement, field: name }, topic)
        return { name, value, ...(unit !== undefined && { unit }) }
      }),
      time: time / 1_000,
    })),
    absent: absent.map(seriesKey),
    described: [...mapping.knowledge.devices()],
  }
}
