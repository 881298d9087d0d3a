import { constants } from 'node:fs'
import { crc32 } from 'node:zlib'
import { describe, HubError, systemCode } from '../errors.js'
import { type Files, nodeFiles, openNew, openToRead, readPiece, syncDirectory, writeWholeSync } from './files.js'

/**
 * Frames and group commit: what every append-only file of the hub is made of.
 *
 *     ┌────────────┬──────────────────┬─────────────────┬─────────────────┐
 *     │ length u32 │ mark(length) u32 │ crc32(body) u32 │ body (length B) │   little endian, length ≥ 1
 *     └────────────┴──────────────────┴─────────────────┴─────────────────┘
 *
 * The mark tells a header from other bytes at a glance: looking for the next frame behind damage must not compute a
 * checksum at every byte.
 */
export const frameHeaderBytes = 12

function mark(length: number): number {
  return (Math.imul(length, 0x9e3779b1) ^ 0x54484652) >>> 0
}

/** Writes the header of a frame with that body to `target`. */
export function writeFrameHeader(target: Buffer, at: number, body: Buffer): void {
  target.writeUInt32LE(body.length, at)
  target.writeUInt32LE(mark(body.length), at + 4)
  target.writeUInt32LE(crc32(body), at + 8)
}

/** No frame is longer; a larger length in a file is damage. */
const maxFrameBytes = 300e6

export interface Frame {
  readonly body: Buffer
  /** Where the frame begins and where the next one would, relative to the buffer read. */
  readonly start: number
  readonly end: number
}

/** The frame at `at`, or undefined when there is no whole, undamaged one. The body is a view, not a copy. */
export function frameAt(buffer: Buffer, at: number): Frame | undefined {
  if (at + frameHeaderBytes >= buffer.length) return undefined
  const length = buffer.readUInt32LE(at)
  const end = at + frameHeaderBytes + length
  if (length === 0 || length > maxFrameBytes || end > buffer.length) return undefined
  if (buffer.readUInt32LE(at + 4) !== mark(length)) return undefined
  const body = buffer.subarray(at + frameHeaderBytes, end)
  return crc32(body) === buffer.readUInt32LE(at + 8) ? { body, start: at, end } : undefined
}

/**
 * Where the frame at `at` ends by its header, whether it is whole or not, and may be past the buffer's end; undefined
 * when there is no header.
 */
export function claimedEnd(buffer: Buffer, at: number): number | undefined {
  if (at + frameHeaderBytes > buffer.length) return undefined
  const length = buffer.readUInt32LE(at)
  if (length === 0 || length > maxFrameBytes || buffer.readUInt32LE(at + 4) !== mark(length)) return undefined
  return at + frameHeaderBytes + length
}

/** The first undamaged frame at or after `at`, where a frame should begin: how a reader gets past damage. */
export function nextFrame(buffer: Buffer, at: number): Frame | undefined {
  let boundary = at
  for (let i = at; i + frameHeaderBytes < buffer.length; ) {
    const frame = frameAt(buffer, i)
    if (frame) return frame
    // A damaged body is not searched when its header is whole: a payload may hold what looks like a frame.
    const end = i === boundary ? claimedEnd(buffer, i) : undefined
    if (end === undefined) i++
    else i = boundary = end
  }
  return undefined
}

/** Writes whole frames to the start of a new file, a megabyte at a time, and syncs it. Returns the file's end. */
export function writeFrames(fd: number, bodies: Iterable<Buffer>, files: Files = nodeFiles): number {
  let end = 0
  let parts: Buffer[] = []
  let held = 0
  const flush = () => {
    writeWholeSync(files, fd, Buffer.concat(parts), end)
    end += held
    parts = []
    held = 0
  }
  for (const body of bodies) {
    const header = Buffer.allocUnsafe(frameHeaderBytes)
    writeFrameHeader(header, 0, body)
    parts.push(header, body)
    held += header.length + body.length
    if (held >= 1 << 20) flush()
  }
  flush()
  files.fsyncSync(fd)
  return end
}

/** To open a file with, so that what a write has written is on disk when it returns; 0 where there is no such thing. */
export const syncedWrites = constants.O_DSYNC ?? 0

export { syncDirectory }

/** Keeps a damaged file as it was when that was first found. Returns what to tell a person of it. */
export async function keepDamaged(path: string, files: Files = nodeFiles): Promise<string> {
  const copy = `${path}.bad`
  try {
    await copyFile(path, copy, files)
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') {
      return `it could not be copied (${describe(error)})`
    }
  }
  return `a copy is ${copy}`
}

