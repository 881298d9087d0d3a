import { describe, systemCode } from '../errors.js'
import type { SentenceLog } from '../observe/log.js'

/**
 * Whether an error, or its cause, is a refusal of the disk, as opposed to a file that the hub's user has no right to.
 * The disk may work again later.
 */
export function isDiskError(error: unknown): boolean {
  if (diskErrors.has(systemCode(error) ?? '')) return true
  return error instanceof Error && error.cause !== undefined && isDiskError(error.cause)
}

const diskErrors = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'ENXIO', 'ENODEV', 'ESTALE', 'ETIMEDOUT'])

const againMs = 1_000

export interface RetriedWriteOptions {
  /** Name for the log: `the hub's identity`. */
  readonly what: string
  /** Throws when the disk refuses. */
  readonly write: () => void
  readonly log: Pick<SentenceLog, 'warn'>
}

/** A small file that the hub can run without: a disk that refuses the file does not keep the hub from starting. */
export class RetriedWrite {
  readonly #options: RetriedWriteOptions
  #timer: NodeJS.Timeout | undefined

  constructor(options: RetriedWriteOptions) {
    this.#options = options
  }

  /**
   * Writes the file. When the disk refuses, logs that once and tries again every second until the write works. Throws
   * any error that is not the disk's.
   */
  start(): void {
    try {
      this.#options.write()
    } catch (error) {
      if (!isDiskError(error)) throw error
      this.#options.log.warn(`${this.#options.what} could not be written: ${describe(error)}; retrying`)
      this.#timer = setInterval(() => this.#again(), againMs).unref()
    }
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #again(): void {
    try {
      this.#options.write()
      clearInterval(this.#timer)
    } catch {
      // The first failure was logged.
    }
  }
}
