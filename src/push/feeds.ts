import { isUtf8 } from 'node:buffer'
import type { Access } from '../access/rules.js'
import { duration, type Settings } from '../config/settings.js'
import { HubError } from '../errors.js'
import { parseSeriesKey } from '../model.js'
import type { FeedItem, FeedQuery, FeedSink, PipelineApi } from '../pipeline/pipeline-api.js'
import type { ConflationCounts } from '../runtime/conflation.js'
import { isTopicFilter, matches } from '../topics.js'
import type { UsersListener } from '../users/user-directory.js'
import { Feed, type FeedReader } from './feed.js'

export type { Feed, FeedEvent, FeedReader } from './feed.js'

/** Part of the authority that feeds need. */
export interface FeedAuthority {
  /** True when authentication is off. */
  readonly open: boolean
  user(name: string): object | undefined
  access(name: string, clientId: string): Access | undefined
}

/** Looks up retained messages. Implemented by `Sessions`. */
interface RetainedLookup {
  retainedBy(filter: string): Iterable<{ readonly topic: string; readonly payload: Buffer; readonly clientId: string }>
}

export interface FeedsOptions {
  readonly pipeline: Pick<PipelineApi, 'openFeed' | 'nextOfFeed' | 'closeFeed'>
  readonly authority: FeedAuthority
  /** Most open feeds of one user. */
  readonly perUser: number
  /** Serves subscriptions to history over MQTT. */
  readonly broker: { historyFrom(feeds: Feeds): RetainedLookup }
  readonly counters: { readonly feeds: ConflationCounts }
}

export function feedSettings(settings: Settings) {
  return { perUser: settings['limits.feeds'] } satisfies Partial<FeedsOptions>
}

/** Topics and history that a feed delivers. */
export interface FeedWanted {
  /** One to sixteen topic filters. */
  readonly filters: readonly string[]
  /** Milliseconds of history; 0: none. */
  readonly historyMs: number
  /** Maximum number of values of each series in the history. */
  readonly points: number
  /** At most sixteen keys of series, which alone have history. Undefined: all. */
  readonly series?: readonly string[] | undefined
  /** Continues behind this message, as far as the spool still has what follows. */
  readonly after?: number | undefined
}

const maxFilters = 16
const maxHistoryMs = 10 * 366 * 86_400_000
const maxPoints = 10_000
/** Most retained messages of back ends that a feed begins with. */
const maxRetained = 10_000
/** Most topics whose feeds are remembered. */
const maxTopics = 50_000

/**
 * The feeds that are open: for each receiver the newest values, history and then live readings of some topics. The
 * processor thread sends each reading once; here it is handed to every feed whose filters match and whose user may read
 * the topic.
 */
export class Feeds implements FeedSink, UsersListener {
  readonly name = 'feeds'
  readonly #options: FeedsOptions
  readonly #open = new Set<Feed>()
  #retained: RetainedLookup | undefined
  readonly #byTopic = new Map<string, readonly Feed[]>()

  constructor(options: FeedsOptions) {
    this.#options = options
  }

  start(): void {
    this.#retained = this.#options.broker.historyFrom(this)
  }