/** Half a copy is worse than none: it would be taken for the whole. */
async function copyFile(from: string, to: string, files: Files): Promise<void> {
  const source = files.openSync(from, openToRead)
  try {
    const target = files.openSync(to, openNew)
    try {
      for (let at = 0; ; ) {
        const piece = await readPiece(files, source, at, 1 << 20)
        if (piece.length === 0) break
        writeWholeSync(files, target, piece, at)
        at += piece.length
      }
    } catch (error) {
      files.removeSync(to)
      throw error
    } finally {
      files.closeSync(target)
    }
  } finally {
    files.closeSync(source)
  }
}

export interface CommitLogOptions {
  /**
   * `group`: a commit is synced before it is reported. `interval`: synced once a second. `write`: as `group`, by the
   * write itself, for files opened with {@link syncedWrites}: one trip through the thread pool instead of two.
   */
  readonly fsync: 'group' | 'interval' | 'write'
  /** Called after each group, committed or failed, and after its callbacks: the file's end and how many frames it had. */
  readonly settled?: (end: number, frames: number, error?: Error) => void
  /** What the first frame of the group that is now reported is numbered, 0 without; callbacks get their frame's number. */
  readonly first?: () => number
  /**
   * Past this size, and past twice the size it began with, `rotate` is asked, between two groups, for the next file to
   * write to: one that begins with a large snapshot must not be rewritten at once.
   */
  readonly rotateBytes: number
  readonly rotate: () => Promise<{ fd: number; end: number }>
  /** All that was appended until now is the next group. */
  readonly taken?: () => void
  /** With `interval`: what was reported as committed in the last second may not be on disk. */
  readonly unsynced?: (error: Error) => void
  readonly files?: Files
}

/** Told once what became of a frame; `value` and `number` as they were given to `append`, and by it. */
type Done<T> = (value: T, error: Error | undefined, number: number) => void

/** The callbacks of a group, and what each is called with. One array of each: a group may have many frames. */
class Waiting {
  readonly done: (Done<never> | undefined)[] = []
  readonly values: unknown[] = []
}

/**
 * The group commit of one append-only file. All that is appended in one turn of the event loop, and all that
 * arrives while the disk is busy, becomes one write and one fdatasync. Callbacks run in append order, after
 * the sync. A group that fails is cut off the file and every callback of it gets the error; the next group
 * is tried anew, except after a failed sync: then nothing is known of the file, and the next group goes to a
 * new one (see PostgreSQL's "fsyncgate").
 */
export class CommitLog {
  readonly #options: CommitLogOptions
  readonly #files: Files
  /** Negative while no file can be written to: the next group asks for one. */
  #fd = -1
  #closed = false
  #end = 0
  #rotateAt = 0
  #group = Buffer.allocUnsafe(1 << 20)
  #spare = Buffer.allocUnsafe(1 << 20)
  #used = 0
  #waiting = new Waiting()
  #writing = false
  #writingBytes = 0
  #scheduled = false
  #rotateNow = false
  #syncTimer: NodeJS.Timeout | undefined
  /** Who waits for the group being filled, and for the one being written. */
  #flushing: (() => void)[] = []
  #flushingWritten: (() => void)[] = []

  constructor(options: CommitLogOptions) {
    this.#options = options
    this.#files = options.files ?? nodeFiles
  }

