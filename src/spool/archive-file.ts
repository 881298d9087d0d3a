import { brotliCompress, brotliDecompress, constants, crc32 } from 'node:zlib'
import { type Frame, frameHeaderBytes, writeFrameHeader } from '../disk/commit-log.js'
import { type Files, openNew, openToRead, readPieceSync, synced, writeWhole } from '../disk/files.js'
import { FrameReader } from '../disk/frame-file.js'
import type { Message } from '../model.js'
import { decodeMessage, readUInt64, writeUInt64 } from './message-codec.js'
import { segmentHeaderBytes } from './segment-file.js'

/**
 * A segment of the spool, compressed. Little endian; all frames as in commit-log.ts.
 *
 *     archive/0000000000000001.arc      named as the segment was
 *
 *     ┌─────────────────────┬─ header ──────────────────────────────────────────────────┬─────────┬─────────┬───
 *     │ magic "THARCHV1" 8B │ last sequence, earliest, latest, raw bytes, messages: u64  │ frame   │ frame   │ …
 *     │                     │ crc32 of the header so far: u32                           │ block   │ block   │
 *     └─────────────────────┴───────────────────────────────────────────────────────────┴─────────┴─────────┴───
 *     block   ┌──────────────┬────────────┬─────────────────┬───────────────────────────────────────────────┐
 *             │ earliest u64 │ latest u64 │ raw length u32  │ brotli of: length u32, message, length u32, … │
 *             └──────────────┴────────────┴─────────────────┴───────────────────────────────────────────────┘
 *     earliest, latest: times of receipt (`receivedAt`)        messages: message-codec.ts
 *
 * A block is read without the others, and left out unread when its times are out of range.
 */
const magic = 'THARCHV1'
const headerBytes = 52
const blockHeaderBytes = 20

/** Bytes of messages that are compressed together. A longer message is a block of its own. */
const blockBytes = 1 << 20

/** Most bytes of a block: a message is at most a frame. */
const mostBlockBytes = 301e6

/** Most messages that are handed over at once. */
const batchMessages = 2_000

/**
 * Quality 1 of brotli: of telemetry it makes a quarter at 150 MB/s of one processor, where quality 5 makes a sixth at
 * 20 MB/s, and deflate at its fastest is slower and larger (8 MB of mixed JSON and numbers, Node 20).
 */
const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: 1, [constants.BROTLI_PARAM_LGWIN]: 20 } }

/** The header of an archived segment. Times of receipt in microseconds since the epoch. */
export interface ArchivedRange {
  /** Last sequence number. */
  readonly last: number
  readonly earliest: number
  readonly latest: number
  /** Bytes before compression. */
  readonly rawBytes: number
  readonly messages: number
}

/** Reads the header. Undefined when it is damaged. Throws the errors of the disk. */
export function readArchiveHeader(files: Files, path: string): ArchivedRange | undefined {
  const fd = files.openSync(path, openToRead)
  try {
    const head = readPieceSync(files, fd, 0, headerBytes)
    if (head.length < headerBytes || head.toString('latin1', 0, magic.length) !== magic) return undefined
    if (crc32(head.subarray(0, headerBytes - 4)) !== head.readUInt32LE(headerBytes - 4)) return undefined
    const [last = 0, earliest = 0, latest = 0, rawBytes = 0, messages = 0] = [8, 16, 24, 32, 40].map(at =>
      readUInt64(head, at),
    )
    return { last, earliest, latest, rawBytes, messages }
  } finally {
    files.closeSync(fd)
  }
}

function encodeHeader({ last, earliest, latest, rawBytes, messages }: ArchivedRange): Buffer {
  const head = Buffer.alloc(headerBytes)
  head.write(magic, 'latin1')
  for (const [i, value] of [last, earliest, latest, rawBytes, messages].entries()) writeUInt64(head, value, 8 + 8 * i)
  head.writeUInt32LE(crc32(head.subarray(0, headerBytes - 4)), headerBytes - 4)
  return head
}

/** Paces the work on an archive, and ends it. */
export interface Pace {
  readonly signal: AbortSignal
  /** Resolves after a rest that fits work of so many milliseconds. */
  rest(workedMs: number): Promise<void>
}

/** Messages that become a block. */
class Block {
  #parts: Buffer[] = []
  bytes = 0
  earliest = Number.POSITIVE_INFINITY
  latest = 0

  add(body: Buffer, receivedAt: number): void {
    const length = Buffer.allocUnsafe(4)
    length.writeUInt32LE(body.length)
    this.#parts.push(length, body)
    this.bytes += 4 + body.length
    this.earliest = Math.min(this.earliest, receivedAt)
    this.latest = Math.max(this.latest, receivedAt)
  }

