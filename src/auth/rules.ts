import { encodeLevel, hubTopics, isTopicFilter, matches, tooDeep, tooLong } from '../topics.js'

/** What a rule is about: `all` is publish and read; `read` is asking for and receiving; `subscribe` is asking alone. */
export const verbs = ['publish', 'subscribe', 'read', 'all'] as const
export type Verb = (typeof verbs)[number]

export interface Rule {
  readonly effect: 'allow' | 'deny'
  readonly verb: Verb
  /** A topic filter, in which `{user}` and `{client}` stand for one level, or a part of one. */
  readonly filter: string
  /** Where it is written, for people: `users.yaml:12`; empty when it is built in. */
  readonly place: string
}

/** Reads `allow publish home/{user}/#`. Returns a sentence when it cannot be read. */
export function parseRule(text: string, place = ''): Rule | string {
  const found = /^(allow|deny)\s+(\S+)\s+(.+)$/s.exec(text.trim())
  if (!found) {
    return `given ${quote(text)}, allowed is allow or deny, then one of ${verbs.join(', ')}, then a topic filter`
  }
  const [, effect, verbGiven = '', filter = ''] = found
  const verb = verbs.find(one => one === verbGiven)
  if (!verb) return `given ${quote(verbGiven)}, allowed are ${verbs.join(', ')}`
  const fault = filterFault(filter)
  if (fault) return fault
  return { effect: effect as Rule['effect'], verb, filter, place }
}

/** Why `filter` is none for a rule; undefined when it is one. */
export function filterFault(filter: string): string | undefined {
  const unknown = /\{(?!user\}|client\})[^}]*\}?/.exec(filter)?.[0]
  if (unknown) return `given ${quote(unknown)} in ${quote(filter)}, allowed are {user} and {client}`
  if (!isTopicFilter(filter)) {
    return `given ${quote(filter)}, allowed is a topic filter: + and # stand alone in a level, # as the last one`
  }
  const large = tooLong('topic filter', filter) ?? tooDeep('topic filter', filter)
  return large && `given ${large}, allowed is a shorter one`
}

const maxQuote = 100

