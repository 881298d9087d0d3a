import type { SeriesRow } from '../contract/contract.js'
import { hubNow, type Quality, type SeriesInfo, type Value } from './api.js'
import type { LastReading, LastValue } from './feed.js'
import { hub } from './hub.js'
import { Cadence, Spark, sparkPoints, sparkSpan } from './spark.js'
import { ageText, decimalsOf, type Label, labelOf, placeOf, stateOf, valueText } from './wording.js'

/** One reading of one series, as it arrived. */
export interface Sample {
  readonly series: SeriesInfo
  readonly time: number
  readonly value: Value
}

const sparkWidth = 200
const sparkHeight = 32
/** Shortest time between two drawings of a line. */
const sparkEvery = 250
/** Number of histories fetched at a time, for the lines of the tiles on screen. */
const seedsAtOnce = 3
const retryTicks = 15

const qualityWords: Readonly<Record<Exclude<Quality, 'good'>, readonly [word: string, why: string]>> = {
  late: ['late', 'The device’s timestamp is more than a minute old: the reading was delayed.'],
  clock: ['clock', 'The device’s timestamp was impossible, so the time of receipt is used.'],
  absent: ['no value', 'The device says that it has no value now; this is the last one it had.'],
}

const order = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' })

/** The tiles by place. Keeps the existing DOM and changes only what is different, once per frame. */
export class Board {
  readonly #root: HTMLElement
  readonly #matches: HTMLElement
  readonly #tiles = new Map<string, Tile>()
  readonly #groups = new Map<string, Group>()
  /** The places named by tags. A series that has only a topic is grouped with the place that the topic names. */
  readonly #places = new Set<string>()
  readonly #byElement = new WeakMap<Element, Tile>()
  readonly #visible = new Set<Tile>()
  readonly #changed = new Set<Tile>()
  #seeds: Tile[] = []
  readonly #watch: IntersectionObserver
  #seeding = 0
  #ticks = 0
  #frame = 0
  #words: readonly string[] = []
  #selected: Tile | undefined

  constructor(root: HTMLElement, matches: HTMLElement) {
    this.#root = root
    this.#matches = matches
    this.#watch = new IntersectionObserver(entries => this.#seen(entries), { rootMargin: '120px' })
  }

  get size(): number {
    return this.#tiles.size
  }

  tile(key: string): Tile | undefined {
    return this.#tiles.get(key)
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
    this.#count()
    // The lines lack the readings of the time when this page was not connected.
    for (const tile of this.#tiles.values()) tile.seeded = false
    this.#ask()
  }

  /** Takes one push of the hub. Returns the samples that are new. */
  take(reading: LastReading, retained: boolean): readonly Sample[] {
    const samples: Sample[] = []
    for (const last of reading.values) {
      const known = this.#tiles.get(last.series)
      const tile = known ?? this.#add(infoOf(last))
      if (last.unit !== undefined) tile.unit = last.unit
      tile.topic = reading.topic
      const { refused } = reading
      tile.refused = refused && (refused.fields?.includes(last.field) ?? true) ? refused : undefined
      if (reading.time >= tile.time) {
        const news = reading.time > tile.time
        tile.take(reading.time, last.value, reading.quality, reading.received, !retained)
        if (news) samples.push({ series: tile.info, time: reading.time, value: last.value })
      }
      this.#touch(tile)
      if (!known) this.#count()
    }
    for (const key of reading.absent ?? []) {
      const tile = this.#tiles.get(key)
      if (!tile || reading.received < tile.time) continue
      tile.quality = 'absent'
      tile.refused = undefined
      this.#touch(tile)
    }
    this.#markRefused(reading)
    return samples
  }

  /** Marks the tiles of values that are refused, and so may not be among those of the reading. */
  #markRefused({ topic, refused }: LastReading): void {
    if (!refused?.fields) return
    for (const tile of this.#tiles.values()) {
      if ((tile.topic ?? tile.info.tags.topic) !== topic || !refused.fields.includes(tile.info.field)) continue
      tile.refused = refused
      this.#touch(tile)
    }
  }

