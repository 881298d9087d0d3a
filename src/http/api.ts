import type { FastifyInstance } from 'fastify'
import { HubError } from '../errors.js'
import { parseSeriesKey } from '../model.js'
import { type Aggregate, aggregates, type HistoryQuery } from '../store/store.js'

/** What the API asks of the hub. Bytes are JSON, made elsewhere. */
export interface Api {
  readonly series: (limit: number) => Promise<Uint8Array>
  readonly history: (query: HistoryQuery) => Promise<Uint8Array>
  readonly devices: () => Promise<Uint8Array>
  readonly dead: (limit: number) => Promise<Uint8Array>
  readonly ready: () => Promise<{ readonly ready: boolean; readonly dependencies: readonly unknown[] }>
  readonly metrics: () => Promise<{ readonly text: string; readonly contentType: string }>
  readonly now: () => number
}

const problem = {
  type: 'object',
  properties: { error: { type: 'string' }, message: { type: 'string' } },
  required: ['error', 'message'],
} as const

const limit = { type: 'integer', minimum: 1, maximum: 100_000, default: 10_000 } as const

/** Up to the year 10000: what every store can hold. */
const instant = { type: 'number', minimum: 0, maximum: 253_402_300_800_000 } as const

const historySchema = {
  summary: 'The readings of one series, or one value per window when there are more than `points`',
  querystring: {
    type: 'object',
    required: ['series'],
    properties: {
      series: { type: 'string', description: 'A key from /api/series' },
      from: { ...instant, description: 'Milliseconds since the epoch, included; default an hour before `to`' },
      to: { ...instant, description: 'Milliseconds since the epoch, not included; default now' },
      points: { type: 'integer', minimum: 1, maximum: 100_000, default: 500 },
      fn: { type: 'string', enum: aggregates, default: 'mean' },
    },
  },
  response: { '4xx': problem, '5xx': problem },
} as const

interface HistoryParameters {
  series: string
  from?: number
  to?: number
  points: number
  fn: Aggregate
}

/** The route table. */
export async function apiRoutes(app: FastifyInstance, api: Api): Promise<void> {
  const hide = { schema: { hide: true } }
  app.get('/healthz', hide, async () => ({ healthy: true }))

  app.get('/readyz', hide, async (_request, reply) => {
    const answer = await api.ready()
    return reply.code(answer.ready ? 200 : 503).send(answer)
  })

  app.get('/metrics', hide, async (_request, reply) => {
    const { text, contentType } = await api.metrics()
    return reply.header('content-type', contentType).send(text)
  })

  app.get<{ Querystring: { limit: number } }>(
    '/api/series',
    {
      schema: { summary: 'All series with their newest value', querystring: { type: 'object', properties: { limit } } },
    },
    async ({ query }, reply) => sendJson(reply, await api.series(query.limit)),
  )

  app.get<{ Querystring: HistoryParameters }>('/api/history', { schema: historySchema }, async ({ query }, reply) => {
    const series = parseSeriesKey(query.series)
    if (!series) {
      throw new HubError(
        'bad_request',
        `series: given ${JSON.stringify(query.series)}, allowed is a key from /api/series`,
      )
    }
    const to = query.to ?? api.now() / 1_000
    const from = query.from ?? to - 3_600_000
    if (from > to) throw new HubError('bad_request', `from (${from}) is after to (${to})`)
    const { points, fn } = query
    return sendJson(
      reply,
      await api.history({ series, from: Math.round(from * 1_000), to: Math.round(to * 1_000), points, fn }),
    )
  })

  app.get('/api/devices', { schema: { summary: 'MQTT clients: online or not, last seen' } }, async (_request, reply) =>
    sendJson(reply, await api.devices()),
  )

  app.get<{ Querystring: { limit: number } }>(
    '/api/dead',
    {
      schema: {
        summary: 'Messages that could not be stored, with the reason; payload in base64',
        querystring: { type: 'object', properties: { limit: { ...limit, default: 100 } } },
      },
    },
    async ({ query }, reply) => sendJson(reply, await api.dead(query.limit)),
  )

  app.get('/api/openapi.json', hide, async () => app.swagger())
}

function sendJson(
  reply: { header(name: string, value: string): { send(body: Buffer): unknown } },
  body: Uint8Array,
): unknown {
  return reply
    .header('content-type', 'application/json; charset=utf-8')
    .send(Buffer.from(body.buffer, body.byteOffset, body.byteLength))
}
