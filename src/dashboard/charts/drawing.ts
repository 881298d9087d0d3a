import { hubNow } from '../api.js'
import { write } from '../home/painted.js'
import { make } from '../nodes.js'
import { momentText } from '../wording.js'
import { Changes } from './changes.js'
import { Lanes } from './lanes.js'
import { colourOf, type Drawn, dashOf, namesOf, spread } from './line.js'
import { MarkStrip } from './mark-strip.js'
import type { ChartModel } from './model.js'
import { Plot } from './plot.js'
import { under } from './under-cursor.js'
import { say } from './words.js'

const labelHeight = 17
/** Distance of the tip from the cursor. */
const beside = 14

export interface DrawingHandlers {
  /** Called with the text under the cursor when the keyboard moved the cursor. */
  speak(text: string): void
}

/** The drawing: marks, lanes of states, lines of numbers with their axes, and what is under the cursor. */
export class Drawing {
  readonly #host: HTMLElement
  readonly #model: ChartModel
  readonly #handlers: DrawingHandlers
  readonly #plot: Plot
  readonly #lanes: Lanes
  readonly #changes: Changes
  readonly #marks: MarkStrip
  readonly #plotHost = make('div', 'plot')
  readonly #line = make('i', 'cursor-line')
  readonly #tip = make('div', 'tip')
  readonly #labels = make('div', 'labels')
  readonly #units = { left: make('bdi', 'axis-unit'), right: make('bdi', 'axis-unit') }
  /** Time under the cursor; undefined: there is no cursor. */
  #time: number | undefined

