import { make } from '../nodes.js'
import { locale } from '../texts/language.js'
import { nameText } from '../wording.js'
import type { Tile, TileView } from './tile.js'
import { type Grid, headingHeight, heightOf, nearOf, placeOf } from './wall-layout.js'
import { say } from './words.js'

const order = new Intl.Collator(locale, { numeric: true, sensitivity: 'base' })

/** Gives elements for tiles, and takes them back. */
export interface Views {
  take(tile: Tile): TileView
  giveBack(view: TileView): void
}

/** The tiles of one place. Its heading is always on the page, so that a screen reader finds all places. */
export class Group {
  readonly place: string
  readonly element: HTMLElement
  readonly #list: HTMLElement
  readonly #number = make('span', 'group-count')
  readonly #tiles: Tile[] = []
  readonly #views = new Map<Tile, TileView>()
  #shown: readonly Tile[] = []
  #isChanged = true

  constructor(place: string) {
    this.place = place
    this.#list = make('ul', 'tiles')
    const name = make('bdi', 'group-name', place === '' ? say('wall.other') : nameText(place))
    this.element = make('section', 'group', make('h2', '', name, this.#number), this.#list)
  }

  get isEmpty(): boolean {
    return this.#tiles.length === 0
  }

  /** Number of tiles that the filter lets through. */
  get count(): number {
    return this.#shown.length
  }

  add(tile: Tile): void {
    this.#tiles.splice(placeOf(this.#tiles, tile, byName), 0, tile)
    this.#isChanged = true
  }

  remove(tile: Tile): void {
    const at = this.#tiles.indexOf(tile)
    if (at >= 0) this.#tiles.splice(at, 1)
    this.#isChanged = true
  }

  /** Notes that the filter has changed. */
  filtered(): void {
    this.#isChanged = true
  }

  /** Returns the height of the whole group, without the space above. */
  height(grid: Grid): number {
    if (this.#isChanged) {
      this.#isChanged = false
      this.#shown = this.#tiles.filter(tile => tile.shown)
      const isHidden = this.#shown.length === 0
      if (this.element.hidden !== isHidden) this.element.hidden = isHidden
      const text = String(this.#shown.length)
      if (this.#number.textContent !== text) this.#number.textContent = text
    }
    return this.#shown.length === 0 ? 0 : headingHeight + heightOf(this.#shown.length, grid)
  }

  /** Returns the pixels from the top of the group to a tile; undefined: it is not among the tiles shown. */
  topOf(tile: Tile, grid: Grid): number | undefined {
    const at = this.#shown.indexOf(tile)
    return at < 0 ? undefined : headingHeight + Math.floor(at / grid.columns) * (grid.height + grid.gap)
  }

  /** Puts the tiles on the page that are between two heights, from the top of the group, and takes the others away. */
  show(from: number, to: number, grid: Grid, views: Views): void {
    const { first, end, above } = nearOf(this.#shown.length, from - headingHeight, to - headingHeight, grid)
    const near = this.#shown.slice(first, end)
    const staying = new Set(near)
    for (const [tile, view] of this.#views) {
      if (staying.has(tile)) continue
      view.element.remove()
      this.#views.delete(tile)
      views.giveBack(view)
    }
    const style = this.#list.style
    const [height, padding] = [`${heightOf(this.#shown.length, grid)}px`, `${above}px`]
    if (style.height !== height) style.height = height
    if (style.paddingTop !== padding) style.paddingTop = padding
    for (const [i, tile] of near.entries()) {
      let view = this.#views.get(tile)
      if (!view) {
        view = views.take(tile)
        this.#views.set(tile, view)
      }
      const there = this.#list.children[i]
      if (there !== view.element) this.#list.insertBefore(view.element, there ?? null)
    }
  }
}

export function byPlace(a: { readonly place: string }, b: { readonly place: string }): number {
  return Number(a.place === '') - Number(b.place === '') || order.compare(a.place, b.place)
}

export function byName(a: Tile, b: Tile): number {
  return order.compare(a.label.device, b.label.device) || order.compare(a.label.name, b.label.name)
}
