import type { Settings } from '../../config/settings.js'
import type { Message } from '../../model.js'
import type { IncidentReporter } from '../../observe/incidents.js'
import type { SentenceLog } from '../../observe/log.js'
import type { Part } from '../../runtime/lifecycle.js'
import type { DeadLetterCounts } from '../consumers.js'
import type { OutwardDelivery } from '../downlink.js'
import { Births } from './births.js'
import { SparkplugHost } from './host.js'
import { LateData, type LetterReplays } from './late-data.js'
import { SparkplugReader } from './reader.js'

export interface SparkplugOptions {
  readonly settings: Settings
  /** Folder of the births. */
  readonly dir: string
  readonly delivery: OutwardDelivery
  readonly replays: LetterReplays
  readonly log: SentenceLog
  readonly incidents: IncidentReporter
}

/** Everything about Sparkplug B in the processor: births on disk, the reader, the host application, and late data. */
export class Sparkplug implements Part, DeadLetterCounts {
  readonly name = 'sparkplug'
  readonly reader: SparkplugReader
  /** Reads messages that nobody has sent, so a birth among them counts for nothing. */
  readonly trial: SparkplugReader
  readonly #births: Births
  readonly #host: SparkplugHost
  readonly #lateData: LateData

  constructor({ settings, dir, delivery, replays, log, incidents }: SparkplugOptions) {
    const inflated = settings['limits.inflated']
    this.#births = new Births({ dir, log, incidents })
    this.reader = new SparkplugReader(this.#births, inflated)
    this.trial = new SparkplugReader(this.#births, inflated, false)
    this.#lateData = new LateData(replays)
    this.#host = new SparkplugHost({
      births: this.#births,
      reader: this.reader,
      asksForBirths: settings['sparkplug.rebirth'],
      hostId: settings['sparkplug.host'],
      inflated,
      delivery,
      watcher: this.#lateData,
      log,
      clock: Date,
    })
  }

  start(): void {
    this.#births.start()
    this.#host.start()
  }

  async stop(): Promise<void> {
    this.#lateData.stop()
    await this.#host.stop()
    await this.#births.flush()
  }

  /** Follows messages in the order of their receipt, before anything else is done with them. */
  observe(messages: readonly Message[]): void {
    this.#host.observe(messages)
  }

  /** Resolves when the births of the messages handled so far are on disk. */
  flush(): Promise<void> {
    return this.#births.flush()
  }

  deadLettered(reason: string): void {
    this.#lateData.deadLettered(reason)
  }
}

/** Makes the reader of a process without a broker, which asks nobody, and whose births are in `dir`. */
export function sparkplugReaderOf(settings: Settings, dir: string, log: Pick<SentenceLog, 'warn'>) {
  const births = new Births({ dir, log })
  return { reader: new SparkplugReader(births, settings['limits.inflated']), births }
}
