import type { FastifyInstance } from 'fastify'
import type { Answer } from '../contract/contract.js'
import { HubError } from '../errors.js'
import type { Auditor } from '../observe/audit.js'
import { changeBy, ofUser } from './changes.js'
import type { Guard } from './guard.js'
import { serve } from './route.js'

/** Lists and ends sessions. Implemented by `Broker`. */
export interface SessionsApi {
  /** Returns the number of sessions that the filter matches, and at most `most` of them. */
  listSessions(
    filter: { readonly clientId?: string; readonly user?: string },
    most: number,
  ): Answer<'GET /api/sessions'>
  /** Returns false when there is no such session. */
  endSession(which: { readonly clientId: string; readonly user: string }): boolean
}

/** Routes that list and end the sessions of MQTT clients. */
export async function sessionListRoutes(
  app: FastifyInstance,
  { sessions, guard, audit }: { sessions: SessionsApi; guard: Guard; audit: Auditor },
): Promise<void> {
  serve(app, 'GET /api/sessions', ({ client: clientId, user, limit }) =>
    sessions.listSessions({ ...(clientId !== undefined && { clientId }), ...(user !== undefined && { user }) }, limit),
  )

  serve(app, 'DELETE /api/sessions', ({ client: clientId, user = '' }, call) => {
    if (!sessions.endSession({ clientId, user })) {
      throw new HubError('not_found', `there is no session of client id ${JSON.stringify(clientId)} ${ofUser(user)}`)
    }
    audit.record({
      ...changeBy(call, guard),
      result: 'ok',
      what: 'end session',
      client: clientId,
      detail: `of user ${user || '(none)'}`,
    })
    return { ended: true }
  })
}
