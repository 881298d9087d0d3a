import type { DeviceRow } from '../../contract/contract.js'
import { ApiError, fetchDevices, hubNow, removeDevice } from '../api.js'
import type { Presence } from '../feed.js'
import { element, Keyed, make, put } from '../nodes.js'
import { Poll } from '../poll.js'
import type { Refusals, Refused } from '../refusals.js'
import type { Board } from '../values/board.js'
import type { Tile } from '../values/tile.js'
import { ageText, asSentence, countText, momentText, nameText, sinceText, spanText } from '../wording.js'
import { AlertsCard } from './alerts-card.js'
import { CommandsCard } from './commands-card.js'
import { remedyOf } from './remedies.js'
import { say, translate } from './words.js'

const pollEvery = 10_000
const mostReadings = 60

/** Says by how much a clock is wrong, and where; empty when none is. */
function clockText({ clockError = 0, clockTopic = '' }: DeviceRow): string {
  if (clockError === 0) return ''
  const filling = { span: spanText(Math.abs(clockError)), topic: nameText(clockTopic) }
  return say(clockError < 0 ? 'clock.behind' : 'clock.ahead', filling)
}

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
    translate(this.#root)
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
        const when = `${momentText(time, now)} · ${ageText(now - time)}`
        const text = times > 1 ? say('refusals.times', { when, count: countText(times) }) : when
        put(made.querySelector('.refusal-when') as Element, text)
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
        const hidden = forbidden ? say('device.hidden', { why: rows.message }) : ''
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
      this.#trouble = say('device.not-removed', { why: error instanceof Error ? error.message : String(error) })
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
      { name: say('fact.user'), text: nameText(user) },
      { name: say('fact.messages'), text: row ? countText(row.messages) : '' },
      { name: say('fact.last-seen'), text: row && row.lastSeen > 0 ? momentText(row.lastSeen, now) : '' },
      { name: say('fact.clock'), text: row ? clockText(row) : '' },
    ]
    this.#facts.show(facts.filter(({ text }) => text !== ''))
    this.#list.show(refusals)
    const none = say(this.refusalsReadable ? 'refusals.none' : 'refusals.hidden')
    put(element('refusals-note'), refusals.length > 0 ? '' : none)
    // The name of a user with several devices says nothing about this device.
    const isShared = [...this.#presences.values()].some(other => other.user === user && other.clientId !== clientId)
    const tiles = this.#board.named(clientId, isShared ? '' : user)
    this.#readings.show(tiles.slice(0, mostReadings))
    element('device-readings-card').hidden = tiles.length === 0
    put(
      element('device-readings-count'),
      tiles.length > mostReadings ? say('values.cut', { shown: mostReadings, count: tiles.length }) : '',
    )
  }

  #stateText(presence: Presence | undefined, refused: boolean, now: number): string {
    if (presence) {
      const { online, since } = presence
      const name = online ? 'online' : 'offline'
      const filling = { span: spanText(now - since), time: sinceText(since, now) }
      return since > 0 ? say(`state.${name}-for`, filling) : say(`state.${name}`)
    }
    if (!this.presenceReadable) return say('state.hidden')
    if (refused) return say('state.never')
    return this.#known ? say('state.unknown') : ''
  }

  #makeRefusal(refused: Refused): HTMLElement {
    const { action, topic, reason } = refused
    const made = make(
      'li',
      'refusal',
      make(
        'p',
        'refusal-head',
        make('span', 'refusal-action', actionText(action)),
        ' ',
        make('bdi', 'refusal-topic', nameText(topic ?? '')),
        make('span', 'refusal-when'),
      ),
      make('p', 'refusal-reason', make('bdi', '', asSentence(nameText(reason)))),
    )
    made.dataset.action = action
    const { text, command } = remedyOf(refused, this.users)
    if (text && (command || !/[:：]$/.test(text))) made.append(make('p', 'refusal-remedy', text))
    if (command) made.append(copyable(command))
    if (this.users && this.mayChange) made.append(...explanationOf(refused))
    return made
  }
}

/** Returns a link to the rule that decided, where rules of a user decide. */
function explanationOf({ action, user, clientId, topic }: Refused): HTMLElement[] {
  const asked = action === 'receive' ? 'read' : action
  if ((asked !== 'publish' && asked !== 'subscribe' && asked !== 'read') || !user || !topic) return []
  const link = make('a', '', say('refusals.why'))
  const question = new URLSearchParams({ part: 'explain', user, client: clientId, action: asked, topic })
  link.href = `#settings&${question}`
  return [make('p', 'refusal-why', link)]
}

function actionText(action: Refused['action']): string {
  return ['connect', 'publish', 'subscribe', 'receive'].includes(action) ? say(`action.${action}`) : nameText(action)
}

/** Makes a command with a copy button; without a clipboard the command can be selected. */
function copyable(command: string): HTMLElement {
  const snippet = make('div', 'snippet', make('code', '', command))
  if (!navigator.clipboard) return snippet
  const button = make('button', '', say('copy'))
  button.type = 'button'
  button.setAttribute('aria-label', say('copy.label'))
  button.addEventListener('click', () => {
    void navigator.clipboard.writeText(command).then(() => {
      put(button, say('copied'))
      setTimeout(() => put(button, say('copy')), 2000)
    })
  })
  snippet.append(button)
  return snippet
}
