import type { Publish, QoS } from '../model.js'

/** What ingest needs of the spool. */
export interface Log {
  /** Copies what it needs of the payload before it returns. */
  append(publish: Publish, done?: (error: Error | undefined, sequence: number) => void): void
  readonly pendingBytes: number
  readonly full: boolean
}

export interface IngestOptions {
  readonly log: Log
  /** Accepted bytes that may wait for the disk; past it no connection is read. */
  readonly budgetBytes: number
  /** The overload is over. */
  readonly relieved: () => void
  readonly accepted: (qos: QoS, bytes: number) => void
  /** A QoS 0 publish that will not be kept, and why. */
  readonly refused: (qos: QoS, reason: string) => void
}

/** The door between broker and spool: every publish of a client goes through `accept` or is refused and counted. */
export class Ingest {
  readonly #options: IngestOptions
  #overloaded = false

  constructor(options: IngestOptions) {
    this.#options = options
  }

  /**
   * `done` runs without an error when the publish may be acknowledged: QoS 1 and 2 after the group commit, in the
   * order of the calls; QoS 0 at once, since nobody waits for it. With an error it is not kept; the sender of a
   * QoS 1 or 2 publish must not be acknowledged. `sequence` is its place in the spool, 0 for QoS 0.
   */
  accept(publish: Publish, done: (error: Error | undefined, sequence: number) => void): void {
    const { log, accepted, refused } = this.#options
    const { qos, payload } = publish
    if (qos > 0) {
      log.append(publish, (error, sequence) => {
        if (error) refused(qos, reasonOf(error))
        else accepted(qos, payload.length)
        done(error, sequence)
      })
    } else if (log.full) {
      refused(qos, 'spool_full')
      done(undefined, 0)
    } else {
      log.append(publish, error => (error ? refused(qos, reasonOf(error)) : accepted(qos, payload.length)))
      done(undefined, 0)
    }
    if (log.pendingBytes > this.#options.budgetBytes) this.#overloaded = true
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
