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
import type { Schema } from '../contract/schema.js'
import type { BodyBudget } from './body-budget.js'
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
  { bodyLimit, budget }: { readonly bodyLimit?: number; readonly budget?: BodyBudget } = {},
): void {
  const [method = '', url = ''] = name.split(' ')
  const route: Route = routes[name]
  app.route({
    method,
    url,
    ...(bodyLimit !== undefined && { bodyLimit }),
    ...(budget && { bodyLimit: budget.limit, preParsing: budget.take }),
    ...(route.allow && { config: { allow: route.allow } }),
    schema: schemaOf(route),
    handler: async (request, reply) => {
      const given = route.query ? request.query : request.body
      const asked = (route.params ? { ...(request.params as object), ...(given as object) } : given) as Received<Name>
      const answer = await handle(asked, { caller: request.caller as Caller, request, reply })
      if (answer instanceof Uint8Array) {
        const json = Buffer.from(answer.buffer, answer.byteOffset, answer.byteLength)
        return reply.header('content-type', 'application/json; charset=utf-8').send(json)
      }
      return route.answer ? answer : reply.code(204).send()
    },
  })
}

/** Statuses of refused requests that most routes have. */
const usualProblems = {
  asks: { 400: 'The request is wrong; the message says what is allowed' },
  identifies: {
    401: 'Credentials are missing or wrong',
    403: 'The caller may not do this, or not from there',
    429: 'Too many attempts; Retry-After says when to come back',
  },
  all: {
    '4xx': 'Refused',
    503: 'The hub, or a server behind it, is not available',
    '5xx': 'The hub has failed',
  },
}

/** Returns what Fastify validates by, and what /api/openapi.json says of the route. */
export function schemaOf(route: Route) {
  const { summary, description, allow, params, query, body, answer, isStream, alsoAs = [], problems } = route
  const success = answer && described(summary, isStream ? streams[isStream] : json, answer)
  const refusals = {
    ...((params || query || body) && usualProblems.asks),
    ...(allow !== 'anyone' && usualProblems.identifies),
    ...usualProblems.all,
    ...problems,
  }
  return {
    summary,
    ...(description !== undefined && { description }),
    ...(allow === 'anyone' && { security: [] }),
    ...(params && { params }),
    ...(query && { querystring: query }),
    ...(body && { body }),
    response: {
      ...(success ? { 200: success } : { 204: { type: 'null', description: 'Done' } }),
      ...Object.fromEntries(Object.entries(refusals).map(([status, why]) => [status, described(why, json, problem)])),
      ...Object.fromEntries(alsoAs.map(status => [status, success])),
    },
  }
}

/** Returns what is said of a route that answers with no JSON, or with any. */
export function schemaOfText(summary: string, type: string, schema: Schema) {
  const { response, ...more } = schemaOf({ summary, answer: schema })
  return { ...more, response: { ...response, 200: described(summary, type, schema) } }
}

function described(description: string, type: string, schema: Schema) {
  return { description, content: { [type]: { schema } } }
}

const json = 'application/json'
const streams = { lines: 'application/x-ndjson', events: 'text/event-stream' } as const
