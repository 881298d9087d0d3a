import type { Readiness } from '../contract/contract.js'
import type { Alarms } from '../observe/alarms.js'
import type { Incidents } from '../observe/incidents.js'
import type { PipelineThread } from '../pipeline/pipeline-thread.js'

export interface HubHealthOptions {
  /** `failing`: why the disk refuses writes. Undefined while it takes them. */
  readonly spool: { readonly full: boolean; readonly failing: Error | undefined }
  /** `restoring`: what a start has restored so far. Undefined once that is everything. */
  readonly broker: { readonly restoring: Readiness['restoring'] }
  readonly pipeline: Pick<PipelineThread, 'readiness'>
  readonly alarms: Pick<Alarms, 'list'>
  readonly incidents: Pick<Incidents, 'list'>
}

/** Knows whether publishes are taken, and what is wrong. */
export class HubHealth {
  readonly #options: HubHealthOptions

  constructor(options: HubHealthOptions) {
    this.#options = options
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
