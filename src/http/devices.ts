import type { FastifyInstance } from 'fastify'
import { HubError } from '../errors.js'
import type { Auditor } from '../observe/audit.js'
import type { PipelineApi } from '../pipeline/pipeline-api.js'
import { hubTopics } from '../topics.js'
import { changeBy, ofUser } from './changes.js'
import { type Guard, readRulesOf } from './guard.js'
import { serve } from './route.js'

/** Forgets clients. Implemented by `Broker`. */
export interface DevicesApi {
  /** Resolves with the topics of the retained messages cleared; with undefined when the client is not known. */
  removeClient(client: { readonly clientId: string; readonly user: string }): Promise<readonly string[] | undefined>
  /** Resolves with the number of retained messages cleared. */
  clearRetained(topics: readonly string[]): Promise<number>
}

interface DeviceRoutesOptions {
  readonly devices: DevicesApi
  readonly pipeline: PipelineApi
  readonly guard: Guard
  readonly audit: Auditor
}

/** Routes that list devices, and remove those that are gone. */
export async function deviceRoutes(
  app: FastifyInstance,
  { devices, pipeline, guard, audit }: DeviceRoutesOptions,
): Promise<void> {
  serve(app, 'GET /api/devices', (_asked, { caller }) =>
    pipeline.devices({ presence: readRulesOf(caller, hubTopics.everyPresence), rules: readRulesOf(caller, '#') }),
  )

  serve(app, 'DELETE /api/devices', async ({ client: clientId, user = '', source, id }, call) => {
    const removed =
      clientId !== undefined && source === undefined && id === undefined
        ? await removeClient(clientId, user)
        : clientId === undefined && source !== undefined && id !== undefined
          ? await removeDescribed(source, id)
          : undefined
    if (!removed) throw new HubError('bad_request', 'allowed is client (with user), or source and id')
    audit.record({
      ...changeBy(call, guard),
      result: 'ok',
      what: 'remove device',
      ...(clientId !== undefined && { client: clientId }),
      detail: clientId === undefined ? `${source}: ${id}` : `of user ${user || '(none)'}`,
    })
    return removed
  })

  async function removeClient(name: string, user: string) {
    // Where another user's client has the id, the list of devices shows the user before it.
    const names = user !== '' && name.startsWith(`${user}/`) ? [name, name.slice(user.length + 1)] : [name]
    for (const clientId of names) {
      const cleared = await devices.removeClient({ clientId, user })
      const { isKnown, readings } = await pipeline.removeClient({ clientId, user, cleared: cleared ?? [] })
      if (isKnown || cleared) return { readings, retained: cleared?.length ?? 0 }
    }
    throw new HubError('not_found', `there is no client ${JSON.stringify(name)} ${ofUser(user)}`)
  }

  async function removeDescribed(source: string, id: string) {
    const { isKnown, topics, readings } = await pipeline.removeDescribed({ source, id })
    if (isKnown) return { readings, retained: await devices.clearRetained(topics) }
    throw new HubError('not_found', `${source} describes no device of id ${JSON.stringify(id)}`)
  }
}
