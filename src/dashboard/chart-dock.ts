import { addressOf, type Selection, selectionOf } from './charts/address.js'
import type { ChartPanel } from './charts/panel.js'
import type { Live } from './home/live.js'
import { withStyle } from './styles.js'
import { say } from './texts/language.js'

/** Style sheets of a chart, beside this file. */
const styles = ['charts.css'] as const

export interface ChartDockOptions {
  /** Element for the chart. */
  readonly host: HTMLElement
  readonly live: Live
  /** Further parameters of the address of a chart, such as the page that is behind. */
  readonly more: () => Readonly<Record<string, string>>
  /** Changes the address, which then changes the chart; undefined: to that without a chart. */
  readonly go: (address: string | undefined, replace: boolean) => void
}

/** The place of the chart over a page. The chart itself, with its libraries, is loaded when the first one is opened. */
export class ChartDock {
  readonly #options: ChartDockOptions
  readonly #narrow = matchMedia('(max-width: 620px)')
  #panel: Promise<ChartPanel> | undefined
  #loaded: ChartPanel | undefined
  #selection: Selection | undefined
  #opener: HTMLElement | undefined

  constructor(options: ChartDockOptions) {
    this.#options = options
    this.#narrow.addEventListener('change', () => this.#cover())
  }

  get isOpen(): boolean {
    return this.#selection !== undefined
  }

  /**
   * Shows the chart of the address, or none. Resolves with the title of the chart; undefined without one.
   *
   * @param opener Has the focus again when the chart is closed.
   */
  async show(parameters: URLSearchParams, opener: HTMLElement | undefined): Promise<string | undefined> {
    const selection = selectionOf(parameters)
    const wasOpen = this.isOpen
    this.#selection = selection
    document.body.classList.toggle('with-detail', selection !== undefined)
    if (!selection) {
      if (wasOpen) this.#closed()
      return undefined
    }
    if (opener) this.#opener = opener
    this.#cover()
    this.#panel ??= this.#load()
    try {
      const panel = await this.#panel
      this.#loaded = panel
      if (this.#selection !== selection) return undefined
      return await panel.show(selection, !wasOpen)
    } catch (error) {
      this.#panel = undefined
      this.#options.host.textContent = say('page.failed', { why: (error as Error).message })
      return undefined
    }
  }

  /** Called once a second. */
  tick(): void {
    this.#loaded?.tick()
  }

  async #load(): Promise<ChartPanel> {
    const { host, live, more, go } = this.#options
    const [{ ChartPanel }] = await Promise.all([import('./charts/panel.js'), ...styles.map(withStyle)])
    return new ChartPanel(host, {
      live,
      go: (selection, replace = false) => go(selection && addressOf(selection, more()), replace),
    })
  }

  #closed(): void {
    this.#loaded?.close()
    this.#cover()
    if (this.#opener?.isConnected) this.#opener.focus({ preventScroll: true })
    this.#opener = undefined
  }

  /** Makes the page inert while the chart covers everything, as on a phone. */
  #cover(): void {
    const covered = this.isOpen && this.#narrow.matches
    for (const under of document.querySelectorAll<HTMLElement>('.bar, main')) under.inert = covered
  }
}
