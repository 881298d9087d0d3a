import { join } from 'node:path'
import {
  CommitLog,
  type CommitLogOptions,
  keepDamaged,
  syncedWrites,
  writeFrames,
  writeFramesInTurns,
} from './commit-log.js'
import { type Files, nodeFiles, openNew, openToChange, openToRead, syncDirectory } from './files.js'
import { readFrames } from './frame-file.js'
import { isDiskError } from './retried-write.js'

export interface SnapshotLogOptions extends Pick<CommitLogOptions, 'fsync' | 'rotateBytes'> {
  readonly dir: string
  /** Returns the state as frames that rebuild it, in order. */
  readonly snapshot: () => Iterable<Buffer>
  /**
   * Whether the state may change while the snapshot is taken, as frames appended meanwhile follow it and say again what
   * has changed: then a large snapshot takes many turns of the event loop.
   */
  readonly inTurns?: boolean
  /** After each group that the disk refused. */
  readonly refused?: () => void
  /** Called with the number of unreadable bytes in the file. Whole frames are kept. */
  readonly damaged: (sentence: string, bytes: number) => void
  readonly files?: Files
}

/**
 * A journal that is rewritten from the state in memory when the file has grown. Frames are appended by group commit to
 *
 *     dir/0000000007.log     frames of commit-log.ts; begins with a snapshot
 */
export class SnapshotLog {
  readonly #options: SnapshotLogOptions
  readonly #files: Files
  readonly #log: CommitLog
  /** Flags, beside the usual ones, for files that are appended to. */
  readonly #flags: number
  #file = 0
  /** File descriptor being written to. Negative while the disk refuses to open a file. */
  #opened = -1

