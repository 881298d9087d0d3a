import type { FastifyInstance } from 'fastify'
import type { Access } from '../access/rules.js'
import type { Answer } from '../contract/contract.js'
import { HubError } from '../errors.js'
import type { Auditor } from '../observe/audit.js'
import type { PipelineApi } from '../pipeline/pipeline-api.js'
import { isTopicFilter, isTopicName } from '../topics.js'
import { changeBy } from './changes.js'
import { type Caller, type Guard, readRulesOf } from './guard.js'
import { serve } from './route.js'

/** Knows the retained messages. Implemented by `Broker`. */
export interface RetainedApi {
  /** Returns the retained message of a topic. */
  retainedOn(topic: string): Answer<'GET /api/topics/messages'>['retained']
  /** Resolves with those that the filter matches, at most `most` of them, of the topics that may be read. */
  listRetained(
    filter: string,
    reader: Pick<Access, 'mayRead'> | undefined,
    most: number,
  ): Promise<Answer<'GET /api/retained'>>
  /** Deletes those that the filter matches. Resolves with how many they were, once that is on disk. */
  clearRetainedUnder(filter: string): Promise<number>
}

interface ExploreRoutesOptions {
  readonly pipeline: Pick<PipelineApi, 'topics' | 'topicMessages'>
  readonly retained: RetainedApi
  readonly guard: Guard
  readonly audit: Auditor
}

type Topics = Answer<'GET /api/topics'>

/** Routes about topics and their messages, and about what is retained. */
export async function exploreRoutes(
  app: FastifyInstance,
  { pipeline, retained, guard, audit }: ExploreRoutesOptions,
): Promise<void> {
  serve(app, 'GET /api/topics', async (asked, { caller }) => {
    const json = await pipeline.topics({ ...asked, rules: readRulesOf(caller, '#') })
    const answer = JSON.parse(Buffer.from(json).toString()) as Topics
    const prefix = asked.search !== undefined || asked.under === undefined ? '' : `${asked.under}/`
    const levels = answer.levels.map(level =>
      level.own && retained.retainedOn(prefix + level.name)
        ? { ...level, own: { ...level.own, retained: true as const } }
        : level,
    )
    return { ...answer, levels }
  })

  serve(app, 'GET /api/topics/messages', async (asked, { caller }) => {
    const { topic } = asked
    if (!isTopicName(topic)) throw notTopic(topic)
    const answer = await pipeline.topicMessages({ ...asked, rules: readRulesOf(caller, '#') })
    const message = retained.retainedOn(topic)
    return { ...answer, mayPublish: mayPublish(caller, topic), ...(message && { retained: message }) }
  })

  serve(app, 'GET /api/retained', ({ filter, limit }, { caller }) => {
    if (!isTopicFilter(filter)) throw notFilter(filter)
    return retained.listRetained(filter, caller.access, limit)
  })

  serve(app, 'POST /api/retained/clear', async ({ filter }, call) => {
    if (!isTopicFilter(filter)) throw notFilter(filter)
    if (filter.startsWith('$hub/')) throw new HubError('bad_request', `${filter}: the hub keeps these by itself`)
    const cleared = await retained.clearRetainedUnder(filter)
    const what = 'delete retained messages'
    audit.record({ ...changeBy(call, guard), result: 'ok', what, detail: `${filter}: ${cleared}` })
    return { cleared }
  })
}

function mayPublish({ access }: Caller, topic: string): boolean {
  return !topic.startsWith('$') && (!access || access.mayPublish(topic))
}

function notTopic(topic: string): HubError {
  return new HubError('bad_request', `topic: given ${JSON.stringify(topic)}, allowed is a topic without + and #`)
}

function notFilter(filter: string): HubError {
  return new HubError('bad_request', `filter: given ${JSON.stringify(filter)}, allowed is a topic filter`)
}
