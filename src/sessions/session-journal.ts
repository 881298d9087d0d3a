import { join } from 'node:path'
import { ByteWriter } from '../disk/byte-buffer.js'
import { CommitLog, frameHeaderBytes, keepDamaged, writeFrameHeader } from '../disk/commit-log.js'
import {
  dataSynced,
  directorySynced,
  type Files,
  nodeFiles,
  openNew,
  openToChange,
  openToRead,
  writeWhole,
} from '../disk/files.js'
import { readFrames } from '../disk/frame-file.js'
import { isDiskError } from '../disk/retried-write.js'
import { describe } from '../errors.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { SharedPayloads } from './queue-chunk.js'
import type { CaptureOptions } from './session-capture.js'
import { type Decoded, decodeRecord, encodeRecord, type JournalRecord } from './session-records.js'
import { decodeJsonRecord } from './session-records-json.js'
import { readSnapshot, type SnapshotTarget, SnapshotWriter } from './session-snapshot.js'
import { SnapshotFile } from './snapshot-file.js'

/** A journal that has grown to a share of a large snapshot, or past this size, is replaced by a new one. */
const maxJournalBytes = 128e6

/** Bytes of refused records that are kept until the disk accepts them; beyond that a snapshot is made first. */
const refusedBytes = 32e6

/** Failed snapshots in a row after which queued messages that cannot be read back from the disk are given up. */
const maxFailures = 3

export interface SnapshotPace {
  /** Size past which a journal is replaced by a snapshot. */
  readonly journalBytes: number
  /** Milliseconds that a snapshot works before other work has a turn. */
  readonly sliceMs: number
}

export const usualPace: SnapshotPace = { journalBytes: 32e6, sliceMs: 4 }

/** What is restored from the last snapshot, then from the records since. */
export interface JournalTarget<T> extends SnapshotTarget<T> {
  apply(decoded: Decoded): void
}

export interface SessionJournalOptions {
  readonly dir: string
  readonly fsync: 'group' | 'interval'
  readonly pace: SnapshotPace
  /** Writes the state into `to`; each step takes a millisecond or two. */
  readonly snapshot: (to: SnapshotWriter, options: CaptureOptions) => Iterable<void>
  readonly payloads: SharedPayloads
  /** Returns the sequence in the spool up to which every publish is in the state. */
  readonly applied: () => number
  /** Returns whether there was a journal when the hub ran last. */
  readonly isExpected: () => boolean
  readonly incidents: IncidentReporter
  readonly files?: Files
  readonly log: Pick<SentenceLog, 'warn'>
}

/**
 * The files that the sessions are rebuilt from. Records are appended by group commit. When there are many records, the
 * state is written as a snapshot, in pieces between other work:
 *
 *     dir/0000000007.snapshot    session-snapshot.ts: the state without what the journals of that number and later have
 *     dir/0000000007.journal     frames of session-records.ts
 *     dir/0000000008.journal     while the next snapshot is being written, or after a write that failed
 */
export class SessionJournal {
  readonly #options: SessionJournalOptions
  readonly #files: Files
  readonly #log: CommitLog
  readonly #out = new ByteWriter()
  #ordinal = 0
  /** `applied` of the last record appended, of the last one in the group being written, and of the last one on disk. */
  #appliedAppended = 0
  #appliedWriting = 0
  #appliedOnDisk = 0
  /** Ordinal of the last record that any session of the snapshot has seen. */
  #seen = 0
  /** Number of the newest journal. */
  #number = 0
  #snapshot: SnapshotFile | undefined
  #snapshotBytes = 0
  #running: Promise<void> | undefined
  #isWanted = false
  #isClosing = false
  #isDamaged = false
  /** Snapshots in a row that failed. */
  #failures = 0
  #refused: Buffer[] = []
  #refusedBytes = 0

