import { claimedEnd, frameHeaderBytes } from '../disk/commit-log.js'
import { type Files, openToRead, readPieceSync } from '../disk/files.js'
import { systemCode } from '../errors.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { readUInt64 } from './message-codec.js'
import { listSegments, readStamp, segmentHeaderBytes, segmentPath } from './segment-file.js'
import type { SpoolPosition } from './spool.js'

/** A segment as known to the reading side, without reading the messages. */
export interface Segment {
  /** First sequence number, which is the name of the file. */
  readonly segment: number
  /** Size of the file. For the newest segment, the size at the last look. */
  bytes: number
  /**
   * When the last message before the segment was received, 0 when there was none, and when the first message in the
   * segment was received. In microseconds.
   */
  readonly before: number
  readonly from: number
  /** Upper bound of all stamps before the segment; infinite when unknown. */
  readonly latestBefore: number
}

/**
 * Offset of the stamp in a frame: behind the header, the two bytes of version and flags, the packet id and the sequence
 * number.
 */
const stampAt = frameHeaderBytes + 12

/** All segments, oldest first, for the reading side. */
export class Segments {
  readonly #dir: string
  readonly #clock: MicrosecondClock
  readonly #files: Files
  #list: Segment[] = []

  constructor(dir: string, clock: MicrosecondClock, files: Files) {
    this.#dir = dir
    this.#clock = clock
    this.#files = files
  }

  start(): void {
    this.#list = []
    for (const segment of listSegments(this.#dir, this.#files)) this.#add(segment)
  }

  /**
   * Called when the spool has committed more. Not every commit is reported, so there may be more than one new segment.
   */
  grow(position: SpoolPosition): void {
    const newest = this.#list.at(-1)
    if (newest && position.segment > newest.segment) {
      newest.bytes = this.#sizeOf(newest.segment) ?? newest.bytes
      for (const segment of this.#listed(position)) if (segment > newest.segment) this.#add(segment)
    }
    const last = this.#list.at(-1)
    if (last?.segment === position.segment) last.bytes = position.end
  }

  #listed(position: SpoolPosition): number[] {
    try {
      const found = listSegments(this.#dir, this.#files).filter(segment => segment <= position.segment)
      return found.includes(position.segment) ? found : [...found, position.segment]
    } catch {
      return [position.segment]
    }
  }

  get list(): readonly Segment[] {
    return this.#list
  }

  find(segment: number): Segment | undefined {
    return this.#list.find(known => known.segment === segment)
  }

  /** Returns the segment after another. When there is one, the earlier segment will not grow any more. */
  after(segment: number): Segment | undefined {
    return this.#list.find(known => known.segment > segment)
  }

  /** Returns the segment that holds `sequence`, or the oldest one. */
  holding(sequence: number): number {
    return (this.#list.findLast(({ segment }) => segment <= sequence) ?? this.#list[0])?.segment ?? 1
  }

  /** Removes the oldest segment from the list, after the file was deleted. */
  shift(): void {
    this.#list.shift()
  }

  #add(segment: number): void {
    const previous = this.#list.at(-1)
    const stamps = this.#readStamps(segment)
    // A header has no checksum, so an implausible stamp is not believed.
    const likely = stamps.before >= (previous?.before ?? 0) && stamps.before <= this.#clock.now() + microsecondsPerDay
    const before = likely ? stamps.before : (previous?.before ?? 0)
    const from = Math.max(stamps.from, before)
    // After a clock was far ahead, the stamp of the header is right although implausible.
    const isKnown = likely || stamps.from > 0
    const latestBefore = isKnown ? Math.max(stamps.before, stamps.from) : Number.POSITIVE_INFINITY
    this.#list.push({ segment, bytes: this.#sizeOf(segment) ?? 0, before, from, latestBefore })
  }

  /** Returns the size of a segment. Undefined when the file is gone. */
  #sizeOf(segment: number): number | undefined {
    try {
      return this.#files.sizeOfSync(segmentPath(this.#dir, segment))
    } catch {
      return undefined
    }
  }

  /** Returns the stamps in the header and in the first message; 0 when they cannot be read. */
  #readStamps(segment: number): { before: number; from: number } {
    let head: Buffer = Buffer.alloc(0)
    try {
      const fd = this.#files.openSync(segmentPath(this.#dir, segment), openToRead)
      try {
        head = readPieceSync(this.#files, fd, 0, segmentHeaderBytes + stampAt + 8)
      } finally {
        this.#files.closeSync(fd)
      }
    } catch (error) {
      if (systemCode(error) === undefined) throw error
    }
    const isWhole = head.length === segmentHeaderBytes + stampAt + 8
    const hasMessage = isWhole && claimedEnd(head, segmentHeaderBytes) !== undefined
    return { before: readStamp(head) ?? 0, from: hasMessage ? readUInt64(head, segmentHeaderBytes + stampAt) : 0 }
  }
}

const microsecondsPerDay = 86_400e6

/** How long, and how much of, the messages are kept that every cursor has passed. */
export interface Retention {
  readonly keepMs: number
  readonly keepBytes: number
  readonly limitBytes: number
}

/**
 * Returns how many of the oldest segments to delete: those before `needed`, which no cursor reads any more, when they
 * are past their time or too large. The newest two stay: the broker restores its own state from them after a crash.
 */
export function surplus(
  list: readonly Segment[],
  needed: number,
  { keepMs, keepBytes, limitBytes }: Retention,
  now: number,
) {
  const passed = passedOf(list, needed)
  let kept = passed.reduce((sum, { bytes }) => sum + bytes, 0)
  let all = list.reduce((sum, { bytes }) => sum + bytes, 0)
  let count = 0
  for (const [i, { bytes }] of passed.entries()) {
    const last = (list[i + 1] as Segment).before
    if (keepMs > 0 && last + keepMs * 1_000 > now && kept <= keepBytes && all <= limitBytes / 2) break
    kept -= bytes
    all -= bytes
    count++
  }
  return count
}

/** Returns the oldest segments that every cursor has passed, and that are kept for replays alone. */
export function passedOf(list: readonly Segment[], needed: number): readonly Segment[] {
  const end = list.findIndex(({ segment }) => segment >= needed)
  return list.slice(0, Math.max(0, Math.min(end < 0 ? list.length : end, list.length - 2)))
}
