import { ApiError, endLogins, fetchLogins, hubNow, type LoginRow, type Session, signOut } from '../api.js'
import { element, Keyed, make, put, withNodes } from '../nodes.js'
import { Poll } from '../poll.js'
import { ageText, countText, nameText, sinceText } from '../wording.js'
import { browserText } from './browser.js'
import { say, sayCount } from './words.js'

const pollEvery = 10_000
/** Most logins of other users shown; an admin may see all, which may be thousands. */
const mostOfOthers = 100

/** The page of logins: those of the user, and for an admin those of all others. Each can be ended. */
export class LoginsPage {
  readonly #title = element('logins-title')
  readonly #note = element('logins-note')
  readonly #endOthers = element<HTMLButtonElement>('logins-end-others')
  readonly #own: Keyed<LoginRow, HTMLElement>
  readonly #foreign: Keyed<LoginRow, HTMLElement>
  #session: Session | undefined
  #rows: readonly LoginRow[] | undefined
  readonly #poll: Poll<readonly LoginRow[]>
  #isShown = false
  #busy = false
  #outcome = ''
  #trouble = ''

  constructor() {
    const keyed = (id: string) =>
      new Keyed<LoginRow, HTMLElement>(
        element(id),
        row => row.id,
        row => this.#make(row),
        (made, row) => this.#paint(made, row),
      )
    this.#own = keyed('logins-own')
    this.#foreign = keyed('logins-foreign')
    this.#endOthers.addEventListener('click', () => void this.#end({ others: true }))
    this.#poll = new Poll({
      isShown: () => this.shown,
      ask: fetchLogins,
      answered: rows => {
        if (!(rows instanceof Error)) this.#rows = rows
        this.#trouble = rows instanceof Error ? say('logins.failed', { why: sentenceOf(rows) }) : ''
        this.#draw()
        return pollEvery
      },
    })
  }

  get shown(): boolean {
    return this.#isShown
  }

  /** The session of this page. */
  set session(session: Session) {
    this.#session = session
    const user = make('bdi', '', nameText(session.user))
    element('logins-hint').replaceChildren(...withNodes(say('logins.hint'), { user }))
    if (this.shown) this.#draw()
  }

  /** Shows the page. `focus`: the user came here by a link. */
  show(focus: boolean): void {
    if (this.#isShown) return
    this.#isShown = true
    this.#outcome = ''
    if (focus) this.#title.focus({ preventScroll: true })
    this.#draw()
    void this.#poll.ask()
  }

  hide(): void {
    this.#isShown = false
    this.#poll.stop()
  }

  /** Called once a second: updates the ages. */
  tick(): void {
    if (this.shown) this.#draw()
  }

  #draw(): void {
    const rows = this.#rows ?? []
    const own = rows.filter(({ user }) => user === this.#session?.user)
    const foreign = rows.filter(({ user }) => user !== this.#session?.user)
    // This browser first, as users look for that one.
    this.#own.show([...own.filter(({ current }) => current), ...own.filter(({ current }) => !current)])
    this.#foreign.show(foreign.slice(0, mostOfOthers))
    this.#endOthers.hidden = !own.some(({ current }) => !current)
    this.#endOthers.disabled = this.#busy
    element('logins-foreign-card').hidden = foreign.length === 0
    put(element('logins-foreign-count'), countText(foreign.length))
    const isCut = foreign.length > mostOfOthers
    put(element('logins-foreign-note'), isCut ? say('logins.cut', { count: mostOfOthers }) : '')
    put(this.#note, [this.#outcome, this.#trouble].filter(Boolean).join(' '))
  }

  #make(row: LoginRow): HTMLElement {
    const { id, user, current, agent, address } = row
    const isOwn = user === this.#session?.user
    const browser = make('span', 'login-browser', browserText(agent))
    if (agent) browser.title = nameText(agent)
    const button = make('button', current ? 'plain' : 'plain danger', say(current ? 'login.sign-out' : 'login.end'))
    button.type = 'button'
    const facts = { user: nameText(user), browser: browserText(agent), address }
    if (!current) button.setAttribute('aria-label', say(isOwn ? 'login.end-own' : 'login.end-of', facts))
    button.addEventListener('click', () => void (current ? this.#leave() : this.#end({ id })))
    const made = make(
      'li',
      'login-row',
      make(
        'div',
        'login-head',
        ...(isOwn ? [] : [make('bdi', 'login-user', nameText(user))]),
        browser,
        ...(current ? [make('span', 'login-current', say('login.current'))] : []),
      ),
      make('p', 'login-facts', make('span', 'login-began'), make('span', 'login-used')),
      button,
    )
    made.dataset.id = id
    return made
  }

  #paint(made: HTMLElement, { began, used, address }: LoginRow): void {
    const now = hubNow()
    const since = { time: sinceText(began, now), address }
    put(made.querySelector('.login-began') as Element, say(address ? 'login.began' : 'login.began-unknown', since))
    put(made.querySelector('.login-used') as Element, say('login.used', { age: ageText(now - used) }))
    const button = made.querySelector('button')
    if (button) button.disabled = this.#busy
  }

  async #end(which: { id: string } | { others: true }): Promise<void> {
    if (this.#busy) return
    this.#busy = true
    this.#outcome = ''
    this.#draw()
    try {
      const ended = await endLogins(which)
      this.#outcome = sayCount('logins.ended', ended)
    } catch (error) {
      // The login has ended already: another page was quicker, or the login was not used for too long.
      const isGone = error instanceof ApiError && error.status === 404
      this.#outcome = isGone ? say('logins.already') : say('logins.not-ended', { why: sentenceOf(error) })
    }
    this.#busy = false
    await this.#poll.ask()
    // The clicked button was removed with the row.
    if (this.shown && document.activeElement === document.body) this.#title.focus({ preventScroll: true })
  }

  async #leave(): Promise<void> {
    this.#outcome = ''
    await signOut().catch((error: unknown) => {
      this.#outcome = say('logins.still', { why: sentenceOf(error) })
    })
    this.#draw()
  }
}

function sentenceOf(error: unknown): string {
  return error instanceof ApiError ? error.message : say('logins.no-answer')
}
