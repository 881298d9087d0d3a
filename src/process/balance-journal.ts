import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { SnapshotLog } from '../snapshot-log.js'

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

/** Where the balance sheet is kept: bodies of JSON, and beside them a file `reserve`, which only takes room. */
export class BalanceJournal {
  readonly #log: SnapshotLog
  readonly #reservePath: string
  #isReserved = false

  constructor(options: BalanceJournalOptions) {
    const { dir, snapshot } = options
    this.#reservePath = join(dir, 'reserve')
    this.#log = new SnapshotLog({ ...options, fsync: 'group', snapshot: () => bodies(snapshot()) })
  }

  /** Hands over every record there is, and goes on behind them. False when there is none: then `begin`. */
  load(read: (record: unknown) => void): Promise<boolean> {
    mkdirSync(dirname(this.#reservePath), { recursive: true })
    this.#reserve()
    return this.#log.load(body => read(JSON.parse(body.toString('utf8'))))
  }

  /** Goes on in a new file that begins with a snapshot. */
  begin(): void {
    this.#log.begin()
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
}

function* bodies(records: Iterable<object>): Generator<Buffer> {
  for (const record of records) yield Buffer.from(JSON.stringify(record))
}
