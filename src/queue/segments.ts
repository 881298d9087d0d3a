import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { systemCode } from '../errors.js'
import { claimedEnd, frameHeaderBytes } from '../journal.js'
import { readUInt64 } from './codec.js'
import { listSegments, readStamp, type SpoolPosition, segmentHeaderBytes, segmentPath } from './spool.js'

/** What the reading side knows of a segment without reading it through. */
export interface Segment {
  /** Its first sequence number, which is its name. */
  readonly segment: number
  /** Size of the file; of the newest one, when it was looked at last. */
  bytes: number
  /** Microseconds: the last message before it was received then, 0 when there was none; the first one in it. */
  readonly before: number
  readonly from: number
}

/** In a frame: behind the header, the two bytes of version and flags, the packet id and the sequence number. */
const stampAt = frameHeaderBytes + 12

/** The segments there are, oldest first; for the reading side. */
export class Segments {
  readonly #dir: string
  readonly #now: () => number
  #list: Segment[] = []

  constructor(dir: string, now: () => number) {
    this.#dir = dir
    this.#now = now
  }

  start(): void {
    this.#list = []
    for (const segment of listSegments(this.#dir)) this.#add(segment)
  }

  /** The spool has committed more. It is told of now and then only: there may be more than one new segment. */
  grow(position: SpoolPosition): void {
    const newest = this.#list.at(-1)
    if (newest && position.segment > newest.segment) {
      newest.bytes = sizeOf(segmentPath(this.#dir, newest.segment)) ?? newest.bytes
      for (const segment of this.#listed(position)) if (segment > newest.segment) this.#add(segment)
    }
    const last = this.#list.at(-1)
    if (last?.segment === position.segment) last.bytes = position.end
  }

  #listed(position: SpoolPosition): number[] {
    try {
      const found = listSegments(this.#dir).filter(segment => segment <= position.segment)
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
    const path = segmentPath(this.#dir, segment)
    const previous = this.#list.at(-1)
    const stamps = readStamps(path)
    // A header has no checksum: what cannot be is not believed.
    const likely = stamps.before >= (previous?.before ?? 0) && stamps.before <= this.#now() + microsecondsPerDay
    const before = likely ? stamps.before : (previous?.before ?? 0)
    const from = Math.max(stamps.from, before)
    this.#list.push({ segment, bytes: sizeOf(path) ?? 0, before, from })
  }
}

const microsecondsPerDay = 86_400e6

/** Undefined when there is no such file any more. */
function sizeOf(path: string): number | undefined {
  try {
    return statSync(path).size
  } catch {
    return undefined
  }
}

/** From the header and the first message; 0 when they cannot be read. */
function readStamps(path: string): { before: number; from: number } {
  const head = Buffer.alloc(segmentHeaderBytes + stampAt + 8)
  try {
    const fd = openSync(path, 'r')
    try {
      readSync(fd, head, 0, head.length, 0)
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    if (systemCode(error) === undefined) throw error
  }
  const from = claimedEnd(head, segmentHeaderBytes) === undefined ? 0 : readUInt64(head, segmentHeaderBytes + stampAt)
  return { before: readStamp(head) ?? 0, from }
}

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
