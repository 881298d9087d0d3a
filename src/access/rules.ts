import {
  commandsPrefix,
  encodeLevel,
  historyPrefix,
  hubTopics,
  isTopicFilter,
  matches,
  shadowsPrefix,
  tooDeep,
  tooLong,
} from '../topics.js'

/**
 * Actions of a rule: `all` is publish and read; `read` is subscribing and receiving; `subscribe` is subscribing alone.
 */
export const verbs = ['publish', 'subscribe', 'read', 'all'] as const
export type Verb = (typeof verbs)[number]

export interface AccessRule {
  readonly effect: 'allow' | 'deny'
  readonly verb: Verb
  /** A topic filter, in which `{user}` and `{client}` stand for one level, or a part of one. */
  readonly filter: string
  /** Line of the rule, for people: `users.yaml:12`. Empty for a built-in rule. */
  readonly place: string
}

/** Reads `allow publish home/{user}/#`. Returns a sentence when the text is no rule. */
export function parseRule(text: string, place = ''): AccessRule | string {
  const found = /^(allow|deny)\s+(\S+)\s+(.+)$/s.exec(text.trim())
  if (!found) {
    return `given ${quote(text)}, allowed is allow or deny, then one of ${verbs.join(', ')}, then a topic filter`
  }
  const [, effect, verbGiven = '', filter = ''] = found
  const verb = verbs.find(one => one === verbGiven)
  if (!verb) return `given ${quote(verbGiven)}, allowed are ${verbs.join(', ')}`
  const fault = filterFault(filter)
  if (fault) return fault
  return { effect: effect as AccessRule['effect'], verb, filter, place }
}

/** Returns why `filter` is not valid in a rule. Undefined when valid. */
function filterFault(filter: string): string | undefined {
  const unknown = /\{(?!user\}|client\})[^}]*\}?/.exec(filter)?.[0]
  if (unknown) return `given ${quote(unknown)} in ${quote(filter)}, allowed are {user} and {client}`
  if (!isTopicFilter(filter)) {
    return `given ${quote(filter)}, allowed is a topic filter: + and # stand alone in a level, # as the last one`
  }
  const large = tooLong('topic filter', filter) ?? tooDeep('topic filter', filter)
  return large && `given ${large}, allowed is a shorter one`
}

const maxQuote = 100

