import { setTimeout as sleep } from 'node:timers/promises'
import type { BalanceSheet, PipelineOffsets } from '../accounting/balance-sheet.js'
import { HubError } from '../errors.js'
import type { Cursors } from '../spool/cursors.js'
import type { SpoolPosition } from '../spool/spool.js'
import type { SpoolLag } from './consumers.js'
import { ProgressBook } from './progress-book.js'
import type { SettledSource } from './refill.js'

const mostBehindMs = 10_000
const askEveryMs = 20

/** How far the spool is filled and drained, as of now. */
export class SpoolProgress implements PipelineOffsets, SpoolLag {
  /** Whether messages go on into RabbitMQ. */
  readonly queued: boolean
  /** When messages passed, as far as that was noted. */
  readonly book = new ProgressBook()
  #committed: SpoolPosition = { segment: 1, end: 0, sequence: 0 }
  #cursors: Cursors | undefined

  constructor(queued: boolean) {
    this.queued = queued
  }

  /**
   * The group that drains the spool: the record consumer, or the bridge into RabbitMQ, where the record consumer takes
   * the messages.
   */
  get drain(): 'bridge' | 'record' {
    return this.queued ? 'bridge' : 'record'
  }

  /** The reading side of the spool. Throws `stopping` while there is none. */
  get cursors(): Cursors {
    if (!this.#cursors) throw notRunning()
    return this.#cursors
  }

  opened(cursors: Cursors, committed: SpoolPosition): void {
    this.#cursors = cursors
    this.#committed = committed
  }

  committed(position: SpoolPosition): void {
    this.#committed = position
    this.#cursors?.committed(position)
  }

  /** Notes how far messages have passed by now; `at` in milliseconds, `settled` by the balance sheet. */
  note(at: number, settled: number): void {
    if (!this.#cursors) return
    this.book.note({ at, onDisk: this.accepted, drained: this.drained, settled })
  }

  get accepted(): number {
    return this.#committed.sequence
  }

  get drained(): number {
    return this.cursors.reader(this.drain).settled.sequence - 1
  }

  get lag(): Readonly<Record<string, number>> {
    const { cursors } = this
    return Object.fromEntries(cursors.groups.map(group => [group, cursors.depth(group)]))
  }

  /** Resolves when the live consumer has handled everything accepted before the call, or ten seconds are over. */
  async caughtUp(): Promise<void> {
    const { accepted } = this
    const end = performance.now() + mostBehindMs
    const live = this.cursors.reader('live')
    while (live.settled.sequence <= accepted && performance.now() < end) await sleep(askEveryMs)
  }

  /** Deletes what is kept for replays only, as the disk is full. */
  giveUpKept(): void {
    this.#cursors?.giveUpKept()
  }
}

/** Knows up to which message everything is stored or rejected. */
export class SettledMessages implements SettledSource {
  readonly #balance: Pick<BalanceSheet, 'highest'>
  readonly #progress: SpoolProgress

  constructor(balance: Pick<BalanceSheet, 'highest'>, progress: SpoolProgress) {
    this.#balance = balance
    this.#progress = progress
  }

  get settled(): number {
    // Messages that the bridge has drained wait in RabbitMQ.
    return Math.max(this.#balance.highest, this.#progress.queued ? 0 : this.#progress.drained)
  }
}

export function notRunning(): HubError {
  return new HubError('stopping', 'the hub is starting or stopping; try again')
}
