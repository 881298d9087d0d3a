import { keepDamaged } from '../disk/commit-log.js'
import { type Files, openToChange, openToRead } from '../disk/files.js'
import { readFramesInSlices } from '../disk/frame-file.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { Slices } from '../runtime/slices.js'
import type { SessionFiles } from './session-files.js'
import { type Decoded, decodeRecord } from './session-records.js'
import { decodeJsonRecord } from './session-records-json.js'
import { readSnapshot, type SnapshotTarget } from './session-snapshot.js'
import { SnapshotFile } from './snapshot-file.js'

/** What is restored from the last snapshot, then from the records since. */
export interface JournalTarget<T> extends SnapshotTarget<T> {
  apply(decoded: Decoded): void
}

/** A journal to go on with, and where its frames end. `fd` is -1 when the disk refuses to have it changed. */
interface OpenJournal {
  readonly fd: number
  readonly end: number
}

/** What a folder had, and where to go on. */
export interface RestoredFiles {
  /** Number of the newest journal. */
  readonly number: number
  /** Ordinal of the last record. */
  readonly ordinal: number
  readonly snapshot: SnapshotFile | undefined
  readonly snapshotBytes: number
  /** Undefined: a new journal and snapshot must be begun. */
  readonly journal: OpenJournal | undefined
  /** Paths of files to be removed once the new journal and snapshot are there. */
  readonly replaced: readonly string[]
  readonly isDamaged: boolean
}

/** Restores a state from the files in a folder, in slices: the last snapshot, and the journals since. */
export class SessionRestore {
  readonly #files: SessionFiles
  readonly #disk: Files
  readonly #target: JournalTarget<unknown>
  readonly #incidents: IncidentReporter
  readonly #slices: Slices
  #ordinal = 0
  /** Ordinal of the last record that any session of the snapshot has seen. */
  #seen = 0
  #snapshot: SnapshotFile | undefined
  #snapshotBytes = 0
  #isDamaged = false

  constructor(files: SessionFiles, target: JournalTarget<unknown>, incidents: IncidentReporter, slices: Slices) {
    this.#files = files
    this.#disk = files.disk
    this.#target = target
    this.#incidents = incidents
    this.#slices = slices
  }

  /**
   * Reads the files, and removes those of no use. `isExpected`: whether there was a journal when the hub ran last. When
   * that fails, or is given up, no file stays open.
   */
  async restore(isExpected: () => boolean): Promise<RestoredFiles> {
    try {
      return await this.#restore(isExpected)
    } catch (error) {
      this.#snapshot?.close()
      throw error
    }
  }

  async #restore(isExpected: () => boolean): Promise<RestoredFiles> {
    const files = this.#files
    const { dir } = files
    files.unlessRefused(() => this.#disk.makeDirectorySync(dir))
    const { snapshots, journals, json, unfinished } = files.list()
    // Files begun when the hub went down, and never finished.
    for (const path of unfinished) files.removeOld(path)
    const jsonPaths = json.map(number => files.path(number, 'log'))
    const old = json.at(-1)
    const snapshot = snapshots.at(-1)
    const first = snapshot ?? journals[0]
    if (old !== undefined && snapshot === undefined) {
      await this.#readJson(old)
      for (const number of journals) files.removeOld(files.path(number, 'journal'))
      return this.#restored(Math.max(old, ...journals), undefined, jsonPaths)
    }
    if (first === undefined) {
      if (isExpected()) this.#report(`${dir} is empty, but was not when the hub last ran: ${lostState}`)
      return this.#restored(0, undefined)
    }
    if (snapshot === undefined) this.#report(`${dir} no longer has a snapshot: ${lostState}`)
    else await this.#readSnapshot(snapshot)
    const newer = journals.filter(number => number >= first)
    if (newer[0] !== first) this.#report(`${files.path(first, 'journal')} is missing: ${lostChanges}`)
    for (const path of jsonPaths) files.removeOld(path)
    for (const number of snapshots.slice(0, -1)) files.removeOld(files.path(number, 'snapshot'))
    for (const number of journals) if (number < first) files.removeOld(files.path(number, 'journal'))
    let open: OpenJournal | undefined
    for (const number of newer) {
      if (open && open.fd >= 0) this.#disk.closeSync(open.fd)
      open = await this.#readJournal(number)
    }
    this.#ordinal = Math.max(this.#ordinal, this.#seen)
    return this.#restored(newer.at(-1) ?? first, open)
  }

