import { ApiError, hubNow } from '../api.js'
import type { Shell } from '../pages.js'
import { withStyle } from '../styles.js'
import {
  countInbox,
  fetchMessages,
  fetchTopics,
  type Level,
  type TopicMessage,
  type TopicMessages,
} from './requests.js'

/** A level of the tree as it is shown. */
export interface ShownLevel {
  levels: readonly Level[]
  next: string | undefined
  topics: number
  isIncomplete: boolean
  isLoading: boolean
  failure: string
}

export type View = 'topics' | 'retained' | 'publish' | 'rules' | 'inbox'

/** The mapping, which is loaded when first shown. */
export type MappingModule = typeof import('../mapping/view.js')
/** The inbox, likewise. */
export type InboxModule = typeof import('../inbox/view.js')

/** Key of the first level; other levels have their path with a slash before it. */
export const rootKey = ''
export const keyOf = (path: string) => `/${path}`

const pageSize = 200
/** Milliseconds between two looks at the levels that are open, and how many are looked at. */
const lookEveryMs = 3_000
const mostLooked = 12
/** Shortest time between two counts of the inbox, for which the hub goes through all topics. */
const countEveryMs = 60_000
/** Most messages of a topic that are kept on the page. */
const mostMessages = 200

/** The state of the page Explore: the levels that are open, the topic that is chosen, and its messages. */
export class ExploreModel {
  readonly shell: Shell
  onChange: () => void = () => {}
  view: View = 'topics'
  parameters = new URLSearchParams()
  mapping: MappingModule | undefined
  inbox: InboxModule | undefined
  /** Topics that no rule and no preset knows; undefined: not known. */
  unknown: number | undefined
  /** Levels by key; those that are closed are forgotten. */
  readonly levels = new Map<string, ShownLevel>()
  search = ''
  found: ShownLevel | undefined
  forgotten = 0
  topic: string | undefined
  /** The newest first. */
  messages: readonly TopicMessage[] = []
  about: Omit<TopicMessages, 'messages'> | undefined
  failure = ''
  isFrozen = false
  /** Sequence number of the message that is opened; undefined: the newest. */
  chosen: number | undefined
  #lookedAt = 0
  #countedAt = Number.NEGATIVE_INFINITY
  #isRefused = false
  #isAsking = false
  #isLooking = false
  #searching: ReturnType<typeof setTimeout> | undefined

  constructor(shell: Shell) {
    this.shell = shell
  }

  get mayChange(): boolean {
    return this.shell.session?.mayChange === true
  }

  show(parameters: URLSearchParams): void {
    this.parameters = parameters
    const topic = parameters.get('topic') ?? undefined
    this.view = parameters.has('retained')
      ? 'retained'
      : parameters.has('publish')
        ? 'publish'
        : parameters.has('map') || parameters.has('rules')
          ? 'rules'
          : parameters.has('inbox')
            ? 'inbox'
            : 'topics'
    if (this.view === 'inbox' && !this.inbox) void this.#loadInbox()
    if (this.view === 'rules' && !this.mapping) void this.#loadMapping()
    if (this.view === 'topics' && topic !== this.topic) this.#choose(topic)
    if (!this.levels.has(rootKey)) void this.#load(rootKey, undefined)
    this.onChange()
  }

