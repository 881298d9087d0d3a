import type { FastifyInstance, FastifyRequest } from 'fastify'
import { HubError } from '../errors.js'
import type { Auditor } from '../observe/audit.js'
import { type Caller, callerName, type Guard } from './guard.js'

/** Questions of the routes to the hub. */
export interface SessionsApi {
  /** Returns an object with the number of sessions that the filter matches, and at most `most` of them. */
  readonly sessions: (filter: { readonly clientId?: string; readonly user?: string }, most: number) => object
  /** Returns false when there is no such session. */
  readonly endSession: (which: { readonly clientId: string; readonly user: string }) => boolean
}

interface Parameters {
  client?: string
  user?: string
}

const which = {
  client: { type: 'string', description: 'Client id' },
  user: { type: 'string', description: 'User name; empty where nobody was asked' },
} as const

/** Routes that list and end the sessions of MQTT clients. */
export async function sessionListRoutes(
  app: FastifyInstance,
  { api, guard, audit }: { api: SessionsApi; guard: Guard; audit: Auditor },
): Promise<void> {
  app.get<{ Querystring: Parameters & { limit: number } }>(
    '/api/sessions',
    {
      config: { allow: 'everything' },
      schema: {
        summary: 'Sessions of MQTT clients: those that are kept, and those that are connected',
        description: '`count` is how many there are, also beyond `limit`.',
        querystring: {
          type: 'object',
          additionalProperties: false,
          properties: { ...which, limit: { type: 'integer', minimum: 1, maximum: 100_000, default: 1_000 } },
        },
      },
    },
    async ({ query: { client: clientId, user, limit } }) =>
      api.sessions({ ...(clientId !== undefined && { clientId }), ...(user !== undefined && { user }) }, limit),
  )

  app.delete<{ Querystring: Parameters & { client: string } }>(
    '/api/sessions',
    {
      config: { allow: 'change' },
      schema: {
        summary: 'Ends a session with what waits in it; its client is disconnected, and its will is due',
        querystring: { type: 'object', additionalProperties: false, required: ['client'], properties: which },
      },
    },
    async request => {
      const { client: clientId, user = '' } = request.query
      if (!api.endSession({ clientId, user })) {
        const of = user === '' ? 'without a user' : `of user ${JSON.stringify(user)}`
        throw new HubError('not_found', `there is no session of client id ${JSON.stringify(clientId)} ${of}`)
      }
      audit.record({
        event: 'change',
        result: 'ok',
        user: callerName(request.caller as Caller),
        address: guard.address((request as FastifyRequest).raw),
        via: 'http',
        what: 'end session',
        client: clientId,
        detail: `of user ${user || '(none)'}`,
      })
      return { ended: true }
    },
  )
}
