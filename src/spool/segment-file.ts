import { join } from 'node:path'
import { claimedEnd, type Frame, frameHeaderBytes } from '../disk/commit-log.js'
import { type Files, nodeFiles, readPieceSync, writeWholeSync } from '../disk/files.js'
import { FrameReader, isZero } from '../disk/frame-file.js'
import { systemCode } from '../errors.js'
import { decodeMessage, readUInt64, stampOf, writeUInt64 } from './message-codec.js'

/*
 * One file of the spool, in the layout drawn in spool.ts. Files of any size are read a piece at a time.
 */
const magic = 'THSPOOL1'
export const segmentHeaderBytes = 16

/** Shortest frame of a message. */
const shortestFrame = frameHeaderBytes + 26

/** Number of zeros at the end of a file that mark preallocated room that was never filled. */
const zeroBytes = 512

export function segmentPath(dir: string, segment: number): string {
  return join(dir, `${String(segment).padStart(16, '0')}.seg`)
}

/** Returns the first sequence numbers of all segments, ascending. Empty when the directory does not exist. */
export function listSegments(dir: string, files: Files = nodeFiles): number[] {
  let names: string[]
  try {
    names = files.listSync(dir)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return []
    throw error
  }
  return names
    .filter(name => /^\d{16}\.seg$/.test(name))
    .map(name => Number(name.slice(0, 16)))
    .sort((a, b) => a - b)
}

/**
 * Returns when the last message before a segment was received, from the header. Undefined when the header is damaged.
 */
export function readStamp(segment: Buffer): number | undefined {
  if (segment.length < segmentHeaderBytes || segment.toString('latin1', 0, magic.length) !== magic) return undefined
  return readUInt64(segment, magic.length)
}

export function writeSegmentHeader(files: Files, fd: number, receivedAt: number): void {
  const header = Buffer.alloc(segmentHeaderBytes)
  header.write(magic)
  writeUInt64(header, receivedAt, magic.length)
  writeWholeSync(files, fd, header, 0)
}

/** Result of reading a segment through. */
export interface Scanned {
  /** Size of the file, in bytes. */
  readonly size: number
  /** Stamp in the header. Undefined when the header is damaged. */
  readonly stamp: number | undefined
  /** Where the last whole frame ends. */
  readonly end: number
  /** Bytes before `end` that are no frame, the header included. */
  readonly damagedBytes: number
  /** Highest sequence number; 0 without messages. */
  readonly sequence: number
  /** Stamps of the first and of the latest message. Undefined without messages. */
  readonly first: number | undefined
  readonly last: number | undefined
  /**
   * State of the file behind `end`: nothing; a write that was interrupted, and never acknowledged; or damage, with the
   * number of messages that may have been there.
   */
  readonly tail: 'none' | 'torn' | { readonly messages: number; readonly endsInZeros: boolean }
}

export async function scanSegment(files: Files, fd: number): Promise<Scanned> {
  const size = files.sizeSync(fd)
  const stamp = readStamp(readPieceSync(files, fd, 0, segmentHeaderBytes))
  const reader = new FrameReader(files, fd)
  let end = segmentHeaderBytes
  let damagedBytes = 0
  let sequence = 0
  let first: number | undefined
  let last: number | undefined
  for (;;) {
    const frame: Frame | undefined = reader.at(end) ?? (await reader.next(end, size))
    if (!frame) break
    damagedBytes += frame.start - end
    const message = decodeMessage(frame.body)
    if (message) {
      const stamp = stampOf(message)
      first = Math.min(first ?? stamp, stamp)
      last = Math.max(last ?? 0, stamp)
      sequence = Math.max(sequence, message.sequence)
    }
    end = frame.end
  }
  if (stamp === undefined && end > segmentHeaderBytes) damagedBytes += segmentHeaderBytes
  return { size, stamp, end, damagedBytes, sequence, first, last, tail: tailOf(files, fd, end, size) }
}

function tailOf(files: Files, fd: number, end: number, size: number): Scanned['tail'] {
  const length = size - end
  if (length <= 0) return 'none'
  const claimed = claimedEnd(readPieceSync(files, fd, end, frameHeaderBytes), 0)
  const isTorn = length < frameHeaderBytes || (claimed !== undefined && end + claimed > size)
  if (isTorn || isZero(files, fd, end, size)) return 'torn'
  return {
    messages: Math.ceil(length / shortestFrame),
    endsInZeros: length > zeroBytes && isZero(files, fd, size - zeroBytes, size),
  }
}
