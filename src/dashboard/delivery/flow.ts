import type { Balance } from '../api.js'
import { make, put } from '../nodes.js'
import { countText } from '../wording.js'
import { parts } from './parts.js'
import { say } from './words.js'

/** All messages as one bar, and below that bar, enlarged, those that are not stored. */
export class Flow {
  readonly #all = make('div', 'flow-bar')
  readonly #rest = make('div', 'flow-rest')
  readonly #wedge = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  readonly #between = make('div', 'flow-between')
  readonly #caption = make('span', 'flow-caption')
  readonly #large = make('div', 'flow-bar flow-large')
  #shown = ''

  constructor(host: HTMLElement) {
    this.#wedge.setAttribute('class', 'flow-wedge')
    this.#wedge.setAttribute('viewBox', '0 0 1000 30')
    this.#wedge.setAttribute('preserveAspectRatio', 'none')
    this.#wedge.append(document.createElementNS('http://www.w3.org/2000/svg', 'path'))
    this.#between.append(this.#wedge, this.#caption)
    host.append(this.#all, this.#between, this.#large)
  }

  show(balance: Balance): void {
    const missing = Math.max(0, balance.residual)
    const kept = parts.slice(1).map(name => ({ name, text: say(`part.${name}`), count: balance[name] }))
    const lost = { name: 'residual', text: say('part.residual'), count: missing }
    const rest = [...kept, lost].filter(({ count }) => count > 0)
    const shown = JSON.stringify([balance.stored, rest])
    if (shown === this.#shown) return
    this.#shown = shown
    const left = rest.reduce((sum, { count }) => sum + count, 0)
    const segment = ({ name, text, count }: { name: string; text: string; count: number }, labelled: boolean) => {
      const made = make('div', 'segment')
      made.dataset.part = name
      made.style.flexGrow = String(count)
      if (labelled) made.append(make('span', '', `${text} ${countText(count)}`))
      return made
    }
    const stored = segment({ name: 'stored', text: say('part.stored'), count: balance.stored }, true)
    this.#rest.style.flexGrow = String(left)
    this.#rest.replaceChildren(...rest.map(row => segment(row, false)))
    this.#all.replaceChildren(...(balance.stored > 0 ? [stored] : []), ...(left > 0 ? [this.#rest] : []))
    this.#large.replaceChildren(...rest.map(row => segment(row, true)))
    this.#large.hidden = left === 0
    this.#between.hidden = left === 0
    put(this.#caption, say('flow.not-stored', { count: countText(left) }))
    this.join()
  }

  /** Draws the connection between the two bars, which depends on the width of the page. */
  join(): void {
    const whole = this.#all.getBoundingClientRect()
    if (this.#large.hidden || whole.width === 0) return
    const part = this.#rest.getBoundingClientRect()
    const at = (x: number) => (((x - whole.left) / whole.width) * 1000).toFixed(1)
    this.#wedge.firstElementChild?.setAttribute('d', `M${at(part.left)} 0H${at(part.right)}L1000 30H0Z`)
  }
}