  /** Takes the tiles of a topic away, of which the hub shows no reading any more. */
  clear(topic: string): void {
    for (const [key, tile] of this.#tiles) {
      if (tile.topic !== topic || tile === this.#selected) continue
      this.#tiles.delete(key)
      this.#visible.delete(tile)
      this.#changed.delete(tile)
      this.#watch.unobserve(tile.element)
      this.#groups.get(tile.label.place)?.remove(tile)
    }
    this.#count()
  }

  /** Called once a second: updates the ages, and the lines, which move on with time. */
  tick(): void {
    const now = hubNow()
    for (const tile of this.#tiles.values()) tile.paint(now)
    for (const tile of this.#visible) tile.draw(now, true)
    // Retries the lines whose history the store could not return.
    if (++this.#ticks % retryTicks === 0) this.#ask()
  }

  filter(text: string): void {
    this.#words = text.toLowerCase().split(/\s+/).filter(Boolean)
    for (const tile of this.#tiles.values()) tile.shown = tile.matches(this.#words)
    this.#count()
  }

  select(key: string | undefined): void {
    this.#selected?.anchor.removeAttribute('aria-current')
    this.#selected = key === undefined ? undefined : this.#tiles.get(key)
    this.#selected?.anchor.setAttribute('aria-current', 'true')
  }

  #add(info: SeriesInfo): Tile {
    this.#place(info)
    const tile = new Tile(info, labelOf(info, this.#places))
    tile.shown = tile.matches(this.#words)
    this.#group(tile.label.place).add(tile)
    this.#tiles.set(info.key, tile)
    this.#byElement.set(tile.element, tile)
    this.#watch.observe(tile.element)
    return tile
  }

  #group(place: string): Group {
    let group = this.#groups.get(place)
    if (!group) {
      group = new Group(place)
      this.#groups.set(place, group)
      const next = [...this.#groups.values()].filter(other => other.after(place)).sort(byPlace)[0]
      this.#root.insertBefore(group.element, next?.element ?? null)
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

  #count(): void {
    let shown = 0
    for (const group of this.#groups.values()) shown += group.count()
    const all = this.#tiles.size
    const filtered = this.#words.length > 0
    this.#matches.hidden = !filtered
    const text = !filtered ? '' : shown === 0 ? 'No matching readings' : `${shown} of ${all} readings`
    if (this.#matches.textContent !== text) this.#matches.textContent = text
  }

  #touch(tile: Tile): void {
    this.#changed.add(tile)
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0
      const now = hubNow()
      for (const changed of this.#changed) {
        changed.paint(now)
        if (this.#visible.has(changed)) changed.draw(now, false)
      }
      this.#changed.clear()
    })
  }

  #seen(entries: readonly IntersectionObserverEntry[]): void {
    const now = hubNow()
    for (const entry of entries) {
      const tile = this.#byElement.get(entry.target)
      if (!tile) continue
      if (!entry.isIntersecting) {
        this.#visible.delete(tile)
        continue
      }
      this.#visible.add(tile)
      tile.draw(now, true)
    }
    this.#ask()
  }

  #ask(): void {
    this.#seeds = [...this.#visible].filter(tile => !tile.seeded && tile.spark)
    void this.#seed()
  }

  /** Fetches and draws the history of the tiles on screen, a few at a time. Tiles scrolled out of view have to wait. */
  async #seed(): Promise<void> {
    if (this.#seeding >= seedsAtOnce) return
    this.#seeding++
    for (let tile = this.#seeds.shift(); tile; tile = this.#seeds.shift()) {
      if (tile.seeded || !this.#visible.has(tile)) continue
      tile.seeded = true
      if (this.#seeding < seedsAtOnce) void this.#seed()
      const to = Math.ceil(hubNow())
      const { key } = tile.info
      // The history is optional: without one the line starts now.
      await hub.history(key, { from: to - sparkSpan, to, points: sparkPoints }).then(
        columns => tile.seed(columns.times, columns.values),
        () => {
          tile.seeded = false
        },
      )
      tile.draw(hubNow(), true)
    }
    this.#seeding--
  }
}

/** One series on the board. */
export class Tile {
  readonly info: SeriesInfo
  readonly element: HTMLElement
  readonly anchor: HTMLAnchorElement
  readonly spark: Spark | undefined
  readonly #cadence = new Cadence()
  readonly #name: HTMLElement
  readonly #device: HTMLElement
  readonly #value: HTMLElement
  readonly #unit: HTMLElement
  readonly #age: HTMLElement
  readonly #quality: HTMLElement
  readonly #line: SVGPathElement
  readonly #area: SVGPathElement
  #label: Label
  #haystack = ''
  #named: { readonly topic: string | undefined; readonly texts: readonly string[] } = { topic: undefined, texts: [] }
  #unitText = ''
  #decimals = 0
  #drawnAt = 0
  #heard = 0
  /** Topic of the reading that is shown; empty when the reading came from the store. */
  topic = ''
  time = 0
  value: Value = ''
  quality: Quality | undefined
  /** Why the newest message was not stored, or this value of it. */
  refused: LastReading['refused']
  seeded = false

  constructor(info: SeriesInfo, label: Label) {
    this.info = info
    this.element = clone('tile-template')
    this.anchor = part<HTMLAnchorElement>(this.element, '.tile')
    this.#name = part(this.element, '.tile-name')
    this.#device = part(this.element, '.tile-device')
    this.#value = part(this.element, '.tile-value')
    this.#unit = part(this.element, '.tile-unit')
    this.#age = part(this.element, '.tile-age')
    this.#quality = part(this.element, '.tile-quality')
    this.#line = part(this.element, '.line')
    this.#area = part(this.element, '.area')
    this.spark = info.type === 'text' ? undefined : new Spark(info.type === 'boolean')
    this.anchor.href = `#${new URLSearchParams({ series: info.key })}`
    this.anchor.dataset.series = info.key
    this.anchor.dataset.type = info.type
    this.#label = label
    this.label = label
    this.unit = info.unit ?? ''
  }

  get label(): Label {
    return this.#label
  }

  set label(label: Label) {
    const { name, place, device } = label
    this.#label = label
    this.#haystack = `${this.info.key} ${place} ${device} ${name}`.toLowerCase()
    this.#name.textContent = name
    this.#device.textContent = device
    this.anchor.title = this.info.tags.topic ?? [name, device].filter(Boolean).join('\n')
  }

  /** Time between two readings in milliseconds; 0 while unknown. */
  get interval(): number {
    return this.#cadence.interval
  }

  get unit(): string {
    return this.#unitText
  }

  set unit(text: string) {
    if (text === this.#unitText) return
    this.#unitText = text
    this.#unit.textContent = text
  }

  get shown(): boolean {
    return !this.element.hidden
  }

  set shown(shown: boolean) {
    this.element.hidden = !shown
  }

  get valueText(): string {
    return valueText(this.label.name, this.value, this.#decimals)
  }

  get stale(): boolean {
    return hubNow() - this.#heard > this.#cadence.limit
  }

  /** Whether the topic or a tag contains one of `names`, which have the form of {@link levelsOf}. */
  bears(names: readonly string[]): boolean {
    const topic = this.topic || (this.info.tags.topic ?? '')
    if (this.#named.topic !== topic) {
      this.#named = { topic, texts: [topic, ...Object.values(this.info.tags)].map(levelsOf) }
    }
    return names.some(name => this.#named.texts.some(text => text.includes(name)))
  }

  matches(words: readonly string[]): boolean {
    return words.every(word => this.#haystack.includes(word))
  }

  /**
   * Takes a reading.
   * @param heard Time of reception by the hub: the device of a delayed reading is not silent, though the reading is
   * old.
   * @param steady Whether the time since the last value is an interval of the device, not a gap of this page.
   */
  take(time: number, value: Value, quality: Quality | undefined, heard: number, steady: boolean): void {
    if (steady && this.time > 0) this.#cadence.learn(time - this.time)
    this.time = time
    this.#heard = Math.max(time, heard)
    this.value = value
    if (quality !== undefined) this.quality = quality
    if (typeof value === 'number') this.#decimals = Math.max(this.#decimals, decimalsOf(value))
    if (typeof value !== 'string') this.spark?.add(time, Number(value))
  }

  seed(times: readonly number[], values: readonly Value[]): void {
    this.spark?.seed(times, values.map(Number))
    // Windows that hold several readings hide their intervals: then the cadence is learned from live readings only.
    if (times.length > sparkPoints * 0.9) return
    for (let i = 1; i < times.length; i++) this.#cadence.learn((times[i] as number) - (times[i - 1] as number))
  }

  /** Writes to the DOM only what has changed. */
  paint(now: number): void {
    const { anchor } = this
    const text = this.valueText
    if (this.#value.textContent !== text) this.#value.textContent = text
    mark(anchor, 'length', lengthOf(text.length + this.#unitText.length * 0.6))
    const raw = String(this.value)
    if (this.#value.dataset.value !== raw) this.#value.dataset.value = raw
    if (typeof this.value === 'boolean') mark(anchor, 'tone', stateOf(this.label.name, this.value).tone)
    const age = ageText(now - this.time)
    if (this.#age.textContent !== age) this.#age.textContent = age
    mark(anchor, 'stale', String(this.stale))
    const words = this.#mark
    mark(anchor, 'refused', String(this.refused !== undefined))
    if (this.#quality.hidden !== (words === undefined)) this.#quality.hidden = words === undefined
    if (!words) return
    const [word, why] = words
    if (this.#quality.textContent !== word) this.#quality.textContent = word
    if (this.#quality.title !== why) this.#quality.title = why
  }

  /** The word on the tile and what it means; undefined when the value is good and stored. */
  get #mark(): readonly [word: string, why: string] | undefined {
    if (this.refused) return ['not stored', this.doubt]
    return this.quality === undefined || this.quality === 'good' ? undefined : qualityWords[this.quality]
  }

  draw(now: number, ticked: boolean): void {
    if (!this.spark || (!ticked && now - this.#drawnAt < sparkEvery)) return
    this.#drawnAt = now
    const { line, area } = this.spark.paths(sparkWidth, sparkHeight, now)
    this.#line.setAttribute('d', line)
    this.#area.setAttribute('d', area)
  }

  /** Why the value is doubtful; empty when the value is good. */
  get doubt(): string {
    if (this.refused) return `Not stored (${this.refused.reason}): ${this.refused.detail}`
    return this.quality === undefined || this.quality === 'good' ? '' : (qualityWords[this.quality]?.[1] ?? '')
  }
}

class Group {
  readonly place: string
  readonly element: HTMLElement
  readonly #list: HTMLElement
  readonly #number: HTMLElement
  readonly #tiles: Tile[] = []

  constructor(place: string) {
    this.place = place
    this.element = clone('group-template')
    this.#list = part(this.element, '.tiles')
    this.#number = part(this.element, '.group-count')
    part(this.element, '.group-name').textContent = place || 'Other'
  }

  /** Whether this group comes after a place. Groups without a place come last. */
  after(place: string): boolean {
    return byPlace({ place }, this) < 0
  }

  add(tile: Tile): void {
    const at = this.#tiles.findIndex(other => byName(tile, other) < 0)
    if (at < 0) {
      this.#tiles.push(tile)
      this.#list.append(tile.element)
    } else {
      this.#list.insertBefore(tile.element, (this.#tiles[at] as Tile).element)
      this.#tiles.splice(at, 0, tile)
    }
  }

  remove(tile: Tile): void {
    const at = this.#tiles.indexOf(tile)
    if (at < 0) return
    this.#tiles.splice(at, 1)
    tile.element.remove()
  }

  count(): number {
    const shown = this.#tiles.filter(tile => tile.shown).length
    this.element.hidden = shown === 0
    const text = String(shown)
    if (this.#number.textContent !== text) this.#number.textContent = text
    return shown
  }
}

function byPlace(a: { readonly place: string }, b: { readonly place: string }): number {
  return Number(a.place === '') - Number(b.place === '') || order.compare(a.place, b.place)
}

function byName(a: Tile, b: Tile): number {
  return order.compare(a.label.device, b.label.device) || order.compare(a.label.name, b.label.name)
}

/** Returns a form in which names can be compared, as `a/b` and the device `a-b` mean the same. */
function levelsOf(text: string): string {
  return `-${text.toLowerCase().replaceAll(/[/_.:-]+/g, '-')}-`
}

function infoOf(last: LastValue): SeriesInfo {
  const type = typeof last.value === 'number' ? 'number' : typeof last.value === 'boolean' ? 'boolean' : 'text'
  const { series: key, measurement, tags, field } = last
  return { key, measurement, tags, field, type, ...(last.unit === undefined ? {} : { unit: last.unit }) }
}

/**
 * Returns the size class of a value: long numbers are set smaller, as a number that is cut off would be another one.
 */
export function lengthOf(characters: number): string {
  return characters > 11 ? 'longer' : characters > 7.5 ? 'long' : 'short'
}

function mark(element: HTMLElement, name: string, value: string): void {
  if (element.dataset[name] !== value) element.dataset[name] = value
}

function clone(id: string): HTMLElement {
  const template = document.getElementById(id) as HTMLTemplateElement
  return template.content.firstElementChild?.cloneNode(true) as HTMLElement
}

function part<T extends Element = HTMLElement>(element: Element, selector: string): T {
  return element.querySelector<T>(selector) as T
}
