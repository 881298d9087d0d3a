import { ApiError, hubNow, type OutletRow, pauseOutlet } from '../api.js'
import { element, Keyed, make, put } from '../nodes.js'
import { countText, spanText, stateText } from '../wording.js'
import { say } from './words.js'

/** Number cells of a row, in their order. */
const numbers = ['behind', 'delivered', 'filtered', 'refused', 'skipped', 'residual'] as const

/** The outlets: how far behind each is, what became of its messages, and why one fails. Hidden while there is none. */
export class OutletsPanel {
  readonly #root = element('outlets')
  readonly #note = element('outlets-note')
  readonly #rows: Keyed<OutletRow, HTMLElement>
  readonly #changed: () => void
  #mayChange = false

  /** @param changed Called after a change, to read the numbers again. */
  constructor(changed: () => void) {
    this.#changed = changed
    this.#rows = new Keyed(
      element('outlet-rows'),
      row => row.name,
      row => this.#make(row),
      (item, row) => this.#paint(item, row),
    )
  }

  set mayChange(may: boolean) {
    this.#mayChange = may
  }

  show(outlets: readonly OutletRow[]): void {
    this.#root.hidden = outlets.length === 0
    this.#rows.show(outlets)
  }

  #make({ name, target }: OutletRow): HTMLElement {
    const button = make('button', 'plain')
    button.type = 'button'
    button.addEventListener('click', () => void this.#pause(name, button.dataset.action === 'pause'))
    const row = make(
      'tr',
      '',
      make('th', '', make('span', 'outlet-name', name), make('span', 'outlet-target', target)),
      make('td', '', make('span', 'dot'), make('span', 'outlet-state')),
      ...numbers.map(number => {
        const cell = make('td', 'outlet-number')
        cell.dataset.column = number
        return cell
      }),
      make('td', '', button),
    )
    row.dataset.outlet = name
    ;(row.children[0] as HTMLElement).setAttribute('scope', 'row')
    return row
  }

  #paint(row: HTMLElement, { state, detail, since, oldest, balance, dead }: OutletRow): void {
    row.dataset.state = state
    const word = state === 'paused' ? say('outlet.paused') : stateText(state)
    const span = since === undefined ? word : say('dependency.for', { state: word, span: spanText(hubNow() - since) })
    put(row.querySelector('.outlet-state') as Element, detail ? say('outlet.why', { state: span, why: detail }) : span)
    for (const number of numbers) {
      const cell = row.querySelector<HTMLElement>(`[data-column="${number}"]`) as HTMLElement
      const count = number === 'skipped' ? balance.skipped + balance.lost : balance[number]
      cell.dataset.count = String(count)
      const waits = number === 'behind' && oldest !== undefined && count > 0
      if (waits) put(cell, say('outlet.behind', { count: countText(count), span: spanText(hubNow() - oldest) }))
      else if (number === 'refused' && dead.letters > 0)
        put(cell, say('outlet.dead', { count: countText(count), letters: countText(dead.letters) }))
      else put(cell, countText(count))
    }
    const button = row.querySelector('button') as HTMLButtonElement
    button.hidden = !this.#mayChange
    button.dataset.action = state === 'paused' ? 'resume' : 'pause'
    put(button, say(state === 'paused' ? 'outlet.resume' : 'outlet.pause'))
  }

  async #pause(outlet: string, paused: boolean): Promise<void> {
    try {
      await pauseOutlet(outlet, paused)
      put(this.#note, '')
    } catch (error) {
      const why = error instanceof ApiError ? error.message : say('no-answer')
      put(this.#note, say('outlet.failed', { outlet, why }))
    }
    this.#changed()
  }
}
