import { constants } from 'node:fs'
import { crc32 } from 'node:zlib'
import { describe, HubError, systemCode } from '../errors.js'
import { Slices } from '../runtime/slices.js'
import {
  type Files,
  nodeFiles,
  openNew,
  openToRead,
  readPiece,
  syncDirectory,
  synced,
  writeWhole,
  writeWholeSync,
} from './files.js'

/**
 * Frames and group commit, which every append-only file of the hub is made of.
 *
 *     ┌────────────┬──────────────────┬─────────────────┬─────────────────┐
 *     │ length u32 │ mark(length) u32 │ crc32(body) u32 │ body (length B) │   little endian, length ≥ 1
 *     └────────────┴──────────────────┴─────────────────┴─────────────────┘
 *
 * The mark tells a header from other bytes at a glance: a search for the next frame behind damage must not compute a
 * checksum at every byte.
 */
export const frameHeaderBytes = 12

function mark(length: number): number {
  return (Math.imul(length, 0x9e3779b1) ^ 0x54484652) >>> 0
}

/** Writes to `target`, at `at`, the frame header for `body`. */
export function writeFrameHeader(target: Buffer, at: number, body: Buffer): void {
  target.writeUInt32LE(body.length, at)
  target.writeUInt32LE(mark(body.length), at + 4)
  target.writeUInt32LE(crc32(body), at + 8)
}

/** Largest frame. A larger length in a file is damage. */
const maxFrameBytes = 300e6

export interface Frame {
  readonly body: Buffer
  /** Where this frame begins and where the next one would begin, relative to the buffer read. */
  readonly start: number
  readonly end: number
}

/** Returns the frame at `at`. Undefined when there is no whole, undamaged frame. The body is a view, not a copy. */
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
 * Returns the end of the frame at `at` according to the header, whether the frame is whole or not. The end may lie past
 * the end of the buffer. Undefined when there is no header.
 */
export function claimedEnd(buffer: Buffer, at: number): number | undefined {
  if (at + frameHeaderBytes > buffer.length) return undefined
  const length = buffer.readUInt32LE(at)
  if (length === 0 || length > maxFrameBytes || buffer.readUInt32LE(at + 4) !== mark(length)) return undefined
  return at + frameHeaderBytes + length
}

/** Finds the first undamaged frame at or after `at`, where a frame should begin. Readers get past damage this way. */
export function nextFrame(buffer: Buffer, at: number): Frame | undefined {
  let boundary = at
  for (let i = at; i + frameHeaderBytes < buffer.length; ) {
    const frame = frameAt(buffer, i)
    if (frame) return frame
    // A damaged body behind a whole header is not searched: a payload may hold what looks like a frame.
    const end = i === boundary ? claimedEnd(buffer, i) : undefined
    if (end === undefined) i++
    else i = boundary = end
  }
  return undefined
}

/** Frames that are written together. */
class FramePiece {
  #parts: Buffer[] = []
  #bytes = 0

  /** Whether a megabyte or more waits to be written. */
  get isFull(): boolean {
    return this.#bytes >= 1 << 20
  }

  add(body: Buffer): void {
    const header = Buffer.allocUnsafe(frameHeaderBytes)
    writeFrameHeader(header, 0, body)
    this.#parts.push(header, body)
    this.#bytes += header.length + body.length
  }

