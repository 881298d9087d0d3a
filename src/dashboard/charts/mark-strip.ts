import { make } from '../nodes.js'
import { momentText } from '../wording.js'
import { type Cluster, clustersOf, type Mark, type MarkKind } from './marks.js'
import type { Plot } from './plot.js'
import { say } from './words.js'

/** Room of a mark in pixels. */
const room = 22

const drawings: Readonly<Record<MarkKind | 'several', string>> = {
  raised: 'M8 2.500 14.500 13.500H1.500ZM8 6.500v3.500M8 11.700v.1',
  cleared: 'm3 8.500 3.500 3.500L13 4.500',
  acknowledged: 'M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2ZM5.500 8.200l2 2 3.300-4',
  sent: 'M2.500 8h10M9 4l4 4-4 4',
  answered: 'M13.500 8h-10M7 4 3 8l4 4',
  failed: 'm4 4 8 8M12 4l-8 8',
  started: 'M12.800 8A4.800 4.800 0 1 1 11 4.200M11.500 1.500v3h-3',
  several: 'M3 8h.1M8 8h.1M13 8h.1',
}

/** Which of several marks is shown, the most urgent first. */
const urgency: readonly MarkKind[] = ['raised', 'failed', 'started', 'sent', 'acknowledged', 'answered', 'cleared']

export interface MarkHandlers {
  /** Called with the words of a mark that has the focus or the pointer; empty when none has. */
  told(lines: readonly string[], left: number): void
}

/** Marks of events above the drawing: buttons that arrow keys reach, with a line down through the drawing. */
export class MarkStrip {
  readonly #strip: HTMLElement
  readonly #lines: HTMLElement
  readonly #handlers: MarkHandlers
  #made = ''
  #clusters: readonly Cluster[] = []

  constructor(strip: HTMLElement, lines: HTMLElement, handlers: MarkHandlers) {
    this.#strip = strip
    this.#lines = lines
    this.#handlers = handlers
    strip.role = 'group'
    strip.ariaLabel = say('marks.title')
    strip.addEventListener('keydown', event => this.#key(event))
    for (const kind of ['focusin', 'pointerover', 'click'] as const) {
      strip.addEventListener(kind, event => this.#tell(event.target as Element))
    }
    for (const kind of ['focusout', 'pointerleave'] as const) strip.addEventListener(kind, () => handlers.told([], 0))
  }

  draw(marks: readonly Mark[], plot: Plot, now: number): void {
    const { width } = plot.area
    const shown = marks.filter(({ time }) => {
      const left = plot.leftOf(time)
      return left >= 0 && left <= width
    })
    const perPixel = plot.timeAt(1) - plot.timeAt(0) || 1
    this.#clusters = clustersOf(shown, room * perPixel)
    this.#strip.hidden = this.#clusters.length === 0
    const wanted = this.#clusters.map(({ time, marks }) => `${time} ${marks.length}`).join()
    if (wanted !== this.#made) this.#make(wanted, now)
    for (const [i, { time }] of this.#clusters.entries()) {
      const left = `${plot.leftOf(time).toFixed(1)}px`
      for (const of of [this.#strip, this.#lines]) (of.children[i] as HTMLElement).style.left = left
    }
  }

  #make(wanted: string, now: number): void {
    const had = [...this.#strip.children].indexOf(document.activeElement as Element)
    this.#made = wanted
    const made = this.#clusters.map(({ marks }, i) => {
      const button = make('button', 'mark')
      button.type = 'button'
      button.tabIndex = i === Math.max(0, had) ? 0 : -1
      button.dataset.kind = kindOf(marks)
      button.ariaLabel = linesOf(marks, now).join('; ')
      button.append(
        drawing(marks.length > 1 && new Set(marks.map(({ kind }) => kind)).size > 1 ? 'several' : kindOf(marks)),
      )
      return button
    })
    this.#strip.replaceChildren(...made)
    this.#lines.replaceChildren(
      ...this.#clusters.map(({ marks }) => {
        const line = make('i', 'mark-line')
        line.dataset.kind = kindOf(marks)
        return line
      }),
    )
    if (had >= 0) made[Math.min(had, made.length - 1)]?.focus({ preventScroll: true })
  }

  #tell(target: Element): void {
    const button = target.closest<HTMLElement>('.mark')
    const at = button ? [...this.#strip.children].indexOf(button) : -1
    const cluster = this.#clusters[at]
    if (!button || !cluster) return
    const now = Date.now()
    this.#handlers.told(linesOf(cluster.marks, now), button.offsetLeft)
  }

  #key(event: KeyboardEvent): void {
    const direction = event.key === 'ArrowLeft' ? -1 : event.key === 'ArrowRight' ? 1 : 0
    if (direction === 0) return
    event.preventDefault()
    event.stopPropagation()
    const all = [...this.#strip.children] as HTMLElement[]
    const next = all[all.indexOf(document.activeElement as HTMLElement) + direction]
    if (!next) return
    for (const one of all) one.tabIndex = one === next ? 0 : -1
    next.focus({ preventScroll: true })
  }
}

const mostLines = 8

function linesOf(marks: readonly Mark[], now: number): readonly string[] {
  const lines = marks.slice(0, mostLines).map(({ time, text }) => `${momentText(time, now)} ${text}`)
  return marks.length > mostLines ? [...lines, say('marks.several', { count: marks.length })] : lines
}

function kindOf(marks: readonly Mark[]): MarkKind {
  return urgency.find(kind => marks.some(mark => mark.kind === kind)) ?? 'started'
}

function drawing(kind: MarkKind | 'several'): SVGElement {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  for (const [name, value] of [
    ['viewBox', '0 0 16 16'],
    ['width', '16'],
    ['height', '16'],
    ['aria-hidden', 'true'],
  ] as const) {
    svg.setAttribute(name, value)
  }
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path')
  path.setAttribute('d', drawings[kind])
  svg.append(path)
  return svg
}
