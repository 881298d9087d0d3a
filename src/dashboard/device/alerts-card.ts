import { type AlertRow, ApiError, acknowledge, fetchAlerts, hubNow } from '../api.js'
import { element, Keyed, make, put } from '../nodes.js'
import { Poll } from '../poll.js'
import { alertText } from '../said/said.js'
import { ageText, countText, momentText, nameText } from '../wording.js'
import { say } from './words.js'

const pollEvery = 5_000

/** The alerts of a device that are not over, each with a form to acknowledge it. */
export class AlertsCard {
  readonly #card = element('device-alerts-card')
  readonly #note = element('device-alerts-note')
  readonly #list: Keyed<AlertRow, HTMLElement>
  readonly #poll: Poll<readonly AlertRow[]>
  #device: string | undefined

  constructor() {
    this.#list = new Keyed(
      element('device-alerts'),
      ({ alert }) => alert,
      row => this.#make(row),
      (made, row) => this.#paint(made, row),
    )
    this.#poll = new Poll({
      isShown: () => this.#device !== undefined,
      ask: () => fetchAlerts(this.#device ?? ''),
      answered: rows => this.#take(rows),
    })
  }

  /** Shows the alerts of a device; of none without. */
  show(device: string | undefined): void {
    if (device === this.#device) return
    this.#device = device
    this.#list.show([])
    this.#card.hidden = true
    if (device === undefined) this.#poll.stop()
    else void this.#poll.ask()
  }

  #take(rows: readonly AlertRow[] | Error): number | undefined {
    // A hub without alerts, or a user who may not read them.
    if (rows instanceof ApiError && [403, 404].includes(rows.status)) return undefined
    if (rows instanceof Error) return pollEvery
    this.#card.hidden = false
    this.#list.show(rows)
    const firing = rows.filter(({ state }) => state === 'firing').length
    put(element('device-alerts-count'), firing > 0 ? say('alerts.firing', { count: countText(firing) }) : '')
    put(this.#note, rows.length === 0 ? say('alerts.none') : '')
    return pollEvery
  }

  #make({ alert }: AlertRow): HTMLElement {
    const note = make('input')
    note.type = 'text'
    note.maxLength = 1_000
    note.placeholder = say('alerts.note')
    note.setAttribute('aria-label', say('alerts.note-label'))
    const button = make('button', 'plain', say('alerts.acknowledge'))
    button.type = 'submit'
    const form = make('form', 'alert-form', note, button)
    const trouble = make('p', 'alert-trouble')
    trouble.setAttribute('role', 'alert')
    form.addEventListener('submit', event => {
      event.preventDefault()
      button.disabled = true
      put(trouble, '')
      acknowledge(alert, note.value.trim())
        .then(() => this.#poll.ask())
        .catch((error: unknown) => put(trouble, say('alerts.failed', { why: (error as Error).message })))
        .finally(() => {
          button.disabled = false
        })
    })
    const head = make('p', 'alert-head', make('span', 'alert-severity'), ' ', make('span', 'alert-state'))
    head.append(make('span', 'alert-since'))
    return make(
      'li',
      'alert',
      head,
      make('p', 'alert-sentence', make('bdi')),
      make('p', 'alert-by hint'),
      form,
      trouble,
    )
  }

  #paint(made: HTMLElement, row: AlertRow): void {
    const { severity, state, since, by, note, rule, muted } = row
    const now = hubNow()
    const part = (name: string) => made.querySelector(`.${name}`) as HTMLElement
    made.dataset.severity = severity
    made.dataset.state = state
    put(part('alert-severity'), say(`severity.${severity}`))
    const word = say(`alert.${state}`)
    put(part('alert-state'), muted ? say('alert.muted', { state: word }) : word)
    put(part('alert-since'), say('alerts.since', { time: momentText(since, now), age: ageText(now - since) }))
    put(part('alert-sentence').firstElementChild as Element, nameText(alertText(row)))
    const filling = { user: nameText(by ?? ''), note: nameText(note ?? '') }
    const who = state === 'acknowledged' && by ? say(note ? 'alerts.by-note' : 'alerts.by', filling) : ''
    put(part('alert-by'), [who, say('alerts.rule', { rule: nameText(rule) })].filter(Boolean).join(' '))
    part('alert-form').hidden = state !== 'firing'
  }
}
