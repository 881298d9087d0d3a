import { setAside } from '../disk/damaged.js'
import { readWholeSync } from '../disk/files.js'
import { StateFile } from '../disk/state-file.js'
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
  readonly #file: StateFile
  /** Number of the changes that the file was told of. */
  #told = 0
  #timer: NodeJS.Timeout | undefined

  constructor(path: string, knowledge: Knowledge, incidents: IncidentReporter) {
    this.#path = path
    this.#knowledge = knowledge
    this.#incidents = incidents
    this.#file = new StateFile(path, () => JSON.stringify(knowledge.snapshot()))
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
    this.#told = this.#knowledge.changes
    this.#timer = setInterval(() => this.#save(), saveEveryMs)
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#save()
    await this.#file.stop()
  }

  #save(): void {
    const { changes } = this.#knowledge
    if (changes !== this.#told) this.#file.changed()
    this.#told = changes
    this.#file.save()
  }
}