  /** A negative `fd`: the disk refuses to have the file open for writing, and the first group goes to another one. */
  open(fd: number, end: number): void {
    this.#fd = fd
    this.#end = end
    this.#rotateAt = Math.max(this.#options.rotateBytes, end * 2)
    if (this.#options.fsync === 'interval') this.#syncTimer ??= setInterval(() => this.#syncNow(), 1_000).unref()
  }

  /** End of what is committed. */
  get end(): number {
    return this.#end
  }

  /** Bytes appended that are not committed yet. */
  get pendingBytes(): number {
    return this.#used + this.#writingBytes
  }

  /**
   * Appends one frame: `encode` writes exactly `length` bytes of `value` at `at`. `done` runs when the frame is
   * committed. Both get `value`, so that they need not be made anew for every frame.
   */
  append<T>(length: number, value: T, encode: (value: T, target: Buffer, at: number) => void, done?: Done<T>): void {
    const at = this.#used
    const bodyAt = at + frameHeaderBytes
    const used = bodyAt + length
    if (used > this.#group.length) this.#grow(used)
    const group = this.#group
    encode(value, group, bodyAt)
    writeFrameHeader(group, at, group.subarray(bodyAt, used))
    this.#used = used
    this.#waiting.done.push(done)
    this.#waiting.values.push(value)
    if (!this.#writing && !this.#scheduled) {
      this.#scheduled = true
      setImmediate(() => this.#commit())
    }
  }

  /** Asks for the next file before the next group, however long this one is. */
  rotateNext(): void {
    this.#rotateNow = true
  }

  /** Resolves when all that was appended before is committed or has failed. */
  flush(): Promise<void> {
    if (this.#used > 0) return new Promise(resolve => this.#flushing.push(resolve))
    if (this.#writing) return new Promise(resolve => this.#flushingWritten.push(resolve))
    return Promise.resolve()
  }

  /** Commits what is left, syncs and closes the file. */
  async close(): Promise<void> {
    // Who is told that a group is committed may answer with more.
    while (this.pendingBytes > 0) await this.flush()
    clearInterval(this.#syncTimer)
    const fd = this.#fd
    this.#closed = true
    if (fd < 0) return
    this.#fd = -1
    await new Promise<void>(resolve =>
      this.#files.fdatasync(fd, error => {
        this.#synced(error)
        this.#files.close(fd, () => resolve())
      }),
    )
  }

  #syncNow(): void {
    if (this.#fd >= 0) this.#files.fdatasync(this.#fd, error => this.#synced(error))
  }

  /** Only with `interval` does a sync come after the report of what it is for. */
  #synced(error: Error | null): void {
    if (!error || this.#options.fsync !== 'interval') return
    this.#rotateNow = true
    this.#options.unsynced?.(error)
  }

  #grow(needed: number): void {
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#group.length * 2))
    this.#group.copy(larger, 0, 0, this.#used)
    this.#group = larger
  }

  #commit(): void {
    this.#scheduled = false
    if (this.#used === 0) return
    const bytes = this.#group.subarray(0, this.#used)
    const waiting = this.#waiting
    ;[this.#group, this.#spare] = [this.#spare, this.#group]
    if (this.#group.length > maxKeptBytes) this.#group = Buffer.allocUnsafe(1 << 20)
    this.#used = 0
    this.#waiting = new Waiting()
    this.#flushingWritten = this.#flushing
    this.#flushing = []
    this.#writing = true
    this.#writingBytes = bytes.length
    this.#options.taken?.()
    if (this.#closed) this.#finish(waiting, failure('the file is closed'))
    else if (this.#fd < 0 || this.#end >= this.#rotateAt || this.#rotateNow) void this.#rotateThenWrite(bytes, waiting)
    else this.#write(bytes, 0, waiting)
  }

  async #rotateThenWrite(bytes: Buffer, waiting: Waiting): Promise<void> {
    try {
      const next = await this.#options.rotate()
      const old = this.#fd
      this.#fd = next.fd
      this.#end = next.end
      this.#rotateAt = Math.max(this.#options.rotateBytes, next.end * 2)
      this.#rotateNow = false
      // The old file's last group is synced already, or a second old at most with `interval`.
      if (old >= 0) {
        this.#files.fdatasync(old, error => {
          this.#synced(error)
          this.#files.close(old, () => {})
        })
      }
    } catch (error) {
      this.#finish(waiting, failure(error))
      return
    }
    this.#write(bytes, 0, waiting)
  }

  #write(bytes: Buffer, from: number, waiting: Waiting): void {
    const { fsync } = this.#options
    this.#files.write(this.#fd, bytes, from, bytes.length - from, this.#end + from, (error, written) => {
      // It may be the sync that failed.
      if (error && fsync === 'write' && !isFull(error)) this.#rotateNow = true
      if (error) return this.#undo(waiting, error)
      if (written === 0) return this.#undo(waiting, new Error('the disk took no byte'))
      if (from + written < bytes.length) return this.#write(bytes, from + written, waiting)
      if (fsync !== 'group') return this.#committed(bytes.length, waiting)
      this.#files.fdatasync(this.#fd, syncError => {
        if (!syncError) return this.#committed(bytes.length, waiting)
        this.#rotateNow = true
        this.#undo(waiting, syncError)
      })
    })
  }

  #committed(length: number, waiting: Waiting): void {
    this.#end += length
    this.#finish(waiting)
  }

  #undo(waiting: Waiting, error: Error): void {
    this.#files.ftruncate(this.#fd, this.#end, truncateError => {
      if (truncateError) this.#rotateNow = true
      this.#finish(waiting, failure(error))
    })
  }

  #finish(waiting: Waiting, error?: Error): void {
    const first = this.#options.first?.() ?? 0
    const { done, values } = waiting
    for (let i = 0; i < done.length; i++) done[i]?.(values[i] as never, error, first + i)
    this.#writingBytes = 0
    this.#options.settled?.(this.#end, done.length, error)
    this.#writing = false
    for (const resolve of this.#flushingWritten.splice(0)) resolve()
    if (this.#used > 0) this.#commit()
  }
}

/** A group buffer that grew past this in a burst is not kept. */
const maxKeptBytes = 16 << 20

/** There is no room. Nothing was written then, so what is in the file is what was there before. */
export function isFull(error: unknown): boolean {
  const code = systemCode(error)
  return code === 'ENOSPC' || code === 'EDQUOT'
}

function failure(error: unknown): HubError {
  return new HubError('spool_failed', `could not write to disk: ${describe(error)}`, { cause: error })
}