/** Quotes a given text for a sentence, so that the text cannot mislead a log line or a terminal. */
export function quote(given: string): string {
  const short = given.length > maxQuote ? `${given.slice(0, maxQuote)}…` : given
  const unsafe = /[\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g
  return JSON.stringify(short).replace(unsafe, char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

export const ruleText = ({ effect, verb, filter }: AccessRule) => `${effect} ${verb} ${filter}`

/** A decision, and the rule that decided. The rule is undefined when no rule allows the action. */
export interface Decision {
  readonly allowed: boolean
  readonly rule: AccessRule | undefined
}

/** A rule, and the filter with the names of one client filled in. */
export interface Resolved {
  readonly rule: AccessRule
  readonly filter: string
}

/** Rules of a client for reading, as plain data that any thread can use. */
export interface ReadRules {
  readonly allow: readonly string[]
  readonly deny: readonly string[]
}

/** What one user may read. Without rules: everything. */
export interface Reader {
  /** False: there is no such user, or the user is a device. */
  readonly isKnown: boolean
  readonly rules?: ReadRules | undefined
}

/** Tells what users may read as of now. */
export interface ReaderDirectory {
  /** Returns the readers in the order of the names. */
  readersOf(users: readonly string[]): readonly Reader[]
}

/** Maximum number and length of topics remembered, for one client or for what one user reads. */
const maxRemembered = 500
const maxRememberedLength = 128

const lastPrefix = '$hub/last/'

/** Knows the topics that commands are about. */
export interface CommandSubjects {
  /** Returns the topic of the command with that id. Undefined when there is no such command. */
  topicOf(id: string): string | undefined
}

/**
 * Permissions of one client of one user. A deny that matches always wins; otherwise an allow is needed. The order of
 * rules means nothing. A topic under `$hub/last/` is readable like the topic that follows, and every client may
 * subscribe to one; so is `$hub/commands/{id}` like the topic of the command.
 *
 * | rule        | PUBLISH to a topic | SUBSCRIBE to a filter      | delivery of a topic |
 * |---|---|---|---|
 * | `publish`   | matches the topic  |                            |                     |
 * | `read`      |                    | covers the whole filter    | matches the topic   |
 * | `subscribe` |                    | covers the whole filter    |                     |
 * | `all`       | matches the topic  | covers the whole filter    | matches the topic   |
 */
export class Access {
  readonly user: string
  readonly clientId: string
  /** Rules with the names of this client filled in, in the order of the file. */
  readonly rules: readonly Resolved[]
  /** Permissions to read, beside the client's own topics. Clients of one user may share them. */
  readonly reads: Reads
  /** Whether the client gets no more than the newest message of each topic while it does not keep up. */
  conflates = false
  #commands: CommandSubjects | undefined
  readonly #publish = new Map<string, boolean>()

  readonly #shownAs: string

  /**
   * `shared`: permissions of another client of the same user, whose rules for reading do not depend on the client.
   * `shownAs`: the name of the client in its own topics under `$hub`.
   */
  constructor(user: string, clientId: string, rules: readonly AccessRule[], shared?: Reads, shownAs = clientId) {
    this.#shownAs = shownAs
    this.user = user
    this.clientId = clientId
    this.rules = rules.map(rule => ({ rule, filter: resolve(rule.filter, user, clientId) }))
    this.reads = shared ?? new Reads(this.rules)
  }

  /** Sets what knows the topics of commands. Returns the permissions themselves. */
  about(commands: CommandSubjects | undefined): this {
    this.#commands = commands
    return this
  }

  /** Decides like {@link publish}, and remembers: the broker asks for every message. */
  mayPublish(topic: string): boolean {
    return remembered(this.#publish, topic, () => this.publish(topic).allowed)
  }

  /** Decides like {@link read}, and remembers. */
  mayRead(topic: string): boolean {
    return this.reads.may(topic) || this.#own(topic) !== undefined || (isOfShadow(topic) && this.read(topic).allowed)
  }

  publish(topic: string): Decision {
    const decision = decide(
      this.rules,
      ({ verb }) => verb === 'publish' || verb === 'all',
      filter => matches(filter, topic),
    )
    return decision.rule ? decision : (this.#ownShadow(topic) ?? decision)
  }

  /** Decides whether a topic may be delivered. */
  read(topic: string): Decision {
    const own = this.#own(topic)
    if (own) return own
    const decision = decide(this.rules, isReading, filter => matchesAsRead(filter, topic))
    return decision.rule ? decision : (this.#ownShadow(topic) ?? decision)
  }

  /** Decides whether a client may subscribe. What is then delivered is decided by {@link read}. */
  subscribe(filter: string): Decision {
    const own = this.#own(filter)
    if (own) return own
    // History is delivered only of topics whose last values the user may read.
    if (filter.startsWith(historyPrefix)) return askingForHistory
    const about = filter.startsWith(lastPrefix) ? filter.slice(lastPrefix.length) : undefined
    const decision = decide(
      this.rules,
      ({ verb }) => verb !== 'publish',
      rule => covers(rule, filter) || (about !== undefined && covers(rule, about)),
    )
    if (!decision.rule && filter.startsWith(commandsPrefix)) return askingForCommands
    const shadow = decision.rule ? undefined : this.#ownShadow(filter)
    if (shadow) return shadow
    // A dashboard subscribes to all last values, and receives those that the user may read.
    return decision.rule || about === undefined ? decision : askingForLast
  }

  /** Returns true when everything that a subscription to `filter` matches is readable: no topic needs a check then. */
  readsAll(filter: string): boolean {
    return readsAll(this.readRules, filter)
  }

  /** Returns the denials that withhold a part of what a subscription to `filter` matches. */
  withheld(filter: string): readonly Resolved[] {
    return this.rules.filter(
      ({ rule, filter: one }) => rule.effect === 'deny' && isReading(rule) && withholds(one, filter),
    )
  }

  /** Rules for reading, for use elsewhere with {@link mayRead}. */
  get readRules(): ReadRules {
    const of = (effect: AccessRule['effect']) =>
      this.rules.filter(({ rule }) => rule.effect === effect && isReading(rule)).map(({ filter }) => filter)
    return { allow: of('allow'), deny: of('deny') }
  }

  /** Rules for publishing, for use elsewhere with {@link mayRead}. */
  get publishRules(): ReadRules {
    const of = (effect: AccessRule['effect']) =>
      this.rules
        .filter(({ rule }) => rule.effect === effect && (rule.verb === 'publish' || rule.verb === 'all'))
        .map(({ filter }) => filter)
    return { allow: of('allow'), deny: of('deny') }
  }

  /** Lets every client read why a request was refused, its own presence, and how late its own messages are. */
  #own(topic: string): Decision | undefined {
    if (!topic.startsWith('$hub/')) return undefined
    if (topic === hubTopics.feed) return askingForFeed
    if (topic === hubTopics.home) return askingForHome
    if (topic.startsWith(commandsPrefix)) return this.#readCommand(topic.slice(commandsPrefix.length))
    const own = [hubTopics.why, hubTopics.presence].find(one => topic === one(this.#shownAs))
    return own && { allowed: true, rule: { effect: 'allow', verb: 'read', filter: own('{client}'), place: '' } }
  }

  /** Lets those read the state of a command who may read the topic of the command. */
  #readCommand(id: string): Decision | undefined {
    const topic = this.#commands?.topicOf(id)
    const decision = topic === undefined ? undefined : decide(this.rules, isReading, filter => matches(filter, topic))
    return decision?.allowed ? decision : undefined
  }

  /** Lets a client use the shadow of the thing that has the name of the client or of the user, unless a rule denies it. */
  #ownShadow(topic: string): Decision | undefined {
    if (!isOfShadow(topic)) return undefined
    const isOwn = [...(this.#shownAs === this.clientId ? [this.clientId] : []), this.user].some(
      name => name !== '' && topic.startsWith(`${shadowsPrefix}${encodeLevel(name)}/shadow/`),
    )
    return isOwn ? { allowed: true, rule: ownShadow } : undefined
  }
}

/** The built-in rule by which a client uses the shadow of its own name. */
export const ownShadow: AccessRule = {
  effect: 'allow',
  verb: 'all',
  filter: `${shadowsPrefix}{client}/shadow/#`,
  place: '',
}

const isOfShadow = (topic: string) => topic.charCodeAt(0) === dollar && topic.startsWith(shadowsPrefix)

/** Permissions to read. Remembers decisions: one is needed for every single delivery. */
export class Reads {
  readonly #rules: readonly Resolved[]
  readonly #known = new Map<string, boolean>()

  constructor(rules: readonly Resolved[]) {
    this.#rules = rules.filter(({ rule }) => isReading(rule))
  }

  may(topic: string): boolean {
    const matching = (filter: string) => matchesAsRead(filter, topic)
    return remembered(this.#known, topic, () => decide(this.#rules, isReading, matching).allowed)
  }
}

/** Returns whether rules for reading differ from client to client. */
export function readsByClient(rules: readonly AccessRule[]): boolean {
  return rules.some(rule => isReading(rule) && rule.filter.includes('{client}'))
}

function decide(
  rules: readonly Resolved[],
  isAbout: (rule: AccessRule) => boolean,
  applies: (filter: string) => boolean,
): Decision {
  let allowing: AccessRule | undefined
  for (const { rule, filter } of rules) {
    if (!isAbout(rule) || !applies(filter)) continue
    if (rule.effect === 'deny') return { allowed: false, rule }
    allowing ??= rule
  }
  return { allowed: allowing !== undefined, rule: allowing }
}

const askingForFeed: Decision = {
  allowed: true,
  rule: { effect: 'allow', verb: 'read', filter: hubTopics.feed, place: '' },
}

/** Everyone may know that the catalogue of devices has changed; what is in it is decided by the rules. */
const askingForHome: Decision = {
  allowed: true,
  rule: { effect: 'allow', verb: 'read', filter: hubTopics.home, place: '' },
}

const askingForHistory: Decision = {
  allowed: true,
  rule: { effect: 'allow', verb: 'subscribe', filter: `${historyPrefix}#`, place: '' },
}

const askingForCommands: Decision = {
  allowed: true,
  rule: { effect: 'allow', verb: 'subscribe', filter: `${commandsPrefix}#`, place: '' },
}

const askingForLast: Decision = {
  allowed: true,
  rule: { effect: 'allow', verb: 'subscribe', filter: `${lastPrefix}#`, place: '' },
}

/** Decides like `Access.read`, by rules from another thread. The own topics of a client are not included. */
export function mayRead({ allow, deny }: ReadRules, topic: string): boolean {
  const applies = (filter: string) => matchesAsRead(filter, topic)
  return !deny.some(applies) && allow.some(applies)
}

/**
 * Decides like `Access.readsAll`, by rules from another thread: one allow covers the whole filter, and no deny a part.
 */
export function readsAll({ allow, deny }: ReadRules, filter: string): boolean {
  if (deny.some(one => withholds(one, filter))) return false
  const about = aboutOf(filter)
  // Below $hub/last/ a wildcard also reaches topics that begin with $, which a rule for `#` does not match.
  const isPlain = filter.startsWith(lastPrefix) && about !== undefined && !isWild(about)
  return allow.some(one => covers(one, filter) || (isPlain && covers(one, about)))
}

/** Returns whether a denial of `denied` withholds a part of what `filter` matches. */
function withholds(denied: string, filter: string): boolean {
  if (overlap(denied, filter)) return true
  const about = aboutOf(filter)
  return about !== undefined && (overlap(denied, about) || (isWild(about) && denied.charCodeAt(0) === dollar))
}

const isReading = ({ verb }: AccessRule) => verb === 'read' || verb === 'all'

const dollar = 36

const isWild = (filter: string) => /^[+#]/.test(filter)

function matchesAsRead(filter: string, topic: string): boolean {
  return matches(filter, topic) || (topic.startsWith(lastPrefix) && matches(filter, topic.slice(lastPrefix.length)))
}

/** Returns the topics whose `$hub/last/…` a filter matches, as a filter. Undefined when there are none. */
function aboutOf(filter: string): string | undefined {
  const [hub, last, ...rest] = filter.split('/')
  if (hub !== '$hub') return undefined
  if (last === '#') return '#'
  return (last === 'last' || last === '+') && rest.length > 0 ? rest.join('/') : undefined
}

function remembered(known: Map<string, boolean>, topic: string, decide: () => boolean): boolean {
  const found = known.get(topic)
  if (found !== undefined) return found
  const decided = decide()
  if (topic.length > maxRememberedLength) return decided
  if (known.size >= maxRemembered) known.clear()
  known.set(topic, decided)
  return decided
}

/** Fills names into a filter. A name can neither add levels or wildcards nor lead into the hub's own topics. */
function resolve(filter: string, user: string, clientId: string): string {
  const level = (name: string) => encodeLevel(name).replace(/^\$/, '%24')
  return filter.replace(/\{(user|client)\}/g, (_, which) => level(which === 'user' ? user : clientId))
}

/** Returns whether `wide` matches every topic that `narrow` matches. Both are topic filters. */
export function covers(wide: string, narrow: string): boolean {
  const a = wide.split('/')
  const b = narrow.split('/')
  // A leading wildcard does not reach the topics that begin with $. [MQTT-4.7.2-1]
  if (narrow.charCodeAt(0) === dollar && isWild(wide)) return false
  // Every topic has a first level.
  if (b[0] === '#') return a[0] === '#' || (a[0] === '+' && a[1] === '#')
  for (let i = 0; i < a.length; i++) {
    if (a[i] === '#') return true
    if (i >= b.length || b[i] === '#') return false
    if (a[i] !== '+' && a[i] !== b[i]) return false
  }
  return a.length === b.length
}

/** Returns whether there is a topic that both filters match. */
export function overlap(one: string, other: string): boolean {
  const isHidden = (filter: string) => filter.charCodeAt(0) === dollar
  if ((isHidden(one) && isWild(other)) || (isHidden(other) && isWild(one))) return false
  const a = one.split('/')
  const b = other.split('/')
  for (let i = 0; ; i++) {
    if (a[i] === '#' || b[i] === '#') return true
    // "sport/#" matches "sport", too: the # stands right behind the end of the other filter. [MQTT-4.7.1-2]
    if (i === a.length || i === b.length) return a.length === b.length
    if (a[i] !== '+' && b[i] !== '+' && a[i] !== b[i]) return false
  }
}
