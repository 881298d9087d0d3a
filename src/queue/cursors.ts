import { closeSync, copyFileSync, existsSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { describe } from '../errors.js'
import { frameAt, frameHeaderBytes, nextFrame } from '../journal.js'
import type { Message } from '../model.js'
import { decodeMessage, readUInt64, writeUInt64 } from './codec.js'
import { type Delivery, type QueueReader, Wakeup } from './queue.js'
import { listSegments, type SpoolPosition, segmentHeaderBytes, segmentPath } from './spool.js'

/**
 * The reading side of the spool, on the processor thread: a cursor per consumer group, each at its own pace.
 * Segments that every cursor has passed are deleted, except the one before the newest: the broker makes its own
 * state good from the last messages after a crash (`Spool.replay`).
 *
 *     name.cursor   ┌──────────────┬─────────────┬────────────┬────────────┬───────────┐
 *                   │ sequence u64 │ segment u64 │ offset u64 │ number u32 │ crc32 u32 │   two slots, written in turn:
 *                   └──────────────┴─────────────┴────────────┴────────────┴───────────┘   the whole one with the higher number counts
 *     sequence: the next one wanted · segment, offset: where it is
 */
const slotBytes = 32

/** A cursor is saved at most this often; what it passed since then comes again after a crash. */
const saveEveryMs = 100

/** A chunk read at a time. A message larger than this is read alone. */
const chunkBytes = 1 << 20

export interface CursorsOptions {
  readonly dir: string
  /** The groups that will read. The cursor of a group that is no longer here is forgotten. */
  readonly groups: readonly string[]
  /** A group without a cursor begins where this one was, if it is there: the backlog changes hands, it does not start over. */
  readonly inherit: Readonly<Record<string, string>>
  /** Where the spool was committed when this side started. */
  readonly position: SpoolPosition
  /** Segments were deleted. */
  readonly freed: (bytes: number) => void
  readonly warn: (sentence: string) => void
}

interface Place {
  sequence: number
  segment: number
  offset: number
}

interface SavedPlace extends Place {
  /** How often it was saved before. */
  readonly number: number
}

export class Cursors {
  readonly #options: CursorsOptions
  readonly #cursors = new Map<string, Cursor>()
  #segments: number[] = []
  #position: SpoolPosition
  #deleting = false

  constructor(options: CursorsOptions) {
    this.#options = options
    this.#position = options.position
  }

  start(): void {
    const { dir, groups, inherit } = this.#options
    this.#segments = listSegments(dir)
    const first = this.#segments[0] as number
    const oldest: SavedPlace = { sequence: first, segment: first, offset: segmentHeaderBytes, number: 0 }
    const saved = new Map(['live', 'record', 'bridge'].map(name => [name, readCursor(cursorPath(dir, name))] as const))
    for (const group of groups) {
      const place = saved.get(group) ?? saved.get(inherit[group] ?? '') ?? oldest
      const known = this.#segments.includes(place.segment) ? this.#notBeyond(group, place) : oldest
      this.#cursors.set(group, new Cursor(group, known, this))
    }
    for (const name of saved.keys()) if (!groups.includes(name)) rmSync(cursorPath(dir, name), { force: true })
  }

  /** With `spool.fsync: interval` a loss of power may take what a cursor has passed already. */
  #notBeyond(group: string, place: SavedPlace): SavedPlace {
    const { sequence, segment, end } = this.#position
    if (place.sequence <= sequence + 1 && (place.segment < segment || place.offset <= end)) return place
    this.#options.warn(`the spool ends before the place of cursor ${group}; it goes on at the end`)
    return { sequence: sequence + 1, segment, offset: end, number: place.number }
  }

  /** The spool has committed more. */
  committed(position: SpoolPosition): void {
    if (position.segment > (this.#segments.at(-1) ?? 0)) this.#segments.push(position.segment)
    this.#position = position
    for (const cursor of this.#cursors.values()) cursor.wake()
  }

  reader(group: string): Cursor {
    const cursor = this.#cursors.get(group)
    if (!cursor) throw new Error(`no cursor ${group}`)
    return cursor
  }

  /** Saves every cursor. Nothing is read or settled afterwards. */
  async stop(): Promise<void> {
    for (const cursor of this.#cursors.values()) await cursor.close()
  }

  get groups(): readonly string[] {
    return this.#options.groups
  }

  /** Messages committed that `group` has not settled. */
  depth(group: string): number {
    return this.#position.sequence + 1 - this.reader(group).settled.sequence
  }

  get dir(): string {
    return this.#options.dir
  }

  get position(): SpoolPosition {
    return this.#position
  }

  warn(sentence: string): void {
    this.#options.warn(sentence)
  }

  /** The segment after this one, when this one will not grow any more. */
  after(segment: number): number | undefined {
    return this.#segments[this.#segments.indexOf(segment) + 1]
  }

  /** The segment that holds `sequence`, or the oldest there is. */
  holding(sequence: number): number {
    return this.#segments.findLast(segment => segment <= sequence) ?? (this.#segments[0] as number)
  }

  async deletePassed(): Promise<void> {
    if (this.#deleting) return
    this.#deleting = true
    try {
      const needed = Math.min(...[...this.#cursors.values()].map(cursor => cursor.settled.segment))
      while (this.#segments.length > 2 && (this.#segments[0] as number) < needed) {
        const path = segmentPath(this.#options.dir, this.#segments[0] as number)
        const { size } = statSync(path)
        await unlink(path)
        this.#segments.shift()
        this.#options.freed(size)
      }
    } finally {
      this.#deleting = false
    }
  }
}

/** One group's place in the spool. */
export class Cursor implements QueueReader {
  readonly #name: string
  readonly #owner: Cursors
  readonly #slot = Buffer.alloc(slotBytes)
  #fd: number | undefined
  #saves: number
  #timer: NodeJS.Timeout | undefined
  /** Where the next frame is taken from. */
  #place: Place
  /** Where reading would begin again. */
  #settled: Place
  #file: { readonly segment: number; readonly handle: FileHandle } | undefined
  #chunk: Buffer = Buffer.alloc(0)
  /** Offset in the segment of the chunk's first byte. */
  #chunkAt = 0
  readonly #wakeup = new Wakeup()

  constructor(name: string, { number, ...place }: SavedPlace, owner: Cursors) {
    this.#name = name
    this.#owner = owner
    this.#saves = number
    this.#place = place
    this.#settled = { ...place }
  }

  get settled(): Readonly<Place> {
    return this.#settled
  }

  /** Begins again at `sequence`, if that is further back and still there. Before the first `next` only. */
  rewind(sequence: number): void {
    if (sequence >= this.#place.sequence) return
    const segment = this.#owner.holding(sequence)
    this.#place = { sequence: Math.max(sequence, segment), segment, offset: segmentHeaderBytes }
    this.#settled = { ...this.#place }
  }

  wake(): void {
    this.#wakeup.wake()
  }

  async next(limit: number, signal: AbortSignal): Promise<Delivery | undefined> {
    const messages: Message[] = []
    while (messages.length < limit) {
      if (signal.aborted) return undefined
      const message = this.#take()
      if (message) {
        // A cursor can be a little behind its file's name; what it has passed does not come twice.
        if (message.sequence >= this.#place.sequence) {
          this.#place.sequence = message.sequence + 1
          messages.push(message)
        }
        continue
      }
      // What is at hand goes out at once; only an empty hand reads or waits.
      if (messages.length > 0) break
      const known = this.#owner.position
      if (!(await this.#read())) await this.#waitForCommit(known, signal)
    }
    const reached = { ...this.#place }
    return { messages, settle: () => this.#settle(reached) }
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#save()
    if (this.#fd !== undefined) closeSync(this.#fd)
    await this.#file?.handle.close()
    this.#file = undefined
  }

  /** The next message of the chunk. Moves past damage when the chunk reaches behind it. */
  #take(): Message | undefined {
    const at = this.#place.offset - this.#chunkAt
    const frame = frameAt(this.#chunk, at)
    if (!frame) return undefined
    this.#place.offset = this.#chunkAt + frame.end
    return decodeMessage(frame.body) ?? this.#take()
  }

  /** Fills the chunk from the place on, or moves to the next segment. False when there is nothing more yet. */
  async #read(): Promise<boolean> {
    const { segment, offset } = this.#place
    const next = this.#owner.after(segment)
    const handle = await this.#open(segment)
    const end = next === undefined ? this.#committedEnd(segment) : (await handle.stat()).size
    if (offset >= end) {
      if (next === undefined) return false
      this.#place = { sequence: this.#place.sequence, segment: next, offset: segmentHeaderBytes }
      this.#chunk = Buffer.alloc(0)
      this.#chunkAt = segmentHeaderBytes
      return true
    }
    this.#chunk = await readAt(handle, offset, Math.min(end - offset, chunkBytes))
    this.#chunkAt = offset
    if (frameAt(this.#chunk, 0)) return true
    const length = this.#chunk.length >= frameHeaderBytes ? this.#chunk.readUInt32LE(0) + frameHeaderBytes : 0
    if (length > this.#chunk.length && length <= end - offset) {
      this.#chunk = await readAt(handle, offset, length)
      if (frameAt(this.#chunk, 0)) return true
    }
    await this.#stepOverDamage(handle, segment, offset, end)
    return true
  }

  async #stepOverDamage(handle: FileHandle, segment: number, offset: number, end: number): Promise<void> {
    const path = segmentPath(this.#owner.dir, segment)
    if (!existsSync(`${path}.bad`)) copyFileSync(path, `${path}.bad`)
    this.#chunk = await readAt(handle, offset, end - offset)
    const whole = nextFrame(this.#chunk, 0)
    this.#place.offset = whole ? offset + whole.start : end
    this.#owner.warn(
      `${this.#name}: stepped over ${this.#place.offset - offset} damaged bytes at ${offset} of ${path}; a copy is ${path}.bad`,
    )
  }

  #committedEnd(segment: number): number {
    const { position } = this.#owner
    return position.segment === segment ? position.end : 0
  }

  async #open(segment: number): Promise<FileHandle> {
    if (this.#file?.segment !== segment) {
      await this.#file?.handle.close()
      this.#file = undefined
      this.#file = { segment, handle: await open(segmentPath(this.#owner.dir, segment), 'r') }
    }
    return this.#file.handle
  }

  async #waitForCommit(known: SpoolPosition, signal: AbortSignal): Promise<void> {
    // Every commit makes a new position: a different one came while the file was being looked at.
    if (this.#owner.position === known) await this.#wakeup.sleep(signal)
  }

  #settle(reached: Place): void {
    this.#settled = reached
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#save()
      this.#owner.deletePassed().catch(error => this.#owner.warn(`could not delete a segment: ${describe(error)}`))
    }, saveEveryMs)
  }

  #save(): void {
    const number = ++this.#saves
    writeUInt64(this.#slot, this.#settled.sequence, 0)
    writeUInt64(this.#slot, this.#settled.segment, 8)
    writeUInt64(this.#slot, this.#settled.offset, 16)
    this.#slot.writeUInt32LE(number, 24)
    this.#slot.writeUInt32LE(crc32(this.#slot.subarray(0, 28)), 28)
    const path = cursorPath(this.#owner.dir, this.#name)
    this.#fd ??= openSync(path, existsSync(path) ? 'r+' : 'w')
    writeSync(this.#fd, this.#slot, 0, slotBytes, (number % 2) * slotBytes)
  }
}

async function readAt(handle: FileHandle, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length)
  const { bytesRead } = await handle.read(buffer, 0, length, offset)
  return buffer.subarray(0, bytesRead)
}

function cursorPath(dir: string, name: string): string {
  return join(dir, `${name}.cursor`)
}

function readCursor(path: string): SavedPlace | undefined {
  if (!existsSync(path)) return undefined
  const file = readFileSync(path)
  let best: SavedPlace | undefined
  for (const at of [0, slotBytes]) {
    const slot = file.subarray(at, at + slotBytes)
    if (slot.length < slotBytes || crc32(slot.subarray(0, 28)) !== slot.readUInt32LE(28)) continue
    const number = slot.readUInt32LE(24)
    if (best && best.number > number) continue
    best = { number, sequence: readUInt64(slot, 0), segment: readUInt64(slot, 8), offset: readUInt64(slot, 16) }
  }
  return best
}
