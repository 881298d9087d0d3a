import type { Feed, FeedEvent, FeedState, HistoryColumns } from '@telehub/client'
import type { Value } from '../api.js'
import { failureOf, hub } from '../hub.js'
import type { Span } from './span.js'
import type { Subject } from './subject.js'

/** Takes the readings of the series of a chart. */
export interface ReadingsReceiver {
  /** Called with all history of a series. `window`: width of a window in milliseconds. */
  past(key: string, past: HistoryColumns, window: number): void
  /** Called with the extremes of the windows, where their values are means. */
  extremes(key: string, lows: HistoryColumns, highs: HistoryColumns): void
  /** Called with the state that held when the history begins. */
  before(key: string, value: Value): void
  /** Called with each reading behind the history. */
  reading(key: string, time: number, value: Value): void
  /** Called in place of the history, with the reason. Readings may follow. */
  failed(failure: string): void
  /** Called when readings that are on their way are missing, and when that is over. */
  phaseChanged(phase: FeedState['phase']): void
}

/** How far back the state is looked for that held when the history begins. */
const lookBack = 30 * 86_400_000

/** The readings of some series for one drawing: history, and for a range up to now every reading after that. */
export class Readings {
  readonly #subjects: ReadonlyMap<string, Subject>
  readonly #points: number
  readonly #receiver: ReadingsReceiver
  readonly #ended = new AbortController()
  /** Series whose live readings come behind their history in one sequence, so that nothing is missing between. */
  readonly #joined = new Set<string>()
  readonly #past = new Map<string, HistoryColumns & Span>()
  /** Readings that no history has, of before the feed is ready. */
  #early: (readonly [key: string, time: number, value: Value])[] = []
  #feed: Feed | undefined
  #failure: string | undefined
  #isReady = false

  constructor(subjects: readonly Subject[], points: number, receiver: ReadingsReceiver) {
    this.#subjects = new Map(subjects.map(subject => [subject.key, subject]))
    this.#points = points
    this.#receiver = receiver
  }

  /** Whether live readings come from here. */
  get isFollowing(): boolean {
    return this.#feed !== undefined
  }

  isJoined(key: string): boolean {
    return this.#joined.has(key)
  }

  /** Begins with the history of a range up to now, and goes on with the readings of the topics. */
  follow(range: string, span: Span): void {
    const followed = [...this.#subjects.values()].filter(({ topic }) => topic !== undefined)
    for (const [key, { topic }] of this.#subjects) if (topic === undefined) void this.#show(key, span)
    if (followed.length === 0) return
    const topics = [...new Set(followed.flatMap(({ topic }) => topic ?? []))]
    const event = (one: FeedEvent) => this.#take(one, span)
    const state = ({ phase, error }: FeedState) => {
      if (this.#ended.signal.aborted) return
      this.#receiver.phaseChanged(phase)
      if (phase === 'ended' && !this.#isReady) this.#receiver.failed(failureOf(error))
    }
    this.#feed = hub.subscribe(topics, {
      history: range,
      points: this.#points,
      series: followed.map(({ key }) => key),
      signal: this.#ended.signal,
      on: { event, state },
    })
  }

  /** Begins with the history of a span, which is all. */
  show(span: Span): void {
    for (const key of this.#subjects.keys()) void this.#show(key, span)
  }

  /** Looks whether the hub refuses to answer: a feed tries again without a word. Called once a second. */
  look(): void {
    const { error } = this.#feed?.state ?? {}
    if (!this.#isReady && error) this.#receiver.failed(failureOf(error))
  }

  close(): void {
    this.#ended.abort()
  }

  async #show(key: string, span: Span): Promise<void> {
    const { signal } = this.#ended
    const whole = { from: Math.floor(span.from), to: Math.ceil(span.to) }
    const fn = this.#subjects.get(key)?.type === 'number' ? 'mean' : 'last'
    try {
      const past = await hub.history(key, { ...whole, points: this.#points, fn })
      if (!signal.aborted) this.#tell(key, past, whole)
    } catch (error) {
      if (!signal.aborted) this.#receiver.failed(failureOf(error))
    }
  }

  #take(event: FeedEvent, span: Span): void {
    switch (event.kind) {
      case 'start':
        this.#past.clear()
        this.#early = []
        this.#failure = undefined
        this.#isReady = false
        break
      case 'history':
        if (this.#subjects.has(event.data.series)) this.#addPast(event.data)
        break
      case 'gap':
        this.#failure = event.data.message
        break
      case 'ready':
        this.#ready(span)
        break
      case 'live':
        for (const { series, value, time = event.data.time, earlier } of event.data.values) {
          if (!this.#subjects.has(series)) continue
          for (const [i, at] of earlier?.times.entries() ?? []) this.#reading(series, at, earlier?.values[i] as Value)
          this.#reading(series, time, value)
        }
    }
  }

  /** Long histories come in parts. */
  #addPast({ series, from, to, times, values }: HistoryColumns & Span & { readonly series: string }): void {
    const past = this.#past.get(series)
    this.#past.set(series, {
      ...{ from, to },
      times: past ? [...past.times, ...times] : times,
      values: past ? [...past.values, ...values] : values,
    })
  }

  #reading(key: string, time: number, value: Value): void {
    if (this.#isReady) this.#receiver.reading(key, time, value)
    else this.#early.push([key, time, value])
  }

  /** Called once the history is complete, and after each break. */
  #ready(span: Span): void {
    // After a break that the feed continued behind, all has been told.
    if (this.#isReady) return
    const [past, early] = [new Map(this.#past), this.#early]
    this.#past.clear()
    this.#early = []
    this.#isReady = true
    this.#joined.clear()
    if (past.size === 0 && this.#failure !== undefined) {
      this.#receiver.failed(this.#failure)
      return
    }
    for (const [key, { topic }] of this.#subjects) {
      if (topic === undefined) continue
      const own = past.get(key)
      // A series of several topics is in no feed of one of them.
      if (!own) {
        void this.#show(key, span)
        continue
      }
      this.#joined.add(key)
      this.#tell(key, own, own)
    }
    for (const [key, time, value] of early) this.#receiver.reading(key, time, value)
  }

  #tell(key: string, { times, values }: HistoryColumns, range: Span): void {
    this.#receiver.past(key, { times, values }, (range.to - range.from) / this.#points)
    const isNumber = this.#subjects.get(key)?.type === 'number'
    if (isNumber && times.length > 0) void this.#askExtremes(key, range)
    if (!isNumber) void this.#askBefore(key, range)
  }

  /** Asks for the same windows. Without an answer the means are shown alone. */
  async #askExtremes(key: string, { from, to }: Span): Promise<void> {
    const ask = (fn: 'min' | 'max') => hub.history(key, { from, to, points: this.#points, fn })
    const extremes = await Promise.all([ask('min'), ask('max')]).catch(() => undefined)
    if (extremes && !this.#ended.signal.aborted) this.#receiver.extremes(key, ...extremes)
  }

  async #askBefore(key: string, { from }: Span): Promise<void> {
    const before = { from: from - lookBack, to: from, points: 1, fn: 'last' } as const
    const { values } = await hub.history(key, before).catch(() => ({ values: [] }))
    const [value] = values
    if (value !== undefined && !this.#ended.signal.aborted) this.#receiver.before(key, value)
  }
}
