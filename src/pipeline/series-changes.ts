import { HubError } from '../errors.js'
import type { HeldStore, SeriesChange, TimeSeriesStore } from '../store/store.js'
import type { Dependencies } from './dependencies.js'
import type { Replays } from './replay.js'
import type { SeriesGuard } from './series-guard.js'

export interface SeriesChangesOptions {
  readonly store: TimeSeriesStore
  readonly guard: SeriesGuard
  readonly dependencies: Dependencies
  readonly replays: Replays
}

/** Changes the store as a whole: renames, drops and retypes series, and holds the file for a copy. */
export class SeriesChanges {
  readonly #options: SeriesChangesOptions

  constructor(options: SeriesChangesOptions) {
    this.#options = options
  }

  /**
   * Resolves when the store has made the change. A new type begins a replay of the dead letters that may fit it;
   * resolves with false when another job is under way, so that the replay is left to do.
   */
  async change(change: SeriesChange): Promise<boolean> {
    const { store, guard, dependencies, replays } = this.#options
    await dependencies.ask('store', () => store.change(change))
    if (change.kind === 'drop') guard.forget(change.series)
    if (change.kind !== 'retype') return true
    try {
      replays.begin({ kind: 'replay', filter: { reason: 'type_conflict' } })
      return true
    } catch (error) {
      if (error instanceof HubError && error.code === 'busy') return false
      throw error
    }
  }

  /** Holds the file of the store for a copy. Undefined when the store is not a file of the hub. */
  async hold(ms: number): Promise<HeldStore | undefined> {
    return this.#options.store.hold?.(ms)
  }

  async release(): Promise<void> {
    await this.#options.store.release?.()
  }
}
