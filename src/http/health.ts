import type { Readiness } from '../contract/contract.js'
import { type AlarmCheck, type AlarmListener, Alarms } from '../observe/alarms.js'
import type { Counters } from '../observe/counters.js'
import { EventLoopDelay } from '../observe/event-loop-delay.js'
import type { Incidents } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import { type MetricSources, Metrics } from '../observe/metrics.js'
import type { PipelineThread } from '../pipeline/pipeline-thread.js'
import type { Part } from '../runtime/lifecycle.js'

export interface HubHealthOptions {
  /** `failing`: why the disk refuses writes. Undefined while it takes them. */
  readonly spool: { readonly full: boolean; readonly failing: Error | undefined }
  /** `restoring`: what a start has restored so far. Undefined once that is everything. */
  readonly broker: { readonly restoring: Readiness['restoring'] }
  readonly pipeline: Pick<PipelineThread, 'readiness'>
  readonly alarms: Pick<Alarms, 'list'>
  readonly incidents: Pick<Incidents, 'list'>
  /** `times`: when the hub was started. */
  readonly identity: { readonly times: readonly number[]; readonly hubId: string }
}

/** Knows whether publishes are taken, and what is wrong. */
export class HubHealth {
  readonly #options: HubHealthOptions

  constructor(options: HubHealthOptions) {
    this.#options = options
  }

  /** When the hub was started, in milliseconds, the oldest first. */
  get starts(): readonly number[] {
    return this.#options.identity.times
  }

  get hubId(): string {
    return this.#options.identity.hubId
  }

  async ready(): Promise<Readiness> {
    const { spool, broker, pipeline, alarms, incidents } = this.#options
    const { dependencies, waiting } = await pipeline.readiness()
    return {
      ready: !spool.full && !spool.failing,
      dependencies,
      waiting,
      restoring: broker.restoring,
      alarms: alarms.list(),
      incidents: incidents.list(),
    }
  }
}

/** A part that knows a condition of the hub. */
interface Alarmed {
  readonly alarm: AlarmCheck
}

export interface HubConditionOptions extends Omit<HubHealthOptions, 'alarms'>, Omit<MetricSources, OwnSources> {
  readonly checks: readonly (AlarmCheck | undefined)[]
  readonly spool: HubHealthOptions['spool'] & MetricSources['spool']
  readonly broker: HubHealthOptions['broker'] & MetricSources['broker'] & Alarmed
  readonly inlets: MetricSources['inlets'] & Alarmed
  readonly auditLog: MetricSources['auditLog'] & Alarmed
  readonly pipeline: HubHealthOptions['pipeline'] & MetricSources['pipeline'] & AlarmListener
  readonly incidents: MetricSources['incidents']
  readonly counters: Counters
  readonly log: SentenceLog
}

/** The sources of metrics that the condition makes. */
type OwnSources = 'alarms' | 'eventLoopDelay' | keyof HubHealthOptions

/** The condition of the hub, for operators: alarms, metrics, and whether publishes are taken. */
export class HubCondition {
  readonly health: HubHealth
  readonly metrics: Metrics
  /** Views of the condition over HTTP. */
  readonly views: { readonly health: HubHealth; readonly metrics: Metrics }
  /** In the order of the start. */
  readonly parts: readonly Part[]

  constructor({ checks, counters, log, ...sources }: HubConditionOptions) {
    const { auditLog, broker, inlets, pipeline } = sources
    const all = [...checks, auditLog.alarm, broker.alarm, inlets.alarm].filter(check => check !== undefined)
    const alarms = new Alarms({ checks: all, listener: pipeline, log })
    const eventLoopDelay = new EventLoopDelay(performance)
    this.metrics = new Metrics(counters, { ...sources, alarms, eventLoopDelay })
    this.health = new HubHealth({ ...sources, alarms })
    this.views = { health: this.health, metrics: this.metrics }
    this.parts = [alarms, eventLoopDelay]
  }
}
