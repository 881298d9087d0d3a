import type { Access } from '../access/rules.js'
import type { EncodedPublish } from '../mqtt/publish.js'

/** One event of a feed. */
export interface HistoryEvent {
  readonly kind: string
  /** Empty for what concerns the whole feed. */
  readonly topic: string
  readonly json: string
}

export interface HistoryFeed {
  /** Resolves with the next events; with undefined when the feed is closed. Rejects with the reason when the hub closes the feed. */
  next(): Promise<readonly HistoryEvent[] | undefined>
  close(): void
}

/** Opens feeds: history, then live. Implemented by `Feeds`. */
export interface HistoryFeeds {
  /** Throws `bad_request` when something is not allowed, `too_many` when the user has too many feeds. */
  open(
    reader: { readonly user: string; readonly clientId: string; readonly access: Access | undefined },
    wanted: { readonly filters: readonly string[]; readonly historyMs: number; readonly points: number },
  ): HistoryFeed
  /** Returns the milliseconds of a text such as 6h. Throws `bad_request` for any other text. */
  span(text: string): number
}

/** A client, as far as subscriptions to history go. Implemented by `Client`. */
export interface HistoryReceiver {
  readonly id: string
  readonly user: string
  readonly access: Access | undefined
  /** Undefined once the connection is over. */
  readonly session: object | undefined
  /** False while so much waits to be written that further messages should wait. */
  readonly hasCapacity: boolean
  deliverQos0(message: EncodedPublish, retain: boolean, ids: readonly number[] | undefined): boolean
}
