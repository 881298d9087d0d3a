import { Feed, type FeedOptions } from './feed.js'
import type { FieldValue, PublishMessage, SeriesRow } from './messages.js'
import { type Published, type PublishOptions, publish } from './publish.js'
import { type HubAddress, Requests } from './requests.js'

export { Feed, type FeedOptions, type FeedPhase, type FeedReceiver, type FeedState } from './feed.js'
export type * from './messages.js'
export { type NewestValue, NewestValues, type NewestValuesOptions } from './newest-values.js'
export type { Published, PublishOptions } from './publish.js'
export { type HubAddress, HubRequestError } from './requests.js'

/** How the values of a window become one value. */
export type Aggregate = 'mean' | 'min' | 'max' | 'first' | 'last' | 'sum' | 'count'

export interface HistoryOptions {
  /** Included; an hour before `to` by default. Milliseconds since the epoch, or a date. */
  readonly from?: number | Date
  /** Not included; now by default. */
  readonly to?: number | Date
  /** Most values (500). When there are more readings, each value is of a window. */
  readonly points?: number
  /** How the values of a window become one; `mean` by default. */
  readonly fn?: Aggregate
}

/** Readings of a series in columns, oldest first. Times in milliseconds since the epoch. */
export interface HistoryColumns {
  readonly times: readonly number[]
  readonly values: readonly FieldValue[]
  /** Milliseconds of one window, where the values are of windows. Undefined: the values are the readings as stored. */
  readonly window?: number
}

export interface SeriesOptions {
  /** Only series whose names contain all these words. */
  readonly search?: string
  /** Most series that are returned; 10,000 by default. */
  readonly limit?: number
}

const pageOfSeries = 1_000

/** One hub. Nothing is sent before a method is called. */
export class Hub {
  readonly #requests: Requests
  readonly #feeds = new Set<Feed>()

  constructor(address: HubAddress) {
    this.#requests = new Requests(address)
  }

  /** Opens a feed of the topics that match one of the filters (1 to 16), such as `home/+/+/telemetry`. To be closed. */
  subscribe(filters: string | readonly string[], options: FeedOptions = {}): Feed {
    const feed = new Feed(this.#requests, typeof filters === 'string' ? [filters] : filters, options)
    for (const other of this.#feeds) if (other.state.phase === 'ended') this.#feeds.delete(other)
    this.#feeds.add(feed)
    return feed
  }

  /** Resolves with the readings of one series, by the key that readings and `series` give. */
  history(series: string, { from, to, points, fn }: HistoryOptions = {}): Promise<HistoryColumns> {
    const query = new URLSearchParams({ series })
    if (from !== undefined) query.set('from', String(Number(from)))
    if (to !== undefined) query.set('to', String(Number(to)))
    if (points !== undefined) query.set('points', String(points))
    if (fn !== undefined) query.set('fn', fn)
    return this.#requests.json(`/api/history?${query}`)
  }

  /** Resolves with the series that are stored, each with its newest value. */
  async series({ search, limit = 10_000 }: SeriesOptions = {}): Promise<readonly SeriesRow[]> {
    const found: SeriesRow[] = []
    let after: string | undefined
    do {
      const query = new URLSearchParams({ limit: String(Math.min(pageOfSeries, limit - found.length)) })
      if (search !== undefined) query.set('search', search)
      if (after !== undefined) query.set('after', after)
      const page = await this.#requests.json<{ series: SeriesRow[]; next?: string }>(`/api/series?${query}`)
      found.push(...page.series)
      after = page.next
    } while (after !== undefined && found.length < limit)
    return found
  }

  /**
   * Publishes one message, or up to 1,000. Resolves when all are on the hub's disk. While the hub cannot be reached the
   * request is sent again, and published once. Rejects with a `HubRequestError` when the hub refuses a message (`index`),
   * and when the time is over: then the messages may be published or not.
   */
  publish(
    messages: PublishMessage | readonly PublishMessage[],
    options?: PublishOptions,
  ): Promise<readonly Published[]> {
    const all: readonly PublishMessage[] = 'topic' in messages ? [messages] : messages
    return publish(this.#requests, all, options)
  }

  /** Ends all feeds. */
  close(): void {
    for (const feed of this.#feeds) feed.close()
    this.#feeds.clear()
  }
}

/** Returns the hub at an address. Without `url` that is the origin of the page. */
export function connect(address: HubAddress = {}): Hub {
  return new Hub(address)
}
