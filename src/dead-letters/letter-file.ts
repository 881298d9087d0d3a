import { join } from 'node:path'
import { frameHeaderBytes } from '../disk/commit-log.js'
import { type Files, syncDirectory } from '../disk/files.js'
import { HubError, systemCode } from '../errors.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { Sharing } from '../runtime/user-shares.js'
import { Exclusive } from './exclusive.js'
import { type EncodedLetter, type Key, Letters } from './letter.js'
import { LetterDamage } from './letter-damage.js'
import { cutFile, isSynced, renameSurely, succeeds, writeLetters } from './letter-disk.js'
import { type IndexEntry, type Missing, missing } from './letter-index.js'
import { LetterMarks } from './letter-marks.js'
import { nameOf } from './letter-names.js'
import { framesOf, readSurviving } from './letter-scan.js'
import { LetterTally } from './letter-tally.js'

export interface LetterFileOptions {
  readonly dir: string
  readonly files: Files
  readonly sharing: Sharing
  readonly incidents: IncidentReporter
}

/** Content that a start finds in a file. */
export interface Loaded extends Missing {
  readonly letters: Letters
  /** Offsets of duplicates: letters that are also in this file before, or in another one. */
  readonly twice: readonly number[]
}

/** One file of dead letters, with the file of the marks of removed letters beside it. */
export class LetterFile {
  readonly number: number
  readonly #options: LetterFileOptions
  #generation: number
  /** Marks of removed letters. */
  marks: LetterMarks
  #end = 0
  /** Counts of the letters that are not removed; and below the number of removed ones. */
  readonly #tally: LetterTally
  #gone = 0
  /** Offsets of duplicates of letters elsewhere whose marks could not be written yet. */
  readonly #superseded = new Set<number>()
  #writing = false
  #deleted = false
  /** Whether marks exist at offsets without a letter: a letter written there would count as removed. */
  #hasStrayMarks = false
  #recorded: IndexEntry | undefined
  readonly damage: LetterDamage
  /** Lock for changing or deleting the file. */
  readonly use = new Exclusive()
  /** Whether the content and the name of the file are on disk. */
  isSynced = true
  /** Earlier generations that are not deleted yet. A start would read them if this file were missing. */
  readonly older = new Set<string>()
  /** Whether the file is about to be deleted. */
  isLeaving = false

  constructor(options: LetterFileOptions, number: number, generation = 0) {
    this.#options = options
    this.number = number
    this.#generation = generation
    this.#tally = new LetterTally(options.sharing)
    this.marks = this.#newMarks()
    this.damage = new LetterDamage(options.files, options.incidents)
  }

  get path(): string {
    return this.#path('log')
  }

  /** Size on disk, including the marks. */
  get bytes(): number {
    return this.#end + this.marks.bytes
  }

  /** End offset of the last letter. */
  get end(): number {
    return this.#end
  }

