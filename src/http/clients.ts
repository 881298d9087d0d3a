import { isIP } from 'node:net'
import type { FastifyInstance } from 'fastify'
import type { Bans } from '../auth/admission.js'
import type { Answer, Received } from '../contract/contract.js'
import { HubError } from '../errors.js'
import type { Auditor } from '../observe/audit.js'
import { sourceOf } from '../runtime/addresses.js'
import { changeBy, ofUser } from './changes.js'
import { callerName, type Guard } from './guard.js'
import { serve } from './route.js'

/** Lists and disconnects MQTT clients. Implemented by `Broker`. */
export interface ClientsApi {
  listClients(query: Received<'GET /api/clients'>): Promise<Answer<'GET /api/clients'>>
  /** Closes the connections of all clients that fit. Returns how many. */
  disconnect(which: { readonly clientId?: string; readonly user?: string; readonly source?: string }): number
}

interface ClientRoutesOptions {
  readonly clients: ClientsApi
  readonly bans: Bans
  readonly guard: Guard
  readonly audit: Auditor
}

/** Routes that list MQTT clients, disconnect and ban them. */
export async function clientRoutes(
  app: FastifyInstance,
  { clients, bans, guard, audit }: ClientRoutesOptions,
): Promise<void> {
  serve(app, 'GET /api/clients', query => clients.listClients(query))

  serve(app, 'POST /api/clients/disconnect', ({ client: clientId, user = '' }, call) => {
    const disconnected = clients.disconnect({ clientId, user })
    if (disconnected === 0)
      throw new HubError('not_found', `no client ${JSON.stringify(clientId)} ${ofUser(user)} is connected`)
    const what = 'disconnect client'
    audit.record({ ...changeBy(call, guard), result: 'ok', what, client: clientId, detail: ofUser(user) })
    return { disconnected }
  })

  serve(app, 'POST /api/bans', ({ kind, name, seconds }, call) => {
    if (kind === 'address' && isIP(name) === 0)
      throw new HubError('bad_request', `name: given ${JSON.stringify(name)}, allowed is an IPv4 or IPv6 address`)
    const ban = bans.impose(kind, name, seconds * 1_000, callerName(call.caller))
    const meant = { client: { clientId: name }, user: { user: name }, address: { source: sourceOf(name) } }
    const disconnected = clients.disconnect(meant[kind])
    const detail = `${ban.name}, until ${new Date(ban.until).toISOString()}`
    audit.record({ ...changeBy(call, guard), result: 'ok', what: `ban of ${kind}`, detail })
    return { ban, disconnected }
  })
}
