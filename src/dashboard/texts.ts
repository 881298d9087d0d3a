import type { HistoryColumns } from '@telehub/client'
import { hubNow, type Value } from './api.js'
import type { Figure, Plot, Span } from './plot.js'
import { momentText, spanText } from './wording.js'

interface Entry {
  readonly time: number
  readonly text: string
}

const most = 500

/** The recent values of a text, newest first; a repeated value is not a new line. */
export class TextList implements Plot {
  readonly #host: HTMLElement
  readonly #list = document.createElement('ol')
  #entries: Entry[] = []
  #drawn: readonly Entry[] = []

  constructor(host: HTMLElement) {
    this.#host = host
    this.#list.className = 'texts'
    host.append(this.#list)
  }

  get points(): number {
    return this.#entries.length
  }

  get figures(): readonly Figure[] {
    if (this.#entries.length === 0) return []
    return [
      { name: 'changes', text: String(this.#entries.length - 1) },
      { name: 'different', text: String(new Set(this.#entries.map(entry => entry.text)).size) },
    ]
  }

  set(past: HistoryColumns): void {
    this.#entries = []
    past.times.forEach((time, i) => {
      this.push(time, past.values[i] ?? '')
    })
  }

  push(time: number, value: Value): void {
    const text = String(value)
    const newest = this.#entries.at(-1)
    if (newest && (newest.text === text || time < newest.time)) return
    this.#entries.push({ time, text })
    if (this.#entries.length > most) this.#entries = this.#entries.slice(-most)
  }

  draw(span: Span): void {
    const now = hubNow()
    const entries = this.#entries
    if (entries.length !== this.#drawn.length || entries.some((entry, i) => entry !== this.#drawn[i])) {
      this.#drawn = [...entries]
      this.#list.replaceChildren(...entries.map(row).reverse())
    }
    entries.forEach((entry, i) => {
      const end = entries[i + 1]?.time ?? Math.min(span.to, now)
      const lasted = this.#list.children[entries.length - 1 - i]?.lastElementChild
      const text = `for ${spanText(end - entry.time)}`
      if (lasted && lasted.textContent !== text) lasted.textContent = text
      const moment = momentText(entry.time, now)
      const time = this.#list.children[entries.length - 1 - i]?.firstElementChild
      if (time && time.textContent !== moment) time.textContent = moment
    })
  }

  destroy(): void {
    this.#host.replaceChildren()
  }
}

function row(entry: Entry): HTMLElement {
  const item = document.createElement('li')
  const time = document.createElement('time')
  time.dateTime = new Date(entry.time).toISOString()
  const text = document.createElement('span')
  text.textContent = entry.text
  const lasted = document.createElement('span')
  lasted.className = 'lasted'
  item.append(time, text, lasted)
  return item
}
