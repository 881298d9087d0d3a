import { SerialQueue } from '../runtime/serial-queue.js'
import { replaceFile } from './replace-file.js'

/**
 * A small file with the state of a part, replaced as a whole after changes. The hub goes on without the file: after a
 * failed write the state counts as changed, so the next save tries again.
 */
export class StateFile {
  readonly #path: string
  readonly #text: () => string
  readonly #writes = new SerialQueue()
  #isChanged = false
  /** True while a write waits to begin. */
  #isQueued = false
  #timer: NodeJS.Timeout | undefined

  /** @param text Returns the content of the file for the state of the moment. */
  constructor(path: string, text: () => string) {
    this.#path = path
    this.#text = text
  }

  /** Saves changes at intervals, until `stop`. */
  saveEvery(ms: number): void {
    this.#timer = setInterval(() => this.save(), ms).unref()
  }

  /** Notes that the state has changed, for the next save. */
  changed(): void {
    this.#isChanged = true
  }

  /** Begins a write if the state has changed since the last one. Changes during a write become one more write. */
  save(): void {
    if (!this.#isChanged || this.#isQueued) return
    this.#isQueued = true
    this.#writes
      .run(() => {
        this.#isQueued = false
        this.#isChanged = false
        return replaceFile(this.#path, this.#text())
      })
      .catch(() => {
        this.#isChanged = true
      })
  }

  /** Saves for the last time. Resolves when the file is written, or could not be. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.save()
    await this.#writes.idle()
  }
}