  /** Returns the block as a frame. */
  async compressed(): Promise<Buffer> {
    const packed = await compress(Buffer.concat(this.#parts))
    const frame = Buffer.allocUnsafe(frameHeaderBytes + blockHeaderBytes + packed.length)
    const body = frame.subarray(frameHeaderBytes)
    writeUInt64(body, this.earliest, 0)
    writeUInt64(body, this.latest, 8)
    body.writeUInt32LE(this.bytes, 16)
    body.set(packed, blockHeaderBytes)
    writeFrameHeader(frame, 0, body)
    return frame
  }
}

/**
 * Compresses a segment of the spool into a new file, and syncs it. Bytes that are no message are left out; `damaged` is
 * their number. Rejects with the errors of the disk, and when the signal of the pace aborts.
 */
export async function writeArchive(
  files: Files,
  from: string,
  to: string,
  pace: Pace,
): Promise<ArchivedRange & { readonly damaged: number; readonly bytes: number }> {
  const source = files.openSync(from, openToRead)
  try {
    const target = files.openSync(to, openNew)
    try {
      return await packed(files, source, target, pace)
    } finally {
      files.closeSync(target)
    }
  } finally {
    files.closeSync(source)
  }
}

async function packed(files: Files, source: number, target: number, { signal, rest }: Pace) {
  const size = files.sizeSync(source)
  const reader = new FrameReader(files, source)
  const range = { last: 0, earliest: Number.POSITIVE_INFINITY, latest: 0, rawBytes: size, messages: 0 }
  let [at, end, damaged] = [segmentHeaderBytes, headerBytes, 0]
  let block = new Block()
  const flush = async () => {
    const began = performance.now()
    const frame = await block.compressed()
    await writeWhole(files, target, frame, end)
    end += frame.length
    block = new Block()
    await rest(performance.now() - began)
    signal.throwIfAborted()
  }
  for (;;) {
    const frame: Frame | undefined = reader.at(at) ?? (await reader.next(at, size))
    if (!frame) break
    damaged += frame.start - at
    at = frame.end
    const message = decodeMessage(frame.body)
    if (!message) continue
    block.add(frame.body, message.receivedAt)
    range.messages++
    range.last = Math.max(range.last, message.sequence)
    range.earliest = Math.min(range.earliest, message.receivedAt)
    range.latest = Math.max(range.latest, message.receivedAt)
    if (block.bytes >= blockBytes) await flush()
  }
  if (block.bytes > 0) await flush()
  await writeWhole(files, target, encodeHeader({ ...range, earliest: Math.min(range.earliest, range.latest) }), 0)
  await synced(files, target)
  return { ...range, damaged, bytes: end }
}

/**
 * Yields the messages of an archived segment, in order, those of blocks with times of receipt in [from, to) only.
 * Damaged blocks are stepped over: `damage` hears of the bytes. Rejects with the errors of the disk.
 */
export async function* readArchive(
  files: Files,
  path: string,
  { from, to }: { readonly from: number; readonly to: number },
  damage: (bytes: number) => void,
): AsyncGenerator<readonly Message[]> {
  const fd = files.openSync(path, openToRead)
  try {
    const size = files.sizeSync(fd)
    const reader = new FrameReader(files, fd)
    for (let at = headerBytes; at < size; ) {
      const frame: Frame | undefined = reader.at(at) ?? (await reader.next(at, size))
      const begin = frame?.start ?? size
      if (begin > at) damage(begin - at)
      if (!frame) return
      at = frame.end
      const { body } = frame
      if (body.length < blockHeaderBytes || readUInt64(body, 8) < from || readUInt64(body, 0) >= to) continue
      yield* messagesOf(await decompress(body))
    }
  } finally {
    files.closeSync(fd)
  }
}

function* messagesOf(block: Buffer): Generator<readonly Message[]> {
  let batch: Message[] = []
  for (let at = 0; at + 4 <= block.length; ) {
    const end = at + 4 + block.readUInt32LE(at)
    const message = decodeMessage(block.subarray(at + 4, end))
    at = end
    if (message) batch.push(message)
    if (batch.length < batchMessages) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}

function compress(bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) =>
    brotliCompress(bytes, quality, (error, packed) => (error ? reject(error) : resolve(packed))),
  )
}

function decompress(body: Buffer): Promise<Buffer> {
  const maxOutputLength = Math.max(1, Math.min(mostBlockBytes, body.readUInt32LE(16)))
  return new Promise((resolve, reject) =>
    brotliDecompress(body.subarray(blockHeaderBytes), { maxOutputLength }, (error, raw) =>
      error ? reject(error) : resolve(raw),
    ),
  )
}
