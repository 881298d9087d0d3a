import { setImmediate } from 'node:timers/promises'
import { claimedEnd, frameAt, frameHeaderBytes, nextFrame } from '../disk/commit-log.js'
import { type Files, openToRead, readPiece } from '../disk/files.js'
import { describe, systemCode } from '../errors.js'

/** After so many the event loop gets its turn: a file may have a hundred thousand. */
export const framesATurn = 1_000

/** As much of a file as the disk gives. */
export interface Survived {
  /** Zeros where the disk gives none. */
  readonly bytes: Buffer
  /** Bytes that the disk does not give, and why; 0 when all were read. */
  readonly unread: number
  readonly reason: string
}

const pieceBytes = 1 << 20
/** Read alone, twice, when its piece cannot be read. */
const blockBytes = 16 << 10
/** After so many blocks in vain the rest is not tried: a dying disk takes seconds for each. */
const mostTried = 64
/** No file of dead letters comes near. */
const mostBytes = 1e9

/** Reads the first `size` bytes of a file, or all there are. Rejects when it cannot be opened. */
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
  /** Where each begins, ascending. */
  readonly starts: readonly number[]
  /** Where the last whole one ends. */
  readonly end: number
  /** Bytes before `end` that are no frame. */
  readonly damaged: number
  /** Bytes behind `end`, unless they are what a crash leaves of a write. */
  readonly damagedTail: number
}

export async function framesOf(bytes: Buffer): Promise<Frames> {
  const starts: number[] = []
  let end = 0
  let damaged = 0
  for (let seen = 1; ; seen++) {
    const frame = frameAt(bytes, end) ?? nextFrame(bytes, end)
    if (!frame) break
    damaged += frame.start - end
    starts.push(frame.start)
    end = frame.end
    if (seen % framesATurn === 0) await setImmediate()
  }
  return { starts, end, damaged, damagedTail: isCutShort(bytes, end) ? 0 : bytes.length - end }
}

/** Whether what is behind the last whole frame is what a crash leaves of a write: a frame without its end, or zeros. */
function isCutShort(bytes: Buffer, end: number): boolean {
  if (bytes.length - end < frameHeaderBytes) return true
  const claimed = claimedEnd(bytes, end)
  if (claimed !== undefined) return claimed > bytes.length
  return bytes.subarray(end).every(byte => byte === 0)
}
