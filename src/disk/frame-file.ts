import { fstatSync, readSync } from 'node:fs'
import { claimedEnd, frameAt, frameHeaderBytes } from '../journal.js'

/** Bytes read from a file at once. One frame may need more. */
const pieceBytes = 4 << 20

export interface FrameHandlers {
  /** A whole, undamaged frame. `body` is only valid during the call; `at` is where the body begins in the file. */
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
export function readFrames(fd: number, { frame, damaged }: FrameHandlers, from = 0): number {
  const { size } = fstatSync(fd)
  let piece = Buffer.allocUnsafe(Math.min(pieceBytes, Math.max(size - from, 1)))
  // The piece holds `held` bytes of the file from `base` on.
  let base = from
  let held = 0
  /** True when the piece has the bytes from `at` to `end`, both places in the file. */
  const has = (at: number, end: number): boolean => {
    if (end <= base + held) return true
    if (end > size) return false
    const kept = base + held - at
    const needed = Math.max(end - at, Math.min(pieceBytes, size - at))
    const larger = needed > piece.length ? Buffer.allocUnsafe(needed) : piece
    piece.copy(larger, 0, at - base, held)
    // A piece that one large frame needed is not kept.
    piece = needed <= pieceBytes && larger.length > pieceBytes ? Buffer.from(larger.subarray(0, needed)) : larger
    base = at
    held = kept
    while (held < needed) {
      const read = readSync(fd, piece, held, needed - held, base + held)
      if (read === 0) break
      held += read
    }
    return end <= base + held
  }
  let end = from
  // Where a frame begins if those before it are whole.
  let boundary = from
  for (let at = from; has(at, at + frameHeaderBytes); ) {
    const bytes = piece.subarray(0, held)
    const claimed = claimedEnd(bytes, at - base)
    if (claimed === undefined) {
      at++
      continue
    }
    const next = base + claimed
    const found = has(at, next) ? frameAt(piece.subarray(0, held), at - base) : undefined
    if (found) {
      if (at > end) damaged?.(end, at - end)
      frame(found.body, at + frameHeaderBytes)
      at = boundary = end = next
    }
    // A damaged body is not searched when its header is whole: a payload may hold what looks like a frame.
    else if (at === boundary) at = boundary = next
    else at++
  }
  return end
}
