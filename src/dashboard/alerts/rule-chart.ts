import type uPlot from 'uplot'
import { locale } from '../texts/language.js'
import { numberText } from './when.js'

/** A stretch of time in milliseconds; without `to` up to the right edge. */
export interface FiredSpan {
  readonly from: number
  readonly to?: number | undefined
}

/** Readings over a span, and what is drawn with them. */
export interface ChartData {
  readonly from: number
  readonly to: number
  readonly times: readonly number[]
  readonly values: readonly (number | null)[]
  /** Extremes of the windows whose means `values` are. */
  readonly lows?: readonly (number | null)[]
  readonly highs?: readonly (number | null)[]
  /** Words for 0, 1, 2, … where the values are states. */
  readonly words?: readonly string[]
}

export interface Limits {
  readonly above?: number | undefined
  readonly below?: number | undefined
  readonly hysteresis: number
}

/** Points that decided an alert. */
export type Marks = readonly (readonly [time: number, value: number])[]

type Draw = (context: CanvasRenderingContext2D, plot: uPlot) => void

/** One series with limits, the band within which an alert goes on, and the spans of alerts. */
export class RuleChart {
  readonly #host: HTMLElement
  readonly #plot: uPlot
  readonly #resize: ResizeObserver
  readonly #aborted = new AbortController()
  #data: ChartData
  #limits: Limits = { hysteresis: 0 }
  #spans: readonly FiredSpan[] = []
  #marks: Marks = []
  /** Range of the values while a limit is moved. */
  #held: [number, number] | undefined
  /** Called after each drawing, so that what lies above the chart can be placed. */
  onDraw: (() => void) | undefined

  constructor(uplot: typeof uPlot, host: HTMLElement, data: ChartData) {
    this.#host = host
    this.#data = data
    this.#plot = new uplot(this.#options(uplot), this.#columns(), host)
    this.#resize = new ResizeObserver(() => this.#plot.setSize(this.#size()))
    this.#resize.observe(host)
    const { signal } = this.#aborted
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#plot.redraw(), { signal })
    addEventListener('telehub-theme', () => this.#plot.redraw(), { signal })
  }

  /** The element that lies exactly over the values. */
  get over(): HTMLElement {
    return this.#plot.over
  }

  /** Distance between two values of a limit worth telling apart. */
  get step(): number {
    const { min = 0, max = 1 } = this.#plot.scales.y ?? {}
    return 10 ** Math.floor(Math.log10(Math.max(1e-9, ((max ?? 1) - (min ?? 0)) / 50)))
  }

  set(data: ChartData, spans: readonly FiredSpan[], marks: Marks = []): void {
    this.#data = data
    this.#spans = spans
    this.#marks = marks
    this.#plot.setData(this.#columns())
  }

  setSpans(spans: readonly FiredSpan[]): void {
    this.#spans = spans
    this.#plot.redraw(false)
  }

  setLimits(limits: Limits): void {
    this.#limits = limits
    // The limits must be in sight.
    this.#plot.setData(this.#columns())
  }

  /** Keeps the range of the values as it is, so that what is dragged does not run away; or lets go. */
  hold(isHeld: boolean): void {
    const { min, max } = this.#plot.scales.y ?? {}
    this.#held = isHeld && typeof min === 'number' && typeof max === 'number' ? [min, max] : undefined
    if (!isHeld) this.#plot.setData(this.#columns())
  }

  /** Returns the distance from the top of `over`, in pixels. */
  top(value: number): number {
    return this.#plot.valToPos(value, 'y')
  }

  valueAt(top: number): number {
    return this.#plot.posToVal(top, 'y')
  }

  destroy(): void {
    this.#aborted.abort()
    this.#resize.disconnect()
    this.#plot.destroy()
  }

  #columns(): uPlot.AlignedData {
    const { from, to, times, values, lows = values, highs = values } = this.#data
    if (times.length === 0)
      return [
        [from, to],
        [null, null],
        [null, null],
        [null, null],
      ]
    return [[...times], [...lows], [...highs], [...values]]
  }

