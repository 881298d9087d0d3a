import { claimedEnd, type Frame, frameAt, frameHeaderBytes } from './commit-log.js'
import { type Files, nodeFiles, readPiece, readPieceSync } from './files.js'

/** Read at a time. A longer frame is read alone. */
const pieceBytes = 1 << 20

/**
 * Finds the frames of a file of any size, reading it a piece at a time. Positions are those in the file. Bodies are views
 * of their piece, which is never written to again.
 */
export class FrameReader {
  readonly #files: Files
  readonly #fd: number
  #piece: Buffer = Buffer.alloc(0)
  #pieceAt = 0

  /** The file stays open: its owner closes it. */
  constructor(files: Files, fd: number) {
    this.#files = files
    this.#fd = fd
  }

  /** The whole frame at `at`, if it has been read already. */
  at(at: number): Frame | undefined {
    if (at < this.#pieceAt) return undefined
    const frame = frameAt(this.#piece, at - this.#pieceAt)
    return frame && { body: frame.body, start: at, end: this.#pieceAt + frame.end }
  }

  /** The first undamaged frame at or after `at`, where a frame should begin, that ends at or before `end`. */
  async next(at: number, end: number): Promise<Frame | undefined> {
    const search = this.#search(at, end)
    for (let step = search.next(); ; ) {
      if (step.done) return step.value
      step = search.next(await readPiece(this.#files, this.#fd, step.value.at, step.value.length))
    }
  }

  /** The same, blocking the thread. */
  nextSync(at: number, end: number): Frame | undefined {
    const known = this.at(at)
    if (known && known.end <= end) return known
    const search = this.#search(at, end)
    for (let step = search.next(); ; ) {
      if (step.done) return step.value
      step = search.next(readPieceSync(this.#files, this.#fd, step.value.at, step.value.length))
    }
  }

  /** Asks for the pieces it needs, one after the other. */
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
      // A damaged body is not searched when its header is whole: a payload may hold what looks like a frame.
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

/** Where the next header may begin; where to go on with the next piece when there is none in this one. */
function nextHeader(piece: Buffer, from: number): number {
  const last = Math.max(from, piece.length - frameHeaderBytes)
  if (piece.subarray(from).equals(zeros.subarray(0, piece.length - from))) return last
  for (let at = from; at < last; at++) if (claimedEnd(piece, at) !== undefined) return at
  return last
}

export interface FrameHandlers {
  /** A whole, undamaged frame. `body` is a view; `at` is where the body begins in the file. */
  frame(body: Buffer, at: number): void
  /** Bytes between two frames that are no frame. */
  damaged?(at: number, bytes: number): void
}

/**
 * Reads the frames of a file of any size, with a few megabytes in memory. Returns where the last whole frame ends: what
 * is behind that is a write that a crash interrupted, or damage. `frame` may be called after `damaged`: reading goes on
 * behind damage.
 *
 * @param from Where the first frame begins.
 * @throws what the disk reports
 */
export function readFrames(fd: number, { frame, damaged }: FrameHandlers, from = 0, files: Files = nodeFiles): number {
  const size = files.sizeSync(fd)
  const reader = new FrameReader(files, fd)
  let end = from
  for (let found = reader.nextSync(from, size); found; found = reader.nextSync(end, size)) {
    if (found.start > end) damaged?.(end, found.start - end)
    end = found.end
    frame(found.body, found.start + frameHeaderBytes)
  }
  return end
}

const zeros = Buffer.alloc(pieceBytes)

/** Whether a part of a file is nothing but zeros: room that was made and never filled. */
export function isZero(files: Files, fd: number, from: number, to: number): boolean {
  for (let at = from; at < to; ) {
    const piece = readPieceSync(files, fd, at, Math.min(pieceBytes, to - at))
    if (piece.length === 0) return true
    if (!piece.equals(zeros.subarray(0, piece.length))) return false
    at += piece.length
  }
  return true
}