  /** Returns the bytes of all frames, which then are here no more. */
  take(): Buffer {
    const bytes = Buffer.concat(this.#parts)
    this.#parts = []
    this.#bytes = 0
    return bytes
  }
}

/** Writes whole frames to the start of a new file, a megabyte at a time, and syncs. Returns the end of the file. */
export function writeFrames(fd: number, bodies: Iterable<Buffer>, files: Files = nodeFiles): number {
  const piece = new FramePiece()
  let end = 0
  const flush = () => {
    const bytes = piece.take()
    writeWholeSync(files, fd, bytes, end)
    end += bytes.length
  }
  for (const body of bodies) {
    piece.add(body)
    if (piece.isFull) flush()
  }
  flush()
  files.fsyncSync(fd)
  return end
}

/** Does what {@link writeFrames} does, and lets other work have its turns. Rejects as the disk does. */
export async function writeFramesInTurns(fd: number, bodies: Iterable<Buffer>, files: Files): Promise<number> {
  const slices = new Slices()
  const piece = new FramePiece()
  let end = 0
  const flush = async () => {
    const bytes = piece.take()
    await writeWhole(files, fd, bytes, end)
    end += bytes.length
  }
  for (const body of bodies) {
    piece.add(body)
    if (piece.isFull) await flush()
    if (slices.isOver) await slices.turn()
  }
  await flush()
  await synced(files, fd)
  return end
}

/** Flag for opening a file whose writes are on disk when they return (O_DSYNC). 0 on platforms without that flag. */
export const syncedWrites = constants.O_DSYNC ?? 0

export { syncDirectory }

/**
 * Copies a damaged file to `path.bad`, once, so that the copy shows the state when the damage was first found. Returns
 * the end of a sentence for an operator.
 */
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

/** Copies a file. Removes an incomplete copy, which would be taken for a whole one. */
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
   * When commits are synced. `group`: before they are reported. `interval`: once a second. `write`: as `group`, but by
   * the write call, for files opened with {@link syncedWrites}: one trip through the thread pool instead of two.
   */
  readonly fsync: 'group' | 'interval' | 'write'
  /**
   * Called after each group, committed or failed, and after the group's callbacks. Receives the end of the file and the
   * number of frames in the group.
   */
  readonly settled?: (end: number, frames: number, error?: Error) => void
  /**
   * Returns the number of the first frame of the group that is being reported; 0 without this option. Each callback
   * receives the number of its own frame.
   */
  readonly first?: () => number
  /**
   * Size that ends a file. When the file is past this size, and past twice the size at the start, `rotate` is called
   * between two groups for the next file to write to. Otherwise a file that begins with a large snapshot would be
   * rewritten at once.
   */
  readonly rotateBytes: number
  readonly rotate: () => Promise<{ fd: number; end: number }>
  /** Called when the next group is formed from everything appended so far. */
  readonly taken?: () => void
  /** Called when a sync fails with `interval`: commits that were reported in the last second may not be on disk. */
  readonly unsynced?: (error: Error) => void
  readonly files?: Files
}

/**
 * Called once when a frame is committed or has failed. `value` is the argument of `append`; `number` is the frame's
 * number.
 */
type OnCommitted<T> = (value: T, error: Error | undefined, number: number) => void

/** The callbacks of a group and their arguments, in one array each, as a group may have many frames. */
class GroupCallbacks {
  readonly done: (OnCommitted<never> | undefined)[] = []
  readonly values: unknown[] = []
}

/**
 * The group commit of one append-only file. All that is appended in one turn of the event loop, and all that arrives
 * while the disk is busy, becomes one write and one fdatasync. Callbacks run in append order, after the sync. A group
 * that fails is cut off the file, and each of its callbacks receives the error. The next group is tried anew. After a
 * failed sync the state of the file is unknown, so the next group goes to a new file (see PostgreSQL's "fsyncgate").
 */
export class CommitLog {
  readonly #options: CommitLogOptions
  readonly #files: Files
  /** File descriptor. Negative while no file can be written to: then the next group asks for a file. */
  #fd = -1
  #closed = false
  #end = 0
  #rotateAt = 0
  #group = Buffer.allocUnsafe(1 << 20)
  #spare = Buffer.allocUnsafe(1 << 20)
  #used = 0
  #waiting = new GroupCallbacks()
  #writing = false
  #writingBytes = 0
  #scheduled = false
  #rotateNow = false
  #syncTimer: NodeJS.Timeout | undefined
  /** Callers of `flush` that wait for the group being filled, and for the one being written. */
  #flushing: (() => void)[] = []
  #flushingWritten: (() => void)[] = []

