import type { DurabilityListener, PendingPublish, PublishSink, Replay } from '../model.js'
import type { Counters } from '../observe/counters.js'
import type { RefusalCounts } from '../observe/refusal-counts.js'
import type { Backpressure, ReliefListener } from '../runtime/backpressure.js'
import type { Spool, SpoolListener, SpoolPosition } from './spool.js'
import type { SpoolShares } from './spool-shares.js'

export { spoolAlarms } from './spool-alarms.js'
export { spoolSettings } from './spool-settings.js'
export { SpoolShares } from './spool-shares.js'

export interface IngestOptions {
  readonly spool: Pick<Spool, 'append' | 'pendingBytes' | 'position' | 'flush' | 'replay'>
  /** Each user's part of the spool. */
  readonly shares: Pick<SpoolShares, 'fault' | 'took'>
  readonly counters: Counters
  readonly refusals: Pick<RefusalCounts, 'add'>
  /** Most accepted bytes that wait for the disk. Beyond this no connection is read. */
  readonly budgetBytes?: number
}

const usualBudgetBytes = 8e6

/**
 * The entrance from the broker to the spool: every publish of a client goes through `accept` or is refused and counted.
 */
export class Ingest implements PublishSink, Backpressure, SpoolListener {
  readonly #options: IngestOptions
  readonly #budgetBytes: number
  #listener: DurabilityListener | undefined
  #reliever: ReliefListener | undefined
  #overloaded = false

  constructor(options: IngestOptions) {
    this.#options = options
    this.#budgetBytes = options.budgetBytes ?? usualBudgetBytes
  }

  /** Sets what gets the result of each publish. */
  reportTo(listener: DurabilityListener): void {
    this.#listener = listener
  }

  relieves(listener: ReliefListener): void {
    this.#reliever = listener
  }

  accept(publish: PendingPublish, inOrder: boolean): void {
    const { spool, shares, counters } = this.#options
    counters.receivedBytes += publish.payload.length
    const waits = publish.qos > 0 || inOrder
    const fault = shares.fault(publish)
    if (fault) {
      ;(waits ? this.#settle : this.#count)(publish, fault, 0)
      if (!waits) this.#listener?.onPassed(publish)
      return
    }
    shares.took(publish)
    spool.append(publish, waits ? this.#settle : this.#count)
    if (!waits) this.#listener?.onPassed(publish)
    if (spool.pendingBytes > this.#budgetBytes) this.#overloaded = true
  }

  get sequence(): number {
    return this.#options.spool.position.sequence
  }

  flush(): Promise<void> {
    return this.#options.spool.flush()
  }

  replay(after: number): Replay {
    return this.#options.spool.replay(after)
  }

  // One callback for all publishes, as many may be on their way to the disk.
  readonly #settle = (publish: PendingPublish, error: Error | undefined, sequence: number): void => {
    this.#count(publish, error)
    if (publish.qos > 0 || publish.isAwaited) this.#listener?.onDurable(publish, error, sequence)
    else this.#listener?.onDurable(publish, undefined, 0)
  }

  readonly #count = (publish: PendingPublish, error: Error | undefined): void => {
    const { counters, refusals } = this.#options
    if (error) {
      const reason = reasonOf(error)
      counters.refuse(reason)
      refusals.add(publish.clientId, reason)
    } else counters.received[publish.qos]++
  }

  /** Whether so much waits for the disk that nothing more should be read. */
  get overloaded(): boolean {
    return this.#overloaded
  }

  onCommitted({ sequence }: SpoolPosition): void {
    this.#listener?.onCommitted(sequence)
  }

  /** Ends the overload once half of the budget is free again. */
  onSettled(): void {
    if (!this.#overloaded || this.#options.spool.pendingBytes > this.#budgetBytes / 2) return
    this.#overloaded = false
    this.#reliever?.onRelieved()
  }
}

function reasonOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : 'internal'
}
