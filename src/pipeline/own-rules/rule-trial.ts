import { type MappingMistake, type MappingRule, type PlacedRule, ruleMistakes } from '../../config/settings.js'
import { type Answer, encodeJson, type Json, type Received } from '../../contract/contract.js'
import { type Message, messageId } from '../../model.js'
import type { DeadLetters } from '../../queue/queue.js'
import { dropOldest } from '../../runtime/drop-oldest.js'
import { Slices } from '../../runtime/slices.js'
import { isTopicName, parsePattern } from '../../topics.js'
import { type Explore, payloadRow } from '../explore/explore.js'
import { topicsBelow } from '../explore/topic-tree.js'
import { tryMapping } from '../map-try.js'
import type { Mapping } from '../mapping.js'
import { ownRuleMistakes } from './own-rules.js'
import { proposedRules } from './proposal.js'
import type { TrialMappings } from './trial-mappings.js'

export type CheckedRule = Received<'POST /api/mapping/check'>

type TriedRule = Answer<'POST /api/mapping/check'>
type TriedMessage = TriedRule['messages'][number]

export interface RuleTrialOptions {
  /** The mapping in force. */
  readonly mapping: Mapping
  readonly trials: Pick<TrialMappings, 'trial'>
  readonly dead: Pick<DeadLetters, 'list'>
}

/** Most topics that are looked at, and most that are named. */
const mostLooked = 100_000
const mostNamed = 20

/** Most fields that are named. */
const mostFields = 200

/** Most bytes of payloads in an answer. */
const mostBytes = 2e6

/** Dead letters of a topic are read from disk: those of a few topics are kept for a while, in milliseconds. */
const keptMs = 20_000
const keptTopics = 10

/** Tries mapping rules on the last messages of a topic, before they are saved. */
export class RuleTrial {
  readonly #options: RuleTrialOptions
  readonly #letters = new Map<string, { readonly at: number; readonly messages: readonly Message[] }>()

  constructor(options: RuleTrialOptions) {
    this.#options = options
  }

  async check(asked: CheckedRule, explore: Explore): Promise<Json<TriedRule>> {
    await explore.restored()
    const given = asked.rule as MappingRule | undefined
    const pattern = given && typeof given.topic === 'string' ? parsePattern(given.topic) : undefined
    const filter = typeof pattern === 'object' ? pattern : undefined
    const known = filter && (await this.#matching(explore, filter))
    const topic = asked.topic ?? known?.topics[0]
    const { messages, letters, isWhole } = await this.#messages(explore, topic, asked.limit)
    const rule = given ?? this.proposal(explore, topic ?? '', messages)
    const mistakes = ownRuleMistakes(rule)
    const tried = mistakes.length === 0 ? this.#options.trials.trial(this.#with(rule, asked.replaces)) : undefined
    const matched = known ?? (await this.#matching(explore, parsePattern(rule.topic)))
    const now = this.#options.trials.trial()
    return encodeJson<TriedRule>({
      rule: rule as unknown as TriedRule['rule'],
      ...(given === undefined && { proposed: true as const }),
      mistakes: mistakes as readonly MappingMistake[],
      ...(topic !== undefined && { topic }),
      ...this.#tried(messages, letters, { now, tried, isWhole }),
      fields: this.#fields(rule, messages),
      matches: this.#described(matched, topic, tried, asked.replaces),
    })
  }

  /** Returns the fields of payloads under their own names: those that a rule reads which keeps all of them. */
  #fields(rule: MappingRule, messages: readonly Message[]): TriedRule['fields'] {
    const { decoder, decimalComma, each, absent } = rule
    const read = { topic: '#', measurement: 'm', tags: [], decoder, decimalComma, each, absent }
    const bare = Object.fromEntries(Object.entries(read).filter(([, value]) => value !== undefined))
    if (ruleMistakes(bare).length > 0) return []
    const mapping = this.#options.trials.trial([bare as unknown as MappingRule])
    const found = new Map<string, TriedRule['fields'][number]>()
    for (const message of messages) {
      for (const { fields } of tryMapping(mapping, message).points) {
        for (const field of fields) if (!found.has(field.name) && found.size < mostFields) found.set(field.name, field)
      }
    }
    return [...found.values()]
  }

  #tried(
    messages: readonly Message[],
    letters: ReadonlySet<string>,
    { now, tried, isWhole }: { readonly now: Mapping; readonly tried: Mapping | undefined; readonly isWhole: boolean },
  ): Pick<TriedRule, 'messages' | 'isWhole'> {
    const rows: TriedMessage[] = []
    let bytes = 0
    for (const message of messages) {
      const row = payloadRow(message)
      bytes += row.payload.length
      if (bytes > mostBytes && rows.length > 0) return { messages: rows, isWhole: false }
      const id = messageId(message)
      rows.push({
        topic: message.topic,
        ...row,
        ...(letters.has(id) && { letter: id }),
        now: without(tryMapping(now, message)),
        ...(tried && { tried: without(tryMapping(tried, message)) }),
      })
    }
    return { messages: rows, isWhole }
  }

