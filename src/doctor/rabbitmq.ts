import { describe, withoutPasswords } from '../errors.js'
import { lookAt, type Topology, topology } from '../rabbitmq/connection.js'
import { placeOf } from '../rabbitmq/nodes.js'
import { clockDifference } from './date-header.js'
import { type Check, type Examined, type Finding, fine, problem, warning } from './finding.js'
import { hubIdOf } from './hub-id.js'

const check = 'RabbitMQ'

/** Checks whether RabbitMQ answers, whether the user has the rights, and whether any policy loses messages. */
export const rabbitmq: Check = async examined => {
  const { settings } = examined
  const urls = settings['rabbitmq.url']
  if (urls.length === 0) return []
  const wanted = topology(hubIdOf(examined) ?? 'unknown', hubIdOf(examined) !== undefined)
  const found: Finding[] = []
  const away: Finding[] = []
  let answering: string | undefined
  for (const url of urls) {
    try {
      found.push(...(await lookAtOne(url, wanted, urls.length > 1)))
      answering ??= url
    } catch (error) {
      const said = withoutPasswords(describe(error)).replace(/^RabbitMQ: /, '')
      away.push(
        warning(
          check,
          `the node ${placeOf(url)} does not answer: ${said}`,
          'Start it, or take it out of rabbitmq.url; the hub uses the others.',
        ),
      )
      if (urls.length > 1) continue
      return [problem(check, said, remedy)]
    }
  }
  if (answering === undefined) {
    const all = away.map(({ seen }) => seen).join('; ')
    return [problem(check, all, remedy)]
  }
  return [...found, ...away, ...(await policies(examined, answering, wanted))]
}

const remedy = 'Start it, or fix rabbitmq.url; meanwhile the spool keeps arriving messages, up to spool.limit.'

/** Looks at one node. Rejects when it does not answer. */
async function lookAtOne(url: string, wanted: Topology, isNamed: boolean): Promise<Finding[]> {
  const found: Finding[] = []
  const node = isNamed ? ` at ${placeOf(url)}` : ''
  const { product, version, missing, refused } = await lookAt(url, wanted)
  for (const said of refused) {
    found.push(
      problem(
        check,
        `the user ${userOf(url)} lacks a right: ${said}`,
        `Give it all rights to telehub.*: rabbitmqctl set_permissions -p ${vhostOf(url)} ${userOf(url)} '^telehub\\.' '^telehub\\.' '^telehub\\.'.`,
      ),
    )
  }
  if (refused.length === 0) {
    const absent =
      missing.length > 0 ? `; not there yet, and made by the hub when it connects: ${missing.join(', ')}` : ''
    found.push(fine(check, `${product} ${version}${node} answers, and the user has the rights${absent}`))
  }
  return found
}

const userOf = (url: string) => decodeURIComponent(new URL(url).username) || 'guest'

const vhostOf = (url: string) => decodeURIComponent(new URL(url).pathname.slice(1)) || '/'

/** A queue as the management API describes it. */
export interface ManagedQueue {
  readonly name: string
  readonly type?: string
  readonly policy?: string | null
  readonly operator_policy?: string | null
  readonly effective_policy_definition?: Readonly<Record<string, unknown>> | readonly never[]
  readonly arguments?: Readonly<Record<string, unknown>>
  readonly members?: readonly string[]
  readonly online?: readonly string[]
  readonly messages?: number
  readonly consumers?: number
}

/** A policy of the virtual host, as the management API describes it. */
export interface ManagedPolicy {
  readonly name: string
  readonly pattern: string
  readonly 'apply-to': string
  readonly priority: number
  readonly definition: Readonly<Record<string, unknown>>
}

async function policies(examined: Examined, url: string, wanted: Topology): Promise<Finding[]> {
  const base = examined.management || managementOf(url)
  const authorization = `Basic ${Buffer.from(`${userOf(url)}:${decodeURIComponent(new URL(url).password) || 'guest'}`).toString('base64')}`
  const vhost = encodeURIComponent(vhostOf(url))
  const ask = (path: string) =>
    fetch(`${base}/api/${path}`, {
      headers: { authorization },
      redirect: 'manual',
      signal: AbortSignal.timeout(10_000),
    })
  let answer: Response
  try {
    answer = await ask(`queues/${vhost}`)
    if (!answer.ok) throw new Error(`it answers with status ${answer.status}`)
  } catch (error) {
    return [
      warning(
        'RabbitMQ policies',
        `not looked at: no management API at ${base} (${withoutPasswords(cause(error))})`,
        'Enable the plugin rabbitmq_management, give the user the tag management, or name its address with --management URL.',
      ),
    ]
  }
  const found = clockDifference('clock of RabbitMQ', answer.headers.get('date'), examined.clock.now())
  const queues = (await answer.json()) as ManagedQueue[]
  const own = queues.filter(({ name }) => wanted.some(({ queue }) => queue === name))
  const names = wanted.map(({ queue }) => queue)
  const listed: Finding[] = []
  for (const [kind, word] of [
    ['policies', 'policy'],
    ['operator-policies', 'operator policy'],
  ] as const) {
    // A user with the tag management alone may not list policies; the queues show which ones act, some seconds late.
    const all = await ask(`${kind}/${vhost}`)
    if (all.ok) listed.push(...judgePolicies((await all.json()) as ManagedPolicy[], names, word))
  }
  const told = new Set(listed.map(({ seen }) => afterName(seen)))
  const judged = [...listed, ...own.flatMap(judgeQueue).filter(({ seen }) => !told.has(afterName(seen)))]
  judged.push(...strangers(queues, wanted))
  if (judged.length === 0) {
    judged.push(
      fine('RabbitMQ policies', `nothing in them loses messages (${own.length} of ${wanted.length} queues are there)`),
    )
  }
  return [...found, ...judged]
}

