import { describe } from '../errors.js'
import { type Queued, sizeOf } from './delivery.js'
import { Fifo } from './fifo.js'
import { packed, type QueueChunk, type SharedPayloads } from './queue-chunk.js'

export interface WaitingLimits {
  readonly messages: number
  readonly bytes: number
  /** Maximum age of a queued message in milliseconds; 0 is for ever. */
  readonly ageMs: number
}

/** Memory of all queues together, in the bytes that count for their limits. */
export interface QueueMemory {
  bytes: number
  /** Called when bytes on disk were damaged or could not be read, so that messages of a queue are lost. */
  damaged(messages: number, bytes: number, reason: string): void
}

/** Maximum number of messages packed at once: each takes a microsecond or two. */
const packedAtOnce = 500

/** Maximum number of small chunks; more than these are packed together. */
const maxSmallChunks = 8
const smallChunkBytes = 4_096

/**
 * The messages that wait in a session, first in, first out. Between the first and the last messages there may be
 * chunks, which are packed and may be on disk: `isReady` tells whether the next message is in memory. Every other
 * operation reads the messages needed at once.
 */
export class SessionQueue implements Iterable<Queued> {
  readonly #limits: WaitingLimits
  readonly #memory: QueueMemory
  readonly #first = new Fifo<Queued>()
  #chunks: QueueChunk[] | undefined
  #last: Fifo<Queued> | undefined
  #length = 0
  #bytes = 0
  #isLoading = false

  constructor(limits: WaitingLimits, memory: QueueMemory) {
    this.#limits = limits
    this.#memory = memory
  }

  get length(): number {
    return this.#length
  }

  /** Bytes that the messages count for in the limit of a queue. */
  get bytes(): number {
    return this.#bytes
  }

  /** Whether the next message would displace the oldest one. */
  get isFull(): boolean {
    return this.#length >= this.#limits.messages || this.#bytes >= this.#limits.bytes
  }

  /** Returns whether a message has waited for too long. */
  isOld(queuedAt: number, now: number): boolean {
    return this.#limits.ageMs > 0 && now - queuedAt > this.#limits.ageMs
  }

  /** Takes the first message out if it has waited for too long. */
  shiftOld(now: number): Queued | undefined {
    const oldest = this.#first.first?.at ?? this.#chunks?.[0]?.firstAt
    return oldest !== undefined && this.isOld(oldest, now) ? this.shift() : undefined
  }

  /** Takes the first message out if the queue is beyond its limits, which one large message may be. */
  shiftExcess(): Queued | undefined {
    const { messages, bytes } = this.#limits
    return this.#length > messages || (this.#bytes > bytes && this.#length > 1) ? this.shift() : undefined
  }

  push(entry: Queued): void {
    if (this.#chunks) {
      this.#last ??= new Fifo()
      this.#last.push(entry)
    } else this.#first.push(entry)
    this.#count(entry, 1)
  }

