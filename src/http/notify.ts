import type { FastifyInstance } from 'fastify'
import { HubError } from '../errors.js'
import type { Auditor } from '../observe/audit.js'
import type { PipelineApi } from '../pipeline/pipeline-api.js'
import { changeBy } from './changes.js'
import type { Caller, Guard } from './guard.js'
import { serve } from './route.js'

type NotifyQuestions =
  | 'notifyTargets'
  | 'notifyRoutes'
  | 'pushState'
  | 'subscribePush'
  | 'unsubscribePush'
  | 'testTarget'
  | 'acknowledgeByToken'

export interface NotifyRouteOptions {
  readonly pipeline: Pick<PipelineApi, NotifyQuestions>
  readonly guard: Guard
  readonly audit: Auditor
}

/** Routes of notifications. Endpoints and keys of browsers are in no answer and no log. */
export async function notifyRoutes(app: FastifyInstance, options: NotifyRouteOptions): Promise<void> {
  const { pipeline, guard, audit } = options

  serve(app, 'GET /api/notify', async () => {
    const [targets, routes] = await Promise.all([pipeline.notifyTargets(), pipeline.notifyRoutes()])
    return { targets, routes }
  })

  serve(app, 'POST /api/notify/test', async ({ target }, call) => {
    const who = { ...changeBy(call, guard), what: `test of target ${target}` }
    try {
      const sent = await pipeline.testTarget(target)
      audit.record({ ...who, result: 'ok' })
      return { sent }
    } catch (error) {
      audit.record({ ...who, result: 'failed' })
      throw error
    }
  })

  serve(app, 'GET /api/notify/push', (_asked, { caller }) => pipeline.pushState(caller.user))

  serve(app, 'POST /api/notify/push', async ({ endpoint, keys }, call) => {
    const { caller, request } = call
    requireUser(caller, guard)
    const agent = String(request.headers['user-agent'] ?? '')
    const { p256dh, auth } = keys
    const id = await pipeline.subscribePush({ user: caller.user, endpoint, p256dh, auth, agent })
    audit.record({ ...changeBy(call, guard), result: 'ok', what: 'subscription to notifications', detail: id })
    return { id }
  })

  serve(app, 'DELETE /api/notify/push', async ({ id }, call) => {
    const isEnded = await pipeline.unsubscribePush({ user: call.caller.user, id })
    if (!isEnded) throw new HubError('not_found', 'you have no such subscription; GET /api/notify/push lists yours')
    audit.record({ ...changeBy(call, guard), result: 'ok', what: 'end of a subscription to notifications', detail: id })
    return undefined
  })

  serve(app, 'POST /api/notify/acknowledge', async ({ token, note }, { request }) => {
    const { acknowledged, by } = await pipeline.acknowledgeByToken({ token, note })
    const address = guard.address(request.raw)
    const event = { event: 'change', result: 'ok', user: by, address, via: 'notification' } as const
    audit.record({ ...event, what: 'acknowledgement of alerts', detail: `${acknowledged}` })
    return { acknowledged }
  })
}

/** Throws for the key of the hub: a subscription belongs to a user. */
function requireUser({ user, anonymous }: Caller, { open }: Guard): void {
  if (open || user !== '') return
  const who = anonymous ? 'nobody is signed in' : 'admin.key is no user'
  throw new HubError('forbidden', `notifications are for a user, and ${who}`)
}
