import { claimedEnd, frameAt, frameHeaderBytes, nextFrame } from '../disk/commit-log.js'
import { type Files, openToRead, readPiece } from '../disk/files.js'
import { describe, systemCode } from '../errors.js'
import { Slices } from '../runtime/slices.js'

/** The readable content of a file. */
export interface Survived {
  /** Content, with zeros in the place of bytes that cannot be read. */
  readonly bytes: Buffer
  /** Number of bytes that cannot be read, and the reason; 0 when all were read. */
  readonly unread: number
  readonly reason: string
}

const pieceBytes = 1 << 20
/** Size of the blocks that are read one by one, twice each, when a piece cannot be read. */
const blockBytes = 16 << 10
/** Unreadable blocks after which the rest is not tried, as a failing disk takes seconds for each. */
const mostTried = 64
/** Maximum size of a file, far above that of any file of dead letters. */
const mostBytes = 1e9

/** Reads the first `size` bytes of a file, or the whole file. Rejects when the file cannot be opened. */
export async function readSurviving(files: Files, path: string, size = Number.POSITIVE_INFINITY): Promise<Survived> {
  const fd = files.openSync(path, openToRead)
  try {
    const end = Math.min(size, files.sizeSync(fd))
    if (end > mostBytes)
      throw Object.assign(new Error(`EFBIG: ${end} bytes are too large for one file`), { code: 'EFBIG' })
    const bytes = Buffer.alloc(end)
    let unread = 0
    let tried = 0
    let reason = ''
    const read = async (at: number, length: number) => (await readPiece(files, fd, at, length)).copy(bytes, at)
    for (let at = 0; at < end; at += pieceBytes) {
      const pieceEnd = Math.min(at + pieceBytes, end)
      try {
        if (tried < mostTried) await read(at, pieceEnd - at)
        else unread += pieceEnd - at
      } catch (error) {
        if (systemCode(error) === undefined) throw error
        reason = describe(error)
        for (let block = at; block < pieceEnd; block += blockBytes) {
          const length = Math.min(blockBytes, pieceEnd - block)
          const again = () => read(block, length)
          const isRead =
            tried < mostTried &&
            (await again()
              .catch(again)
              .then(
                () => true,
                () => false,
              ))
          if (isRead) continue
          tried++
          unread += length
        }
      }
    }
    return { bytes, unread, reason }
  } finally {
    files.closeSync(fd)
  }
}

/** The frames of a file. */
export interface Frames {
  /** Offsets, ascending. */
  readonly starts: readonly number[]
  /** End offset of the last intact frame. */
  readonly end: number
  /** Bytes before `end` that belong to no frame. */
  readonly damaged: number
  /** Bytes behind `end`, unless they are an unfinished write of a crash. */
  readonly damagedTail: number
}

/** Returns where the frames are, of which a file may have a hundred thousand. */
export async function framesOf(bytes: Buffer): Promise<Frames> {
  const starts: number[] = []
  let end = 0
  let damaged = 0
  const slices = new Slices()
  for (;;) {
    const frame = frameAt(bytes, end) ?? nextFrame(bytes, end)
    if (!frame) break
    damaged += frame.start - end
    starts.push(frame.start)
    end = frame.end
    if (slices.isOver) await slices.turn()
  }
  return { starts, end, damaged, damagedTail: isCutShort(bytes, end) ? 0 : bytes.length - end }
}

/**
 * Whether the bytes behind the last intact frame are an unfinished write of a crash: a frame without its end, or zeros.
 */
function isCutShort(bytes: Buffer, end: number): boolean {
  if (bytes.length - end < frameHeaderBytes) return true
  const claimed = claimedEnd(bytes, end)
  if (claimed !== undefined) return claimed > bytes.length
  return bytes.subarray(end).every(byte => byte === 0)
}
