import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Asked } from '../contract/contract.js'
import { object, string } from '../contract/schema.js'
import { HubError } from '../errors.js'
import { parseSeriesKey, type SeriesId } from '../model.js'
import type { Auditor } from '../observe/audit.js'
import type { Metrics } from '../observe/metrics.js'
import type { PipelineApi } from '../pipeline/pipeline-api.js'
import type { DeadLetterFilter } from '../queue/queue.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { isTopicFilter, isTopicName } from '../topics.js'
import { alertRoutes } from './alerts.js'
import { boardRoutes } from './boards.js'
import { changeBy } from './changes.js'
import { type DevicesApi, deviceRoutes } from './devices.js'
import { type Guard, readRulesOf } from './guard.js'
import type { HubHealth } from './health.js'
import { writeProgress } from './job-progress.js'
import { RequestRefused } from './refusals.js'
import { type RouteCall, schemaOfText, serve } from './route.js'
import { type SessionsApi, sessionListRoutes } from './session-list.js'

export interface ApiRoutesOptions {
  readonly pipeline: PipelineApi
  readonly sessions: SessionsApi
  readonly devices: DevicesApi
  readonly health: Pick<HubHealth, 'ready' | 'starts' | 'hubId'>
  readonly metrics: Pick<Metrics, 'text' | 'contentType'>
  readonly clock: MicrosecondClock
  readonly guard: Guard
  readonly audit: Auditor
}

type Job = Parameters<PipelineApi['begin']>[0]
type ChangeOfSeries = Parameters<PipelineApi['changeSeries']>[0]

const jobNames = {
  replay: 'replay of dead letters',
  drop: 'drop of dead letters',
  past: 'replay of the spool',
  diff: 'comparison of mappings',
  swap: 'rules for the past',
} as const satisfies Record<Job['kind'], string>

/** Largest body with mapping rules. */
const rulesLimit = 1e6

