import { Component, createRef, render } from 'preact'
import { setData, write } from '../home/painted.js'
import { nameText } from '../wording.js'
import type { Selection } from './address.js'
import { Model } from './context.js'
import { Drawing } from './drawing.js'
import { Figures } from './figures.js'
import { Head } from './head.js'
import { Legend } from './legend.js'
import { ChartModel, type ChartShell } from './model.js'
import { noteOf } from './note.js'
import { Tools } from './tools.js'
import { say } from './words.js'

interface Properties {
  readonly model: ChartModel
  readonly shell: ChartShell
}

/** The chart with everything around it. */
class Panel extends Component<Properties> {
  readonly #host = createRef<HTMLDivElement>()
  readonly #note = createRef<HTMLParagraphElement>()
  readonly #speech = createRef<HTMLParagraphElement>()
  #drawing: Drawing | undefined
  #end: (() => void) | undefined

  override componentDidMount(): void {
    const { model } = this.props
    const host = this.#host.current as HTMLDivElement
    this.#drawing = new Drawing(host, model, {
      speak: text => this.#speech.current && write(this.#speech.current, text),
    })
    model.onChange = () => this.forceUpdate()
    this.#end = model.watchReadings(() => this.#draw())
    this.#draw()
  }

  override componentDidUpdate(): void {
    this.#draw()
  }

  override componentWillUnmount(): void {
    this.#end?.()
    this.#drawing?.destroy()
  }

  #draw(): void {
    const { model } = this.props
    const host = this.#host.current
    if (!host) return
    model.width = host.clientWidth
    if (!model.isLoading || model.points > 0) this.#drawing?.draw()
    setData(host, 'points', model.isLoading ? '0' : String(model.points))
    setData(host, 'phase', model.phase)
    if (this.#note.current) write(this.#note.current, noteOf(model))
    const isEmpty = !model.isLoading && model.points === 0 && model.failure === '' && model.subjects.size > 0
    const button = this.#note.current?.nextElementSibling as HTMLElement | null
    if (button) button.hidden = !isEmpty
  }

  override render({ model, shell }: Properties) {
    const { first, missing, subjects, selection } = model
    const isMissing = missing.length > 0 && subjects.size === 0
    return (
      <Model.Provider value={model}>
        <section
          id="detail"
          aria-labelledby="detail-name"
          data-loading={model.isLoading ? 'true' : undefined}
          data-missing={String(isMissing)}
          data-type={first?.type ?? ''}
          data-several={String(subjects.size > 1)}
        >
          <Head onClose={() => shell.go(undefined)} />
          {isMissing ? null : <Tools />}
          <div class="detail-about">
            <Legend live={shell.live} />
            {missing.length > 0 && !isMissing ? (
              <p class="chart-trouble">
                <bdi>{say('chart.missing', { keys: missing.map(nameText).join(', ') })}</bdi>
              </p>
            ) : null}
            <Figures />
          </div>
          <div class="detail-body">
            <div id="chart" ref={this.#host} data-series={selection?.keys[0] ?? ''} />
            <p id="chart-note" role="status" ref={this.#note} />
            <button type="button" class="chart-tool chart-find" hidden onClick={() => void model.goToReadings()}>
              {say('chart.to-readings')}
            </button>
          </div>
          <p id="chart-speech" class="unseen" aria-live="polite" ref={this.#speech} />
        </section>
      </Model.Provider>
    )
  }
}

/** A chart over the page. */
export class ChartPanel {
  readonly #host: HTMLElement
  readonly #shell: ChartShell
  readonly #model: ChartModel
  #isOpen = false

  constructor(host: HTMLElement, shell: ChartShell) {
    this.#host = host
    this.#shell = shell
    this.#model = new ChartModel(shell)
    document.addEventListener('visibilitychange', () => {
      if (!this.#isOpen) return
      if (document.hidden) this.#model.pause()
      else this.#model.load()
    })
  }

  /** Resolves with the title of the chart when its series are known. */
  async show(selection: Selection, focus: boolean): Promise<string> {
    if (!this.#isOpen) render(<Panel model={this.#model} shell={this.#shell} />, this.#host)
    const isNew = !this.#isOpen
    this.#isOpen = true
    const opened = this.#model.open(selection)
    if (focus && isNew) document.getElementById('detail-name')?.focus({ preventScroll: true })
    await opened
    const { first } = this.#model
    return first ? [first.name, first.device].filter(Boolean).join(', ') : ''
  }

  close(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#model.close()
    render(null, this.#host)
  }

  /** Called once a second. */
  tick(): void {
    if (this.#isOpen) this.#model.tick()
  }
}
