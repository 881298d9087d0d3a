import { mayRead, overlap, type ReadRules, readsAll } from '../../access/rules.js'
import type { Answer, Received } from '../../contract/contract.js'
import { Slices } from '../../runtime/slices.js'
import { type TopicBranch, type TopicTree, topicsBelow } from './topic-tree.js'

/** Selects a page of a level of the tree, or of the topics that a search finds. */
export type TopicsQuery = Received<'GET /api/topics'> & { readonly rules: ReadRules | undefined }

type TopicLevel = Answer<'GET /api/topics'>['levels'][number]

/** Most topics that are looked at one by one for an answer. */
const mostLooked = 500_000

/** Most words of a search. */
const mostWords = 10

/** LevelCounts of a level, as far as the rules allow topics to be read. */
interface LevelCounts {
  topics: number
  messages: number
  rate: number
  last: number
}

/** Answers from the tree, in slices: a level may have hundreds of thousands of topics. */
export class TopicLevels {
  readonly #tree: TopicTree

  constructor(tree: TopicTree) {
    this.#tree = tree
  }

  answer(query: TopicsQuery): Promise<Answer<'GET /api/topics'>> {
    return query.search === undefined ? this.#level(query) : this.#search(query, query.search)
  }

  async #level({ under, after, limit, rules }: TopicsQuery): Promise<Answer<'GET /api/topics'>> {
    const top = under === undefined ? this.#tree.root : this.#tree.find(under)
    const page = new Page(limit)
    const budget = { left: mostLooked }
    const slices = new Slices()
    const prefix = under === undefined ? '' : `${under}/`
    const now = Date.now()
    // Only the names of a page are kept, so that a level with very many needs no list of all.
    for (const child of top?.children?.values() ?? []) {
      if (slices.isOver) await slices.turn()
      if (rules && !mayContain(rules, prefix + child.name)) continue
      if (after === undefined || child.name > after) page.offer(child)
    }
    const levels: TopicLevel[] = []
    const { nodes, next } = page.sorted()
    for (const node of nodes) {
      const counts = await this.#counts(node, prefix + node.name, { rules, now, budget, slices })
      if (counts.topics > 0) levels.push(describe(node, node.name, counts, rules, prefix + node.name))
    }
    const own = top && (await this.#counts(top, under ?? '', { rules, now, budget, slices }))
    return {
      topics: own?.topics ?? 0,
      rate: rounded(own?.rate ?? 0),
      levels,
      ...(next !== undefined && { next }),
      ...(budget.left <= 0 && { incomplete: true as const }),
      forgotten: this.#tree.forgotten,
    }
  }

  /** LevelCounts what may be read. Without rules, or where they allow everything below, the tree has counted already. */
  async #counts(
    node: TopicBranch,
    path: string,
    context: {
      readonly rules: ReadRules | undefined
      readonly now: number
      readonly budget: { left: number }
      readonly slices: Slices
    },
  ): Promise<LevelCounts> {
    const { rules, now, budget, slices } = context
    const isRoot = node.parent === undefined
    if (!rules || readsAll(rules, isRoot ? '#' : `${path}/#`)) {
      return { topics: node.topics, messages: node.messages, rate: node.rate(now), last: node.last }
    }
    const counts: LevelCounts = { topics: 0, messages: 0, rate: 0, last: 0 }
    for (const topic of topicsBelow(node)) {
      if (slices.isOver) await slices.turn()
      if (budget.left-- <= 0) break
      if (!mayRead(rules, topic.path)) continue
      counts.topics++
      // A topic with others below has counted theirs, too: those are counted at their own place.
      if (topic.children) continue
      counts.messages += topic.messages
      counts.rate += topic.rate(now)
      counts.last = Math.max(counts.last, topic.last)
    }
    return counts
  }

  async #search({ after, limit, rules, under }: TopicsQuery, search: string): Promise<Answer<'GET /api/topics'>> {
    const words = search.toLowerCase().split(/\s+/).filter(Boolean).slice(0, mostWords)
    const top = under === undefined ? this.#tree.root : this.#tree.find(under)
    const slices = new Slices()
    const page = new Page(limit)
    let topics = 0
    const now = Date.now()
    for (const node of top ? topicsBelow(top) : []) {
      if (slices.isOver) await slices.turn()
      const path = node.path
      const text = path.toLowerCase()
      if (!words.every(word => text.includes(word)) || (rules && !mayRead(rules, path))) continue
      topics++
      if (after === undefined || path > after) page.offer(node, path)
    }
    const { nodes, next } = page.sorted()
    const levels = nodes.map(node => {
      const { messages, last } = node
      return describe(node, node.path, { topics: 1, messages, rate: node.rate(now), last }, rules, node.path)
    })
    return { topics, rate: 0, levels, ...(next !== undefined && { next }), forgotten: this.#tree.forgotten }
  }
}

/** The first names of many, in order. */
class Page {
  readonly #limit: number
  #kept: { readonly name: string; readonly node: TopicBranch }[] = []
  /** Name behind which nothing is of this page. */
  #end: string | undefined
  #isMore = false

  constructor(limit: number) {
    this.#limit = limit
  }

  offer(node: TopicBranch, name = node.name): void {
    if (this.#end !== undefined && name > this.#end) {
      this.#isMore = true
      return
    }
    this.#kept.push({ name, node })
    if (this.#kept.length >= 2 * this.#limit + 1_000) this.#cut()
  }

  sorted(): { readonly nodes: readonly TopicBranch[]; readonly next: string | undefined } {
    this.#cut()
    const last = this.#kept.at(-1)
    return { nodes: this.#kept.map(({ node }) => node), next: this.#isMore ? last?.name : undefined }
  }

  #cut(): void {
    this.#kept.sort((a, b) => (a.name < b.name ? -1 : 1))
    if (this.#kept.length <= this.#limit) return
    this.#isMore = true
    this.#kept.length = this.#limit
    this.#end = this.#kept.at(-1)?.name
  }
}

/** Whether something at or below a level may be readable. */
function mayContain({ allow }: ReadRules, path: string): boolean {
  return allow.some(filter => overlap(filter, `${path}/#`))
}

function describe(
  node: TopicBranch,
  name: string,
  { topics, messages, rate, last }: LevelCounts,
  rules: ReadRules | undefined,
  path: string,
): TopicLevel {
  const isTopic = node.isTopic && (!rules || mayRead(rules, path))
  const { size, client, user, fate, reason } = node
  return {
    name,
    topics,
    messages,
    rate: rounded(rate),
    ...(last > 0 && { last }),
    ...(node.children && { isOpenable: true as const }),
    ...(isTopic && {
      own: { size, client, user, ...(fate && { fate }), ...(reason !== undefined && { reason }) },
    }),
  }
}

const rounded = (rate: number) => Math.round(rate * 100) / 100
