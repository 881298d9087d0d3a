/** Topic names, and the one matcher of topic filters. Pure; the browser may import this file, too. */

/** Hub topics (`$hub/…`): only the hub publishes there. Client ids are percent-encoded into one level. */
export const hubTopics = {
  presence: (clientId: string) => `$hub/presence/${encodeLevel(clientId)}`,
  everyPresence: '$hub/presence/+',
  last: (topic: string) => `$hub/last/${topic}`,
  why: (clientId: string) => `$hub/why/${encodeLevel(clientId)}`,
  everyWhy: '$hub/why/+',
  /** The revision of the catalogue of devices. */
  home: '$hub/home',
  /** The state of a command. */
  command: (id: string) => `$hub/commands/${id}`,
  /** Topic on which the device that got a command may answer. */
  commandAnswer: (id: string) => `$hub/commands/${id}/answer`,
  /** One alert, while it is not cleared. Alerts of the hub itself are of the series `hub`. */
  alert: (rule: string, series: string) => `$hub/alerts/${encodeLevel(rule)}/${encodeLevel(series || 'hub')}`,
  /** How up to date the reading client is; made for each client, and reached by no wildcard. */
  feed: '$hub/feed',
}

/** Returns the topic for the responses to a client's requests; sent to a client that asks for one. (MQTT 5 §4.10) */
export function responsesTo(clientId: string): string {
  return `replies/${encodeLevel(clientId)}`
}

