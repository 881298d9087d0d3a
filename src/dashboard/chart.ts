import type { HistoryColumns } from '@telehub/client'
import uPlot from 'uplot'
import { hubNow, type SeriesType, type Value } from './api.js'
import type { Figure, Plot, Span } from './plot.js'
import { decimalsOf, momentText, numberText, spanText, stateOf } from './wording.js'

/** The series that is drawn. */
export interface Subject {
  readonly type: SeriesType
  readonly name: string
  readonly unit: string
}

export interface ChartHandlers {
  /** Called when the user has dragged over a part of the chart. */
  zoom(span: Span): void
  /** Called on a double click: back to the span before. */
  reset(): void
  /** Called with the text under the cursor when the keyboard moved the cursor. */
  speak(text: string): void
}

type Column = (number | null)[]

const shortestZoom = 2000
/** uPlot's columns: time, the extremes, and last the value, which is therefore drawn on top. */
const At = { Low: 1, High: 2, Value: 3 } as const

/** Numbers as a line within the band of their extremes, booleans as steps. */
export class Chart implements Plot {
  readonly #host: HTMLElement
  readonly #subject: Subject
  readonly #handlers: ChartHandlers
  readonly #stepped: boolean
  readonly #plot: uPlot
  readonly #tip = document.createElement('div')
  readonly #resize: ResizeObserver
  readonly #aborted = new AbortController()
  #times: number[] = []
  #values: Column = []
  #lows: Column = []
  #highs: Column = []
  #span: Span
  #window = 1
  #gap = Number.POSITIVE_INFINITY
  #decimals = 0
  #count = 0
  /** Sum and count of the newest window, while live readings fall into that window. */
  #open = { start: 0, sum: 0, count: 0 }

