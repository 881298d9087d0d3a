import { Component, render } from 'preact'
import { say } from '../texts/language.js'
import { BoardParts } from './board-parts.js'
import { Model } from './context.js'
import { EditMode } from './edit-mode.js'
import { Empty } from './empty.js'
import { GroupSection } from './group.js'
import {
  beside,
  columnsOf,
  gapOf,
  groupGap,
  headingHeight,
  heightOf,
  type Place,
  type Placed,
  placed,
  rowsBetween,
  spotOf,
  totalOf,
} from './layout.js'
import type { HomeModel } from './model.js'
import { Needs } from './needs.js'
import { Sheet } from './sheet.js'
import { Toolbar } from './toolbar.js'

interface Properties {
  readonly model: HomeModel
  readonly onClose: () => void
}

/** Part of a window's height that is kept ready above and below the window. */
const spare = 0.75

/** The page Home: what needs a person, then the devices by area. */
class HomePage extends Component<Properties> {
  readonly #changed = () => this.forceUpdate()
  #areas: HTMLElement | null = null
  readonly #hosted = (areas: HTMLElement | null) => {
    this.#areas = areas
    if (!areas) return
    this.#watch?.observe(areas)
    this.#look()
  }
  #watch: ResizeObserver | undefined
  #frame = 0
  /** Part of the areas that is near the window, in pixels from their top. */
  #near = { from: 0, to: 2_000 }
  #width = 0
  #layout: { readonly of: readonly unknown[]; readonly places: readonly Placed[] } = { of: [], places: [] }

  override componentDidMount(): void {
    this.props.model.onChange = this.#changed
    addEventListener('scroll', this.#look, { passive: true })
    this.#watch = new ResizeObserver(() => this.#look())
    this.#watch.observe(document.documentElement)
    if (this.#areas) this.#watch.observe(this.#areas)
    this.#measure()
  }

  readonly #look = () => {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0
      this.#measure()
    })
  }

  #measure(): void {
    const areas = this.#areas
    if (!areas || areas.clientWidth === 0) return
    const box = areas.getBoundingClientRect()
    // On a wall the page is enlarged; the layout is not.
    const zoom = (areas as { readonly currentCSSZoom?: number }).currentCSSZoom ?? 1
    const height = innerHeight / zoom
    const margin = height * spare
    // In steps, so that not every pixel of a scroll draws.
    const step = Math.max(100, height / 4)
    const top = box.top / zoom
    const from = Math.floor((-top - margin) / step) * step
    const to = Math.ceil((height - top + margin) / step) * step
    if (from === this.#near.from && to === this.#near.to && areas.clientWidth === this.#width) return
    this.#near = { from, to }
    this.#width = areas.clientWidth
    this.forceUpdate()
  }

  #places(columns: number): readonly Placed[] {
    const { groups, density } = this.props.model
    const of = [groups, density, columns]
    if (!of.every((one, i) => one === this.#layout.of[i])) {
      const heights = groups.map(({ devices }) => devices.map(device => heightOf(density, device)))
      this.#layout = { of, places: placed(heights, columns, density) }
    }
    return this.#layout.places
  }

  /** Returns how many columns there are: as many as have room; on a wall so many that areas fill the width. */
  #columns(): number {
    const { density, isKiosk } = this.props.model
    const most = columnsOf(density, this.#width || 1_000)
    if (!isKiosk) return most
    const fills = (columns: number) => this.#places(columns).some(({ column, span }) => column + span === columns)
    return [most, most - 1, most - 2].find(columns => columns > 0 && fills(columns)) ?? most
  }

  /** Moves to the card beside with an arrow key, also to one that is not on the page yet. */
  readonly #key = (event: KeyboardEvent) => {
    const link = (event.target as Element).closest?.('.thing-link')
    if (!link || !event.key.startsWith('Arrow') || event.altKey || event.ctrlKey || event.metaKey) return
    const id = link.closest<HTMLElement>('.thing')?.dataset.device
    const { groups } = this.props.model
    const group = groups.findIndex(({ devices }) => devices.some(device => device.id === id))
    const at = groups[group]?.devices.findIndex(device => device.id === id) ?? -1
    if (at < 0) return
    event.preventDefault()
    const columns = this.#columns()
    const counts = groups.map(({ devices }) => devices.length)
    const places = this.#places(columns)
    const next = beside(counts, places, [group, at], event.key)
    if (next) this.#goTo(next, places)
  }

  #goTo([group, at]: Place, places: readonly Placed[]): void {
    const { model } = this.props
    const device = model.groups[group]?.devices[at]
    if (!device || !this.#areas) return
    const { y } = spotOf(places, group, at)
    this.#near = { from: Math.min(this.#near.from, y - 200), to: Math.max(this.#near.to, y + 400) }
    model.active = device.id
    this.forceUpdate(() => {
      const card = this.#areas?.querySelector(`[data-device="${CSS.escape(device.id)}"]`)
      card?.querySelector<HTMLElement>('.thing-link')?.focus({ preventScroll: true })
      card?.scrollIntoView({ block: 'nearest' })
      this.#measure()
    })
  }

  override render({ model, onClose }: Properties) {
    const { catalogue, failure, density, text, onlyWrong } = model
    if (!catalogue) {
      return <p class="hint home-wait">{failure ? say('home.failed', { why: failure }) : say('home.loading')}</p>
    }
    if (model.isEditing && model.board === undefined) return <EditMode model={model} />
    if (model.board !== undefined && !model.shownBoard) {
      return (
        <Model.Provider value={model}>
          <Toolbar shown={0} all={0} />
          <p class="hint home-wait">{say(model.boards ? 'boards.gone' : 'home.loading')}</p>
        </Model.Provider>
      )
    }
    const { groups } = model
    const all = model.count
    const isEmpty = all === 0 && model.board === undefined
    const shown = groups.reduce((sum, { devices }) => sum + devices.length, 0)
    const columns = this.#columns()
    const places = this.#places(columns)
    const active = groups.some(({ devices }) => devices.some(({ id }) => id === model.active))
      ? model.active
      : groups[0]?.devices[0]?.id
    const opened = model.open === undefined ? undefined : model.device(model.open)
    const style = {
      gap: `${groupGap}px ${gapOf(density)}px`,
      gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))`,
    }
    return (
      <Model.Provider value={model}>
        <Needs />
        {isEmpty ? <Empty /> : <Toolbar shown={shown} all={all} />}
        {/* biome-ignore lint/a11y/noStaticElementInteractions: arrow keys go from link to link; the links are reached by Tab. */}
        <div class="areas" key={model.board ?? ''} style={style} ref={this.#hosted} onKeyDown={this.#key}>
          {groups.map((group, i) => {
            const { span = 1, top = 0, rows = [] } = places[i] ?? {}
            const begins = top + headingHeight
            const [first, end] = rowsBetween(rows, this.#near.from - begins, this.#near.to - begins)
            const height = totalOf(rows)
            return (
              <GroupSection
                key={group.isFavourites ? '★' : group.name}
                {...{ group, rows, span, density, first, end, height, active }}
              />
            )
          })}
        </div>
        {all > 0 && shown === 0 ? (
          <div class="home-none">
            <p>{text === '' && onlyWrong ? say('home.nothing-wrong') : say('home.no-match', { text })}</p>
            {onlyWrong ? (
              <button type="button" class="plain" onClick={() => model.set({ onlyWrong: false })}>
                {say('home.show-all')}
              </button>
            ) : null}
          </div>
        ) : null}
        {model.board === undefined ? null : <BoardParts key={model.board} model={model} id={model.board} />}
        {opened ? <Sheet key={opened.id} device={opened} onClose={onClose} /> : null}
      </Model.Provider>
    )
  }
}

/** Draws the page into an element, and again whenever the model changes. `onClose`: the sheet was closed by hand. */
export function startHome(host: HTMLElement, model: HomeModel, onClose: () => void): void {
  render(<HomePage model={model} onClose={onClose} />, host)
}
