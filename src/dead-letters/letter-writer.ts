import { CommitLog } from '../disk/commit-log.js'
import { openToChange } from '../disk/files.js'
import { describe, HubError } from '../errors.js'
import type { EncodedLetter } from './letter.js'
import type { LetterFile } from './letter-file.js'
import type { LetterFolder, LetterFolderOptions } from './letter-folder.js'

/** A group commit log and the file that it writes to. Undefined while the disk refuses writes. */
interface Writer {
  readonly log: CommitLog
  file: LetterFile | undefined
  /** Whether the disk has refused a group: bytes behind the last letter may never have been acknowledged. */
  hasFailed: boolean
}

/** Appends letters to the newest file by group commit, and starts a new file when the current one is large enough. */
export class LetterWriter {
  readonly #folder: LetterFolder
  readonly #options: LetterFolderOptions
  readonly #fileBytes: number
  #writer: Writer | undefined
  /** Resolves when the change to the next file is complete. */
  #rolling: Promise<void> = Promise.resolve()
  /** Files that still have to be truncated behind their last letter. */
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

  /** Continues the newest file, or starts one. When the disk refuses, each letter tries again. */
  open(): void {
    const { dir, files, log } = this.#options
    try {
      const newest = this.#folder.list.at(-1)
      // An opened file may grow to twice its size.
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

  /** Resolves with the file when the letter is on disk. */
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
    // Another program deleted the file: letters written to it would be lost.
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

  /** Starts a new file. Resolves when the previous one is closed. Rejects when the disk refuses. */
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
   * Truncates the files whose last group failed. A refused letter may be in its file nevertheless, and is also put into
   * the next one. Once removed there, the next start must not find it here. Rejects when the disk refuses.
   */
  async #cutLeft(): Promise<void> {
    for (const file of this.#uncut) {
      await file.cut()
      this.#uncut.delete(file)
    }
  }
}

const writeLetter = (letter: EncodedLetter, target: Buffer, at: number) => letter.write(target, at)
