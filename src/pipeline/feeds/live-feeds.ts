import { HubError } from '../../errors.js'
import type { Message } from '../../model.js'
import type { Part } from '../../runtime/lifecycle.js'
import { SerialQueue } from '../../runtime/serial-queue.js'
import { machineClock } from '../../runtime/time.js'
import type { Cursors } from '../../spool/cursors.js'
import type { TimeSeriesStore } from '../../store/store.js'
import { matches } from '../../topics.js'
import type { Mapping } from '../mapping.js'
import type { FeedChunk, FeedItem, FeedQuery } from './feed.js'
import { FeedSnapshot, type SnapshotParts } from './feed-snapshot.js'
import { HistoryCache } from './history-cache.js'
import { clearedItem, LiveItems, type LiveWanted } from './live-item.js'
import type { ReadingJson } from './reading-json.js'

/** Takes the readings that feeds follow. */
export interface FeedDelivery {
  /** Resolves when the receivers have the items. */
  feed(items: readonly FeedItem[]): Promise<void>
}

export interface LiveFeedsOptions extends Pick<SnapshotParts, 'registry' | 'dependencies' | 'settled'> {
  readonly json: ReadingJson
  readonly mapping: Mapping
  readonly store: Pick<TimeSeriesStore, 'series' | 'history'>
  readonly cursors: Pick<Cursors, 'reader' | 'numbered' | 'oldest'>
  readonly delivery: FeedDelivery
}

interface OpenFeed {
  readonly filters: readonly string[]
  readonly snapshot: AsyncGenerator<FeedChunk, undefined>
  readonly abort: AbortController
}

/** Most topics whose followers are remembered. */
const maxTopics = 50_000

/** Most characters of items that are sent at once. */
const maxSent = 1e6

/** The feeds of the processor thread: what each begins with, and every reading of the topics that feeds follow. */
export class LiveFeeds implements Part {
  readonly name = 'feeds'
  readonly #options: LiveFeedsOptions
  readonly #parts: SnapshotParts
  readonly #items: LiveItems
  readonly #wanted: LiveWanted
  readonly #open = new Map<number, OpenFeed>()
  /** Filters of the open feeds, and the number of feeds with each. */
  readonly #filters = new Map<string, number>()
  readonly #followed = new Map<string, boolean>()
  #ids = 0
  #position = 0
  /** Topics that were cleared after the messages that are handled now. */
  #cleared: FeedItem[] = []

  constructor(options: LiveFeedsOptions) {
    this.#options = options
    const { cursors, store, delivery: _, json, ...parts } = options
    this.#items = new LiveItems(options.mapping, json)
    this.#wanted = {
      isAbsenceWanted: true,
      isTopicWanted: topic => this.#isFollowed(topic),
      isWanted: () => true,
    }
    const position = () => this.#position
    const shared = { histories: new HistoryCache(store), turns: new SerialQueue(), clock: machineClock, position }
    this.#parts = { ...parts, ...shared, items: this.#items, store, spool: cursors }
  }

  /** Called before the spool is read. */
  start(): void {
    this.#position = this.#options.cursors.reader('live').settled.sequence - 1
  }

  /** Resolves when the followed readings among the messages are delivered. Called with all messages, in order. */
  async handle(messages: readonly Message[]): Promise<void> {
    const { delivery } = this.#options
    let items: FeedItem[] = []
    let length = 0
    if (this.#filters.size > 0) {
      for (const message of messages) {
        // A batch that has failed comes again.
        if (message.sequence <= this.#position) continue
        const item = this.#items.of(message, this.#wanted)
        if (!item) continue
        items.push(item)
        length += item.json.length
        if (length < maxSent) continue
        await delivery.feed(items)
        // A feed that begins meanwhile must not be sent back behind what was delivered.
        this.#position = item.sequence
        items = []
        length = 0
      }
    }
    if (items.length > 0) await delivery.feed(items)
    this.#position = Math.max(this.#position, messages.at(-1)?.sequence ?? 0)
    const cleared = this.#cleared
    this.#cleared = []
    if (cleared.length > 0) await delivery.feed(cleared)
  }

  /**
   * Resolves when feeds are told that topics have no newest reading any more.
   *
   * @param sequence Sequence number of the last message before
   */
  async clear(topics: readonly string[], sequence: number): Promise<void> {
    const followed = topics.filter(topic => this.#isFollowed(topic))
    const items = followed.map(topic => clearedItem(topic, sequence, machineClock.now()))
    // What is handled now is from before.
    if (sequence > this.#position) this.#cleared.push(...items)
    else if (items.length > 0) await this.#options.delivery.feed(items)
  }

  /** Opens a feed. Its readings are delivered from now on. Returns the number of the feed. */
  open(query: FeedQuery): number {
    const id = ++this.#ids
    const abort = new AbortController()
    const snapshot = new FeedSnapshot(this.#parts, query, abort.signal)
    this.#open.set(id, { filters: query.filters, snapshot: snapshot.chunks(), abort })
    for (const filter of query.filters) this.#filters.set(filter, (this.#filters.get(filter) ?? 0) + 1)
    this.#followed.clear()
    return id
  }

  /** Resolves with the next chunk of what a feed begins with. Rejects with `not_found` when the feed is closed. */
  async next(id: number): Promise<FeedChunk> {
    const feed = this.#open.get(id)
    const next = await feed?.snapshot.next()
    if (!feed || !next || next.done) throw new HubError('not_found', 'the feed is closed')
    return next.value
  }

  close(id: number): void {
    const feed = this.#open.get(id)
    if (!feed) return
    this.#open.delete(id)
    feed.abort.abort()
    for (const filter of feed.filters) {
      const count = (this.#filters.get(filter) ?? 0) - 1
      if (count > 0) this.#filters.set(filter, count)
      else this.#filters.delete(filter)
    }
    this.#followed.clear()
  }

  stop(): void {
    for (const id of [...this.#open.keys()]) this.close(id)
  }

  #isFollowed(topic: string): boolean {
    const known = this.#followed.get(topic)
    if (known !== undefined) return known
    const isFollowed = [...this.#filters.keys()].some(filter => matches(filter, topic))
    if (this.#followed.size >= maxTopics) this.#followed.clear()
    this.#followed.set(topic, isFollowed)
    return isFollowed
  }
}
