import { EventParser, type StreamEvent } from './event-stream.js'
import { Freshness, tickMs } from './freshness.js'
import type { Behind, Cleared, FeedEvent, Gap, LiveReading, Ready } from './messages.js'
import { backoff, describe, HubRequestError, isTemporary, type Requests } from './requests.js'

export interface FeedOptions {
  /** History of each series before the live readings: a time such as `6h`. Left out: the newest values alone. */
  readonly history?: string
  /** Most values of each series in the history (300). */
  readonly points?: number
  /** Keys of at most 16 series, which alone have history. Left out: all of the topics. */
  readonly series?: string | readonly string[]
  /**
   * True: every reading is delivered, and a receiver that was too slow gets what it missed from the spool of the hub.
   * False: it gets the newest of each topic. Default: true with a history.
   */
  readonly complete?: boolean
  /** Continues behind the message of this sequence number, for instance `after` of an earlier feed. */
  readonly after?: number
  /** Receives the events. Without it the feed is iterated. */
  readonly on?: FeedReceiver
  /** Ends the feed when it aborts. */
  readonly signal?: AbortSignal
}

/** Receiver of the events of a feed. */
export interface FeedReceiver {
  /** Called for each event in order. */
  event?(event: FeedEvent): void
  /** Called when the phase changes. */
  state?(state: FeedState): void
}

/**
 * - `connecting`: not connected, or newest values and history are not complete yet.
 * - `live`: everything up to now has been delivered.
 * - `behind`: connected, and newer readings are on their way or were missed.
 * - `gap`: the hub could not deliver something, and begins anew.
 * - `ended`: closed, or refused for good, as `error` says.
 */
export type FeedPhase = 'connecting' | 'live' | 'behind' | 'gap' | 'ended'

export interface FeedState {
  readonly phase: FeedPhase
  /** Milliseconds since what was delivered was known to be the newest. A silent hub is heard every 15 s. */
  readonly ageMs: number
  /** The newest gap, if any. */
  readonly gap: Gap | undefined
  /** Number of gaps so far. */
  readonly gaps: number
  /** Why the last connection ended. */
  readonly error: HubRequestError | undefined
}

/** Most events that wait for who iterates. Beyond them the connection is read no further. */
const maxWaiting = 1_000
/** Most sequence numbers remembered of readings that came out of order. */
const maxAhead = 100_000

/** Events of a browser that tell when waiting has become pointless; Node has none of them. */
const browser = globalThis as Partial<Pick<EventTarget, 'addEventListener' | 'removeEventListener'>>

const now = () => performance.now()

/**
 * Feed of some topics: their newest values, history, and live readings in one sequence of events, over as many
 * connections as needed. After a break the feed continues behind the last message, so that nothing is missing and
 * nothing comes twice; where the hub cannot do that a `gap` says so.
 */
export class Feed implements AsyncIterable<FeedEvent> {
  readonly #requests: Requests
  readonly #query: string
  readonly #isComplete: boolean
  readonly #receiver: FeedReceiver | undefined
  readonly #freshness = new Freshness(now)
  readonly #timer: ReturnType<typeof setInterval>
  readonly #wakeNow = () => this.#wake()
  #phase: FeedPhase = 'connecting'
  #shown: FeedPhase = 'connecting'
  #connectedSince = now()
  #error: HubRequestError | undefined
  #gap: Gap | undefined
  #gaps = 0
  /** Everything up to this sequence number was delivered. */
  #after: number | undefined
  /** Delivered readings behind that, while the hub sends merged ones, which are not in order. */
  readonly #ahead = new Set<number>()
  #isMerging = false
  /** After a gap: the next newest value or history begins the feed anew. */
  #isAnew = false
  #attempt = 0
  #abort = new AbortController()
  #endPause: (() => void) | undefined
  #waiting: FeedEvent[] = []
  #taken: (() => void) | undefined
  #offered: (() => void) | undefined