  constructor(host: HTMLElement, subject: Subject, span: Span, handlers: ChartHandlers) {
    this.#host = host
    this.#subject = subject
    this.#handlers = handlers
    this.#stepped = subject.type === 'boolean'
    this.#span = span
    this.#tip.className = 'tip'
    this.#tip.hidden = true
    this.#plot = new uPlot(this.#options(), this.#data(), host)
    this.#plot.over.append(this.#tip)
    this.#resize = new ResizeObserver(() => this.#plot.setSize(this.#size()))
    this.#resize.observe(host)
    host.tabIndex = 0
    host.role = 'group'
    host.ariaLabel = 'Chart: left and right arrow read it out, plus and minus zoom'
    const { signal } = this.#aborted
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#plot.redraw(), { signal })
    addEventListener('telehub-theme', () => this.#plot.redraw(), { signal })
    host.addEventListener('keydown', event => this.#key(event), { signal })
    host.addEventListener('blur', () => this.#leave(), { signal })
    this.#plot.over.addEventListener('dblclick', () => handlers.reset(), { signal })
    this.#plot.over.addEventListener('pointermove', event => this.#scrub(event), { signal })
  }

  get points(): number {
    return this.#count
  }

  get figures(): readonly Figure[] {
    return this.#stepped ? this.#stateFigures() : this.#numberFigures()
  }

  set({ times, values }: HistoryColumns, span: Span, window: number): void {
    this.#times = []
    this.#values = []
    this.#lows = []
    this.#highs = []
    this.#count = 0
    this.#decimals = 0
    this.#window = window
    this.#gap = this.#stepped ? Number.POSITIVE_INFINITY : gapOf(times, window)
    times.forEach((time, i) => {
      const value = Number(values[i])
      this.#append(time, value, value, value)
    })
    this.#open = { start: this.#times.at(-1) ?? 0, sum: this.#values.at(-1) ?? 0, count: 1 }
    this.draw(span)
  }

  widen(lows: HistoryColumns, highs: HistoryColumns): void {
    const [low, high] = [byTime(lows), byTime(highs)]
    this.#times.forEach((time, i) => {
      if (this.#values[i] === null) return
      // Live readings may have reached further meanwhile.
      this.#lows[i] = Math.min(this.#lows[i] ?? Number.POSITIVE_INFINITY, low.get(time) ?? Number.POSITIVE_INFINITY)
      this.#highs[i] = Math.max(this.#highs[i] ?? Number.NEGATIVE_INFINITY, high.get(time) ?? Number.NEGATIVE_INFINITY)
      this.#decimals = Math.max(this.#decimals, decimalsOf(this.#lows[i] ?? 0), decimalsOf(this.#highs[i] ?? 0))
    })
  }

  push(time: number, value: Value): void {
    const number = Number(value)
    const end = this.#times.length - 1
    const newest = this.#times[end]
    if (newest !== undefined && time <= newest) return
    const open = this.#open
    const changed = this.#stepped && number !== this.#values[end]
    if (newest === undefined || changed || time - open.start >= this.#window) {
      this.#open = { start: time, sum: number, count: 1 }
      this.#append(time, number, number, number)
      return
    }
    // Like the store, one value per window.
    open.sum += number
    open.count++
    this.#values[end] = this.#stepped ? number : open.sum / open.count
    this.#lows[end] = Math.min(this.#lows[end] ?? number, number)
    this.#highs[end] = Math.max(this.#highs[end] ?? number, number)
  }

  draw(span: Span): void {
    this.#span = span
    // One point before the left edge is kept, so that the line enters from there.
    let cut = 0
    while ((this.#times[cut + 1] ?? Number.POSITIVE_INFINITY) < span.from) cut++
    if (cut > 0) {
      for (let i = 0; i < cut; i++) if (this.#values[i] !== null) this.#count--
      for (const column of [this.#times, this.#values, this.#lows, this.#highs]) column.splice(0, cut)
    }
    this.#plot.setData(this.#data())
  }

  destroy(): void {
    this.#aborted.abort()
    this.#resize.disconnect()
    this.#plot.destroy()
    for (const name of ['tabindex', 'role', 'aria-label']) this.#host.removeAttribute(name)
  }

  #append(time: number, value: number, low: number, high: number): void {
    const newest = this.#times.at(-1)
    if (newest !== undefined && time - newest > this.#gap) {
      this.#times.push(newest + this.#gap / 2)
      this.#values.push(null)
      this.#lows.push(null)
      this.#highs.push(null)
    }
    this.#times.push(time)
    this.#values.push(value)
    this.#lows.push(low)
    this.#highs.push(high)
    this.#count++
    this.#decimals = Math.max(this.#decimals, decimalsOf(low), decimalsOf(high))
  }

  #data(): uPlot.AlignedData {
    const { from, to } = this.#span
    const newest = this.#times.at(-1)
    if (newest === undefined)
      return [
        [from, to],
        [null, null],
        [null, null],
        [null, null],
      ]
    // A state holds until the next reading, so the step reaches to the edge.
    const edge = Math.min(to, hubNow())
    if (!this.#stepped || newest >= edge) return [this.#times, this.#lows, this.#highs, this.#values]
    const held = this.#values.at(-1) ?? null
    return [
      [...this.#times, edge],
      [...this.#lows, held],
      [...this.#highs, held],
      [...this.#values, held],
    ]
  }

  #numberFigures(): readonly Figure[] {
    let low = Number.POSITIVE_INFINITY
    let high = Number.NEGATIVE_INFINITY
    let sum = 0
    let count = 0
    this.#values.forEach((value, i) => {
      if (value === null) return
      low = Math.min(low, this.#lows[i] ?? value)
      high = Math.max(high, this.#highs[i] ?? value)
      sum += value
      count++
    })
    if (count === 0) return []
    return [
      { name: 'min', text: this.#number(low) },
      { name: 'mean', text: this.#number(sum / count, 1) },
      { name: 'max', text: this.#number(high) },
    ]
  }

  #stateFigures(): readonly Figure[] {
    const [times, , , values] = this.#data() as [number[], Column, Column, Column]
    if (this.#count === 0) return []
    let on = 0
    let changes = 0
    for (let i = 1; i < times.length; i++) {
      if (values[i - 1] === 1) on += (times[i] as number) - (times[i - 1] as number)
      if (values[i] !== values[i - 1]) changes++
    }
    const whole = (times.at(-1) as number) - (times[0] as number)
    const share = whole > 0 ? `${spanText(on)} (${Math.round((on / whole) * 100)} %)` : '–'
    return [
      { name: stateOf(this.#subject.name, true).word, text: share },
      { name: 'changes', text: String(changes) },
    ]
  }

  /** Formats a number; `more` is the number of additional decimals, for means. */
  #number(value: number, more = 0): string {
    return numberText(value, this.#decimals + more)
  }

  #word(value: number, more = 0): string {
    return this.#stepped ? stateOf(this.#subject.name, value > 0.5).word : this.#number(value, more)
  }

  #size(): { width: number; height: number } {
    return { width: Math.max(80, this.#host.clientWidth), height: Math.max(80, this.#host.clientHeight) }
  }

  #options(): uPlot.Options {
    const colour = (name: string) => () => getComputedStyle(this.#host).getPropertyValue(name).trim()
    const font = `12px ${getComputedStyle(this.#host).fontFamily}`
    const axis = {
      stroke: colour('--muted'),
      font,
      ticks: { show: false },
      grid: { stroke: colour('--line'), width: 1 },
    }
    const edge: uPlot.Series = { stroke: 'transparent', width: 0, points: { show: false } }
    const steps = this.#stepped ? uPlot.paths.stepped?.({ align: 1 }) : uPlot.paths.linear?.()
    const value: uPlot.Series = {
      stroke: colour('--accent'),
      width: 1.75,
      points: { size: 5, width: 0, fill: colour('--accent') },
      ...(this.#stepped ? { fill: colour('--accent-wash'), points: { show: false } } : {}),
      ...(steps ? { paths: steps } : {}),
    }
    return {
      ...this.#size(),
      ms: 1,
      padding: [10, 20, 0, 4],
      legend: { show: false },
      series: [{}, edge, edge, value],
      bands: this.#stepped ? [] : [{ series: [At.High, At.Low], fill: colour('--accent-wash') }],
      scales: {
        x: { time: true, range: () => [this.#span.from, this.#span.to] },
        y: { range: (_, low, high) => (this.#stepped ? [-0.08, 1.15] : roomy(low, high)) },
      },
      axes: [
        {
          ...axis,
          incrs: timeSteps,
          space: (_, __, from, to, width) => ((to - from) / width < 500 ? 96 : width < 500 ? 60 : 80),
          gap: 6,
          size: 30,
          grid: { show: false },
          values: (_, splits, __, ___, step) => splits.map(at => tick(at, step)),
        },
        {
          ...axis,
          space: 44,
          gap: 8,
          size: (_, labels) => 16 + Math.max(16, ...(labels ?? []).map(label => label.length * 7.4)),
          ...(this.#stepped
            ? { splits: [0, 1], values: (_, splits) => splits.map(at => this.#word(at)) }
            : { values: (_, splits) => (this.#count === 0 ? splits.map(() => '') : axisNumbers(splits)) }),
        },
      ],
      cursor: {
        y: false,
        drag: { x: true, y: false, setScale: false },
        points: { size: (_, index) => (index === At.Value ? 9 : 0) },
        hover: { skip: [undefined, null] },
      },
      hooks: {
        setCursor: [plot => this.#point(plot)],
        setSelect: [plot => this.#chosen(plot)],
      },
    }
  }

  #chosen(plot: uPlot): void {
    const { left, width } = plot.select
    if (width < 6) return
    const from = plot.posToVal(left, 'x')
    const to = plot.posToVal(left + width, 'x')
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
    const short = Math.max(0, shortestZoom - (to - from)) / 2
    this.#handlers.zoom({ from: Math.floor(from - short), to: Math.ceil(to + short) })
  }

  /** Draws the tip beside the cursor: value, extremes where they differ, time. */
  #point(plot: uPlot): void {
    const at = plot.cursor.idxs?.[At.Value] ?? plot.cursor.idx ?? null
    const { left = -1 } = plot.cursor
    const value = at === null ? null : (plot.data[At.Value]?.[at] ?? null)
    const time = at === null ? null : (plot.data[0][at] ?? null)
    this.#tip.hidden = left < 0 || value === null || time === null
    if (this.#tip.hidden || value === null || time === null || at === null) return
    const { unit } = this.#subject
    const suffix = unit && !this.#stepped ? ` ${unit}` : ''
    const low = plot.data[At.Low]?.[at] ?? value
    const high = plot.data[At.High]?.[at] ?? value
    const lines = [this.#word(value, high > low ? 1 : 0) + suffix]
    if (!this.#stepped && high > low) lines.push(`${this.#number(low)} – ${this.#number(high)}${suffix}`)
    lines.push(momentText(time, hubNow()))
    if (lines.join() !== this.#tip.dataset.text) {
      this.#tip.dataset.text = lines.join()
      this.#tip.replaceChildren(
        ...lines.map(text => {
          const line = document.createElement('span')
          line.textContent = text
          return line
        }),
      )
    }
    const x = plot.valToPos(time, 'x')
    const width = plot.over.clientWidth
    const beside = x > width / 2 ? x - this.#tip.offsetWidth - 14 : x + 14
    this.#tip.style.transform = `translate(${Math.round(Math.max(0, Math.min(beside, width - this.#tip.offsetWidth)))}px, 8px)`
  }

  #key(event: KeyboardEvent): void {
    const direction = event.key === 'ArrowLeft' ? -1 : event.key === 'ArrowRight' ? 1 : 0
    if (direction === 0 || this.#times.length === 0) return
    event.preventDefault()
    const plot = this.#plot
    const last = plot.data[0].length - 1
    const shown = (plot.cursor.left ?? -1) >= 0 ? (plot.cursor.idx ?? last) : last + (direction < 0 ? 1 : 0)
    let at = shown + direction * (event.shiftKey ? 10 : 1)
    at = Math.max(0, Math.min(last, at))
    while (at > 0 && at < last && plot.data[At.Value]?.[at] === null) at += direction
    const left = plot.valToPos(plot.data[0][at] as number, 'x')
    plot.setCursor({ left: Math.max(0, left), top: 10 })
    this.#handlers.speak([...this.#tip.children].map(line => line.textContent).join(', '))
  }

  #scrub(event: PointerEvent): void {
    if (event.pointerType !== 'touch') return
    const box = this.#plot.over.getBoundingClientRect()
    this.#plot.setCursor({ left: event.clientX - box.left, top: event.clientY - box.top })
  }

  #leave(): void {
    this.#plot.setCursor({ left: -10, top: -10 })
  }
}

function byTime({ times, values }: HistoryColumns): Map<number, number> {
  return new Map(times.map((time, i) => [time, Number(values[i])]))
}

/** Returns the distance in time from which two readings are not joined, as the series was silent in between. */
function gapOf(times: readonly number[], window: number): number {
  if (times.length < 8) return Number.POSITIVE_INFINITY
  const steps: number[] = []
  for (let i = 1; i < times.length; i++) steps.push((times[i] as number) - (times[i - 1] as number))
  steps.sort((a, b) => a - b)
  const usual = steps[Math.floor(steps.length * 0.9)] as number
  return Math.max(usual * 5, window * 3)
}

/** Returns the limits of the axis: room above and below, but no axis below zero for values that never are. */
function roomy(low: number | null, high: number | null): [number, number] {
  if (low === null || high === null) return [0, 1]
  const air = high > low ? (high - low) * 0.12 : Math.abs(low) * 0.05 || 1
  return [low >= 0 && low < air ? 0 : low - air, high + air]
}

function axisNumbers(splits: readonly number[]): string[] {
  const step = Math.abs((splits[1] ?? 0) - (splits[0] ?? 0))
  const millions = step >= 10_000 && splits.some(split => Math.abs(split) >= 1e6)
  const scaled = splits.map(split => Number((millions ? split / 1e6 : split).toPrecision(12)))
  const decimals = Math.max(0, ...scaled.map(decimalsOf))
  return scaled.map(split => numberText(split, decimals) + (millions ? ' M' : ''))
}

const second = 1000
const minute = 60 * second
const hour = 60 * minute
const day = 24 * hour
/** Allowed distances between times on the axis. */
const timeSteps = [
  ...[1, 2, 5, 10, 15, 30].map(step => step * second),
  ...[1, 2, 5, 10, 15, 30].map(step => step * minute),
  ...[1, 2, 3, 6, 12].map(step => step * hour),
  ...[1, 2, 4, 7, 14, 30, 90, 180, 365, 730, 1825].map(step => step * day),
]

const time = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' })
const timeWithSeconds = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
})
const date = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' })

function tick(at: number, step: number): string {
  const midnight = new Date(at).setHours(0, 0, 0, 0) === at
  if (step >= 86_400_000 || midnight) return date.format(at)
  return step < 60_000 ? timeWithSeconds.format(at) : time.format(at)
}
