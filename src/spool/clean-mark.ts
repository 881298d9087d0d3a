import { join } from 'node:path'
import { type Files, readWholeSync } from '../disk/files.js'
import { replaceFileSync } from '../disk/replace-file.js'

/** The file `clean`, which is there while the spool is stopped: it holds the last sequence number. */
export class CleanMark {
  readonly #path: string
  readonly #files: Files

  constructor(dir: string, files: Files) {
    this.#path = join(dir, 'clean')
    this.#files = files
  }

  get exists(): boolean {
    return this.#files.sizeOfSync(this.#path) !== undefined
  }

  /** Last sequence number when the spool was stopped; 0 when the spool was not stopped. */
  get sequence(): number {
    try {
      const end = Number(readWholeSync(this.#path, this.#files)?.toString('latin1'))
      return Number.isSafeInteger(end) ? end : 0
    } catch {
      return 0
    }
  }

  write(sequence: number): void {
    replaceFileSync(this.#path, `${sequence}\n`, { files: this.#files })
  }

  remove(): void {
    this.#files.removeSync(this.#path)
  }
}
