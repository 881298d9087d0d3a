import type { JobProgress } from '../../contract/contract.js'
import { type FieldValue, fieldType, type Message, type Point, seriesKey } from '../../model.js'
import type { Mapping } from '../mapping.js'
import { SeriesMarks } from './series-marks.js'

/** How a new mapping differs from the one in force, over messages of the past. */
export type MappingDiff = NonNullable<JobProgress['diff']>

type SeriesSample = MappingDiff['appear'][number]

/** Most series of each kind that are named, and most that are watched meanwhile: some turn out to be the same. */
const mostNamed = 100
const mostWatched = 1_000

/** Most changes of outcome that are told apart: there are few reasons. */
const mostFates = 200

const typeBits = { number: 1, boolean: 2, text: 4 } as const
const typeNames = ['number', 'boolean', 'text'] as const

/** The bits of a series: which types it had before in the low three bits, and which it has in the next three. */
const afterShift = 3
const typeMask = 7

/** One message under one mapping. */
interface MappedMessage {
  readonly fate: string
  readonly points: readonly Point[]
}

/**
 * Compares two mappings over messages, and stores nothing. Memory is bounded whatever the number of series: they are
 * told apart by hashes, and some of those that differ are named.
 *
 * Neither the limits of series nor what the store refuses are asked; `every`, `onChange` and `deadband` of the rules
 * begin anew with the first message.
 */
export class MappingComparison {
  readonly #before: Mapping
  readonly #after: Mapping
  readonly #tallies = { before: newTally(), after: newTally() }
  readonly #marks = new SeriesMarks()
  /** Series that are on one side only so far, or of another type, with a sample. */
  readonly #watched = new Map<string, { bits: number; sample: SeriesSample }>()
  readonly #fates = new Map<string, MappingDiff['fates'][number] & { messages: number }>()

  constructor(before: Mapping, after: Mapping) {
    this.#before = before
    this.#after = after
  }

  add(message: Message): void {
    const before = take(this.#before, message, this.#tallies.before)
    const after = take(this.#after, message, this.#tallies.after)
    if (before.fate !== after.fate) this.#countFate(message.topic, before.fate, after.fate)
    // Values by series, so that each series of the message is looked at once.
    const seen = new Map<string, { bits: number; before?: FieldValue; after?: FieldValue }>()
    for (const side of ['before', 'after'] as const) {
      for (const { measurement, tags, fields } of (side === 'before' ? before : after).points) {
        for (const [field, value] of fields) {
          const key = seriesKey({ measurement, tags, field })
          const bit = typeBits[fieldType(value)] << (side === 'before' ? 0 : afterShift)
          const known = seen.get(key)
          if (known) {
            known.bits |= bit
            known[side] ??= value
          } else seen.set(key, { bits: bit, [side]: value })
        }
      }
    }
    for (const [key, found] of seen) {
      const bits = this.#marks.mark(key, found.bits)
      if (bits === 0) continue
      const watched = this.#watched.get(key)
      if (kindOf(bits) === 'same') {
        if (watched) this.#watched.delete(key)
      } else if (watched) watched.bits = bits
      else if (this.#watched.size < mostWatched) {
        const { before: old, after: fresh } = found
        const sample = {
          series: key,
          topic: message.topic,
          types: '',
          ...given('before', old),
          ...given('after', fresh),
        }
        this.#watched.set(key, { bits, sample })
      }
    }
  }

  result(): MappingDiff {
    const series = { before: 0, after: 0, same: 0, appear: 0, vanish: 0, retyped: 0 }
    for (const bits of this.#marks) {
      series[kindOf(bits)]++
      if ((bits & typeMask) !== 0) series.before++
      if (bits >> afterShift !== 0) series.after++
    }
    const named = (kind: 'appear' | 'vanish' | 'retyped') =>
      [...this.#watched.values()]
        .filter(({ bits }) => kindOf(bits) === kind)
        .slice(0, mostNamed)
        .map(({ bits, sample }) => ({ ...sample, types: typesOf(bits) }))
    return {
      ...this.#tallies,
      series,
      ...(this.#marks.isFull && { incomplete: true as const }),
      fates: [...this.#fates.values()].sort((a, b) => b.messages - a.messages),
      ...{ appear: named('appear'), vanish: named('vanish'), retyped: named('retyped') },
    }
  }

  #countFate(topic: string, before: string, after: string): void {
    const key = `${before}\0${after}`
    const known = this.#fates.get(key)
    if (known) known.messages++
    else if (this.#fates.size < mostFates) this.#fates.set(key, { before, after, messages: 1, topic })
  }
}

function newTally() {
  return { messages: 0, stored: 0, ignored: 0, dead: 0, partly: 0, points: 0, reasons: {} as Record<string, number> }
}

/** Reads a message as the recorder does, and counts what would become of it. */
function take(mapping: Mapping, message: Message, tally: ReturnType<typeof newTally>): MappedMessage {
  tally.messages++
  const read = mapping.read(message)
  if ('reason' in read) {
    tally.dead++
    tally.reasons[read.reason] = (tally.reasons[read.reason] ?? 0) + 1
    return { fate: `dead: ${read.reason}`, points: [] }
  }
  const kept = mapping.thin(message.topic, read.points)
  if (read.refused) tally.partly++
  tally.points += kept.length
  // Series count as they are read: one that is thinned out over the whole span is still made.
  if (kept.length === 0 && (read.ignored || read.points.length > 0)) {
    tally.ignored++
    return { fate: read.ignored ? `ignored: ${read.ignored}` : 'thinned out', points: read.points }
  }
  tally.stored++
  return { fate: 'stored', points: read.points }
}

function kindOf(bits: number): 'same' | 'appear' | 'vanish' | 'retyped' {
  const [before, after] = [bits & typeMask, bits >> afterShift]
  if (before === 0) return 'appear'
  if (after === 0) return 'vanish'
  return before === after ? 'same' : 'retyped'
}

function typesOf(bits: number): string {
  const names = (of: number) => typeNames.filter(name => (of & typeBits[name]) !== 0).join(' and ')
  return [names(bits & typeMask), names(bits >> afterShift)].filter(Boolean).join(' → ')
}

/** Most characters of a text value in a sample. */
const maxText = 100

function given<Name extends string>(name: Name, value: FieldValue | undefined) {
  if (value === undefined) return {}
  const shown = typeof value === 'string' && value.length > maxText ? `${value.slice(0, maxText)}…` : value
  return { [name]: shown } as Record<Name, FieldValue>
}
