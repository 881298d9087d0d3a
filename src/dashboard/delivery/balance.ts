import { ApiError, type Balance, type Dependency, fetchBalance, hubNow, type Ready } from '../api.js'
import { element, Keyed, make, put, reasonLabel } from '../nodes.js'
import { Poll } from '../poll.js'
import { countText, dependencyText, manyText, momentText, shareText, sinceText, spanText } from '../wording.js'
import { DeadPanel } from './dead.js'
import { Hours } from './hours.js'

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

interface Part {
  readonly name: keyof Pick<Balance, 'stored' | 'spool' | 'queue' | 'dead' | 'dropped' | 'refused'>
  readonly text: string
  readonly note: string
}

const parts: readonly Part[] = [
  { name: 'stored', text: 'stored', note: 'in the store' },
  { name: 'spool', text: 'in spool', note: 'on disk, waiting' },
  { name: 'queue', text: 'in queue', note: 'in RabbitMQ, waiting' },
  { name: 'dead', text: 'dead', note: 'kept with the reason' },
  { name: 'dropped', text: 'dropped', note: 'deleted dead letters' },
  { name: 'refused', text: 'refused', note: 'never acknowledged' },
]

/** The page that shows whether every message is accounted for, and where the messages are that are not stored yet. */
export class BalancePage {
  readonly #root = element('balance')
  readonly #verdict = element('verdict')
  readonly #flow = new Flow(element('flow'))
  readonly #deadReasons = new Reasons('dead', 'Dead', 'No dead letters')
  readonly #refusedReasons = new Reasons('refused', 'Refused', 'Nothing was refused')
  readonly #hours: Hours
  readonly #dead: DeadPanel
  readonly #askReady: () => Promise<void>
  readonly #gone: () => void
  readonly #sum: Keyed<{ name: string; sign: string; text: string; note: string; count: number }, HTMLElement>
  readonly #waits: Keyed<{ text: string; tone: string }, HTMLElement>
  readonly #dependencies: Keyed<Dependency, HTMLElement>
  #ready: Ready | undefined
  readonly #poll: Poll<Balance>
  #isShown = false
  #odd = 0
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
    this.#waits = new Keyed(
      element('waits'),
      row => row.text.split(':')[0] ?? '',
      () => make('li'),
      (item, { text, tone }) => {
        item.dataset.tone = tone
        put(item, text)
      },
    )
    this.#dependencies = new Keyed(
      element('dependencies'),
      row => row.name,
      () => make('li', '', make('span', 'dot'), make('span', 'dependency-name'), make('span', 'dependency-state')),
      (item, { name, state, since }) => {
        item.dataset.state = state
        put(
          item.children[1] as Element,
          dependencyText(name).replace(/^The (\w)/, (_, first) => first.toUpperCase()),
        )
        put(item.children[2] as Element, since ? `${state} for ${spanText(hubNow() - since)}` : state)
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
    const { dependencies, waiting = [] } = this.#ready
    const lines = waiting.map(({ consumer, target, detail }) => {
      const dependency = dependencies.find(({ name }) => dependencyText(name) === dependencyText(target))
      return { text: waitText(consumer, target, detail, dependency), tone: 'waits' }
    })
    const nothing = { text: 'No backlog: messages are stored as they arrive.', tone: 'quiet' }
    this.#waits.show(lines.length > 0 ? lines : [nothing])
    this.#dependencies.show(dependencies)
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
    put(this.#verdict, 'No permission')
    put(element('verdict-text'), why)
    put(element('balance-note'), '')
  }

  /** Marks the numbers on the page as old, as the hub could not be read. */
  #old(error: unknown): void {
    const section = this.#verdict.closest('section') as HTMLElement
    const was = section.dataset.state === 'even' ? ' Nothing was missing then.' : ''
    if (section.dataset.state !== 'unknown') {
      section.dataset.state = 'unknown'
      element('verdict-help').hidden = true
      put(this.#verdict, 'Unknown')
      const then = momentText(this.#readAt, hubNow())
      put(element('verdict-text'), this.#readAt > 0 ? `The numbers below are from ${then}.${was}` : '')
    }
    const why = error instanceof ApiError ? error.message : 'The hub does not answer.'
    put(element('balance-note'), `Could not read the numbers: ${why} Retrying.`)
  }

  #draw(balance: Balance): void {
    delete this.#root.dataset.forbidden
    put(element('balance-note'), '')
    const { received, residual, since, spool, queue } = balance
    const now = hubNow()
    this.#odd = residual === 0 ? 0 : this.#odd + 1
    const state = residual === 0 ? 'even' : this.#odd < oddTwice ? 'counting' : 'odd'
    const section = this.#verdict.closest('section') as HTMLElement
    const wait = spool + queue
    if (state === 'counting' && section.dataset.state === 'even') return
    section.dataset.state = state
    put(
      this.#verdict,
      state === 'counting'
        ? 'Counting'
        : state === 'even'
          ? 'Nothing is missing'
          : residual > 0
            ? `${manyText(residual, 'message')} ${residual === 1 ? 'is' : 'are'} missing`
            : `${manyText(-residual, 'message')} ${residual === -1 ? 'is' : 'are'} counted twice`,
    )
    const moment = sinceText(since, now)
    put(
      element('verdict-text'),
      received === 0
        ? `No messages received since ${moment}.`
        : `${countText(received)} received since ${moment}. ${
            wait > 0 ? `${countText(wait)} are waiting to be stored.` : 'Nothing is waiting.'
          }`,
    )
    const help = element('verdict-help')
    help.hidden = state !== 'odd'
    put(help, state === 'odd' ? helpText(balance, now) : '')
    const number = element('residual')
    number.dataset.count = String(residual)
    put(number, countText(residual))

    this.#sum.show([
      { name: 'received', sign: '', text: 'received', note: `since ${moment}`, count: received },
      ...parts.map(({ name, text, note }, i) => {
        return { name, sign: i === 0 ? '=' : '+', text, note: noteOf(name, balance) ?? note, count: balance[name] }
      }),
      ...(state === 'odd'
        ? [
            {
              name: 'residual',
              sign: '+',
              text: residual > 0 ? 'missing' : 'double',
              note: 'see below',
              count: residual,
            },
          ]
        : []),
    ])
    this.#flow.show(balance)
    this.#deadReasons.show(balance.reasons.dead)
    this.#refusedReasons.show(balance.reasons.refused)
    this.#hours.show(balance)
  }
}