  constructor(host: HTMLElement, model: ChartModel, handlers: DrawingHandlers) {
    this.#host = host
    this.#model = model
    this.#handlers = handlers
    const [strip, markLines, lanes] = [make('div', 'marks'), make('div', 'mark-lines'), make('div', 'lanes')]
    const changes = make('ol', 'texts')
    this.#tip.hidden = true
    this.#line.hidden = true
    this.#plotHost.append(this.#units.left, this.#units.right, this.#labels)
    host.replaceChildren(make('div', 'stage', strip, lanes, this.#plotHost, markLines, this.#line, this.#tip), changes)
    this.#plot = new Plot(this.#plotHost, {
      zoom: span => model.zoom(span),
      reset: () => model.goLive(),
      cursor: left => this.#point(left),
      drawn: () => this.#align(),
    })
    this.#lanes = new Lanes(lanes)
    this.#changes = new Changes(changes)
    this.#marks = new MarkStrip(strip, markLines, { told: (lines, left) => this.#tell(lines, left) })
    host.tabIndex = 0
    host.role = 'group'
    host.ariaLabel = say('chart.help')
    host.addEventListener('keydown', event => this.#key(event))
    host.addEventListener('blur', () => this.#plot.setCursor(undefined))
    lanes.addEventListener('pointermove', event => {
      const { left } = lanes.getBoundingClientRect()
      this.#plot.setCursor(event.clientX - left - this.#plot.area.left)
    })
    lanes.addEventListener('pointerleave', () => this.#plot.setCursor(undefined))
  }

  draw(): void {
    const model = this.#model
    const { drawn, span } = model
    this.#host.dataset.numbers = String(drawn.some(({ course, isShown }) => course && isShown))
    this.#changes.draw(drawn, span, hubNow())
    this.#plot.draw(drawn, span)
  }

  destroy(): void {
    this.#plot.destroy()
    this.#host.replaceChildren()
  }

  /** Puts marks, lanes and labels where the plot, which has just been drawn, has its times and values. */
  #align(): void {
    const { left, top, width, height } = this.#plot.area
    this.#host.style.setProperty('--area-top', `${top}px`)
    this.#host.style.setProperty('--area-left', `${left}px`)
    this.#host.style.setProperty('--area-width', `${width}px`)
    this.#host.style.setProperty('--area-height', `${height}px`)
    const units = this.#plot.units
    for (const side of ['left', 'right'] as const) {
      const unit = this.#units[side]
      unit.dataset.side = side
      unit.hidden = !units[side]
      write(unit, units[side] ?? '')
    }
    const { drawn, span, marks } = this.#model
    const now = hubNow()
    this.#lanes.draw(drawn, span, now, width)
    this.#marks.draw(marks, this.#plot, now)
    this.#label(drawn)
    if (this.#time !== undefined) this.#point(this.#plot.leftOf(this.#time))
  }

  /** Writes the names of lines at their ends, where there are several. */
  #label(drawn: readonly Drawn[]): void {
    const ends = drawn.flatMap(one => {
      const value = one.course?.values.findLast(value => value !== null)
      const top = value == null ? undefined : this.#plot.heightOf(one, value)
      return top === undefined ? [] : [{ one, top }]
    })
    const isNeeded = ends.length > 1
    while (this.#labels.children.length > (isNeeded ? ends.length : 0)) this.#labels.lastElementChild?.remove()
    if (!isNeeded) return
    const names = namesOf(drawn)
    const tops = spread(
      ends.map(({ top }) => top - labelHeight - 2),
      labelHeight,
      this.#plot.area.height,
    )
    for (const [i, { one }] of ends.entries()) {
      const label = (this.#labels.children[i] ?? this.#labels.appendChild(make('bdi', 'line-label'))) as HTMLElement
      write(label, names.get(one.subject.key) ?? one.subject.name)
      label.style.color = `var(${colourOf(one.place)})`
      label.style.transform = `translateY(${Math.round(tops[i] ?? 0)}px)`
    }
  }

  /** Shows what is under the cursor. */
  #point(left: number | undefined): void {
    const { area } = this.#plot
    const isOver = left !== undefined && left >= 0 && left <= area.width
    this.#time = isOver ? this.#plot.timeAt(left) : undefined
    this.#line.hidden = !isOver
    if (!isOver || this.#time === undefined) {
      this.#tip.hidden = true
      return
    }
    const now = hubNow()
    const found = under(this.#model.drawn, this.#time, this.#model.span, now)
    this.#line.style.transform = `translateX(${left}px)`
    this.#tip.hidden = found.length === 0
    if (found.length === 0) return
    const isNamed = this.#model.subjects.size > 1
    const rows = found.map(({ place, name, text, extremes, earlier }) => {
      const value = make('bdi', 'tip-value', text)
      const row = make('span', 'tip-row', ...(isNamed ? [swatch(place), make('bdi', 'tip-name', name)] : []), value)
      for (const more of [extremes, earlier]) if (more !== '') row.append(make('bdi', 'tip-more', more))
      return row
    })
    this.#tip.replaceChildren(...rows, make('span', 'tip-time', momentText(this.#time, now)))
    this.#placeTip(left)
  }

  #tell(lines: readonly string[], left: number): void {
    this.#tip.hidden = lines.length === 0
    if (lines.length === 0) return
    this.#tip.replaceChildren(...lines.map(line => make('bdi', 'tip-line', line)))
    this.#placeTip(left)
  }

  #placeTip(left: number): void {
    const { area } = this.#plot
    const { offsetWidth } = this.#tip
    const x = left > area.width / 2 ? left - offsetWidth - beside : left + beside
    // On a narrow screen the tip may be wider than what is beside the cursor.
    const most = this.#host.clientWidth - area.left - offsetWidth
    this.#tip.style.transform = `translateX(${Math.round(Math.max(-area.left, Math.min(x, most)))}px)`
  }

  #key(event: KeyboardEvent): void {
    if (event.key === '+' || event.key === '=') this.#model.step('in')
    if (event.key === '-') this.#model.step('out')
    const direction = event.key === 'ArrowLeft' ? -1 : event.key === 'ArrowRight' ? 1 : 0
    if (direction === 0 || event.target !== this.#host) return
    event.preventDefault()
    const times = this.#times()
    if (times.length === 0) return
    const last = times.length - 1
    const here = this.#time === undefined ? last + (direction < 0 ? 1 : 0) : nearestOf(times, this.#time)
    const at = Math.max(0, Math.min(last, here + direction * (event.shiftKey ? 10 : 1)))
    const time = times[at] as number
    this.#plot.setCursor(Math.max(0, this.#plot.leftOf(time)))
    // Not the time of the pixel.
    this.#time = time
    const said = under(this.#model.drawn, time, this.#model.span, hubNow())
    const isNamed = this.#model.subjects.size > 1
    const words = said.map(({ name, text, extremes, earlier }) =>
      [isNamed ? name : '', text, extremes, earlier].filter(Boolean).join(', '),
    )
    this.#handlers.speak([...words, momentText(time, hubNow())].join('; '))
  }

  /** All times at which a series that is shown has a value or another state. */
  #times(): readonly number[] {
    const { drawn, span } = this.#model
    const now = hubNow()
    const times = drawn.flatMap(({ isShown, course, states }) => {
      if (!isShown) return []
      if (states) return states.within(span, now).map(({ from }) => from)
      return course?.times.filter((_, i) => course.values[i] !== null) ?? []
    })
    return [...new Set(times)].filter(time => time >= span.from && time <= span.to).sort((a, b) => a - b)
  }
}

function nearestOf(times: readonly number[], time: number): number {
  let best = 0
  times.forEach((one, i) => {
    if (Math.abs(one - time) < Math.abs((times[best] as number) - time)) best = i
  })
  return best
}

/** Makes a piece of the line of a series, with its colour and dashes. */
export function swatch(place: number): SVGElement {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  svg.setAttribute('viewBox', '0 0 22 8')
  svg.setAttribute('class', 'swatch')
  svg.setAttribute('aria-hidden', 'true')
  const line = document.createElementNS('http://www.w3.org/2000/svg', 'path')
  line.setAttribute('d', 'M1 4h20')
  line.setAttribute('stroke-dasharray', dashOf(place).join(' '))
  line.style.stroke = `var(${colourOf(place)})`
  svg.append(line)
  return svg
}