  /** Returns all rules with one more: first of all, or in the place of another. */
  #with(rule: MappingRule, replaces: number | undefined): readonly PlacedRule[] {
    const { rules } = this.#options.mapping
    const number = replaces ?? 1
    const fresh: PlacedRule = { ...rule, place: { from: 'hub', number } }
    const own = rules.filter(({ place }) => place?.from === 'hub')
    const others = rules.filter(({ place }) => place?.from !== 'hub')
    if (replaces !== undefined) return [...own.map(one => (one.place?.number === replaces ? fresh : one)), ...others]
    const moved = own.map((one, i) => ({ ...one, place: { from: 'hub' as const, number: i + 2 } }))
    return [fresh, ...moved, ...others]
  }

  /** Returns the last messages of a topic, and the ids of those that are dead letters. */
  async #messages(explore: Explore, topic: string | undefined, limit: number) {
    if (topic === undefined || !isTopicName(topic)) return { messages: [], letters: new Set<string>(), isWhole: true }
    const recent = await explore.recent(topic, limit)
    const dead = await this.#lettersOf(topic)
    const letters = new Set(dead.map(message => messageId(message)))
    const known = new Set(recent.messages.map(message => messageId(message)))
    const all = [...recent.messages, ...dead.filter(message => !known.has(messageId(message)))]
    all.sort((a, b) => b.receivedAt - a.receivedAt || b.sequence - a.sequence)
    return { messages: all.slice(0, limit), letters, isWhole: recent.isWhole && all.length <= limit }
  }

  async #lettersOf(topic: string): Promise<readonly Message[]> {
    const kept = this.#letters.get(topic)
    if (kept && performance.now() - kept.at < keptMs) return kept.messages
    const letters = await this.#options.dead.list({ topic }, 50)
    const messages = letters.map(({ message }) => message)
    this.#letters.delete(topic)
    this.#letters.set(topic, { at: performance.now(), messages })
    dropOldest(this.#letters, keptTopics)
    return messages
  }

  /** Returns the first proposal by which the newest message would be stored; the first of all when there is none. */
  proposal(explore: Explore, topic: string, messages: readonly Message[]): MappingRule {
    const { mapping, trials } = this.#options
    const { place } = mapping.decidedBy(topic)
    const decides = mapping.rules.find(one => one.place?.from === place?.from && one.place?.number === place?.number)
    const proposals = proposedRules(explore.tree, topic, place && decides)
    const [newest] = messages
    const works = (rule: MappingRule) => {
      if (newest === undefined || ruleMistakes(rule).length > 0) return false
      const { outcome, reason } = tryMapping(trials.trial([rule]), newest)
      return outcome === 'stored' && reason === undefined
    }
    return proposals.find(works) ?? (proposals[0] as MappingRule)
  }

  /** Returns known topics that the filter of a rule matches: how many, and some of them. */
  async #matching(explore: Explore, pattern: ReturnType<typeof parsePattern>) {
    if (typeof pattern === 'string') return { count: 0, topics: [], isIncomplete: false }
    const fixed = /^[^+#]*/.exec(pattern.filter)?.[0] ?? ''
    const prefix = fixed === pattern.filter ? fixed : fixed.replace(/\/$/, '')
    const top = prefix === '' ? explore.tree.root : explore.tree.find(prefix)
    const slices = new Slices()
    const topics: string[] = []
    let [count, looked] = [0, 0]
    for (const { path } of top ? topicsBelow(top) : []) {
      if (slices.isOver) await slices.turn()
      if (looked++ >= mostLooked) return { count, topics, isIncomplete: true }
      if (!pattern.match(path)) continue
      count++
      if (topics.length < mostNamed) topics.push(path)
    }
    return { count, topics, isIncomplete: false }
  }

  #described(
    { count, topics, isIncomplete }: { count: number; topics: readonly string[]; isIncomplete: boolean },
    own: string | undefined,
    tried: Mapping | undefined,
    replaces: number | undefined,
  ): TriedRule['matches'] {
    const number = replaces ?? 1
    // The topic that is asked for comes first, where it is among them.
    const sorted = own !== undefined && topics.includes(own) ? [own, ...topics.filter(one => one !== own)] : topics
    return {
      count,
      ...(isIncomplete && { incomplete: true as const }),
      topics: sorted.map(topic => {
        const place = tried?.decidedBy(topic).place
        const taken = place?.from === 'hub' && place.number === number
        return { topic, now: this.#options.mapping.decidedBy(topic), taken }
      }),
    }
  }
}

function without({ described: _, ...mapped }: ReturnType<typeof tryMapping>): TriedMessage['now'] {
  return mapped
}
