import { setTimeout as sleep } from 'node:timers/promises'
import type { Access } from '../access/rules.js'
import { describe, HubError } from '../errors.js'
import type { FeedEnd, FeedItem, FeedQuery, PipelineApi } from '../pipeline/pipeline-api.js'
import { Conflation, type ConflationCounts } from '../runtime/conflation.js'
import { hubTopics } from '../topics.js'

/** One event of a feed, for its receiver. */
export interface FeedEvent {
  /**
   * Those of `FeedItem`, and:
   * - `ready`: newest values and history are complete; from here on events are live.
   * - `behind`: the receiver was too slow, and live events of a topic were merged into the newest. These follow.
   * - `caught_up`: no merged events wait any more.
   */
  readonly kind: FeedItem['kind'] | 'ready' | 'behind' | 'caught_up'
  /** The topic of the reading. Empty for what concerns the whole feed. */
  readonly topic: string
  /**
   * A receiver that has this event has everything up to this sequence number, and may continue behind it after a break.
   * 0: what it has does not change. So it is while merged events are sent, whose order is that of their topics.
   */
  readonly sequence: number
  readonly json: string
}

/** Receiver of a feed, and what it may read. */
export interface FeedReader {
  /** The user; empty without a login, and for the admin key. */
  readonly user: string
  /** The MQTT client, if that is one. */
  readonly clientId?: string
  /** Undefined: everything may be read. */
  readonly access: Access | undefined
  /** Returns whether the credentials still hold; asked when users have changed. Without, they hold as long as the user. */
  isValid?(): boolean | Promise<boolean>
}

type FeedPipeline = Pick<PipelineApi, 'openFeed' | 'nextOfFeed' | 'closeFeed'>

export interface FeedParts {
  readonly pipeline: FeedPipeline
  readonly counts: ConflationCounts
  /** Returns the retained messages of back ends on topics that these filters match. */
  readonly retained: (filters: readonly string[]) => Iterable<FeedItem>
  /** Forgets a feed that is closed. */
  readonly closed: (feed: Feed) => void
}

/** Most live events, and characters of them, that wait for a receiver before they are merged by topic. */
const maxWaiting = 1_000
const maxWaitingCharacters = 1e6

/** Most characters of merged events that wait: 139,000 topics of 280 characters take 39 MB. */
const maxMergedCharacters = 64e6

/** Most events that arrive while one chunk is made. Beyond it they are read from the spool again. */
const maxMeanwhile = 20_000

/** Most characters of the events that one `next` returns, unless one alone has more. */
const maxReturned = 256_000

/** Pause before a feed is opened again whose processor thread has ended. */
const reopenMs = 250

/**
 * One feed, for one receiver, which asks for more with `next` when it has room. Live events that the receiver does not
 * take in time wait in their order, up to a limit. Beyond it only the newest of each topic waits.
 */
export class Feed {
  readonly user: string
  /** Empty for a reader that is no MQTT client. */
  readonly clientId: string
  #access: Access | undefined
  /** Called when the feed is closed. A receiver that does not read, and so does not ask for more, learns it from this. */
  onClose: (() => void) | undefined
  readonly #reader: FeedReader
  readonly #query: Omit<FeedQuery, 'rules'>
  readonly #parts: FeedParts
  readonly #conflation: Conflation<FeedItem>
  /** Number of the feed in the processor thread, while that makes what the feed begins with. */
  #id: number | undefined
  #phase: 'opening' | 'beginning' | 'live' | 'closed' = 'opening'
  #reason: HubError | undefined
  /** Sequence number from which the feed continues when it must be opened again. */
  #last: number | undefined
  /** Live items that arrived while a chunk was made. */
  #meanwhile: FeedItem[] | undefined
  #waiting: FeedItem[] = []
  #waitingCharacters = 0
  #isBehind = false
  #isTold = false
  #isReady = false
  #wake: (() => void) | undefined

  constructor(reader: FeedReader, query: Omit<FeedQuery, 'rules'>, parts: FeedParts) {
    this.user = reader.user
    this.clientId = reader.clientId ?? ''
    this.#reader = reader
    this.#access = reader.access
    this.#query = query
    this.#parts = parts
    this.#last = query.after
    this.#conflation = new Conflation(maxMergedCharacters, parts.counts, performance)
  }

