import uPlot from 'uplot'
import { axisRange } from '../noise.js'
import { axisNumbers, axisTime, timeSteps } from './axis.js'
import { aligned, type Course } from './course.js'
import { colourOf, type Drawn, dashOf, type Side, sidesOf } from './line.js'
import type { Span } from './span.js'

export interface PlotHandlers {
  /** Called when the user has dragged over a part of the plot. */
  zoom(span: Span): void
  /** Called on a double click. */
  reset(): void
  /** Called when the cursor is elsewhere; undefined: it is gone. Pixels from the left edge of the plot. */
  cursor(left: number | undefined): void
  /** Called when the plot was drawn, and its edges may have moved. */
  drawn(plot: Plot): void
}

/** Place and size in pixels, within the host. */
export interface Area {
  readonly left: number
  readonly top: number
  readonly width: number
  readonly height: number
}

interface Line {
  readonly drawn: Drawn
  readonly course: Course
  readonly side: Exclude<Side, 'none'>
}

type Column = (number | null | undefined)[]

const shortestZoom = 2_000
const axisHeight = 30

/** The lines of numbers with their axes, and the axis of time, by uPlot. */
export class Plot {
  readonly #host: HTMLElement
  readonly #handlers: PlotHandlers
  readonly #resize: ResizeObserver
  readonly #aborted = new AbortController()
  #plot: uPlot | undefined
  /** The series that the plot was made for: others need another plot. */
  #made = ''
  #lines: readonly Line[] = []
  #span: Span = { from: 0, to: 1 }

  constructor(host: HTMLElement, handlers: PlotHandlers) {
    this.#host = host
    this.#handlers = handlers
    this.#resize = new ResizeObserver(() => this.#plot?.setSize(this.#size()))
    this.#resize.observe(host)
    const { signal } = this.#aborted
    const redraw = () => this.#plot?.redraw()
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw, { signal })
    addEventListener('telehub-theme', redraw, { signal })
    host.addEventListener('dblclick', () => handlers.reset(), { signal })
    host.addEventListener('pointermove', event => this.#scrub(event), { signal })
  }

  /** The plotting area, without the axes. */
  get area(): Area {
    const { left = 0, top = 0, width = 0, height = 0 } = this.#plot?.bbox ?? {}
    const { pxRatio } = uPlot
    return { left: left / pxRatio, top: top / pxRatio, width: width / pxRatio, height: height / pxRatio }
  }

  get units(): { readonly left: string | undefined; readonly right: string | undefined } {
    const unit = (side: Side) => this.#lines.find(line => line.side === side)?.drawn.subject.unit
    return { left: unit('left'), right: unit('right') }
  }

  /** Returns the pixels of a value from the top of the plotting area. */
  heightOf(drawn: Drawn, value: number): number | undefined {
    const line = this.#lines.find(line => line.drawn.subject.key === drawn.subject.key)
    return line && this.#plot?.valToPos(value, scaleOf(line.side))
  }

  timeAt(left: number): number {
    const { width } = this.area
    const { from, to } = this.#span
    return from + (left / Math.max(1, width)) * (to - from)
  }

  leftOf(time: number): number {
    const { from, to } = this.#span
    return ((time - from) / (to - from)) * this.area.width
  }

  setCursor(left: number | undefined): void {
    this.#plot?.setCursor({ left: left ?? -10, top: left === undefined ? -10 : 10 })
  }

