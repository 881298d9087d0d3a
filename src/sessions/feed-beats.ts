import { EncodedPublish } from '../mqtt/publish.js'
import type { MillisecondClock } from '../runtime/time.js'
import { hubTopics } from '../topics.js'

/** A message on `$hub/feed`: how up to date one client is with what it gets at QoS 0. */
export interface FeedNotice {
  /** `behind`: messages have waited for the client, and some may still wait. */
  readonly state: 'live' | 'behind'
  /** Milliseconds since which the client is behind, or for which it was. Undefined when it was not. */
  readonly behind?: number
  /** Messages meanwhile in whose place the client got a newer one of their topic. */
  readonly merged?: number
  /** Messages meanwhile that the client did not get at all. */
  readonly dropped?: number
  /** Topics whose newest message still waits. */
  readonly waiting?: number
}

/** Encodes a notice as of now. */
export function encodedNotice(notice: FeedNotice, clock: MillisecondClock): EncodedPublish {
  const { state, ...more } = notice
  const body = { state, at: new Date(clock.now()).toISOString(), ...more }
  return new EncodedPublish(hubTopics.feed, Buffer.from(JSON.stringify(body)))
}

/** A client that may be subscribed to `$hub/feed`. */
export interface FeedClient {
  /** Sends the notice, or a newer one later. Returns false when the client is gone, or no longer subscribed. */
  beat(notice: EncodedPublish): boolean
}

const beatEveryMs = 1_000

/**
 * Tells every client that subscribes to `$hub/feed`, once a second, that its feed is live. The notice takes the way of
 * all other messages, so a client that compares its age knows how late those are. One timer, and one message, for all.
 */
export class FeedBeats {
  readonly #clock: MillisecondClock
  readonly #clients = new Set<FeedClient>()
  #timer: NodeJS.Timeout | undefined

  /** `clock`: milliseconds since the epoch. */
  constructor(clock: MillisecondClock) {
    this.#clock = clock
  }

  /** Adds a client, until it is gone or no longer subscribed. */
  add(client: FeedClient): void {
    this.#clients.add(client)
    this.#timer ??= setInterval(() => this.#beat(), beatEveryMs).unref()
  }

  /** Tells one client at once. */
  tell(client: FeedClient): void {
    client.beat(this.#live())
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #beat(): void {
    const notice = this.#live()
    for (const client of this.#clients) if (!client.beat(notice)) this.#clients.delete(client)
    if (this.#clients.size === 0) this.stop()
  }

  #live(): EncodedPublish {
    return encodedNotice({ state: 'live' }, this.#clock)
  }
}
