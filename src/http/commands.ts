import type { FastifyInstance } from 'fastify'
import type { CommandRequest, DeviceCommand, ListedCommand } from '../commands/command.js'
import { commandRow } from '../commands/command-row.js'
import type { Answer, CommandRow, Received } from '../contract/contract.js'
import { HubError } from '../errors.js'
import type { Auditor } from '../observe/audit.js'
import type { PipelineApi } from '../pipeline/pipeline-api.js'
import { isTopicFilter, matches, requestsPrefix } from '../topics.js'
import { BodyBudget } from './body-budget.js'
import { changeBy } from './changes.js'
import { type Caller, callerName, type Guard } from './guard.js'
import { keyOf } from './publish.js'
import { bytesOf } from './published-messages.js'
import { type RouteCall, serve } from './route.js'

/** Sends commands, and knows what became of them. Implemented by `Commands`. */
export interface CommandsApi {
  send(request: CommandRequest): Promise<DeviceCommand>
  find(id: string): DeviceCommand | undefined
  list(isWanted: (command: ListedCommand) => boolean, most: number): readonly DeviceCommand[]
  cancel(id: string, by: string): Promise<DeviceCommand>
}

export interface CommandRoutesOptions {
  readonly commands: CommandsApi
  readonly pipeline: Pick<PipelineApi, 'commandTopics'>
  /** Largest payload with its topic. */
  readonly packetBytes: number
  readonly guard: Guard
  readonly audit: Auditor
}

type AskedCommand = Received<'POST /api/commands'>
type CommonFields = Pick<AskedCommand, 'payload' | 'encoding' | 'expiry' | 'wait'>

/** Routes that send, list and cancel commands. */
export async function commandRoutes(app: FastifyInstance, options: CommandRoutesOptions): Promise<void> {
  const { commands, pipeline, packetBytes, guard, audit } = options

  const send = async (
    topic: string,
    client: string | undefined,
    asked: CommonFields,
    { caller, request, reply }: RouteCall,
  ) => {
    const command = await commands.send({
      topic,
      payload: bytesOf(asked.payload, asked.encoding, sentence => new HubError('bad_request', `payload ${sentence}`)),
      client,
      expiryMs: asked.expiry && asked.expiry * 1_000,
      user: caller.user,
      caller: callerName(caller),
      address: guard.address(request.raw),
      via: 'http',
      key: keyOf(request),
      waitMs: asked.wait * 1_000,
    })
    if (command.isRepeated) reply.header('idempotent-replayed', 'true')
    return commandRow(command)
  }

  // A payload may be in base64, or a text that JSON escapes.
  const budget = () => new BodyBudget(Math.max(1e6, packetBytes * 2))

  serve(
    app,
    'POST /api/commands',
    async (asked, call) => send(await topicOf(asked, pipeline), asked.client, asked, call),
    { budget: budget() },
  )
  serve(app, 'POST /api/requests', (asked, call) => send(`${requestsPrefix}${asked.service}`, undefined, asked, call), {
    budget: budget(),
  })

  serve(app, 'GET /api/commands', ({ topic, client, state, open, limit }, { caller }) => {
    if (topic !== undefined && !isTopicFilter(topic)) {
      throw new HubError('bad_request', `topic: given ${JSON.stringify(topic)}, allowed is a topic filter`)
    }
    const isWanted = (command: ListedCommand) =>
      (topic === undefined || matches(topic, command.topic)) &&
      (client === undefined || client === command.client) &&
      (state === undefined || state === command.state) &&
      (open === undefined || open !== command.isOver) &&
      maySee(caller, command)
    return { commands: commands.list(isWanted, limit).map(shownTo(caller)) } satisfies Answer<'GET /api/commands'>
  })

  serve(app, 'GET /api/commands/:id', ({ id }, { caller }) => shownTo(caller)(found(id, caller)))

  serve(app, 'DELETE /api/commands/:id', async ({ id }, call) => {
    const { topic } = found(id, call.caller)
    const { access } = call.caller
    if (access && !access.mayPublish(topic)) throw new HubError('forbidden', `you may not publish to ${topic}`)
    const who = changeBy(call, guard)
    const command = await commands.cancel(id, who.user)
    audit.record({ ...who, event: 'command', result: 'cancelled', what: topic, detail: id })
    return shownTo(call.caller)(command)
  })

  function found(id: string, caller: Caller): DeviceCommand {
    const command = commands.find(id)
    if (command && maySee(caller, command)) return command
    throw new HubError('not_found', `there is no command ${JSON.stringify(id)}`)
  }
}

/** Returns what shows a command to a caller. */
function shownTo({ access }: Caller): (command: DeviceCommand) => CommandRow {
  return command => commandRow(command, topic => access === undefined || access.mayRead(topic))
}

/** Returns whether a caller may read the topic of a command, or has sent it. */
function maySee({ access, user }: Caller, command: ListedCommand): boolean {
  return access === undefined || (user !== '' && user === command.user) || access.mayRead(command.topic)
}

/** Resolves with the topic of a command; rejects when it is not clear. */
async function topicOf(
  { topic, device, entity }: AskedCommand,
  pipeline: Pick<PipelineApi, 'commandTopics'>,
): Promise<string> {
  if (topic !== undefined) {
    if (device === undefined && entity === undefined) return topic
    throw new HubError('bad_request', 'allowed is topic, or device with or without entity')
  }
  if (device === undefined) throw new HubError('bad_request', 'topic is missing; allowed is also device')
  const all = await pipeline.commandTopics(device)
  if (all.length === 0)
    throw new HubError('not_found', `no description names a topic for commands of ${JSON.stringify(device)}`)
  const meant = all.filter(one => entity === undefined || one.names.includes(entity))
  const topics = [...new Set(meant.map(one => one.topic))]
  if (topics.length === 1) return topics[0] as string
  const names = all.map(({ names }) => names[0]).join(', ')
  throw new HubError('bad_request', `${device} takes commands for several values; give entity, one of: ${names}`)
}
