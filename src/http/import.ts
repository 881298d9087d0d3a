import type { FastifyInstance } from 'fastify'
import type { Auditor } from '../observe/audit.js'
import type { PipelineApi } from '../pipeline/pipeline-api.js'
import { BodyBudget } from './body-budget.js'
import { changeBy } from './changes.js'
import type { Guard } from './guard.js'
import { serve } from './route.js'

export interface ImportRoutesOptions {
  readonly pipeline: Pick<PipelineApi, 'beginImport' | 'takeImport'>
  readonly guard: Guard
  readonly audit: Auditor
}

/** Largest batch. */
const bodyLimit = 16_000_000

/** Takes rows of files, batch by batch. */
export async function importRoutes(app: FastifyInstance, options: ImportRoutesOptions): Promise<void> {
  const { pipeline, guard, audit } = options
  const budget = new BodyBudget(bodyLimit)

  serve(app, 'POST /api/imports', async ({ job, file, rule, dry, again }, call) => {
    const answer = await pipeline.beginImport({ job, file, rule, dry, again, user: call.caller.user })
    const from = answer.next > 1 ? `goes on at batch ${answer.next}` : 'from the beginning'
    const detail = `${file}: ${from}${dry ? ', nothing is stored' : ''}`
    audit.record({ ...changeBy(call, guard), result: 'begun', what: 'import', detail })
    return answer
  })

  serve(
    app,
    'POST /api/imports/:job',
    async ({ job, batch, position, last, content }, call) => {
      const answer = await pipeline.takeImport({ job, batch, position, last, content })
      if (answer.finished) {
        const { rows, stored, dead, ignored } = answer
        const detail = `${job}: ${rows} rows, ${stored} stored, ${dead} refused, ${ignored} ignored`
        audit.record({ ...changeBy(call, guard), result: 'ok', what: 'import', detail })
      }
      return answer
    },
    { budget },
  )
}
