import type { FastifyInstance, FastifyRequest } from 'fastify'
import { type Answer, type Received, routes } from '../contract/contract.js'
import { publishedMessage } from '../contract/publish.js'
import { HubError } from '../errors.js'
import type { Outward } from '../model.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { BodyBudget } from './body-budget.js'
import type { Caller } from './guard.js'
import { PublishedMessages } from './published-messages.js'
import { schemaOf } from './route.js'

/** Publishes messages, and answers when they are on disk. Implemented by `Broker`. */
export interface Publisher {
  /**
   * Resolves with the sequence number of each message. With a key, a request that was carried out is not carried out
   * again. Rejects as `DirectPublisher.publish` says.
   */
  publishDirectly(
    user: string,
    messages: readonly Outward[],
    key?: { readonly key: string; readonly body: readonly (string | Uint8Array)[] },
  ): Promise<{ readonly sequences: readonly number[]; readonly isRepeated: boolean }>
}

export interface PublishRouteOptions {
  readonly publisher: Publisher
  /** Largest payload with its topic: limits.packet. */
  readonly packetBytes: number
  readonly clock: MicrosecondClock
}

type Query = Received<'POST /api/publish'>

/** The route that publishes messages: in JSON one or many, in any other media type the payload of one. */
export async function publishRoutes(app: FastifyInstance, options: PublishRouteOptions): Promise<void> {
  const { publisher, packetBytes, clock } = options
  const read = new PublishedMessages(packetBytes, clock)
  const route = routes['POST /api/publish']
  const budget = new BodyBudget(Math.max(1e6, packetBytes * 2))
  const parseJson = app.getDefaultJsonParser('error', 'error')
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))

  const { body: _, ...schema } = schemaOf(route)
  app.route<{ Body: Buffer | undefined; Querystring: Query }>({
    method: 'POST',
    url: '/api/publish',
    bodyLimit: budget.limit,
    config: { body: route.body },
    schema,
    preParsing: (request, reply) => budget.take(request, reply),
    handler: async (request, reply) => {
      const { user } = request.caller as Caller
      const body = request.body ?? Buffer.alloc(0)
      const isJson = request.query.topic === undefined && request.mediaType === 'application/json'
      const messages = isJson ? await readJson(request, body) : [read.fromBytes(request.query, body)]
      const key = keyOf(request)
      const [, query = ''] = request.url.split('?', 2)
      const distinguished = key === undefined ? undefined : { key, body: [isJson ? 'json\n' : `${query}\n`, body] }
      const { sequences, isRepeated } = await publisher.publishDirectly(user, messages, distinguished)
      if (isRepeated) reply.header('idempotent-replayed', 'true')
      return { messages: sequences.map(sequence => ({ sequence })) } satisfies Answer<'POST /api/publish'>
    },
  })

  async function readJson(request: FastifyRequest, body: Buffer): Promise<readonly Outward[]> {
    const given = await new Promise<unknown>((resolve, reject) => {
      const done = (error: Error | null, value?: unknown) => (error ? reject(error) : resolve(value))
      parseJson(request, body.toString(), done)
    })
    return read.fromJson(given, request.compileValidationSchema(publishedMessage, 'body'))
  }
}

/** Returns the Idempotency-Key of a request. Throws `bad_request` when that is not allowed. */
export function keyOf({ headers }: FastifyRequest): string | undefined {
  const key = headers['idempotency-key']
  if (key === undefined) return undefined
  if (typeof key === 'string' && /^[\x20-\x7e]{1,255}$/.test(key)) return key
  throw new HubError('bad_request', 'Idempotency-Key: allowed are 1 to 255 printable ASCII characters')
}
