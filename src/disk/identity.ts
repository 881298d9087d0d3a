import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { describe } from '../errors.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { Part } from '../runtime/lifecycle.js'
import { setAside } from './damaged.js'
import { type Files, nodeFiles, readWholeSync } from './files.js'
import { replaceFileSync } from './replace-file.js'
import { RetriedWrite } from './retried-write.js'

export interface IdentityOptions {
  readonly dir: string
  readonly incidents: IncidentReporter
  readonly log: Pick<SentenceLog, 'warn'>
  readonly files?: Files
}

/** The hub's id, for message ids, and the number of its starts, which makes broker ids ascend. */
export class Identity implements Part {
  readonly name = 'identity'
  readonly #options: IdentityOptions
  readonly #path: string
  readonly #file: RetriedWrite
  #id = ''
  #starts = 0

  constructor(options: IdentityOptions) {
    const { dir, log, files = nodeFiles } = options
    this.#options = options
    this.#path = join(dir, 'hub.json')
    this.#file = new RetriedWrite({
      what: this.#path,
      write: () =>
        replaceFileSync(this.#path, `${JSON.stringify({ id: this.#id, starts: this.#starts })}\n`, { files }),
      log,
    })
  }

  /**
   * Reads the id and counts this start. A damaged file is set aside and the hub gets a new id. When the disk refuses
   * the write, the write is retried.
   */
  start(): void {
    const known = this.#read() ?? { id: randomUUID(), starts: 0 }
    this.#id = known.id
    this.#starts = known.starts + 1
    this.#file.start()
  }

  stop(): void {
    this.#file.stop()
  }

  #read(): { id: string; starts: number } | undefined {
    const { incidents, files = nodeFiles } = this.#options
    let why: string
    try {
      const text = readWholeSync(this.#path, files)
      if (text === undefined) return undefined
      const { id, starts } = JSON.parse(text.toString('utf8')) as { id: string; starts: number }
      if (typeof id === 'string' && id !== '' && Number.isSafeInteger(starts)) return { id, starts }
      why = 'it lacks the id or the number of starts'
    } catch (error) {
      why = describe(error)
    }
    incidents.report(
      'identity_damaged',
      `${this.#path} cannot be read (${why}); the hub gets a new id, and receipts in RabbitMQ for the old id are not received; ${setAside(this.#path, files)}`,
    )
    return undefined
  }

  get hubId(): string {
    return this.#id
  }

  get brokerId(): string {
    return `hub-${String(this.#starts).padStart(8, '0')}-${this.#id.slice(0, 8)}`
  }
}