/** Reports queues that no hub consumes: their hub is gone, or was started anew with another identity. */
export function strangers(queues: readonly ManagedQueue[], wanted: Topology): Finding[] {
  return queues
    .filter(({ name }) => name.startsWith('telehub.receipts.') && !wanted.some(({ queue }) => queue === name))
    .filter(({ messages = 0, consumers = 0 }) => messages > 0 && consumers === 0)
    .map(({ name, messages }) =>
      warning(
        'RabbitMQ queues',
        `${name} holds ${messages} receipts, and no hub with this id takes them`,
        `Start that hub, or, when it is gone or has got another identity (hub.json), delete the queue: rabbitmqctl delete_queue ${name}.`,
      ),
    )
}

function managementOf(url: string): string {
  const { protocol, hostname } = new URL(url)
  return protocol === 'amqps:' ? `https://${hostname}:15671` : `http://${hostname}:15672`
}

function cause(error: unknown): string {
  return describe((error as { cause?: unknown }).cause ?? error)
}

/** Harm of each key of a policy to a queue that must lose nothing. */
const losing: Readonly<Record<string, string>> = {
  'message-ttl': 'messages that wait longer are deleted',
  expires: 'the queue itself is deleted when nothing uses it for so long',
  'max-length': 'more messages push out those that wait, or are refused',
  'max-length-bytes': 'more bytes push out messages that wait, or are refused',
}

/** Reports faults of an existing queue of the hub. */
export function judgeQueue({
  name,
  type,
  policy,
  operator_policy,
  effective_policy_definition,
  members,
  online,
}: ManagedQueue): Finding[] {
  const found: Finding[] = []
  if (type !== undefined && type !== 'quorum') {
    found.push(
      problem(
        'RabbitMQ policies',
        `${name} is a ${type} queue, which may lose messages when its server fails, and the hub wants a quorum queue`,
        `Let its consumers empty it, then delete it (rabbitmqctl delete_queue ${name}); the hub makes it anew.`,
      ),
    )
  }
  const by = [policy && `policy ${policy}`, operator_policy && `operator policy ${operator_policy}`]
    .filter(Boolean)
    .join(' and ')
  const definition = Array.isArray(effective_policy_definition) ? {} : (effective_policy_definition ?? {})
  found.push(...losses(name, definition as Readonly<Record<string, unknown>>, by || 'a policy'))
  if (members && online && online.length * 2 <= members.length) {
    found.push(
      problem(
        'RabbitMQ policies',
        `${name} has ${online.length} of ${members.length} members online: without a majority it takes nothing`,
        'Start the RabbitMQ servers that are down.',
      ),
    )
  }
  return found
}

/** Returns the part of a finding that does not depend on the name of the policy. */
const afterName = (seen: string) => seen.replace(/^.*? gives /, '')

/** Reports the harm that policies do to these queues, or will do when the queues are created. */
export function judgePolicies(all: readonly ManagedPolicy[], names: readonly string[], word = 'policy'): Finding[] {
  return names.flatMap(name => {
    const fitting = all
      .filter(one => ['queues', 'quorum_queues', 'all'].includes(one['apply-to']) && isMatch(one.pattern, name))
      .sort((a, b) => b.priority - a.priority)
    const [first] = fitting
    return first ? losses(name, first.definition, `${word} ${first.name}`) : []
  })
}

function isMatch(pattern: string, name: string): boolean {
  try {
    return new RegExp(pattern).test(name)
  } catch {
    // Not every regular expression of Erlang is valid in JavaScript.
    return false
  }
}

function losses(queue: string, definition: Readonly<Record<string, unknown>>, by: string): Finding[] {
  return Object.entries(losing)
    .filter(([key]) => definition[key] !== undefined)
    .map(([key, effect]) =>
      problem(
        'RabbitMQ policies',
        `${by} gives ${queue} ${key} ${String(definition[key])}: ${effect}`,
        `Take ${key} out of it, or let its pattern leave out telehub.*: (rabbitmqctl list_policies shows them all).`,
      ),
    )
}
