import type { FastifyInstance } from 'fastify'
import type { Bans } from '../auth/bans.js'
import type { ListedLogin, Logins } from '../auth/logins.js'
import { HubError } from '../errors.js'
import type { Auditor } from '../observe/audit.js'
import { type Caller, callerName, type Guard } from './guard.js'

export interface AccessOptions {
  readonly guard: Guard
  readonly logins: Logins
  readonly bans: Bans
  readonly audit: Auditor
}

const sourceSchema = {
  type: 'object',
  required: ['source'],
  additionalProperties: false,
  properties: { source: { type: 'string', maxLength: 64, description: 'As the list shows it, or an address' } },
} as const

const endSchema = {
  type: 'object',
  additionalProperties: false,
  minProperties: 1,
  maxProperties: 1,
  properties: {
    id: { type: 'string', maxLength: 100, description: 'One login, as the list shows it' },
    user: { type: 'string', maxLength: 64, description: 'All logins of a user' },
    others: { const: true, description: 'All logins of the user who asks, but the one that asks' },
  },
} as const

/** Routes that list and end the logins of browsers and the bans of sources. */
export async function accessRoutes(app: FastifyInstance, options: AccessOptions): Promise<void> {
  const { guard, logins, bans, audit } = options

  app.get(
    '/api/logins',
    { schema: { summary: 'Logins of browsers: all of them for an admin, else those of the user who asks' } },
    async ({ caller }) => {
      const { user, kind, login: current } = caller as Caller
      const all = logins.list(kind === 'admin' ? undefined : user)
      return { logins: all.map(({ login, ...more }) => ({ id: login, ...more, current: login === current })) }
    },
  )

  app.post<{ Body: { id?: string; user?: string; others?: true } }>(
    '/api/logins/end',
    {
      schema: {
        summary: 'Ends logins: their cookies and connections. Those of others: an admin alone',
        body: endSchema,
      },
    },
    async request => {
      const caller = request.caller as Caller
      const { id, user, others } = request.body
      const mine = logins.list(caller.kind === 'admin' && !others ? undefined : caller.user)
      const isMeant = (one: ListedLogin) => {
        if (others) return one.login !== caller.login
        return id === undefined ? one.user === user : one.login === id
      }
      const meant = mine.filter(isMeant)
      if (id !== undefined && meant.length === 0) {
        throw new HubError('not_found', 'there is no such login, or it is of another user; /api/logins lists them')
      }
      for (const { login, user, address } of meant) {
        logins.end(login)
        const event = { event: 'logout', result: 'ended', address: guard.address(request.raw), via: 'http' } as const
        audit.record({ ...event, user: callerName(caller), what: `login of ${user}`, detail: `began from ${address}` })
      }
      return { ended: meant.length }
    },
  )

  app.get(
    '/api/bans',
    { config: { allow: 'change' }, schema: { summary: 'Sources that are banned now (auth.ban), the latest first' } },
    async () => ({ bans: bans.list() }),
  )

  app.post<{ Body: { source: string } }>(
    '/api/bans/lift',
    { config: { allow: 'change' }, schema: { summary: 'Ends a ban', body: sourceSchema } },
    async request => {
      const { source } = request.body
      if (!bans.lift(source)) throw new HubError('not_found', `${source} is not banned; /api/bans lists those that are`)
      const event = { event: 'change', result: 'ok', address: guard.address(request.raw), via: 'http' } as const
      audit.record({ ...event, user: callerName(request.caller as Caller), what: `lift of the ban of ${source}` })
      return { lifted: source }
    },
  )
}