/** Percent-encodes `%`, `/`, `+`, `#` and control characters (UTF-8), so that any text fits one topic level. */
export function encodeLevel(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not pass
  return text.replace(/[%/+#\u0000-\u001f\u007f]/g, percent)
}

/**
 * Converts an MQTT topic to an AMQP routing key: `/` becomes `.`; `%`, `.`, `*`, `#` inside a level are
 * percent-encoded, so the way back is exact. AMQP topic bindings then work level by level: `home.#` binds all below
 * `home/`.
 */
export function routingKeyOf(topic: string): string {
  return /[%.*#]/.test(topic)
    ? topic
        .split('/')
        .map(level => level.replace(/[%.*#]/g, percent))
        .join('.')
    : topic.replaceAll('/', '.')
}

/** Reverses {@link routingKeyOf}. */
export function topicOf(routingKey: string): string {
  const topic = routingKey.replaceAll('.', '/')
  return topic.includes('%')
    ? topic.replace(/%(25|2E|2A|23)/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)))
    : topic
}

function percent(char: string): string {
  return `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
}

/**
 * Returns whether a PUBLISH may use this topic name: no wildcards, no U+0000, not empty. [MQTT-3.3.2-2] [MQTT-4.7.3-1]
 * [MQTT-4.7.3-2]
 */
export function isTopicName(topic: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: U+0000 is what is refused
  return topic.length > 0 && !/[+#\u0000]/.test(topic)
}

/**
 * Maximum length of topic, client id and user name, in bytes: what the hub makes of them must fit a topic or an AMQP
 * header, too.
 */
const maxNameBytes = 4_096

/** Returns a sentence when `text` is longer than names may be. */
export function tooLong(what: string, text: string): string | undefined {
  // No character takes more than three bytes a code unit: short texts, nearly all, are not encoded to be counted.
  const long = text.length * 3 > maxNameBytes && new TextEncoder().encode(text).length > maxNameBytes
  return long ? `a ${what} of more than ${maxNameBytes} bytes` : undefined
}

/** Maximum number of levels of a topic or a topic filter: each costs a step wherever topics are looked up. */
const maxLevels = 32

/** Returns a sentence when `text` has more levels than topics may. */
export function tooDeep(what: string, text: string): string | undefined {
  let levels = 1
  for (let at = text.indexOf('/'); at >= 0; at = text.indexOf('/', at + 1)) levels++
  return levels > maxLevels ? `a ${what} of more than ${maxLevels} levels` : undefined
}

/** Returns why clients may not publish to this topic. Undefined when they may. */
export function publishFault(topic: string): string | undefined {
  const long = tooLong('topic', topic)
  if (long) return long
  if (!isTopicName(topic)) return `${topic}: a topic to publish to is not empty and has no + or # or U+0000`
  // [MQTT-4.7.2-1]
  return topic.startsWith('$') ? `${topic}: topics that begin with $ are the hub's own` : undefined
}

/**
 * Shared subscription `$share/{group}/{filter}` (MQTT 5 §4.8.2). Accepted for 3.1.1, too, which does not define them.
 */
export interface SharedFilter {
  readonly group: string
  readonly filter: string
}

/**
 * Parses a shared filter. Undefined for an ordinary filter; `fault` for a malformed shared one. [MQTT-4.8.2-1]
 * [MQTT-4.8.2-2]
 */
export function sharedFilter(filter: string): SharedFilter | { readonly fault: string } | undefined {
  if (!/^\$share(?:\/|$)/.test(filter)) return undefined
  const [, group = '', inner = ''] = /^\$share\/([^/+#]+)\/(.+)$/s.exec(filter) ?? []
  if (inner !== '') return { group, filter: inner }
  return { fault: `${filter}: a shared subscription is $share/{group}/{filter}, and a group has no + or #` }
}

/** Returns a filter without `$share/{group}/`. */
export function withoutGroup(filter: string): string {
  const shared = sharedFilter(filter)
  return shared && 'filter' in shared ? shared.filter : filter
}

/** Prefix of requests to services: `$hub/requests/{service}/…`. */
export const requestsPrefix = '$hub/requests/'

/** Returns whether a topic is that of a request to a service. */
export function isRequest(topic: string): boolean {
  return topic.startsWith(requestsPrefix) && topic.length > requestsPrefix.length && isTopicName(topic)
}

/** Prefix of the states of commands. */
export const commandsPrefix = '$hub/commands/'

/** Prefix of the topics to which MQTT clients publish commands: the topic of the command follows. */
export const commandPrefix = '$hub/command/'

/** Prefix of the topics of shadows, which are those of AWS IoT. */
export const shadowsPrefix = '$aws/things/'

/** Prefix of subscriptions to history, then live. */
export const historyPrefix = '$hub/history/'

/** A subscription to `$hub/history/{span}/{points}/{filter}`. */
export interface HistoryFilter {
  readonly span: string
  readonly points: number
  readonly filter: string
  /** Text before the topic of each message. */
  readonly prefix: string
  /** Topic of messages about the whole subscription: the filter, with `$all` in place of each wildcard. */
  readonly marker: string
}

/** Parses a filter of history. Undefined for any other filter; `fault` for a malformed one. */
export function historyFilter(filter: string): HistoryFilter | { readonly fault: string } | undefined {
  if (!filter.startsWith(historyPrefix)) return undefined
  const [, span = '', points = '', inner = ''] = /^\$hub\/history\/([^/+#]+)\/(\d{1,5})\/(.+)$/s.exec(filter) ?? []
  if (inner === '' || points === '0') {
    return { fault: `${filter}: allowed is $hub/history/{span}/{points}/{filter}, such as $hub/history/6h/300/home/#` }
  }
  const prefix = `${historyPrefix}${span}/${points}/`
  return { span, points: Number(points), filter: inner, prefix, marker: inner.replace(/[+#]/g, '$all') }
}

/** Returns whether a filter is valid: wildcards stand alone in their level, `#` last. [MQTT-4.7.1-2] [MQTT-4.7.1-3] */
export function isTopicFilter(filter: string): boolean {
  if (filter.length === 0 || filter.includes('\u0000')) return false
  const levels = filter.split('/')
  return levels.every((level, i) =>
    level.includes('#') ? level === '#' && i === levels.length - 1 : !level.includes('+') || level === '+',
  )
}

export function isWildcard(filter: string): boolean {
  return filter.includes('+') || filter.includes('#')
}

/** Returns whether `filter` matches `topic`. A leading wildcard does not match `$…` topics. [MQTT-4.7.2-1] */
export function matches(filter: string, topic: string): boolean {
  if (topic.charCodeAt(0) === 36 && (filter[0] === '+' || filter[0] === '#')) return false
  const wanted = filter.split('/')
  const levels = topic.split('/')
  for (let i = 0; i < wanted.length; i++) {
    if (wanted[i] === '#') return true
    if (i >= levels.length) return false
    if (wanted[i] !== '+' && wanted[i] !== levels[i]) return false
  }
  return wanted.length === levels.length
}

/**
 * A pattern such as `home/{room}/{device}/telemetry`: a filter whose named levels are captured.
 * `{name}` is one level, `{name...}` (last only) the rest.
 */
export interface TopicPattern {
  readonly filter: string
  readonly names: readonly string[]
  /** Returns the captured levels by name. Undefined when the topic is not matched. */
  match(topic: string): readonly (readonly [name: string, level: string])[] | undefined
  /**
   * Reverses `match`: returns filters of the topics in which these levels have these values. A level that is not given
   * may be any. Empty when no topic can have the values, as with a `/` in one level.
   */
  fill(named: ReadonlyMap<string, string>): readonly string[]
}

/** Returns the pattern, or a sentence that names the mistake in the text. */
export function parsePattern(text: string): TopicPattern | string {
  const captures: { name: string; level: number; rest: boolean }[] = []
  const levels = text.split('/').map((level, i, all) => {
    const named = /^\{([A-Za-z_][\w-]*)(\.\.\.)?\}$/.exec(level)
    if (!named) return level
    const rest = named[2] !== undefined && i === all.length - 1
    if (named[2] !== undefined && !rest) return '{'
    captures.push({ name: named[1] as string, level: i, rest })
    return rest ? '#' : '+'
  })
  const filter = levels.join('/')
  if (/[{}]/.test(filter)) return `${text}: a named level is {name}, or {name...} as the last level`
  if (!isTopicFilter(filter)) return `${text}: + and # stand alone in a level, # only as the last one`
  const names = captures.map(capture => capture.name)
  if (new Set(names).size < names.length) return `${text}: a name is used twice`
  const match: TopicPattern['match'] = topic => {
    if (!matches(filter, topic)) return undefined
    const found = topic.split('/')
    return captures.map(({ name, level, rest }) => [name, (rest ? found.slice(level).join('/') : found[level]) ?? ''])
  }
  const fill: TopicPattern['fill'] = named => {
    const filled = [...levels]
    let hasEmptyRest = false
    for (const { name, level, rest } of captures) {
      const value = named.get(name)
      if (value === undefined) continue
      // A leading wildcard does not match topics that begin with $. [MQTT-4.7.2-1]
      if ((value && !isTopicName(value)) || (!rest && value.includes('/')) || (level === 0 && value[0] === '$'))
        return []
      filled[level] = value
      hasEmptyRest ||= rest && value === ''
    }
    // "sport/#" matches "sport", too. [MQTT-4.7.1-2]
    const filters = [filled.join('/'), ...(hasEmptyRest ? [filled.slice(0, -1).join('/')] : [])]
    return filters.filter(one => one.length > 0)
  }
  return { filter, names, match, fill }
}
