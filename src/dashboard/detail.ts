import type { FeedState, HistoryColumns } from '@telehub/client'
import { hubNow, type Value } from './api.js'
import { lengthOf, type Sample, type Tile } from './board.js'
import { Chart } from './chart.js'
import type { Plot, Span } from './plot.js'
import { type ReadingsReceiver, SeriesReadings } from './series-readings.js'
import { TextList } from './texts.js'
import { ageText, momentText } from './wording.js'

/** The series in the address of the page, with either a range up to now or a fixed span. */
export interface Selection {
  readonly key: string
  readonly range: string
  readonly span?: Span
}

export const ranges = new Map([
  ['15m', { length: 900_000, text: '15 min' }],
  ['1h', { length: 3_600_000, text: '1 h' }],
  ['6h', { length: 21_600_000, text: '6 h' }],
  ['24h', { length: 86_400_000, text: '24 h' }],
  ['7d', { length: 604_800_000, text: '7 d' }],
])
export const defaultRange = '1h'

/**
 * Returns the first range in which readings at this interval give enough points; without an interval the default one.
 */
export function rangeFor(interval: number): string {
  if (interval === 0) return defaultRange
  return [...ranges].find(([, { length }]) => length / interval >= enough)?.[0] ?? '7d'
}

const mostPoints = 500
const enough = 50
const longestSpan = 5 * 365 * 86_400_000
const drawEvery = 100
const retryEvery = 10_000

const element = <T extends HTMLElement = HTMLElement>(id: string) => document.getElementById(id) as T

/** What the note says while the newest readings may be missing. */
const notes: Readonly<Partial<Record<FeedState['phase'], string>>> = {
  connecting: 'Connecting again: the newest readings are missing.',
  behind: 'Catching up: newer readings are on their way.',
  gap: 'Catching up: newer readings are on their way.',
}

/** The panel of the selected series: history from the store, continued live. */
export class Detail implements ReadingsReceiver {
  readonly #go: (selection: Selection | undefined) => void
  readonly #root = element('detail')
  readonly #name = element('detail-name')
  readonly #where = element('detail-where')
  readonly #value = element('detail-value')
  readonly #unit = element('detail-unit')
  readonly #age = element('detail-age')
  readonly #host = element('chart')
  readonly #note = element('chart-note')
  readonly #stats = element('stats')
  readonly #golive = element('golive')
  readonly #speech = element('chart-speech')
  readonly #narrow = matchMedia('(max-width: 620px)')
  #selection: Selection | undefined
  #tile: Tile | undefined
  #plot: Plot | undefined
  /** Time at which the store did not answer; 0 when the store did. After a while the history is fetched again. */
  #failedAt = 0
  #readings: SeriesReadings | undefined
  #isLoading = false
  #phase: FeedState['phase'] = 'live'
  #timer: ReturnType<typeof setTimeout> | undefined
  #opener: HTMLElement | undefined