  #restored(number: number, journal: OpenJournal | undefined, replaced: readonly string[] = []): RestoredFiles {
    return {
      number,
      ordinal: this.#ordinal,
      snapshot: this.#snapshot,
      snapshotBytes: this.#snapshotBytes,
      journal,
      replaced,
      isDamaged: this.#isDamaged,
    }
  }

  #report(sentence: string, bytes?: number): void {
    this.#isDamaged = true
    this.#incidents.report('sessions_damaged', sentence, bytes === undefined ? {} : { bytes })
  }

  async #readJson(number: number): Promise<void> {
    const path = this.#files.path(number, 'log')
    const fd = this.#disk.openSync(path, openToRead)
    try {
      const damage = await this.#readDamage(fd, body => {
        const found = decodeJsonRecord(body)
        if (found) this.#target.apply({ ...found, ordinal: ++this.#ordinal })
      })
      await this.#reportDamage(path, damage)
    } finally {
      this.#disk.closeSync(fd)
    }
  }

  async #readSnapshot(number: number): Promise<void> {
    const path = this.#files.path(number, 'snapshot')
    const fd = this.#disk.openSync(path, openToRead)
    this.#snapshot = new SnapshotFile(this.#disk, fd)
    this.#snapshotBytes = this.#disk.sizeSync(fd)
    const read = await readSnapshot(this.#disk, fd, this.#snapshot, this.#target, this.#slices)
    const { begun, seen, damage, isCutOff } = read
    this.#ordinal = begun
    this.#seen = seen
    await this.#reportDamage(path, damage, isCutOff)
  }

  async #readJournal(number: number): Promise<OpenJournal> {
    const path = this.#files.path(number, 'journal')
    const fd = this.#disk.openSync(path, openToRead)
    let frames = 0
    let missing = 0
    let end = 0
    let damage: number
    try {
      damage = await this.#readDamage(
        fd,
        body => {
          frames++
          const found = decodeRecord(body)
          if (!found) return
          missing += Math.max(0, found.ordinal - this.#ordinal - 1)
          this.#ordinal = Math.max(this.#ordinal, found.ordinal)
          this.#target.apply(found)
        },
        whole => {
          end = whole
        },
      )
    } finally {
      this.#disk.closeSync(fd)
    }
    await this.#reportDamage(path, damage, frames === 0)
    if (damage === 0 && missing > 0) this.#report(`${path} lacks ${missing} records at its beginning: ${lostChanges}`)
    let opened = -1
    this.#files.unlessRefused(() => {
      opened = this.#disk.openSync(path, openToChange)
      if (damage > 0) this.#disk.ftruncateSync(opened, end)
    })
    return { fd: opened, end }
  }

  /**
   * Returns the number of bytes that are no records, those at the end included. `whole` is called with the end of the
   * last record.
   */
  async #readDamage(fd: number, frame: (body: Buffer) => void, whole: (end: number) => void = () => {}) {
    let damage = 0
    const damaged = (_at: number, bytes: number) => {
      damage += bytes
    }
    const end = await readFramesInSlices(fd, { frame, damaged }, this.#slices, this.#disk)
    whole(end)
    return damage + this.#disk.sizeSync(fd) - end
  }

  async #reportDamage(path: string, bytes: number, isEmpty = false): Promise<void> {
    if (bytes === 0 && !isEmpty) return
    const copy = await keepDamaged(path, this.#disk)
    const what = bytes > 0 ? `has ${bytes} bytes that cannot be read` : 'is truncated'
    this.#report(
      `${path} ${what}: damaged, or power was lost while it was written. Its records of kept sessions, their ` +
        `queues and retained messages are lost, the rest is kept; ${copy}`,
      bytes,
    )
  }
}

const lostState =
  'kept sessions, their queues and retained messages are lost. Restore the folder from a backup if there is one'
const lostChanges = 'changes of kept sessions and retained messages since the last snapshot are lost'
