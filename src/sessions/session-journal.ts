import { ByteWriter } from '../disk/byte-buffer.js'
import { CommitLog, frameHeaderBytes, writeFrameHeader } from '../disk/commit-log.js'
import {
  dataSynced,
  directorySynced,
  type Files,
  nodeFiles,
  openNew,
  removeInPieces,
  writeWhole,
} from '../disk/files.js'
import { isDiskError } from '../disk/retried-write.js'
import { describe } from '../errors.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import { Slices } from '../runtime/slices.js'
import type { Work } from '../runtime/work.js'
import type { SharedPayloads } from './queue-chunk.js'
import type { CaptureOptions } from './session-capture.js'
import { SessionFiles } from './session-files.js'
import { encodeRecord, type JournalRecord } from './session-records.js'
import { type JournalTarget, SessionRestore } from './session-restore.js'
import { SnapshotWriter } from './session-snapshot.js'
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

export interface SessionJournalOptions {
  readonly dir: string
  readonly fsync: 'group' | 'interval'
  readonly pace: SnapshotPace
  /** Writes the state into `to`; each step takes a millisecond or two. */
  readonly snapshot: (to: SnapshotWriter, options: CaptureOptions) => Iterable<void>
  readonly payloads: SharedPayloads
  readonly work: Work
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
  readonly #files: SessionFiles
  readonly #log: CommitLog
  readonly #out = new ByteWriter()
  #ordinal = 0
  /** `applied` of the last record appended, of the last one in the group being written, and of the last one on disk. */
  #appliedAppended = 0
  #appliedWriting = 0
  #appliedOnDisk = 0
  /** Number of the newest journal. */
  #number = 0
  #snapshot: SnapshotFile | undefined
  #snapshotBytes = 0
  #running: Promise<void> | undefined
  #isWanted = false
  /** Whether no snapshot may be made yet. */
  #isHeld = true
  #isClosing = false
  /** Snapshots in a row that failed. */
  #failures = 0
  #refused: Buffer[] = []
  #refusedBytes = 0

  constructor(options: SessionJournalOptions) {
    this.#options = options
    this.#files = new SessionFiles(options.dir, options.files ?? nodeFiles)
    const rotateBytes = () => this.#limit
    this.#log = new CommitLog({
      fsync: options.fsync,
      files: this.#files.disk,
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

  /**
   * Restores the state, in slices, then accepts new records. No snapshot is made before {@link begin}. When that fails,
   * or is given up, there is nothing to close.
   */
  async load(target: JournalTarget<unknown>, slices: Slices): Promise<void> {
    const { incidents, isExpected, applied } = this.#options
    const restored = await new SessionRestore(this.#files, target, incidents, slices).restore(isExpected)
    this.#number = restored.number
    this.#ordinal = restored.ordinal
    this.#snapshot = restored.snapshot
    this.#snapshotBytes = restored.snapshotBytes
    const { journal } = restored
    if (journal) {
      this.#log.open(journal.fd, journal.end)
      // The next start must not find the damage again. In all other cases clients come back before a snapshot is made.
      if (restored.isDamaged) this.snapshotNext()
    } else if (await this.#beginWith()) for (const path of restored.replaced) this.#files.removeOld(path)
    this.#appliedOnDisk = applied()
  }

  /**
   * Called when everything that the journal has queued, and the spool has as well, is published again. A snapshot begun
   * before would have such messages in the queues, and nothing would say that they must not be queued again.
   */
  begin(): void {
    this.#isHeld = false
    if (this.#isWanted) this.#log.rotateNext()
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
    await this.#snapshot?.close()
  }

  get #limit(): number {
    return Math.max(this.#options.pace.journalBytes, Math.min(this.#snapshotBytes / 4, maxJournalBytes))
  }

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
        this.#files.disk.closeSync(fd)
        this.#files.removeOld(this.#files.path(this.#number, 'journal'))
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
        if (this.#running || this.#isHeld) throw new Error('no snapshot can be made at this moment')
        await this.#makeSnapshot(number)
      } catch (error) {
        this.#files.disk.closeSync(opened.fd)
        this.#files.disk.removeSync(this.#files.path(number, 'journal'))
        throw error
      }
    } else if (isWanted && this.#isHeld) this.#isWanted = true
    else if (isWanted && !this.#running) {
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
    const path = this.#files.path(this.#number, 'journal')
    const fd = this.#files.disk.openSync(path, openNew)
    try {
      this.#out.clear()
      encodeRecord(this.#out, { t: 'mark' }, { ordinal: 0, applied: this.#appliedOnDisk })
      const end = await writeSynced(this.#files.disk, fd, [Buffer.from(this.#out.written), ...records])
      await directorySynced(this.#files.dir, this.#files.disk)
      return { fd, end }
    } catch (error) {
      this.#files.disk.closeSync(fd)
      this.#files.disk.removeSync(path)
      throw error
    }
  }

  /** Writes the state beside other work. Earlier files are removed when the snapshot is on disk. */
  async #makeSnapshot(number: number): Promise<void> {
    const { pace, snapshot, payloads, applied, work } = this.#options
    const path = this.#files.path(number, 'snapshot')
    const fd = this.#files.disk.openSync(`${path}.new`, openNew)
    try {
      const writer = new SnapshotWriter(this.#files.disk, fd, payloads)
      writer.header({ version: 1, ordinal: this.#ordinal, applied: applied() })
      let since = performance.now()
      const slices = new Slices(pace.sliceMs, undefined, work)
      const options = { ordinal: () => this.#ordinal, mayLose: this.#failures >= maxFailures }
      for (const _ of snapshot(writer, options)) {
        if (writer.isFull) await writer.flush()
        else if (performance.now() - since < pace.sliceMs) continue
        await slices.turn()
        if (this.#isClosing) throw new Error('the hub is stopping')
        since = performance.now()
      }
      writer.end()
      await writer.flush()
      await writer.sync()
      if (this.#running) {
        // A session may have seen records that are on their way to the disk. Sessions captured before need them there.
        await this.#log.flush()
        if (this.#refusedBytes > 0) throw new Error('the disk refused a file that the journal needs')
      }
      this.#files.disk.renameSync(`${path}.new`, path)
      await directorySynced(this.#files.dir, this.#files.disk)
      const old = this.#snapshot
      this.#snapshot = new SnapshotFile(this.#files.disk, fd)
      this.#snapshotBytes = writer.size
      await writer.settle(this.#snapshot, new Slices(pace.sliceMs, undefined, work))
      await old?.close()
      this.#failures = 0
    } catch (error) {
      this.#failures++
      if (this.#snapshot?.fd !== fd) this.#files.disk.closeSync(fd)
      this.#files.disk.removeSync(`${path}.new`)
      throw error
    }
    for (const path of this.#files.before(number)) {
      try {
        await removeInPieces(this.#files.disk, path)
      } catch {
        // The next start tries again to remove the file.
      }
    }
  }

  #keepRefused(body: Buffer): void {
    this.#refusedBytes += body.length
    if (this.#refusedBytes <= refusedBytes) this.#refused.push(body)
    else this.#refused = []
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

function copyTo(bytes: Buffer, target: Buffer, at: number): void {
  bytes.copy(target, at)
}
