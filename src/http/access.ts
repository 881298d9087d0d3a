import type { FastifyInstance } from 'fastify'
import type { Bans, ListedLogin, Logins } from '../auth/admission.js'
import { HubError } from '../errors.js'
import type { Auditor } from '../observe/audit.js'
import { changeBy } from './changes.js'
import { callerName, type Guard } from './guard.js'
import { serve } from './route.js'

export interface AccessOptions {
  readonly guard: Guard
  readonly logins: Logins
  readonly bans: Bans
  readonly audit: Auditor
}

/** Routes that list and end the logins of browsers and the bans of sources. */
export async function accessRoutes(app: FastifyInstance, options: AccessOptions): Promise<void> {
  const { guard, logins, bans, audit } = options

  serve(app, 'GET /api/logins', (_asked, { caller: { user, kind, login: current } }) => {
    const all = logins.list(kind === 'admin' ? undefined : user)
    return { logins: all.map(({ login, ...more }) => ({ id: login, ...more, current: login === current })) }
  })

  serve(app, 'POST /api/logins/end', ({ id, user, others }, { request, caller }) => {
    const mine = logins.list(caller.kind === 'admin' && !others ? undefined : caller.user)
    const isMeant = (one: ListedLogin) => {
      if (others) return one.login !== caller.login
      return id === undefined ? one.user === user : one.login === id
    }
    const meant = mine.filter(isMeant)
    if (id !== undefined && meant.length === 0) {
      throw new HubError('not_found', 'there is no such login, or it belongs to another user; /api/logins lists them')
    }
    for (const { login, user, address } of meant) {
      logins.end(login)
      const event = { event: 'logout', result: 'ended', address: guard.address(request.raw), via: 'http' } as const
      audit.record({ ...event, user: callerName(caller), what: `login of ${user}`, detail: `began from ${address}` })
    }
    return { ended: meant.length }
  })

  serve(app, 'GET /api/bans', () => ({ bans: bans.list(), imposed: bans.imposed }))

  serve(app, 'POST /api/bans/lift', ({ source, kind }, call) => {
    if (!(kind ? bans.liftImposed(kind, source) : bans.lift(source)))
      throw new HubError('not_found', `${source} is not banned; /api/bans lists those that are`)
    audit.record({ ...changeBy(call, guard), result: 'ok', what: `lift of the ban of ${source}` })
    return { lifted: source }
  })
}