/** Returns what the counts tell of a part. Undefined when there is nothing to tell. */
function noteOf(name: Part['name'], { stored, received, partly, ignored }: Balance): string | undefined {
  if (name === 'stored' && received > 0) {
    const others = ignored > 0 ? `; ${countText(ignored)} are no readings` : ''
    return `${shareText(stored, received)} of all${others}`
  }
  return name === 'dead' && partly > 0 ? `${countText(partly)} of them stored in part` : undefined
}

/** All messages as one bar, and below that bar, enlarged, those that are not stored. */
class Flow {
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
    const rest = [...parts.slice(1).map(({ name, text }) => ({ name, text, count: balance[name] }))]
      .concat({ name: 'residual' as Part['name'], text: 'missing', count: missing })
      .filter(({ count }) => count > 0)
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
    const stored = segment({ name: 'stored', text: 'stored', count: balance.stored }, true)
    this.#rest.style.flexGrow = String(left)
    this.#rest.replaceChildren(...rest.map(row => segment(row, false)))
    this.#all.replaceChildren(...(balance.stored > 0 ? [stored] : []), ...(left > 0 ? [this.#rest] : []))
    this.#large.replaceChildren(...rest.map(row => segment(row, true)))
    this.#large.hidden = left === 0
    this.#between.hidden = left === 0
    put(this.#caption, `${countText(left)} not stored`)
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

function helpText({ residual, hours }: Balance, now: number): string {
  const odd = hours.filter(row => row.residual !== 0)
  const when =
    odd.length > 0 ? ` They were received ${odd.map(({ hour }) => `after ${sinceText(hour, now)}`).join(', ')}.` : ''
  const what =
    residual > 0
      ? 'They were acknowledged, but are neither stored nor waiting nor in the dead letters.'
      : 'They are counted in two places.'
  return `${what}${when} Search the hub’s log of that time for “spool” and “record”, and run “telehub doctor” and “telehub spool” on its machine. Do not change its data folder before that.`
}

/** Formats a wait: record waits for InfluxDB: ECONNREFUSED, since 3 min, next try in 8 s. */
function waitText(consumer: string, target: string, detail: string, dependency: Dependency | undefined): string {
  const now = hubNow()
  const { since, retryAt } = dependency ?? {}
  const facts = [
    detail,
    ...(since ? [`since ${spanText(now - since)}`] : []),
    ...(retryAt ? [retryAt > now ? `next try in ${spanText(retryAt - now)}` : 'trying now'] : []),
  ].filter(Boolean)
  return `${consumer} waits for ${dependencyText(target)}${facts.length > 0 ? `: ${facts.join(', ')}` : ''}`
}

interface ReasonRow {
  readonly reason: string
  readonly count: number
  readonly most: number
}

/** The counts by reason, the largest first. */
class Reasons {
  readonly #head = make('h3')
  readonly #rows: Keyed<ReasonRow, HTMLElement>
  readonly #title: string
  readonly #none: string

  constructor(kind: 'dead' | 'refused', title: string, none: string) {
    this.#title = title
    this.#none = none
    const list = make('ul', 'reasons')
    list.dataset.kind = kind
    element('reasons').append(this.#head, list)
    this.#rows = new Keyed(
      list,
      row => row.reason,
      row => {
        const item = make('li', '', reasonLabel(row.reason), make('span', 'reason-count'), make('i', 'reason-bar'))
        item.dataset.reason = row.reason
        return item
      },
      (item, { count, most }) => {
        put(item.children[1] as Element, countText(count))
        const bar = item.children[2] as HTMLElement
        bar.style.width = `${Math.max(1, (count / most) * 100)}%`
      },
    )
  }

  show(counts: Readonly<Record<string, number>>): void {
    const rows = Object.entries(counts).filter(([, count]) => count > 0)
    rows.sort((a, b) => b[1] - a[1])
    const most = rows[0]?.[1] ?? 0
    this.#rows.show(rows.map(([reason, count]) => ({ reason, count, most })))
    put(this.#head, rows.length > 0 ? this.#title : this.#none)
    this.#head.dataset.empty = String(rows.length === 0)
  }
}
