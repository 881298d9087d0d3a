import { Component } from 'preact'
import type { Definition } from './definition.js'
import { type ChartData, type FiredSpan, type Limits, type Marks, RuleChart } from './rule-chart.js'
import { numberText } from './when.js'
import { say } from './words.js'

type LimitName = 'above' | 'below'

interface Properties {
  readonly data: ChartData
  readonly limits: Limits
  readonly spans: readonly FiredSpan[]
  readonly marks?: Marks
  /** Text of the chart for those who do not see it. */
  readonly label: string
  readonly unit?: string | undefined
  /** Called while a limit is moved. Without, limits stay where they are. */
  readonly onLimit?: (name: LimitName, value: number) => void
}

/** A chart of a rule, with handles by which its limits are moved. The library is loaded when the first one is drawn. */
export class Chart extends Component<Properties> {
  #host: HTMLElement | null = null
  #chart: RuleChart | undefined
  #isGone = false
  readonly #handles = new Map<LimitName, HTMLElement>()
  /** Limit that a pointer moves. */
  #moved: LimitName | undefined

  override componentDidMount(): void {
    void this.#make()
  }

  override componentDidUpdate(before: Properties): void {
    const chart = this.#chart
    if (!chart) return
    const { data, spans, marks, limits } = this.props
    // The kind of line is decided when the chart is made.
    if ((data.words === undefined) !== (before.data.words === undefined)) {
      chart.destroy()
      this.#chart = undefined
      void this.#make()
      return
    }
    if (data !== before.data || marks !== before.marks) chart.set(data, spans, marks)
    else if (spans !== before.spans) chart.setSpans(spans)
    if (JSON.stringify(limits) !== JSON.stringify(before.limits)) chart.setLimits(limits)
    this.#place()
  }

  override componentWillUnmount(): void {
    this.#isGone = true
    this.#chart?.destroy()
  }

  async #make(): Promise<void> {
    const { default: uplot } = await import('uplot')
    if (this.#isGone || !this.#host || this.#chart) return
    const { data, spans, marks, limits } = this.props
    const chart = new RuleChart(uplot, this.#host, data)
    this.#chart = chart
    chart.onDraw = () => this.#place()
    chart.set(data, spans, marks)
    chart.setLimits(limits)
    this.#host.dataset.points = String(data.times.length)
  }

  /** Puts the handles on their lines. */
  #place(): void {
    const chart = this.#chart
    const host = this.#host
    if (!chart || !host) return
    host.dataset.points = String(this.props.data.times.length)
    const offset = chart.over.getBoundingClientRect().top - host.getBoundingClientRect().top
    for (const [name, handle] of this.#handles) {
      const value = this.props.limits[name]
      if (value === undefined) continue
      const height = chart.over.clientHeight
      handle.style.top = `${offset + Math.max(0, Math.min(height, chart.top(value)))}px`
    }
  }

  #move(name: LimitName, value: number): void {
    const chart = this.#chart
    if (!chart) return
    const { step } = chart
    const decimals = Math.max(0, -Math.floor(Math.log10(step)))
    this.props.onLimit?.(name, Number((Math.round(value / step) * step).toFixed(Math.min(9, decimals))))
  }

  readonly #down = (event: PointerEvent, name: LimitName) => {
    ;(event.currentTarget as Element).setPointerCapture(event.pointerId)
    this.#moved = name
    this.#chart?.hold(true)
  }

  readonly #up = () => {
    this.#moved = undefined
    this.#chart?.hold(false)
  }

  readonly #drag = (event: PointerEvent) => {
    const chart = this.#chart
    if (!chart || !this.#moved) return
    this.#move(this.#moved, chart.valueAt(event.clientY - chart.over.getBoundingClientRect().top))
  }

  readonly #key = (event: KeyboardEvent, name: LimitName) => {
    const value = this.props.limits[name] ?? 0
    const step = (this.#chart?.step ?? 1) * (event.shiftKey ? 10 : 1)
    const by: Readonly<Record<string, number>> = {
      ...{ ArrowUp: step, ArrowRight: step, PageUp: 10 * step },
      ...{ ArrowDown: -step, ArrowLeft: -step, PageDown: -10 * step },
    }
    const change = by[event.key]
    if (change === undefined) return
    event.preventDefault()
    this.#move(name, value + change)
  }

  #handle(name: LimitName, value: number) {
    const { unit = '', limits } = this.props
    return (
      <div
        key={name}
        class="alerts-handle"
        role="slider"
        tabIndex={0}
        aria-orientation="vertical"
        aria-label={say(name === 'above' ? 'limit.above' : 'limit.below')}
        aria-valuenow={value}
        aria-valuemin={Math.min(value, limits.below ?? value) - 1_000}
        aria-valuemax={Math.max(value, limits.above ?? value) + 1_000}
        aria-valuetext={`${numberText(value)} ${unit}`.trim()}
        ref={handle => {
          if (handle) this.#handles.set(name, handle)
          else this.#handles.delete(name)
        }}
        onPointerDown={event => this.#down(event, name)}
        onPointerMove={this.#drag}
        onPointerUp={this.#up}
        onPointerCancel={this.#up}
        onKeyDown={event => this.#key(event, name)}
      >
        <span>
          {numberText(value)} {unit}
        </span>
      </div>
    )
  }

  override render({ limits, label, onLimit, data }: Properties) {
    return (
      <div class="alerts-chart">
        <div
          class="alerts-plot"
          role="img"
          aria-label={label}
          ref={host => {
            this.#host = host
          }}
        />
        {onLimit && limits.above !== undefined ? this.#handle('above', limits.above) : null}
        {onLimit && limits.below !== undefined ? this.#handle('below', limits.below) : null}
        {data.times.length === 0 ? <p class="alerts-empty hint">{say('test.no-readings')}</p> : null}
      </div>
    )
  }
}

/** Returns the limits that a chart of a rule shows. */
export function limitsOf({ above, below, hysteresis, rate, hub }: Definition): Limits {
  if (rate !== undefined || hub !== undefined) return { hysteresis: 0 }
  const number = (one: unknown) => (typeof one === 'number' && Number.isFinite(one) ? one : undefined)
  return { above: number(above), below: number(below), hysteresis: Math.max(0, number(hysteresis) ?? 0) }
}
