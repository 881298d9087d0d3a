import { join } from 'node:path'
import { CommitLog, frameHeaderBytes, keepDamaged } from '../disk/commit-log.js'
import { type Files, nodeFiles, openNew, openToRead, syncDirectory } from '../disk/files.js'
import { readFramesInSlices } from '../disk/frame-file.js'
import type { IncidentReporter } from '../observe/incidents.js'
import { Slices } from '../runtime/slices.js'

/*
 * The newest state of many small things on disk by group commit:
 *
 *     dir/0000000007.log     frames of commit-log.ts: text, the newest of a record stands
 *
 * Texts are only appended. The oldest file is removed once it has no newest text of any record: a little of
 * it is appended anew behind each group, while the files are more than twice as large as what they are for. So there is
 * no moment at which everything is written anew.
 */

/** A record that is kept. */
export interface KeptRecord {
  /** The file that has the newest text. Undefined while none was committed, and once none is to be kept. */
  file: JournalFile | undefined
  /** Bytes of the text in the file. */
  bytes: number
  /** Texts on their way to the disk. */
  pending: number
  /** Whether a text that the disk refused may be in a file all the same. Until the right one is behind it. */
  isDoubtful: boolean
  /** Returns the text that was committed last. */
  toText(): string
}

export interface JournalFile {
  readonly number: number
  bytes: number
  /** The records of which this file has the newest text. */
  readonly live: Set<KeptRecord>
}

export interface ShadowJournalOptions {
  readonly dir: string
  /** Told of unreadable bytes in a file. Whole records are kept. */
  readonly incidents: IncidentReporter
  readonly files?: Files
  /** Bytes after which the next file is begun. */
  readonly fileBytes?: number
}

const usualFileBytes = 4e6

/** Bytes that are appended anew behind a group, at most. */
const movedAtOnce = 128 * 1024

/** Files that are not cleaned up for their number alone. */
const mostFiles = 16

export class ShadowJournal {
  readonly #options: ShadowJournalOptions
  readonly #files: Files
  readonly #log: CommitLog
  /** The oldest first. */
  readonly #all: JournalFile[] = []
  #current: JournalFile | undefined
  readonly #fileBytes: number
  readonly #doubtful = new Set<KeptRecord>()
  #bytes = 0
  #liveBytes = 0
  #next = 1
  #isClosing = false