  /** Made by `Hub.subscribe`. */
  constructor(requests: Requests, filters: readonly string[], options: FeedOptions) {
    const { history, points, series = [], after, on, signal, complete = history !== undefined } = options
    this.#requests = requests
    const query = new URLSearchParams()
    for (const filter of filters) query.append('topic', filter)
    if (history !== undefined) query.set('history', history)
    if (points !== undefined) query.set('points', String(points))
    for (const key of typeof series === 'string' ? [series] : series) query.append('series', key)
    this.#query = query.toString()
    this.#isComplete = complete
    this.#receiver = on
    this.#after = after
    this.#timer = setInterval(() => this.#tick(), tickMs)
    browser.addEventListener?.('online', this.#wakeNow)
    signal?.addEventListener('abort', () => this.close(), { once: true })
    if (signal?.aborted) this.close()
    else void this.#run()
  }

  get state(): FeedState {
    const { ageMs } = this.#freshness
    return { phase: this.#phaseNow(), ageMs, gap: this.#gap, gaps: this.#gaps, error: this.#error }
  }

  /** Sequence number up to which everything was delivered, to continue there later. Undefined before `ready`. */
  get after(): number | undefined {
    return this.#after
  }

  /** Ends the feed. Iterations end when they have taken what has come. */
  close(): void {
    this.#end(undefined)
  }

  /**
   * Iterates the events. Rejects when the hub has refused the feed for good. Each event is taken once, also by several
   * iterations. While events are not taken the hub is not read.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<FeedEvent, void> {
    if (this.#receiver) throw new TypeError('a feed with `on` gives its events there')
    for (;;) {
      for (let event = this.#waiting.shift(); event; event = this.#waiting.shift()) {
        if (this.#waiting.length < maxWaiting) this.#taken?.()
        yield event
      }
      if (this.#phase === 'ended') {
        if (this.#error && !isTemporary(this.#error)) throw this.#error
        return
      }
      await new Promise<void>(resolve => (this.#offered = resolve))
    }
  }

  async #run(): Promise<void> {
    while (this.#phase !== 'ended') {
      this.#abort = new AbortController()
      try {
        await this.#connection(this.#abort)
      } catch (error) {
        if (this.#isOver()) return
        this.#error = error instanceof HubRequestError ? error : new HubRequestError('unreachable', describe(error))
        if (!isTemporary(this.#error)) return this.#end(this.#error)
      } finally {
        this.#abort.abort()
      }
      if (this.#isOver()) return
      this.#enter('connecting')
      const { promise, end } = pause(backoff(this.#attempt++))
      this.#endPause = end
      await promise
    }
  }

  async #connection(abort: AbortController): Promise<void> {
    this.#connectedSince = now()
    const headers = {
      accept: 'text/event-stream',
      ...(this.#after !== undefined && { 'last-event-id': `${this.#after}` }),
    }
    const response = await this.#requests.send(`/api/live?${this.#query}`, { headers }, abort.signal)
    if (!response.body) throw new HubRequestError('unreachable', 'the answer has no body')
    if (this.#after === undefined) this.#deliver({ kind: 'start' })
    else this.#enter('behind')
    this.#isMerging = false
    this.#isAnew = false
    this.#freshness.heard()
    const parser = new EventParser()
    const decoder = new TextDecoder()
    const reader = response.body.getReader()
    for (let read = await reader.read(); !read.done; read = await reader.read()) {
      this.#freshness.heard()
      for (const event of parser.push(decoder.decode(read.value, { stream: true }))) {
        if (abort.signal.aborted) return
        this.#take(event)
      }
      this.#show()
      while (this.#waiting.length >= maxWaiting && !this.#isOver()) {
        await new Promise<void>(resolve => (this.#taken = resolve))
        // A reader that iterates slowly has made the hub wait.
        this.#freshness.heard()
      }
    }
  }

  #take({ event, data }: StreamEvent): void {
    const json: unknown = JSON.parse(data)
    switch (event) {
      case 'values':
      case 'history':
        if (this.#isAnew) this.#deliver({ kind: 'start' })
        this.#isAnew = false
        this.#deliver({ kind: event, data: json } as FeedEvent)
        break
      case 'ready':
        this.#ready(json as Ready)
        break
      case 'live':
        this.#live(json as LiveReading)
        break
      case 'cleared':
        this.#cleared(json as Cleared)
        break
      case 'gap':
        this.#noteGap(json as Gap)
        break
      case 'behind':
        this.#behind(json as Behind)
        break
      case 'caught_up':
        this.#caughtUp()
        this.#deliver({ kind: event, data: json as Behind })
        break
      case 'error': {
        const { error, message } = json as { readonly error: string; readonly message: string }
        throw new HubRequestError(error, message)
      }
    }
  }

  #ready(ready: Ready): void {
    this.#after = Math.max(this.#after ?? 0, ready.sequence)
    this.#ahead.clear()
    this.#attempt = 0
    this.#error = undefined
    this.#freshness.restart()
    this.#enter('live')
    this.#deliver({ kind: 'ready', data: ready })
  }

  #live(reading: LiveReading): void {
    const { sequence, received } = reading
    if (this.#phase === 'live') this.#freshness.reading(received)
    const isKnown = sequence <= (this.#after ?? -1) || this.#ahead.has(sequence)
    if (isKnown) return
    this.#reach(sequence)
    this.#deliver({ kind: 'live', data: reading })
  }

  /** A device may be removed at any time after the last message. */
  #cleared(cleared: Cleared): void {
    const { sequence } = cleared
    if (sequence < (this.#after ?? 0)) return
    this.#reach(sequence)
    this.#deliver({ kind: 'cleared', data: cleared })
  }

  #reach(sequence: number): void {
    if (this.#isMerging) {
      if (this.#ahead.size < maxAhead) this.#ahead.add(sequence)
    } else if (this.#phase !== 'connecting' && this.#phase !== 'gap') this.#after = sequence
  }

  #noteGap(gap: Gap): void {
    this.#gap = gap
    this.#gaps++
    this.#enter('gap')
    this.#deliver({ kind: 'gap', data: gap })
    if (gap.reason === 'not_stored_yet') return
    // The hub sends newest values and history again. A break meanwhile must not continue where it cannot.
    this.#after = undefined
    this.#ahead.clear()
    this.#isAnew = true
  }

  #behind(behind: Behind): void {
    this.#enter('behind')
    this.#deliver({ kind: 'behind', data: behind })
    this.#isMerging = true
    // Merged readings are on the hub's disk: reading on from there leaves nothing out.
    if (this.#isComplete) this.#resume()
  }

  #caughtUp(): void {
    for (const sequence of this.#ahead) this.#after = Math.max(this.#after ?? 0, sequence)
    this.#ahead.clear()
    this.#isMerging = false
    this.#freshness.restart()
    this.#enter('live')
  }

  #tick(): void {
    const verdict = this.#freshness.tick()
    if (this.#phase === 'ended') return
    const isReading = this.#waiting.length < maxWaiting
    // A connection that was not answered yet has its time as well.
    const isNew = now() - this.#connectedSince < 10_000
    if (verdict !== undefined && isReading && !isNew) this.#resume()
    this.#show()
  }

  /** Connects anew behind what was delivered. The hub then says when that is complete. */
  #resume(): void {
    if (this.#phase === 'live') this.#enter('behind')
    this.#abort.abort(new HubRequestError('unreachable', 'resumed'))
  }

  #wake(): void {
    this.#attempt = 0
    this.#endPause?.()
  }

  #deliver(event: FeedEvent): void {
    if (this.#receiver) guarded(() => this.#receiver?.event?.(event))
    else this.#waiting.push(event)
    this.#offered?.()
  }

  #enter(phase: FeedPhase): void {
    if (this.#isOver()) return
    this.#phase = phase
    this.#show()
  }

  #phaseNow(): FeedPhase {
    const isWaiting = this.#freshness.isLate || this.#waiting.length >= maxWaiting
    return this.#phase === 'live' && isWaiting ? 'behind' : this.#phase
  }

  #show(): void {
    const phase = this.#phaseNow()
    if (phase === this.#shown) return
    this.#shown = phase
    guarded(() => this.#receiver?.state?.(this.state))
  }

  #isOver(): boolean {
    return this.#phase === 'ended'
  }

  #end(error: HubRequestError | undefined): void {
    if (this.#isOver()) return
    this.#error = error
    this.#phase = 'ended'
    clearInterval(this.#timer)
    browser.removeEventListener?.('online', this.#wakeNow)
    this.#abort.abort()
    this.#endPause?.()
    this.#taken?.()
    this.#offered?.()
    this.#show()
  }
}

/** An error of the receiver is reported as that of any event listener, and does not end the feed. */
function guarded(call: () => void): void {
  try {
    call()
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}

function pause(ms: number): { readonly promise: Promise<void>; readonly end: () => void } {
  let end = () => {}
  const promise = new Promise<void>(resolve => {
    const timer = setTimeout(resolve, ms)
    end = () => {
      clearTimeout(timer)
      resolve()
    }
  })
  return { promise, end }
}