  shift(): Queued | undefined {
    while (this.#first.length === 0 && this.#chunks) this.#unpackFirst()
    const entry = this.#first.shift()
    if (entry) this.#count(entry, -1)
    return entry
  }

  /** Whether the next message is in memory. If not, call `load`. */
  get isReady(): boolean {
    return this.#first.length > 0 || this.#chunks?.[0] === undefined || this.#chunks[0].bytes !== undefined
  }

  /** Reads the next messages from disk. Calls while a read is in progress are ignored, so `done` is called once. */
  load(done: () => void): void {
    if (this.#isLoading) return
    const chunk = this.#chunks?.[0]
    if (!chunk) return
    this.#isLoading = true
    chunk.readLater((error, bytes) => {
      this.#isLoading = false
      // Another operation may have needed the chunk meanwhile.
      if (this.#chunks?.[0] === chunk && this.#first.length === 0) this.#unpackFirst(error ?? bytes)
      done()
    })
  }

  remove(entry: Queued): boolean {
    const isFound = this.#first.remove(entry) || (this.#unpackAll() && this.#first.remove(entry))
    if (isFound) this.#count(entry, -1)
    return isFound
  }

  /** Removes and returns at most `most` messages for which `isWanted` is true, in their order. */
  removeWhere(isWanted: (entry: Queued) => boolean, most: number): readonly Queued[] {
    this.#unpackAll()
    const removed = this.#first.removeWhere(isWanted, most)
    for (const entry of removed) this.#count(entry, -1)
    return removed
  }

  /** Returns the message with that number, if queued. */
  find(n: number): Queued | undefined {
    if (this.#first.first?.n === n) return this.#first.first
    for (const entry of this) if (entry.n === n) return entry
    return undefined
  }

  [Symbol.iterator](): Iterator<Queued> {
    this.#unpackAll()
    return this.#first[Symbol.iterator]()
  }

  // — for snapshots —

  /** The packed messages, behind the {@link leading} and before the {@link trailing} ones. */
  get chunks(): readonly QueueChunk[] {
    return this.#chunks ? [...this.#chunks] : []
  }

  get leading(): readonly Queued[] {
    return [...this.#first]
  }

  get trailing(): readonly Queued[] {
    return this.#last ? [...this.#last] : []
  }

  /**
   * Packs some of the messages behind the first `keep`. Returns false when none are left to pack; until then call
   * again. Messages of groups must not be among them.
   */
  pack(keep: number, payloads: SharedPayloads): boolean {
    if (this.#isLoading) return false
    const { length } = this.#first
    if (length > keep) {
      this.#chunks = [
        ...this.#packed(this.#first.takeLast(Math.min(length - keep, packedAtOnce)), payloads),
        ...this.chunks,
      ]
      return this.#first.length > keep || (this.#last?.length ?? 0) > 0
    }
    if (!this.#last || this.#last.length === 0) return false
    const entries = this.#last.takeFirst(packedAtOnce)
    this.#chunks = [...this.chunks, ...this.#packed(entries, payloads)]
    if (this.#last.length === 0) this.#last = undefined
    return this.#last !== undefined
  }

  /** Joins many small chunks into few: a queue that gets a message a day would have a chunk for each day. */
  compact(): void {
    const chunks = this.#chunks
    if (!chunks || chunks.length <= maxSmallChunks || this.#isLoading) return
    if (chunks.reduce((sum, { length }) => sum + length, 0) < chunks.length * smallChunkBytes) this.#unpackAll()
  }

  /** Drops a chunk that cannot be read back from the disk: the messages are lost. */
  lose(chunk: QueueChunk, error: unknown): void {
    const at = this.#chunks?.indexOf(chunk) ?? -1
    if (at < 0) return
    this.#chunks?.splice(at, 1)
    this.#lost(chunk, error)
    this.#settle()
  }

  /** Appends packed messages behind all others. */
  append(chunk: QueueChunk): void {
    this.#chunks = [...this.chunks, chunk]
    this.#length += chunk.count
    this.#bytes += chunk.size
  }

  #packed(entries: readonly Queued[], payloads: SharedPayloads): QueueChunk[] {
    const chunks = packed(entries, payloads)
    for (const { size } of chunks) this.#memory.bytes -= size
    return chunks
  }

  /** Turns the first chunk into messages again, from these bytes if they were read. */
  #unpackFirst(read?: Buffer | Error): void {
    const chunk = this.#chunks?.shift()
    if (!chunk) return
    this.#take(chunk, read)
    this.#settle()
  }

  #unpackAll(): true {
    const chunks = this.#chunks ?? []
    this.#chunks = undefined
    for (const chunk of chunks) this.#take(chunk)
    this.#settle()
    return true
  }

  #take(chunk: QueueChunk, read?: Buffer | Error): void {
    try {
      if (read instanceof Error) throw read
      const entries = chunk.unpack(read)
      this.#memory.bytes += chunk.size
      for (const entry of entries) this.#first.push(entry)
    } catch (error) {
      this.#lost(chunk, error)
    }
  }

  #lost({ count, size, length }: QueueChunk, error: unknown): void {
    this.#length -= count
    this.#bytes -= size
    this.#memory.damaged(count, length, describe(error))
  }

  /** Joins the last messages to the first ones when there are no chunks between them. */
  #settle(): void {
    if (this.#chunks && this.#chunks.length > 0) return
    this.#chunks = undefined
    for (const entry of this.#last ?? []) this.#first.push(entry)
    this.#last = undefined
  }

  #count(entry: Queued, sign: 1 | -1): void {
    const size = sign * sizeOf(entry)
    this.#length += sign
    this.#bytes += size
    this.#memory.bytes += size
  }
}

/** Tells when the queues have so much in memory that a snapshot is to put messages on disk. */
export class SpillWatch {
  readonly #memory: Pick<QueueMemory, 'bytes'>
  readonly #limit: number
  /** Bytes in memory after the last snapshot. */
  #before = 0

  /** `limit` is in bytes. */
  constructor(memory: Pick<QueueMemory, 'bytes'>, limit: number) {
    this.#memory = memory
    this.#limit = limit
  }

  /** Returns whether a snapshot is to be made. Memory that a snapshot does not free must not cause another one. */
  isDue(): boolean {
    const { bytes } = this.#memory
    if (bytes < this.#before) this.#before = bytes
    if (bytes <= this.#limit || bytes - this.#before < this.#limit / 2) return false
    this.#before = bytes
    return true
  }
}
