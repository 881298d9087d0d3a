import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ReadRules } from '../auth/rules.js'
import { describe, HubError } from '../errors.js'
import { type JobProgress, parseSeriesKey } from '../model.js'
import type { Auditor } from '../observe/audit.js'
import type { DeadLetterFilter } from '../queue/queue.js'
import { type Aggregate, aggregates, type HistoryQuery } from '../store/store.js'
import { hubTopics, isTopicFilter } from '../topics.js'
import { type Caller, callerName, type Guard, readRulesOf } from './guard.js'
import { RequestRefused } from './refusals.js'
import { type SessionsApi, sessionListRoutes } from './session-list.js'

/**
 * Questions of the API to the hub. Bytes are JSON, made elsewhere. With `rules` an answer holds only what these allow
 * to read.
 */
export interface Api extends SessionsApi {
  readonly series: (query: {
    readonly limit: number
    readonly after: string | undefined
    readonly rules: ReadRules | undefined
  }) => Promise<Uint8Array>
  /**
   * Rejects with `forbidden` when the rules do not allow to read the series, or the mapping does not make that series.
   */
  readonly history: (query: HistoryQuery, rules: ReadRules | undefined) => Promise<Uint8Array>
  readonly devices: (rules: ReadRules | undefined) => Promise<Uint8Array>
  readonly dead: (filter: DeadLetterFilter, limit: number) => Promise<Uint8Array>
  readonly balance: (query: BalanceParameters) => Promise<Uint8Array>
  readonly spool: () => Promise<SpoolAnswer>
  /** Begins to replay or drop. Resolves with the number of the job, for `progress` and `cancel`. */
  readonly begin: (job: JobRequest) => Promise<number>
  readonly progress: (job: number) => Promise<JobProgress>
  readonly cancel: (job: number) => void
  /** Other sites whose pages may ask for changes; `*` is every one. */
  readonly origins: readonly string[]
  readonly ready: () => Promise<{ readonly ready: boolean } & Readonly<Record<string, unknown>>>
  readonly metrics: () => Promise<{ readonly text: string; readonly contentType: string }>
  readonly now: () => number
}

interface BalanceParameters {
  readonly hours: number
  readonly device: string | undefined
  readonly limit: number
}

type JobRequest =
  | { readonly kind: 'replay' | 'drop'; readonly filter: DeadLetterFilter }
  | { readonly kind: 'past'; readonly past: { from: number; to: number; topic: string | undefined } }

/** Times in microseconds. */
interface SpoolAnswer {
  readonly segments: readonly { readonly from: number | undefined; readonly to: number | undefined }[]
  readonly cursors: readonly { readonly oldest: number | undefined }[]
}

const problem = {
  type: 'object',
  properties: { error: { type: 'string' }, message: { type: 'string' } },
  required: ['error', 'message'],
} as const

const limit = { type: 'integer', minimum: 1, maximum: 100_000, default: 10_000 } as const

/** Times up to the year 10000, which every store can hold. */
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

const letterFilter = {
  id: { type: 'string', description: 'One letter, by the id that the list shows' },
  reason: { type: 'string' },
  device: { type: 'string', description: 'Client id' },
  from: { ...instant, description: 'When it failed: milliseconds since the epoch, included' },
  to: { ...instant, description: 'Not included' },
} as const

interface LetterParameters {
  id?: string
  reason?: string
  device?: string
  from?: number
  to?: number
  all?: true
}

function filterOf({ id, reason, device, from, to }: LetterParameters): DeadLetterFilter {
  const micros = (ms: number | undefined) => (ms === undefined ? undefined : Math.round(ms * 1_000))
  return { id, reason, clientId: device, from: micros(from), to: micros(to) }
}

const jobNames = {
  replay: 'replay of dead letters',
  drop: 'drop of dead letters',
  past: 'replay of the spool',
} as const satisfies Record<JobRequest['kind'], string>

/** Interval of the progress lines of a job. */
const progressEveryMs = 250

