import { type BigIntStats, statSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { systemCode } from '../errors.js'

export interface WatchedFilesOptions {
  readonly paths: readonly string[]
  /** Called when files have changed, appeared or disappeared, and no further change was seen since the last look. */
  readonly changed: () => void
  /** Time between two looks. */
  readonly everyMs?: number
}

/**
 * Reports changed files, by polling: an editor, an ACME client or Kubernetes writes in place, renames a new file over
 * the old one, or turns a symbolic link, perhaps on a network file system, and no notification of the system covers
 * them all. Nothing is reported until two looks have found the same, so that a certificate is not read before its key
 * is there too.
 */
export class WatchedFiles {
  readonly #options: WatchedFilesOptions
  #told = ''
  #seen = ''
  #timer: NodeJS.Timeout | undefined
  #looking = false

  constructor(options: WatchedFilesOptions) {
    this.#options = options
  }

  /**
   * Starts polling. Changes from now on are reported, so call this before reading the files. The timer keeps no process
   * alive.
   */
  start(): void {
    const { paths, everyMs = 1_000 } = this.#options
    this.#told = this.#seen = paths.map(path => attempt(() => mark(statSync(path, { bigint: true })))).join()
    this.#timer = setInterval(() => void this.#look(), everyMs).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  async #look(): Promise<void> {
    // A file system that hangs must not be asked again and again.
    if (this.#looking) return
    this.#looking = true
    const marks = await Promise.all(
      this.#options.paths.map(path => stat(path, { bigint: true }).then(mark, (error: unknown) => fault(error))),
    )
    this.#looking = false
    if (!this.#timer) return
    const now = marks.join()
    const isCalm = now === this.#seen
    this.#seen = now
    if (!isCalm || now === this.#told) return
    this.#told = now
    try {
      this.#options.changed()
    } catch (error) {
      // Rejecting, this would end the thread, with all that it does besides.
      process.emitWarning(error instanceof Error ? error : String(error))
    }
  }
}

/**
 * Returns a text that differs when a file is replaced or written to. Permission changes count, as a file that could not
 * be read may be readable now.
 */
function mark({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`
}

function attempt(look: () => string): string {
  try {
    return look()
  } catch (error) {
    return fault(error)
  }
}

function fault(error: unknown): string {
  return systemCode(error) ?? 'unknown'
}
