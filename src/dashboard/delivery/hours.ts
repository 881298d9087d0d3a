import { type Balance, type DeviceHourRow, type HourRow, hubNow } from '../api.js'
import { element, Keyed, make, put } from '../nodes.js'
import { countText, hourText } from '../wording.js'
import { receivedOf } from './verdict.js'
import { say, sayCount } from './words.js'

const hourLength = 3_600_000
/** Rows drawn at first, and at most after a click on the button for more; the filter reaches the others. */
const few = 12
const most = 300

type Numbers = Pick<HourRow, 'received' | 'stored' | 'waiting' | 'dead' | 'dropped' | 'refused' | 'residual'>

const columns = ['received', 'stored', 'waiting', 'dead', 'dropped', 'refused', 'residual'] as const

/** The layers of a column, from the bottom up. */
const layers = ['stored', 'waiting', 'dropped', 'dead', 'refused'] as const

const order = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' })

/** The last hours as columns, and below them the messages of each device by hour. */
export class Hours {
  readonly #length: number
  readonly #filterBy: (device: string) => void
  readonly #host = element('hours')
  readonly #words = element('hour-words')
  readonly #bars: Keyed<HourRow, HTMLButtonElement>
  readonly #rows: Keyed<DeviceHourRow, HTMLElement>
  readonly #hourButton = element('rows-hour')
  readonly #more = element('rows-more')
  #balance: Balance | undefined
  #hours: readonly HourRow[] = []
  #highest = 1
  #hour: number | undefined
  #text = ''
  #all = false
  #matching = 0

