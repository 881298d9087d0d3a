import type { FastifyInstance } from 'fastify'
import type { Auditor } from '../observe/audit.js'
import type { PipelineApi } from '../pipeline/pipeline-api.js'
import { changeBy } from './changes.js'
import type { Guard } from './guard.js'
import { serve } from './route.js'

export interface OutletRouteOptions {
  readonly pipeline: Pick<PipelineApi, 'outlets' | 'pauseOutlet'>
  readonly guard: Guard
  readonly audit: Auditor
}

/** Routes of the outlets. */
export async function outletRoutes(app: FastifyInstance, options: OutletRouteOptions): Promise<void> {
  const { pipeline, guard, audit } = options

  serve(app, 'GET /api/outlets', async () => ({ outlets: await pipeline.outlets() }))

  serve(app, 'POST /api/outlets/pause', async ({ outlet, paused }, call) => {
    await pipeline.pauseOutlet({ name: outlet, paused })
    audit.record({ ...changeBy(call, guard), result: 'ok', what: `outlet ${outlet} ${paused ? 'paused' : 'resumed'}` })
    return { paused }
  })
}