/** What was given, for a sentence: neither a log line nor a terminal can be led astray by it. */
export function quote(given: string): string {
  const short = given.length > maxQuote ? `${given.slice(0, maxQuote)}…` : given
  const unsafe = /[\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g
  return JSON.stringify(short).replace(unsafe, char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

export const ruleText = ({ effect, verb, filter }: Rule) => `${effect} ${verb} ${filter}`

/** What was decided, and by which rule; without one, as no rule allows it. */
export interface Decision {
  readonly allowed: boolean
  readonly rule: Rule | undefined
}

/** A rule, and its filter with the names of one client in it. */
export interface Resolved {
  readonly rule: Rule
  readonly filter: string
}

/** The rules of a client as plain data: any thread may ask them. */
export interface ReadRules {
  readonly allow: readonly string[]
  readonly deny: readonly string[]
}

/** Topics remembered, of one client or of what one user reads, and how long they may be. */
const maxRemembered = 500
const maxRememberedLength = 128

const lastPrefix = '$hub/last/'

/**
 * What one client of one user may do. A deny that matches refuses, whatever else does; otherwise an allow is needed.
 * The order of rules means nothing. A topic under `$hub/last/` is readable as the topic it is about, and may be asked for
 * by everybody.
 *
 * | rule        | PUBLISH to a topic | SUBSCRIBE to a filter       | delivery of a topic |
 * |---|---|---|---|
 * | `publish`   | it matches         |                             |                     |
 * | `read`      |                    | the whole filter is in it   | it matches          |
 * | `subscribe` |                    | the whole filter is in it   |                     |
 * | `all`       | it matches         | the whole filter is in it   | it matches          |
 */
export class Access {
  readonly user: string
  readonly clientId: string
  /** As they are for this client, in the order of the file. */
  readonly rules: readonly Resolved[]
  /** What it may read beside its own topics; clients of one user may share it. */
  readonly reads: Reads
  readonly #publish = new Map<string, boolean>()

  readonly #shownAs: string

  /** `shared`: of another client of the same user, whose rules for reading do not depend on the client. `shownAs`: the
   * name of the client in its own topics under `$hub`. */
  constructor(user: string, clientId: string, rules: readonly Rule[], shared?: Reads, shownAs = clientId) {
    this.#shownAs = shownAs
    this.user = user
    this.clientId = clientId
    this.rules = rules.map(rule => ({ rule, filter: resolve(rule.filter, user, clientId) }))
    this.reads = shared ?? new Reads(this.rules)
  }

  /** As {@link publish}, remembered: what the broker asks for every message. */
  mayPublish(topic: string): boolean {
    return remembered(this.#publish, topic, () => this.publish(topic).allowed)
  }

  /** As {@link read}, remembered. */
  mayRead(topic: string): boolean {
    return this.reads.may(topic) || this.#own(topic) !== undefined
  }

  publish(topic: string): Decision {
    return decide(
      this.rules,
      ({ verb }) => verb === 'publish' || verb === 'all',
      filter => matches(filter, topic),
    )
  }

  /** May a topic be delivered? */
  read(topic: string): Decision {
    return this.#own(topic) ?? decide(this.rules, isReading, filter => matchesAsRead(filter, topic))
  }

  /** May it be asked for? What is then delivered is for {@link read}. */
  subscribe(filter: string): Decision {
    const own = this.#own(filter)
    if (own) return own
    const about = filter.startsWith(lastPrefix) ? filter.slice(lastPrefix.length) : undefined
    const decision = decide(
      this.rules,
      ({ verb }) => verb !== 'publish',
      rule => covers(rule, filter) || (about !== undefined && covers(rule, about)),
    )
    // A dashboard asks for all of it, and is told what its user may read.
    return decision.rule || about === undefined ? decision : askingForLast
  }

  /** Is everything that a subscription to `filter` could bring readable? Then nothing has to be asked again. */
  readsAll(filter: string): boolean {
    return readsAll(this.readRules, filter)
  }

  /** The denials that keep back a part of what a subscription to `filter` matches. */
  withheld(filter: string): readonly Resolved[] {
    return this.rules.filter(
      ({ rule, filter: one }) => rule.effect === 'deny' && isReading(rule) && withholds(one, filter),
    )
  }

  /** What may be read, to be asked elsewhere with {@link mayRead}. */
  get readRules(): ReadRules {
    const of = (effect: Rule['effect']) =>
      this.rules.filter(({ rule }) => rule.effect === effect && isReading(rule)).map(({ filter }) => filter)
    return { allow: of('allow'), deny: of('deny') }
  }

  /** Everybody may see why it was refused, and its own presence. */
  #own(topic: string): Decision | undefined {
    if (!topic.startsWith('$hub/')) return undefined
    const own = [hubTopics.why, hubTopics.presence].find(one => topic === one(this.#shownAs))
    return own && { allowed: true, rule: { effect: 'allow', verb: 'read', filter: own('{client}'), place: '' } }
  }
}

/** What somebody may read. Remembers it: it is asked for every single delivery. */
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

/** Do rules for reading differ from client to client? */
export function readsByClient(rules: readonly Rule[]): boolean {
  return rules.some(rule => isReading(rule) && rule.filter.includes('{client}'))
}

function decide(
  rules: readonly Resolved[],
  isAbout: (rule: Rule) => boolean,
  applies: (filter: string) => boolean,
): Decision {
  let allowing: Rule | undefined
  for (const { rule, filter } of rules) {
    if (!isAbout(rule) || !applies(filter)) continue
    if (rule.effect === 'deny') return { allowed: false, rule }
    allowing ??= rule
  }
  return { allowed: allowing !== undefined, rule: allowing }
}

const askingForLast: Decision = {
  allowed: true,
  rule: { effect: 'allow', verb: 'subscribe', filter: `${lastPrefix}#`, place: '' },
}

/** As `Access.read`, of rules that came from another thread, and of no client: its own topics are not among them. */
export function mayRead({ allow, deny }: ReadRules, topic: string): boolean {
  const applies = (filter: string) => matchesAsRead(filter, topic)
  return !deny.some(applies) && allow.some(applies)
}

/** As `Access.readsAll`, of rules that came from another thread: one that allows has all of it, none that denies a part. */
export function readsAll({ allow, deny }: ReadRules, filter: string): boolean {
  if (deny.some(one => withholds(one, filter))) return false
  const about = aboutOf(filter)
  // Below $hub/last/ a wildcard reaches the topics that begin with $, which a rule for `#` is not about.
  const isPlain = filter.startsWith(lastPrefix) && about !== undefined && !isWild(about)
  return allow.some(one => covers(one, filter) || (isPlain && covers(one, about)))
}

/** Does a denial of `denied` keep back a part of what `filter` matches? */
function withholds(denied: string, filter: string): boolean {
  if (overlap(denied, filter)) return true
  const about = aboutOf(filter)
  return about !== undefined && (overlap(denied, about) || (isWild(about) && denied.charCodeAt(0) === dollar))
}

const isReading = ({ verb }: Rule) => verb === 'read' || verb === 'all'

const dollar = 36

const isWild = (filter: string) => /^[+#]/.test(filter)

function matchesAsRead(filter: string, topic: string): boolean {
  return matches(filter, topic) || (topic.startsWith(lastPrefix) && matches(filter, topic.slice(lastPrefix.length)))
}

/** The topics whose `$hub/last/…` a filter matches, as a filter; undefined when it matches none of them. */
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

/** A name can neither add levels or wildcards to a filter nor lead into the hub's own topics. */
function resolve(filter: string, user: string, clientId: string): string {
  const level = (name: string) => encodeLevel(name).replace(/^\$/, '%24')
  return filter.replace(/\{(user|client)\}/g, (_, which) => level(which === 'user' ? user : clientId))
}

/** Does `wide` match every topic that `narrow` matches? Both are topic filters. */
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

/** Is there a topic that both filters match? */
export function overlap(one: string, other: string): boolean {
  const isHidden = (filter: string) => filter.charCodeAt(0) === dollar
  if ((isHidden(one) && isWild(other)) || (isHidden(other) && isWild(one))) return false
  const a = one.split('/')
  const b = other.split('/')
  for (let i = 0; ; i++) {
    if (a[i] === '#' || b[i] === '#') return true
    // "sport/#" matches "sport", too: its # stands right behind the end of the other. [MQTT-4.7.1-2]
    if (i === a.length || i === b.length) return a.length === b.length
    if (a[i] !== '+' && b[i] !== '+' && a[i] !== b[i]) return false
  }
}
