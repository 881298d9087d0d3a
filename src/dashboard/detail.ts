import { ApiError, fetchHistory, hubNow } from './api.js'
import { lengthOf, type Sample, type Tile } from './board.js'
import { Chart } from './chart.js'
import type { Past, Plot, Span } from './plot.js'
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

/** The panel of the selected series: history from the store, continued live. */
export class Detail {
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
  #failure = ''
  #loading: AbortController | undefined
  #waiting: Sample[] = []
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
    this.#loading?.abort()
    this.#drop()
    this.#selection = undefined
    this.#tile = undefined
    this.#root.hidden = true
    document.body.classList.remove('with-detail')
    this.#cover()
    if (this.#opener?.isConnected) this.#opener.focus({ preventScroll: true })
    this.#opener = undefined
  }

  /** Fetches the selected history from the store; live readings wait and are added to the answer. */
  async load(): Promise<void> {
    const tile = this.#tile
    if (!tile || !this.#selection) return
    this.#loading?.abort()
    const loading = new AbortController()
    this.#loading = loading
    this.#waiting = []
    this.#root.dataset.loading = 'true'
    const span = this.#span()
    const points = Math.max(100, Math.min(mostPoints, this.#host.clientWidth))
    const window = (span.to - span.from) / points
    const past = await this.#past(tile, span, points, loading.signal).catch((error: unknown) => {
      this.#failure = error instanceof ApiError ? error.message : 'The hub does not answer.'
      return undefined
    })
    if (loading.signal.aborted) return
    const plot = this.#plotFor(tile, span)
    // Without an answer the old drawing is of another time and goes, while live readings are drawn all the same.
    if (past || this.#failedAt === 0) plot.set(past ?? { values: { times: [], values: [] } }, span, window)
    this.#failedAt = past ? 0 : Date.now()
    if (!this.#selection.span) {
      for (const sample of this.#waiting) plot.push(sample.time, sample.value)
      // The store may be slightly behind the value that is on the screen already.
      if (tile.time >= span.from) plot.push(tile.time, tile.value)
    }
    if (!past) this.#say(`Could not read the history: ${this.#failure}`)
    else this.#say(plot.points > 0 ? '' : this.#nothing(span))
    this.#loading = undefined
    this.#waiting = []
    delete this.#root.dataset.loading
    this.#draw()
  }

  push(sample: Sample): void {
    if (sample.series.key !== this.#selection?.key) return
    if (this.#loading) this.#waiting.push(sample)
    else if (!this.#selection.span) this.#plot?.push(sample.time, sample.value)
    this.#timer ??= setTimeout(() => this.#draw(), drawEvery)
  }

  /** Called once a second. */
  tick(): void {
    if (this.#failedAt > 0 && !this.#loading && Date.now() - this.#failedAt > retryEvery) void this.load()
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
    this.#say(tile ? '' : 'The hub has no such series. It appears here once a value arrives.')
    this.#draw()
  }

  async #past(tile: Tile, span: Span, points: number, signal: AbortSignal): Promise<Past> {
    const ask = (fn: 'mean' | 'min' | 'max' | 'last') =>
      fetchHistory({ series: tile.info.key, ...span, points, fn }, signal)
    if (tile.info.type !== 'number') return { values: await ask('last') }
    const [values, lows, highs] = await Promise.all([ask('mean'), ask('min'), ask('max')])
    return { values, lows, highs }
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
    if (!plot || this.#loading) return
    plot.draw(this.#span())
    if (plot.points > 0 && this.#failedAt === 0) this.#say('')
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

  #nothing({ from, to }: Span): string {
    const now = hubNow()
    return `No readings between ${momentText(from, now)} and ${momentText(to, now)}.`
  }

  #say(text: string): void {
    write(this.#note, text)
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
