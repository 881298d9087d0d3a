import { join } from 'node:path'
import {
  type KeepTimes,
  keepAllowed,
  keepTimes,
  ordered,
  type Settings,
  showKeep,
  type Tier,
} from '../../config/settings.js'
import { describe, HubError } from '../../errors.js'
import type { SentenceLog } from '../../observe/log.js'
import type { StoreNumbers } from '../../observe/metrics.js'
import type { Part } from '../../runtime/lifecycle.js'
import type { MillisecondClock } from '../../runtime/time.js'
import type { DropRow, RollUpProgress, StoreSize, TimeSeriesStore } from '../../store/store.js'
import type { Dependencies } from '../dependencies.js'
import type { Mapping } from '../mapping.js'
import { Expiry } from './expiry.js'
import { type Forecast, forecast, type TierRate, withTimes } from './forecast.js'
import { InfluxExpiry } from './influx-expiry.js'
import { KeepRules } from './keep-rules.js'
import { TrustedClock } from './trusted-clock.js'

export interface RetentionOptions {
  readonly settings: Settings
  readonly dir: string
  readonly store: TimeSeriesStore
  readonly mapping: Mapping
  readonly dependencies: Pick<Dependencies, 'isUp'>
  readonly log: SentenceLog
  /** Milliseconds since the epoch, and of a clock that never jumps. */
  readonly wall?: MillisecondClock
  readonly monotonic?: MillisecondClock
}

/** Interval of looks at the clock and the size, and of passes. */
const lookEveryMs = 60_000
const passEveryMs = 3_600_000
/** After the start the store is busy with other things. */
const firstMs = 15_000

const dayUs = 86_400_000_000
/** Days from which the rates are taken. */
const rateDays = 7

/** Share of store.limit, in percent, from which on there is an alarm. */
const alarmPercent = 90

/** Readings that retention has deleted, all days together. Times in microseconds since the epoch. */
export interface Expired {
  readonly readings: number
  readonly series: number
  readonly from: number
  readonly to: number
}

/** State of the store, for people. Times in microseconds since the epoch. */
export interface StoreReport {
  readonly kind: 'duckdb' | 'influxdb'
  readonly keep: string
  readonly limit: number
  readonly size: StoreSize | undefined
  /** Progress of the roll-ups. Undefined: the store has none. */
  readonly rolledUp?: RollUpProgress
  readonly tiers: readonly (TierRate & { readonly bytes: number; readonly oldest?: number; readonly newest?: number })[]
  readonly dropped: readonly DropRow[]
  /** Why nothing is deleted just now. */
  readonly held: string | undefined
  readonly forecast: Forecast | undefined
}

/** Deletes readings that were kept long enough, and knows how large the store is and will be. */
export class ReadingRetention implements Part {
  readonly name = 'retention'
  readonly #options: RetentionOptions
  readonly #clock: TrustedClock
  readonly #monotonic: MillisecondClock
  readonly #expiry: Expiry | undefined
  readonly #influx: InfluxExpiry | undefined
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> | undefined
  #passedAt = Number.NEGATIVE_INFINITY
  #hasLearnt = false
  #held: string | undefined
  #trouble: string | undefined
  #size: StoreSize | undefined
  #rolledUp: RollUpProgress | undefined
  #dropped: readonly DropRow[] = []

  constructor(options: RetentionOptions) {
    const { settings, dir, store, mapping, log, wall = Date, monotonic = performance } = options
    this.#options = options
    this.#clock = new TrustedClock(wall, monotonic)
    this.#monotonic = monotonic
    const keep = settings['store.keep']
    const rules = new KeepRules(mapping, keep)
    if (store.retention)
      this.#expiry = new Expiry({ store: store.retention, rules, limit: settings['store.limit'], log })
    if (!store.policies) return
    const alters = settings['influx.retention'] === 'alter'
    const path = join(dir, 'influx-retention.json')
    this.#influx = new InfluxExpiry({ policies: store.policies, keep, alters, path, log })
    if (rules.hasTimes || Object.keys(keep).some(tier => tier !== 'raw') || settings['store.limit'] > 0)
      log.warn(
        'with InfluxDB only raw of store.keep counts: keep of mapping rules, 1m, 1h, 1d and store.limit are for the embedded store',
      )
  }

  start(): void {
    this.#timer = setTimeout(() => this.#tick(), firstMs)
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#expiry?.stop()
    await this.#running
  }

  /** Returns a sentence while the store is near the limit, or is not kept as the settings say. */
  alarm(): string | undefined {
    const limit = this.#options.settings['store.limit']
    const percent = limit > 0 && this.#size ? Math.floor((this.#size.used / limit) * 100) : 0
    if (percent >= alarmPercent) {
      return (
        `the store uses ${percent} % of store.limit; beyond it the oldest days of raw readings are deleted, but never today ` +
        'and yesterday: raise store.limit, or keep less (store.keep)'
      )
    }
    return this.#influx?.alarm ?? this.#trouble
  }

