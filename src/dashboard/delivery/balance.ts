import { ApiError, type Balance, fetchBalance, fetchOutlets, hubNow, type Ready } from '../api.js'
import { element, Keyed, make, put } from '../nodes.js'
import { Poll } from '../poll.js'
import { asSentence, countText, momentText, sinceText } from '../wording.js'
import { DeadPanel } from './dead.js'
import { Flow } from './flow.js'
import { Hours } from './hours.js'
import { OutletsPanel } from './outlets.js'
import { parts } from './parts.js'
import { Reasons } from './reasons.js'
import { helpText, noteOf, receivedOf, verdictOf } from './verdict.js'
import { Waits } from './waits.js'
import { say } from './words.js'

const pollEvery = 2000
/** Rights change seldom. */
const forbiddenEvery = 30_000
const hoursShown = 24
const mostRows = 500
/**
 * Consecutive readings with a residual that count as an imbalance: a message may be between two counts while they are
 * read.
 */
const oddTwice = 2
/** How long the verdict goes on telling of messages that wait: on a busy hub there are some now and then. */
const waitingFor = 10_000

/** The page that shows whether every message is accounted for, and where the messages are that are not stored yet. */
export class BalancePage {
  readonly #root = element('balance')
  readonly #verdict = element('verdict')
  readonly #flow = new Flow(element('flow'))
  readonly #deadReasons = new Reasons('dead', say('reasons.dead'), say('reasons.no-dead'))
  readonly #refusedReasons = new Reasons('refused', say('reasons.refused'), say('reasons.no-refused'))
  readonly #hours: Hours
  readonly #dead: DeadPanel
  readonly #askReady: () => Promise<void>
  readonly #gone: () => void
  readonly #sum: Keyed<{ name: string; sign: string; text: string; note: string; count: number }, HTMLElement>
  readonly #waits = new Waits()
  readonly #outlets: OutletsPanel
  #ready: Ready | undefined
  readonly #poll: Poll<Balance>
  #isShown = false
  #odd = 0
  /** When messages were last seen to wait. */
  #waitedAt = 0
  #filter = ''
  /** The filter text, when taken as the full name of a device that is not among the fetched rows. */
  #device: string | undefined
  #readAt = 0