  constructor(options: SnapshotLogOptions) {
    this.#options = options
    this.#files = options.files ?? nodeFiles
    const writesAreSynced = options.fsync === 'write' && syncedWrites !== 0
    this.#flags = writesAreSynced ? syncedWrites : 0
    this.#log = new CommitLog({
      fsync: options.fsync === 'write' && !writesAreSynced ? 'group' : options.fsync,
      rotateBytes: options.rotateBytes,
      rotate: async () => {
        const next = options.inTurns ? await this.#rewriteInTurns() : this.#rewrite()
        // The log closes the previous file.
        this.#opened = next.fd
        return next
      },
      settled: (_end, _frames, error) => error && options.refused?.(),
      files: this.#files,
    })
  }

  /**
   * Passes every frame on disk to `read` and continues behind them. Resolves to false when there is no file: then call
   * `begin`. A disk that is full or read-only is still read; appends fail until the disk takes writes. Rejects when the
   * disk cannot be read.
   */
  async load(read: (body: Buffer) => void): Promise<boolean> {
    const { dir } = this.#options
    this.#attempt(() => this.#files.makeDirectorySync(dir))
    const all = this.#list()
    // Files begun when the hub went down, and never finished.
    for (const name of all) if (name.endsWith('.new')) this.#attempt(() => this.#files.removeSync(join(dir, name)))
    const names = all.filter(name => /^\d{10}\.log$/.test(name)).sort()
    const newest = names.at(-1)
    if (newest === undefined) return false
    this.#file = Number(newest.slice(0, 10))
    const path = join(dir, newest)
    const end = await this.#read(path, read)
    let fd = -1
    this.#attempt(() => {
      const opened = this.#files.openSync(path, openToChange | this.#flags)
      try {
        if (end < this.#files.sizeSync(opened)) this.#files.ftruncateSync(opened, end)
        // The content written by the previous process, and the name of the file, may not be on disk yet.
        this.#files.fsyncSync(opened)
        syncDirectory(dir, this.#files)
        fd = opened
      } finally {
        if (fd < 0) this.#files.closeSync(opened)
      }
    })
    this.#open(fd, end)
    for (const old of names.slice(0, -1)) this.#attempt(() => this.#files.removeSync(join(dir, old)))
    return true
  }

  /** Continues in a new file that begins with a snapshot. When the disk refuses, the next group tries again. */
  begin(): void {
    let opened = { fd: -1, end: 0 }
    this.#attempt(() => {
      opened = this.#rewrite()
    })
    this.#open(opened.fd, opened.end)
  }

  #open(fd: number, end: number): void {
    if (this.#opened >= 0) this.#files.closeSync(this.#opened)
    this.#opened = fd
    this.#log.open(fd, end)
  }

  /** Rotates to a new file, which begins with a snapshot, before the next group. */
  rewriteNext(): void {
    this.#log.rotateNext()
  }

  /** Appends one frame. `done` runs when the frame is on disk, or with the reason for the failure. */
  append(body: Buffer, done?: (error: Error | undefined) => void): void {
    this.#log.append(body.length, body, copyTo, done && ((_, error) => done(error)))
  }

  /** Resolves when every frame appended so far is on disk or has been refused. */
  flush(): Promise<void> {
    return this.#log.flush()
  }

  /** Commits the remaining frames and closes the file. */
  async close(): Promise<void> {
    await this.#log.close()
  }

  #list(): string[] {
    try {
      return this.#files.listSync(this.#options.dir)
    } catch (error) {
      // The directory does not exist, as the disk did not allow making one.
      if (isDiskError(error) || this.#files.sizeOfSync(this.#options.dir) !== undefined) throw error
      return []
    }
  }

  /** Returns where the last whole frame ends. */
  async #read(path: string, read: (body: Buffer) => void): Promise<number> {
    const fd = this.#files.openSync(path, openToRead)
    try {
      let damage = 0
      const handlers = {
        frame: read,
        damaged: (_at: number, bytes: number) => {
          damage += bytes
        },
      }
      const end = readFrames(fd, handlers, 0, this.#files)
      if (damage > 0) {
        const copy = await keepDamaged(path, this.#files)
        this.#options.damaged(`${damage} bytes of ${path} are damaged; the intact part is kept, ${copy}`, damage)
      }
      return end
    } finally {
      this.#files.closeSync(fd)
    }
  }

  /**
   * Runs `act` and ignores a refusal of the disk: a later write or the next start repeats the action. Throws other
   * errors.
   */
  #attempt(act: () => void): void {
    try {
      act()
    } catch (error) {
      if (!isDiskError(error)) throw error
    }
  }

  /** Begins a new file with a snapshot. The snapshot is complete and synced before the file gets its name. */
  #rewrite(): { fd: number; end: number } {
    const fd = this.#beginFile()
    try {
      return this.#nameFile(fd, writeFrames(fd, this.#options.snapshot(), this.#files))
    } catch (error) {
      this.#giveUpFile(fd)
      throw error
    }
  }

  /** Does what {@link #rewrite} does, and lets other work have its turns. */
  async #rewriteInTurns(): Promise<{ fd: number; end: number }> {
    const fd = this.#beginFile()
    try {
      return this.#nameFile(fd, await writeFramesInTurns(fd, this.#options.snapshot(), this.#files))
    } catch (error) {
      this.#giveUpFile(fd)
      throw error
    }
  }

  get #nextPath(): string {
    return join(this.#options.dir, nameOf(this.#file + 1))
  }

  #beginFile(): number {
    this.#files.makeDirectorySync(this.#options.dir)
    this.#files.removeSync(`${this.#nextPath}.new`)
    return this.#files.openSync(`${this.#nextPath}.new`, openNew | this.#flags)
  }

  #nameFile(fd: number, end: number): { fd: number; end: number } {
    const { dir } = this.#options
    this.#files.renameSync(`${this.#nextPath}.new`, this.#nextPath)
    syncDirectory(dir, this.#files)
    this.#remove(join(dir, nameOf(this.#file++)))
    return { fd, end }
  }

  #giveUpFile(fd: number): void {
    this.#files.closeSync(fd)
    // The name is removed too, as the next writes go to the old file.
    for (const begun of [`${this.#nextPath}.new`, this.#nextPath]) this.#remove(begun)
  }

  /**
   * Removes a file and ignores a failure: the next start reads the newest file, and tries to remove the others again.
   */
  #remove(path: string): void {
    try {
      this.#files.removeSync(path)
    } catch {
      // Left for the next start.
    }
  }
}

function nameOf(file: number): string {
  return `${String(file).padStart(10, '0')}.log`
}

function copyTo(bytes: Buffer, target: Buffer, at: number): void {
  bytes.copy(target, at)
}
