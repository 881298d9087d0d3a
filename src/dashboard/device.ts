import type { DeviceRow } from '../contract/contract.js'
import { AlertsCard } from './alerts-card.js'
import { ApiError, fetchDevices, hubNow, removeDevice } from './api.js'
import { CommandsCard } from './commands-card.js'
import type { Presence } from './feed.js'
import { element, Keyed, make, put } from './nodes.js'
import { Poll } from './poll.js'
import { type Refusals, type Refused, remedyOf } from './refusals.js'
import type { Board } from './values/board.js'
import type { Tile } from './values/tile.js'
import { ageText, countText, momentText, nameText, sinceText, spanText } from './wording.js'

const pollEvery = 10_000
const mostReadings = 60

/** Says by how much a clock is wrong, and where; empty when none is. */
function clockText({ clockError = 0, clockTopic = '' }: DeviceRow): string {
  if (clockError === 0) return ''
  const side = clockError < 0 ? 'behind' : 'ahead'
  return `${spanText(Math.abs(clockError))} ${side}, in ${nameText(clockTopic)}; the time of reception is used`
}

const actionWords: Readonly<Record<Refused['action'], string>> = {
  connect: 'connect',
  publish: 'publish',
  subscribe: 'subscribe',
  receive: 'receive',
}

/** Beginning of the keys of series that hold the history of alerts. */
const ofAlerts = 'telehub_alerts,'

/** The page of one client: presence, readings, and what the hub refused that client. */
export class DevicePage {
  readonly #root = element('device')
  readonly #name = element('device-name')
  readonly #board: Pick<Board, 'named'>
  readonly #refusals: Refusals
  readonly #rows = new Map<string, DeviceRow>()
  readonly #presences = new Map<string, Presence>()
  readonly #facts: Keyed<{ readonly name: string; readonly text: string }, HTMLElement>
  readonly #list: Keyed<Refused, HTMLElement>
  readonly #readings: Keyed<Tile, HTMLElement>
  readonly #found: (rows: readonly DeviceRow[]) => void
  readonly #removed: (clientId: string) => void
  readonly #remove = element<HTMLButtonElement>('device-remove')
  readonly #alerts = new AlertsCard()
  readonly #commands = new CommandsCard()
  /** Why the device could not be removed. */
  #trouble = ''
  #clientId: string | undefined
  readonly #poll: Poll<readonly DeviceRow[]>
  #known = false
  /** Whether this hub has users. */
  users = false
  /** Whether this page may read which clients are connected. */
  presenceReadable = true
  /** Whether this page may read refusals. */
  refusalsReadable = true

  /** Whether this page may remove devices. */
  mayChange = false

