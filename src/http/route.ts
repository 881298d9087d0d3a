import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import {
  type Answer,
  type Json,
  problem,
  type Received,
  type Route,
  type RouteName,
  routes,
} from '../contract/contract.js'
import type { Caller } from './guard.js'

/** One request, validated. */
export interface RouteCall {
  /** Authenticated caller. On routes for anyone there is none. */
  readonly caller: Caller
  readonly request: FastifyRequest
  readonly reply: FastifyReply
}

/** An answer, as a value or as JSON; or the reply, when the handler has answered by itself. */
type Answered<Name extends RouteName> = Answer<Name> | Json<Answer<Name>> | FastifyReply

/** Serves a route of the contract: Fastify validates what is asked before `handle` is called. */
export function serve<Name extends RouteName>(
  app: FastifyInstance,
  name: Name,
  handle: (asked: Received<Name>, call: RouteCall) => Answered<Name> | Promise<Answered<Name>>,
  { bodyLimit }: { readonly bodyLimit?: number } = {},
): void {
  const [method = '', url = ''] = name.split(' ')
  const route: Route = routes[name]
  app.route({
    method,
    url,
    ...(bodyLimit !== undefined && { bodyLimit }),
    ...(route.allow && { config: { allow: route.allow } }),
    schema: schemaOf(route),
    handler: async (request, reply) => {
      const asked = (route.query ? request.query : request.body) as Received<Name>
      const answer = await handle(asked, { caller: request.caller as Caller, request, reply })
      if (answer instanceof Uint8Array) {
        const json = Buffer.from(answer.buffer, answer.byteOffset, answer.byteLength)
        return reply.header('content-type', 'application/json; charset=utf-8').send(json)
      }
      return route.answer ? answer : reply.code(204).send()
    },
  })
}

/** Returns what Fastify validates by, and what /api/openapi.json says of the route. */
export function schemaOf({ summary, description, allow, query, body, answer, isStream, alsoAs = [] }: Route) {
  const success =
    answer &&
    (isStream ? { description: streams[isStream][0], content: { [streams[isStream][1]]: { schema: answer } } } : answer)
  return {
    summary,
    ...(description !== undefined && { description }),
    ...(allow === 'anyone' && { security: [] }),
    ...(query && { querystring: query }),
    ...(body && { body }),
    response: {
      ...(success ? { 200: success } : { 204: { type: 'null', description: 'Done' } }),
      ...Object.fromEntries(alsoAs.map(status => [status, success])),
      '4xx': problem,
      '5xx': problem,
    },
  }
}

const streams = {
  lines: ['Lines of JSON', 'application/x-ndjson'],
  events: ['Server-Sent Events', 'text/event-stream'],
} as const