  async #loadMapping(): Promise<void> {
    const [module] = await Promise.all([import('../mapping/view.js'), withStyle('mapping.css')])
    this.mapping = module
    this.onChange()
  }

  async #loadInbox(): Promise<void> {
    const [module] = await Promise.all([import('../inbox/view.js'), withStyle('inbox.css')])
    this.inbox = module
    this.onChange()
  }

  /** Asks how many topics nothing knows. Those who may not read everything see no inbox. */
  async #count(): Promise<void> {
    if (!this.seesInbox || hubNow() - this.#countedAt < countEveryMs) return
    this.#countedAt = hubNow()
    try {
      this.unknown = await countInbox()
    } catch (error) {
      this.unknown = undefined
      this.#isRefused = error instanceof ApiError && error.status === 403
    }
    this.onChange()
  }

  get seesInbox(): boolean {
    return this.seesAll && !this.#isRefused
  }

  /** Whether the user may read everything, like the balance. */
  get seesAll(): boolean {
    return this.shell.ready?.waiting !== undefined
  }

  tick(): void {
    // The inbox itself asks for more.
    if (this.view !== 'inbox') void this.#count()
    if (this.view !== 'topics') return
    if (this.topic !== undefined && !this.isFrozen) void this.#ask()
    if (hubNow() - this.#lookedAt >= lookEveryMs && !this.#isLooking) void this.#look()
    this.onChange()
  }

  toggle(path: string): void {
    const key = keyOf(path)
    if (this.levels.has(key)) {
      for (const open of [...this.levels.keys()])
        if (open === key || open.startsWith(`${key}/`)) this.levels.delete(open)
    } else void this.#load(key, path)
    this.onChange()
  }

  more(key: string, path: string | undefined): void {
    void this.#load(key, path, this.levels.get(key)?.next)
  }

  find(text: string): void {
    this.search = text.trim()
    clearTimeout(this.#searching)
    this.found = this.search === '' ? undefined : { ...nothing, levels: this.found?.levels ?? [], isLoading: true }
    this.onChange()
    if (this.search !== '') this.#searching = setTimeout(() => void this.#find(), 200)
  }

  moreFound(): void {
    void this.#find(this.found?.next)
  }

  choose(sequence: number | undefined): void {
    this.chosen = sequence
    this.onChange()
  }

  freeze(isFrozen: boolean): void {
    this.isFrozen = isFrozen
    if (!isFrozen) {
      this.chosen = undefined
      void this.#ask()
    }
    this.onChange()
  }

  /** Asks for the messages, and for what is retained, anew. */
  async again(): Promise<void> {
    const { topic } = this
    if (topic !== undefined) this.#choose(topic)
    await this.#look()
  }

  #choose(topic: string | undefined): void {
    this.topic = topic
    this.messages = []
    this.about = undefined
    this.failure = ''
    this.chosen = undefined
    this.isFrozen = false
    if (topic !== undefined) void this.#ask()
  }

  async #ask(): Promise<void> {
    const { topic } = this
    if (topic === undefined || this.#isAsking) return
    this.#isAsking = true
    try {
      const { messages, ...about } = await fetchMessages(topic, this.messages[0]?.sequence)
      if (topic !== this.topic) return
      const isFirst = this.about === undefined
      this.messages = [...messages, ...this.messages].slice(0, mostMessages)
      this.about = isFirst ? about : { ...about, isWhole: this.about?.isWhole === true && about.isWhole }
      this.failure = ''
    } catch (error) {
      if (topic === this.topic) this.failure = (error as Error).message
    } finally {
      this.#isAsking = false
      // Meanwhile another topic may have been chosen.
      if (topic !== this.topic && this.topic !== undefined) void this.#ask()
      this.onChange()
    }
  }

  /** Looks at the open levels again: at as many of their topics as are shown. */
  async #look(): Promise<void> {
    this.#isLooking = true
    this.#lookedAt = hubNow()
    try {
      if (this.found) {
        if (!this.found.isLoading) await this.#find(undefined, this.found.levels.length)
        return
      }
      for (const key of [...this.levels.keys()].slice(0, mostLooked)) {
        const shown = this.levels.get(key)
        if (shown && !shown.isLoading) await this.#load(key, pathOf(key), undefined, shown.levels.length)
      }
    } finally {
      this.#isLooking = false
      this.onChange()
    }
  }

  async #load(key: string, under: string | undefined, after?: string, least = 0): Promise<void> {
    const shown = this.levels.get(key) ?? { ...nothing }
    this.levels.set(key, shown)
    shown.isLoading = true
    try {
      const limit = Math.min(1_000, Math.max(pageSize, least))
      const answer = await fetchTopics({ under, after, limit })
      shown.levels = after === undefined ? answer.levels : [...shown.levels, ...answer.levels]
      shown.next = answer.next
      shown.topics = answer.topics
      shown.isIncomplete = answer.incomplete === true
      shown.failure = ''
      this.forgotten = answer.forgotten
    } catch (error) {
      shown.failure = (error as Error).message
    } finally {
      shown.isLoading = false
      this.onChange()
    }
  }

  async #find(after?: string, least = 0): Promise<void> {
    const { search } = this
    if (search === '') return
    try {
      const limit = Math.min(1_000, Math.max(100, least))
      const answer = await fetchTopics({ search, after, limit })
      if (search !== this.search) return
      const before = after === undefined ? [] : (this.found?.levels ?? [])
      const { next, topics } = answer
      this.found = { ...nothing, levels: [...before, ...answer.levels], next, topics }
    } catch (error) {
      if (search === this.search) this.found = { ...nothing, failure: (error as Error).message }
    }
    this.onChange()
  }
}

const pathOf = (key: string) => (key === rootKey ? undefined : key.slice(1))

const nothing: ShownLevel = {
  levels: [],
  next: undefined,
  topics: 0,
  isIncomplete: false,
  isLoading: false,
  failure: '',
}