/** The route table. A route without `config.allow` is for all who may read. */
export async function apiRoutes(
  app: FastifyInstance,
  { api, guard, audit }: { api: Api; guard: Guard; audit: Auditor },
): Promise<void> {
  const hide = { schema: { hide: true } }
  const unasked = { ...hide, config: { allow: 'anyone' } } as const
  app.get('/healthz', unasked, async () => ({ healthy: true }))

  const readyRoute = {
    config: { allow: 'anyone' },
    schema: {
      summary: 'Whether publishes are taken (200) or refused (503)',
      description:
        'Users also see `dependencies`, `waiting`, `alarms` (over when their cause is) and `incidents`: by kind what was ' +
        'lost, truncated or set aside since the start, and clocks that jumped, with `count`, `first`, `last`, `detail` ' +
        'and `lost` {messages, bytes}.',
    },
  } as const
  app.get('/readyz', readyRoute, async (request, reply) => {
    const answer = await api.ready()
    const { ready } = answer
    // Unauthenticated callers do not see what the hub depends on, nor where that is.
    const isKnown = await guard.identify(request).then(
      ({ kind }) => kind !== 'device',
      (error: unknown) => {
        // A wrong key is counted here, too. A caller without a key gets an answer.
        if (error instanceof RequestRefused) guard.report(request.raw, error.httpStatus, error)
        return false
      },
    )
    return reply.code(ready ? 200 : 503).send(isKnown ? answer : { ready })
  })

  app.get('/metrics', hide, async (_request, reply) => {
    const { text, contentType } = await api.metrics()
    return reply.header('content-type', contentType).send(text)
  })

  app.get<{ Querystring: { limit: number; after?: string } }>(
    '/api/series',
    {
      schema: {
        summary: 'A page of the series, each with its newest value; `next` is there when there are more',
        querystring: {
          type: 'object',
          properties: { limit, after: { type: 'string', description: '`next` of the page before' } },
        },
      },
    },
    async (request, reply) => {
      const { limit, after } = request.query
      return sendJson(reply, await api.series({ limit, after, rules: rulesOf(request, '#') }))
    },
  )

  app.get<{ Querystring: HistoryParameters }>('/api/history', { schema: historySchema }, async (request, reply) => {
    const { query } = request
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
    const wanted = { series, from: Math.round(from * 1_000), to: Math.round(to * 1_000), points, fn }
    return sendJson(reply, await api.history(wanted, rulesOf(request, '#')))
  })

  app.get('/api/devices', { schema: { summary: 'MQTT clients: online or not, last seen' } }, async (request, reply) =>
    sendJson(reply, await api.devices(rulesOf(request, hubTopics.everyPresence))),
  )

  app.get<{ Querystring: LetterParameters & { limit: number } }>(
    '/api/dead',
    {
      config: { allow: 'everything' },
      schema: {
        summary: 'Messages that could not be stored, with the reason, the newest first; payload in base64',
        querystring: {
          type: 'object',
          additionalProperties: false,
          properties: { ...letterFilter, limit: { ...limit, default: 100 } },
        },
      },
    },
    async ({ query }, reply) => sendJson(reply, await api.dead(filterOf(query), query.limit)),
  )

  for (const [kind, summary] of [
    ['replay', 'Handles dead letters again, after a fix; what is stored now is taken out of them'],
    ['drop', 'Takes dead letters out for good'],
  ] as const) {
    app.post<{ Body: LetterParameters }>(
      `/api/dead/${kind}`,
      {
        config: { allow: 'change' },
        schema: {
          summary,
          description: 'Answers with a line of JSON every so often: how far it is. The last one is `finished`.',
          body: { type: 'object', additionalProperties: false, properties: { ...letterFilter, all: { const: true } } },
        },
      },
      (request, reply) => {
        const { all, ...filter } = request.body
        if (!all && Object.keys(filter).length === 0) {
          throw new HubError('bad_request', 'which ones? Allowed are id, reason, device, from and to, or all: true')
        }
        return runJob(request, reply, { kind, filter: filterOf(filter) })
      },
    )
  }

  app.get<{ Querystring: { hours: number; device?: string; limit: number } }>(
    '/api/balance',
    {
      config: { allow: 'everything' },
      schema: {
        summary: 'What became of everything received: in all, by hour, and by device and hour; `residual` should be 0',
        description: '`lost` is no term of the sum: messages that incidents (see /readyz) report as lost.',
        querystring: {
          type: 'object',
          additionalProperties: false,
          properties: {
            hours: { type: 'integer', minimum: 1, maximum: 2_160, default: 24 },
            device: { type: 'string', description: 'Client id: only its rows' },
            limit: { ...limit, default: 1_000, description: 'Rows of devices' },
          },
        },
      },
    },
    async ({ query: { hours, device, limit } }, reply) => sendJson(reply, await api.balance({ hours, device, limit })),
  )

  const spoolRoute = {
    config: { allow: 'everything' },
    schema: { summary: 'The segments of the spool, and where its readers are' },
  } as const
  app.get('/api/spool', spoolRoute, async () => {
    const { segments, cursors, ...more } = await api.spool()
    const ms = (time: number | undefined) => (time === undefined ? undefined : time / 1_000)
    return {
      ...more,
      segments: segments.map(segment => ({ ...segment, from: ms(segment.from), to: ms(segment.to) })),
      cursors: cursors.map(cursor => ({ ...cursor, oldest: ms(cursor.oldest) })),
    }
  })

  app.post<{ Body: { from: number; to?: number; topic?: string } }>(
    '/api/spool/replay',
    {
      config: { allow: 'change' },
      schema: {
        summary: 'Handles messages again that the spool has kept (spool.keep), as under a new mapping',
        description: 'Answers as /api/dead/replay.',
        body: {
          type: 'object',
          required: ['from'],
          additionalProperties: false,
          properties: {
            from: { ...instant, description: 'When it was received: milliseconds since the epoch, included' },
            to: { ...instant, description: 'Not included; default now' },
            topic: { type: 'string', description: 'Topic filter; default all' },
          },
        },
      },
    },
    (request, reply) => {
      const { from, to = api.now() / 1_000, topic } = request.body
      if (topic !== undefined && !isTopicFilter(topic)) {
        throw new HubError('bad_request', `topic: given ${JSON.stringify(topic)}, allowed is a topic filter`)
      }
      const past = { from: Math.round(from * 1_000), to: Math.round(to * 1_000), topic }
      return runJob(request, reply, { kind: 'past', past })
    },
  )

  await app.register(sessionListRoutes, { api, guard, audit })

  /**
   * Sends a line of JSON at intervals, so that the caller sees the job go on. The job is cancelled when the caller
   * disconnects.
   */
  async function runJob(request: FastifyRequest, reply: FastifyReply, job: JobRequest): Promise<FastifyReply> {
    const number = await api.begin(job)
    const who = {
      event: 'change',
      user: callerName(request.caller as Caller),
      address: guard.address(request.raw),
      via: 'http',
      what: jobNames[job.kind],
    } as const
    audit.record({ ...who, result: 'begun', detail: JSON.stringify(request.body) })
    let gone = false
    const { raw } = reply.hijack()
    const leave = () => {
      gone = true
      api.cancel(number)
    }
    if (raw.destroyed) leave()
    else raw.once('close', leave)
    let last: JobProgress = { done: 0, stored: 0, dropped: 0, kept: 0, finished: false }
    raw.writeHead(200, { 'content-type': 'application/x-ndjson; charset=utf-8' })
    try {
      for (let pause = 20; ; pause = Math.min(pause * 2, progressEveryMs)) {
        last = await api.progress(number)
        raw.write(`${JSON.stringify(last)}\n`)
        if (last.finished || gone) break
        await sleep(pause)
      }
    } catch (error) {
      last = { ...last, finished: true, error: describe(error) }
      raw.write(`${JSON.stringify(last)}\n`)
    }
    const { done, stored, dropped, kept, error } = last
    const detail = `${done} done, ${stored} stored, ${dropped} dropped, ${kept} kept${error ? `: ${error}` : ''}`
    audit.record({ ...who, result: error ? 'failed' : gone ? 'given up' : 'ok', detail })
    raw.end()
    return reply
  }

  app.get('/api/openapi.json', hide, async () => app.swagger())
}

/** Returns the rules for what the caller may read of the topics that `filter` matches. Undefined: all of them. */
function rulesOf({ caller }: FastifyRequest, filter: string): ReadRules | undefined {
  return readRulesOf(caller as Caller, filter)
}

function sendJson(
  reply: { header(name: string, value: string): { send(body: Buffer): unknown } },
  body: Uint8Array,
): unknown {
  return reply
    .header('content-type', 'application/json; charset=utf-8')
    .send(Buffer.from(body.buffer, body.byteOffset, body.byteLength))
}
