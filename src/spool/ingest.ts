import type { PendingPublish, QoS } from '../model.js'
import type { SpoolShares } from './spool-shares.js'

/** What ingest needs of the spool. */
export interface Log {
  /** Copies what it needs of the payload before it returns. */
  append<P extends PendingPublish>(
    publish: P,
    done: (publish: P, error: Error | undefined, sequence: number) => void,
  ): void
  readonly pendingBytes: number
}

export interface IngestOptions {
  readonly log: Log
  /** What of the spool is of which user. */
  readonly shares: Pick<SpoolShares, 'fault' | 'took'>
  /** Accepted bytes that may wait for the disk; past it no connection is read. */
  readonly budgetBytes: number
  /** The overload is over. */
  readonly relieved: () => void
  /** A publish with so many bytes of payload came. */
  readonly received: (bytes: number) => void
  readonly accepted: (qos: QoS) => void
  /** A publish of QoS 0 that waits for none before it: at once, as its sender waits for no answer. */
  readonly passed: (publish: PendingPublish) => void
  /**
   * Each other publish, once, after the group commit and in the order of `accept`. With an error it is not kept, and its
   * sender must not be acknowledged; QoS 0 has no sender to tell. `sequence` is its place in the spool, 0 for QoS 0.
   */
  readonly settled: (publish: PendingPublish, error: Error | undefined, sequence: number) => void
  /** A publish that will not be kept, and why. */
  readonly refused: (publish: PendingPublish, reason: string) => void
}

/** The door between broker and spool: every publish of a client goes through `accept` or is refused and counted. */
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

  // One callback for all publishes: there may be many on their way to the disk.
  readonly #settle = (publish: PendingPublish, error: Error | undefined, sequence: number): void => {
    this.#count(publish, error)
    if (publish.qos > 0) this.#options.settled(publish, error, sequence)
    else this.#options.settled(publish, undefined, 0)
  }

  readonly #count = (publish: PendingPublish, error: Error | undefined): void => {
    if (error) this.#options.refused(publish, reasonOf(error))
    else this.#options.accepted(publish.qos)
  }

  /** So much waits for the disk that nothing more should be read. */
  get overloaded(): boolean {
    return this.#overloaded
  }

  /** After each group, committed or refused: ends the overload once half of the budget is free again. */
  settled(): void {
    if (!this.#overloaded || this.#options.log.pendingBytes > this.#options.budgetBytes / 2) return
    this.#overloaded = false
    this.#options.relieved()
  }
}

function reasonOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : 'internal'
}
