import type { Frame } from '../disk/commit-log.js'
import { type Files, openToRead } from '../disk/files.js'
import { FrameReader } from '../disk/frame-file.js'
import { segmentPath } from './segment-file.js'

/** Reads the frames of segments a piece at a time. Offsets are positions in the segment. */
export class SegmentReader {
  readonly #dir: string
  readonly #files: Files
  #open: { readonly segment: number; readonly fd: number; readonly frames: FrameReader } | undefined

  constructor(dir: string, files: Files) {
    this.#dir = dir
    this.#files = files
  }

  /** Returns the whole frame at `offset`, if in memory. */
  at(segment: number, offset: number): Frame | undefined {
    return segment === this.#open?.segment ? this.#open.frames.at(offset) : undefined
  }

  /** Returns the size of a segment in bytes. Throws `ENOENT` when the file is gone. */
  size(segment: number): number {
    return this.#files.sizeSync(this.#opened(segment).fd)
  }

  /**
   * Reads on from `offset`, at most to `end`. Returns how many damaged bytes to step over. Behind them is a frame in
   * memory, or the end.
   */
  async load(segment: number, offset: number, end: number): Promise<number> {
    const frame = await this.#opened(segment).frames.next(offset, end)
    return (frame?.start ?? end) - offset
  }

  close(): void {
    const open = this.#open
    this.#open = undefined
    if (open) this.#files.closeSync(open.fd)
  }

  #opened(segment: number): { readonly fd: number; readonly frames: FrameReader } {
    if (this.#open?.segment === segment) return this.#open
    this.close()
    const fd = this.#files.openSync(segmentPath(this.#dir, segment), openToRead)
    this.#open = { segment, fd, frames: new FrameReader(this.#files, fd) }
    return this.#open
  }
}