  #size(): { width: number; height: number } {
    return { width: Math.max(80, this.#host.clientWidth), height: Math.max(80, this.#host.clientHeight) }
  }

  readonly #colour = (name: string) => () => getComputedStyle(this.#host).getPropertyValue(name).trim()

  #range(low: number | null, high: number | null): [number, number] {
    const { words } = this.#data
    if (this.#held) return this.#held
    if (words) return [-0.4, Math.max(1, words.length - 1) + 0.4]
    const { above, below, hysteresis } = this.#limits
    const all = [low, high, above, below, above && above - hysteresis, below && below + hysteresis]
    const known = all.filter((one): one is number => typeof one === 'number' && Number.isFinite(one))
    if (known.length === 0) return [0, 1]
    const [least, most] = [Math.min(...known), Math.max(...known)]
    const air = most > least ? (most - least) * 0.12 : Math.abs(least) * 0.05 || 1
    return [least - air, most + air]
  }

  #options(uplot: typeof uPlot): uPlot.Options {
    const font = `12px ${getComputedStyle(this.#host).fontFamily}`
    const colour = this.#colour
    const axis = {
      stroke: colour('--muted'),
      font,
      ticks: { show: false },
      grid: { stroke: colour('--line'), width: 1 },
    }
    const edge: uPlot.Series = { stroke: 'transparent', width: 0, points: { show: false } }
    const isStepped = this.#data.words !== undefined
    const paths = isStepped ? uplot.paths.stepped?.({ align: 1 }) : uplot.paths.linear?.()
    const under: Draw = (context, plot) => this.#under(context, plot)
    const above: Draw = (context, plot) => this.#above(context, plot)
    return {
      ...this.#size(),
      ms: 1,
      padding: [12, 14, 0, 0],
      legend: { show: false },
      cursor: { show: false },
      series: [
        {},
        edge,
        edge,
        { stroke: colour('--accent'), width: 1.75, points: { show: false }, ...(paths && { paths }) },
      ],
      bands: isStepped ? [] : [{ series: [2, 1], fill: colour('--accent-wash') }],
      scales: {
        x: { time: true, range: () => [this.#data.from, this.#data.to] },
        y: { range: (_, low, high) => this.#range(low, high) },
      },
      axes: [
        { ...axis, size: 28, gap: 6, grid: { show: false }, space: 90, values: (_, splits) => splits.map(timeText) },
        {
          ...axis,
          gap: 8,
          space: 36,
          size: (_, labels) => 16 + Math.max(20, ...(labels ?? []).map(label => label.length * 7.2)),
          ...(isStepped && { splits: () => (this.#data.words ?? []).map((_, i) => i) }),
          values: (_, splits) => splits.map(split => this.#data.words?.[split]?.slice(0, 14) ?? numberText(split)),
        },
      ],
      hooks: { drawClear: [plot => under(plot.ctx, plot)], draw: [plot => above(plot.ctx, plot)] },
    }
  }

  /** Draws below the line: spans of alerts, and the band of the hysteresis. */
  #under(context: CanvasRenderingContext2D, plot: uPlot): void {
    const { left, top, width, height } = plot.bbox
    context.save()
    context.beginPath()
    context.rect(left, top, width, height)
    context.clip()
    context.fillStyle = this.#colour('--alert-ground')()
    for (const { from, to = this.#data.to } of this.#spans) {
      const [begin, end] = [plot.valToPos(from, 'x', true), plot.valToPos(to, 'x', true)]
      context.fillRect(begin, top, Math.max(2 * devicePixelRatio, end - begin), height)
    }
    const { above, below, hysteresis } = this.#limits
    context.fillStyle = this.#colour('--active-ground')()
    for (const [limit, back] of [
      [above, -hysteresis],
      [below, hysteresis],
    ] as const) {
      if (limit === undefined || hysteresis === 0) continue
      const [one, other] = [plot.valToPos(limit, 'y', true), plot.valToPos(limit + back, 'y', true)]
      context.fillRect(left, Math.min(one, other), width, Math.abs(other - one))
    }
    context.restore()
  }

  /** Draws above the line: limits, beginnings of alerts, and points that decided. */
  #above(context: CanvasRenderingContext2D, plot: uPlot): void {
    const { left, top, width, height } = plot.bbox
    const thin = devicePixelRatio
    context.save()
    context.strokeStyle = this.#colour('--alert')()
    context.fillStyle = context.strokeStyle
    context.lineWidth = 1.5 * thin
    context.setLineDash([6 * thin, 4 * thin])
    for (const limit of [this.#limits.above, this.#limits.below]) {
      if (limit === undefined) continue
      const y = plot.valToPos(limit, 'y', true)
      context.beginPath()
      context.moveTo(left, y)
      context.lineTo(left + width, y)
      context.stroke()
    }
    context.setLineDash([])
    // Short alerts of a long span would not be seen by their ground alone.
    for (const { from } of this.#spans) {
      const x = plot.valToPos(from, 'x', true)
      if (x < left || x > left + width) continue
      context.beginPath()
      context.moveTo(x - 4 * thin, top)
      context.lineTo(x + 4 * thin, top)
      context.lineTo(x, top + 7 * thin)
      context.fill()
    }
    for (const [time, value] of this.#marks) {
      const [x, y] = [plot.valToPos(time, 'x', true), plot.valToPos(value, 'y', true)]
      if (x < left || x > left + width || y < top || y > top + height) continue
      context.beginPath()
      context.arc(x, y, 4 * thin, 0, 2 * Math.PI)
      context.fill()
    }
    context.restore()
    this.onDraw?.()
  }
}

const clock = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit' })
const date = new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'short' })

function timeText(time: number): string {
  return new Date(time).setHours(0, 0, 0, 0) === time ? date.format(time) : clock.format(time)
}
