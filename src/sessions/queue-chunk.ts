import { crc32 } from 'node:zlib'
import { ByteReader, ByteWriter } from '../disk/byte-buffer.js'
import { type Queued, sizeOf } from './delivery.js'
import { decodeIds, encodeIds } from './session-records.js'

/** A file that queued messages are read back from. */
export interface ChunkFile {
  /** @throws the error of the disk, or an error when the file ends before */
  read(offset: number, length: number): Buffer
  readLater(offset: number, length: number, done: (error: Error | undefined, bytes: Buffer) => void): void
}

/** Bytes that are in memory, or in a file, or in both. */
export class Stored {
  readonly length: number
  bytes: Buffer | undefined
  #file: ChunkFile | undefined
  #offset = 0

  constructor(length: number, bytes: Buffer | undefined) {
    this.length = length
    this.bytes = bytes
  }

  /** Drops the bytes from memory: from now on they are in that file. */
  moved(file: ChunkFile, offset: number): void {
    this.#file = file
    this.#offset = offset
    this.bytes = undefined
  }

  /** @throws the error of the disk */
  read(): Buffer {
    return this.bytes ?? (this.#file as ChunkFile).read(this.#offset, this.length)
  }

  readLater(done: (error: Error | undefined, bytes: Buffer) => void): void {
    if (this.bytes) done(undefined, this.bytes)
    else (this.#file as ChunkFile).readLater(this.#offset, this.length, done)
  }
}

/**
 * A payload that several queues may refer to. Once read back from the file, the queues share one buffer as long as any
 * of them has it.
 */
export class SharedPayload extends Stored {
  /** CRC-32 of the payload. */
  readonly crc: number
  /** The snapshot that has the payload, and the number of the payload there. */
  snapshot: object | undefined
  id = 0
  #known: WeakRef<Buffer> | undefined

  /** The bytes stay in memory until a snapshot has them. */
  constructor(length: number, bytes: Buffer | undefined, crc: number) {
    super(length, bytes)
    this.crc = crc
  }

  /** @throws the error of the disk, or `RangeError` when the bytes are damaged */
  get payload(): Buffer {
    if (this.bytes) return this.bytes
    const known = this.#known?.deref()
    if (known) return known
    const payload = this.read()
    if (crc32(payload) !== this.crc) throw new RangeError('wrong checksum')
    this.#known = new WeakRef(payload)
    return payload
  }
}

/** Shared payloads, by the buffer in the queued messages. */
export type SharedPayloads = WeakMap<Buffer, SharedPayload>

/** Length from which a payload is kept once for all queues; smaller payloads are in each queue. */
const sharedFrom = 256

/** Approximate size of a chunk; a larger message has a chunk of its own. */
const chunkBytes = 32_768

/**
 * A run of queued messages in few bytes: in memory until a snapshot has them, then on disk until needed. The bytes:
 *
 *     crc32 of the rest u32, then for each message:
 *     flags u8 · n u48 · queued at f64 · topic · client id [· properties] [· expires f64] [· identifiers]
 *       · payload u32+, or its place among the shared payloads u16
 */
export class QueueChunk extends Stored {
  readonly count: number
  /** Bytes that the messages count for in the limit of a queue. */
  readonly size: number
  /** When the first message was queued, in milliseconds since the epoch. */
  readonly firstAt: number
  readonly shared: readonly (SharedPayload | undefined)[]

  constructor(about: Pick<QueueChunk, 'length' | 'bytes' | 'count' | 'size' | 'firstAt' | 'shared'>) {
    super(about.length, about.bytes)
    this.count = about.count
    this.size = about.size
    this.firstAt = about.firstAt
    this.shared = about.shared
  }

  /**
   * Returns the messages, in their order.
   * @throws the error of the disk, or `RangeError` when the bytes are damaged
   */
  unpack(bytes: Buffer = this.read()): Queued[] {
    if (crc32(bytes.subarray(4)) !== bytes.readUInt32LE()) throw new RangeError('wrong checksum')
    const from = new ByteReader(bytes, 4)
    const entries: Queued[] = []
    for (let left = this.count; left > 0; left--) entries.push(decodeQueuedMessage(from, this.shared))
    return entries
  }
}

/** The inverse of {@link encodeQueuedMessage}. */
export function decodeQueuedMessage(from: ByteReader, shared: readonly (SharedPayload | undefined)[]): Queued {
  const flags = from.u8()
  const [n, at, topic, clientId] = [from.u48(), from.f64(), from.text(), from.text()]
  const properties = flags & flag.properties ? Buffer.from(from.sized()) : undefined
  const expiresAt = flags & flag.expires ? from.f64() : undefined
  const ids = flags & flag.ids ? decodeIds(from) : undefined
  const payload = flags & flag.shared ? shared[from.u16()]?.payload : Buffer.from(from.sized())
  if (!payload) throw new RangeError('a payload is missing')
  return {
    n,
    topic,
    payload,
    qos: flags & flag.exactlyOnce ? 2 : 1,
    retain: (flags & flag.retain) > 0,
    at,
    clientId,
    properties,
    expiresAt,
    ids,
    group: undefined,
    packetId: 0,
    state: 'waiting',
    backupDone: undefined,
  }
}

const flag = { exactlyOnce: 1, retain: 2, properties: 4, expires: 8, ids: 16, shared: 32 }

const scratch = new ByteWriter()

/** Returns messages as chunks; none of the messages has a packet id or a group. */
export function packed(entries: readonly Queued[], payloads: SharedPayloads): QueueChunk[] {
  const chunks: QueueChunk[] = []
  for (let from = 0; from < entries.length; ) {
    scratch.clear()
    scratch.u32(0)
    const shared: SharedPayload[] = []
    let size = 0
    let to = from
    for (; to < entries.length && (to === from || scratch.length < chunkBytes) && shared.length < 65_535; to++) {
      const entry = entries[to] as Queued
      size += sizeOf(entry)
      encodeQueuedMessage(scratch, entry, shared, payloads)
    }
    const bytes = Buffer.from(scratch.written)
    bytes.writeUInt32LE(crc32(bytes.subarray(4)))
    const { at: firstAt } = entries[from] as Queued
    const about = { length: bytes.length, bytes, count: to - from, size, firstAt }
    chunks.push(new QueueChunk({ ...about, shared: shared.length > 0 ? shared : none }))
    from = to
  }
  return chunks
}

const none: readonly never[] = []

/** Encodes a message without packet id and group. Payloads that may be shared are appended to `shared`. */
export function encodeQueuedMessage(
  out: ByteWriter,
  entry: Queued,
  shared: SharedPayload[],
  payloads: SharedPayloads,
): void {
  const { n, topic, payload, qos, retain, at, clientId, properties, expiresAt, ids } = entry
  const isShared = payload.length >= sharedFrom
  let flags = 0
  if (qos === 2) flags |= flag.exactlyOnce
  if (retain) flags |= flag.retain
  if (properties) flags |= flag.properties
  if (expiresAt !== undefined) flags |= flag.expires
  if (ids) flags |= flag.ids
  if (isShared) flags |= flag.shared
  out.u8(flags)
  out.u48(n)
  out.f64(at)
  out.text(topic)
  out.text(clientId)
  if (properties) out.sized(properties)
  if (expiresAt !== undefined) out.f64(expiresAt)
  if (ids) encodeIds(out, ids)
  if (!isShared) {
    out.sized(payload)
    return
  }
  let one = payloads.get(payload)
  if (!one) {
    one = new SharedPayload(payload.length, payload, crc32(payload))
    payloads.set(payload, one)
  }
  // The snapshot with these bytes may be removed, and the next one takes only payloads that a queue refers to.
  one.bytes ??= payload
  out.u16(shared.push(one) - 1)
}