  /**
   * @param askReady Asks for the state of the hub, which comes through `ready`.
   * @param gone Called when this hub keeps no balance.
   */
  constructor(askReady: () => Promise<void>, gone: () => void, filterBy: (device: string) => void) {
    this.#askReady = askReady
    this.#gone = gone
    this.#hours = new Hours(hoursShown, filterBy)
    this.#dead = new DeadPanel(() => this.#poll.soon(0), filterBy)
    this.#outlets = new OutletsPanel(() => this.#poll.soon(0))
    this.#sum = new Keyed(
      element('sum'),
      row => row.name,
      row => {
        const item = make('li', 'part')
        item.dataset.part = row.name
        item.append(
          make('span', 'part-sign', row.sign),
          make('span', 'part-name', make('i', 'swatch'), row.text),
          make('span', 'part-number'),
          make('span', 'part-note'),
        )
        return item
      },
      (item, { count, note }) => {
        item.dataset.count = String(count)
        put(item.querySelector('.part-number') as Element, countText(count))
        put(item.querySelector('.part-note') as Element, note)
      },
    )
    this.#poll = new Poll({
      isShown: () => this.shown,
      ask: async () => (await Promise.all([fetchBalance(hoursShown, mostRows, this.#device), this.#askReady()]))[0],
      answered: answer => this.#answered(answer),
    })
    addEventListener('resize', () => this.#flow.join())
  }

  get shown(): boolean {
    return this.#isShown
  }

  /** Shows the page and keeps the numbers fresh. `focus`: the user came here by a link. */
  show(focus: boolean): void {
    if (this.#isShown) return
    this.#isShown = true
    if (focus) this.#verdict.focus({ preventScroll: true })
    this.#poll.soon(0)
  }

  hide(): void {
    this.#isShown = false
    this.#poll.stop()
  }

  /** Why this page may not change anything; empty when changes are allowed. */
  set readOnly(why: string) {
    this.#dead.readOnly = why
    this.#outlets.mayChange = why === ''
  }

  filter(text: string): void {
    this.#filter = text.trim()
    this.#device = undefined
    this.#hours.filter(this.#filter)
    this.#dead.filter(this.#filter)
    if (this.shown) this.#poll.soon(300)
  }

  ready(ready: Ready | undefined): void {
    if (ready) this.#ready = ready
    this.tick()
  }

  /** Called once a second: updates the running times. */
  tick(): void {
    if (!this.shown || !this.#ready) return
    this.#waits.show(this.#ready)
  }

  async #answered(answer: Balance | Error): Promise<number | undefined> {
    if (answer instanceof ApiError && answer.status === 404) {
      this.#gone()
      return undefined
    }
    const isBalance = !(answer instanceof Error)
    if (isBalance) {
      this.#readAt = hubNow()
      this.#draw(answer)
      // The rest of the page does not wait for them, and does without.
      void fetchOutlets().then(
        outlets => this.#outlets.show(outlets),
        () => {},
      )
      // Not all rows were fetched: the filter may name a device among the others.
      const cut = this.#device === undefined && answer.devices.length >= mostRows
      if (cut && this.#filter && this.#hours.matching === 0) {
        this.#device = this.#filter
        return 0
      }
      await this.#dead.refresh(answer)
    }
    this.#root.dataset.stale = String(!isBalance)
    if (isBalance) return pollEvery
    if (answer instanceof ApiError && answer.status === 403) {
      this.#forbidden(answer.message)
      return forbiddenEvery
    }
    this.#old(answer)
    return pollEvery
  }

  /** Shows that this user may not read the balance. Numbers read before are of no use now. */
  #forbidden(why: string): void {
    this.#root.dataset.forbidden = 'true'
    const section = this.#verdict.closest('section') as HTMLElement
    section.dataset.state = 'unknown'
    element('verdict-help').hidden = true
    put(this.#verdict, say('verdict.forbidden'))
    put(element('verdict-text'), asSentence(why))
    put(element('balance-note'), '')
  }

  /** Marks the numbers on the page as old, as the hub could not be read. */
  #old(error: unknown): void {
    const section = this.#verdict.closest('section') as HTMLElement
    const wasWhole = ['even', 'some', 'many'].includes(section.dataset.state ?? '')
    if (section.dataset.state !== 'unknown') {
      section.dataset.state = 'unknown'
      element('verdict-help').hidden = true
      put(this.#verdict, say('verdict.unknown'))
      const old = say('told.old', { time: momentText(this.#readAt, hubNow()) })
      const text = wasWhole ? `${old} ${say('told.nothing-missing')}` : old
      put(element('verdict-text'), this.#readAt > 0 ? text : '')
    }
    const why = error instanceof ApiError ? error.message : say('no-answer')
    put(element('balance-note'), say('told.failed', { why }))
  }

  #draw(balance: Balance): void {
    delete this.#root.dataset.forbidden
    put(element('balance-note'), '')
    const { residual, since, spool, queue } = balance
    const now = hubNow()
    this.#odd = residual === 0 ? 0 : this.#odd + 1
    if (spool + queue > 0) this.#waitedAt = now
    const isWaiting = now - this.#waitedAt < waitingFor
    const { state, title, text } = verdictOf(balance, this.#odd >= oddTwice, isWaiting, now)
    const section = this.#verdict.closest('section') as HTMLElement
    // The numbers of a moment ago are truer than counts that were read while messages moved on.
    if (state === 'counting' && ['even', 'some', 'many'].includes(section.dataset.state ?? '')) return
    section.dataset.state = state
    put(this.#verdict, title)
    put(element('verdict-text'), text)
    const help = element('verdict-help')
    help.hidden = state !== 'odd'
    put(help, state === 'odd' ? helpText(balance, now) : '')
    const number = element('residual')
    number.dataset.count = String(residual)
    put(number, countText(residual))

    const time = sinceText(since, now)
    const missing = residual > 0 ? say('part.residual') : say('part.double')
    const received = { text: say('part.received'), note: say('note.received', { time }), count: receivedOf(balance) }
    this.#sum.show([
      { name: 'received', sign: '', ...received },
      ...parts.map((name, i) => {
        const note = noteOf(name, balance) ?? say(`note.${name}`)
        return { name, sign: i === 0 ? '=' : '+', text: say(`part.${name}`), note, count: balance[name] }
      }),
      ...(state === 'odd'
        ? [{ name: 'residual', sign: '+', text: missing, note: say('note.residual'), count: residual }]
        : []),
    ])
    this.#flow.show(balance)
    this.#deadReasons.show(balance.reasons.dead)
    this.#refusedReasons.show(balance.reasons.refused)
    this.#hours.show(balance)
  }
}