  draw(drawn: readonly Drawn[], span: Span): void {
    this.#span = span
    const sides = sidesOf(drawn)
    this.#lines = drawn.flatMap(one => {
      const side = sides.get(one.subject.key) ?? 'none'
      return one.course && one.isShown && side !== 'none' ? [{ drawn: one, course: one.course, side }] : []
    })
    this.#host.dataset.lines = String(this.#lines.length)
    const wanted = this.#lines
      .map(({ drawn, side }) => `${drawn.place} ${side} ${drawn.earlier !== undefined} ${drawn.subject.key}`)
      .join('\n')
    const data = this.#data()
    if (!this.#plot || wanted !== this.#made) {
      this.#made = wanted
      this.#plot?.destroy()
      this.#plot = new uPlot(this.#options(), data, this.#host)
    } else this.#plot.setData(data)
  }

  destroy(): void {
    this.#aborted.abort()
    this.#resize.disconnect()
    this.#plot?.destroy()
  }

  /** uPlot's columns: time; then of each line the extremes, the course of an earlier time, and the value. */
  #data(): uPlot.AlignedData {
    const { from, to } = this.#span
    const parts = this.#lines.flatMap(({ course, drawn: { earlier } }) => [
      { times: course.times, columns: [course.lows, course.highs] },
      ...(earlier ? [{ times: earlier.times, columns: [earlier.values] }] : []),
      { times: course.times, columns: [course.values] },
    ])
    const { times, columns } = aligned(parts)
    if (times.length > 0) return [times, ...(columns as Column[])] as uPlot.AlignedData
    const empty = Math.max(1, columns.length)
    return [[from, to], ...Array.from({ length: empty }, () => [null, null])] as uPlot.AlignedData
  }

  #size(): { width: number; height: number } {
    return { width: Math.max(80, this.#host.clientWidth), height: Math.max(axisHeight + 4, this.#host.clientHeight) }
  }

  #options(): uPlot.Options {
    const colour = (name: string) => () => getComputedStyle(this.#host).getPropertyValue(name).trim()
    const edge = (scale: string): uPlot.Series => ({ scale, stroke: 'transparent', width: 0, points: { show: false } })
    const bands: uPlot.Band[] = []
    const series: uPlot.Series[] = [{}]
    for (const { drawn, side } of this.#lines) {
      const [scale, name] = [scaleOf(side), colourOf(drawn.place)]
      bands.push({ series: [series.length + 1, series.length], fill: colour(`${name}-wash`) })
      series.push(edge(scale), edge(scale))
      if (drawn.earlier) {
        const points = { show: false }
        series.push({ scale, stroke: colour(`${name}-earlier`), width: 1.5, dash: [4, 5], points })
      }
      const dash = [...dashOf(drawn.place)]
      const points = { size: 5, width: 0, fill: colour(name) }
      series.push({ scale, stroke: colour(name), width: 1.75, points, ...(dash.length > 0 && { dash }) })
    }
    if (series.length === 1) series.push(edge('y'))
    return {
      ...this.#size(),
      ms: 1,
      padding: [this.#lines.length > 0 ? 20 : 0, this.#hasRight ? 4 : 20, 0, this.#lines.length > 0 ? 4 : 20],
      legend: { show: false },
      series,
      bands,
      scales: {
        x: { time: true, range: () => [this.#span.from, this.#span.to] },
        y: { range: (_, low, high) => this.#range('left', low, high) },
        y2: { range: (_, low, high) => this.#range('right', low, high) },
      },
      axes: this.#axes(colour),
      cursor: {
        y: false,
        drag: { x: true, y: false, setScale: false },
        points: { size: (_, index) => (series[index]?.width === 0 ? 0 : 9) },
        hover: { skip: [undefined, null] },
      },
      hooks: {
        setCursor: [({ cursor: { left = -1 } }) => this.#handlers.cursor(left < 0 ? undefined : left)],
        setSelect: [plot => this.#chosen(plot)],
        draw: [() => this.#handlers.drawn(this)],
      },
    }
  }

  get #hasRight(): boolean {
    return this.#lines.some(({ side }) => side === 'right')
  }

  #axes(colour: (name: string) => () => string): uPlot.Axis[] {
    const font = `12px ${getComputedStyle(this.#host).fontFamily}`
    const grid = { stroke: colour('--line'), width: 1 }
    const axis = { stroke: colour('--muted'), font, ticks: { show: false } }
    const x: uPlot.Axis = {
      ...axis,
      incrs: timeSteps,
      space: (_, __, from, to, width) => ((to - from) / width < 500 ? 96 : width < 500 ? 60 : 80),
      gap: 6,
      size: axisHeight,
      grid: { show: false },
      values: (_, splits, __, ___, step) => splits.map(at => axisTime(at, step)),
    }
    const y = (side: 'left' | 'right'): uPlot.Axis => ({
      ...axis,
      scale: scaleOf(side),
      side: side === 'left' ? 3 : 1,
      grid: side === 'left' ? grid : { show: false },
      space: 44,
      gap: 8,
      size: (_, labels) => 16 + Math.max(16, ...(labels ?? []).map(label => label.length * 7.4)),
      values: (_, splits) => (this.#isEmpty(side) ? splits.map(() => '') : axisNumbers(splits)),
    })
    if (this.#lines.length === 0) return [x, { show: false }]
    return this.#hasRight ? [x, y('left'), y('right')] : [x, y('left')]
  }

  #isEmpty(side: Side): boolean {
    return !this.#lines.some(line => line.side === side && line.course.count > 0)
  }

  #range(side: Side, low: number | null, high: number | null): [number, number] {
    const of = this.#lines.filter(line => line.side === side)
    const decimals = of.map(({ drawn, course }) => drawn.subject.decimals ?? course.decimals)
    // The finest of the series decides: the others are drawn beside it.
    return axisRange(low, high, { unit: of[0]?.drawn.subject.unit ?? '', decimals: Math.max(0, ...decimals) })
  }

  #chosen(plot: uPlot): void {
    const { left, width } = plot.select
    if (width < 6) return
    const [from, to] = [plot.posToVal(left, 'x'), plot.posToVal(left + width, 'x')]
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
    const short = Math.max(0, shortestZoom - (to - from)) / 2
    this.#handlers.zoom({ from: Math.floor(from - short), to: Math.ceil(to + short) })
  }

  #scrub(event: PointerEvent): void {
    if (event.pointerType !== 'touch' || !this.#plot) return
    const box = this.#plot.over.getBoundingClientRect()
    this.#plot.setCursor({ left: event.clientX - box.left, top: event.clientY - box.top })
  }
}

function scaleOf(side: Side): string {
  return side === 'right' ? 'y2' : 'y'
}