  /**
   * Resolves with the next events, at least one. Resolves with undefined when the feed is closed; rejects with the
   * reason when the hub has closed it. Called again only when the last call has ended.
   */
  async next(): Promise<readonly FeedEvent[] | undefined> {
    for (;;) {
      if (this.#phase === 'closed') {
        if (this.#reason) throw this.#reason
        return undefined
      }
      // Waiting events come first, also when the feed was opened again meanwhile.
      const isWaiting = this.#phase === 'live' || this.#waiting.length > 0 || this.#isBehind
      const events = isWaiting ? this.#liveEvents() : await this.#begin()
      if (events.length > 0) return events
      if (this.#phase === 'live') await new Promise<void>(resolve => (this.#wake = resolve))
    }
  }

  /** Ends the feed; with a reason, `next` rejects with that. */
  close(reason?: HubError): void {
    if (this.#phase === 'closed') return
    this.#leave()
    this.#phase = 'closed'
    this.#reason = reason
    this.#waiting = []
    this.#parts.closed(this)
    this.#wake?.()
    this.onClose?.()
  }

  /** Takes a live item that matches the filters. */
  offer(item: FeedItem): void {
    if (!this.#mayRead(item)) return
    if (item.kind === 'message') {
      // Before the feed is ready, its retained messages are still to be looked up.
      if (this.#isReady && this.#phase !== 'closed') this.#put(item)
    } else if (this.#phase === 'beginning') {
      const { length } = this.#meanwhile ?? []
      if (length < maxMeanwhile) this.#meanwhile?.push(item)
      else this.#meanwhile = undefined
    } else if (this.#phase === 'live') this.#put(item)
  }

  /** Rights have changed. A feed that has not come to its live readings begins anew, with these rights. */
  permit(access: Access | undefined): void {
    this.#access = access
    if (this.#phase !== 'beginning') return
    this.#leave()
    this.#phase = 'opening'
  }

  /** Closes the feed when the credentials of its reader do not hold any more. */
  async recheck(): Promise<void> {
    if ((await this.#reader.isValid?.()) === false)
      this.close(new HubError('unauthorized', 'the credentials have ended'))
  }

  /** The processor thread was replaced, and knows no feed. */
  reopen(): void {
    this.#id = undefined
    if (this.#phase !== 'live') return
    this.#phase = 'opening'
    this.#wake?.()
  }

  get isClosed(): boolean {
    return this.#phase === 'closed'
  }

  get filters(): readonly string[] {
    return this.#query.filters
  }

  async #begin(): Promise<readonly FeedEvent[]> {
    const { pipeline } = this.#parts
    try {
      if (this.#id === undefined) {
        const rules = this.#access?.readsAll('#') === false ? this.#access.readRules : undefined
        const id = await pipeline.openFeed({ ...this.#query, rules, after: this.#last })
        if (this.#phase === 'closed') {
          this.#parts.pipeline.closeFeed(id).catch(() => {})
          return []
        }
        this.#id = id
        this.#phase = 'beginning'
      }
      this.#meanwhile = []
      const { items, end } = await pipeline.nextOfFeed(this.#id)
      if (this.#phase !== 'beginning') return []
      return end ? [...items, ...this.#goLive(end)] : items
    } catch (error) {
      if (!(error instanceof HubError) || !['processor_down', 'stopping', 'not_found'].includes(error.code)) {
        this.close(error instanceof HubError ? error : new HubError('processor_down', describe(error)))
        return []
      }
      this.#leave()
      if (this.#phase !== 'closed') this.#phase = 'opening'
      await sleep(reopenMs)
      return []
    }
  }

  /** Continues with what has come since the last chunk was asked for. */
  #goLive({ sequence, series, truncated }: FeedEnd): readonly FeedEvent[] {
    this.#last = sequence
    const meanwhile = this.#meanwhile
    this.#meanwhile = undefined
    if (!meanwhile) {
      // Too much has come: the rest is read from the spool as well.
      this.#leave()
      this.#phase = 'opening'
      return []
    }
    this.#phase = 'live'
    for (const item of meanwhile) this.#put(item)
    const json = JSON.stringify({ sequence, series, ...(truncated && { truncated }) })
    if (this.#isReady) return []
    this.#isReady = true
    const messages = [...this.#parts.retained(this.#query.filters)].filter(item => this.#mayRead(item))
    return [...messages, { kind: 'ready', topic: '', sequence, json }]
  }

  #put(item: FeedItem): void {
    const last = this.#last ?? 0
    // A device may be removed at any time after the last message.
    if (item.kind === 'cleared' ? item.sequence < last : item.kind === 'live' && item.sequence <= last) return
    this.#last = Math.max(last, item.sequence)
    const isFull = this.#waiting.length >= maxWaiting || this.#waitingCharacters >= maxWaitingCharacters
    if (this.#isBehind || isFull) {
      if (!this.#isBehind) {
        this.#isBehind = true
        this.#isTold = false
        this.#conflation.restart()
      }
      this.#conflation.put(item.topic, item, item.json.length)
    } else {
      this.#waiting.push(item)
      this.#waitingCharacters += item.json.length
    }
    this.#wake?.()
    this.#wake = undefined
  }

  #liveEvents(): readonly FeedEvent[] {
    if (this.#waiting.length > 0) {
      const events = this.#waiting
      this.#waiting = []
      this.#waitingCharacters = 0
      return this.#access ? events.filter(item => this.#mayRead(item)) : events
    }
    if (!this.#isBehind) return []
    const events: FeedEvent[] = []
    const { behindMs, merged, dropped, size } = this.#conflation
    if (!this.#isTold) {
      this.#isTold = true
      events.push(notice('behind', { behind: Math.round(behindMs), merged, dropped, waiting: size }))
    }
    let length = 0
    for (
      let item = this.#conflation.shift();
      item;
      item = length < maxReturned ? this.#conflation.shift() : undefined
    ) {
      if (this.#mayRead(item)) events.push({ ...item, sequence: 0 })
      length += item.json.length
    }
    if (this.#conflation.size === 0) {
      this.#isBehind = false
      const { merged, dropped, behindMs } = this.#conflation
      const caughtUp = notice('caught_up', { behind: Math.round(behindMs), merged, dropped })
      events.push({ ...caughtUp, sequence: this.#last ?? 0 })
    }
    return events
  }

  #mayRead({ topic }: FeedItem): boolean {
    return this.#access === undefined || this.#access.reads.may(hubTopics.last(topic))
  }

  #leave(): void {
    if (this.#id !== undefined) this.#parts.pipeline.closeFeed(this.#id).catch(() => {})
    this.#id = undefined
  }
}

function notice(kind: 'behind' | 'caught_up', about: object): FeedEvent {
  return { kind, topic: '', sequence: 0, json: JSON.stringify(about) }
}