  /** Readings that were deleted so far. Undefined: none. */
  get expired(): Expired | undefined {
    if (this.#dropped.length === 0) return undefined
    return {
      readings: this.#dropped.reduce((sum, { readings }) => sum + readings, 0),
      series: Math.max(...this.#dropped.map(({ series }) => series)),
      from: Math.min(...this.#dropped.map(({ first }) => first)),
      to: Math.max(...this.#dropped.map(({ last }) => last)),
    }
  }

  /** Numbers for the metrics. */
  get numbers(): StoreNumbers {
    const dropped = new Map<string, { tier: string; why: string; readings: number }>()
    for (const { tier, why, readings } of this.#dropped) {
      const key = `${tier} ${why}`
      dropped.set(key, { tier, why, readings: readings + (dropped.get(key)?.readings ?? 0) })
    }
    return {
      ...{ bytes: this.#size?.bytes, used: this.#size?.used, dropped: [...dropped.values()] },
      ...(this.#rolledUp && { rolledUp: { behind: this.#rolledUp.behind / 1e6, waiting: this.#rolledUp.waiting } }),
    }
  }

  /**
   * Returns what the store has, and what will be needed.
   *
   * @param keep Times to compute with in place of those of `store.keep`, as a text. Rejects with `bad_request` when it is
   *   none.
   */
  async report(keep?: string): Promise<StoreReport> {
    const { settings, store } = this.#options
    const usual = settings['store.keep']
    const limit = settings['store.limit']
    const asked = keep === undefined ? {} : keepTimes(keep)
    if (!asked) throw new HubError('bad_request', `keep: given ${JSON.stringify(keep)}, allowed are ${keepAllowed}`)
    const given = ordered(withTimes(usual, asked))
    const rest = { keep: showKeep(given), limit, dropped: this.#dropped, held: this.#held }
    const { retention } = store
    if (!retention) return { kind: 'influxdb', size: undefined, tiers: [], forecast: undefined, ...rest }
    const size = await retention.size()
    const rolledUp = await retention.rolledUp()
    const tables = await retention.tables()
    const { classes } = await retention.state()
    const to = Date.now() * 1_000
    const oldest = Math.min(...tables.map(table => table.oldest ?? to))
    const from = Math.max(to - rateDays * dayUs, Math.min(oldest, to - dayUs / 24))
    const rates = await retention.rates(from, to)
    const allRows = tables.reduce((sum, { rows }) => sum + rows, 0)
    const tiers = tables.map(({ tier, rows, bytes, oldest, newest }) => ({
      tier: tier as Tier,
      ...{ rows, bytes },
      ...(oldest !== undefined && { oldest }),
      ...(newest !== undefined && { newest }),
      days: oldest === undefined ? 0 : Math.max(0, (to - oldest) / dayUs),
      // What is in the log alone has no blocks yet.
      bytesPerRow: bytes > 0 ? bytes / rows : size.used / Math.max(1, allRows),
      classes: rates
        .filter(rate => rate.tier === tier)
        .map(({ retentionClass, perDay }) => {
          const own = classes.find(({ id }) => id === retentionClass && id !== 0)
          return { perDay, keep: own ? (keepTimes(own.keep) as KeepTimes) : given }
        }),
    }))
    const other = Math.max(0, size.used - tables.reduce((sum, { bytes }) => sum + bytes, 0))
    const room = Math.min(limit || Number.POSITIVE_INFINITY, size.bytes + size.diskFree)
    return { kind: 'duckdb', size, rolledUp, tiers, forecast: forecast(tiers, other, room), ...rest }
  }

  #tick(): void {
    this.#running = this.look().finally(() => {
      this.#running = undefined
      if (this.#timer !== undefined) this.#timer = setTimeout(() => this.#tick(), lookEveryMs)
    })
  }

  /** Looks once at clock and size, and makes a pass when one is due. Never rejects. */
  async look(): Promise<void> {
    const { settings, store, log, dependencies } = this.#options
    try {
      const { retention } = store
      if (retention && !this.#hasLearnt) {
        const { seen } = await retention.state()
        const newest = seen ?? largest((await retention.tables()).map(table => table.newest))
        this.#clock.learn(newest === undefined ? undefined : newest / 1_000)
        this.#dropped = await retention.dropped()
        this.#hasLearnt = true
      }
      if (retention) {
        this.#size = await retention.size()
        this.#rolledUp = await retention.rolledUp()
      }
      const time = this.#clock.look()
      const isNeeded = Object.keys(settings['store.keep']).length > 0 || settings['store.limit'] > 0
      this.#held = 'why' in time ? time.why : undefined
      if ('why' in time) {
        this.#hold(isNeeded ? `nothing is deleted from the store: ${time.why}` : undefined)
        return
      }
      const limit = settings['store.limit']
      const isFull = limit > 0 && this.#size !== undefined && this.#size.used > limit
      if (!isFull && this.#monotonic.now() - this.#passedAt < passEveryMs) return
      if (!store.retention && !dependencies.isUp('store')) return
      const now = time.now * 1_000
      await this.#influx?.pass(now)
      await this.#expiry?.pass(now)
      this.#passedAt = this.#monotonic.now()
      if (retention) {
        this.#size = await retention.size()
        this.#dropped = await retention.dropped()
      }
      this.#trouble = undefined
    } catch (error) {
      const detail = `old readings cannot be deleted just now: ${describe(error)}`
      if (this.#trouble !== detail) log.warn(detail)
      this.#trouble = detail
    }
  }

  /** Notes why nothing is deleted, and logs that once. */
  #hold(trouble: string | undefined): void {
    if (trouble !== undefined && this.#trouble === undefined) this.#options.log.warn(trouble)
    this.#trouble = trouble
  }
}

function largest(times: readonly (number | undefined)[]): number | undefined {
  return times.reduce((found, time) => (time !== undefined && time > (found ?? time - 1) ? time : found), undefined)
}
