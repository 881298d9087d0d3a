import type { Files } from '../disk/files.js'
import { SnapshotLog } from '../disk/snapshot-log.js'
import { describe, HubError } from '../errors.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import { backoffMs, pause } from '../runtime/retry.js'
import { type OutboxEntry, OutboxState } from './outbox-state.js'

const rotateBytes = 4e6

export interface OutboxOptions {
  readonly dir: string
  readonly incidents: IncidentReporter
  readonly log: Pick<SentenceLog, 'warn'>
  readonly files?: Files
}

/**
 * What is to be sent, and which transitions were handled, in one journal: a transition is handled and its messages wait,
 * or neither. The frames of dir/0000000001.log (disk/snapshot-log.ts) are entries in JSON.
 */
export class AlertOutbox {
  readonly state = new OutboxState()
  readonly #options: OutboxOptions
  readonly #log: SnapshotLog
  #trouble = ''

  constructor(options: OutboxOptions) {
    this.#options = options
    const { dir, incidents, files } = options
    this.#log = new SnapshotLog({
      dir,
      fsync: 'group',
      rotateBytes,
      snapshot: () => this.#frames(),
      damaged: (sentence, bytes) => incidents.report('notify_damaged', sentence, { bytes }),
      ...(files && { files }),
    })
  }

  /** Why entries cannot be written; empty while they can. */
  get trouble(): string {
    return this.#trouble
  }

  /** Resolves with false when this is the first start. Rejects when the disk cannot be read. */
  async start(): Promise<boolean> {
    const isKnown = await this.#log.load(body => this.state.apply(JSON.parse(body.toString()) as OutboxEntry))
    if (!isKnown) this.#log.begin()
    return isKnown
  }

  /** Resolves when the remaining entries are on disk, or refused. */
  async stop(): Promise<void> {
    await this.#log.close()
  }

  /**
   * Applies an entry once it is on disk. A disk that refuses is tried again until the signal aborts; then this rejects
   * with `stopping`, and nothing was applied.
   */
  async record(entry: OutboxEntry, signal: AbortSignal): Promise<void> {
    const body = Buffer.from(JSON.stringify(entry))
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        await this.#append(body, entry)
        this.#trouble = ''
        return
      } catch (error) {
        if (this.#trouble === '')
          this.#options.log.warn(`notifications wait for the disk: ${describe(error)}; retrying`)
        this.#trouble = describe(error)
        await pause(backoffMs(attempt), signal)
      }
    }
    throw new HubError('stopping', 'the hub stops')
  }

  #append(body: Buffer, entry: OutboxEntry): Promise<void> {
    return new Promise((resolve, reject) =>
      // Applied in the callback, so that a snapshot of a later group holds what earlier groups have written.
      this.#log.append(body, error => {
        if (error) return reject(error)
        this.state.apply(entry)
        resolve()
      }),
    )
  }

  *#frames(): Generator<Buffer> {
    for (const entry of this.state.snapshot()) yield Buffer.from(JSON.stringify(entry))
  }
}
