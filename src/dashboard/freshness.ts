/** Message on `$hub/feed`: how up to date the hub says that this page is. */
export interface FeedNotice {
  readonly state: 'live' | 'behind'
  /** Time of the hub, ISO 8601. */
  readonly at: string
  /** Updates that a newer one of their topic replaced while the page was behind. */
  readonly merged?: number
}

/** `checking`: nothing is known of the last moments. `catching-up`: the newest values are on their way. */
export type Freshness = 'live' | 'checking' | 'behind' | 'catching-up'

/** Age in milliseconds from which values are called late; the hub sends a notice each second. */
const lateAfter = 3_000
/** Time without a look after which the page was paused, or too busy to tell. */
const pausedAfter = 2_000

/**
 * How late the messages of one connection are. A notice a second takes the same way as all other messages, so the age
 * of the last one is the age of the feed. Clocks need not agree: the smallest difference seen is taken for none. All
 * times given are milliseconds of a clock that never jumps.
 */
export class FeedAge {
  #offset = Infinity
  /** Time of the last notice: of the hub, in milliseconds since the epoch. */
  #at = 0
  #state: FeedNotice['state'] = 'live'
  #lookedAt = 0
  /** Whether no fresh notice has come since the connection began, or since the page was paused. */
  #isChecking = true

  /** Begins anew with a new connection. */
  begin(now: number): void {
    this.#offset = Infinity
    this.#at = 0
    this.#isChecking = true
    this.#lookedAt = now
  }

  heard({ state, at }: FeedNotice, now: number): void {
    this.look(now)
    const time = Date.parse(at)
    // The clock of the hub was set back: differences seen before say nothing.
    if (time < this.#at) this.#offset = Infinity
    this.#at = time
    this.#state = state
    this.#offset = Math.min(this.#offset, now - time)
    if (this.age(now) < lateAfter) this.#isChecking = false
  }

  /** Age of the feed, in milliseconds. */
  age(now: number): number {
    return this.#at === 0 ? 0 : Math.max(0, now - this.#at - this.#offset)
  }

  /** Returns how fresh the values are. To be called often: a long time between two calls means that the page was paused. */
  look(now: number): Freshness {
    if (now - this.#lookedAt > pausedAfter) this.#isChecking = true
    this.#lookedAt = now
    if (this.#at > 0 && this.age(now) >= lateAfter) return 'behind'
    if (this.#isChecking) return 'checking'
    return this.#state === 'live' ? 'live' : 'catching-up'
  }
}
