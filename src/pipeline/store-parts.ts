import { join } from 'node:path'
import type { Settings } from '../config/settings.js'
import { HubError } from '../errors.js'
import { NightlyExport } from '../export/nightly.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { Part } from '../runtime/lifecycle.js'
import { retryForever } from '../runtime/retry.js'
import type { TimeSeriesStore } from '../store/store.js'
import type { Dependencies } from './dependencies.js'
import { Refill, type RefillOptions } from './refill.js'
import { ReadingRetention, type RetentionOptions } from './retention/retention.js'

const probeEveryMs = 2_000

/** Returns what fills the store of the settings again, when somebody has emptied it. */
export function refillOf(settings: Settings, dir: string, options: Omit<RefillOptions, 'kind' | 'path'>): Refill {
  return new Refill({ ...options, kind: settings['influx.url'] ? 'influxdb' : 'duckdb', path: join(dir, 'store.json') })
}

/** Returns what deletes readings that were kept long enough. */
export function retentionOf(settings: Settings, dir: string, options: Omit<RetentionOptions, 'settings' | 'dir'>) {
  return new ReadingRetention({ settings, dir, ...options })
}

/** Returns the parts that start the store, see whether the store answers, and write ended days to a folder. */
export function storeParts(
  settings: Settings,
  store: TimeSeriesStore,
  dependencies: Dependencies,
  incidents: IncidentReporter,
): readonly Part[] {
  const days = store.rows?.days
  return [
    new StoreStart(settings, store, dependencies),
    new StoreProbe(store, dependencies),
    ...(days ? [new NightlyExport({ days, incidents })] : []),
  ]
}

/** Starts the store. A store that cannot be opened now does not keep the hub from starting: the spool waits for it. */
class StoreStart implements Part {
  readonly name = 'store'
  readonly #settings: Settings
  readonly #store: TimeSeriesStore
  readonly #dependencies: Dependencies

  constructor(settings: Settings, store: TimeSeriesStore, dependencies: Dependencies) {
    this.#settings = settings
    this.#store = store
    this.#dependencies = dependencies
  }

  async start(): Promise<void> {
    try {
      await this.#store.start()
      // The start contacts no server.
      if (!this.#settings['influx.url']) this.#dependencies.heard('store', true)
    } catch (error) {
      if (!(error instanceof HubError) || error.code !== 'store_unavailable') throw error
      this.#dependencies.heard('store', false, error.message)
    }
  }

  stop(): Promise<void> | void {
    return this.#store.stop()
  }
}

/**
 * Probes the store by a query with an empty answer, so that its state is known without anything to write or to query.
 */
class StoreProbe implements Part {
  readonly name = 'store probe'
  readonly #store: TimeSeriesStore
  readonly #dependencies: Dependencies
  #timer: NodeJS.Timeout | undefined

  constructor(store: TimeSeriesStore, dependencies: Dependencies) {
    this.#store = store
    this.#dependencies = dependencies
  }

  start(): void {
    this.#probe()
    this.#timer = setInterval(() => this.#probe(), probeEveryMs)
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #probe(): void {
    if (this.#dependencies.isUp('store')) return
    const series = { measurement: 'telehub', tags: [], field: 'probe' }
    const question = () => this.#store.history({ series, from: 0, to: 1, points: 1, fn: 'last' })
    this.#dependencies.ask('store', question).catch(() => {})
  }
}

/** Refills the store at the start, also when no new message arrives. */
export class StoreRefill implements Part {
  readonly name = 'refill'
  readonly #refill: Refill
  readonly #dependencies: Dependencies
  readonly #abort = new AbortController()

  constructor(refill: Refill, dependencies: Dependencies) {
    this.#refill = refill
    this.#dependencies = dependencies
  }

  start(): void {
    const { name } = this
    const dependencies = this.#dependencies
    this.#refill.start()
    retryForever(() => this.#refill.ready(), {
      signal: this.#abort.signal,
      circuitOf: error => dependencies.circuitOf(error),
      retrying: (error, circuit) => dependencies.retrying(name, error, circuit),
      recovered: () => dependencies.recovered(name),
    })
  }

  stop(): Promise<void> {
    this.#abort.abort()
    return this.#refill.stop()
  }
}
