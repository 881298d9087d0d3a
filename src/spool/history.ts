import type { Files } from '../disk/files.js'
import { HubError, systemCode } from '../errors.js'
import type { Message } from '../model.js'
import type { Archive, ArchivedSegment } from './archive.js'
import { decodeMessage } from './message-codec.js'
import { segmentHeaderBytes } from './segment-file.js'
import { SegmentReader } from './segment-reader.js'
import type { Segments } from './segments.js'
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

/** The raw past: the segments of the spool, and before them those of the archive. */
export interface PastSource {
  readonly dir: string
  readonly files: Files
  readonly segments: Segments
  readonly archive: Archive | undefined
}

/**
 * Reads the messages of a time range that the spool and the archive still have, whether consumers have passed them or
 * not.
 *
 * Segments are ordered by stamps, and no message was received later than its stamp says: segments that end before the
 * range are left out. All others of the spool are read, because after a clock was set back messages of any time may
 * follow. Those of the archive are read when their own times overlap the range.
 */
export function readPast(
  source: PastSource,
  position: SpoolPosition,
  range: PastRange,
  signal: AbortSignal,
): ReplayRange {
  const { segments, archive } = source
  const parts = segments.list.flatMap((segment, i) => {
    const last = segments.list[i + 1]?.latestBefore ?? Number.POSITIVE_INFINITY
    return last >= range.from ? [{ segment, last }] : []
  })
  const archived = (archive?.list ?? []).filter(one => isWanted(one, range) && !segments.find(one.segment))
  let total = 0
  let bytes = 0
  for (const { segment, last } of parts) {
    const next = segments.after(segment.segment)?.segment ?? position.sequence + 1
    const share = overlap(segment.from, last, range)
    total += (next - segment.segment) * share
    bytes += segment.bytes * share
  }
  for (const { earliest, latest, messages, rawBytes } of archived) {
    const share = overlap(earliest, latest, range)
    total += messages * share
    bytes += rawBytes * share
  }
  const first = archived[0]?.segment ?? parts[0]?.segment.segment
  return {
    total: Math.round(total),
    bytes: Math.round(bytes),
    batches: first === undefined ? none() : batches(source, first, position, byTime(range), signal, range),
  }
}

function isWanted({ earliest, latest, messages }: ArchivedSegment, { from, to }: PastRange): boolean {
  return messages === 0 || (latest >= from && earliest < to)
}

/**
 * Reads the messages of a range of sequence numbers, both included, as far as they are committed: of the archive, too,
 * where the spool begins later. Ends when the signal aborts; rejects with `not_found` when the next messages have been
 * deleted.
 */
export function readNumbered(
  source: PastSource,
  position: SpoolPosition,
  { from, to }: { readonly from: number; readonly to: number },
  signal: AbortSignal,
): AsyncIterable<readonly Message[]> {
  const { segments, archive } = source
  const spooled = segments.find(segments.holding(from))?.segment
  const archived = from < (spooled ?? Number.POSITIVE_INFINITY) ? archive?.holding(from)?.segment : undefined
  const first = archived ?? spooled
  const judge = ({ sequence }: Message) => (sequence < from ? 'out' : sequence > to ? 'end' : 'in')
  return first === undefined ? none() : batches(source, first, position, judge, signal, always)
}

const always: PastRange = { from: 0, to: Number.POSITIVE_INFINITY }

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

/** @param range Times of receipt outside of which segments of the archive need not be read. */
async function* batches(
  source: PastSource,
  first: number,
  position: SpoolPosition,
  judge: Judge,
  signal: AbortSignal,
  range: PastRange,
): AsyncGenerator<readonly Message[]> {
  const { segments, archive } = source
  const reader = new SegmentReader(source.dir, source.files)
  try {
    for (let segment: number | undefined = first; segment !== undefined; ) {
      // Looked up before the segment is read, so that a deletion meanwhile does not lose the position.
      const next: number | undefined = nextOf(source, segment, range)
      // A segment may go from the spool into the archive at any time before it is opened.
      const isInSpool = segments.find(segment) !== undefined || !archive?.find(segment)
      const found = isInSpool
        ? spooled(reader, segment, position, judge)
        : judged((archive as Archive).read(segment, range), judge)
      for await (const { messages, isEnd } of found) {
        if (messages.length > 0) yield messages
        if (signal.aborted || isEnd) return
      }
      segment = segment < position.segment ? next : undefined
    }
  } catch (error) {
    throw systemCode(error) === 'ENOENT' ? gone(source) : error
  } finally {
    reader.close()
  }
}

/** Returns the segment to be read behind another, of the spool or of the archive. */
function nextOf({ segments, archive }: PastSource, segment: number, range: PastRange): number | undefined {
  const inSpool = segments.after(segment)?.segment
  let archived = archive?.after(segment)
  while (archived && archived.segment < (inSpool ?? Number.POSITIVE_INFINITY)) {
    if (isWanted(archived, range)) return archived.segment
    archived = archive?.after(archived.segment)
  }
  return inSpool
}

/** Messages of the range; `isEnd`: nothing behind them is of the range. */
interface TakenMessages {
  readonly messages: readonly Message[]
  readonly isEnd: boolean
}

async function* spooled(
  reader: SegmentReader,
  segment: number,
  position: SpoolPosition,
  judge: Judge,
): AsyncGenerator<TakenMessages> {
  const end: number = segment === position.segment ? position.end : reader.size(segment)
  for (let offset = segmentHeaderBytes; offset < end; ) {
    const { messages, reached } = take(reader, segment, offset, judge)
    const isEnd = reached === Number.POSITIVE_INFINITY
    offset = reached
    yield { messages, isEnd }
    if (!isEnd && !reader.at(segment, offset) && offset < end) offset += await reader.load(segment, offset, end)
  }
}

async function* judged(archived: AsyncIterable<readonly Message[]>, judge: Judge): AsyncGenerator<TakenMessages> {
  for await (const all of archived) {
    const places = all.map(judge)
    yield { messages: all.filter((_, i) => places[i] === 'in'), isEnd: places.includes('end') }
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

function gone({ segments, archive }: PastSource): HubError {
  const oldest = archive?.list[0]?.earliest || segments.list[0]?.from
  const since = new Date((oldest ?? 0) / 1_000).toISOString()
  return new HubError(
    'not_found',
    `the spool has deleted the messages that come next; the oldest message is from ${since}`,
  )
}
