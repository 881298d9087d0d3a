import { keepDamaged } from '../disk/commit-log.js'
import { setAside } from '../disk/damaged.js'
import type { Files } from '../disk/files.js'
import type { IncidentReporter } from '../observe/incidents.js'

/** What of a file of dead letters cannot be read, or is kept for a person to look at. */
export class LetterDamage {
  readonly #files: Files
  readonly #incidents: IncidentReporter
  /** Bytes that the disk did not give when the file was read last. */
  #unread = 0
  /** Where the letters begin that could be read at the start. Undefined: all of them. */
  #readable: ReadonlySet<number> | undefined
  /** Whether the file is damaged, and the disk refused to take a copy. */
  isEvidence = false

  constructor(files: Files, incidents: IncidentReporter) {
    this.#files = files
    this.#incidents = incidents
  }

  /**
   * Whether part of the file cannot be read: it is not written to, not written anew, and set aside instead of removed.
   */
  get isUnread(): boolean {
    return this.#readable !== undefined || this.#unread > 0
  }

  /** Called at the start, when not all could be read: only letters that begin there are shown. */
  limit(starts: readonly number[]): void {
    this.#readable = new Set(starts)
  }

  mayShow(start: number): boolean {
    return this.#readable?.has(start) !== false
  }

  /**
   * Called after each read. Reads that fail may work later: the file stays as it is, and is shown as far as possible.
   */
  missed(path: string, unread: number, reason: string): void {
    const isNew = unread > this.#unread
    this.#unread = unread
    if (!isNew) return
    this.#incidents.report(
      'dead_letters_unreadable',
      `${unread} bytes of ${path} cannot be read (${reason}): the dead letters in them are not shown; the file is kept, and is read again at the next start`,
    )
  }

  /** Keeps a copy of the file as it was found. Resolves with a sentence about the copy for an operator. */
  async keep(path: string): Promise<string> {
    const sentence = await keepDamaged(path, this.#files)
    this.isEvidence = this.#files.sizeOfSync(`${path}.bad`) === undefined
    return sentence
  }

  /** Removes the file. One that a person may want to look at gets another name instead. */
  retire(path: string): void {
    if (!this.isUnread && !this.isEvidence) {
      this.#files.removeSync(path)
      return
    }
    const sentence = setAside(path, this.#files)
    if (this.#files.sizeOfSync(path) !== undefined) throw new Error(sentence)
  }
}
