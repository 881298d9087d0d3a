import { SnapshotLog } from '../snapshot-log.js'
import { decodeRecord, encodeRecord, type JournalRecord } from './session-records.js'

/** It is written anew, from what is in memory, when it has grown past this. */
const journalBytes = 16e6

export interface SessionJournalOptions {
  readonly dir: string
  readonly fsync: 'group' | 'interval'
  /** The state as records, in an order that rebuilds it. */
  readonly snapshot: () => Iterable<Buffer>
  readonly warn: (sentence: string) => void
}

/** The journal of the sessions: bodies of session-records.ts. */
export class SessionJournal {
  readonly #log: SnapshotLog

  constructor(options: SessionJournalOptions) {
    this.#log = new SnapshotLog({
      ...options,
      rotateBytes: journalBytes,
      // What the disk refused is in memory all the same: the next file begins with it.
      refused: () => this.#log.rewriteNext(),
    })
  }

  /** Hands over every record there is, then takes new ones. */
  async load(apply: (record: JournalRecord, payload: Buffer) => void): Promise<void> {
    const isThere = await this.#log.load(body => {
      const found = decodeRecord(body)
      if (found) apply(found.record, found.payload)
    })
    if (!isThere) this.#log.begin()
  }

  /** `done` runs when the record is on disk, or with the reason why it is not. */
  record(record: JournalRecord, payload?: Buffer, done?: (error: Error | undefined) => void): void {
    this.#log.append(encodeRecord(record, payload), done)
  }

  /** Commits what is left. */
  async close(): Promise<void> {
    await this.#log.close()
  }
}
