import { type DeviceRow, hubNow } from './api.js'
import type { Presence } from './feed.js'
import { sinceText, spanText } from './wording.js'

interface Row {
  readonly element: HTMLElement
  readonly since: HTMLElement
  presence: Presence
}

const order = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' })
/** Rows drawn at most; the filter reaches the others. */
const most = 300
/** Pages like this one are clients too, but nobody's devices. */
const pages = /^dashboard-[0-9a-f]{16}$/

/** Who is connected. Offline devices first: they are what one looks for. */
export class PresencePanel {
  readonly #list: HTMLElement
  readonly #count: HTMLElement
  readonly #note: HTMLElement
  readonly #rows = new Map<string, Row>()
  readonly #template: HTMLTemplateElement
  #words: readonly string[] = []
  #frame = 0

  constructor(list: HTMLElement, count: HTMLElement, note: HTMLElement, template: HTMLTemplateElement) {
    this.#list = list
    this.#count = count
    this.#note = note
    this.#template = template
  }

  get size(): number {
    return this.#rows.size
  }

  snapshot(devices: readonly DeviceRow[]): void {
    for (const device of devices) this.take(device)
    this.#later()
  }

  take(presence: Presence): void {
    if (pages.test(presence.clientId)) return
    const row = this.#rows.get(presence.clientId)
    if (!row) this.#rows.set(presence.clientId, this.#make(presence))
    // A snapshot may be older than what was pushed meanwhile.
    else if (presence.since >= row.presence.since) row.presence = presence
    this.#later()
  }

  filter(text: string): void {
    this.#words = text.toLowerCase().split(/\s+/).filter(Boolean)
    this.#later()
  }

  tick(): void {
    const now = hubNow()
    for (const row of this.#rows.values()) if (row.element.isConnected) paint(row, now)
  }

  #make(presence: Presence): Row {
    const element = this.#template.content.firstElementChild?.cloneNode(true) as HTMLElement
    element.dataset.client = presence.clientId
    const id = element.querySelector<HTMLElement>('.device-id') as HTMLElement
    id.textContent = presence.clientId
    return { element, since: element.querySelector<HTMLElement>('.device-since') as HTMLElement, presence }
  }

  #later(): void {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0
      this.#draw()
    })
  }

  #draw(): void {
    const now = hubNow()
    const all = [...this.#rows.values()]
    const matching = all
      .filter(({ presence }) => {
        const text = `${presence.clientId} ${presence.user}`.toLowerCase()
        return this.#words.every(word => text.includes(word))
      })
      .sort(
        (a, b) =>
          Number(a.presence.online) - Number(b.presence.online) ||
          order.compare(a.presence.clientId, b.presence.clientId),
      )
    const rows = matching.slice(0, most)
    for (const row of rows) paint(row, now)
    const wanted = rows.map(row => row.element)
    if (
      wanted.length !== this.#list.children.length ||
      wanted.some((element, i) => this.#list.children[i] !== element)
    ) {
      this.#list.replaceChildren(...wanted)
    }
    const online = all.filter(row => row.presence.online).length
    this.#count.textContent = all.length === 0 ? '' : `${online} of ${all.length} online`
    this.#note.textContent =
      all.length === 0
        ? 'No device has connected yet.'
        : matching.length === 0
          ? 'No device matches.'
          : matching.length > most
            ? `and ${matching.length - most} more: filter to see them`
            : ''
  }
}

function paint(row: Row, now: number): void {
  const { online, since, user, clientId } = row.presence
  const state = String(online)
  if (row.element.dataset.online !== state) row.element.dataset.online = state
  const text =
    since <= 0
      ? online
        ? 'online'
        : 'offline'
      : online
        ? `for ${spanText(now - since)}`
        : `off for ${spanText(now - since)}`
  if (row.since.textContent !== text) row.since.textContent = text
  const title = `${clientId}${user ? ` (${user})` : ''}: ${online ? 'online' : 'offline'} since ${sinceText(since, now)}`
  if (row.element.title !== title) row.element.title = title
}
