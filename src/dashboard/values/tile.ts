import { hubNow, type Quality, type SeriesInfo, type Value } from '../api.js'
import type { LastReading, LastValue } from '../feed.js'
import { ageText } from '../home/format.js'
import { setData, write } from '../home/painted.js'
import { decimalsOf, type Label, nameText, stateOf, valueText } from '../wording.js'
import { Cadence, Spark, sparkPoints } from './spark.js'
import { say } from './words.js'

const sparkWidth = 200
const sparkHeight = 32
/** Shortest time between two drawings of a line. */
const sparkEvery = 250

/** The newest value of one series, and its course. Nothing of it is on the page. */
export class Tile {
  readonly info: SeriesInfo
  readonly spark: Spark | undefined
  readonly #cadence = new Cadence()
  #label: Label
  #haystack = ''
  #named: { readonly topic: string | undefined; readonly texts: readonly string[] } = { topic: undefined, texts: [] }
  #heard = 0
  decimals = 0
  unit: string
  /** Topic of the reading that is shown; empty when the reading came from the store. */
  topic = ''
  time = 0
  value: Value = ''
  quality: Quality | undefined
  /** Why the newest message was not stored, or this value of it. */
  refused: LastReading['refused']
  seeded = false
  /** Whether the filter lets it through. */
  shown = true

  constructor(info: SeriesInfo, label: Label) {
    this.info = info
    this.unit = info.unit ?? ''
    this.spark = info.type === 'text' ? undefined : new Spark(info.type === 'boolean')
    this.#label = label
    this.label = label
  }

  /** Address of the chart. */
  get href(): string {
    return `#${new URLSearchParams({ series: this.info.key, over: 'values' })}`
  }

  get label(): Label {
    return this.#label
  }

  set label(label: Label) {
    const { name, place, device } = label
    this.#label = label
    this.#haystack = `${this.info.key} ${place} ${device} ${name}`.toLowerCase()
  }

  get valueText(): string {
    const text = valueText(this.value, this.decimals)
    return typeof this.value === 'string' ? nameText(text) : text
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
    if (typeof value === 'number') this.decimals = Math.max(this.decimals, decimalsOf(value))
    if (typeof value !== 'string') this.spark?.add(time, Number(value))
  }

  seed(times: readonly number[], values: readonly Value[]): void {
    this.spark?.seed(times, values.map(Number))
    // Windows that hold several readings hide their intervals: then the cadence is learned from live readings only.
    if (times.length > sparkPoints * 0.9) return
    for (let i = 1; i < times.length; i++) this.#cadence.learn((times[i] as number) - (times[i - 1] as number))
  }

  /** The word on the tile and what it means; undefined when the value is good and stored. */
  get mark(): readonly [word: string, why: string] | undefined {
    if (this.refused) return [say('mark.unstored'), this.doubt]
    const { quality = 'good' } = this
    return quality === 'good' ? undefined : [say(`mark.${quality}`), say(`why.${quality}`)]
  }

  /** Why the value is doubtful; empty when the value is good. */
  get doubt(): string {
    const { refused, quality = 'good' } = this
    if (refused) return say('why.unstored', { reason: refused.reason, detail: refused.detail })
    return quality === 'good' ? '' : say(`why.${quality}`)
  }
}

/** The elements of a tile. They show one series after another, as those that leave the window are used again. */
export class TileView {
  readonly element: HTMLElement
  readonly anchor: HTMLAnchorElement
  readonly #name: HTMLElement
  readonly #device: HTMLElement
  readonly #value: HTMLElement
  readonly #unit: HTMLElement
  readonly #age: HTMLElement
  readonly #quality: HTMLElement
  readonly #line: SVGPathElement
  readonly #area: SVGPathElement
  #drawnAt = 0
  #tile: Tile | undefined
  #label: Label | undefined

