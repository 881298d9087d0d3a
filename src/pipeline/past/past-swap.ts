import type { JobProgress } from '../../contract/contract.js'
import { HubError } from '../../errors.js'
import type { Message, Point } from '../../model.js'
import { RestedSlices } from '../../runtime/slices.js'
import type { ReadingSwaps, SwapState, SwapStep, TimeSeriesStore } from '../../store/store.js'
import { matches } from '../../topics.js'
import type { Dependencies } from '../dependencies.js'
import type { Mapping } from '../mapping.js'
import type { TrialMappings } from '../own-rules/trial-mappings.js'
import type { SettledSource } from '../refill.js'
import type { SeriesGuard } from '../series-guard.js'
import type { KeptMessages, Past, ReplayHandler } from './kept-messages.js'

/**
 * A step of putting other rules of the hub into force for the past, or of taking that back:
 *
 * - `swap`: the readings of the past are replaced, while the rules before are still in force. Done once for an `id`.
 * - `rest`: what arrived until the other rules were in force is replaced, too.
 * - `forget`: nothing is kept for an undo any more.
 */
export interface SwapJob {
  readonly kind: 'swap'
  readonly id: string
  readonly step: 'swap' | 'rest' | 'forget'
  readonly isUndo: boolean
  /** The rules of the hub that the messages were stored by, and those that they are to be stored by. */
  readonly before: readonly unknown[]
  readonly after: readonly unknown[]
  readonly past: Past
}

export interface PastSwapOptions {
  readonly store: TimeSeriesStore
  readonly trials: Pick<TrialMappings, 'withOwn'>
  readonly kept: KeptMessages
  readonly settled: SettledSource
  readonly guard: Pick<SeriesGuard, 'check'> | undefined
  readonly dependencies: Pick<Dependencies, 'ask'>
  /** Stores messages again, for a store that cannot replace readings. */
  readonly handler: Pick<ReplayHandler, 'handle'>
}

/** Takes what a step has done so far. Implemented by `Replays`. */
export interface SwapProgress {
  add(counts: Partial<JobProgress> & { readonly done: number }): void
  report(change: Partial<JobProgress>): void
}

/** Readings that are staged at once. */
const stagedAtOnce = 10_000

/** Replaces the readings of the past by those that other rules make, all at once where the store can. */
export class PastSwap {
  readonly #options: PastSwapOptions

  constructor(options: PastSwapOptions) {
    this.#options = options
  }

  /** Returns what carries out a step. Throws `bad_request` when the rules have mistakes. */
  taskOf(job: SwapJob, progress: SwapProgress): (signal: AbortSignal) => Promise<void> {
    const { trials, store } = this.#options
    const { swaps } = store
    const pair = { before: trials.withOwn(job.before), after: trials.withOwn(job.after) }
    if (!swaps) return signal => this.#again(job, progress, signal)
    if (job.step === 'forget') return () => this.#options.dependencies.ask('store', () => swaps.forget())
    return signal => this.#run(swaps, job, pair, progress, signal)
  }

