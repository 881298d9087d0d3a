import type { Feed, FeedEvent, FeedState, HistoryColumns } from '@telehub/client'
import type { SeriesInfo, Value } from './api.js'
import { failureOf, hub } from './hub.js'
import type { Span } from './plot.js'

/** Takes the readings of a series. */
export interface ReadingsReceiver {
  /** Called with all history. `window`: width of one of the store's windows. */
  past(past: HistoryColumns, window: number): void
  /** Called with the extremes of the windows, where their values are means. */
  extremes(lows: HistoryColumns, highs: HistoryColumns): void
  /** Called with each reading behind the history. */
  reading(time: number, value: Value): void
  /** Called in place of the history, with the reason. Readings may follow. */
  failed(failure: string): void
  /** Called when readings that are on their way are missing, and when that is over. */
  phase(phase: FeedState['phase']): void
}

/** The readings of one series for one drawing: history, and for a range up to now every reading after that. */
export class SeriesReadings {
  readonly #series: Pick<SeriesInfo, 'key' | 'type'>
  readonly #points: number
  readonly #receiver: ReadingsReceiver
  readonly #ended = new AbortController()
  #feed: Feed | undefined
  #past: (HistoryColumns & Span) | undefined
  /** Readings that no history has, of before the feed is ready. */
  #early: (readonly [time: number, value: Value])[] = []
  #failure: string | undefined
  #isReady = false
  #isJoined = false

  constructor(series: Pick<SeriesInfo, 'key' | 'type'>, points: number, receiver: ReadingsReceiver) {
    this.#series = series
    this.#points = points
    this.#receiver = receiver
  }

  /** Whether live readings come from here. */
  get isFollowing(): boolean {
    return this.#feed !== undefined
  }

  /** Whether history and live readings come from here in one sequence, so that nothing is missing between. */
  get isJoined(): boolean {
    return this.#isJoined
  }

  /** Begins with the history of a range up to now, and goes on with the readings of the topic. */
  follow(topic: string, range: string, span: Span): void {
    const { key } = this.#series
    const event = (one: FeedEvent) => this.#take(one, span)
    const state = ({ phase, error }: FeedState) => {
      if (this.#ended.signal.aborted) return
      this.#receiver.phase(phase)
      if (phase === 'ended' && !this.#isReady) this.#receiver.failed(failureOf(error))
    }
    const { signal } = this.#ended
    this.#feed = hub.subscribe(topic, {
      history: range,
      points: this.#points,
      series: key,
      signal,
      on: { event, state },
    })
  }

  /** Begins with the history of a span, which is all. */
  async show(span: Span): Promise<void> {
    const { key, type } = this.#series
    const { signal } = this.#ended
    const whole = { from: Math.floor(span.from), to: Math.ceil(span.to) }
    const fn = type === 'number' ? 'mean' : 'last'
    try {
      const past = await hub.history(key, { ...whole, points: this.#points, fn })
      if (signal.aborted) return
      this.#tell(past, whole)
    } catch (error) {
      if (!signal.aborted) this.#receiver.failed(failureOf(error))
    }
  }

  /** Looks whether the hub refuses to answer: a feed tries again without a word. Called once a second. */
  look(): void {
    const { error } = this.#feed?.state ?? {}
    if (!this.#isReady && error) this.#receiver.failed(failureOf(error))
  }

  close(): void {
    this.#ended.abort()
  }

  #take(event: FeedEvent, span: Span): void {
    const { key } = this.#series
    switch (event.kind) {
      case 'start':
        this.#past = undefined
        this.#early = []
        this.#failure = undefined
        this.#isReady = false
        break
      case 'history':
        if (event.data.series === key) this.#addPast(event.data)
        break
      case 'gap':
        this.#failure = event.data.message
        break
      case 'ready':
        this.#ready(span)
        break
      case 'live':
        for (const { series, value, time = event.data.time, earlier } of event.data.values) {
          if (series !== key) continue
          for (const [i, at] of earlier?.times.entries() ?? []) this.#reading(at, earlier?.values[i] as Value)
          this.#reading(time, value)
        }
    }
  }

  /** Long histories come in parts. */
  #addPast({ from, to, times, values }: HistoryColumns & Span): void {
    const past = this.#past
    this.#past = {
      ...{ from, to },
      times: past ? [...past.times, ...times] : times,
      values: past ? [...past.values, ...values] : values,
    }
  }

  #reading(time: number, value: Value): void {
    if (this.#isReady) this.#receiver.reading(time, value)
    else this.#early.push([time, value])
  }

  /** Called once the history is complete, and after each break. */
  #ready(span: Span): void {
    // After a break that the feed continued behind, all has been told.
    if (this.#isReady) return
    const past = this.#past
    const early = this.#early
    this.#past = undefined
    this.#early = []
    this.#isReady = true
    this.#isJoined = past !== undefined
    if (past) {
      this.#tell(past, past)
      for (const [time, value] of early) this.#receiver.reading(time, value)
    } else if (this.#failure !== undefined) this.#receiver.failed(this.#failure)
    // A series of several topics is in no feed of one of them.
    else void this.show(span)
  }

  #tell({ times, values }: HistoryColumns, range: Span): void {
    this.#receiver.past({ times, values }, (range.to - range.from) / this.#points)
    if (this.#series.type === 'number' && times.length > 0) void this.#askExtremes(range)
  }

  /** Asks for the same windows. Without an answer the means are shown alone. */
  async #askExtremes({ from, to }: Span): Promise<void> {
    const { key } = this.#series
    const ask = (fn: 'min' | 'max') => hub.history(key, { from, to, points: this.#points, fn })
    const extremes = await Promise.all([ask('min'), ask('max')]).catch(() => undefined)
    if (extremes && !this.#ended.signal.aborted) this.#receiver.extremes(...extremes)
  }
}