  /** @param go Changes the address; the address then changes the panel. */
  constructor(go: (selection: Selection | undefined) => void) {
    this.#go = go
    for (const [range, { text }] of ranges) {
      const button = document.createElement('button')
      button.type = 'button'
      button.textContent = text
      button.dataset.range = range
      button.addEventListener('click', () => this.#selection && go({ key: this.#selection.key, range }))
      element('ranges').append(button)
    }
    element('steps').addEventListener('click', event => {
      const step = (event.target as Element).closest('button')?.dataset.step
      if (step) this.#step(step)
    })
    // A hidden page holds no connection: a browser opens six to a hub over HTTP/1.1, for all pages together.
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden && this.#selection) void this.load()
      else if (this.#readings?.isFollowing) this.#leave()
    })
    this.#narrow.addEventListener('change', () => this.#cover())
    element('close').addEventListener('click', () => go(undefined))
    this.#golive.addEventListener('click', () => this.#reset())
    this.#host.addEventListener('keydown', event => {
      if (event.key === '+' || event.key === '=') this.#step('in')
      if (event.key === '-') this.#step('out')
    })
  }

  /** Makes the page inert while the panel covers everything, as on a phone. */
  #cover(): void {
    const covered = !this.#root.hidden && this.#narrow.matches
    for (const under of document.querySelectorAll<HTMLElement>('.bar, .page')) under.inert = covered
  }

  get selection(): Selection | undefined {
    return this.#selection
  }

  /** Opens the panel. `tile` is undefined when the address names a series that the hub does not have. */
  open(selection: Selection, tile: Tile | undefined, opener: HTMLElement | undefined): void {
    const first = this.#root.hidden
    const other = this.#selection?.key !== selection.key || this.#tile !== tile
    this.#selection = selection
    this.#root.hidden = false
    document.body.classList.add('with-detail')
    this.#cover()
    if (opener) this.#opener = opener
    if (other) this.#title(selection, tile)
    for (const button of element('ranges').querySelectorAll('button')) {
      button.setAttribute('aria-pressed', String(!selection.span && button.dataset.range === selection.range))
    }
    this.#golive.hidden = !selection.span
    const later = element('steps').querySelector<HTMLButtonElement>('[data-step=later]')
    if (later) later.disabled = !selection.span
    if (opener && (first || other)) this.#name.focus({ preventScroll: true })
    this.#failedAt = 0
    if (tile) void this.load()
  }

  close(): void {
    if (this.#root.hidden) return
    this.#leave()
    this.#drop()
    this.#selection = undefined
    this.#tile = undefined
    this.#root.hidden = true
    document.body.classList.remove('with-detail')
    this.#cover()
    if (this.#opener?.isConnected) this.#opener.focus({ preventScroll: true })
    this.#opener = undefined
  }

  /** Shows the selected history: of a range up to now with a feed that goes on with live readings. */
  async load(): Promise<void> {
    const tile = this.#tile
    if (!tile || !this.#selection || document.hidden) return
    this.#leave()
    this.#isLoading = true
    this.#root.dataset.loading = 'true'
    const points = Math.max(100, Math.min(mostPoints, this.#host.clientWidth))
    this.#readings = new SeriesReadings(tile.info, points, this)
    const topic = tile.topic || tile.info.tags.topic
    if (topic === undefined || this.#selection.span) await this.#readings.show(this.#span())
    else this.#readings.follow(topic, this.#selection.range, this.#span())
  }

  /** Fetches again what no feed keeps up to date. */
  refresh(): void {
    if (!this.#readings?.isFollowing) void this.load()
  }

  /** Called with a reading of any series, as the board has it. */
  push(sample: Sample): void {
    if (sample.series.key !== this.#selection?.key) return
    if (!this.#selection.span && !this.#isLoading && !this.#readings?.isJoined) {
      // The topic of a series may become known only with a reading.
      if (!this.#readings?.isFollowing && this.#tile?.topic) void this.load()
      else this.#plot?.push(sample.time, sample.value)
    }
    this.#drawSoon()
  }

  past(past: HistoryColumns, window: number): void {
    const tile = this.#tile
    if (!tile) return
    const span = this.#span()
    const plot = this.#plotFor(tile, span)
    plot.set(past, span, window)
    this.#failedAt = 0
    // The store may be slightly behind the value that is on the screen already.
    if (!this.#selection?.span && !this.#readings?.isJoined && tile.time >= span.from) plot.push(tile.time, tile.value)
    this.#loaded(plot.points > 0 ? '' : nothingBetween(span))
  }

  extremes(lows: HistoryColumns, highs: HistoryColumns): void {
    this.#plot?.widen?.(lows, highs)
    this.#draw()
  }

  reading(time: number, value: Value): void {
    this.#plot?.push(time, value)
    this.#drawSoon()
  }

  failed(failure: string): void {
    const tile = this.#tile
    if (!tile) return
    const span = this.#span()
    const plot = this.#plotFor(tile, span)
    // The old drawing is of another time and goes, while live readings are drawn all the same.
    if (this.#failedAt === 0) plot.set({ times: [], values: [] }, span, 1)
    this.#failedAt = Date.now()
    this.#loaded(`Could not read the history: ${failure}`)
  }

  phase(phase: FeedState['phase']): void {
    this.#phase = phase
    this.#drawSoon()
  }

  #loaded(note: string): void {
    write(this.#note, note)
    this.#isLoading = false
    delete this.#root.dataset.loading
    this.#draw()
  }

  #leave(): void {
    this.#readings?.close()
    this.#readings = undefined
    this.#isLoading = false
    this.#phase = 'live'
  }

  #drawSoon(): void {
    this.#timer ??= setTimeout(() => this.#draw(), drawEvery)
  }

  /** Called once a second. */
  tick(): void {
    if (this.#failedAt === 0) this.#readings?.look()
    if (this.#failedAt > 0 && !this.#isLoading && Date.now() - this.#failedAt > retryEvery) void this.load()
    else if (this.#tile) this.#draw()
  }

  #title(selection: Selection, tile: Tile | undefined): void {
    this.#drop()
    this.#tile = tile
    this.#name.textContent = tile?.label.name ?? 'Not found'
    const { place, device } = tile?.label ?? { place: '', device: selection.key }
    const parts = [place, device]
    // For a series with a topic, the measurement would only repeat the first level of that topic.
    if (tile && !tile.info.tags.topic && tile.label.name !== tile.info.measurement) parts.push(tile.info.measurement)
    this.#where.textContent = [...new Set(parts)].filter(Boolean).join(' · ')
    this.#where.title = selection.key
    this.#host.dataset.series = selection.key
    this.#host.dataset.points = '0'
    this.#stats.replaceChildren()
    this.#root.dataset.missing = String(!tile)
    write(this.#note, tile ? '' : 'The hub has no such series. It appears here once a value arrives.')
    this.#draw()
  }

  #plotFor(tile: Tile, span: Span): Plot {
    this.#plot ??=
      tile.info.type === 'text'
        ? new TextList(this.#host)
        : new Chart(this.#host, { type: tile.info.type, name: tile.label.name, unit: tile.unit }, span, {
            zoom: zoomed => this.#zoom(zoomed),
            reset: () => this.#reset(),
            speak: text => {
              this.#speech.textContent = text
            },
          })
    return this.#plot
  }

  #draw(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const tile = this.#tile
    const known = tile !== undefined && tile.time > 0
    write(this.#value, known ? tile.valueText : '')
    write(this.#unit, known ? tile.unit : '')
    write(this.#value, lengthOf((this.#value.textContent?.length ?? 0) + (tile?.unit.length ?? 0) / 2), 'length')
    write(this.#age, known ? [ageText(hubNow() - tile.time), tile.doubt].filter(Boolean).join(' · ') : '')
    this.#root.dataset.stale = String(known && tile.stale)
    this.#root.dataset.type = tile?.info.type ?? ''
    const plot = this.#plot
    if (!plot || this.#isLoading) return
    plot.draw(this.#span())
    const note = notes[this.#phase]
    if (this.#failedAt === 0 && (note !== undefined || plot.points > 0)) write(this.#note, note ?? '')
    write(this.#host, this.#phase, 'phase')
    write(this.#host, String(plot.points), 'points')
    this.#figures(plot)
  }

  #figures(plot: Plot): void {
    const figures = plot.figures
    while (this.#stats.children.length > figures.length) this.#stats.lastElementChild?.remove()
    figures.forEach(({ name, text }, i) => {
      let pair = this.#stats.children[i]
      if (!pair) {
        pair = document.createElement('div')
        pair.append(document.createElement('dt'), document.createElement('dd'))
        this.#stats.append(pair)
      }
      write(pair.firstElementChild as HTMLElement, name)
      write(pair.lastElementChild as HTMLElement, text)
    })
  }

  #span(): Span {
    if (this.#selection?.span) return this.#selection.span
    const to = Math.ceil(hubNow())
    return { from: to - (ranges.get(this.#selection?.range ?? '')?.length ?? 3_600_000), to }
  }

  #zoom(span: Span): void {
    if (!this.#selection) return
    const { key, range } = this.#selection
    const length = Math.max(2000, Math.min(longestSpan, span.to - span.from))
    const to = Math.round(Math.min(span.to, hubNow()))
    this.#go({ key, range, span: { from: Math.round(to - length), to } })
  }

  #reset(): void {
    if (this.#selection?.span) this.#go({ key: this.#selection.key, range: this.#selection.range })
  }

  #step(step: string): void {
    const { from, to } = this.#span()
    const length = to - from
    const live = !this.#selection?.span
    if (step === 'earlier') this.#zoom({ from: from - length / 2, to: to - length / 2 })
    // A step that reaches the present returns to live.
    else if (step === 'later' && to + length / 2 >= hubNow()) this.#reset()
    else if (step === 'later') this.#zoom({ from: from + length / 2, to: to + length / 2 })
    else if (step === 'in')
      this.#zoom(live ? { from: to - length / 2, to } : { from: from + length / 4, to: to - length / 4 })
    else if (step === 'out') this.#zoom({ from: from - length / 2, to: to + length / 2 })
  }

  #drop(): void {
    this.#plot?.destroy()
    this.#plot = undefined
    this.#failedAt = 0
    this.#host.replaceChildren()
  }
}

function write(target: HTMLElement, text: string, data?: string): void {
  if (data !== undefined) {
    if (target.dataset[data] !== text) target.dataset[data] = text
  } else if (target.textContent !== text) target.textContent = text
}

function nothingBetween({ from, to }: Span): string {
  const now = hubNow()
  return `No readings between ${momentText(from, now)} and ${momentText(to, now)}.`
}
