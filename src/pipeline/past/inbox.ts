import { type Answer, encodeJson, type Json, type Received } from '../../contract/contract.js'
import type { Message } from '../../model.js'
import { RestedSlices } from '../../runtime/slices.js'
import { parsePattern, type TopicPattern } from '../../topics.js'
import { type Explore, payloadRow } from '../explore/explore.js'
import { type TopicBranch, topicsBelow } from '../explore/topic-tree.js'
import type { Mapping } from '../mapping.js'
import { proposedRules } from '../own-rules/proposal.js'
import type { RuleTrial } from '../own-rules/rule-trial.js'

type InboxAnswer = Answer<'GET /api/inbox'>
type ProposedGroup = InboxAnswer['groups'][number]

export interface InboxOptions {
  /** The mapping in force. */
  readonly mapping: Pick<Mapping, 'isKnown'>
  readonly rules: Pick<RuleTrial, 'proposal'>
}

/** Most topics that are looked at, and most groups that are told apart: topics beyond count in none. */
const mostLooked = 200_000
const mostGroups = 200

/** How long samples are looked for in the spool, in milliseconds; groups beyond have none. */
const samplesMs = 2_000

/** Topics of one shape. */
interface TopicShape {
  readonly pattern: TopicPattern
  readonly sample: TopicBranch
  topics: number
  rate: number
  messages: number
  last: number
  readonly fates: { stored: number; ignored: number; refused: number }
  readonly reasons: Map<string, number>
}

/**
 * Topics about which no rule and no preset says anything, in groups of one shape, each with a rule that is proposed. Made
 * anew for each question, from the tree of topics.
 */
export class Inbox {
  readonly #options: InboxOptions

  constructor(options: InboxOptions) {
    this.#options = options
  }

  async list({ limit }: Received<'GET /api/inbox'>, explore: Explore): Promise<Json<InboxAnswer>> {
    await explore.restored()
    const { tree } = explore
    // Shapes by first level and number of levels: those that a topic may be of.
    const shapes = new Map<string, TopicShape[]>()
    const slices = new RestedSlices()
    const now = Date.now()
    let [topics, looked, groups, isIncomplete] = [0, 0, 0, false]
    for (const branch of topicsBelow(tree.root)) {
      if (slices.isOver) await slices.turn()
      if (looked++ >= mostLooked) {
        isIncomplete = true
        break
      }
      const { path } = branch
      if (path.startsWith('$') || this.#options.mapping.isKnown(path)) continue
      topics++
      const levels = path.split('/')
      const key = `${levels.length} ${levels[0]}`
      const known = shapes.get(key) ?? []
      let shape = known.find(({ pattern }) => pattern.match(path))
      if (!shape) {
        const pattern = parsePattern(proposedRules(tree, path)[0]?.topic ?? '')
        if (typeof pattern === 'string' || groups >= mostGroups) {
          isIncomplete ||= groups >= mostGroups
          continue
        }
        groups++
        shape = newShape(pattern, branch)
        shapes.set(key, [...known, shape])
      }
      count(shape, branch, now)
    }
    const busiest = [...shapes.values()].flat().sort((a, b) => b.messages - a.messages || b.topics - a.topics)
    const end = performance.now() + samplesMs
    const rows: ProposedGroup[] = []
    for (const shape of busiest.slice(0, limit)) rows.push(await this.#row(shape, explore, end))
    return encodeJson<InboxAnswer>({
      ...{ topics, groups: rows, more: Math.max(0, busiest.length - rows.length) },
      ...(isIncomplete && { incomplete: true as const }),
    })
  }

  async #row(shape: TopicShape, explore: Explore, end: number): Promise<ProposedGroup> {
    const topic = shape.sample.path
    const { messages }: { readonly messages: readonly Message[] } =
      performance.now() < end ? await explore.recent(topic, 1) : { messages: [] }
    const [newest] = messages
    const { topics, rate, messages: counted, last, fates, reasons } = shape
    return {
      ...{ topics, rate, messages: counted, fates },
      ...(last > 0 && { last }),
      reasons: Object.fromEntries(reasons),
      topic,
      ...(newest && { sample: payloadRow(newest) }),
      rule: this.#options.rules.proposal(explore, topic, messages) as unknown as ProposedGroup['rule'],
      filter: shape.pattern.filter,
    }
  }
}

function newShape(pattern: TopicPattern, sample: TopicBranch): TopicShape {
  const fates = { stored: 0, ignored: 0, refused: 0 }
  return { pattern, sample, topics: 0, rate: 0, messages: 0, last: 0, fates, reasons: new Map() }
}

function count(shape: TopicShape, branch: TopicBranch, now: number): void {
  shape.topics++
  // A topic that has others below counts their messages, too.
  const below = [...(branch.children?.values() ?? [])]
  shape.rate += Math.max(0, branch.rate(now) - below.reduce((sum, child) => sum + child.rate(now), 0))
  shape.messages += Math.max(0, branch.messages - below.reduce((sum, child) => sum + child.messages, 0))
  shape.last = Math.max(shape.last, branch.last)
  if (branch.fate) shape.fates[branch.fate]++
  if (branch.reason !== undefined) shape.reasons.set(branch.reason, (shape.reasons.get(branch.reason) ?? 0) + 1)
}
