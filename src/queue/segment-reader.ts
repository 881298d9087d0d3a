import { type FileHandle, open } from 'node:fs/promises'
import { type Frame, frameAt, frameHeaderBytes, nextFrame } from '../journal.js'
import { segmentPath } from './spool.js'

/** A chunk read at a time. A message larger than this is read alone. */
const chunkBytes = 1 << 20

/** Reads the frames of segments a chunk at a time. Offsets are those in the segment. */
export class SegmentReader {
  readonly #dir: string
  #file: { readonly segment: number; readonly handle: FileHandle } | undefined
  #chunk: Buffer = Buffer.alloc(0)
  #chunkSegment = -1
  #chunkAt = 0

  constructor(dir: string) {
    this.#dir = dir
  }

  /** The whole frame at `offset`, if it is at hand; its `end` is an offset, too. */
  at(segment: number, offset: number): Pick<Frame, 'body' | 'end'> | undefined {
    if (segment !== this.#chunkSegment || offset < this.#chunkAt) return undefined
    const frame = frameAt(this.#chunk, offset - this.#chunkAt)
    return frame && { body: frame.body, end: this.#chunkAt + frame.end }
  }

  async size(segment: number): Promise<number> {
    return (await (await this.#open(segment)).stat()).size
  }

  /**
   * Reads on from `offset`, at most to `end`. Returns how many damaged bytes are to be stepped over: behind them is a
   * frame that is at hand, or the end.
   */
  async load(segment: number, offset: number, end: number): Promise<number> {
    const handle = await this.#open(segment)
    this.#keep(segment, offset, await readAt(handle, offset, Math.min(end - offset, chunkBytes)))
    if (frameAt(this.#chunk, 0)) return 0
    const length = this.#chunk.length >= frameHeaderBytes ? this.#chunk.readUInt32LE(0) + frameHeaderBytes : 0
    if (length > this.#chunk.length && length <= end - offset) {
      this.#keep(segment, offset, await readAt(handle, offset, length))
      if (frameAt(this.#chunk, 0)) return 0
    }
    this.#keep(segment, offset, await readAt(handle, offset, end - offset))
    return nextFrame(this.#chunk, 0)?.start ?? end - offset
  }

  async close(): Promise<void> {
    const handle = this.#file?.handle
    this.#file = undefined
    await handle?.close()
  }

  #keep(segment: number, offset: number, chunk: Buffer): void {
    this.#chunkSegment = segment
    this.#chunkAt = offset
    this.#chunk = chunk
  }

  async #open(segment: number): Promise<FileHandle> {
    if (this.#file?.segment !== segment) {
      await this.close()
      this.#file = { segment, handle: await open(segmentPath(this.#dir, segment), 'r') }
    }
    return this.#file.handle
  }
}

async function readAt(handle: FileHandle, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length)
  let held = 0
  while (held < length) {
    const { bytesRead } = await handle.read(buffer, held, length - held, offset + held)
    if (bytesRead === 0) break
    held += bytesRead
  }
  return buffer.subarray(0, held)
}
