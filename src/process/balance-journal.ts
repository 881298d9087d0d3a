import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { CommitLog, nextFrame, syncDirectory, writeFrames } from '../journal.js'

export interface BalanceJournalOptions {
  readonly dir: string
  /** It is written anew, from what is in memory, when it has grown past this. */
  readonly rotateBytes: number
  /** The state as records that rebuild it, in their order. */
  readonly snapshot: () => Iterable<object>
  readonly warn: (sentence: string) => void
}

/** Room on the disk that is given back when it is full, so that what is in the spool can be settled all the same. */
const reserveBytes = 1 << 20

/**
 * Where the balance sheet is kept, by group commit:
 *
 *     balance/0000000003.log     frames of journal.ts, bodies JSON: a snapshot, then the changes since
 *             reserve            nothing; it takes room
 */
export class BalanceJournal {
  readonly #options: BalanceJournalOptions
  readonly #log: CommitLog
  #file = 0
  #isReserved = false

  constructor(options: BalanceJournalOptions) {
    this.#options = options
    this.#log = new CommitLog({
      fsync: 'group',
      rotateBytes: options.rotateBytes,
      rotate: async () => this.#rewrite(),
    })
  }

  /** Hands over every record there is, and goes on behind them. False when there is none: then `begin`. */
  async load(read: (record: unknown) => void): Promise<boolean> {
    const { dir, warn } = this.#options
    await mkdir(dir, { recursive: true })
    const all = readdirSync(dir)
    // Begun when the hub went down, and never finished.
    for (const name of all) if (name.endsWith('.new')) rmSync(join(dir, name))
    const files = all.filter(name => /^\d{10}\.log$/.test(name)).sort()
    this.#reserve()
    const newest = files.at(-1)
    if (newest === undefined) return false
    const path = join(dir, newest)
    this.#file = Number(newest.slice(0, 10))
    const buffer = readFileSync(path)
    let end = 0
    for (let frame = nextFrame(buffer, 0); frame; frame = nextFrame(buffer, end)) {
      if (frame.start !== end) warn(`stepped over ${frame.start - end} damaged bytes at ${end} of ${path}`)
      end = frame.end
      read(JSON.parse(frame.body.toString('utf8')))
    }
    if (end < buffer.length) truncateSync(path, end)
    this.#log.open(openSync(path, 'r+'), end)
    for (const old of files.slice(0, -1)) rmSync(join(dir, old))
    return true
  }

  /** Goes on in a new file that begins with a snapshot. */
  begin(): void {
    const { fd, end } = this.#rewrite()
    this.#log.open(fd, end)
  }

  /** Resolves when it is on disk, right after `committed`; rejects when it is not. */
  append(record: object, committed: () => void): Promise<void> {
    const body = Buffer.from(JSON.stringify(record))
    return new Promise((resolve, reject) =>
      this.#log.append(
        body.length,
        body,
        (bytes, target, at) => void bytes.copy(target, at),
        (_, error) => {
          if (error) {
            this.#giveReserve()
            return reject(error)
          }
          if (!this.#isReserved) this.#reserve()
          committed()
          resolve()
        },
      ),
    )
  }

  /** Resolves when all that was appended before is on disk or refused. */
  flush(): Promise<void> {
    return this.#log.flush()
  }

  async close(): Promise<void> {
    await this.#log.close()
  }

  #reserve(): void {
    try {
      writeFileSync(this.#reservePath, Buffer.alloc(reserveBytes), { flush: true })
      this.#isReserved = true
    } catch {
      // There is no room for it yet: the next change tries again.
      rmSync(this.#reservePath, { force: true })
    }
  }

  #giveReserve(): void {
    rmSync(this.#reservePath, { force: true })
    this.#isReserved = false
  }

  get #reservePath(): string {
    return join(this.#options.dir, 'reserve')
  }

  /** Begins a new file with a snapshot; it is complete and synced before it gets its name. */
  #rewrite(): { fd: number; end: number } {
    const { dir, snapshot } = this.#options
    const path = join(dir, nameOf(this.#file + 1))
    const fd = openSync(`${path}.new`, 'w+')
    try {
      const end = writeFrames(fd, bodies(snapshot()))
      renameSync(`${path}.new`, path)
      syncDirectory(dir)
      rmSync(join(dir, nameOf(this.#file++)), { force: true })
      return { fd, end }
    } catch (error) {
      closeSync(fd)
      for (const begun of [`${path}.new`, path]) rmSync(begun, { force: true })
      throw error
    }
  }
}

function* bodies(records: Iterable<object>): Generator<Buffer> {
  for (const record of records) yield Buffer.from(JSON.stringify(record))
}

function nameOf(file: number): string {
  return `${String(file).padStart(10, '0')}.log`
}
