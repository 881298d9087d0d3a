import type { PendingPublish, QoS } from '../model.js'
import type { SpoolShares } from './spool-shares.js'

/** The part of the spool that ingest uses. */
export interface SpoolAppender {
  /** Appends a publish. Copies the needed parts of the payload before returning. */
  append<P extends PendingPublish>(
    publish: P,
    done: (publish: P, error: Error | undefined, sequence: number) => void,
  ): void
  readonly pendingBytes: number
}

export interface IngestOptions {
  readonly log: SpoolAppender
  /** Each user's part of the spool. */
  readonly shares: Pick<SpoolShares, 'fault' | 'took'>
  /** Most accepted bytes that wait for the disk. Beyond this no connection is read. */
  readonly budgetBytes: number
  /** Called when the overload is over. */
  readonly relieved: () => void
  /** Called with the payload bytes of each publish. */
  readonly received: (bytes: number) => void
  readonly accepted: (qos: QoS) => void
  /** Called at once for a publish of QoS 0 that need not wait for earlier ones: the sender waits for no answer. */
  readonly passed: (publish: PendingPublish) => void
  /**
   * Called once for each other publish, after the group commit and in the order of `accept`. With an error the publish
   * is not kept, and the sender must not be acknowledged; QoS 0 has no sender to inform. `sequence` is the place in the
   * spool, 0 for QoS 0.
   */
  readonly settled: (publish: PendingPublish, error: Error | undefined, sequence: number) => void
  /** Called for each publish that will not be kept, with the reason. */
  readonly refused: (publish: PendingPublish, reason: string) => void
}

/**
 * The entrance from the broker to the spool: every publish of a client goes through `accept` or is refused and counted.
 */
export class Ingest {
  readonly #options: IngestOptions
  #overloaded = false

  constructor(options: IngestOptions) {
    this.#options = options
  }

  accept(publish: PendingPublish, inOrder: boolean): void {
    const { log, shares, received, passed, budgetBytes } = this.#options
    received(publish.payload.length)
    const waits = publish.qos > 0 || inOrder
    const fault = shares.fault(publish)
    if (fault) {
      ;(waits ? this.#settle : this.#count)(publish, fault, 0)
      if (!waits) passed(publish)
      return
    }
    shares.took(publish)
    log.append(publish, waits ? this.#settle : this.#count)
    if (!waits) passed(publish)
    if (log.pendingBytes > budgetBytes) this.#overloaded = true
  }

  // One callback for all publishes, as many may be on their way to the disk.
  readonly #settle = (publish: PendingPublish, error: Error | undefined, sequence: number): void => {
    this.#count(publish, error)
    if (publish.qos > 0) this.#options.settled(publish, error, sequence)
    else this.#options.settled(publish, undefined, 0)
  }

  readonly #count = (publish: PendingPublish, error: Error | undefined): void => {
    if (error) this.#options.refused(publish, reasonOf(error))
    else this.#options.accepted(publish.qos)
  }

  /** Whether so much waits for the disk that nothing more should be read. */
  get overloaded(): boolean {
    return this.#overloaded
  }

  /** Called after each group, committed or refused. Ends the overload once half of the budget is free again. */
  settled(): void {
    if (!this.#overloaded || this.#options.log.pendingBytes > this.#options.budgetBytes / 2) return
    this.#overloaded = false
    this.#options.relieved()
  }
}

function reasonOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : 'internal'
}
