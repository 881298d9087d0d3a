import type { Message, Outcome, Point, Rejection } from '../model.js'
import { Slices } from '../runtime/slices.js'
import type { TimeSeriesStore } from '../store/store.js'
import type { Mapping } from './mapping.js'
import type { SeriesGuard } from './series-guard.js'

/** Counts what was stored. */
export interface RecordCounts {
  recorded(messages: number, points: number): void
}

export interface RecorderOptions {
  readonly mapping: Pick<Mapping, 'read' | 'thin'>
  /** Limits the number of series. Without a guard there is no limit. */
  readonly guard?: Pick<SeriesGuard, 'check'> | undefined
  readonly store: Pick<TimeSeriesStore, 'write'>
  readonly counts?: RecordCounts
}

/** Points held before they are written: a message may hold one for every few bytes. */
const maxHeld = 20_000

/**
 * Turns messages into stored points: decode, map, write. Messages that the store or a decoder refuses are rejected with
 * the reason. Where only some values of a message are refused, the others are stored, and the rejection is `partly`.
 */
export class Recorder {
  readonly #options: RecorderOptions

  constructor(options: RecorderOptions) {
    this.#options = options
  }

  /**
   * Returns one outcome per message. `inOrder`: all earlier messages have been handled, so the store may record the
   * number of the last one.
   */
  async handle(messages: readonly Message[], inOrder = false): Promise<readonly Outcome[]> {
    const { mapping, guard, store, counts } = this.#options
    const outcomes: Outcome[] = new Array(messages.length).fill('ack')
    const refusals = new Map<number, MessageRefusal>()
    let points: Point[] = []
    let owners: number[] = []
    let stored = 0
    const write = async (sequence?: number) => {
      const isNeeded = points.length > 0 || sequence !== undefined
      const refused = isNeeded ? await store.write(points, sequence) : []
      for (const { index, reason, detail, fields } of refused) {
        const isWhole = fields === undefined
        if (isWhole) stored--
        const owner = owners[index] as number
        const known = refusals.get(owner)
        if (!known) refusals.set(owner, { reason, detail, points: 1, whole: isWhole ? 1 : 0, names: new Set(fields) })
        else {
          known.points++
          if (isWhole) known.whole++
          for (const field of fields ?? []) known.names.add(field)
        }
      }
      stored += points.length
      points = []
      owners = []
    }
    /** Points of the messages, as far as there are any. */
    const sizes: number[] = []
    const slices = new Slices()
    for (const [i, message] of messages.entries()) {
      // Other work of this thread, and so the screen, must not wait for a whole batch.
      if (slices.isOver) await slices.turn()
      const reading = mapping.read(message)
      const refused = 'reason' in reading ? reading : guard?.check(reading.points, message)
      if (refused) outcomes[i] = refused
      else if ('points' in reading) {
        if (reading.refused)
          refusals.set(i, { ...reading.refused, points: 0, whole: 0, names: new Set(reading.refused.fields) })
        const kept = mapping.thin(message.topic, reading.points)
        sizes[i] = kept.length
        if (kept.length === 0 && (reading.ignored || reading.points.length > 0)) outcomes[i] = 'ignored'
        for (const point of kept) {
          points.push(point)
          owners.push(i)
        }
        if (points.length >= maxHeld) await write()
      }
    }
    await write(inOrder ? lastOwn(messages) : undefined)
    for (const [i, refusal] of refusals) outcomes[i] = rejectionOf(refusal, sizes[i] ?? 0)
    counts?.recorded(outcomes.filter(isDone).length, stored)
    return outcomes
  }
}

export function isDone(outcome: Outcome | undefined): boolean {
  return outcome === 'ack' || outcome === 'ignored'
}

/** What of a message was refused, with the first reason. */
interface MessageRefusal extends Rejection {
  /** Points that the store refused at least in part. */
  points: number
  /** Points of these that were refused as a whole. */
  whole: number
  /** Fields that were refused, of the points that were not refused as a whole. */
  readonly names: Set<string>
}

/** Returns the rejection of a message of `size` points. */
function rejectionOf({ reason, detail, points, whole, names }: MessageRefusal, size: number): Rejection {
  const more = points > 1 ? `; so are values of ${points - 1} more points` : ''
  if (whole === size) return { reason, detail: detail + more }
  const fields = whole === 0 && names.size > 0 ? { fields: [...names] } : {}
  return { reason, detail: `${detail}${more}; all other values of the message are stored`, partly: true, ...fields }
}

/** Returns the sequence number of the last message that this hub accepted itself. */
function lastOwn(messages: readonly Message[]): number | undefined {
  return messages.findLast(({ hub }) => hub === undefined)?.sequence
}
