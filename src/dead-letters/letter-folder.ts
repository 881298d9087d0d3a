import { dirname, join } from 'node:path'
import { keepDamaged } from '../disk/commit-log.js'
import { type Files, openNew, syncDirectory } from '../disk/files.js'
import { describe, systemCode } from '../errors.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { DeadLetterFilter } from '../queue/queue.js'
import type { Sharing } from '../runtime/user-shares.js'
import { type Key, keyOfId, type Letters } from './letter.js'
import { succeeds } from './letter-disk.js'
import { LetterFile } from './letter-file.js'
import { type IndexEntry, LetterIndex } from './letter-index.js'
import { LetterMarks } from './letter-marks.js'
import { type FileName, nameOf, parseName } from './letter-names.js'

export interface LetterFolderOptions {
  readonly dir: string
  readonly files: Files
  readonly sharing: Sharing
  readonly log: Pick<SentenceLog, 'warn'>
  readonly incidents: IncidentReporter
}

/** The folder of the files of dead letters, as letter-names.ts draws them. */
export class LetterFolder {
  readonly #options: LetterFolderOptions
  readonly #index: LetterIndex
  /** Files in ascending order of number, which is their age. */
  #files: LetterFile[] = []
  #number = 0
  /** Whether the name of the directory is on disk. */
  #isNamed = false
  /** Index entries of files that cannot be opened now. The next start expects them. */
  #unopened: IndexEntry[] = []

  constructor(options: LetterFolderOptions) {
    this.#options = options
    this.#index = new LetterIndex(`${options.dir}.index`, options.files, () => this.#entries())
  }

  /** All files, oldest first. */
  get list(): readonly LetterFile[] {
    return this.#files
  }

  /** Size of all files. */
  get bytes(): number {
    return this.#files.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  /** Number of letters. */
  get count(): number {
    return this.#files.reduce((sum, { count }) => sum + count, 0)
  }

  /**
   * Reads all files, reports missing and damaged letters, and repairs what can be repaired. Rejects when the directory
   * cannot be listed; then nothing may be written either.
   */
  async open(): Promise<void> {
    const { dir, files } = this.#options
    succeeds(() => files.makeDirectorySync(dir))
    const names = this.#names()
    const recorded = this.#readIndex()
    const newest = new Map<number, number>()
    this.#number = Math.max(0, ...names.map(({ number }) => number), ...recorded.map(({ number }) => number))
    for (const { number, generation, kind } of names) {
      if (kind === 'log') newest.set(number, Math.max(newest.get(number) ?? 0, generation))
    }
    for (const entry of recorded) if (!newest.has(entry.number)) await this.#reportMissing(entry)
    const isNamed = succeeds(() => this.#syncNames())
    if (isNamed) this.#removeLeftovers(names, newest)
    this.#files = []
    this.#unopened = []
    for (const [number, generation] of [...newest].sort(([a], [b]) => a - b)) {
      const file = this.#file(number, generation)
      const older = names.filter(name => name.kind === 'log' && name.number === number && name.generation < generation)
      for (const name of older) file.older.add(join(dir, nameOf(name)))
      await this.#load(
        file,
        recorded.find(entry => entry.number === number),
        isNamed,
      )
    }
    this.#index.changed()
  }

  /** Creates the next file, with its name on disk. Throws when the disk refuses. */
  create(): { file: LetterFile; fd: number } {
    const { dir, files } = this.#options
    files.makeDirectorySync(dir)
    const file = this.#file(++this.#number)
    const fd = files.openSync(file.path, openNew)
    try {
      this.#syncNames()
    } catch (error) {
      files.closeSync(fd)
      succeeds(() => files.removeSync(file.path))
      throw error
    }
    this.#files = [...this.#files.filter(({ deleted }) => !deleted), file]
    return { file, fd }
  }

  /** Deletes a file with all its letters. Rejects when the disk refuses; then the next start may find the file. */
  async delete(file: LetterFile): Promise<void> {
    file.isLeaving = true
    try {
      // Taken out of the index first, so that a start does not report the file as lost.
      await this.#index.write()
      await file.delete()
    } finally {
      file.isLeaving = false
      if (file.deleted) this.#files = this.#files.filter(one => one !== file)
    }
  }

  /** Deletes a file that stayed empty because the disk refused writes. */
  discard(file: LetterFile): void {
    this.#files = this.#files.filter(one => one !== file)
    file.discard()
  }

  /** Called when letters were put or removed, or a file was compacted. */
  changed(): void {
    this.#index.changed()
  }

  /** Resolves when the index has been written, or the write has failed. */
  async close(): Promise<void> {
    await this.#index.write().catch(() => {})
  }

  /** Returns the files that may have matching letters. */
  holding({ id }: DeadLetterFilter): LetterFile[] {
    if (id === undefined) return [...this.#files]
    const key = keyOfId(id)
    return this.#files.filter(file => file.has(key))
  }

  /**
   * Reads the letters of a file. Undefined when the disk refuses, so that the letters of other files are still shown.
   */
  async read(file: LetterFile): Promise<Letters | undefined> {
    try {
      return await file.read()
    } catch (error) {
      const sentence = `the dead letters of ${file.path} cannot be read now: ${describe(error)}`
      this.#options.incidents.report('dead_letters_unreadable', sentence)
      return undefined
    }
  }

  *#entries(): Generator<IndexEntry> {
    yield* this.#unopened
    for (const file of this.#files) if (file.end > 0 && !file.isLeaving && !file.deleted) yield file.entry
  }

  #names(): FileName[] {
    const { dir, files } = this.#options
    try {
      return files.listSync(dir).flatMap(name => parseName(name) ?? [])
    } catch (error) {
      // The folder could not be created, as the disk is full.
      if (systemCode(error) === 'ENOENT') return []
      throw error
    }
  }

  #readIndex(): readonly IndexEntry[] {
    const { dir, incidents } = this.#options
    let why = 'it is damaged'
    try {
      const { entries, isDamaged } = this.#index.read()
      if (!isDamaged) return entries
    } catch (error) {
      why = describe(error)
    }
    incidents.report(
      'dead_letters_unreadable',
      `${dir}.index cannot be read (${why}) and is made again: whether dead letters are missing in ${dir} is not known`,
    )
    return []
  }