  constructor(options: ShadowJournalOptions) {
    this.#options = options
    this.#files = options.files ?? nodeFiles
    this.#fileBytes = options.fileBytes ?? usualFileBytes
    this.#log = new CommitLog({
      // The file that had a record is removed once the record is in another.
      fsync: 'group',
      rotateBytes: this.#fileBytes,
      rotate: async () => this.#begin(),
      settled: (end, _frames, error) => {
        if (error) return
        this.#grown(end)
        this.#correct()
        this.#clean()
      },
      files: this.#files,
    })
  }

  /** Bytes on disk. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * Passes the text of every record on disk to `read`, the oldest first, which returns its record. Appends go
   * to a new file. Rejects when the disk cannot be read.
   */
  async load(read: (text: string) => KeptRecord | undefined): Promise<void> {
    const { dir } = this.#options
    this.#files.makeDirectorySync(dir)
    const names = this.#files
      .listSync(dir)
      .filter(name => /^\d{10}\.log$/.test(name))
      .sort()
    for (const name of names) await this.#read(name, read)
    this.#next = Number(names.at(-1)?.slice(0, 10) ?? 0) + 1
    this.#removeEmpty()
    this.#log.open(-1, 0)
  }

  async #read(name: string, read: (text: string) => KeptRecord | undefined): Promise<void> {
    const path = join(this.#options.dir, name)
    const fd = this.#files.openSync(path, openToRead)
    const file: JournalFile = { number: Number(name.slice(0, 10)), bytes: this.#files.sizeSync(fd), live: new Set() }
    this.#all.push(file)
    this.#bytes += file.bytes
    try {
      let damage = 0
      const frame = (body: Buffer) => {
        const record = read(body.toString())
        if (record) this.#keep(record, body.length, file)
      }
      const damaged = (_at: number, bytes: number) => {
        damage += bytes
      }
      await readFramesInSlices(fd, { frame, damaged }, new Slices(), this.#files)
      if (damage === 0) return
      const copy = await keepDamaged(path, this.#files)
      const sentence = `${damage} bytes of ${path} are damaged; the intact part is kept, ${copy}`
      this.#options.incidents.report('shadows_damaged', sentence, { bytes: damage })
    } finally {
      this.#files.closeSync(fd)
    }
  }

  /**
   * Appends the new text of a record. `done` runs when the text is on disk, or with the reason for the failure; then the
   * earlier text stands.
   */
  append(record: KeptRecord, text: string, done: (error: Error | undefined) => void): void {
    record.pending++
    const body = Buffer.from(text)
    this.#log.append(body.length, body, copyTo, (_body, error) => {
      record.pending--
      if (!error) this.#keep(record, body.length, this.#current)
      record.isDoubtful = error !== undefined
      if (error) this.#doubtful.add(record)
      else this.#doubtful.delete(record)
      done(error)
    })
  }

  /** Forgets a record, of which nothing is on its way to the disk. */
  forget(record: KeptRecord): void {
    record.file?.live.delete(record)
    this.#liveBytes -= record.bytes
    record.bytes = 0
    record.file = undefined
  }

  /** Commits what is appended, and closes the file. */
  async close(): Promise<void> {
    this.#isClosing = true
    await this.#log.close()
  }

  #keep(record: KeptRecord, bytes: number, file: JournalFile | undefined): void {
    this.forget(record)
    record.bytes = bytes + frameHeaderBytes
    record.file = file
    file?.live.add(record)
    this.#liveBytes += record.bytes
  }

  #begin(): { fd: number; end: number } {
    const { dir } = this.#options
    this.#files.makeDirectorySync(dir)
    const fd = this.#files.openSync(join(dir, nameOf(this.#next)), openNew)
    try {
      syncDirectory(dir, this.#files)
    } catch (error) {
      this.#files.closeSync(fd)
      this.#files.removeSync(join(dir, nameOf(this.#next)))
      throw error
    }
    this.#current = { number: this.#next++, bytes: 0, live: new Set() }
    this.#all.push(this.#current)
    return { fd, end: 0 }
  }

  #grown(end: number): void {
    const file = this.#current
    if (!file) return
    this.#bytes += end - file.bytes
    file.bytes = end
  }

  /** Appends what stands of records of which a refused text may be in a file. */
  #correct(): void {
    if (this.#isClosing) return
    for (const record of this.#doubtful) if (record.pending === 0) this.append(record, record.toText(), () => {})
  }

  /** Appends a part of the oldest file anew, if the files are larger, or more, than they need be. */
  #clean(): void {
    this.#removeEmpty()
    const [oldest] = this.#all
    if (!oldest || oldest === this.#current || this.#isClosing) return
    const isLarge = this.#bytes > 2 * this.#liveBytes + 4 * this.#fileBytes
    if (!isLarge && this.#all.length <= mostFiles + this.#liveBytes / this.#fileBytes) return
    let moved = 0
    for (const record of oldest.live) {
      // One with a newer text on the way is not to be overwritten with the older.
      if (record.pending > 0) continue
      this.append(record, record.toText(), () => {})
      moved += record.bytes
      if (moved >= movedAtOnce) return
    }
  }

  #removeEmpty(): void {
    for (let [file] = this.#all; file && file !== this.#current && file.live.size === 0; [file] = this.#all) {
      this.#all.shift()
      try {
        this.#files.removeSync(join(this.#options.dir, nameOf(file.number)))
      } catch {
        // The next start removes the file.
      }
      this.#bytes -= file.bytes
    }
  }
}

function nameOf(file: number): string {
  return `${String(file).padStart(10, '0')}.log`
}

function copyTo(bytes: Buffer, target: Buffer, at: number): void {
  bytes.copy(target, at)
}
