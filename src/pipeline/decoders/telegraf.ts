import type { FieldValue } from '../../model.js'
import { isMembers, type Members } from './members.js'
import type { Sample } from './sample.js'
import { parseTime } from './time.js'

/*
 * Metrics of Telegraf as JSON (`data_format = "json"`), which say the same as line protocol:
 *
 *   {"name": "cpu", "tags": {"cpu": "cpu0"}, "fields": {"usage_idle": 90.5}, "timestamp": 1700000000}
 *   {"metrics": [{"name": …}, …]}
 */

interface TelegrafMetric {
  readonly name: string
  readonly tags: Readonly<Record<string, string>>
  readonly fields: Members
  readonly timestamp: number
}

/** A metric of Telegraf, or several. */
export type TelegrafTree = TelegrafMetric | { readonly metrics: readonly TelegrafMetric[] }

/** Whether a decoded payload is surely of Telegraf. */
export function looksLikeTelegraf(tree: unknown): tree is TelegrafTree {
  const { metrics, fields } = (tree ?? {}) as Members
  if (metrics === undefined) return fields !== undefined && isMetric(tree)
  return (
    Array.isArray(metrics) && metrics.length > 0 && Object.keys(tree as Members).length === 1 && metrics.every(isMetric)
  )
}

function isMetric(tree: unknown): tree is TelegrafMetric {
  if (!isMembers(tree) || Object.keys(tree).length !== 4) return false
  const { name, tags, fields, timestamp } = tree
  if (typeof name !== 'string' || name === '' || typeof timestamp !== 'number') return false
  if (!isMembers(tags) || !isMembers(fields) || Object.keys(fields).length === 0) return false
  return Object.values(tags).every(tag => typeof tag === 'string') && Object.values(fields).every(isFieldValue)
}

function isFieldValue(value: unknown): value is FieldValue {
  return typeof value === 'number' ? Number.isFinite(value) : typeof value === 'string' || typeof value === 'boolean'
}

/** Reads metrics of Telegraf: a sample for each, with its measurement and tags. */
export function readTelegraf(tree: TelegrafTree): Sample[] {
  const metrics = 'metrics' in tree ? tree.metrics : [tree]
  return metrics.map(({ name, tags, fields, timestamp }) => {
    const time = parseTime(timestamp)
    return {
      measurement: name,
      tags: Object.entries(tags)
        .filter(([tag, value]) => tag !== '' && value !== '')
        .sort(([a], [b]) => (a < b ? -1 : 1)),
      fields: Object.entries(fields) as [string, FieldValue][],
      ...(time && { time: time.time }),
    }
  })
}
