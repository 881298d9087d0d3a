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

/** What a start finds in a file. */
export interface Loaded extends Missing {
  readonly letters: Letters
  /** Where those begin that are there already, in this file or in another one. */
  readonly twice: readonly number[]
}

/** One file of dead letters, and the one beside it that tells which of them are gone. */
export class LetterFile {
  readonly number: number
  readonly #options: LetterFileOptions
  #generation: number
  /** Which of its letters are gone. */
  marks: LetterMarks
  #end = 0
  /** The letters that are there, and how many are gone. */
  readonly #tally: LetterTally
  #gone = 0
  /** Where letters begin that are in another place, too, and could not be removed here. */
  readonly #superseded = new Set<number>()
  #writing = false
  #deleted = false
  /** There are marks where no letter is: one that is put there would be gone at once. */
  #hasStrayMarks = false
  #recorded: IndexEntry | undefined
  readonly damage: LetterDamage
  /** Whoever is about to change or delete it holds it. */
  readonly use = new Exclusive()
  /** All that is in it is on disk, and its name. */
  isSynced = true
  /** Files that it was written anew from and that are still there: a start takes them when this one is gone. */
  readonly older = new Set<string>()
  /** It is about to be deleted. */
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

  /** On disk, with what tells which are gone. */
  get bytes(): number {
    return this.#end + this.marks.bytes
  }

  /** End of the last letter. */
  get end(): number {
    return this.#end
  }

  get entry(): IndexEntry {
    // What cannot be read now is still expected by the next start.
    if (this.damage.isUnread && this.#recorded) return this.#recorded
    const { number, end } = this
    const letters = this.#tally.count + this.#gone + this.#superseded.size
    return { number, generation: this.#generation, end, letters, gone: this.#gone }
  }

  /** Letters are being put into it. */
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

  /** Letters that are there. */
  get count(): number {
    return this.#tally.count
  }

  /** More than half of it is letters that are gone. */
  get isMostlyGone(): boolean {
    return this.#tally.bytes * 2 < this.#end
  }

  /** A restart finds all letters that are there. */
  get isSure(): boolean {
    return this.isSynced && !this.marks.isUncertain
  }

  /** Letters may be put behind those that are there. */
  get mayGrow(): boolean {
    return this.isSure && !this.damage.isUnread && !this.damage.isEvidence && !this.#hasStrayMarks
  }

  /** Bytes of the letters that are there, by account. */
  get bytesOf(): ReadonlyMap<string, number> {
    return this.#tally.bytesOf
  }

  has(key: Key): boolean {
    return this.#tally.has(key)
  }

  /** It has been appended, and ends at `end` now. */
  added({ key, length, user }: EncodedLetter, end: number): void {
    this.#tally.add(key, user, frameHeaderBytes + length)
    this.#end = end
  }

  /**
   * Reads what a restart has to know; `known` tells what other files have. Rejects when it cannot be opened: then nothing
   * was changed.
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

  /** Cuts off what is behind the last letter, for good. Rejects with what the disk says. */
  async cut(): Promise<void> {
    await cutFile(this.#options.files, this.path, this.#end)
  }

  /** The letters that are there, as far as they can be read. None when it was deleted meanwhile. */
  async read(): Promise<Letters> {
    while (!this.#deleted) {
      const { path } = this
      try {
        return await this.#read(path)
      } catch (error) {
        unlessMissing(error)
        // Otherwise it was rewritten meanwhile, and has another name.
        if (!this.#deleted && path === this.path) this.#wasRemoved()
      }
    }
    return new Letters(Buffer.alloc(0), [])
  }

  /**
   * Resolves when these are gone for good. Rejects with `spool_failed`, and all of them are there; after a restart they
   * may be gone all the same.
   */
  async remove(letters: Letters, starts: readonly number[], putAgain: (key: Key) => boolean): Promise<void> {
    if (starts.length === 0) return
    await this.marks.append(starts)
    this.#gone += starts.length
    this.#tally.remove(letters, starts, putAgain)
  }

  /**
   * Removes letters that are in another place, too; `putAgain` tells where that is this file. When the disk refuses, they
   * are not shown any more, and a restart finds one of each; before another one of them is removed, these must be.
   */
  async supersede(letters: Letters, starts: readonly number[], putAgain: (key: Key) => boolean): Promise<void> {
    this.#tally.remove(letters, starts, putAgain)
    for (const start of starts) this.#superseded.add(start)
    await this.removeSuperseded().catch(() => {})
  }

  get hasSuperseded(): boolean {
    return this.#superseded.size > 0
  }

  /** Rejects when the disk still refuses. */
  async removeSuperseded(): Promise<void> {
    const starts = [...this.#superseded]
    if (starts.length === 0) return
    await this.marks.append(starts)
    this.#gone += starts.length
    this.#superseded.clear()
  }

  /** Lets go of what `remove` keeps open. */
  async closeGone(): Promise<void> {
    await this.marks.close()
  }

  /**
   * What was read while the file was held by the caller is all there is: if it is less than there was, that is damage of
   * now, and is reported.
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

  /** Deletes it. The letters go first: without what tells which are gone, all of them would be there again. */
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

  /** Removes it, as nothing was put into it. That it is there again after a crash does no harm. */
  discard(): void {
    this.#deleted = true
    succeeds(() => this.#options.files.removeSync(this.path))
  }

  /**
   * Writes it anew without what is gone, and syncs that. Once the new one has its name it counts, also after a restart;
   * the old one is removed when the name is on disk. Rejects when the disk refuses; then all letters are there as before.
   */
  async rewrite(): Promise<void> {
    const { dir, files } = this.#options
    const letters = await this.read()
    if (this.damage.isUnread) throw new HubError('spool_failed', `${this.path} cannot be read as a whole`)
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

  /** By somebody else, under the running hub. */
  #wasRemoved(): void {
    const { path, bytes } = this
    const messages = this.#tally.count
    if (this.#options.files.sizeOfSync(path) !== undefined)
      throw new HubError('spool_failed', `what tells which letters of ${path} are gone was removed`)
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
    // As it is now: what a rewrite changes meanwhile is of another file.
    const end = this.#end
    // In this order: a letter that is removed between the two is one that was still there.
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
