import { crc32 } from 'node:zlib'
import { ByteReader, ByteWriter } from '../disk/byte-buffer.js'
import { frameHeaderBytes, writeFrameHeader } from '../disk/commit-log.js'
import { dataSynced, type Files, writeWhole } from '../disk/files.js'
import { readFramesInSlices } from '../disk/frame-file.js'
import type { Slices } from '../runtime/slices.js'
import { isReleased, type Queued, type RetainedDelivery } from './delivery.js'
import {
  type ChunkFile,
  decodeQueuedMessage,
  encodeQueuedMessage,
  packed,
  QueueChunk,
  SharedPayload,
  type SharedPayloads,
  type Stored,
} from './queue-chunk.js'
import {
  decodeHead,
  decodeRecord,
  encodeHead,
  encodeRecord,
  type JournalRecord,
  type RecordedSubscription,
  type Stamp,
} from './session-records.js'

/**
 * A snapshot of the sessions: frames of commit-log.ts, each beginning with its kind (u8).
 *
 *     header     JSON: the last ordinal and sequence when it was begun
 *     retained   head of session-records.ts · payload
 *     record     a record of session-records.ts
 *     payload    its number in this file u32 · payload             before the first messages that refer to it
 *     session    number of the session u32 · JSON
 *     messages   number of the session u32 · shared payloads · count u32
 *                  · for each: packet id u16 · released u8 · group · message of queue-chunk.ts
 *     chunk      number of the session u32 · count u32 · size f64 · first queued at f64 · shared payloads · chunk
 *     end        JSON: how many sessions and retained messages there are
 *
 * Shared payloads are a count (u16) and the number of each in this file (u32). A session is followed by its messages,
 * then by its chunks. A snapshot is written in pieces while the hub works, so that every session is captured at a
 * moment of its own: `ordinal` is the last record of the journal that the session has seen.
 */
const kind = { header: 1, retained: 2, record: 3, payload: 4, session: 5, messages: 6, chunk: 7, end: 8 }

/** Returns whether this is the last frame of a snapshot. A snapshot without such a frame was cut short. */
export function isSnapshotEnd(body: Buffer): boolean {
  return body[0] === kind.end
}

export interface SnapshotHeader extends Stamp {
  readonly version: 1
}

export interface SessionHead {
  /** Name of the session. */
  readonly c: string
  readonly u?: string
  /** When the client left, as in the record `open`. */
  readonly a: number
  readonly e?: number
  /** Ordinal of the last record that the session has seen. */
  readonly ordinal: number
  /** Number of the last message, and the last packet id given. */
  readonly n: number
  readonly m: number
  readonly s: readonly RecordedSubscription[]
  /** Packet ids of QoS 2 publishes received and not yet released. */
  readonly q?: readonly number[]
}

/** A message with a packet id, or of a group, restored from a snapshot. */
export interface RestoredMessage {
  readonly message: Queued
  readonly packetId: number
  readonly released: boolean
  /** Key of the message's group; empty: none. */
  readonly group: string
}

export interface SnapshotTarget<T> {
  begin(header: SnapshotHeader): void
  retained(message: RetainedDelivery): void
  record(record: JournalRecord, payload: Buffer): void
  session(head: SessionHead): T
  message(session: T, restored: RestoredMessage): void
  chunk(session: T, chunk: QueueChunk): void
}

/** Bytes that are written at once, and bytes that are synced at once. */
const writtenAtOnce = 1 << 20
const syncedAtOnce = 8 << 20

/** Writes a snapshot. Frames wait in memory until `flush`. */
export class SnapshotWriter {
  readonly #files: Files
  readonly #fd: number
  readonly #payloads: SharedPayloads
  readonly #out = new ByteWriter()
  readonly #frames = new ByteWriter()
  readonly #placed: (readonly [stored: Stored, offset: number])[] = []
  #written = 0
  #unsynced = 0
  #session = -1
  #sessions = 0
  #retained = 0
  #ids = 0

  constructor(files: Files, fd: number, payloads: SharedPayloads) {
    this.#files = files
    this.#fd = fd
    this.#payloads = payloads
  }

