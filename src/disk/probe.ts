import { dirname } from 'node:path'
import { type Files, openNew, synced, writeWhole } from './files.js'

export interface DiskProbeOptions {
  /** Path of the file that is written and removed. */
  readonly path: string
  readonly bytes: number
  readonly everyMs: number
  readonly files: Files
  /** Called once the disk has accepted the test write. An error thrown here counts as a refusal. */
  readonly works: () => void
  /** Called after each try that the disk refused. */
  readonly refused: () => void
}

/** Repeats a test write to a disk that has refused something, until the disk accepts the write. */
export class DiskProbe {
  readonly #options: DiskProbeOptions
  #timer: NodeJS.Timeout | undefined
  #trying: Promise<void> = Promise.resolve()
  #stopped = false

  constructor(options: DiskProbeOptions) {
    this.#options = options
  }

  /** Tries until the disk works or `stop` is called. */
  start(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.#trying = this.#try()
    }, this.#options.everyMs).unref()
  }

  /** Resolves when no write is under way. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    await this.#trying
  }

  async #try(): Promise<void> {
    try {
      await this.#write()
      this.#options.works()
    } catch {
      this.#options.refused()
      if (!this.#stopped) this.start()
    }
  }

  async #write(): Promise<void> {
    const { path, bytes, files } = this.#options
    files.makeDirectorySync(dirname(path))
    files.removeSync(path)
    const fd = files.openSync(path, openNew)
    try {
      await writeWhole(files, fd, Buffer.alloc(bytes), 0)
      await synced(files, fd)
    } finally {
      files.closeSync(fd)
      files.removeSync(path)
    }
  }
}
