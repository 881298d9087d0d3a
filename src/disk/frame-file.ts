import type { Slices } from '../runtime/slices.js'
import { claimedEnd, type Frame, frameAt, frameHeaderBytes } from './commit-log.js'
import { type Files, nodeFiles, readPiece, readPieceSync } from './files.js'

/** Bytes to read at a time. A longer frame is read alone. */
const pieceBytes = 1 << 20

/**
 * Finds the frames of a file of any size, reading a piece at a time. Positions are positions in the file. Bodies are
 * views of their piece, which is never written to again.
 */
export class FrameReader {
  readonly #files: Files
  readonly #fd: number
  #piece: Buffer = Buffer.alloc(0)
  #pieceAt = 0

  /** Reads from an open file, which the owner closes. */
  constructor(files: Files, fd: number) {
    this.#files = files
    this.#fd = fd
  }

  /** Returns the whole frame at `at` when the current piece holds that frame. Undefined otherwise. */
  at(at: number): Frame | undefined {
    if (at < this.#pieceAt) return undefined
    const frame = frameAt(this.#piece, at - this.#pieceAt)
    return frame && { body: frame.body, start: at, end: this.#pieceAt + frame.end }
  }

  /** Finds the first undamaged frame at or after `at`, where a frame should begin, that ends at or before `end`. */
  async next(at: number, end: number): Promise<Frame | undefined> {
    const search = this.#search(at, end)
    for (let step = search.next(); ; ) {
      if (step.done) return step.value
      step = search.next(await readPiece(this.#files, this.#fd, step.value.at, step.value.length))
    }
  }

  /** Searches as {@link next} does, blocking the thread. */
  nextSync(at: number, end: number): Frame | undefined {
    const known = this.at(at)
    if (known && known.end <= end) return known
    const search = this.#search(at, end)
    for (let step = search.next(); ; ) {
      if (step.done) return step.value
      step = search.next(readPieceSync(this.#files, this.#fd, step.value.at, step.value.length))
    }
  }

  /** Yields the pieces to read, one after the other, and returns the frame. */
  *#search(from: number, end: number): Generator<{ at: number; length: number }, Frame | undefined, Buffer> {
    let boundary = from
    for (let at = from; at + frameHeaderBytes < end; ) {
      if (at < this.#pieceAt || at + frameHeaderBytes >= this.#pieceAt + this.#piece.length) {
        this.#keep(at, yield { at, length: Math.min(pieceBytes, end - at) })
        // The file is shorter than `end` says.
        if (this.#piece.length <= frameHeaderBytes) return undefined
      }
      let claimed = this.#claimedEnd(at)
      if (claimed !== undefined && claimed <= end && claimed > this.#pieceAt + this.#piece.length) {
        this.#keep(at, yield { at, length: Math.max(claimed - at, Math.min(pieceBytes, end - at)) })
        claimed = this.#claimedEnd(at)
      }
      if (claimed !== undefined && claimed <= end) {
        const frame = this.at(at)
        if (frame) return frame
      }
      // A damaged body behind a whole header is not searched: a payload may hold what looks like a frame.
      if (claimed !== undefined && at === boundary) at = boundary = claimed
      else at = this.#pieceAt + nextHeader(this.#piece, at + 1 - this.#pieceAt)
    }
    return undefined
  }

  #claimedEnd(at: number): number | undefined {
    const end = claimedEnd(this.#piece, at - this.#pieceAt)
    return end === undefined ? undefined : this.#pieceAt + end
  }

  #keep(at: number, piece: Buffer): void {
    this.#pieceAt = at
    this.#piece = piece
  }
}

/**
 * Returns where the next header may begin. Without one in this piece, returns where to continue with the next piece.
 */
function nextHeader(piece: Buffer, from: number): number {
  const last = Math.max(from, piece.length - frameHeaderBytes)
  if (piece.subarray(from).equals(zeros.subarray(0, piece.length - from))) return last
  for (let at = from; at < last; at++) if (claimedEnd(piece, at) !== undefined) return at
  return last
}

export interface FrameHandlers {
  /** Called with each whole, undamaged frame. `body` is a view; `at` is where the body begins in the file. */
  frame(body: Buffer, at: number): void
  /** Called with each stretch of bytes between two frames that is not a frame. */
  damaged?(at: number, bytes: number): void
}

/**
 * Reads the frames of a file of any size, with a few megabytes in memory. Returns where the last whole frame ends: the
 * bytes behind that are a write that a crash interrupted, or damage. `frame` may be called after `damaged`, as reading
 * continues behind damage.
 *
 * @param from Where the first frame begins.
 * @throws the errors of the disk
 */
export function readFrames(fd: number, handlers: FrameHandlers, from = 0, files: Files = nodeFiles): number {
  const size = files.sizeSync(fd)
  const reader = new FrameReader(files, fd)
  let end = from
  for (let next = passFrame(reader, end, size, handlers); next !== undefined; ) {
    end = next
    next = passFrame(reader, end, size, handlers)
  }
  return end
}

/** Reads as {@link readFrames} does, in slices between other work. Rejects with the errors of the disk. */
export async function readFramesInSlices(
  fd: number,
  handlers: FrameHandlers,
  slices: Slices,
  files: Files = nodeFiles,
): Promise<number> {
  const size = files.sizeSync(fd)
  const reader = new FrameReader(files, fd)
  let end = 0
  for (let next = passFrame(reader, end, size, handlers); next !== undefined; ) {
    end = next
    if (slices.isOver) await slices.turn()
    next = passFrame(reader, end, size, handlers)
  }
  return end
}

/** Passes the next frame behind `from` to the handlers. Returns where the frame ends, undefined when there is none. */
function passFrame(reader: FrameReader, from: number, size: number, handlers: FrameHandlers): number | undefined {
  const found = reader.nextSync(from, size)
  if (!found) return undefined
  if (found.start > from) handlers.damaged?.(from, found.start - from)
  handlers.frame(found.body, found.start + frameHeaderBytes)
  return found.end
}

const zeros = Buffer.alloc(pieceBytes)

/** Whether a part of a file is all zeros: preallocated room that was never filled. */
export function isZero(files: Files, fd: number, from: number, to: number): boolean {
  for (let at = from; at < to; ) {
    const piece = readPieceSync(files, fd, at, Math.min(pieceBytes, to - at))
    if (piece.length === 0) return true
    if (!piece.equals(zeros.subarray(0, piece.length))) return false
    at += piece.length
  }
  return true
}
