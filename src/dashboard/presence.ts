import type { DeviceRow } from '../contract/contract.js'
import { hubNow } from './api.js'
import type { Presence } from './feed.js'
import { arrange } from './nodes.js'
import type { Refusals } from './refusals.js'
import { locale, say } from './texts/language.js'
import { nameText, sinceText, spanText } from './wording.js'

interface Row {
  readonly element: HTMLElement
  readonly link: HTMLAnchorElement
  readonly since: HTMLElement
  readonly mark: HTMLElement
  readonly clientId: string
  /** Undefined for a client that was refused and never connected. */
  presence: Presence | undefined
}

/** Returns the address of a client's page. */
export const deviceAddress = (clientId: string) => `#${new URLSearchParams({ device: clientId })}`

const order = new Intl.Collator(locale, { numeric: true, sensitivity: 'base' })
/** Rows drawn at most; the filter reaches the others. */
const most = 300
/** Client ids of pages like this one, which are clients but no devices. */
const pages = /^dashboard-[0-9a-f]{16}$/

/**
 * The list of clients that are connected, were connected, or were refused. Offline devices first, as users look for
 * them.
 */
export class PresencePanel {
  readonly #list: HTMLElement
  readonly #count: HTMLElement
  readonly #note: HTMLElement
  readonly #rows = new Map<string, Row>()
  readonly #template: HTMLTemplateElement
  readonly #refusals: Refusals
  #words: readonly string[] = []
  #frame = 0
  #readable = true

  constructor(
    list: HTMLElement,
    count: HTMLElement,
    note: HTMLElement,
    template: HTMLTemplateElement,
    refusals: Refusals,
  ) {
    this.#list = list
    this.#count = count
    this.#note = note
    this.#template = template
    this.#refusals = refusals
  }

  /** Whether this page may read which clients are connected. */
  set readable(readable: boolean) {
    this.#readable = readable
    this.#later()
  }

  snapshot(devices: readonly DeviceRow[]): void {
    for (const device of devices) this.take(device)
    this.#later()
  }

  take(presence: Presence): void {
    if (pages.test(presence.clientId)) return
    const row = this.#row(presence.clientId)
    // A snapshot may be older than a push that came meanwhile.
    if (!row.presence || presence.since >= row.presence.since) row.presence = presence
    this.#later()
  }

  /** Called when the hub has refused a client, which gets a row even if never connected. */
  refused(clientId: string): void {
    if (pages.test(clientId)) return
    this.#row(clientId)
    this.#later()
  }

  /** Called when the hub has forgotten a client. */
  forget(clientId: string): void {
    if (this.#rows.delete(clientId)) this.#later()
  }

  link(clientId: string): HTMLAnchorElement | undefined {
    return this.#rows.get(clientId)?.link
  }

  filter(text: string): void {
    this.#words = text.toLowerCase().split(/\s+/).filter(Boolean)
    this.#later()
  }

  tick(): void {
    const now = hubNow()
    for (const row of this.#rows.values()) if (row.element.isConnected) this.#paint(row, now)
  }

  #row(clientId: string): Row {
    const known = this.#rows.get(clientId)
    if (known) return known
    const element = this.#template.content.firstElementChild?.cloneNode(true) as HTMLElement
    const part = (selector: string) => element.querySelector(selector) as HTMLElement
    element.dataset.client = clientId
    const link = part('a') as HTMLAnchorElement
    link.href = deviceAddress(clientId)
    part('.device-id').textContent = nameText(clientId)
    const row = {
      element,
      link,
      since: part('.device-since'),
      mark: part('.device-refused'),
      clientId,
      presence: undefined,
    }
    this.#rows.set(clientId, row)
    return row
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
      .filter(({ clientId, presence }) => {
        const text = `${clientId} ${presence?.user ?? ''}`.toLowerCase()
        return this.#words.every(word => text.includes(word))
      })
      .sort(
        (a, b) =>
          Number(a.presence?.online ?? false) - Number(b.presence?.online ?? false) ||
          order.compare(a.clientId, b.clientId),
      )
    const rows = matching.slice(0, most)
    for (const row of rows) this.#paint(row, now)
    arrange(
      this.#list,
      rows.map(row => row.element),
    )
    const present = all.filter(row => row.presence)
    const online = present.filter(row => row.presence?.online).length
    this.#count.textContent = present.length === 0 ? '' : say('clients.online', { online, count: present.length })
    this.#note.textContent =
      all.length === 0
        ? this.#readable
          ? say('clients.none')
          : say('clients.hidden')
        : matching.length === 0
          ? say('clients.no-match')
          : matching.length > most
            ? say('clients.more', { count: matching.length - most })
            : ''
  }

  #paint(row: Row, now: number): void {
    const { clientId, presence, mark } = row
    const { online = false, since = 0, user = '' } = presence ?? {}
    // A client without presence, such as one that only subscribes, may well be connected.
    const state = presence ? String(online) : 'unknown'
    if (row.element.dataset.online !== state) row.element.dataset.online = state
    const word = say(presence ? (online ? 'client.online' : 'client.offline') : 'client.refused')
    const text = since <= 0 ? word : say('client.for', { state: word, span: spanText(now - since) })
    if (row.since.textContent !== text) row.since.textContent = text
    const refused = this.#refusals.news(clientId, presence, now)
    if (mark.hidden !== !refused) mark.hidden = !refused
    const name = `${nameText(clientId)}${user ? ` (${nameText(user)})` : ''}`
    const lines = [
      since > 0
        ? say('client.title-since', { name, state: word, time: sinceText(since, now) })
        : say('client.title', { name, state: word }),
      ...(refused ? [say('client.title-refused', { action: refused.action, time: sinceText(refused.time, now) })] : []),
    ]
    const title = lines.join('\n')
    if (row.link.title !== title) row.link.title = title
  }
}