  /** Bytes written, and bytes that wait. */
  get size(): number {
    return this.#written + this.#frames.length
  }

  /** Whether `flush` should be called. */
  get isFull(): boolean {
    return this.#frames.length >= writtenAtOnce
  }

  header(header: SnapshotHeader): void {
    this.#json(kind.header, header)
  }

  retained(message: RetainedDelivery): void {
    this.#retained++
    this.#begin(kind.retained)
    encodeHead(this.#out, { ...message, retain: true })
    this.#out.raw(message.payload)
    this.#end()
  }

  record(record: JournalRecord, payload: Buffer): void {
    this.#begin(kind.record)
    encodeRecord(this.#out, record, { ordinal: 0, applied: 0 }, payload)
    this.#end()
  }

  session(head: SessionHead): void {
    this.#session = this.#sessions++
    this.#begin(kind.session)
    this.#out.u32(this.#session)
    this.#out.raw(Buffer.from(JSON.stringify(head)))
    this.#end()
  }

  /** Writes messages of the session that have to be in memory: with a packet id, or of a group. */
  messages(messages: readonly Queued[]): void {
    if (messages.length === 0) return
    const shared: SharedPayload[] = []
    const encoded = new ByteWriter()
    for (const message of messages) {
      encoded.u16(message.packetId)
      encoded.u8(isReleased(message) ? 1 : 0)
      encoded.text(message.group?.key ?? '')
      encodeQueuedMessage(encoded, message, shared, this.#payloads)
    }
    for (const payload of shared) this.#payload(payload)
    this.#begin(kind.messages)
    this.#out.u32(this.#session)
    this.#shared(shared)
    this.#out.u32(messages.length)
    this.#out.raw(encoded.written)
    this.#end()
  }

  /** Writes messages of the session that may stay on disk until they are needed; they are in memory for now. */
  copied(messages: readonly Queued[]): void {
    for (const chunk of packed(messages, this.#payloads)) {
      for (const payload of chunk.shared) if (payload) this.#payload(payload)
      this.#chunk(chunk, chunk.read())
    }
  }

  /**
   * Writes a chunk, which is on disk alone from `settle` on.
   * @throws the error of the disk when the chunk cannot be read back
   */
  chunk(chunk: QueueChunk): void {
    const bytes = chunk.read()
    for (const payload of chunk.shared) if (payload) this.#payload(payload)
    this.#placed.push([chunk, this.#chunk(chunk, bytes)])
  }

  end(): void {
    this.#json(kind.end, { sessions: this.#sessions, retained: this.#retained })
  }

  /** Resolves when all frames are written. Rejects with the error of the disk. */
  async flush(): Promise<void> {
    const bytes = this.#frames.written
    await writeWhole(this.#files, this.#fd, bytes, this.#written)
    this.#written += bytes.length
    this.#unsynced += bytes.length
    this.#frames.clear()
    // A large sync at the end would delay the syncs of the spool.
    if (this.#unsynced >= syncedAtOnce) await this.sync()
  }

  sync(): Promise<void> {
    this.#unsynced = 0
    return dataSynced(this.#files, this.#fd)
  }

  /** Drops written chunks from memory, in slices: each is read from that file from then on. */
  async settle(file: ChunkFile, slices: Slices): Promise<void> {
    for (const [stored, offset] of this.#placed) {
      stored.moved(file, offset)
      if (slices.isOver) await slices.turn()
    }
  }

  /** Returns the offset of the chunk in the file. */
  #chunk(chunk: QueueChunk, bytes: Buffer): number {
    const { shared } = chunk
    this.#begin(kind.chunk)
    this.#out.u32(this.#session)
    this.#out.u32(chunk.count)
    this.#out.f64(chunk.size)
    this.#out.f64(chunk.firstAt)
    this.#shared(shared)
    const at = this.#out.length
    this.#out.raw(bytes)
    return this.#end() + at
  }

  #payload(payload: SharedPayload): void {
    if (payload.snapshot === this) return
    const bytes = payload.read()
    payload.snapshot = this
    payload.id = ++this.#ids
    this.#begin(kind.payload)
    this.#out.u32(payload.id)
    const at = this.#out.length
    this.#out.raw(bytes)
    this.#placed.push([payload, this.#end() + at])
  }

  #shared(shared: readonly (SharedPayload | undefined)[]): void {
    this.#out.u16(shared.length)
    for (const payload of shared) this.#out.u32(payload?.id ?? 0)
  }

  #json(kind: number, value: object): void {
    this.#begin(kind)
    this.#out.raw(Buffer.from(JSON.stringify(value)))
    this.#end()
  }

  #begin(kind: number): void {
    this.#out.clear()
    this.#out.u8(kind)
  }

  /** Returns the offset of the frame's body in the file. */
  #end(): number {
    const body = this.#out.written
    writeFrameHeader(header, 0, body)
    this.#frames.raw(header)
    const at = this.size
    this.#frames.raw(body)
    return at
  }
}

const header = Buffer.alloc(frameHeaderBytes)

export interface SnapshotRead {
  /** The last record of the journal when the snapshot was begun, and the last that any session has seen. */
  readonly begun: number
  readonly seen: number
  /** Number of damaged bytes. */
  readonly damage: number
  /** Whether the file ends too early, without the last frame. */
  readonly isCutOff: boolean
}

/**
 * Restores the contents of a snapshot, in slices between other work. Reading continues behind damage, without the
 * sessions and messages of the damaged frame. Rejects with the error of the disk.
 */
export async function readSnapshot<T>(
  files: Files,
  fd: number,
  file: ChunkFile,
  target: SnapshotTarget<T>,
  slices: Slices,
): Promise<SnapshotRead> {
  const payloads = new Map<number, SharedPayload>()
  let session: T | undefined
  let index = -1
  let begun = 0
  let seen = 0
  let damage = 0
  let isWhole = false
  const shared = (from: ByteReader) => {
    const found: (SharedPayload | undefined)[] = []
    for (let left = from.u16(); left > 0; left--) found.push(payloads.get(from.u32()))
    return found
  }
  const frame = (body: Buffer, at: number) => {
    const from = new ByteReader(body)
    switch (from.u8()) {
      case kind.header: {
        const header = JSON.parse(body.toString('utf8', 1)) as SnapshotHeader
        begun = seen = header.ordinal
        target.begin(header)
        return
      }
      case kind.retained: {
        const head = decodeHead(from)
        target.retained({ ...head, payload: from.rest() })
        return
      }
      case kind.record: {
        const found = decodeRecord(from.rest())
        if (found) target.record(found.record, found.payload)
        return
      }
      case kind.payload: {
        const id = from.u32()
        const payload = new SharedPayload(body.length - from.at, undefined, crc32(body.subarray(from.at)))
        payload.moved(file, at + from.at)
        payloads.set(id, payload)
        return
      }
      case kind.session: {
        index = from.u32()
        const head = JSON.parse(from.rest().toString('utf8')) as SessionHead
        seen = Math.max(seen, head.ordinal)
        session = target.session(head)
        return
      }
      case kind.messages: {
        // The session of these messages is missing: damage.
        if (from.u32() !== index || session === undefined) return
        const found = shared(from)
        for (let left = from.u32(); left > 0; left--) {
          const [packetId, released, group] = [from.u16(), from.u8() === 1, from.text()]
          target.message(session, { packetId, released, group, message: decodeQueuedMessage(from, found) })
        }
        return
      }
      case kind.chunk: {
        if (from.u32() !== index || session === undefined) return
        const about = { count: from.u32(), size: from.f64(), firstAt: from.f64(), shared: shared(from) }
        const chunk = new QueueChunk({ ...about, length: body.length - from.at, bytes: undefined })
        chunk.moved(file, at + from.at)
        target.chunk(session, chunk)
        return
      }
      case kind.end:
        isWhole = true
    }
  }
  const handlers = {
    frame: (body: Buffer, at: number) => {
      try {
        frame(body, at)
      } catch {
        damage += body.length
      }
    },
    damaged: (_at: number, bytes: number) => {
      damage += bytes
    },
  }
  const end = await readFramesInSlices(fd, handlers, slices, files)
  return { begun, seen, damage: damage + files.sizeSync(fd) - end, isCutOff: !isWhole }
}
