import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import { Scrutiny, Suspects } from '../queue/suspects.js'
import type { ThreadExit } from '../runtime/thread-exit.js'

export interface ConsumerSuspectsOptions {
  readonly log: SentenceLog
  /** Get each message that was set aside. Without, the log gets it. */
  readonly incidents?: IncidentReporter
  readonly exit?: ThreadExit
}

/** Makes the `Suspects` of each consumer, which find the messages that crash this process. */
export class ConsumerSuspects {
  readonly #scrutiny: Scrutiny
  readonly #options: ConsumerSuspectsOptions

  /** @param dir The directory with the records of all consumers. */
  constructor(dir: string, options: ConsumerSuspectsOptions) {
    this.#scrutiny = new Scrutiny(dir)
    this.#options = options
    options.exit?.before(() => this.#scrutiny.end())
  }

  /** @param reason Why a message that was set aside is a dead letter. Undefined: the consumer skips the message. */
  of(name: string, batch: number, reason: string | undefined): Suspects {
    const { log, incidents } = this.#options
    const blamed = (sentence: string) => (incidents ? incidents.report('poison_message', sentence) : log.warn(sentence))
    return new Suspects({ name, scrutiny: this.#scrutiny, batch, reason, blamed, log })
  }
}
