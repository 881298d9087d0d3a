import { randomUUID } from 'node:crypto'
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { HubError } from './errors.js'
import type { Part } from './lifecycle.js'

/** Who this hub is, for message ids, and how often it has started, so that its broker ids ascend. */
export class Identity implements Part {
  readonly name = 'identity'
  readonly #path: string
  #id = ''
  #starts = 0

  constructor(dir: string) {
    this.#path = join(dir, 'hub.json')
  }

  start(): void {
    const known = existsSync(this.#path) ? this.#read() : { id: randomUUID(), starts: 0 }
    this.#id = known.id
    this.#starts = known.starts + 1
    writeFileSync(`${this.#path}.new`, `${JSON.stringify({ id: this.#id, starts: this.#starts })}\n`, { flush: true })
    renameSync(`${this.#path}.new`, this.#path)
  }

  stop(): void {}

  #read(): { id: string; starts: number } {
    try {
      const { id, starts } = JSON.parse(readFileSync(this.#path, 'utf8')) as { id: string; starts: number }
      if (typeof id === 'string' && Number.isSafeInteger(starts)) return { id, starts }
    } catch {
      // Said below, with what to do about it.
    }
    throw new HubError(
      'data_dir_unusable',
      `data.dir: ${this.#path} is damaged; restore it, or remove it and the hub gets a new identity`,
    )
  }

  get hubId(): string {
    return this.#id
  }

  get brokerId(): string {
    return `hub-${String(this.#starts).padStart(8, '0')}-${this.#id.slice(0, 8)}`
  }
}