  /** @param filterBy Called with the device whose name was clicked. */
  constructor(length: number, filterBy: (device: string) => void) {
    this.#length = length
    this.#filterBy = filterBy
    const plot = make('div', 'hour-bars')
    this.#host.append(make('span', 'hour-most'), plot, make('div', 'hour-axis'))
    this.#bars = new Keyed(
      plot,
      row => String(row.hour),
      row => this.#makeBar(row.hour),
      (bar, row) => this.#paintBar(bar, row),
    )
    plot.addEventListener('keydown', event => this.#move(event))
    plot.addEventListener('pointerleave', () => this.#say(undefined))
    const head = make('div', 'row row-head')
    head.role = 'row'
    for (const text of [say('rows.hour'), say('rows.device'), ...columns.map(name => say(`column.${name}`))]) {
      const cell = make('span', '', text)
      cell.role = 'columnheader'
      head.append(cell)
    }
    const body = make('div', 'row-body')
    body.role = 'rowgroup'
    const table = element('rows')
    table.role = 'table'
    table.setAttribute('aria-labelledby', 'rows-title')
    table.append(head, body)
    this.#rows = new Keyed(
      body,
      row => `${row.hour} ${row.clientId}`,
      row => this.#makeRow(row),
      (made, row) => paintRow(made, row),
    )
    this.#hourButton.addEventListener('click', () => this.#choose(undefined))
    this.#more.addEventListener('click', () => {
      this.#all = !this.#all
      this.#draw()
    })
  }

  /** Number of rows that match the filter. */
  get matching(): number {
    return this.#matching
  }

  filter(text: string): void {
    this.#text = text.toLowerCase()
    this.#draw()
  }

  show(balance: Balance): void {
    this.#balance = balance
    this.#draw()
  }

  #choose(hour: number | undefined): void {
    this.#hour = hour
    this.#draw()
  }

  #draw(): void {
    if (!this.#balance) return
    this.#drawHours(this.#balance)
    this.#drawRows(this.#balance)
  }

  #drawHours(balance: Balance): void {
    const known = new Map(balance.hours.map(row => [row.hour, row]))
    const newest = Math.max(Math.floor(hubNow() / hourLength) * hourLength, balance.hours[0]?.hour ?? 0)
    this.#hours = Array.from({ length: this.#length }, (_, i) => {
      const hour = newest - (this.#length - 1 - i) * hourLength
      return (
        known.get(hour) ?? {
          hour,
          received: 0,
          stored: 0,
          dead: 0,
          dropped: 0,
          refused: 0,
          partly: 0,
          ignored: 0,
          waiting: 0,
          residual: 0,
        }
      )
    })
    if (this.#hour !== undefined && !this.#hours.some(row => row.hour === this.#hour)) this.#hour = undefined
    this.#highest = Math.max(1, ...this.#hours.map(receivedOf))
    this.#bars.show(this.#hours)
    const [mostText, , axis] = this.#host.children
    if (mostText) put(mostText, say('hours.most', { count: countText(this.#highest) }))
    const marks = this.#hours.filter((_, i) => i % 6 === 0).map(row => hourText(row.hour, row.hour))
    if (axis && axis.textContent !== marks.join('')) axis.replaceChildren(...marks.map(text => make('span', '', text)))
    const at = this.#hours.findIndex(row => row.hour === this.#hour)
    const stop = at < 0 ? this.#hours.length - 1 : at
    if (!this.#host.contains(document.activeElement)) {
      this.#buttons().forEach((button, i) => {
        button.tabIndex = i === stop ? 0 : -1
      })
    }
    this.#say(this.#hours[at])
  }

  #buttons(): HTMLButtonElement[] {
    return [...this.#host.querySelectorAll('button')]
  }

  #makeBar(hour: number): HTMLButtonElement {
    const bar = make('button', 'hour-bar')
    bar.type = 'button'
    bar.tabIndex = -1
    bar.dataset.hour = String(hour)
    const stack = make('span', 'hour-stack')
    for (const name of layers) {
      const layer = make('span', 'segment')
      layer.dataset.part = name
      stack.prepend(layer)
    }
    bar.append(stack)
    const row = () => this.#hours.find(row => row.hour === hour)
    bar.addEventListener('click', () => this.#choose(this.#hour === hour ? undefined : hour))
    bar.addEventListener('pointerenter', () => this.#say(row()))
    bar.addEventListener('focus', () => this.#say(row()))
    bar.addEventListener('blur', () => this.#say(undefined))
    return bar
  }

  #paintBar(bar: HTMLButtonElement, row: HourRow): void {
    const pressed = String(row.hour === this.#hour)
    if (bar.getAttribute('aria-pressed') !== pressed) bar.setAttribute('aria-pressed', pressed)
    const label = hourWords(row)
    if (bar.getAttribute('aria-label') !== label) bar.setAttribute('aria-label', label)
    bar.dataset.residual = String(row.residual !== 0)
    const stack = bar.firstElementChild as HTMLElement
    stack.style.height = `${(receivedOf(row) / this.#highest) * 100}%`
    for (const layer of stack.children as Iterable<HTMLElement> & HTMLCollection) {
      const count = row[(layer as HTMLElement).dataset.part as (typeof layers)[number]]
      ;(layer as HTMLElement).style.flexGrow = String(count)
      ;(layer as HTMLElement).hidden = count === 0
    }
  }

  #move(event: KeyboardEvent): void {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
    const buttons = this.#buttons()
    const at = buttons.indexOf(document.activeElement as HTMLButtonElement)
    const next = step === undefined ? undefined : buttons[at + step]
    if (!next) return
    event.preventDefault()
    for (const button of buttons) button.tabIndex = button === next ? 0 : -1
    next.focus()
  }

  /** Shows the counts of the hour under the pointer, or else of the chosen hour. */
  #say(row: HourRow | undefined): void {
    const chosen = row ?? this.#hours.find(({ hour }) => hour === this.#hour)
    put(this.#words, chosen ? hourWords(chosen) : say('hours.choose'))
  }

  #drawRows({ devices }: Balance): void {
    const matching = devices.filter(
      ({ hour, clientId }) =>
        (this.#hour === undefined || hour === this.#hour) && clientId.toLowerCase().includes(this.#text),
    )
    matching.sort((a, b) => trouble(b) - trouble(a) || b.hour - a.hour || order.compare(a.clientId, b.clientId))
    this.#matching = matching.length
    const rows = matching.slice(0, this.#all ? most : few)
    this.#rows.show(rows)
    element('rows').hidden = rows.length === 0
    this.#more.hidden = matching.length <= few
    const count = countText(matching.length)
    const all = matching.length > most ? say('rows.some', { some: most, count }) : say('rows.all', { count })
    put(this.#more, this.#all ? say('rows.fewer') : all)
    this.#hourButton.hidden = this.#hour === undefined
    if (this.#hour !== undefined) {
      put(this.#hourButton, say('rows.only-hour', { hour: hourText(this.#hour, hubNow()) }))
    }
    const odd = matching.filter(row => trouble(row) > 1).length
    const none = say(this.#text ? 'rows.no-match' : 'rows.none')
    const some = odd > 0 ? sayCount('rows.trouble', odd) : say('rows.well')
    put(element('rows-count'), matching.length === 0 ? none : some)
  }

  #makeRow({ clientId, hour }: DeviceHourRow): HTMLElement {
    const made = make('div', 'row')
    made.role = 'row'
    made.dataset.client = clientId
    made.dataset.hour = String(hour)
    const device = make('button', 'row-device', clientId)
    device.type = 'button'
    device.title = say('rows.only', { device: clientId })
    device.addEventListener('click', () => this.#filterBy(clientId))
    const cells = [make('span', 'row-hour'), make('span', 'row-name', device)]
    for (const name of columns) {
      const cell = make('span', 'row-number')
      cell.dataset.column = name
      cell.dataset.label = say(`column.${name}`)
      cells.push(cell)
    }
    for (const cell of cells) cell.role = 'cell'
    made.append(...cells)
    return made
  }
}

function paintRow(made: HTMLElement, row: DeviceHourRow): void {
  made.dataset.trouble = String(trouble(row))
  put(made.children[0] as Element, hourText(row.hour, hubNow()))
  columns.forEach((name, i) => {
    const cell = made.children[i + 2] as HTMLElement
    const count = name === 'received' ? receivedOf(row) : row[name]
    cell.dataset.count = String(count)
    put(cell, countText(count))
  })
}

/** Ranks rows by urgency: not accounted for, then rejected or refused, then waiting. */
function trouble({ residual, dead, refused, waiting }: Numbers): number {
  return residual !== 0 ? 3 : dead + refused > 0 ? 2 : waiting > 0 ? 1 : 0
}

function hourWords(row: HourRow): string {
  const rest = columns.slice(1).filter(name => row[name] !== 0)
  const counted = (name: (typeof columns)[number], count: number) =>
    say('hours.part', { name: say(`part.${name}`), count: countText(count) })
  const counts = [counted('received', receivedOf(row)), ...rest.map(name => counted(name, row[name]))].join(say('and'))
  const end = row.hour + hourLength
  return say('hours.words', { from: hourText(row.hour, hubNow()), to: hourText(end, end), counts })
}