  stop(): void {
    for (const feed of [...this.#open]) feed.close(new HubError('stopping', 'the hub stops'))
  }

  /** Number of open feeds. */
  get count(): number {
    return this.#open.size
  }

  /**
   * Opens a feed. Throws `bad_request` when something is not allowed, `too_many` when the user has too many feeds. To be
   * closed.
   */
  open(reader: FeedReader, { filters, historyMs, points, series, after }: FeedWanted): Feed {
    const { perUser, pipeline, counters } = this.#options
    const fault = faultOf({ filters, historyMs, points, series })
    if (fault) throw new HubError('bad_request', fault)
    let own = 0
    for (const { user } of this.#open) if (user === reader.user) own++
    if (own >= perUser) {
      const who = reader.user === '' ? 'callers without a user have' : `user ${reader.user} has`
      throw new HubError('too_many', `${who} ${own} open feeds, allowed are ${perUser} (limits.feeds)`)
    }
    const query: Omit<FeedQuery, 'rules'> = {
      filters: [...new Set(filters)],
      span: historyMs * 1_000,
      points,
      series,
      after,
    }
    const feed = new Feed(reader, query, {
      pipeline,
      counts: counters.feeds,
      retained: all => this.#retainedBy(all),
      closed: closed => this.#forget(closed),
    })
    this.#open.add(feed)
    this.#byTopic.clear()
    return feed
  }

  span(text: string): number {
    return parseSpan(text)
  }

  async feed(items: readonly FeedItem[]): Promise<void> {
    for (const item of items) for (const feed of this.#feedsOf(item.topic)) feed.offer(item)
  }

  messages(messages: Parameters<FeedSink['messages']>[0]): void {
    for (const message of messages) {
      const feeds = this.#feedsOf(message.topic)
      if (feeds.length === 0) continue
      const item = itemOf(message)
      for (const feed of feeds) feed.offer(item)
    }
  }

  /** Returns the retained messages of back ends; those of clients are readings. */
  *#retainedBy(filters: readonly string[]): Generator<FeedItem> {
    const found = new Set<string>()
    for (const filter of filters) {
      for (const { topic, payload, clientId } of this.#retained?.retainedBy(filter) ?? []) {
        if (clientId !== '' || topic.startsWith('$') || found.has(topic)) continue
        if (found.size >= maxRetained) return
        found.add(topic)
        yield itemOf({ topic, payload, retain: true })
      }
    }
  }

  restarted(): void {
    for (const feed of this.#open) feed.reopen()
  }

  /** Closes the feeds of users who are gone, and narrows the rights of the others. */
  onUsersChanged(): void {
    const { authority } = this.#options
    for (const feed of [...this.#open]) {
      // Callers without a user have the key of the administrator, or authentication is off.
      if (feed.user === '') continue
      if (!authority.open && !authority.user(feed.user)) {
        feed.close(new HubError('unauthorized', `user ${feed.user} was removed`))
      } else {
        feed.permit(authority.access(feed.user, feed.clientId))
        void feed.recheck()
      }
    }
  }

  #feedsOf(topic: string): readonly Feed[] {
    let feeds = this.#byTopic.get(topic)
    if (feeds) return feeds
    feeds = [...this.#open].filter(({ filters }) => filters.some(filter => matches(filter, topic)))
    if (this.#byTopic.size >= maxTopics) this.#byTopic.clear()
    this.#byTopic.set(topic, feeds)
    return feeds
  }

  #forget(feed: Feed): void {
    this.#open.delete(feed)
    this.#byTopic.clear()
  }
}

function itemOf({ topic, payload, retain }: Parameters<FeedSink['messages']>[0][number]): FeedItem {
  const content = isUtf8(payload)
    ? { payload: payload.toString() }
    : { payload: payload.toString('base64'), encoding: 'base64' }
  return { kind: 'message', topic, sequence: 0, json: JSON.stringify({ topic, ...content, retain }) }
}

/** Returns the milliseconds of a text such as 6h. Throws `bad_request` for any other text. */
export function parseSpan(text: string): number {
  const ms = duration.parse(text)
  if (ms !== undefined) return ms
  throw new HubError('bad_request', `history: given ${JSON.stringify(text)}, allowed is ${duration.allowed}`)
}

function faultOf({ filters, historyMs, points, series = [] }: FeedWanted): string | undefined {
  if (filters.length === 0 || filters.length > maxFilters) {
    return `given ${filters.length} topic filters, allowed are 1 to ${maxFilters}`
  }
  const malformed = filters.find(filter => !isTopicFilter(filter))
  if (malformed !== undefined)
    return `given ${JSON.stringify(malformed)}, allowed is a topic filter such as home/+/+/state`
  if (series.length > maxFilters) return `given ${series.length} series, allowed are up to ${maxFilters}`
  const unknown = series.find(key => parseSeriesKey(key) === undefined)
  if (unknown !== undefined) return `series: given ${JSON.stringify(unknown)}, allowed is a key from /api/series`
  if (!(historyMs >= 0 && historyMs <= maxHistoryMs)) return 'history: allowed is a time from 1s to 3660d'
  if (!(points >= 1 && points <= maxPoints)) return `points: given ${points}, allowed is 1 to ${maxPoints}`
  return undefined
}
