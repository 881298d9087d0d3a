import { constants } from 'node:fs'
import { type Files, openNew, openToChange, syncDirectory } from '../disk/files.js'
import { describe } from '../errors.js'
import type { SentenceLog } from '../observe/log.js'
import { listSegments, segmentHeaderBytes, segmentPath, writeSegmentHeader } from './segment-file.js'

/** A file that is written to, and where its frames end. */
export interface OpenSegment {
  readonly fd: number
  readonly end: number
}

/** How to go on in a segment that is there. */
export interface SegmentEnd {
  readonly size: number
  /** Where whole frames end: bytes behind are cut off. */
  readonly end: number
  /** Stamp to write into the header. Undefined: the header is right. */
  readonly header: number | undefined
}

/** Begins segments and goes on in the newest one, and knows how large the others are. */
export class SegmentWriter {
  readonly #dir: string
  readonly #files: Files
  readonly #log: Pick<SentenceLog, 'warn'>
  /** Flags of files whose writes are synced. */
  readonly #syncing: number
  /** First sequence number of the newest segment. */
  newest = 1
  /** Bytes of all segments but the newest. */
  olderBytes = 0

  constructor(dir: string, files: Files, syncing: number, log: Pick<SentenceLog, 'warn'>) {
    this.#dir = dir
    this.#files = files
    this.#syncing = syncing
    this.#log = log
  }

  sizeOf(segment: number): number {
    return this.#files.sizeOfSync(segmentPath(this.#dir, segment)) ?? 0
  }

  /** Called when the reading side has deleted segments. */
  freed(bytes: number): void {
    this.olderBytes = Math.max(0, this.olderBytes - bytes)
  }

  /** Measures the segments before the newest one. */
  measure(): void {
    const older = listSegments(this.#dir, this.#files).filter(segment => segment < this.newest)
    this.olderBytes = older.reduce((sum, segment) => sum + this.sizeOf(segment), 0)
  }

  /**
   * Begins a segment. `receivedAt` is the stamp of the last message before it, and `lastEnd` where the segment before
   * ends; 0 when that one was never written to.
   */
  begin(segment: number, receivedAt: number, lastEnd: number): OpenSegment {
    const path = segmentPath(this.#dir, segment)
    // A segment that was begun, and could neither be finished nor be removed, holds nothing.
    const begun = (this.#files.sizeOfSync(path) ?? Number.POSITIVE_INFINITY) <= segmentHeaderBytes
    const flags = begun ? openToChange | constants.O_TRUNC : openNew
    const fd = this.#files.openSync(path, flags | this.#syncing)
    try {
      writeSegmentHeader(this.#files, fd, receivedAt)
      this.#files.fsyncSync(fd)
      syncDirectory(this.#dir, this.#files)
    } catch (error) {
      this.#files.closeSync(fd)
      this.#removeBegun(path)
      throw error
    }
    if (lastEnd > 0 && segment !== this.newest) {
      this.#cutRefused(lastEnd)
      this.olderBytes += lastEnd
    }
    this.newest = segment
    return { fd, end: segmentHeaderBytes }
  }

  /** Goes on in the newest segment. */
  goOn({ size, end, header }: SegmentEnd): OpenSegment {
    const fd = this.#files.openSync(segmentPath(this.#dir, this.newest), openToChange | this.#syncing)
    try {
      if (end < size) this.#files.ftruncateSync(fd, end)
      if (header !== undefined) writeSegmentHeader(this.#files, fd, header)
      // The content written by the previous process, and the name of the segment, may not be on disk yet.
      this.#files.fsyncSync(fd)
      syncDirectory(this.#dir, this.#files)
    } catch (error) {
      this.#files.closeSync(fd)
      throw error
    }
    return { fd, end: Math.max(end, segmentHeaderBytes) }
  }

  /**
   * Removes a segment that could not be begun. A failure is ignored: the first error is the one to report, and the next
   * try uses an empty segment that stays.
   */
  #removeBegun(path: string): void {
    try {
      this.#files.removeSync(path)
    } catch {
      // The next try uses the segment.
    }
  }

  /** Cuts off bytes that the disk refused and that could not be cut off then, as they would be read. */
  #cutRefused(end: number): void {
    const path = segmentPath(this.#dir, this.newest)
    try {
      if ((this.#files.sizeOfSync(path) ?? 0) > end) this.#truncate(path, end)
    } catch (error) {
      this.#log.warn(`refused messages could not be removed from ${path}, and may be stored: ${describe(error)}`)
    }
  }

  #truncate(path: string, end: number): void {
    const fd = this.#files.openSync(path, openToChange)
    try {
      this.#files.ftruncateSync(fd, end)
    } finally {
      this.#files.closeSync(fd)
    }
  }
}
