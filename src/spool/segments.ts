import { claimedEnd, frameHeaderBytes } from '../disk/commit-log.js'
import { type Files, openToRead, readPieceSync } from '../disk/files.js'
import { systemCode } from '../errors.js'
import { readUInt64 } from './message-codec.js'
import { listSegments, readStamp, segmentHeaderBytes, segmentPath } from './segment-file.js'
import type { SpoolPosition } from './spool.js'

/** What the reading side knows of a segment without reading it through. */
export interface Segment {
  /** Its first sequence number, which is its name. */
  readonly segment: number
  /** Size of the file; of the newest one, when it was looked at last. */
  bytes: number
  /** Microseconds: the last message before it was received then, 0 when there was none; the first one in it. */
  readonly before: number
  readonly from: number
  /** No message before it has a later stamp; endless when that cannot be told. */
  readonly latestBefore: number
}

/** In a frame: behind the header, the two bytes of version and flags, the packet id and the sequence number. */
const stampAt = frameHeaderBytes + 12

/** The segments there are, oldest first; for the reading side. */
export class Segments {
  readonly #dir: string
  readonly #now: () => number
  readonly #files: Files
  #list: Segment[] = []

  constructor(dir: string, now: () => number, files: Files) {
    this.#dir = dir
    this.#now = now
    this.#files = files
  }

  start(): void {
    this.#list = []
    for (const segment of listSegments(this.#dir, this.#files)) this.#add(segment)
  }

  /** The spool has committed more. It is told of now and then only: there may be more than one new segment. */
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

  /** The one after a segment; then that one will not grow any more. */
  after(segment: number): Segment | undefined {
    return this.#list.find(known => known.segment > segment)
  }

  /** The segment that holds `sequence`, or the oldest there is. */
  holding(sequence: number): number {
    return (this.#list.findLast(({ segment }) => segment <= sequence) ?? this.#list[0])?.segment ?? 1
  }

  /** The oldest is deleted. */
  shift(): void {
    this.#list.shift()
  }

  #add(segment: number): void {
    const previous = this.#list.at(-1)
    const stamps = this.#readStamps(segment)
    // A header has no checksum: what cannot be is not believed.
    const likely = stamps.before >= (previous?.before ?? 0) && stamps.before <= this.#now() + microsecondsPerDay
    const before = likely ? stamps.before : (previous?.before ?? 0)
    const from = Math.max(stamps.from, before)
    // After a clock that was far ahead, the stamp of the header is the unlikely one that is right.
    const isKnown = likely || stamps.from > 0
    const latestBefore = isKnown ? Math.max(stamps.before, stamps.from) : Number.POSITIVE_INFINITY
    this.#list.push({ segment, bytes: this.#sizeOf(segment) ?? 0, before, from, latestBefore })
  }

  /** Undefined when there is no such file any more. */
  #sizeOf(segment: number): number | undefined {
    try {
      return this.#files.sizeOfSync(segmentPath(this.#dir, segment))
    } catch {
      return undefined
    }
  }

  /** From the header and the first message; 0 when they cannot be read. */
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

/** How the past is kept. */
export interface Retention {
  readonly keepMs: number
  readonly keepBytes: number
  readonly limitBytes: number
}

/**
 * How many of the oldest segments are to go: those before `needed` that nobody reads any more, when they are past
 * their time or too large. The newest two stay: the broker makes its own state good from them after a crash.
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

/** The oldest segments that every cursor has passed: they are kept for the past alone. */
export function passedOf(list: readonly Segment[], needed: number): readonly Segment[] {
  const end = list.findIndex(({ segment }) => segment >= needed)
  return list.slice(0, Math.max(0, Math.min(end < 0 ? list.length : end, list.length - 2)))
}