/** Routes of the contract that are answered by the pipeline, and those that are in no contract. */
export async function apiRoutes(app: FastifyInstance, options: ApiRoutesOptions): Promise<void> {
  const { pipeline, sessions, devices, health, metrics, clock, guard, audit } = options

  serve(app, 'GET /healthz', () => ({ healthy: true as const }))

  serve(app, 'GET /readyz', async (_asked, { request, reply }) => {
    const answer = await health.ready()
    const { ready } = answer
    // Unauthenticated callers do not see what the hub depends on, nor where that is.
    const isKnown = await guard.identify(request).then(
      ({ kind, share }) => kind !== 'device' && !share,
      (error: unknown) => {
        // A wrong key is counted here, too. A caller without a key gets an answer.
        if (error instanceof RequestRefused) guard.report(request.raw, error.httpStatus, error)
        return false
      },
    )
    reply.code(ready ? 200 : 503)
    return isKnown ? answer : { ready }
  })

  const metricsSchema = schemaOfText('The metrics, for Prometheus', 'text/plain', string())
  app.get('/metrics', { schema: metricsSchema }, async (_request, reply) => {
    const text = await metrics.text()
    return reply.header('content-type', metrics.contentType).send(text)
  })

  serve(app, 'GET /api/starts', () => ({ starts: [...health.starts] }))

  serve(app, 'GET /api/series', ({ limit, after, search }, { caller }) =>
    pipeline.series({ limit, after, search, rules: readRulesOf(caller, '#') }),
  )

  serve(app, 'GET /api/history', (asked, { caller }) => {
    const series = seriesOf(asked.series, 'series')
    const to = asked.to ?? clock.now() / 1_000
    const from = asked.from ?? to - 3_600_000
    if (from > to) throw new HubError('bad_request', `from (${from}) is after to (${to})`)
    const { points, fn } = asked
    const query = { series, from: Math.round(from * 1_000), to: Math.round(to * 1_000), points, fn }
    // The chart of a shared board may be of a device that is not on the board.
    const rules = caller.share?.series.includes(asked.series) ? undefined : readRulesOf(caller, '#')
    return pipeline.history({ query, rules })
  })

  serve(app, 'POST /api/series/rename', async ({ series, to }, call) => {
    await changeSeries(call, { kind: 'rename', series: seriesOf(series, 'series'), to: seriesOf(to, 'to') })
    return { changed: true as const }
  })
  serve(app, 'POST /api/series/drop', async ({ series }, call) => {
    await changeSeries(call, { kind: 'drop', series: seriesOf(series, 'series') })
    return { changed: true as const }
  })
  serve(app, 'POST /api/series/retype', async ({ series, type }, call) => {
    const replayed = await changeSeries(call, { kind: 'retype', series: seriesOf(series, 'series'), type })
    return { changed: true as const, replayed }
  })

  serve(app, 'POST /api/map/try', ({ topic, payload }) => {
    if (!isTopicName(topic)) {
      throw new HubError('bad_request', `topic: given ${JSON.stringify(topic)}, allowed is a topic without + and #`)
    }
    return pipeline.tryMapping({ topic, payload: Buffer.from(payload, 'base64') })
  })

  serve(app, 'GET /api/dead', ({ limit, ...filter }) => pipeline.dead({ filter: filterOf(filter), limit }))

  for (const kind of ['replay', 'drop'] as const) {
    serve(app, `POST /api/dead/${kind}`, ({ all, ...filter }, call) => {
      // The name of an outlet alone selects whose letters are meant, and no letters.
      if (!all && Object.keys(filter).every(name => name === 'outlet')) {
        throw new HubError(
          'bad_request',
          'no letters selected; allowed are id, reason, device, topic, from and to, or all: true',
        )
      }
      return runJob(call, { kind, filter: filterOf(filter) })
    })
  }

  serve(app, 'GET /api/hubs', async () => ({ hubs: [...(await pipeline.hubs())] }))
  serve(app, 'GET /api/balance', query => pipeline.balance(query))

  serve(app, 'GET /api/store', query => pipeline.store(query))

  serve(app, 'GET /api/spool', async () => {
    const { segments, cursors, archive, ...more } = await pipeline.spool()
    const ms = (time: number | undefined) => (time === undefined ? undefined : time / 1_000)
    return {
      ...more,
      segments: segments.map(segment => ({ ...segment, from: ms(segment.from), to: ms(segment.to) })),
      cursors: cursors.map(cursor => ({ ...cursor, oldest: ms(cursor.oldest) })),
      ...(archive && { archive: { ...archive, from: ms(archive.from), to: ms(archive.to) } }),
    }
  })

  serve(app, 'GET /api/find', (asked, { caller }) => {
    if (asked.topic !== undefined && !isTopicFilter(asked.topic)) throw notFilter(asked.topic)
    return pipeline.find({ ...asked, rules: readRulesOf(caller, '#') })
  })

  serve(app, 'POST /api/backup/hold', async ({ seconds }, call) => {
    const store = await pipeline.holdStore(seconds * 1_000)
    audit.record({ ...changeBy(call, guard), result: 'ok', what: 'hold of the store for a backup' })
    return { hub: health.hubId, store }
  })
  serve(app, 'POST /api/backup/release', async () => {
    await pipeline.releaseStore()
    return { hub: health.hubId }
  })

  serve(app, 'POST /api/spool/replay', (asked, call) => runJob(call, { kind: 'past', past: pastOf(asked) }))

  serve(
    app,
    'POST /api/mapping/diff',
    ({ rules, ...asked }, call) => runJob(call, { kind: 'diff', past: pastOf(asked), rules }),
    { bodyLimit: rulesLimit },
  )

  function pastOf({ from, to = clock.now() / 1_000, topic }: Omit<Asked<'POST /api/mapping/diff'>, 'rules'>) {
    if (topic !== undefined && !isTopicFilter(topic)) throw notFilter(topic)
    return { from: Math.round(from * 1_000), to: Math.round(to * 1_000), topic }
  }

  await app.register(alertRoutes, { pipeline, clock, guard, audit })
  await app.register(boardRoutes, { pipeline, guard, audit })
  await app.register(deviceRoutes, { devices, pipeline, guard, audit })
  await app.register(sessionListRoutes, { sessions, guard, audit })

  async function changeSeries(call: RouteCall, change: ChangeOfSeries): Promise<boolean> {
    const isComplete = await pipeline.changeSeries(change)
    audit.record({
      ...changeBy(call, guard),
      result: 'ok',
      what: `${change.kind} series`,
      detail: JSON.stringify(call.request.body),
    })
    return isComplete
  }

  /**
   * Sends a line of JSON at intervals, so that the caller sees the job go on. The job is cancelled when the caller
   * disconnects.
   */
  async function runJob(call: RouteCall, job: Job): Promise<FastifyReply> {
    const { request, reply } = call
    const number = await pipeline.begin(job)
    const who = { ...changeBy(call, guard), what: jobNames[job.kind] }
    audit.record({ ...who, result: 'begun', detail: JSON.stringify(request.body).slice(0, 2_000) })
    let gone = false
    const { raw } = reply.hijack()
    const leave = () => {
      gone = true
      // A thread that has ended has no job to cancel.
      pipeline.cancel(number).catch(() => {})
    }
    if (raw.destroyed) leave()
    else raw.once('close', leave)
    const { done, stored, dropped, kept, error } = await writeProgress(raw, () => pipeline.progress(number))
    const detail = `${done} done, ${stored} stored, ${dropped} dropped, ${kept} kept${error ? `: ${error}` : ''}`
    audit.record({ ...who, result: error ? 'failed' : gone ? 'given up' : 'ok', detail })
    return reply
  }

  const ownSchema = schemaOfText('This description, in OpenAPI', 'application/json', object({ openapi: string() }))
  app.get('/api/openapi.json', { schema: ownSchema }, async () => app.swagger())
}

function seriesOf(key: string, name: string): SeriesId {
  const series = parseSeriesKey(key)
  if (series) return series
  throw new HubError('bad_request', `${name}: given ${JSON.stringify(key)}, allowed is a key from /api/series`)
}

function notFilter(topic: string): HubError {
  return new HubError('bad_request', `topic: given ${JSON.stringify(topic)}, allowed is a topic filter`)
}

function filterOf({
  id,
  outlet,
  reason,
  device,
  topic,
  from,
  to,
}: Omit<Asked<'GET /api/dead'>, 'limit'>): DeadLetterFilter {
  if (topic !== undefined && !isTopicFilter(topic)) throw notFilter(topic)
  const micros = (ms: number | undefined) => (ms === undefined ? undefined : Math.round(ms * 1_000))
  return { id, outlet, reason, clientId: device, topic, from: micros(from), to: micros(to) }
}
