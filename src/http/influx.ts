import type { FastifyInstance, FastifyRequest } from 'fastify'
import { HubError } from '../errors.js'
import type { PipelineApi } from '../pipeline/pipeline-api.js'
import { type Caller, readRulesOf } from './guard.js'

/** The version whose answers these are like; clients look at the number. */
const version = '1.6.0-telehub'

/** Largest form. Statements are in it. */
const bodyLimit = 131_072

/**
 * The HTTP API of InfluxDB 1.x, as far as it reads: `/query` and `/ping`, for Grafana's InfluxDB data source and the
 * clients of InfluxDB. Requests and answers are those of InfluxDB, so they are in no contract of the hub.
 */
export async function influxRoutes(
  app: FastifyInstance,
  { pipeline }: { readonly pipeline: Pick<PipelineApi, 'influxql'> },
): Promise<void> {
  const schema = { hide: true }
  const config = { isInflux: true } as const
  app.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, (_request, body, done) =>
    done(null, new URLSearchParams(String(body))),
  )
  app.addHook('onSend', async (_request, reply) => {
    reply.header('x-influxdb-version', version).header('x-influxdb-build', 'telehub')
  })

  app.route({
    method: ['GET', 'HEAD'],
    url: '/ping',
    schema,
    config: { ...config, allow: 'anyone' },
    handler: (_request, reply) => reply.code(204).send(),
  })

  app.route({
    method: ['GET', 'POST'],
    url: '/query',
    bodyLimit,
    schema,
    config,
    handler: async (request, reply) => {
      const given = parametersOf(request)
      const q = given.get('q') ?? ''
      if (q === '') throw new HubError('bad_request', 'missing required parameter "q"')
      const { status, json } = await pipeline.influxql({
        question: {
          q,
          db: given.get('db') ?? undefined,
          epoch: given.get('epoch') ?? undefined,
          params: given.get('params') ?? undefined,
        },
        rules: readRulesOf(request.caller as Caller, '#'),
      })
      const bytes = Buffer.from(json.buffer, json.byteOffset, json.byteLength)
      return reply.code(status).header('content-type', 'application/json').send(bytes)
    },
  })
}

/** Parameters of the URL, and of a form; those of the form count. */
function parametersOf({ url, body }: FastifyRequest): URLSearchParams {
  const parameters = new URLSearchParams(url.split('?')[1] ?? '')
  if (body instanceof URLSearchParams) for (const [name, value] of body) parameters.set(name, value)
  return parameters
}
