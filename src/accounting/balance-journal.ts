import { join } from 'node:path'
import { type Files, nodeFiles, openNew, writeWholeSync } from '../disk/files.js'
import { SnapshotLog } from '../disk/snapshot-log.js'

export interface BalanceJournalOptions {
  readonly dir: string
  /** It is written anew, from what is in memory, when it has grown past this. */
  readonly rotateBytes: number
  /** The state as records that rebuild it, in their order. */
  readonly snapshot: () => Iterable<object>
  /** Bytes of the file that cannot be read; what is whole is kept. */
  readonly damaged: (sentence: string, bytes: number) => void
  readonly files?: Files
}

/** Room on the disk that is given back when it is full, so that what is in the spool can be settled all the same. */
const reserveBytes = 1 << 20

/** Where the balance sheet is kept: bodies of JSON, and beside them a file `reserve`, which only takes room. */
export class BalanceJournal {
  readonly #log: SnapshotLog
  readonly #files: Files
  readonly #dir: string
  #isReserved = false

  constructor(options: BalanceJournalOptions) {
    const { dir, snapshot, files = nodeFiles } = options
    this.#dir = dir
    this.#files = files
    this.#log = new SnapshotLog({ ...options, fsync: 'group', snapshot: () => bodies(snapshot()) })
  }

  /**
   * Hands over every record there is, and goes on behind them. False when there is none: then `begin`. A disk that
   * refuses writes is read all the same, and every append rejects until it takes them.
   */
  async load(read: (record: unknown) => void): Promise<boolean> {
    const isThere = await this.#log.load(body => read(JSON.parse(body.toString('utf8'))))
    if (isThere) this.#reserve()
    return isThere
  }

  /** Goes on in a new file that begins with a snapshot. */
  begin(): void {
    this.#log.begin()
    this.#reserve()
  }

  /** Resolves when it is on disk, right after `committed`; rejects when it is not. */
  append(record: object, committed: () => void): Promise<void> {
    return new Promise((resolve, reject) =>
      this.#log.append(Buffer.from(JSON.stringify(record)), error => {
        if (error) {
          this.#giveReserve()
          return reject(error)
        }
        if (!this.#isReserved) this.#reserve()
        committed()
        resolve()
      }),
    )
  }

  /** Resolves when all that was appended before is on disk or refused. */
  flush(): Promise<void> {
    return this.#log.flush()
  }

  async close(): Promise<void> {
    await this.#log.close()
  }

  get #reservePath(): string {
    return join(this.#dir, 'reserve')
  }

  #reserve(): void {
    try {
      this.#files.removeSync(this.#reservePath)
      const fd = this.#files.openSync(this.#reservePath, openNew)
      try {
        writeWholeSync(this.#files, fd, Buffer.alloc(reserveBytes), 0)
        this.#files.fsyncSync(fd)
      } finally {
        this.#files.closeSync(fd)
      }
      this.#isReserved = true
    } catch {
      // There is no room for it yet: the next change tries again.
      this.#giveReserve()
    }
  }

  /** Called from the callback of a write: a disk that refuses this, too, must not end the hub. */
  #giveReserve(): void {
    this.#isReserved = false
    try {
      this.#files.removeSync(this.#reservePath)
    } catch {
      // Broken or read-only: there is no room to be given back.
    }
  }
}

function* bodies(records: Iterable<object>): Generator<Buffer> {
  for (const record of records) yield Buffer.from(JSON.stringify(record))
}
