import { CommitLog } from '../disk/commit-log.js'
import { openToChange } from '../disk/files.js'
import { describe, HubError } from '../errors.js'
import type { EncodedLetter } from './letter.js'
import type { LetterFile } from './letter-file.js'
import type { LetterFolder, LetterFolderOptions } from './letter-folder.js'

/** A log, and the file it writes to; none while the disk refuses. */
interface Writer {
  readonly log: CommitLog
  file: LetterFile | undefined
  /** The disk has refused a group: behind the last letter may be what was never acknowledged. */
  hasFailed: boolean
}

/** Puts letters into the newest file, by group commit, and goes on in a new one when that is long enough. */
export class LetterWriter {
  readonly #folder: LetterFolder
  readonly #options: LetterFolderOptions
  readonly #fileBytes: number
  #writer: Writer | undefined
  /** While a file is left for the next one. */
  #rolling: Promise<void> = Promise.resolve()
  /** Files that were left before the disk could be made to cut off what they have too much. */
  readonly #uncut = new Set<LetterFile>()
  #cutting: Promise<void> | undefined

  constructor(folder: LetterFolder, options: LetterFolderOptions, fileBytes: number) {
    this.#folder = folder
    this.#options = options
    this.#fileBytes = fileBytes
  }

  /** Bytes that wait to be written. */
  get pendingBytes(): number {
    return this.#writer?.log.pendingBytes ?? 0
  }

  /** Goes on in the newest file, or begins one. A disk that refuses is asked again with each letter. */
  open(): void {
    const { dir, files, log } = this.#options
    try {
      const newest = this.#folder.list.at(-1)
      // A log may become twice as long as it was when it was opened.
      const fits = newest && newest.end < this.#fileBytes / 2
      if (!fits || !newest.mayGrow) {
        this.#start(this.#folder.create())
        return
      }
      const fd = files.openSync(newest.path, openToChange)
      try {
        if (files.sizeSync(fd) > newest.end) {
          files.ftruncateSync(fd, newest.end)
          log.warn(`removed an unfinished write from ${newest.path}`)
        }
        this.#start({ file: newest, fd })
      } catch (error) {
        files.closeSync(fd)
        throw error
      }
    } catch (error) {
      log.warn(`no dead letter can be written to ${dir} (${describe(error)}); each new one tries again`)
      this.#start(undefined)
    }
  }

  /** Resolves with the file, when the letter is in it for good. */
  async append(letter: EncodedLetter): Promise<LetterFile> {
    await this.#rolling
    if (this.#uncut.size > 0) {
      this.#cutting ??= this.#cutLeft().finally(() => {
        this.#cutting = undefined
      })
      await this.#cutting
    }
    const writer = this.#writer
    if (!writer) throw new HubError('stopping', 'dead letters are closed')
    // Somebody has removed it: what is written to it now is lost.
    if (writer.file?.deleted) writer.log.rotateNext()
    return new Promise((resolve, reject) =>
      writer.log.append(letter.length, letter, writeLetter, (_, error) => {
        const { file } = writer
        if (error || !file) return reject(error ?? new HubError('spool_failed', 'there is no file to write to'))
        file.added(letter, writer.log.end)
        this.#folder.changed()
        resolve(file)
      }),
    )
  }

  /** Goes on in a new file. Resolves when the one before is closed; rejects when the disk refuses. */
  async roll(): Promise<void> {
    await this.#rolling
    const before = this.#writer
    if (!before) return
    this.#start(this.#folder.create())
    this.#rolling = this.#close(before)
    await this.#rolling
  }

  async close(): Promise<void> {
    await this.#rolling
    await this.#writer?.log.close()
    this.#writer = undefined
  }

  #start(opened: { file: LetterFile; fd: number } | undefined): void {
    const log = new CommitLog({
      fsync: 'group',
      rotateBytes: this.#fileBytes,
      rotate: async () => {
        if (writer.file && writer.hasFailed) await writer.file.cut()
        const next = this.#folder.create()
        this.#enter(writer, next.file)
        return { fd: next.fd, end: 0 }
      },
      settled: (_end, _frames, error) => {
        if (error) writer.hasFailed = true
      },
      files: this.#options.files,
    })
    const writer: Writer = { log, file: undefined, hasFailed: false }
    this.#enter(writer, opened?.file)
    log.open(opened?.fd ?? -1, opened?.file.end ?? 0)
    this.#writer = writer
  }

  #enter(writer: Writer, file: LetterFile | undefined): void {
    const before = writer.file
    if (before) before.writing = false
    if (before?.end === 0) this.#folder.discard(before)
    writer.file = file
    writer.hasFailed = false
    if (file) file.writing = true
  }

  async #close(writer: Writer): Promise<void> {
    await writer.log.close()
    const { file, hasFailed } = writer
    if (!file) return
    file.writing = false
    if (hasFailed) this.#uncut.add(file)
  }

  /**
   * A letter that the disk refused may be in its file all the same, and is put into the next one, too. When it is removed
   * there, it must not be found here by the next start. Rejects when the disk refuses to cut it off.
   */
  async #cutLeft(): Promise<void> {
    for (const file of this.#uncut) {
      await file.cut()
      this.#uncut.delete(file)
    }
  }
}

const writeLetter = (letter: EncodedLetter, target: Buffer, at: number) => letter.write(target, at)
