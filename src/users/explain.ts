import { Access, type AccessRule, covers, type Resolved, ruleText } from '../access/rules.js'
import {
  isTopicFilter,
  isTopicName,
  isWildcard,
  matches,
  publishFault,
  shadowsPrefix,
  sharedFilter,
} from '../topics.js'
import { ClientIds } from './client-ids.js'
import type { Users } from './users.js'

export interface Question {
  readonly user: string
  readonly client: string
  readonly way: 'publish' | 'subscribe' | 'read'
  /** A filter when the question is about a subscription. */
  readonly topic: string
}

/** Maximum number of near rules shown. */
const most = 3

export interface Explanation {
  readonly allowed: boolean
  /** Sentences: the line that decides, or why no line does. */
  readonly lines: readonly string[]
  /** The rule that decides. Undefined when none does, or one that is built in. */
  readonly rule: AccessRule | undefined
}

/**
 * Explains whether a user may do something, and which line of the file decides. `wildcards`: subscriptions with
 * wildcards that one client may have when the user has no limit in the file.
 */
export function explain(
  { users, everyone }: Users,
  file: string,
  wildcards: number,
  { user: name, client, way, topic: asked }: Question,
): Explanation {
  const no = (...lines: string[]): Explanation => ({ allowed: false, lines, rule: undefined })
  const user = users.get(name)
  if (!user) return no(`there is no user ${name} in ${file}`)
  const clientFault = new ClientIds({ users, everyone }).fault(name, client)
  if (clientFault) return no(clientFault.detail)
  const shared = way === 'subscribe' ? sharedFilter(asked) : undefined
  if (shared && 'fault' in shared) return no(shared.fault)
  // Rules are about the filter that is shared, whatever the group.
  const topic = shared ? shared.filter : asked
  const isPlain = way === 'publish' && !topic.startsWith(shadowsPrefix)
  const fault = isPlain ? publishFault(topic) : topicFault(way === 'publish' ? 'read' : way, topic)
  if (fault) return no(fault)
  const access = new Access(name, client, [...user.rules, ...everyone])
  const { allowed, rule } = access[way](topic)
  if (rule) {
    const decided = access.rules.find(one => one.rule === rule)
    const lines = decided
      ? lineOf(decided, name, client)
      : [`built in: every client may ${rule.verb === 'read' ? 'read' : 'ask for'} ${rule.filter}`]
    if (!allowed) return { ...no(...lines, 'a matching deny overrides every allow'), rule: decided?.rule }
    if (way === 'subscribe' && isWildcard(topic) && (user.wildcards ?? wildcards) === 0) {
      const where =
        user.wildcards === undefined ? 'the settings: limits.wildcards is 0' : `${file}: ${name}.wildcards is 0`
      return no(...lines, `but ${where}: subscriptions with + or # are not allowed`)
    }
    const withheld = way === 'subscribe' ? access.withheld(topic) : []
    const rest = withheld.flatMap(one => lineOf(one, name, client))
    return {
      allowed,
      rule: decided?.rule,
      lines:
        rest.length > 0
          ? [...lines, 'but messages on topics that these rules match are not delivered:', ...rest]
          : lines,
    }
  }
  const near = nearest(access.rules, way, topic).flatMap(one => lineOf(one, name, client))
  const verb = way === 'subscribe' ? 'subscribe to' : way
  return no(
    `no rule allows user ${name} to ${verb} ${topic}`,
    ...(near.length > 0 ? ['nearest are:', ...near] : [`the user has no allow rules in ${file}`]),
  )
}

function topicFault(way: 'subscribe' | 'read', topic: string): string | undefined {
  if (way === 'read') return isTopicName(topic) ? undefined : `${topic}: a topic must not be empty or contain + or #`
  return isTopicFilter(topic) ? undefined : `${topic}: + and # stand alone in a level, # only as the last one`
}

function lineOf({ rule, filter }: Resolved, user: string, client: string): string[] {
  const names = [
    ...(rule.filter.includes('{user}') ? [`{user} is ${user}`] : []),
    ...(rule.filter.includes('{client}') ? [`{client} is ${client}`] : []),
  ]
  const line = `${rule.place}: ${ruleText(rule)}`
  return names.length > 0 ? [line, `  ${names.join(', ')}: ${filter}`] : [line]
}

/**
 * Returns the allowing rules that come near. First those for the same action: the more levels they share, the nearer.
 * Then those that allow another action on this topic.
 */
function nearest(rules: readonly Resolved[], way: Question['way'], topic: string): Resolved[] {
  const isAbout = ({ rule: { verb } }: Resolved) =>
    verb === 'all' || verb === way || (way === 'subscribe' && verb === 'read')
  const levels = topic.split('/')
  const shared = ({ filter }: Resolved) => {
    const differs = filter.split('/').findIndex((level, i) => level !== '+' && level !== levels[i])
    return differs < 0 ? levels.length : differs
  }
  const allowing = rules.filter(({ rule }) => rule.effect === 'allow')
  const alike = allowing.filter(isAbout).sort((a, b) => shared(b) - shared(a))
  const other = allowing.filter(one => !isAbout(one) && (way === 'subscribe' ? covers : matches)(one.filter, topic))
  return [...alike, ...other].slice(0, most)
}