  /** Stores the past again, where the store cannot do more: once the rules are in force. */
  async #again({ step, past }: SwapJob, progress: SwapProgress, signal: AbortSignal): Promise<void> {
    if (step !== 'rest') return
    const { kept, handler } = this.#options
    const { total, batches } = kept.past(past, signal)
    progress.report({ total })
    for await (const messages of batches) {
      const outcomes = await handler.handle(messages)
      const stored = outcomes.filter(outcome => outcome === 'ack' || outcome === 'ignored').length
      progress.add({ done: messages.length, stored, kept: messages.length - stored })
    }
    refuseCancelled(signal)
  }

  async #run(
    swaps: ReadingSwaps,
    job: SwapJob,
    pair: MappingPair,
    progress: SwapProgress,
    signal: AbortSignal,
  ): Promise<void> {
    const { kept, settled, dependencies } = this.#options
    const { id, step, isUndo, past } = job
    const own = isUndo ? `${id} undone` : id
    const state = await dependencies.ask('store', () => swaps.state())
    const isDone = state?.id === own
    if (step === 'swap' && isDone) return
    if (isUndo && !isDone && state?.id !== id)
      throw new HubError('not_found', 'the store has kept nothing of the readings before: an undo is not possible')
    // Read before the messages: what is settled by then was stored before.
    const above = isDone ? (state as SwapState).above : settled.settled
    await dependencies.ask('store', () => swaps.discard())
    try {
      if (!isDone && !isUndo) await dependencies.ask('store', () => swaps.forget())
      const later = isUndo || isDone ? kept.above((state as SwapState).above, signal) : undefined
      const { total, batches } = later ? { total: 0, batches: later } : kept.past(past, signal)
      if (total > 0) progress.report({ total })
      // All that arrived since is by the rules that are to go, whatever the span was.
      const isMeant = ({ receivedAt, topic }: Message) =>
        isUndo ||
        (receivedAt >= past.from && receivedAt < past.to && (past.topic === undefined || matches(past.topic, topic)))
      await this.#stage(swaps, { batches, isMeant, pair }, progress, signal)
      const kind: SwapStep['kind'] = isUndo ? (isDone ? 'rest of undo' : 'undo') : isDone ? 'rest' : 'swap'
      const { removed } = await dependencies.ask('store', () => swaps.commit({ id: own, above, kind }))
      progress.add({ done: 0, dropped: removed })
    } catch (error) {
      await swaps.discard().catch(() => {})
      throw error
    }
  }

  async #stage(
    swaps: ReadingSwaps,
    { batches, isMeant, pair }: StagedMessages,
    progress: SwapProgress,
    signal: AbortSignal,
  ): Promise<void> {
    const { guard, dependencies } = this.#options
    let made: Point[] = []
    let points: Point[] = []
    const stage = async () => {
      const [old, fresh] = [made, points]
      made = []
      points = []
      if (old.length + fresh.length > 0) await dependencies.ask('store', () => swaps.stage(old, fresh))
    }
    const slices = new RestedSlices(() => refuseCancelled(signal))
    for await (const messages of batches) {
      let [done, stored, rejected] = [0, 0, 0]
      for (const message of messages) {
        if (slices.isOver) await slices.turn()
        if (!isMeant(message)) continue
        done++
        const old = readBy(pair.before, message)
        const fresh = readBy(pair.after, message)
        const refused = fresh.isRefused || guard?.check(fresh.points, message) !== undefined
        if (refused) rejected++
        else stored++
        // What both make alike stays as it is.
        if (!refused && areSame(old.points, fresh.points) && areSame(old.kept, fresh.kept)) continue
        made.push(...old.points)
        if (!refused) points.push(...fresh.kept)
        if (made.length + points.length >= stagedAtOnce) await stage()
      }
      progress.add({ done, stored, kept: rejected })
    }
    refuseCancelled(signal)
    await stage()
  }
}

interface MappingPair {
  readonly before: Mapping
  readonly after: Mapping
}

interface StagedMessages {
  readonly batches: AsyncIterable<readonly Message[]>
  readonly isMeant: (message: Message) => boolean
  readonly pair: MappingPair
}

function refuseCancelled(signal: AbortSignal): void {
  if (signal.aborted) throw new HubError('stopping', 'cancelled')
}

/** Returns the points that a mapping makes of a message, and those of them that are stored. */
function readBy(mapping: Mapping, message: Message) {
  const read = mapping.read(message)
  if ('reason' in read) return { points: [], kept: [], isRefused: true }
  return { points: read.points, kept: mapping.thin(message.topic, read.points), isRefused: false }
}

function areSame(some: readonly Point[], others: readonly Point[]): boolean {
  const isSame = (one: readonly (readonly [string, unknown])[], other: readonly (readonly [string, unknown])[]) =>
    one.length === other.length && one.every(([name, value], i) => name === other[i]?.[0] && value === other[i]?.[1])
  return (
    some.length === others.length &&
    some.every((one, i) => {
      const other = others[i] as Point
      return (
        one.time === other.time &&
        one.measurement === other.measurement &&
        isSame(one.tags, other.tags) &&
        isSame(one.fields, other.fields)
      )
    })
  )
}