  constructor(options: CommitLogOptions) {
    this.#options = options
    this.#files = options.files ?? nodeFiles
  }

  /**
   * Continues behind `end` of an open file. A negative `fd` means that the disk refuses to open the file for writing;
   * the first group then goes to another file.
   */
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

  /** Bytes appended but not committed. */
  get pendingBytes(): number {
    return this.#used + this.#writingBytes
  }

  /**
   * Appends one frame: `encode` writes exactly `length` bytes of `value` at `at`. `done` runs when the frame is
   * committed. Both receive `value`, so that callers need no new closures for every frame.
   */
  append<T>(
    length: number,
    value: T,
    encode: (value: T, target: Buffer, at: number) => void,
    done?: OnCommitted<T>,
  ): void {
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

  /** Rotates to the next file before the next group, whatever the size of this one. */
  rotateNext(): void {
    this.#rotateNow = true
  }

  /** Resolves when every frame appended so far is committed or has failed. */
  flush(): Promise<void> {
    if (this.#used > 0) return new Promise(resolve => this.#flushing.push(resolve))
    if (this.#writing) return new Promise(resolve => this.#flushingWritten.push(resolve))
    return Promise.resolve()
  }

  /** Commits the remaining frames, syncs and closes the file. */
  async close(): Promise<void> {
    // Callbacks of a commit may append more.
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

  /** Handles the result of a sync. Only with `interval` does the sync follow the report of the commit. */
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
    this.#waiting = new GroupCallbacks()
    this.#flushingWritten = this.#flushing
    this.#flushing = []
    this.#writing = true
    this.#writingBytes = bytes.length
    this.#options.taken?.()
    if (this.#closed) this.#finish(waiting, failure('the file is closed'))
    else if (this.#fd < 0 || this.#end >= this.#rotateAt || this.#rotateNow) void this.#rotateThenWrite(bytes, waiting)
    else this.#write(bytes, 0, waiting)
  }

  async #rotateThenWrite(bytes: Buffer, waiting: GroupCallbacks): Promise<void> {
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

  #write(bytes: Buffer, from: number, waiting: GroupCallbacks): void {
    const { fsync } = this.#options
    this.#files.write(this.#fd, bytes, from, bytes.length - from, this.#end + from, (error, written) => {
      // The sync may be what failed.
      if (error && fsync === 'write' && !isFull(error)) this.#rotateNow = true
      if (error) return this.#undo(waiting, error)
      if (written === 0) return this.#undo(waiting, new Error('the disk wrote no bytes'))
      if (from + written < bytes.length) return this.#write(bytes, from + written, waiting)
      if (fsync !== 'group') return this.#committed(bytes.length, waiting)
      this.#files.fdatasync(this.#fd, syncError => {
        if (!syncError) return this.#committed(bytes.length, waiting)
        this.#rotateNow = true
        this.#undo(waiting, syncError)
      })
    })
  }

  #committed(length: number, waiting: GroupCallbacks): void {
    this.#end += length
    this.#finish(waiting)
  }

  #undo(waiting: GroupCallbacks, error: Error): void {
    this.#files.ftruncate(this.#fd, this.#end, truncateError => {
      if (truncateError) this.#rotateNow = true
      this.#finish(waiting, failure(error))
    })
  }

  #finish(waiting: GroupCallbacks, error?: Error): void {
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

/** Largest group buffer that is kept after a burst. */
const maxKeptBytes = 16 << 20

/** Whether the error says that the disk is full. Then nothing was written, and the file is unchanged. */
export function isFull(error: unknown): boolean {
  const code = systemCode(error)
  return code === 'ENOSPC' || code === 'EDQUOT'
}

function failure(error: unknown): HubError {
  return new HubError('spool_failed', `could not write to disk: ${describe(error)}`, { cause: error })
}
