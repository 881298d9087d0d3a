import { type Files, readPiece, readPieceSync } from '../disk/files.js'
import type { ChunkFile } from './queue-chunk.js'

/** Bytes read at once, and kept for a while: clients that come back together have queues near each other. */
const blockBytes = 128 << 10
const keptBlocks = 32

type OnRead = (error: Error | undefined, bytes: Buffer) => void

/** A snapshot that queued messages are read back from. A closed one stays open until reads in progress end. */
export class SnapshotFile implements ChunkFile {
  readonly fd: number
  readonly #files: Files
  /** Blocks by number, the one used last at the end; for a block being read, the callbacks that wait. */
  readonly #blocks = new Map<number, Buffer | OnRead[]>()
  #reading = 0
  #isClosed = false
  #closed: Promise<void> | undefined
  #whenClosed: (() => void) | undefined

  constructor(files: Files, fd: number) {
    this.#files = files
    this.fd = fd
  }

  read(offset: number, length: number): Buffer {
    if (this.#isClosed) throw closed()
    const bytes = readPieceSync(this.#files, this.fd, offset, length)
    if (bytes.length < length) throw tooShort()
    return bytes
  }

  /** Reads bytes; they are a view. `done` may be called at once. */
  readLater(offset: number, length: number, done: OnRead): void {
    const number = Math.floor(offset / blockBytes)
    const at = offset - number * blockBytes
    if (at + length > blockBytes) {
      this.#read(offset, length, (error, bytes) =>
        done(error ?? (bytes.length < length ? tooShort() : undefined), bytes),
      )
      return
    }
    const piece: OnRead = (error, block) => {
      const bytes = block.subarray(at, at + length)
      done(error ?? (bytes.length < length ? tooShort() : undefined), bytes)
    }
    const known = this.#blocks.get(number)
    if (Array.isArray(known)) known.push(piece)
    else if (known) {
      this.#keep(number, known)
      piece(undefined, known)
    } else this.#readBlock(number, [piece])
  }

  /** Closes the file once reads in progress have ended. Resolves when it is closed. */
  close(): Promise<void> {
    this.#closed ??= new Promise(resolve => {
      this.#whenClosed = resolve
    })
    if (!this.#isClosed) {
      this.#isClosed = true
      this.#closeUnread()
    }
    return this.#closed
  }

  #closeUnread(): void {
    if (this.#reading === 0) this.#files.close(this.fd, () => this.#whenClosed?.())
  }

  #readBlock(number: number, waiting: OnRead[]): void {
    this.#blocks.set(number, waiting)
    this.#read(number * blockBytes, blockBytes, (error, block) => {
      if (error) this.#blocks.delete(number)
      else this.#keep(number, block)
      for (const done of waiting) done(error, block)
    })
  }

  #keep(number: number, block: Buffer): void {
    this.#blocks.delete(number)
    this.#blocks.set(number, block)
    if (this.#blocks.size <= keptBlocks) return
    for (const [oldest, held] of this.#blocks) {
      if (Array.isArray(held)) continue
      this.#blocks.delete(oldest)
      return
    }
  }

  #read(offset: number, length: number, done: OnRead): void {
    // The file descriptor may belong to another file by now.
    if (this.#isClosed) {
      done(closed(), Buffer.alloc(0))
      return
    }
    this.#reading++
    const over: OnRead = (error, bytes) => {
      this.#reading--
      if (this.#isClosed) this.#closeUnread()
      done(error, bytes)
    }
    readPiece(this.#files, this.fd, offset, length).then(
      bytes => over(undefined, bytes),
      error => over(error instanceof Error ? error : new Error(String(error)), Buffer.alloc(0)),
    )
  }
}

function closed(): Error {
  return new Error('the snapshot was replaced, and is closed')
}

function tooShort(): RangeError {
  return new RangeError('the file ends before')
}
