import type { FastifyInstance } from 'fastify'
import type { Answer } from '../contract/contract.js'
import { type ErrorCode, HubError } from '../errors.js'
import type { Auditor } from '../observe/audit.js'
import { changeBy } from './changes.js'
import type { Guard } from './guard.js'
import { type RouteCall, serve } from './route.js'

/** Desired and reported state of devices. Implemented by `Shadows`. */
export interface ShadowsApi {
  /** Resolves with the status and the answer of AWS. Rejects with `bad_request` when a name is not allowed. */
  ask(
    verb: 'update' | 'get' | 'delete',
    which: { readonly thing: string; readonly name: string },
    user: string,
    request: object,
  ): Promise<{ readonly status: number; readonly answer: object }>
  /** Returns the names of the shadows of a thing. The classic one is empty. */
  namesOf(thing: string): readonly string[]
}

interface ShadowRoutesOptions {
  readonly shadows: ShadowsApi
  readonly guard: Guard
  readonly audit: Auditor
}

interface Which {
  readonly thing: string
  readonly name?: string | undefined
}

interface Whole {
  readonly state: Pick<Answer<'GET /api/shadows/:thing'>, 'desired' | 'reported' | 'delta'>
  readonly metadata: Readonly<Record<string, unknown>>
  readonly version: number
  readonly timestamp: number
}

const codes: Readonly<Record<number, ErrorCode>> = {
  400: 'bad_request',
  404: 'not_found',
  409: 'busy',
  413: 'too_large',
  429: 'too_many',
}

/** Routes of shadows. Who may use one is decided by the rules for its MQTT topics. */
export async function shadowRoutes(
  app: FastifyInstance,
  { shadows, guard, audit }: ShadowRoutesOptions,
): Promise<void> {
  const topicOf = ({ thing, name = '' }: Which, verb: string) =>
    `$aws/things/${thing}/shadow${name && `/name/${name}`}/${verb}`

  const mayGet = (which: Which, { caller }: RouteCall) =>
    caller.access === undefined || caller.access.mayRead(`${topicOf(which, 'get')}/accepted`)

  const ask = async (verb: 'update' | 'get' | 'delete', which: Which, call: RouteCall, request: object) => {
    const { thing, name = '' } = which
    const topic = topicOf(which, verb)
    const { access, user } = call.caller
    const decision = access && (verb === 'get' ? access.read(`${topic}/accepted`) : access.publish(topic))
    if (decision && !decision.allowed) throw new HubError('forbidden', `no rule of user ${user} allows ${topic}`)
    const { status, answer } = await shadows.ask(verb, { thing, name }, user, request)
    if (status === 200) return answer
    const { message = '' } = answer as { readonly message?: string }
    throw new HubError(codes[status] ?? 'spool_failed', message)
  }

  const whole = async (which: Which, call: RouteCall): Promise<Answer<'GET /api/shadows/:thing'>> => {
    const { state, metadata, version, timestamp } = (await ask('get', which, call, {})) as Whole
    const { thing, name } = which
    const named = name === undefined ? shadows.namesOf(thing).filter(one => one !== '') : []
    return {
      ...{ thing, ...(name !== undefined && { name }), ...state, metadata, version, timestamp },
      ...(named.length > 0 && { named }),
    }
  }

  serve(app, 'GET /api/shadows/:thing', whole)

  for (const method of ['POST', 'PATCH'] as const) {
    serve(app, `${method} /api/shadows/:thing`, async ({ thing, name, desired, version, clientToken }, call) => {
      const accepted = await ask('update', { thing, name }, call, { state: { desired }, version, clientToken })
      const changed = Object.keys(desired ?? {}).join(', ')
      audit.record({ ...changeBy(call, guard), result: 'ok', what: 'desired state', client: thing, detail: changed })
      if (mayGet({ thing, name }, call)) return whole({ thing, name }, call)
      const { state, metadata, version: now, timestamp } = accepted as Whole
      return { thing, ...(name !== undefined && { name }), ...state, metadata, version: now, timestamp }
    })
  }

  serve(app, 'DELETE /api/shadows/:thing', async (which, call) => {
    const { version } = (await ask('delete', which, call, {})) as { readonly version: number }
    const { thing, name = '' } = which
    audit.record({ ...changeBy(call, guard), result: 'ok', what: 'delete shadow', client: thing, detail: name })
    return { deleted: true, version }
  })
}