  constructor(template: HTMLTemplateElement) {
    this.element = template.content.firstElementChild?.cloneNode(true) as HTMLElement
    this.anchor = part<HTMLAnchorElement>(this.element, '.tile')
    this.#name = part(this.element, '.tile-name')
    this.#device = part(this.element, '.tile-device')
    this.#value = part(this.element, '.tile-value')
    this.#unit = part(this.element, '.tile-unit')
    this.#age = part(this.element, '.tile-age')
    this.#quality = part(this.element, '.tile-quality')
    this.#line = part(this.element, '.line')
    this.#area = part(this.element, '.area')
  }

  get tile(): Tile | undefined {
    return this.#tile
  }

  /** Shows a series. */
  show(tile: Tile, isSelected: boolean, now: number): void {
    if (isSelected) this.anchor.setAttribute('aria-current', 'true')
    else this.anchor.removeAttribute('aria-current')
    if (tile !== this.#tile) {
      this.#tile = tile
      this.#label = undefined
      this.anchor.href = tile.href
      this.anchor.dataset.series = tile.info.key
      this.anchor.dataset.type = tile.info.type
      delete this.anchor.dataset.tone
      this.#drawnAt = 0
      this.#line.setAttribute('d', '')
      this.#area.setAttribute('d', '')
    }
    this.paint(now)
    this.draw(now, true)
  }

  /** Writes to the DOM only what has changed. */
  paint(now: number): void {
    const { anchor } = this
    const tile = this.#tile
    if (!tile) return
    if (tile.label !== this.#label) {
      this.#label = tile.label
      const { name, device } = tile.label
      write(this.#name, nameText(name))
      write(this.#device, nameText(device))
      anchor.title = nameText(tile.info.tags.topic ?? [name, device].filter(Boolean).join(', '))
    }
    const text = tile.valueText
    write(this.#value, text)
    write(this.#unit, tile.unit)
    setData(anchor, 'length', lengthOf(text.length + tile.unit.length * 0.6))
    setData(this.#value, 'value', String(tile.value))
    if (typeof tile.value === 'boolean') setData(anchor, 'tone', stateOf(tile.value).tone)
    write(this.#age, ageText(now - tile.time))
    setData(anchor, 'stale', String(tile.stale))
    setData(anchor, 'refused', String(tile.refused !== undefined))
    const words = tile.mark
    if (this.#quality.hidden !== (words === undefined)) this.#quality.hidden = words === undefined
    if (!words) return
    const [word, why] = words
    write(this.#quality, word)
    if (this.#quality.title !== why) this.#quality.title = why
  }

  draw(now: number, ticked: boolean): void {
    const tile = this.#tile
    if (!tile?.spark || (!ticked && now - this.#drawnAt < sparkEvery)) return
    this.#drawnAt = now
    const { line, area } = tile.spark.paths(sparkWidth, sparkHeight, now, { unit: tile.unit, decimals: tile.decimals })
    this.#line.setAttribute('d', line)
    this.#area.setAttribute('d', area)
  }
}

/** Returns a form in which names can be compared, as `a/b` and the device `a-b` mean the same. */
export function levelsOf(text: string): string {
  return `-${text.toLowerCase().replaceAll(/[/_.:-]+/g, '-')}-`
}

export function infoOf(last: LastValue): SeriesInfo {
  const type = typeof last.value === 'number' ? 'number' : typeof last.value === 'boolean' ? 'boolean' : 'text'
  const { series: key, measurement, tags, field } = last
  return { key, measurement, tags, field, type, ...(last.unit === undefined ? {} : { unit: last.unit }) }
}

/**
 * Returns the size class of a value: long numbers are set smaller, as a number that is cut off would be another one.
 */
function lengthOf(characters: number): string {
  return characters > 12.5 ? 'longest' : characters > 9 ? 'longer' : characters > 7.5 ? 'long' : 'short'
}

function part<T extends Element = HTMLElement>(element: Element, selector: string): T {
  return element.querySelector<T>(selector) as T
}
