import { closeSync, fstatSync, ftruncateSync, openSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { readFrames } from './disk/frame-file.js'
import { CommitLog, type CommitLogOptions, keepDamaged, syncDirectory, writeFrames } from './journal.js'

export interface SnapshotLogOptions extends Pick<CommitLogOptions, 'fsync' | 'rotateBytes'> {
  readonly dir: string
  /** The state as frames that rebuild it, in their order. */
  readonly snapshot: () => Iterable<Buffer>
  /** After each group that the disk refused. */
  readonly refused?: () => void
  readonly warn: (sentence: string) => void
}

/**
 * A journal that is written anew, from what is in memory, when it has grown: by group commit, in
 *
 *     dir/0000000007.log     frames of journal.ts; begins with a snapshot
 */
export class SnapshotLog {
  readonly #options: SnapshotLogOptions
  readonly #log: CommitLog
  #file = 0

  constructor(options: SnapshotLogOptions) {
    this.#options = options
    this.#log = new CommitLog({
      fsync: options.fsync,
      rotateBytes: options.rotateBytes,
      rotate: async () => this.#rewrite(),
      settled: (_end, _frames, error) => error && options.refused?.(),
    })
  }

  /** Hands over every frame there is, and goes on behind them. False when there is no file: then `begin`. */
  async load(read: (body: Buffer) => void): Promise<boolean> {
    const { dir, warn } = this.#options
    await mkdir(dir, { recursive: true })
    const all = readdirSync(dir)
    // Begun when the hub went down, and never finished.
    for (const name of all) if (name.endsWith('.new')) rmSync(join(dir, name))
    const files = all.filter(name => /^\d{10}\.log$/.test(name)).sort()
    const newest = files.at(-1)
    if (newest === undefined) return false
    const path = join(dir, newest)
    this.#file = Number(newest.slice(0, 10))
    const fd = openSync(path, 'r+')
    let damage = 0
    const end = readFrames(fd, {
      frame: read,
      damaged: (at, bytes) => {
        damage += bytes
        warn(`stepped over ${bytes} damaged bytes at ${at} of ${path}`)
      },
    })
    if (damage > 0) warn(`${path} is damaged; ${await keepDamaged(path)}`)
    if (end < fstatSync(fd).size) ftruncateSync(fd, end)
    this.#log.open(fd, end)
    for (const old of files.slice(0, -1)) rmSync(join(dir, old))
    return true
  }

  /** Goes on in a new file that begins with a snapshot. */
  begin(): void {
    const { fd, end } = this.#rewrite()
    this.#log.open(fd, end)
  }

  /** Asks for a new file, with a snapshot, before the next group. */
  rewriteNext(): void {
    this.#log.rotateNext()
  }

  /** `done` runs when the frame is on disk, or with the reason why it is not. */
  append(body: Buffer, done?: (error: Error | undefined) => void): void {
    this.#log.append(body.length, body, copyTo, done && ((_, error) => done(error)))
  }

  /** Resolves when all that was appended before is on disk or refused. */
  flush(): Promise<void> {
    return this.#log.flush()
  }

  /** Commits what is left. */
  async close(): Promise<void> {
    await this.#log.close()
  }

  /** Begins a new file with a snapshot; it is complete and synced before it gets its name. */
  #rewrite(): { fd: number; end: number } {
    const { dir, snapshot } = this.#options
    const path = join(dir, nameOf(this.#file + 1))
    const fd = openSync(`${path}.new`, 'w+')
    let end: number
    try {
      end = writeFrames(fd, snapshot())
      renameSync(`${path}.new`, path)
      syncDirectory(dir)
    } catch (error) {
      closeSync(fd)
      // Also under its name: what is written next goes to the old file.
      for (const begun of [`${path}.new`, path]) rmSync(begun, { force: true })
      throw error
    }
    const old = join(dir, nameOf(this.#file++))
    try {
      rmSync(old, { force: true })
    } catch {
      // The next start takes the newest, and tries again.
    }
    return { fd, end }
  }
}

function nameOf(file: number): string {
  return `${String(file).padStart(10, '0')}.log`
}

function copyTo(bytes: Buffer, target: Buffer, at: number): void {
  bytes.copy(target, at)
}
