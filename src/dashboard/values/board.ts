import type { SeriesRow } from '../../contract/contract.js'
import { hubNow, type SeriesInfo } from '../api.js'
import type { LastReading } from '../feed.js'
import { hub } from '../hub.js'
import { labelOf, placeOf } from '../wording.js'
import { byName, byPlace, Group } from './group.js'
import { sparkPoints, sparkSpan } from './spark.js'
import { infoOf, levelsOf, Tile, TileView } from './tile.js'
import { type Grid, gridOf, groupGap, placeOf as placeIn } from './wall-layout.js'
import { say } from './words.js'

/** Number of histories fetched at a time, for the lines of the tiles on screen. */
const seedsAtOnce = 3
const retryTicks = 15
/** Part of a window's height that is kept ready above and below the window. */
const spare = 1
/** Elements that are kept for the next tiles. */
const mostSpare = 200

/**
 * The tiles by place. All values are taken as they come; only those near the window have elements, which are painted at
 * most once in a frame.
 */
export class Board {
  readonly #root: HTMLElement
  readonly #matches: HTMLElement
  readonly #template: HTMLTemplateElement
  readonly #tiles = new Map<string, Tile>()
  readonly #byTopic = new Map<string, Set<Tile>>()
  readonly #groups = new Map<string, Group>()
  /** Groups in the order of the page. */
  #ordered: Group[] = []
  /** The places named by tags. A series that has only a topic is grouped with the place that the topic names. */
  readonly #places = new Set<string>()
  readonly #views = new Map<Tile, TileView>()
  readonly #spare: TileView[] = []
  readonly #changed = new Set<Tile>()
  readonly #narrow = matchMedia('(max-width: 620px)')
  #seeds: Tile[] = []
  #seeding = 0
  #ticks = 0
  #frame = 0
  #isLayoutStale = true
  #words: readonly string[] = []
  #selected: string | undefined

