import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { describe } from '../errors.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { Part } from '../runtime/lifecycle.js'
import type { MillisecondClock } from '../runtime/time.js'
import { setAside } from './damaged.js'
import { type Files, nodeFiles, readWholeSync } from './files.js'
import { replaceFileSync } from './replace-file.js'
import { RetriedWrite } from './retried-write.js'

export interface IdentityOptions {
  readonly dir: string
  /** Version of the program. */
  readonly version?: string
  readonly incidents: IncidentReporter
  readonly log: Pick<SentenceLog, 'warn'>
  readonly files?: Files
  /** Milliseconds since the epoch. */
  readonly clock?: MillisecondClock
}

/** Most starts of which the time is kept. */
const maxTimes = 200

interface KnownIdentity {
  readonly id: string
  readonly starts: number
  readonly times: readonly number[]
}

/** The hub's id, for message ids, and its starts: their number, which makes broker ids ascend, and when they were. */
export class Identity implements Part {
  readonly name = 'identity'
  readonly #options: IdentityOptions
  readonly #path: string
  readonly #file: RetriedWrite
  #id = ''
  #starts = 0
  #times: readonly number[] = []

  constructor(options: IdentityOptions) {
    const { dir, log, files = nodeFiles } = options
    this.#options = options
    this.#path = join(dir, 'hub.json')
    this.#file = new RetriedWrite({
      what: this.#path,
      write: () =>
        replaceFileSync(this.#path, `${JSON.stringify({ id: this.#id, starts: this.#starts, times: this.#times })}\n`, {
          files,
        }),
      log,
    })
  }

  /**
   * Reads the id and counts this start. A damaged file is set aside and the hub gets a new id. When the disk refuses
   * the write, the write is retried.
   */
  start(): void {
    const { clock = Date } = this.#options
    const known = this.#read() ?? { id: randomUUID(), starts: 0, times: [] }
    this.#id = known.id
    this.#starts = known.starts + 1
    this.#times = [...known.times, clock.now()].slice(-maxTimes)
    this.#file.start()
  }

  stop(): void {
    this.#file.stop()
  }

  #read(): KnownIdentity | undefined {
    const { incidents, files = nodeFiles } = this.#options
    let why: string
    try {
      const text = readWholeSync(this.#path, files)
      if (text === undefined) return undefined
      const {
        id,
        starts,
        times = [],
      } = JSON.parse(text.toString('utf8')) as Omit<KnownIdentity, 'times'> & Partial<KnownIdentity>
      if (typeof id === 'string' && id !== '' && Number.isSafeInteger(starts)) {
        // Older versions kept no times.
        return { id, starts, times: Array.isArray(times) ? times.filter(Number.isFinite) : [] }
      }
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

  /** When the hub was started, in milliseconds, the oldest first. */
  get times(): readonly number[] {
    return this.#times
  }

  get version(): string {
    return this.#options.version ?? ''
  }

  get hubId(): string {
    return this.#id
  }

  get brokerId(): string {
    return `hub-${String(this.#starts).padStart(8, '0')}-${this.#id.slice(0, 8)}`
  }
}
