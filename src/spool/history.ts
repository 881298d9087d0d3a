import type { Files } from '../disk/files.js'
import { HubError, systemCode } from '../errors.js'
import type { Message } from '../model.js'
import { decodeMessage } from './message-codec.js'
import { segmentHeaderBytes } from './segment-file.js'
import { SegmentReader } from './segment-reader.js'
import type { Segment, Segments } from './segments.js'
import type { SpoolPosition } from './spool.js'

/** Most messages in a batch. */
const batchMessages = 2_000

/** A time range of received messages, in microseconds since the epoch, by the hub's clock (`receivedAt`). */
export interface PastRange {
  readonly from: number
  /** Not included. */
  readonly to: number
}

export interface ReplayRange {
  /** Approximate numbers of messages and bytes, for a progress bar. */
  readonly total: number
  readonly bytes: number
  /**
   * The messages in the order of the spool, which is not the order of their times where the clock was set back. Ends
   * where the spool was committed at the time of the request, or when the signal aborts. Rejects with `not_found` when
   * the next messages have been deleted meanwhile.
   */
  readonly batches: AsyncIterable<readonly Message[]>
}

/**
 * Reads the messages of a time range that the spool still has, whether consumers have passed them or not.
 *
 * Segments are ordered by stamps, and no message was received later than its stamp says: segments that end before the
 * range are left out. All others are read, because after a clock was set back messages of any time may follow.
 */
export function readPast(
  dir: string,
  files: Files,
  segments: Segments,
  position: SpoolPosition,
  range: PastRange,
  signal: AbortSignal,
): ReplayRange {
  const parts = segments.list.flatMap((segment, i) => {
    const last = segments.list[i + 1]?.latestBefore ?? Number.POSITIVE_INFINITY
    return last >= range.from ? [{ segment, last }] : []
  })
  let total = 0
  let bytes = 0
  for (const { segment, last } of parts) {
    const next = segments.after(segment.segment)?.segment ?? position.sequence + 1
    const share = overlap(segment.from, last, range)
    total += (next - segment.segment) * share
    bytes += segment.bytes * share
  }
  const first = parts[0]?.segment
  return {
    total: Math.round(total),
    bytes: Math.round(bytes),
    batches: first ? batches(dir, files, segments, first, position, byTime(range), signal) : none(),
  }
}

/**
 * Reads the messages of a range of sequence numbers, both included, as far as they are committed. Ends when the signal
 * aborts; rejects with `not_found` when the next messages have been deleted.
 */
export function readNumbered(
  dir: string,
  files: Files,
  segments: Segments,
  position: SpoolPosition,
  { from, to }: { readonly from: number; readonly to: number },
  signal: AbortSignal,
): AsyncIterable<readonly Message[]> {
  const first = segments.find(segments.holding(from))
  const judge = ({ sequence }: Message) => (sequence < from ? 'out' : sequence > to ? 'end' : 'in')
  return first ? batches(dir, files, segments, first, position, judge, signal) : none()
}

/** Returns the estimated share of a segment that is in the range, by stamps. */
function overlap(from: number, last: number, range: PastRange): number {
  if (from >= range.to) return 0
  if (!Number.isFinite(last) || last <= from) return 1
  const meant = Math.min(range.to, last) - Math.max(range.from, from)
  return Math.min(1, Math.max(0, meant / (last - from)))
}

/** Decides whether a message is in the range; `end`: neither this message nor any behind. */
type Judge = (message: Message) => 'out' | 'in' | 'end'

function byTime({ from, to }: PastRange): Judge {
  return ({ receivedAt }) => (receivedAt >= from && receivedAt < to ? 'in' : 'out')
}

async function* none(): AsyncGenerator<readonly Message[]> {}

async function* batches(
  dir: string,
  files: Files,
  segments: Segments,
  first: Segment,
  position: SpoolPosition,
  judge: Judge,
  signal: AbortSignal,
): AsyncGenerator<readonly Message[]> {
  const reader = new SegmentReader(dir, files)
  try {
    for (let segment: number | undefined = first.segment; segment !== undefined; ) {
      // Looked up before the segment is read, so that a deletion meanwhile does not lose the position.
      const next: number | undefined = segments.after(segment)?.segment
      const end: number = segment === position.segment ? position.end : reader.size(segment)
      for (let offset = segmentHeaderBytes; offset < end; ) {
        const { messages, reached } = take(reader, segment, offset, judge)
        offset = reached
        if (messages.length > 0) yield messages
        if (signal.aborted || offset === Number.POSITIVE_INFINITY) return
        if (!reader.at(segment, offset) && offset < end) offset += await reader.load(segment, offset, end)
      }
      segment = segment < position.segment ? next : undefined
    }
  } catch (error) {
    throw systemCode(error) === 'ENOENT' ? gone(segments) : error
  } finally {
    reader.close()
  }
}

/** Takes the messages in memory. `reached` is infinite behind the end of the range. */
function take(reader: SegmentReader, segment: number, offset: number, judge: Judge) {
  const messages: Message[] = []
  let reached = offset
  while (messages.length < batchMessages) {
    const frame = reader.at(segment, reached)
    if (!frame) break
    reached = frame.end
    const message = decodeMessage(frame.body)
    const place = message ? judge(message) : 'out'
    if (!message || place === 'out') continue
    if (place === 'end') return { messages, reached: Number.POSITIVE_INFINITY }
    messages.push(message)
  }
  return { messages, reached }
}

function gone(segments: Segments): HubError {
  const oldest = segments.list[0]
  const since = new Date((oldest?.from ?? 0) / 1_000).toISOString()
  return new HubError(
    'not_found',
    `the spool has deleted the messages that come next; the oldest message is from ${since}`,
  )
}
