import { setAside } from '../disk/damaged.js'
import { readWholeSync } from '../disk/files.js'
import { replaceFile } from '../disk/replace-file.js'
import { describe } from '../errors.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { Part } from '../runtime/lifecycle.js'
import type { Knowledge, KnowledgeSnapshot } from './knowledge.js'

const saveEveryMs = 5_000

/**
 * Keeps what is known about devices in a file, as discovery is sent once and the hub may start many times. What was
 * learnt in the last seconds before a crash is learnt again when the devices send it again.
 */
export class KnowledgeFile implements Part {
  readonly name = 'knowledge'
  readonly #path: string
  readonly #knowledge: Knowledge
  readonly #incidents: IncidentReporter
  #saved = 0
  #timer: NodeJS.Timeout | undefined
  #saving: Promise<void> = Promise.resolve()

  constructor(path: string, knowledge: Knowledge, incidents: IncidentReporter) {
    this.#path = path
    this.#knowledge = knowledge
    this.#incidents = incidents
  }

  start(): void {
    try {
      const text = readWholeSync(this.#path)
      if (text !== undefined) this.#knowledge.restore(JSON.parse(text.toString('utf8')) as KnowledgeSnapshot)
    } catch (error) {
      this.#incidents.report(
        'knowledge_damaged',
        `${this.#path} cannot be read (${describe(error)}); names and units show again once devices send them; ${setAside(this.#path)}`,
      )
    }
    this.#saved = this.#knowledge.changes
    this.#timer = setInterval(() => this.#save(), saveEveryMs)
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#save()
    await this.#saving
  }

  #save(): void {
    const { changes } = this.#knowledge
    if (changes === this.#saved) return
    const before = this.#saved
    this.#saved = changes
    const text = JSON.stringify(this.#knowledge.snapshot())
    this.#saving = this.#saving
      .then(() => replaceFile(this.#path, text))
      .catch(() => {
        this.#saved = before
      })
  }
}
