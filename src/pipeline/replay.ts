import type { JobProgress } from '../contract/contract.js'
import { describe, HubError } from '../errors.js'
import type { DeadLetter, Message } from '../model.js'
import type { DeadLetterFilter, DeadLetters } from '../queue/queue.js'
import { RestedSlices } from '../runtime/slices.js'
import type { TrialMappings } from './own-rules/trial-mappings.js'
import type { KeptMessages, Past, ReplayHandler } from './past/kept-messages.js'
import { MappingComparison } from './past/mapping-diff.js'
import type { PastSwap, SwapJob, SwapProgress } from './past/past-swap.js'
import { isDone } from './recorder.js'

export type ReplayJob =
  /** Handles dead letters again, and removes those that are stored now. */
  | { readonly kind: 'replay'; readonly filter: DeadLetterFilter }
  /** Removes dead letters for good. */
  | { readonly kind: 'drop'; readonly filter: DeadLetterFilter }
  /** Handles messages again that the spool has kept. */
  | { readonly kind: 'past'; readonly past: Past }
  /** Reads messages of the past with other rules of the hub, and stores nothing. */
  | { readonly kind: 'diff'; readonly past: Past; readonly rules: readonly unknown[] }
  | SwapJob

/** Accounts for dead letters that are none any more. Implemented by the ledgers. */
export interface LetterAccount {
  /** Resolves when the account of the letters is durable. */
  moved(letters: readonly DeadLetter[], to: 'stored' | 'dropped'): Promise<void>
}

export interface ReplaysOptions {
  readonly dead: DeadLetters
  readonly handler: ReplayHandler
  readonly account: LetterAccount
  readonly kept: KeptMessages
  readonly trials: Pick<TrialMappings, 'trial' | 'withOwn'>
  readonly swap: Pick<PastSwap, 'taskOf'>
}

/** Handles messages once more: dead letters after a fix, or the raw past under a new mapping. One job at a time. */
export class Replays implements SwapProgress {
  readonly #options: ReplaysOptions
  #abort = new AbortController()
  #running: Promise<void> = Promise.resolve()
  #job = 0
  #progress: JobProgress = { done: 0, stored: 0, dropped: 0, kept: 0, finished: true }

  constructor(options: ReplaysOptions) {
    this.#options = options
  }

  /** Begins a job, and returns the number of the job. */
  begin(job: ReplayJob): number {
    if (!this.#progress.finished) {
      throw new HubError(
        'busy',
        `another replay is running (${this.#progress.done} messages done); wait until it ends`,
        { said: { code: 'replay-runs', values: {} } },
      )
    }
    const task = this.#taskOf(job)
    this.#abort = new AbortController()
    this.#progress = { done: 0, stored: 0, dropped: 0, kept: 0, finished: false }
    this.#running = task(this.#abort.signal).then(
      () => this.report({ finished: true }),
      error => this.report({ finished: true, error: describe(error) }),
    )
    return ++this.#job
  }

  progress(job: number): JobProgress {
    if (job !== this.#job) throw new HubError('not_found', 'that replay has ended, and another one has begun')
    return this.#progress
  }

  /** Ends a job between two batches. */
  cancel(job: number): void {
    if (job === this.#job) this.#abort.abort()
  }

  async stop(): Promise<void> {
    this.#abort.abort()
    await this.#running
  }

  /** Returns what carries out a job. Throws `bad_request` when the job has mistakes. */
  #taskOf(job: ReplayJob): (signal: AbortSignal) => Promise<void> {
    const { trials } = this.#options
    if (job.kind === 'swap') return this.#options.swap.taskOf(job, this)
    if (job.kind !== 'diff') return signal => this.#run(job, signal)
    const comparison = new MappingComparison(trials.trial(), trials.withOwn(job.rules))
    return signal => this.#compare(job.past, comparison, signal)
  }

  async #run(job: Exclude<ReplayJob, { kind: 'diff' | 'swap' }>, signal: AbortSignal): Promise<void> {
    const { dead } = this.#options
    if (job.kind === 'replay') await dead.sweep(job.filter, letters => this.#replay(letters), signal)
    else if (job.kind === 'drop') await dead.sweep(job.filter, letters => this.#drop(letters), signal)
    else {
      for await (const messages of this.#past(job.past, signal)) {
        const stored = (await this.#options.handler.handle(messages)).filter(isDone).length
        this.add({ done: messages.length, stored, kept: messages.length - stored })
        if (signal.aborted) break
      }
    }
    if (signal.aborted) throw new HubError('stopping', 'cancelled')
  }

  #past(past: Past, signal: AbortSignal): AsyncIterable<readonly Message[]> {
    const { total, batches } = this.#options.kept.past(past, signal)
    this.report({ total })
    return batches
  }

  /** Compares in slices with rests as long: what arrives meanwhile comes first. */
  async #compare(past: Past, comparison: MappingComparison, signal: AbortSignal): Promise<void> {
    const slices = new RestedSlices(() => {
      if (signal.aborted) throw new HubError('stopping', 'cancelled')
    })
    for await (const messages of this.#past(past, signal)) {
      for (const message of messages) {
        if (slices.isOver) await slices.turn()
        comparison.add(message)
      }
      this.add({ done: messages.length })
    }
    if (signal.aborted) throw new HubError('stopping', 'cancelled')
    this.report({ diff: comparison.result() })
  }

  async #replay(letters: readonly DeadLetter[]): Promise<readonly boolean[]> {
    const outcomes = await this.#options.handler.handleLetters(letters)
    // Cancelled meanwhile: the letters stay where they are, so they must not be counted as removed.
    if (this.#abort.signal.aborted) throw new HubError('stopping', 'cancelled')
    const isStored = letters.map((_, i) => isDone(outcomes[i]))
    const stored = letters.filter((_, i) => isStored[i])
    await this.#options.account.moved(stored, 'stored')
    this.add({ done: letters.length, stored: stored.length, kept: letters.length - stored.length })
    return isStored
  }

  async #drop(letters: readonly DeadLetter[]): Promise<readonly boolean[]> {
    if (this.#abort.signal.aborted) throw new HubError('stopping', 'cancelled')
    await this.#options.account.moved(letters, 'dropped')
    this.add({ done: letters.length, dropped: letters.length })
    return letters.map(() => true)
  }

  add({ done, stored = 0, dropped = 0, kept = 0 }: Partial<JobProgress> & { readonly done: number }): void {
    const before = this.#progress
    this.report({
      done: before.done + done,
      stored: before.stored + stored,
      dropped: before.dropped + dropped,
      kept: before.kept + kept,
    })
  }

  report(change: Partial<JobProgress>): void {
    this.#progress = { ...this.#progress, ...change }
  }
}
