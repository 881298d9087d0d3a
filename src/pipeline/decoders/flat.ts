import type { FieldValue } from '../../model.js'
import { kindOf, noKind } from './key-names.js'
import { isEmbedded, isMembers, type Members, memberAt, trimmed } from './members.js'
import type { Sample } from './sample.js'
import { parseTime } from './time.js'
import type { TreeOptions } from './tree-reader.js'
import { meaningOf, rememberText } from './value.js'

/**
 * Reads what nearly all devices send, quickly: an object of plain values, also in objects, with one time at most, at
 * the top. Undefined for anything else, which `readTree` reads.
 */
export function readFlat(tree: unknown, options: FlatOptions): Sample | undefined {
  const { rules } = options
  if (!isMembers(tree) || rules.isTextField) return undefined
  if (rules.timeFields?.some(name => memberAt(tree, name))) return undefined
  const reading: FlatReading = { fields: [], time: undefined }
  if (!gather(reading, tree, '', options, options.json.depth)) return undefined
  const { fields, time } = reading
  if (fields.length === 0 || fields.length > options.json.fields) return undefined
  return time === undefined ? { fields } : { fields, time }
}

type FlatOptions = Omit<TreeOptions, 'isExact' | 'parseInner'>

interface FlatReading {
  readonly fields: [name: string, value: FieldValue][]
  time: number | undefined
}

/** Returns false when the members are not plain values. */
function gather(reading: FlatReading, members: Members, prefix: string, options: FlatOptions, depth: number): boolean {
  if (depth <= 0) return false
  const { rules, memory } = options
  for (const key in members) {
    const value = members[key]
    const kind = kindOf(key)
    if (kind !== noKind) {
      if (kind.unitOf !== undefined || kind.isSpecial || kind.ownUnit !== undefined) return false
      if (kind.time > 0) {
        if (
          rules.timeFields ||
          prefix !== '' ||
          reading.time !== undefined ||
          !kind.isSureTime ||
          typeof value !== 'number'
        )
          return false
        const read = parseTime(value)
        if (!read || read.isLocal) return false
        reading.time = read.time
        continue
      }
    }
    const name = prefix === '' ? key : `${prefix}.${key}`
    if (typeof value === 'number') {
      // Beyond this the digits that were sent count; infinity is one of these.
      if (!(Math.abs(value) <= Number.MAX_SAFE_INTEGER)) return false
      reading.fields.push([name, value])
    } else if (typeof value === 'boolean') reading.fields.push([name, value])
    else if (typeof value === 'string') {
      const text = trimmed(value)
      if (isEmbedded(text)) return false
      const meaning = meaningOf(text, rules, kind, memory, name)
      if (meaning === undefined || typeof meaning === 'object') return false
      if (typeof meaning === 'string') rememberText(memory, name, meaning, rules)
      reading.fields.push([name, meaning])
    } else if (!isMembers(value) || !gather(reading, value, name, options, depth - 1)) return false
  }
  return true
}