  /**
   * @param found Called with the devices that the hub reports.
   * @param removed Called when the client whose page is shown has been removed.
   */
  constructor(
    board: Pick<Board, 'named'>,
    refusals: Refusals,
    found: (rows: readonly DeviceRow[]) => void,
    removed: (clientId: string) => void,
  ) {
    this.#board = board
    this.#refusals = refusals
    this.#found = found
    this.#removed = removed
    const dialog = element<HTMLDialogElement>('device-removal')
    this.#remove.addEventListener('click', () => dialog.showModal())
    dialog.addEventListener('close', () => {
      if (dialog.returnValue === 'remove') void this.#removeShown()
      dialog.returnValue = ''
    })
    this.#facts = new Keyed(
      element('device-facts'),
      fact => fact.name,
      ({ name }) => make('div', '', make('dt', '', name), make('dd')),
      (made, { text }) => put(made.lastElementChild as Element, text),
    )
    this.#list = new Keyed(
      element('refusals'),
      ({ action, topic, reason }) => JSON.stringify([action, topic, reason]),
      refused => this.#makeRefusal(refused),
      (made, { time, times }) => {
        const now = hubNow()
        const often = times > 1 ? ` · ${countText(times)} times` : ''
        put(made.querySelector('.refusal-when') as Element, `${momentText(time, now)} · ${ageText(now - time)}${often}`)
      },
    )
    this.#readings = new Keyed(
      element('device-readings'),
      tile => tile.info.key,
      tile => {
        const link = make('a', 'device-reading')
        link.href = tile.href
        link.append(
          make('span', 'reading-name', make('span'), ' ', make('span', 'hint')),
          make('span', 'reading-value'),
          make('span', 'reading-unit'),
          make('span', 'reading-age'),
        )
        return make('li', '', link)
      },
      (made, tile) => {
        const [name, value, unit, age] = made.firstElementChild?.children ?? []
        const { place, name: field } = tile.label
        if (name?.firstElementChild) put(name.firstElementChild, field)
        if (name?.lastElementChild) put(name.lastElementChild, place)
        if (value) put(value, tile.valueText)
        if (unit) put(unit, tile.unit)
        if (age) put(age, tile.time > 0 ? ageText(hubNow() - tile.time) : '')
        made.dataset.stale = String(tile.stale)
      },
    )
    this.#poll = new Poll({
      isShown: () => this.shown,
      ask: fetchDevices,
      answered: rows => {
        if (!(rows instanceof Error)) this.#found(rows)
        const forbidden = rows instanceof ApiError && rows.status === 403
        const hidden = forbidden ? `Some details are hidden: ${rows.message}` : ''
        put(element('device-note'), [this.#trouble, hidden].filter(Boolean).join(' '))
        this.#draw()
        return forbidden ? undefined : pollEvery
      },
    })
  }

  get shown(): boolean {
    return !this.#root.hidden
  }

  /** Shows the page of a client. `focus`: the user came here by a link. */
  show(clientId: string, focus: boolean): void {
    const other = this.#clientId !== clientId
    this.#clientId = clientId
    this.#root.hidden = false
    if (!other) return
    this.#trouble = ''
    put(this.#name, nameText(clientId))
    this.#root.dataset.client = clientId
    this.#alerts.show(clientId)
    this.#commands.show(clientId)
    this.#draw()
    if (focus) this.#name.focus({ preventScroll: true })
    void this.#poll.ask()
  }

  hide(): void {
    this.#root.hidden = true
    this.#clientId = undefined
    this.#alerts.show(undefined)
    this.#commands.show(undefined)
    this.#poll.stop()
  }

  /** Takes the complete list of the hub. */
  snapshot(rows: readonly DeviceRow[]): void {
    this.#known = true
    for (const row of rows) {
      this.#rows.set(row.clientId, row)
      this.presence(row)
    }
  }

  presence(presence: Presence): void {
    const before = this.#presences.get(presence.clientId)
    // A snapshot may be older than a push that came meanwhile.
    if (!before || presence.since >= before.since) this.#presences.set(presence.clientId, presence)
    if (presence.clientId === this.#clientId) this.#draw()
  }

  /** Called when the hub has forgotten a client. */
  forget(clientId: string): void {
    this.#rows.delete(clientId)
    this.#presences.delete(clientId)
    if (clientId === this.#clientId) this.#draw()
  }

  async #removeShown(): Promise<void> {
    const clientId = this.#clientId
    if (clientId === undefined) return
    this.#remove.disabled = true
    try {
      await removeDevice({ clientId, user: this.#presences.get(clientId)?.user ?? '' })
      this.forget(clientId)
      this.#removed(clientId)
    } catch (error) {
      this.#trouble = `The device was not removed: ${error instanceof Error ? error.message : String(error)}.`
      put(element('device-note'), this.#trouble)
    } finally {
      this.#remove.disabled = false
    }
  }

  /** Called when the hub has refused this client again. */
  refused(clientId: string): void {
    if (clientId === this.#clientId) this.#draw()
  }

  /** Called once a second: updates ages and values. */
  tick(): void {
    if (this.shown) this.#draw()
  }

  #draw(): void {
    const clientId = this.#clientId
    if (clientId === undefined) return
    const now = hubNow()
    const presence = this.#presences.get(clientId)
    const row = this.#rows.get(clientId)
    const refusals = this.#refusals.of(clientId)
    this.#root.dataset.online = presence ? String(presence.online) : 'unknown'
    this.#remove.hidden = !this.mayChange || presence === undefined || presence.online
    put(element('device-state'), this.#stateText(presence, refusals.length > 0, now))
    const user = presence?.user || refusals[0]?.user || ''
    const facts = [
      { name: 'User', text: nameText(user) },
      { name: 'Messages', text: row ? countText(row.messages) : '' },
      { name: 'Last seen', text: row && row.lastSeen > 0 ? momentText(row.lastSeen, now) : '' },
      { name: 'Clock', text: row ? clockText(row) : '' },
    ]
    this.#facts.show(facts.filter(({ text }) => text !== ''))
    this.#list.show(refusals)
    const none = this.refusalsReadable
      ? 'Nothing was refused.'
      : 'Refusals are hidden: your user may not read $hub/why/+.'
    put(element('refusals-note'), refusals.length > 0 ? '' : none)
    // The name of a user with several devices says nothing about this device.
    const isShared = [...this.#presences.values()].some(other => other.user === user && other.clientId !== clientId)
    // Alerts about the device name it, too, and are no values from it.
    const named = this.#board.named(clientId, isShared ? '' : user)
    const tiles = named.filter(({ info }) => !info.key.startsWith(ofAlerts))
    this.#readings.show(tiles.slice(0, mostReadings))
    element('device-readings-card').hidden = tiles.length === 0
    put(element('device-readings-count'), tiles.length > mostReadings ? `${mostReadings} of ${tiles.length}` : '')
  }

  #stateText(presence: Presence | undefined, refused: boolean, now: number): string {
    if (presence) {
      const { online, since } = presence
      const word = online ? 'Online' : 'Offline'
      return since > 0 ? `${word} for ${spanText(now - since)}, since ${sinceText(since, now)}` : word
    }
    if (!this.presenceReadable) return 'The connection state is hidden: your user may not read $hub/presence/#.'
    if (refused) return 'It has never connected; only its refusals are known.'
    return this.#known ? 'Unknown device. It appears here once it connects.' : ''
  }

  #makeRefusal(refused: Refused): HTMLElement {
    const { action, topic, reason } = refused
    const made = make(
      'li',
      'refusal',
      make(
        'p',
        'refusal-head',
        make('span', 'refusal-action', actionWords[action] ?? nameText(String(action))),
        ' ',
        make('bdi', 'refusal-topic', nameText(topic ?? '')),
        make('span', 'refusal-when'),
      ),
      make('p', 'refusal-reason', make('bdi', '', sentenceOf(nameText(reason)))),
    )
    made.dataset.action = action
    const { text, command } = remedyOf(refused, this.users)
    if (text && (command || !text.endsWith(':'))) made.append(make('p', 'refusal-remedy', text))
    if (command) made.append(copyable(command))
    return made
  }
}

/** Makes a command with a copy button; without a clipboard the command can be selected. */
function copyable(command: string): HTMLElement {
  const snippet = make('div', 'snippet', make('code', '', command))
  if (!navigator.clipboard) return snippet
  const button = make('button', '', 'Copy')
  button.type = 'button'
  button.setAttribute('aria-label', 'Copy the command')
  button.addEventListener('click', () => {
    void navigator.clipboard.writeText(command).then(() => {
      put(button, 'Copied')
      setTimeout(() => put(button, 'Copy'), 2000)
    })
  })
  snippet.append(button)
  return snippet
}

/** Returns a reason of the hub as a sentence. */
function sentenceOf(reason: string): string {
  return /[.!?…)]$/.test(reason) ? reason : `${reason}.`
}
