import type { FastifyInstance } from 'fastify'
import { HubError } from '../errors.js'
import type { Auditor } from '../observe/audit.js'
import type { PipelineApi } from '../pipeline/pipeline-api.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { changeBy } from './changes.js'
import { callerName, type Guard, readRulesOf } from './guard.js'
import { type RouteCall, serve } from './route.js'

interface AlertRoutesOptions {
  readonly pipeline: PipelineApi
  readonly clock: MicrosecondClock
  readonly guard: Guard
  readonly audit: Auditor
}

/** Largest body with a rule. */
const bodyLimit = 1e6

/** Routes of alerts, their rules, mutes and tests. */
export async function alertRoutes(app: FastifyInstance, options: AlertRoutesOptions): Promise<void> {
  const { pipeline, clock, guard, audit } = options
  const changed = (call: RouteCall, what: string, detail: string) =>
    audit.record({ ...changeBy(call, guard), result: 'ok', what, detail })

  serve(app, 'GET /api/alerts', (asked, { caller }) =>
    pipeline.alerts({ ...asked, rules: readRulesOf(caller, '$hub/alerts/#') }),
  )

  serve(app, 'POST /api/alerts/ack', async ({ alert, note }, call) => {
    const rules = readRulesOf(call.caller, '$hub/alerts/#')
    const answer = await pipeline.acknowledge({ alert, by: callerName(call.caller), note, rules })
    changed(call, 'acknowledge alert', note === undefined ? alert : `${alert}: ${note}`)
    return answer
  })

  serve(app, 'POST /api/alerts/mute', async ({ until, ...asked }, call) => {
    const now = clock.now() / 1_000
    if (until !== undefined && until <= now)
      throw new HubError('bad_request', `until (${until}) is past`, { said: { code: 'until-past', values: {} } })
    const mute = await pipeline.muteAlerts({
      ...asked,
      by: callerName(call.caller),
      ...(until !== undefined && { until: Math.round(until * 1_000) }),
    })
    changed(call, 'mute alerts', JSON.stringify(mute))
    return mute
  })

  serve(app, 'POST /api/alerts/unmute', async ({ id }, call) => {
    const mute = await pipeline.unmuteAlerts(id)
    changed(call, 'unmute alerts', JSON.stringify(mute))
    return mute
  })

  serve(app, 'GET /api/alerts/rules', () => pipeline.alertRules())

  serve(
    app,
    'POST /api/alerts/rules',
    async ({ name, rule }, call) => {
      const row = await pipeline.putAlertRule({ name, rule })
      changed(call, 'change alert rule', `${name}: ${JSON.stringify(rule)}`)
      return row
    },
    { bodyLimit },
  )

  serve(app, 'DELETE /api/alerts/rules', async ({ name }, call) => {
    await pipeline.removeAlertRule(name)
    changed(call, 'remove alert rule', name)
    return { removed: true as const }
  })

  serve(app, 'POST /api/alerts/check', asked => pipeline.checkAlertRule(asked), { bodyLimit })

  serve(
    app,
    'POST /api/alerts/test',
    ({ rule, from, to = clock.now() / 1_000 }) =>
      pipeline.testAlertRule({ rule, from: Math.round(from * 1_000), to: Math.round(to * 1_000) }),
    { bodyLimit },
  )
}