  constructor(root: HTMLElement, matches: HTMLElement, template: HTMLTemplateElement) {
    this.#root = root
    this.#matches = matches
    this.#template = template
    addEventListener('scroll', () => this.#layOut(), { passive: true })
    new ResizeObserver(() => this.#layOut()).observe(root)
    this.#narrow.addEventListener('change', () => this.#layOut())
  }

  get size(): number {
    return this.#tiles.size
  }

  /** Returns the tiles whose topic or tags name one of these, in the order of the board. */
  named(...names: readonly string[]): readonly Tile[] {
    // A single character would match too much.
    const wanted = names.filter(name => name.length > 1).map(levelsOf)
    return [...this.#tiles.values()]
      .filter(tile => tile.bears(wanted))
      .sort((a, b) => byPlace(a.label, b.label) || byName(a, b))
  }

  /** Takes the list of the hub: new series get a tile, known ones the values they missed. */
  snapshot(rows: readonly SeriesRow[]): void {
    for (const row of rows) this.#place(row)
    for (const row of rows) {
      const known = this.#tiles.get(row.key)
      if (!known && row.cleared) continue
      const tile = known ?? this.#add(row)
      if (row.unit !== undefined) tile.unit = row.unit
      if (row.last && row.last.time > tile.time)
        tile.take(row.last.time, row.last.value, undefined, row.last.time, false)
      this.#touch(tile)
    }
    // The lines lack the readings of the time when this page was not connected.
    for (const tile of this.#tiles.values()) tile.seeded = false
    this.#layOut()
    this.#ask()
  }

  /** Takes one push of the hub. */
  take(reading: LastReading, retained: boolean): void {
    const { topic, refused } = reading
    for (const last of reading.values) {
      const tile = this.#tiles.get(last.series) ?? this.#add(infoOf(last))
      const { time = reading.time } = last
      // A value of an earlier message, which is most often known, is told with each reading of the topic.
      if (last.time !== undefined && time <= tile.time) continue
      if (last.unit !== undefined) tile.unit = last.unit
      this.#note(tile, topic)
      tile.refused = refused && (refused.fields?.includes(last.field) ?? true) ? refused : undefined
      if (time >= tile.time) tile.take(time, last.value, reading.quality, reading.received, !retained)
      this.#touch(tile)
    }
    for (const key of reading.absent ?? []) {
      const tile = this.#tiles.get(key)
      if (!tile || reading.received < tile.time) continue
      tile.quality = 'absent'
      tile.refused = undefined
      this.#touch(tile)
    }
    // Values that are refused may not be among those of the reading.
    if (!refused?.fields) return
    for (const tile of this.#byTopic.get(topic) ?? []) {
      if (!refused.fields.includes(tile.info.field)) continue
      tile.refused = refused
      this.#touch(tile)
    }
  }

  /** Takes the tiles of a topic away, of which the hub shows no reading any more. */
  clear(topic: string): void {
    for (const tile of [...(this.#byTopic.get(topic) ?? [])]) {
      const { key } = tile.info
      if (tile.topic !== topic || key === this.#selected) continue
      this.#tiles.delete(key)
      this.#byTopic.get(topic)?.delete(tile)
      this.#changed.delete(tile)
      this.#groups.get(tile.label.place)?.remove(tile)
    }
    this.#layOut()
  }

  /** Called once a second: updates the ages, and the lines, which move on with time. */
  tick(): void {
    const now = hubNow()
    for (const view of this.#views.values()) {
      view.paint(now)
      view.draw(now, true)
    }
    // Retries the lines whose history the store could not return.
    if (++this.#ticks % retryTicks === 0) this.#ask()
  }

  filter(text: string): void {
    this.#words = text.toLowerCase().split(/\s+/).filter(Boolean)
    for (const tile of this.#tiles.values()) tile.shown = tile.matches(this.#words)
    for (const group of this.#ordered) group.filtered()
    this.#layOut()
  }

  /** Marks the tile of a series. */
  select(key: string | undefined): void {
    if (key === this.#selected) return
    this.#selected = key
    const now = hubNow()
    for (const [tile, view] of this.#views) view.show(tile, tile.info.key === key, now)
  }

  /** Scrolls to the tile of a series, if it is not in view above the chart. */
  reveal(key: string): void {
    this.#layOutNow()
    const tile = this.#tiles.get(key)
    if (!tile) return
    const grid = this.#grid
    let top = this.#root.getBoundingClientRect().top
    for (const group of this.#ordered) {
      const height = group.height(grid)
      const within = group.topOf(tile, grid)
      if (within !== undefined) {
        const [from, room] = [top + within, innerHeight - (document.getElementById('detail')?.offsetHeight ?? 0)]
        if (from < 90 || from + grid.height > room) scrollBy({ top: from - Math.max(90, (room - grid.height) / 2) })
        return
      }
      if (height > 0) top += height + groupGap
    }
  }

  #add(info: SeriesInfo): Tile {
    this.#place(info)
    const tile = new Tile(info, labelOf(info, this.#places))
    tile.shown = tile.matches(this.#words)
    this.#note(tile, info.tags.topic ?? '')
    this.#group(tile.label.place).add(tile)
    this.#tiles.set(info.key, tile)
    this.#layOut()
    return tile
  }

  /** Notes the topic of a tile. */
  #note(tile: Tile, topic: string): void {
    if (topic === '') return
    if (tile.topic !== topic) this.#byTopic.get(tile.topic)?.delete(tile)
    tile.topic = topic
    const tiles = this.#byTopic.get(topic) ?? new Set<Tile>()
    this.#byTopic.set(topic, tiles)
    tiles.add(tile)
  }

  #group(place: string): Group {
    let group = this.#groups.get(place)
    if (!group) {
      group = new Group(place)
      this.#groups.set(place, group)
      const at = placeIn(this.#ordered, group, byPlace)
      this.#root.insertBefore(group.element, this.#ordered[at]?.element ?? null)
      this.#ordered.splice(at, 0, group)
    }
    return group
  }

  /** Learns the place of a series. A new place takes over the series that have only a topic naming that place. */
  #place({ tags }: SeriesInfo): void {
    const place = placeOf(tags)
    if (place === undefined || this.#places.has(place)) return
    this.#places.add(place)
    for (const tile of this.#tiles.values()) {
      const label = labelOf(tile.info, this.#places)
      if (label.place === tile.label.place) continue
      this.#groups.get(tile.label.place)?.remove(tile)
      tile.label = label
      this.#group(label.place).add(tile)
    }
  }

  #touch(tile: Tile): void {
    // Tiles outside of the page are painted when they come there.
    if (!this.#views.has(tile)) return
    this.#changed.add(tile)
    this.#inFrame()
  }

  #layOut(): void {
    this.#isLayoutStale = true
    this.#inFrame()
  }

  #inFrame(): void {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0
      if (this.#isLayoutStale) this.#layOutNow()
      const now = hubNow()
      for (const tile of this.#changed) {
        const view = this.#views.get(tile)
        view?.paint(now)
        view?.draw(now, false)
      }
      this.#changed.clear()
    })
  }

  get #grid(): Grid {
    return gridOf(this.#root.clientWidth, this.#narrow.matches)
  }

  #layOutNow(): void {
    // A wall that is not shown has no width; it is laid out when it gets one.
    if (this.#root.clientWidth === 0) return
    this.#isLayoutStale = false
    const grid = this.#grid
    const now = hubNow()
    const views = {
      take: (tile: Tile) => {
        const view = this.#spare.pop() ?? new TileView(this.#template)
        view.show(tile, tile.info.key === this.#selected, now)
        this.#views.set(tile, view)
        return view
      },
      giveBack: (view: TileView) => {
        if (view.tile) this.#views.delete(view.tile)
        if (this.#spare.length < mostSpare) this.#spare.push(view)
      },
    }
    const { top } = this.#root.getBoundingClientRect()
    const [from, to] = [-top - innerHeight * spare, -top + innerHeight * (1 + spare)]
    let at = 0
    let shown = 0
    for (const group of this.#ordered) {
      const height = group.height(grid)
      shown += group.count
      group.show(from - at, to - at, grid, views)
      if (height > 0) at += height + groupGap
    }
    for (const group of this.#ordered.filter(({ isEmpty }) => isEmpty)) {
      group.element.remove()
      this.#groups.delete(group.place)
    }
    this.#ordered = this.#ordered.filter(({ isEmpty }) => !isEmpty)
    this.#count(shown)
    this.#ask()
  }

  #count(shown: number): void {
    const filtered = this.#words.length > 0
    this.#matches.hidden = !filtered
    const counts = { shown, all: this.#tiles.size }
    const text = !filtered ? '' : shown === 0 ? say('wall.none') : say('wall.shown', counts)
    if (this.#matches.textContent !== text) this.#matches.textContent = text
  }

  #ask(): void {
    this.#seeds = [...this.#views.keys()].filter(tile => !tile.seeded && tile.spark)
    void this.#seed()
  }

  /** Fetches and draws the history of the tiles on screen, a few at a time. Tiles scrolled out of view have to wait. */
  async #seed(): Promise<void> {
    if (this.#seeding >= seedsAtOnce) return
    this.#seeding++
    for (let tile = this.#seeds.shift(); tile; tile = this.#seeds.shift()) {
      if (tile.seeded || !this.#views.has(tile)) continue
      const asked = tile
      asked.seeded = true
      if (this.#seeding < seedsAtOnce) void this.#seed()
      const to = Math.ceil(hubNow())
      // The history is optional: without one the line starts now.
      await hub.history(asked.info.key, { from: to - sparkSpan, to, points: sparkPoints }).then(
        columns => asked.seed(columns.times, columns.values),
        () => {
          asked.seeded = false
        },
      )
      this.#views.get(asked)?.draw(hubNow(), true)
    }
    this.#seeding--
  }
}
