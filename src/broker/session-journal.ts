import { closeSync, openSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { CommitLog, nextFrame, syncDirectory, writeFrames } from '../journal.js'
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

/**
 * The journal of the sessions, by group commit:
 *
 *     sessions/0000000007.log     frames of journal.ts, bodies of session-records.ts; begins with a snapshot
 */
export class SessionJournal {
  readonly #options: SessionJournalOptions
  readonly #log: CommitLog
  #file = 0

  constructor(options: SessionJournalOptions) {
    this.#options = options
    this.#log = new CommitLog({
      fsync: options.fsync,
      rotateBytes: journalBytes,
      rotate: async () => this.#rewrite(),
      // What the disk refused is in memory all the same: the next file begins with it.
      settled: (_end, _frames, error) => error && this.#log.rotateNext(),
    })
  }

  /** Hands over every record there is, then takes new ones. */
  async load(apply: (record: JournalRecord, payload: Buffer) => void): Promise<void> {
    const { dir, warn } = this.#options
    await mkdir(dir, { recursive: true })
    const all = readdirSync(dir)
    // Begun when the hub went down, and never finished.
    for (const name of all) if (name.endsWith('.new')) rmSync(join(dir, name))
    const files = all.filter(name => /^\d{10}\.log$/.test(name)).sort()
    const newest = files.at(-1)
    if (newest === undefined) {
      const opened = this.#rewrite()
      this.#log.open(opened.fd, opened.end)
      return
    }
    const path = join(dir, newest)
    this.#file = Number(newest.slice(0, 10))
    const buffer = readFileSync(path)
    let end = 0
    for (let frame = nextFrame(buffer, 0); frame; frame = nextFrame(buffer, end)) {
      if (frame.start !== end) warn(`stepped over ${frame.start - end} damaged bytes at ${end} of ${path}`)
      end = frame.end
      const found = decodeRecord(frame.body)
      if (found) apply(found.record, found.payload)
    }
    if (end < buffer.length) truncateSync(path, end)
    this.#log.open(openSync(path, 'r+'), end)
    for (const old of files.slice(0, -1)) rmSync(join(dir, old))
  }

  /** `done` runs when the record is on disk, or with the reason why it is not. */
  record(record: JournalRecord, payload?: Buffer, done?: (error: Error | undefined) => void): void {
    const bytes = encodeRecord(record, payload)
    this.#log.append(bytes.length, bytes, copyTo, done && ((_, error) => done(error)))
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
