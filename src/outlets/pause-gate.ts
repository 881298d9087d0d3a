import { readFileSync } from 'node:fs'
import { replaceFileSync } from '../disk/replace-file.js'

/** Holds an outlet back that an operator has paused, also over a restart. */
export class PauseGate {
  readonly #path: string
  #isPaused = false
  #wake = new Set<() => void>()

  constructor(path: string) {
    this.#path = path
  }

  /** Reads whether the outlet was paused. A file that cannot be read means no. */
  open(): void {
    try {
      this.#isPaused = (JSON.parse(readFileSync(this.#path, 'utf8')) as { paused?: unknown }).paused === true
    } catch {
      this.#isPaused = false
    }
  }

  get isPaused(): boolean {
    return this.#isPaused
  }

  /** Pauses or resumes. Returns when that is on disk; throws what the disk throws, and then nothing has changed. */
  set(paused: boolean): void {
    replaceFileSync(this.#path, `${JSON.stringify({ paused })}\n`)
    this.#isPaused = paused
    if (!paused) for (const wake of [...this.#wake]) wake()
  }

  /** Resolves when the outlet is not paused, or the signal aborts. */
  async passes(signal: AbortSignal): Promise<void> {
    while (this.#isPaused && !signal.aborted) {
      await new Promise<void>(resolve => {
        const end = () => {
          this.#wake.delete(end)
          signal.removeEventListener('abort', end)
          resolve()
        }
        this.#wake.add(end)
        signal.addEventListener('abort', end)
      })
    }
  }
}
