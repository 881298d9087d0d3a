import { join } from 'node:path'
import { type Files, nodeFiles, openNew, writeWholeSync } from '../disk/files.js'
import { SnapshotLog } from '../disk/snapshot-log.js'

export interface BalanceJournalOptions {
  readonly dir: string
  /** Size of the file past which the journal is written anew from memory. */
  readonly rotateBytes: number
  /** Returns the state as records that rebuild it, in their order. */
  readonly snapshot: () => Iterable<object>
  /** Called with the number of bytes of the file that cannot be read. Undamaged records are kept. */
  readonly damaged: (sentence: string, bytes: number) => void
  readonly files?: Files
}

/** Room reserved on the disk. A full disk is given it back, so that messages in the spool can still be settled. */
const reserveBytes = 1 << 20

/** The balance sheet on disk: records of JSON, and beside them a file `reserve` that only takes room. */
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
   * Passes every record on disk to `read`, and appends behind them from then on. Returns false when there is no file:
   * then call `begin`. A disk that refuses writes is read all the same, and every append rejects until the disk accepts
   * writes again.
   */
  async load(read: (record: unknown) => void): Promise<boolean> {
    const isThere = await this.#log.load(body => read(JSON.parse(body.toString('utf8'))))
    if (isThere) this.#reserve()
    return isThere
  }

  /** Continues in a new file that begins with a snapshot. */
  begin(): void {
    this.#log.begin()
    this.#reserve()
  }

  /** Resolves when the record is on disk, right after `committed`. Rejects when the disk refused the record. */
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

  /** Resolves when every record appended before is on disk or refused. */
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
      // There is no room for the reserve yet: the next change tries again.
      this.#giveReserve()
    }
  }

  /** Called from the callback of a write: a disk that refuses the removal, too, must not end the hub. */
  #giveReserve(): void {
    this.#isReserved = false
    try {
      this.#files.removeSync(this.#reservePath)
    } catch {
      // The disk is broken or read-only: there is no room to be given back.
    }
  }
}

function* bodies(records: Iterable<object>): Generator<Buffer> {
  for (const record of records) yield Buffer.from(JSON.stringify(record))
}
