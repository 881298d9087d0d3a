import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Answer, JobProgress } from '../contract/contract.js'
import { HubError } from '../errors.js'
import type { Auditor } from '../observe/audit.js'
import type { PipelineApi } from '../pipeline/pipeline-api.js'
import { isTopicFilter, isTopicName } from '../topics.js'
import { changeBy } from './changes.js'
import { callerName, type Guard } from './guard.js'
import { writeProgress } from './job-progress.js'
import { type RouteCall, serve } from './route.js'
import { thinningRule, withThinning } from './thinning-rules.js'

/** Somebody who asks for the mapping rules. */
interface MappingCaller {
  readonly user: string
  readonly mayEdit: boolean
}

type Rules = Answer<'GET /api/mapping'>

/** Keeps mapping rules. Implemented by `OwnMapping`. */
export interface MappingApi {
  list(editor: MappingCaller): Rules
  /** Replaces the rules that the hub keeps itself. Resolves when they are in force. */
  save(rules: readonly unknown[], editor: MappingCaller, match: string | undefined): Promise<Rules>
  /** Takes the last change back. Resolves when that is in force. */
  undo(editor: MappingCaller, match: string | undefined): Promise<Rules>
  /** Begins to replace the rules for the past, too. Resolves when that is on disk. */
  applyToPast(
    rules: readonly unknown[],
    past: PastSpan,
    editor: MappingCaller,
    match: string | undefined,
  ): Promise<void>
  /** Begins to take that back. */
  undoPast(editor: MappingCaller): Promise<void>
  /** The last change of the past, and how far it is. */
  readonly past: { readonly change: ChangeOfPast | undefined; readonly progress: JobProgress }
}

/** A span of received messages, in microseconds. */
interface PastSpan {
  readonly from: number
  readonly to: number
  readonly topic: string | undefined
}

/** A change of the past; `at` and `until` in milliseconds. */
interface ChangeOfPast extends Omit<NonNullable<Answer<'GET /api/mapping/past'>['change']>, 'from' | 'to' | 'topic'> {
  readonly past: PastSpan
}

interface MappingRoutesOptions {
  readonly mapping: MappingApi
  readonly pipeline: Pick<PipelineApi, 'checkRule' | 'noise' | 'inbox'>
  readonly guard: Guard
  readonly audit: Auditor
}

/** Largest body with rules. */
const bodyLimit = 1e6

/** Routes of mapping rules. */
export async function mappingRoutes(
  app: FastifyInstance,
  { mapping, pipeline, guard, audit }: MappingRoutesOptions,
): Promise<void> {
  const editorOf = ({ caller }: RouteCall) => ({ user: callerName(caller), mayEdit: caller.kind === 'admin' })
  const matchOf = ({ request }: RouteCall) => request.headers['if-match']

  serve(app, 'GET /api/mapping', (_asked, call) => tagged(mapping.list(editorOf(call)), call))

  serve(
    app,
    'POST /api/mapping',
    async ({ rules }, call) => {
      const answer = await mapping.save(rules, editorOf(call), matchOf(call))
      entered(call, 'change of mapping rules', answer.changes[0]?.what ?? '')
      return tagged(answer, call)
    },
    { bodyLimit },
  )

  serve(app, 'GET /api/inbox', asked => pipeline.inbox(asked))
  serve(app, 'GET /api/noise', asked => pipeline.noise(asked))

  serve(app, 'POST /api/noise/fix', async ({ series, deadband }, call) => {
    const { rules, revision } = mapping.list(editorOf(call))
    const written: Readonly<Record<string, unknown>>[] = []
    for (const key of series) written.push(await thinningRule(pipeline, key, deadband))
    const own = rules.filter(({ place }) => place.from === 'hub').map(({ rule }) => rule)
    const all = written.reduce<readonly Readonly<Record<string, unknown>>[]>(withThinning, own)
    // Meanwhile somebody may have changed the rules.
    const answer = await mapping.save(all, editorOf(call), matchOf(call) ?? revision)
    entered(call, 'change of mapping rules', answer.changes[0]?.what ?? '')
    return { ...tagged(answer, call), written }
  })

  serve(app, 'POST /api/mapping/undo', async (_asked, call) => {
    const undone = mapping.list(editorOf(call)).changes[0]?.what ?? ''
    const answer = await mapping.undo(editorOf(call), matchOf(call))
    entered(call, 'undo of a change of mapping rules', undone)
    return tagged(answer, call)
  })

  serve(
    app,
    'POST /api/mapping/check',
    asked => {
      const { topic, rule } = asked
      if (topic !== undefined && !isTopicName(topic)) {
        throw new HubError('bad_request', `topic: given ${JSON.stringify(topic)}, allowed is a topic without + and #`)
      }
      if (topic === undefined && rule === undefined) throw new HubError('bad_request', 'topic or rule is needed')
      return pipeline.checkRule(asked)
    },
    { bodyLimit },
  )

  serve(
    app,
    'POST /api/mapping/apply',
    async ({ rules, from, to, topic }, call) => {
      if (topic !== undefined && !isTopicFilter(topic))
        throw new HubError('bad_request', `topic: given ${JSON.stringify(topic)}, allowed is a topic filter`)
      const past = {
        from: Math.round(from * 1_000),
        to: to === undefined ? Number.MAX_SAFE_INTEGER : Math.round(to * 1_000),
        topic,
      }
      await mapping.applyToPast(rules, past, editorOf(call), matchOf(call))
      entered(call, 'rules for the past', JSON.stringify({ from, to, topic, rules }).slice(0, 2_000))
      return followPast(call)
    },
    { bodyLimit },
  )

  serve(app, 'POST /api/mapping/apply/undo', async (_asked, call) => {
    await mapping.undoPast(editorOf(call))
    entered(call, 'undo of rules for the past', mapping.past.change?.id ?? '')
    return followPast(call)
  })

  serve(app, 'GET /api/mapping/past', () => {
    const { change, progress } = mapping.past
    if (!change) return { progress }
    const { past, until, error, id, phase, by, at } = change
    return {
      change: {
        ...{ id, phase, by, at },
        from: past.from / 1_000,
        ...(past.to < Number.MAX_SAFE_INTEGER && { to: past.to / 1_000 }),
        ...(past.topic !== undefined && { topic: past.topic }),
        ...(until !== undefined && { until }),
        ...(error !== undefined && { error }),
      },
      progress,
    }
  })

  /** Sends a line of JSON at intervals, until the change ends. It goes on when the caller leaves. */
  async function followPast({ reply }: RouteCall): Promise<FastifyReply> {
    await writeProgress(reply.hijack().raw, () => mapping.past.progress)
    return reply
  }

  function entered(call: RouteCall, what: string, detail: string): void {
    audit.record({ ...changeBy(call, guard), result: 'ok', what, detail })
  }

  function tagged(answer: Rules, { reply }: RouteCall): Rules {
    reply.header('etag', answer.revision)
    return answer
  }
}
