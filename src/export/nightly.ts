import { describe } from '../errors.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { Part } from '../runtime/lifecycle.js'
import type { MillisecondClock } from '../runtime/time.js'
import type { DayPartitions } from '../store/store.js'

export interface NightlyExportOptions {
  readonly days: DayPartitions
  readonly incidents: IncidentReporter
  /** Milliseconds since the epoch. */
  readonly wall?: MillisecondClock
}

const dayMs = 86_400_000
/** Time after the end of a day, for readings that come late. */
const lagMs = 3_600_000
/** After the start the store is busy with other things. */
const firstMs = 5_000
/** Interval of looks at the clock, and of attempts after a failure. */
const lookEveryMs = 300_000

/** Writes the days of the store that have ended to the folder of `export.nightly`, an hour after midnight in UTC. */
export class NightlyExport implements Part {
  readonly name = 'nightly export'
  readonly #options: NightlyExportOptions
  readonly #wall: MillisecondClock
  readonly #abort = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> | undefined
  /** Days that ended before this time are written. Milliseconds. */
  #writtenUntil = Number.NEGATIVE_INFINITY

  constructor(options: NightlyExportOptions) {
    this.#options = options
    this.#wall = options.wall ?? Date
  }

  start(): void {
    this.#timer = setTimeout(() => this.#look(), firstMs)
  }

  /** Ends the writing of a file in the middle: it is written anew after the next start. */
  async stop(): Promise<void> {
    this.#abort.abort()
    clearTimeout(this.#timer)
    await this.#running
  }

  #look(): void {
    this.#running = this.#write().then(() => {
      if (!this.#abort.signal.aborted) this.#timer = setTimeout(() => this.#look(), lookEveryMs)
    })
  }

  async #write(): Promise<void> {
    const { days, incidents } = this.#options
    const until = Math.floor((this.#wall.now() - lagMs) / dayMs) * dayMs
    if (until === this.#writtenUntil) return
    try {
      await days.write(until * 1_000, this.#abort.signal)
      this.#writtenUntil = until
    } catch (error) {
      if (this.#abort.signal.aborted) return
      const detail = describe(error)
      incidents.report('nightly_export', `a day could not be written to ${days.folder} (export.nightly): ${detail}`)
    }
  }
}
