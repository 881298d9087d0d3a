import type { FeedState, HistoryColumns } from '@telehub/client'
import { hubNow, type Value } from '../api.js'
import { keyOf } from '../home/catalogue.js'
import type { Live, Now } from '../home/live.js'
import { ranges, type Selection } from './address.js'
import { earlierOf, filled } from './history.js'
import type { Drawn } from './line.js'
import { findMarks, type Mark } from './marks.js'
import { Painters } from './painters.js'
import { Parts } from './parts.js'
import { Readings, type ReadingsReceiver } from './readings.js'
import { drawable, type Span, type Step, stepped } from './span.js'
import { findSubjects, type Subject } from './subject.js'

const mostPoints = 500
const retryEvery = 10_000
/** Interval of fetching what no feed keeps up to date. */
const pollEvery = 10_000
const marksEvery = 30_000
const defaultRange = '1h'

/** The page around, as the model needs one. */
export interface ChartShell {
  readonly live: Live
  /** Changes the address, which then changes the model; `replace`: without a step for the back button. */
  go(selection: Selection | undefined, replace?: boolean): void
}

/** The state of the chart that is open, and all that changes it. */
export class ChartModel implements ReadingsReceiver {
  selection: Selection | undefined
  readonly subjects = new Map<string, Subject>()
  /** Keys that the hub does not have. */
  missing: readonly string[] = []
  /** Why there is no drawing; empty while there is one. */
  failure = ''
  marks: readonly Mark[] = []
  isLoading = false
  phase: FeedState['phase'] = 'live'
  /** Width of the drawing in pixels: more points than that cannot be seen. */
  width = mostPoints
  /** Called when something has changed that is not a reading. */
  onChange: (() => void) | undefined
  readonly #shell: ChartShell
  readonly #parts = new Parts()
  readonly #painters = new Painters(() => this.#parts.trim(this.span.from))
  #readings: Readings | undefined
  #watching: (() => void)[] = []
  /** Grows with each drawing, so that late answers for an older one are not taken. */
  #turn = 0
  #loaded = { at: 0, failed: false }
  #marksAt = 0
  /** Range chosen by hand, which is used for the next chart, too. */
  #chosen: string | undefined

  constructor(shell: ChartShell) {
    this.#shell = shell
  }

  /** The name of the chart is that of the first series. */
  get first(): Subject | undefined {
    return this.subjects.get(this.selection?.keys[0] ?? '')
  }

  get span(): Span {
    if (this.selection?.span) return this.selection.span
    const to = Math.ceil(hubNow())
    return { from: to - (ranges.get(this.selection?.range ?? defaultRange) ?? 0), to }
  }

  get isLive(): boolean {
    return this.selection?.span === undefined
  }

  /** The series with what is drawn of them, in the order of the address. */
  get drawn(): readonly Drawn[] {
    return this.selection ? this.#parts.drawn(this.selection) : []
  }

  /** Number of readings or windows that are drawn. */
  get points(): number {
    return this.#parts.points
  }

  /** The newest value of a series; undefined until one was seen. */
  newest(key: string): Now | undefined {
    const subject = this.subjects.get(key)
    return subject?.topic === undefined
      ? undefined
      : this.#shell.live.of(keyOf({ topic: subject.topic, field: subject.field }))
  }

  /** Calls `paint` when readings have changed, at most ten times a second, and once a second. Returns how to end that. */
  watchReadings(paint: () => void): () => void {
    return this.#painters.add(paint)
  }

