import { setData, write } from '../home/painted.js'
import { make } from '../nodes.js'
import { momentText } from '../wording.js'
import { colourOf, type Drawn } from './line.js'
import type { Span } from './span.js'
import { type Bar, barsOf, type States } from './states.js'
import { type Subject, stateOf } from './subject.js'
import { say } from './words.js'

/** Narrowest bar that can be seen, in pixels. */
const leastPixels = 4
/** Room for a letter and beside a word, and room that is enough for the beginning of any word, in pixels. */
const letterPixels = 7.5
const besidePixels = 13
const enoughPixels = 64
const textColours = 6

/** The states of booleans and texts: a lane for each series, in which bars with colour and word follow each other. */
export class Lanes {
  readonly #host: HTMLElement
  readonly #lanes = new Map<string, HTMLElement>()

  constructor(host: HTMLElement) {
    this.#host = host
  }

  /** @param width Of the bars, in pixels. */
  draw(drawn: readonly Drawn[], span: Span, now: number, width: number): void {
    const shown = drawn.filter(({ states, isShown }) => states && isShown)
    const keys = new Set(shown.map(({ subject }) => subject.key))
    for (const [key, lane] of this.#lanes) {
      if (keys.has(key)) continue
      lane.remove()
      this.#lanes.delete(key)
    }
    for (const one of shown) {
      const { key } = one.subject
      let lane = this.#lanes.get(key)
      if (!lane) {
        lane = make('div', 'lane', laneHead(one), bars('now'), bars('earlier'))
        this.#lanes.set(key, lane)
      }
      if (lane.parentElement !== this.#host) this.#host.append(lane)
      this.#paint(lane, one, span, now, width)
    }
    this.#host.hidden = shown.length === 0
  }

  #paint(lane: HTMLElement, { subject, states, earlierStates }: Drawn, span: Span, now: number, width: number): void {
    const [, today, before] = lane.children as unknown as [HTMLElement, HTMLElement, HTMLElement]
    if (states) paintBars(today, subject, states, { span, now, width })
    before.hidden = earlierStates === undefined
    if (earlierStates) paintBars(before, subject, earlierStates, { span, now: span.to, width })
  }
}

function laneHead({ subject, place }: Drawn): HTMLElement {
  const swatch = make('span', 'lane-swatch')
  swatch.style.background = `var(${colourOf(place)})`
  const head = make('p', 'lane-head', swatch, make('bdi', 'lane-name', subject.name))
  if (subject.device !== '') head.append(make('bdi', 'lane-device', subject.device))
  return head
}

function bars(kind: string): HTMLElement {
  const made = make('div', 'lane-bars')
  made.role = 'img'
  made.dataset.kind = kind
  return made
}

interface Room {
  readonly span: Span
  readonly now: number
  readonly width: number
}

function paintBars(host: HTMLElement, subject: Subject, states: States, { span, now, width }: Room): void {
  const length = span.to - span.from
  const perPixel = length / Math.max(1, width)
  const stretches = states.within(span, now)
  const wanted = barsOf(stretches, leastPixels * perPixel)
  const colours = coloursOf(wanted.flatMap(({ value }) => (value === undefined ? [] : [String(value)])))
  while (host.children.length > wanted.length) host.lastElementChild?.remove()
  wanted.forEach((bar, i) => {
    let made = host.children[i] as HTMLElement | undefined
    if (!made) {
      made = make('span', 'lane-bar', make('bdi'))
      host.append(made)
    }
    const left = ((bar.from - span.from) / length) * 100
    const share = Math.max((leastPixels * perPixel) / length, (bar.to - bar.from) / length) * 100
    made.style.left = `${left.toFixed(3)}%`
    made.style.width = `${Math.min(share, 100 - left).toFixed(3)}%`
    const { word, tone, colour } = lookOf(subject, bar, colours)
    setData(made, 'tone', tone)
    setData(made, 'colour', colour)
    const needed = Math.min(enoughPixels, word.length * letterPixels + besidePixels)
    const hasRoom = (bar.to - bar.from) / perPixel >= needed
    write(made.firstElementChild as HTMLElement, hasRoom ? word : '')
    const title = `${word}, ${say('states.until', { from: momentText(bar.from, now), to: momentText(bar.to, now) })}`
    if (made.title !== title) made.title = title
  })
  const spoken = stretches
    .slice(-4)
    .map(({ value, from }) => `${stateOf(subject, value).text} ${momentText(from, now)}`)
  const label = [subject.name, ...spoken].join(', ')
  if (host.ariaLabel !== label) host.ariaLabel = label
}

function lookOf(
  subject: Subject,
  { value, changes }: Bar,
  colours: ReadonlyMap<string, number>,
): { word: string; tone: string; colour: string } {
  if (value === undefined) return { word: say('state.several', { count: changes }), tone: 'several', colour: '' }
  const { text, tone } = stateOf(subject, value)
  return { word: text, tone: subject.type === 'text' ? 'text' : tone, colour: String(colours.get(String(value)) ?? 1) }
}

/** Returns a colour for each text: as far as there are enough of them another one, and the same one each time. */
export function coloursOf(texts: readonly string[]): ReadonlyMap<string, number> {
  const colours = new Map<string, number>()
  for (const text of [...new Set(texts)].sort()) {
    let sum = 0
    for (const character of text) sum = (sum * 31 + (character.codePointAt(0) ?? 0)) % 9_973
    const taken = new Set(colours.size < textColours ? colours.values() : [])
    while (taken.has((sum % textColours) + 1)) sum++
    colours.set(text, (sum % textColours) + 1)
  }
  return colours
}