  /** Syncs the names of the files and of the directory. */
  #syncNames(): void {
    const { dir, files } = this.#options
    syncDirectory(dir, files)
    if (this.#isNamed) return
    syncDirectory(dirname(dir), files)
    this.#isNamed = true
  }

  #removeLeftovers(names: readonly FileName[], newest: ReadonlyMap<number, number>): void {
    const { dir, files } = this.#options
    for (const name of names) {
      if (name.kind !== 'new' && newest.get(name.number) === name.generation) continue
      succeeds(() => files.removeSync(join(dir, nameOf(name))))
    }
  }

  async #reportMissing({ number, generation, end, letters }: IndexEntry): Promise<void> {
    const { dir, files, incidents } = this.#options
    const path = join(dir, nameOf({ number, generation, kind: 'log' }))
    const marks = new LetterMarks(files, join(dir, nameOf({ number, generation, kind: 'gone' })))
    const gone = await marks.load().catch(() => new Set())
    const messages = Math.max(0, letters - gone.size)
    if (messages === 0) return
    incidents.report('dead_letters_lost', `${path} is missing, and with it ${messages} dead letters (${end} bytes)`, {
      messages,
      bytes: end,
    })
  }

  async #load(file: LetterFile, recorded: IndexEntry | undefined, isNamed: boolean): Promise<void> {
    const { files, incidents } = this.#options
    const { path } = file
    const earlier = [...this.#files]
    try {
      // A duplicate is removed only when the other copy is certainly on disk.
      const known = (key: Key) => earlier.some(one => one.isSynced && one.has(key))
      const { letters, twice, lost, damaged, returned } = await file.load(known, recorded)
      file.isSynced &&= isNamed
      this.#files.push(file)
      if (file.isSynced) for (const one of earlier) if (!one.isSynced) await this.#preferLater(one, file)
      if (lost > 0 || damaged > 0) {
        const copy = await file.damage.keep(file.path)
        const what = recorded ? `${lost} dead letters are lost` : 'the dead letters in them are lost'
        const sentence = `${path} is damaged or truncated (${damaged} bytes): ${what}, the intact ones are kept; ${copy}`
        incidents.report('dead_letters_lost', sentence, { messages: lost, bytes: damaged })
      }
      if (returned > 0 || file.marks.damaged > 0) await this.#reportReturned(file, returned)
      if (twice.length > 0) await file.supersede(letters, twice, () => true)
      // Compacted without the damage, so that the damage is reported once.
      if ((damaged > 0 || file.marks.damaged > 0) && !file.damage.isEvidence) await file.rewrite().catch(() => {})
      await file.closeGone()
    } catch (error) {
      if (systemCode(error) === undefined) throw error
      const bytes = sizeOf(files, path)
      if (recorded) this.#unopened.push(recorded)
      incidents.report(
        'dead_letters_unreadable',
        `${path} (${bytes ?? 'unknown'} bytes) cannot be read (${describe(error)}): its ${recorded?.letters ?? ''} dead letters are not shown; the file is not changed, and is read again at the next start`,
      )
    }
  }

  /** Removes letters from a file that may not be on disk, when another file certainly has them. */
  async #preferLater(unsure: LetterFile, later: LetterFile): Promise<void> {
    const letters = await this.read(unsure)
    if (!letters) return
    const starts = letters.starts.filter(start => {
      const key = letters.key(start)
      return key !== undefined && later.has(key)
    })
    if (starts.length > 0) await unsure.supersede(letters, starts, () => false)
  }

  async #reportReturned(file: LetterFile, returned: number): Promise<void> {
    const { files, incidents } = this.#options
    const { marks } = file
    const copy = sizeOf(files, marks.path) === undefined ? 'the file is missing' : await keepDamaged(marks.path, files)
    const count = returned > 0 ? returned : 'some'
    incidents.report(
      'dead_letters_returned',
      `${marks.path} is damaged or truncated: ${count} dead letters that were replayed or dropped are back; ${copy}`,
    )
  }

  #file(number: number, generation?: number): LetterFile {
    return new LetterFile(this.#options, number, generation)
  }
}

function sizeOf(files: Files, path: string): number | undefined {
  try {
    return files.sizeOfSync(path)
  } catch {
    return undefined
  }
}
