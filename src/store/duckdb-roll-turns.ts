import { describe, HubError } from '../errors.js'
import { SerialQueue } from '../runtime/serial-queue.js'
import type { DuckDbFile } from './duckdb-file.js'
import type { Roller } from './duckdb-roller.js'

/** Times between two turns: at the start, when nothing is left, and after a failure. */
const firstMs = 10_000
const idleMs = 2_000
const failedMs = 30_000
/**
 * Turns take at most this part of the time, so that writes and questions have theirs: while more than so many values a
 * second are written, and else.
 */
const shareWhenBusy = 0.1
const shareWhenCalm = 0.5
const busyPerSecond = 2_000

/** The part of a store that the turns need. */
export interface RollingStore {
  /** Undefined: whoever reads or writes opens the file. */
  readonly file: () => DuckDbFile | undefined
  /** Closes the file after an error, which undoes open transactions. */
  readonly failed: (error: unknown) => Promise<void>
  /** Whether turns are made without being asked for. */
  readonly isAutomatic: boolean
}

/** Gives the roll-ups their turns: begun between two writes, and made beside them. */
export class RollUpTurns {
  readonly #roller: Roller
  readonly #writes: SerialQueue
  readonly #store: RollingStore
  readonly #turns = new SerialQueue()
  #underWay: Promise<unknown> = Promise.resolve()
  #tookMs = 0
  #seen = { values: 0, at: performance.now() }
  #timer: NodeJS.Timeout | undefined
  #isRunning = false

  constructor(roller: Roller, writes: SerialQueue, store: RollingStore) {
    this.#roller = roller
    this.#writes = writes
    this.#store = store
  }

  /** Makes turns from now on without being asked, where the store wants that. */
  start(): void {
    this.#isRunning = this.#store.isAutomatic
    this.#after(firstMs)
  }

  stop(): void {
    this.#isRunning = false
    clearTimeout(this.#timer)
  }

  /**
   * Resolves when no turn is under way any more: to be awaited between two writes, where no turn begins, by whoever
   * changes roll-ups or needs the whole file.
   */
  async idle(): Promise<void> {
    await this.#underWay
  }

  /**
   * Makes one turn. Resolves with whether there is more to do at once. Rejects with `store_unavailable`: nothing of the
   * turn is done.
   */
  turn(): Promise<boolean> {
    return this.#turns.run(async () => {
      try {
        const turn = await this.#writes.run(() => this.#begin())
        return turn === undefined ? false : await turn.isMore
      } catch (error) {
        await this.#writes.run(() => this.#store.failed(error))
        throw new HubError('store_unavailable', `DuckDB did not roll up readings: ${describe(error)}`, { cause: error })
      }
    })
  }

  async #begin(): Promise<{ readonly isMore: Promise<boolean> } | undefined> {
    const file = this.#store.file()
    if (!file) return undefined
    const began = performance.now()
    const step = await this.#roller.begin(file)
    const isMore = typeof step === 'boolean' ? Promise.resolve(step) : this.#roller.advance(file, step)
    this.#underWay = isMore
      .catch(() => {})
      .then(() => {
        this.#tookMs = performance.now() - began
      })
    return { isMore }
  }

  /** Whether much was written since the last look. */
  #isBusy(): boolean {
    const [values, at] = [this.#roller.values, performance.now()]
    const perSecond = ((values - this.#seen.values) * 1_000) / (at - this.#seen.at)
    this.#seen = { values, at }
    return perSecond > busyPerSecond
  }

  #after(ms: number): void {
    if (!this.#isRunning) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.#next(), ms)
    this.#timer.unref()
  }

  async #next(): Promise<void> {
    try {
      const isMore = await this.turn()
      await this.#underWay
      const share = this.#isBusy() ? shareWhenBusy : shareWhenCalm
      this.#after(isMore ? this.#tookMs * (1 / share - 1) : idleMs)
    } catch {
      // The next write or question tells of a store that is away. Raw readings answer meanwhile.
      this.#after(failedMs)
    }
  }
}