  get entry(): IndexEntry {
    // The next start still expects the letters that cannot be read now.
    if (this.damage.isUnread && this.#recorded) return this.#recorded
    const { number, end } = this
    const letters = this.#tally.count + this.#gone + this.#superseded.size
    return { number, generation: this.#generation, end, letters, gone: this.#gone }
  }

  /** Whether letters are appended to the file. */
  get writing(): boolean {
    return this.#writing
  }

  set writing(writing: boolean) {
    this.#writing = writing
    if (!writing) this.#tally.shrink()
  }

  get deleted(): boolean {
    return this.#deleted
  }

  /** Number of letters that are not removed. */
  get count(): number {
    return this.#tally.count
  }

  /** Whether more than half of the file is removed letters. */
  get isMostlyGone(): boolean {
    return this.#tally.bytes * 2 < this.#end
  }

  /** Whether a restart would find exactly the current letters. */
  get isSure(): boolean {
    return this.isSynced && !this.marks.isUncertain
  }

  /** Whether letters may be appended. */
  get mayGrow(): boolean {
    return this.isSure && !this.damage.isUnread && !this.damage.isEvidence && !this.#hasStrayMarks
  }

  /** Bytes of the letters that are not removed, by account. */
  get bytesOf(): ReadonlyMap<string, number> {
    return this.#tally.bytesOf
  }

  has(key: Key): boolean {
    return this.#tally.has(key)
  }

  /** Counts a letter that has been appended, after which the file ends at `end`. */
  added({ key, length, user }: EncodedLetter, end: number): void {
    this.#tally.add(key, user, frameHeaderBytes + length)
    this.#end = end
  }

  /**
   * Reads the file at a start; `known` tells which letters are in other files. Rejects when the file cannot be opened,
   * and then changes nothing.
   */
  async load(known: (key: Key) => boolean, recorded: IndexEntry | undefined): Promise<Loaded> {
    const gone = await this.marks.load()
    const { bytes, unread, reason } = await readSurviving(this.#options.files, this.path)
    const { starts, end, damaged, damagedTail } = await framesOf(bytes)
    this.damage.missed(this.path, unread, reason)
    if (unread > 0) this.damage.limit(starts)
    this.#end = end
    this.isSynced = await isSynced(this.#options.files, this.path)
    const letters = new Letters(
      bytes,
      starts.filter(start => !gone.has(start)),
    )
    const twice = await this.#tally.addAll(letters, known)
    this.#gone = starts.length - letters.starts.length
    this.#hasStrayMarks = gone.size > this.#gone
    this.#recorded = recorded?.generation === this.#generation ? recorded : undefined
    const found = { starts, end, damaged, damagedTail, unread, marks: gone, gone: this.#gone }
    return { letters, twice, ...missing(this.#recorded, found) }
  }

  /** Truncates the file behind the last letter. Rejects with the error of the disk. */
  async cut(): Promise<void> {
    await cutFile(this.#options.files, this.path, this.#end)
  }

  /** Reads the letters that are not removed, as far as possible. None when the file was deleted meanwhile. */
  async read(): Promise<Letters> {
    while (!this.#deleted) {
      const { path } = this
      try {
        return await this.#read(path)
      } catch (error) {
        unlessMissing(error)
        // Otherwise the file was compacted meanwhile, and has another name.
        if (!this.#deleted && path === this.path) this.#wasRemoved()
      }
    }
    return new Letters(Buffer.alloc(0), [])
  }

  /**
   * Removes letters durably. Rejects with `spool_failed`, and then all of them remain; after a restart they may be
   * removed nevertheless.
   */
  async remove(letters: Letters, starts: readonly number[], putAgain: (key: Key) => boolean): Promise<void> {
    if (starts.length === 0) return
    await this.marks.append(starts)
    this.#gone += starts.length
    this.#tally.remove(letters, starts, putAgain)
  }

  /**
   * Removes duplicates of letters elsewhere; `putAgain` tells for which that is this file. When the disk refuses, the
   * duplicates are hidden, and a restart finds one of each; they must be removed before the other copy is removed.
   */
  async supersede(letters: Letters, starts: readonly number[], putAgain: (key: Key) => boolean): Promise<void> {
    this.#tally.remove(letters, starts, putAgain)
    for (const start of starts) this.#superseded.add(start)
    await this.removeSuperseded().catch(() => {})
  }

  get hasSuperseded(): boolean {
    return this.#superseded.size > 0
  }

  /** Marks the hidden duplicates as removed. Rejects when the disk still refuses. */
  async removeSuperseded(): Promise<void> {
    const starts = [...this.#superseded]
    if (starts.length === 0) return
    await this.marks.append(starts)
    this.#gone += starts.length
    this.#superseded.clear()
  }

  /** Closes the file of marks, which `remove` keeps open. */
  async closeGone(): Promise<void> {
    await this.marks.close()
  }

  /**
   * Compares the letters that the caller read while holding the lock with those known. Missing ones were damaged while
   * the hub ran, and are reported.
   */
  async reconcile(letters: Letters): Promise<void> {
    const lost = this.#tally.count - letters.starts.length
    if (lost <= 0) return
    const copy = await this.damage.keep(this.path)
    this.#options.incidents.report('dead_letters_lost', `${lost} dead letters of ${this.path} are lost; ${copy}`, {
      messages: lost,
    })
    this.#tally.clear()
    await this.#tally.addAll(letters, () => false)
  }

  /** Deletes the file: the letters before the marks, as without marks removed letters would reappear. */
  async delete(): Promise<void> {
    const { dir, files } = this.#options
    await this.closeGone()
    if (this.older.size > 0) {
      for (const path of this.older) files.removeSync(path)
      syncDirectory(dir, files)
    }
    this.damage.retire(this.path)
    this.#deleted = true
    syncDirectory(dir, files)
    this.marks.remove()
  }

  /** Deletes an empty file. If a crash brings the file back, that does no harm. */
  discard(): void {
    this.#deleted = true
    succeeds(() => this.#options.files.removeSync(this.path))
  }

  /**
   * Compacts: writes a new generation without removed letters, and syncs it. The new file is valid once it has its
   * name, also after a restart; the old one is deleted when the name is on disk. Rejects when the disk refuses; then
   * all letters remain as before.
   */
  async rewrite(): Promise<void> {
    const { dir, files } = this.#options
    const letters = await this.read()
    if (this.damage.isUnread) throw new HubError('spool_failed', `${this.path} cannot be read completely`)
    await this.reconcile(letters)
    await this.closeGone()
    const generation = this.#generation + 1
    const [oldLog, oldMarks, temporary] = [this.path, this.marks, this.#path('new', generation)]
    let end: number
    try {
      end = await writeLetters(files, temporary, letters)
      renameSurely(files, temporary, this.#path('log', generation))
    } catch (error) {
      succeeds(() => files.removeSync(temporary))
      throw error
    }
    this.#generation = generation
    this.marks = this.#newMarks()
    this.#end = this.#tally.bytes = end
    this.#gone = 0
    this.#superseded.clear()
    this.#hasStrayMarks = false
    this.isSynced = false
    this.older.add(oldLog)
    syncDirectory(dir, files)
    this.isSynced = true
    this.damage.retire(oldLog)
    this.older.delete(oldLog)
    this.damage.isEvidence = false
    oldMarks.remove()
  }

  /** Reports that another program deleted the file while the hub runs. */
  #wasRemoved(): void {
    const { path, bytes } = this
    const messages = this.#tally.count
    if (this.#options.files.sizeOfSync(path) !== undefined)
      throw new HubError('spool_failed', `the list of removed letters of ${path} was deleted`)
    this.#deleted = true
    this.#end = 0
    this.marks = this.#newMarks()
    this.#tally.clear()
    this.#options.incidents.report(
      'dead_letters_lost',
      `${path} was removed while the hub runs: ${messages} dead letters are lost`,
      { messages, bytes },
    )
  }

  async #read(path: string): Promise<Letters> {
    // The current end, as a compaction meanwhile changes the end of another file.
    const end = this.#end
    // Marks first: a letter removed between the two reads still counts as present.
    const gone = await this.marks.read()
    const { bytes, unread, reason } = await readSurviving(this.#options.files, path, end)
    this.damage.missed(path, unread, reason)
    const { starts } = await framesOf(bytes)
    const isThere = (start: number) => !gone.has(start) && !this.#superseded.has(start) && this.damage.mayShow(start)
    return new Letters(bytes, starts.filter(isThere))
  }

  #newMarks(): LetterMarks {
    return new LetterMarks(this.#options.files, this.#path('gone'))
  }

  #path(kind: 'log' | 'gone' | 'new', generation = this.#generation): string {
    return join(this.#options.dir, nameOf({ number: this.number, generation, kind }))
  }
}

function unlessMissing(error: unknown): undefined {
  if (systemCode(error) !== 'ENOENT') throw error
}