  constructor(options: SessionJournalOptions) {
    this.#options = options
    this.#files = options.files ?? nodeFiles
    const rotateBytes = () => this.#limit
    this.#log = new CommitLog({
      fsync: options.fsync,
      files: this.#files,
      get rotateBytes() {
        return rotateBytes()
      },
      rotate: () => this.#rotate(),
      taken: () => {
        this.#appliedWriting = this.#appliedAppended
      },
      settled: (_end, _frames, error) => {
        if (error) this.#log.rotateNext()
        else this.#appliedOnDisk = this.#appliedWriting
      },
      // The journal's records of the last second may not be on disk.
      unsynced: () => this.snapshotNext(),
    })
  }

  /** Restores the state, then accepts new records. */
  async load(target: JournalTarget<unknown>): Promise<void> {
    await this.#load(target)
    this.#appliedOnDisk = this.#options.applied()
  }

  async #load(target: JournalTarget<unknown>): Promise<void> {
    const { dir } = this.#options
    this.#unlessRefused(() => this.#files.makeDirectorySync(dir))
    const files = filesOf(this.#files, dir)
    // Files begun when the hub went down, and never finished.
    for (const name of files.unfinished) this.#removeOld(join(dir, name))
    const old = files.json.at(-1)
    const snapshot = files.snapshots.at(-1)
    const first = snapshot ?? files.journals[0]
    if (old !== undefined && snapshot === undefined) {
      await this.#loadJson(old, target)
      for (const number of files.journals) this.#removeOld(this.#path(number, 'journal'))
      this.#number = Math.max(old, ...files.journals)
      if (!(await this.#beginWith())) return
      for (const number of files.json) this.#removeOld(this.#path(number, 'log'))
    } else if (first === undefined) {
      if (this.#options.isExpected()) this.#report(`${dir} is empty, and was not when the hub ran last: ${lostState}`)
      await this.#beginWith()
    } else {
      if (snapshot === undefined) this.#report(`${dir} has no snapshot any more: ${lostState}`)
      else await this.#loadSnapshot(snapshot, target)
      const journals = files.journals.filter(number => number >= first)
      if (journals[0] !== first) this.#report(`${this.#path(first, 'journal')} is missing: ${lostChanges}`)
      for (const number of files.json) this.#removeOld(this.#path(number, 'log'))
      for (const number of files.snapshots.slice(0, -1)) this.#removeOld(this.#path(number, 'snapshot'))
      for (const number of files.journals) if (number < first) this.#removeOld(this.#path(number, 'journal'))
      let open: { fd: number; end: number } | undefined
      for (const number of journals) {
        if (open && open.fd >= 0) this.#files.closeSync(open.fd)
        open = await this.#loadJournal(number, target)
      }
      this.#number = journals.at(-1) ?? first
      this.#ordinal = Math.max(this.#ordinal, this.#seen)
      if (open) this.#log.open(open.fd, open.end)
      else await this.#beginWith()
      // The next start must not find the damage again. In all other cases clients come back before a snapshot is made.
      if (open && this.#isDamaged) this.snapshotNext()
    }
  }

  /** Appends a record. Calls `done` when the record is on disk, or with the error. */
  record(record: JournalRecord, payload?: Buffer, done?: (error: Error | undefined) => void): void {
    this.#out.clear()
    this.#appliedAppended = this.#options.applied()
    encodeRecord(this.#out, record, { ordinal: ++this.#ordinal, applied: this.#appliedAppended }, payload)
    const body = Buffer.from(this.#out.written)
    this.#log.append(body.length, body, copyTo, (body, error) => {
      if (error) this.#keepRefused(body)
      done?.(error)
    })
  }

  /** Makes a snapshot with the next group, unless one is being made. */
  snapshotNext(): void {
    if (this.#running || this.#isClosing) return
    this.#isWanted = true
    this.#log.rotateNext()
  }

  /** Resolves when no snapshot is being made. */
  async settled(): Promise<void> {
    await this.#running
  }

  /** Commits the records that are left, and closes the files. */
  async close(): Promise<void> {
    await this.#log.close()
    this.#isClosing = true
    await this.#running
    this.#snapshot?.close()
  }

  get #limit(): number {
    return Math.max(this.#options.pace.journalBytes, Math.min(this.#snapshotBytes / 4, maxJournalBytes))
  }

  #report(sentence: string, bytes?: number): void {
    this.#isDamaged = true
    this.#options.incidents.report('sessions_damaged', sentence, bytes === undefined ? {} : { bytes })
  }

  #path(number: number, kind: 'snapshot' | 'journal' | 'log'): string {
    return join(this.#options.dir, `${String(number).padStart(10, '0')}.${kind}`)
  }

  // — reading —

  /** Reads records of JSON, the format before this one. */
  async #loadJson(number: number, target: JournalTarget<unknown>): Promise<void> {
    const path = this.#path(number, 'log')
    const fd = this.#files.openSync(path, openToRead)
    try {
      const damage = readDamage(this.#files, fd, body => {
        const found = decodeJsonRecord(body)
        if (found) target.apply({ ...found, ordinal: ++this.#ordinal })
      })
      await this.#reportDamage(path, damage)
    } finally {
      this.#files.closeSync(fd)
    }
  }

  async #loadSnapshot(number: number, target: JournalTarget<unknown>): Promise<void> {
    const path = this.#path(number, 'snapshot')
    const fd = this.#files.openSync(path, openToRead)
    this.#snapshot = new SnapshotFile(this.#files, fd)
    this.#snapshotBytes = this.#files.sizeSync(fd)
    const { begun, seen, damage, isCutOff } = readSnapshot(this.#files, fd, this.#snapshot, target)
    this.#ordinal = begun
    this.#seen = seen
    await this.#reportDamage(path, damage, isCutOff)
  }

  async #loadJournal(number: number, target: JournalTarget<unknown>): Promise<{ fd: number; end: number }> {
    const path = this.#path(number, 'journal')
    const fd = this.#files.openSync(path, openToRead)
    let frames = 0
    let missing = 0
    let end = 0
    const damage = readDamage(
      this.#files,
      fd,
      body => {
        frames++
        const found = decodeRecord(body)
        if (!found) return
        missing += Math.max(0, found.ordinal - this.#ordinal - 1)
        this.#ordinal = Math.max(this.#ordinal, found.ordinal)
        target.apply(found)
      },
      whole => {
        end = whole
      },
    )
    await this.#reportDamage(path, damage, frames === 0)
    if (damage === 0 && missing > 0) this.#report(`${path} lacks ${missing} records before its first: ${lostChanges}`)
    this.#files.closeSync(fd)
    let opened = -1
    this.#unlessRefused(() => {
      opened = this.#files.openSync(path, openToChange)
      if (damage > 0) this.#files.ftruncateSync(opened, end)
    })
    return { fd: opened, end }
  }

  async #reportDamage(path: string, bytes: number, isEmpty = false): Promise<void> {
    if (bytes === 0 && !isEmpty) return
    const copy = await keepDamaged(path, this.#files)
    const what = bytes > 0 ? `has ${bytes} bytes that cannot be read` : 'ends before it should'
    this.#report(
      `${path} ${what}: by damage, or by a loss of power while it was written. What they said of kept sessions, their ` +
        `queues and retained messages is lost, the rest is kept; ${copy}`,
      bytes,
    )
  }

  // — writing —

  /**
   * Continues in new files: a snapshot of the state in memory, and an empty journal. Returns false when the disk
   * refuses.
   */
  async #beginWith(): Promise<boolean> {
    this.#number++
    try {
      const { fd, end } = await this.#newJournal([])
      try {
        await this.#makeSnapshot(this.#number)
      } catch (error) {
        this.#files.closeSync(fd)
        this.#removeOld(this.#path(this.#number, 'journal'))
        throw error
      }
      this.#log.open(fd, end)
      return true
    } catch (error) {
      if (!isDiskError(error)) throw error
      this.#options.log.warn(
        `the sessions cannot be written (${describe(error)}); changes are refused until the disk works`,
      )
      // Before a journal keeps any record, there must be a snapshot of the state in memory now.
      this.#refusedBytes = Number.POSITIVE_INFINITY
      this.#log.open(-1, 0)
      return false
    }
  }

  /** Runs `act` and ignores a disk that refuses, which is no reason not to start. */
  #unlessRefused(act: () => void): void {
    try {
      act()
    } catch (error) {
      if (!isDiskError(error)) throw error
    }
  }

  /** Removes a file; the next start removes files that stay. */
  #removeOld(path: string): void {
    this.#unlessRefused(() => this.#files.removeSync(path))
  }

  /** Begins the next journal, and a snapshot of the state before that journal when the last one has grown. */
  async #rotate(): Promise<{ fd: number; end: number }> {
    const isWanted = this.#isWanted || this.#log.end >= this.#limit || this.#refusedBytes > refusedBytes
    this.#number++
    const number = this.#number
    const refused = this.#refusedBytes > refusedBytes ? [] : this.#refused
    const opened = await this.#newJournal(refused)
    if (this.#refusedBytes > refusedBytes) {
      // The journals lack the refused records. No record may be reported as kept before a snapshot has them.
      try {
        // A running snapshot waits for the group that waits for this journal.
        if (this.#running) throw new Error('a snapshot is being made')
        await this.#makeSnapshot(number)
      } catch (error) {
        this.#files.closeSync(opened.fd)
        this.#files.removeSync(this.#path(number, 'journal'))
        throw error
      }
    } else if (isWanted && !this.#running) {
      this.#isWanted = false
      this.#running = this.#makeSnapshot(number)
        .catch(error => {
          if (this.#isClosing) return
          this.#options.log.warn(`no snapshot of the sessions could be made: ${describe(error)}; the journal is kept`)
        })
        .finally(() => {
          this.#running = undefined
        })
    }
    this.#refused = []
    this.#refusedBytes = 0
    return opened
  }

  /**
   * Makes a journal that begins with these records, synced. The group that waits for the journal may be lost in a
   * crash. The journal therefore claims only publishes that are on disk already: the others are replayed from the
   * spool.
   */
  async #newJournal(records: readonly Buffer[]): Promise<{ fd: number; end: number }> {
    const { dir } = this.#options
    const path = this.#path(this.#number, 'journal')
    const fd = this.#files.openSync(path, openNew)
    try {
      this.#out.clear()
      encodeRecord(this.#out, { t: 'mark' }, { ordinal: 0, applied: this.#appliedOnDisk })
      const end = await writeSynced(this.#files, fd, [Buffer.from(this.#out.written), ...records])
      await directorySynced(dir, this.#files)
      return { fd, end }
    } catch (error) {
      this.#files.closeSync(fd)
      this.#files.removeSync(path)
      throw error
    }
  }

  /** Writes the state beside other work. Earlier files are removed when the snapshot is on disk. */
  async #makeSnapshot(number: number): Promise<void> {
    const { dir, pace, snapshot, payloads, applied } = this.#options
    const path = this.#path(number, 'snapshot')
    const fd = this.#files.openSync(`${path}.new`, openNew)
    try {
      const writer = new SnapshotWriter(this.#files, fd, payloads)
      writer.header({ version: 1, ordinal: this.#ordinal, applied: applied() })
      let since = performance.now()
      const options = { ordinal: () => this.#ordinal, mayLose: this.#failures >= maxFailures }
      for (const _ of snapshot(writer, options)) {
        if (writer.isFull) await writer.flush()
        else if (performance.now() - since < pace.sliceMs) continue
        else await turn()
        if (this.#isClosing) throw new Error('the hub is stopping')
        since = performance.now()
      }
      writer.end()
      await writer.flush()
      await writer.sync()
      if (this.#running) {
        // A session may have seen records that are on their way to the disk. Sessions captured before need them there.
        await this.#log.flush()
        if (this.#refusedBytes > 0) throw new Error('the disk refused what the journal needs beside it')
      }
      this.#files.renameSync(`${path}.new`, path)
      await directorySynced(dir, this.#files)
      const old = this.#snapshot
      this.#snapshot = new SnapshotFile(this.#files, fd)
      this.#snapshotBytes = writer.size
      writer.settle(this.#snapshot)
      old?.close()
      this.#failures = 0
    } catch (error) {
      this.#failures++
      if (this.#snapshot?.fd !== fd) this.#files.closeSync(fd)
      this.#files.removeSync(`${path}.new`)
      throw error
    }
    const { snapshots, journals } = filesOf(this.#files, dir)
    const isOld = (one: number) => one < number
    const paths = [
      ...snapshots.filter(isOld).map(one => this.#path(one, 'snapshot')),
      ...journals.filter(isOld).map(one => this.#path(one, 'journal')),
    ]
    for (const path of paths) {
      try {
        this.#files.removeSync(path)
      } catch {
        // The next start tries again to remove the file.
      }
      await turn()
    }
  }

  #keepRefused(body: Buffer): void {
    this.#refusedBytes += body.length
    if (this.#refusedBytes <= refusedBytes) this.#refused.push(body)
    else this.#refused = []
  }
}

const lostState =
  'kept sessions, their queues and retained messages are lost. Restore the folder from a backup if there is one'
const lostChanges = 'what changed in kept sessions and retained messages since the last snapshot is lost'

/**
 * Returns the number of bytes that are no records, those at the end included. `whole` is called with the end of the
 * last record.
 */
function readDamage(
  files: Files,
  fd: number,
  frame: (body: Buffer) => void,
  whole: (end: number) => void = () => {},
): number {
  let damage = 0
  const damaged = (_at: number, bytes: number) => {
    damage += bytes
  }
  const end = readFrames(fd, { frame, damaged }, 0, files)
  whole(end)
  return damage + files.sizeSync(fd) - end
}

function filesOf(files: Files, dir: string) {
  const all = files.listSync(dir)
  const numbers = (kind: string) =>
    all
      .filter(name => /^\d{10}\./.test(name) && name.slice(11) === kind)
      .map(name => Number(name.slice(0, 10)))
      .sort((a, b) => a - b)
  return {
    snapshots: numbers('snapshot'),
    journals: numbers('journal'),
    json: numbers('log'),
    unfinished: all.filter(name => name.endsWith('.new')),
  }
}

/** Returns the offset where the frames end. */
async function writeSynced(files: Files, fd: number, bodies: readonly Buffer[]): Promise<number> {
  const parts = bodies.flatMap(body => {
    const header = Buffer.allocUnsafe(frameHeaderBytes)
    writeFrameHeader(header, 0, body)
    return [header, body]
  })
  const bytes = Buffer.concat(parts)
  await writeWhole(files, fd, bytes, 0)
  await dataSynced(files, fd)
  return bytes.length
}

function turn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}

function copyTo(bytes: Buffer, target: Buffer, at: number): void {
  bytes.copy(target, at)
}
