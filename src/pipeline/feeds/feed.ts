import type { ReadRules } from '../../access/rules.js'
import type { Outward } from '../../model.js'

/*
 * A feed: the newest values of some topics, the history of their series, and from there on every reading, without a gap
 * and without a duplicate. The processor thread makes the first part, in chunks that the broker thread asks for
 * (`FeedSnapshot`), and sends each new reading of a followed topic once for all feeds (`LiveFeeds`).
 */

/** Selects what a feed begins with. */
export interface FeedQuery {
  /** Topic filters. A topic that several of them match is delivered once. */
  readonly filters: readonly string[]
  /** Microseconds of history before now; 0: no history. */
  readonly span: number
  /** Maximum number of values of each series in the history. */
  readonly points: number
  /** Keys of the series with history. Undefined: all whose topics match. */
  readonly series?: readonly string[] | undefined
  /** Rules of the user who asks. Undefined: everything may be read. */
  readonly rules: ReadRules | undefined
  /** Continues behind the message with this sequence number, with neither newest values nor history. */
  readonly after?: number | undefined
}

/** One event of a feed, as JSON made in the processor thread. */
export interface FeedItem {
  /**
   * - `values`: the newest reading of a topic, as in `$hub/last/{topic}`.
   * - `history`: columns of one series, or a part of them.
   * - `live`: the reading of one message, as in `$hub/last/{topic}`, with the message's `sequence`.
   * - `cleared`: the topic has no newest reading any more: its retained message was cleared, or its device removed.
   * - `message`: a message of a back end, which passes no spool: raw, with its payload as text or Base64.
   * - `gap`: messages or history that the feed cannot deliver, with the reason.
   */
  readonly kind: 'values' | 'history' | 'live' | 'cleared' | 'message' | 'gap'
  /** The topic of the reading. Empty for a gap, and for a series that comes from several topics. */
  readonly topic: string
  /** Sequence number of the message, and of the last one before a device was removed. 0 for what is no message. */
  readonly sequence: number
  readonly json: string
}

/** The end of the first part of a feed. */
export interface FeedEnd {
  /** Readings of all messages up to this sequence number are in the history, or were delivered. */
  readonly sequence: number
  /** Number of series with history. */
  readonly series: number
  /** True when more series match than a feed delivers. */
  readonly truncated: boolean
}

/** A part of a feed that fits into memory. */
export interface FeedChunk {
  readonly items: readonly FeedItem[]
  /** Defined in the last chunk. */
  readonly end?: FeedEnd
}

/** Takes the live items of all feeds on the broker thread. Implemented by `Feeds`. */
export interface FeedSink {
  /** Resolves when more items may be sent. */
  feed(items: readonly FeedItem[]): Promise<void>
  /** Takes messages of back ends, when subscribers have them. */
  messages(messages: readonly Pick<Outward, 'topic' | 'payload' | 'retain'>[]): void
  /** Called when another processor thread runs, which knows of no feed. */
  restarted(): void
}