  /** Shows what the address says. */
  async open(selection: Selection): Promise<void> {
    const turn = ++this.#turn
    const before = this.selection
    this.selection = selection
    this.failure = ''
    const keys = selection.keys.join('\n')
    const isSame = before?.keys.join('\n') === keys && this.missing.length === 0
    this.onChange?.()
    if (!isSame) {
      this.isLoading = true
      const found = await findSubjects(selection.keys).catch((error: unknown) => {
        if (turn === this.#turn) this.#fail((error as Error).message)
        return undefined
      })
      if (turn !== this.#turn || !found) return
      this.subjects.clear()
      for (const subject of found) this.subjects.set(subject.key, subject)
      this.missing = selection.keys.filter(key => !this.subjects.has(key))
    }
    if (this.subjects.size === 0) {
      this.isLoading = false
      this.#leave()
      this.#parts.clear()
      this.onChange?.()
      return
    }
    if (!selection.span && selection.range === undefined) {
      const found = await filled(selection.keys, this.#chosen)
      if (turn === this.#turn) this.#shell.go({ ...selection, ...found }, true)
      return
    }
    const isOnlyShown =
      isSame &&
      before !== undefined &&
      JSON.stringify({ ...before, off: [] }) === JSON.stringify({ ...selection, off: [] }) &&
      this.#readings !== undefined
    if (isOnlyShown) this.#painters.now()
    else this.load()
    this.onChange?.()
  }

  /** Ends all that goes on for the chart. */
  close(): void {
    this.#turn++
    this.#leave()
    this.#parts.clear()
    this.subjects.clear()
    this.missing = []
    this.marks = []
    this.failure = ''
    this.selection = undefined
    this.#painters.stop()
  }

  /** Fetches the readings of the span: of a range up to now with a feed that goes on with live readings. */
  load(): void {
    const { selection } = this
    if (!selection || this.subjects.size === 0 || document.hidden) return
    this.#leave()
    this.isLoading = true
    this.#loaded = { at: performance.now(), failed: false }
    this.#parts.set(this.subjects)
    const subjects = [...this.subjects.values()]
    this.#readings = new Readings(subjects, this.#pointCount, this)
    if (selection.span || selection.range === undefined) this.#readings.show(this.span)
    else this.#readings.follow(selection.range, this.span)
    for (const subject of subjects) this.#watch(subject)
    void this.#compare()
    void this.#findMarks()
  }

  /** Called once a second while the chart is open. */
  tick(): void {
    if (!this.selection || document.hidden) return
    const { at, failed } = this.#loaded
    if (!failed) this.#readings?.look()
    const age = performance.now() - at
    if (this.missing.length > 0 && this.subjects.size === 0 && age > pollEvery) {
      // A series begins with its first reading.
      this.#loaded = { at: performance.now(), failed: false }
      void this.open(this.selection)
      return
    }
    if (failed && !this.isLoading && age > retryEvery) this.load()
    else if (
      this.isLive &&
      !this.isLoading &&
      this.subjects.size > 0 &&
      !this.#readings?.isFollowing &&
      age > pollEvery
    )
      this.load()
    if (performance.now() - this.#marksAt > marksEvery) void this.#findMarks()
    this.#painters.now()
  }

  /** Stops while the page is hidden: a browser opens six connections to a hub over HTTP/1.1, for all pages together. */
  pause(): void {
    if (this.#readings?.isFollowing) this.#leave()
  }

  change(change: Partial<Selection>): void {
    if (!this.selection) return
    if (change.range !== undefined) this.#chosen = change.range
    this.#shell.go({ ...this.selection, ...change })
  }

  zoom(span: Span): void {
    if (this.selection) this.#shell.go({ ...this.selection, span: drawable(span, hubNow()) })
  }

  step(step: Step): void {
    const span = stepped(this.span, step, this.isLive, hubNow())
    if (span) this.zoom(span)
    else this.goLive()
  }

  /** Goes back to the range up to now. */
  goLive(): void {
    if (!this.selection?.span) return
    this.#shell.go({ ...this.selection, span: undefined })
  }

  /** Goes to where there are readings. */
  async goToReadings(): Promise<void> {
    const turn = this.#turn
    const { selection } = this
    const found = await filled(selection?.keys ?? [], undefined)
    if (turn !== this.#turn || !selection) return
    this.#shell.go({ ...selection, range: undefined, span: undefined, ...found })
  }

  past(key: string, past: HistoryColumns, window: number): void {
    if (!this.#parts.past(key, past, window)) return
    this.#loaded.failed = false
    this.failure = ''
    // The store may be slightly behind the value that is on the screen already.
    this.#takeNewest(key)
    this.#ready()
  }

  extremes(key: string, lows: HistoryColumns, highs: HistoryColumns): void {
    this.#parts.widen(key, lows, highs)
    this.#painters.soon()
  }

  before(key: string, value: Value): void {
    this.#parts.begin(key, this.span.from, value)
    this.#painters.soon()
  }

  reading(key: string, time: number, value: Value): void {
    this.#parts.push(key, time, value)
    this.#painters.soon()
  }

  failed(failure: string): void {
    // The old drawing is of another time and goes, while live readings are drawn all the same.
    if (!this.#loaded.failed) this.#parts.empty()
    this.#loaded = { at: performance.now(), failed: true }
    this.#fail(failure)
    for (const key of this.subjects.keys()) this.#takeNewest(key)
  }

  phaseChanged(phase: FeedState['phase']): void {
    this.phase = phase
    this.#painters.soon()
  }

  #fail(failure: string): void {
    this.failure = failure
    this.#ready()
  }

  #ready(): void {
    this.isLoading = false
    this.onChange?.()
    this.#painters.soon()
  }

  #leave(): void {
    this.#readings?.close()
    this.#readings = undefined
    for (const end of this.#watching) end()
    this.#watching = []
    this.isLoading = false
    this.phase = 'live'
  }

  /** Values of the page's own feed are drawn as long as the chart has none of its own. */
  #watch({ key, topic, field }: Subject): void {
    if (topic === undefined) return
    const look = () => {
      this.#takeNewest(key)
      this.#painters.soon()
    }
    this.#watching.push(this.#shell.live.watch(keyOf({ topic, field }), look))
  }

  #takeNewest(key: string): void {
    if (!this.isLive || this.#readings?.isJoined(key)) return
    const now = this.newest(key)
    if (now && now.time >= this.span.from) this.reading(key, now.time, now.value)
  }

  get #pointCount(): number {
    return Math.max(100, Math.min(mostPoints, this.width))
  }

  /** Fetches the course of an earlier time, if that is wanted. */
  async #compare(): Promise<void> {
    const { selection } = this
    if (!selection?.compare) return
    const readings = this.#readings
    for (const [key, subject] of this.subjects) {
      const earlier = await earlierOf(subject, this.span, this.#pointCount, selection.compare)
      if (readings !== this.#readings) return
      if (earlier) this.#parts.compare(key, earlier)
      this.#painters.soon()
    }
  }

  async #findMarks(): Promise<void> {
    this.#marksAt = performance.now()
    const turn = this.#turn
    const marks = await findMarks([...this.subjects.values()], this.span)
    if (turn !== this.#turn) return
    this.marks = marks
    this.#painters.now()
  }
}
