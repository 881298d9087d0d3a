import { type Files, openToRead } from '../disk/files.js'
import { FrameReader } from '../disk/frame-file.js'
import { isDiskError } from '../disk/retried-write.js'
import { systemCode } from '../errors.js'
import type { Message, Replay } from '../model.js'
import { decodeMessage } from './message-codec.js'
import { listSegments, segmentHeaderBytes, segmentPath } from './segment-file.js'

/** The spool that is read. */
export interface ReplayedSpool {
  /** The newest segment, and where its committed part ends. */
  readonly position: { readonly segment: number; readonly end: number }
  /** Reports that the disk cannot read a segment, or what is left of it: those messages are passed over. */
  unreadable(path: string, error: unknown): void
  replayed(replay: SpoolReplay): void
}

/** A segment that is being read, and where the next frame begins. */
interface OpenSegmentRead {
  readonly segment: number
  readonly fd: number
  readonly frames: FrameReader
  at: number
}

/** Segments that are kept open: more than the readers pass, and the spool takes, while a replay goes on. */
const mostHeld = 64

/** Messages passed over in one step. */
const passedAtOnce = 500

/**
 * Reads the committed messages of the spool in order, in small steps that block the thread, while more are committed.
 * Segments that the readers have passed meanwhile can still be read: their files are open from the beginning.
 */
export class SpoolReplay implements Replay, Iterable<Message> {
  readonly #spool: ReplayedSpool
  readonly #dir: string
  readonly #files: Files
  /** Sequence number that the messages are above. */
  #after: number
  /** First sequence numbers of the segments to be read, ascending, and their open files. */
  #segments: number[]
  readonly #held = new Map<number, number>()
  #reading: OpenSegmentRead | undefined

  constructor(after: number, spool: ReplayedSpool, dir: string, files: Files) {
    this.#spool = spool
    this.#dir = dir
    this.#files = files
    this.#after = after
    this.#segments = [...listSegments(dir, files)]
    for (const segment of this.#segments.slice(-mostHeld)) this.#hold(segment)
  }

  /** Called when the spool has begun a segment. */
  begun(segment: number): void {
    if (this.#segments.at(-1) === segment) return
    this.#segments.push(segment)
    this.#hold(segment)
  }

  /** Goes on above a sequence number. */
  skipTo(after: number): void {
    this.#after = Math.max(this.#after, after)
  }

  /**
   * Takes one step. Returns the next message; `passed` when some were passed over; undefined when everything committed
   * so far has been returned.
   */
  next(): Message | 'passed' | undefined {
    for (let left = passedAtOnce; left > 0; left--) {
      const reading = this.#reading ?? this.#open()
      if (!reading) return undefined
      const found = this.#read(reading)
      if (found === 'end') {
        if (this.#segments.length <= 1) return undefined
        this.#close()
      } else if (found && found.sequence > this.#after) return found
    }
    return 'passed'
  }

  /** Yields everything committed so far. */
  *[Symbol.iterator](): Generator<Message> {
    for (let found = this.next(); found; found = this.next()) if (found !== 'passed') yield found
  }

  close(): void {
    this.#reading = undefined
    this.#segments = []
    for (const fd of this.#held.values()) this.#files.closeSync(fd)
    this.#held.clear()
    this.#spool.replayed(this)
  }

  /** Opens the first segment that may have messages to be returned. Undefined while there is none. */
  #open(): OpenSegmentRead | undefined {
    for (;;) {
      const [segment, next] = this.#segments
      if (segment === undefined) return undefined
      const isPassed = next !== undefined && next <= this.#after + 1
      const fd = isPassed ? undefined : (this.#held.get(segment) ?? this.#hold(segment))
      if (fd !== undefined) {
        this.#reading = { segment, fd, frames: new FrameReader(this.#files, fd), at: segmentHeaderBytes }
        return this.#reading
      }
      if (next === undefined) return undefined
      this.#close()
    }
  }

  /** Goes on with the next segment. */
  #close(): void {
    this.#reading = undefined
    const segment = this.#segments.shift()
    const fd = segment === undefined ? undefined : this.#held.get(segment)
    if (segment === undefined || fd === undefined) return
    this.#held.delete(segment)
    this.#files.closeSync(fd)
  }

  /** Returns the next message of a segment, undefined for a frame that is none. */
  #read(reading: OpenSegmentRead): Message | undefined | 'end' {
    const { segment, end } = this.#spool.position
    try {
      const last = reading.segment === segment ? end : this.#files.sizeSync(reading.fd)
      const frame = reading.frames.nextSync(reading.at, last)
      if (!frame) return 'end'
      reading.at = frame.end
      return decodeMessage(frame.body)
    } catch (error) {
      if (!isDiskError(error)) throw error
      this.#spool.unreadable(segmentPath(this.#dir, reading.segment), error)
      reading.at = Number.MAX_SAFE_INTEGER
      return 'end'
    }
  }

  /** Opens a segment; undefined when it is gone, or cannot be opened. */
  #hold(segment: number): number | undefined {
    const path = segmentPath(this.#dir, segment)
    try {
      const fd = this.#files.openSync(path, openToRead)
      this.#held.set(segment, fd)
      return fd
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined
      if (!isDiskError(error)) throw error
      this.#spool.unreadable(path, error)
      return undefined
    }
  }
}
