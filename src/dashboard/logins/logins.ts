import { ApiError, endLogins, fetchLogins, hubNow, type LoginRow, type Session, signOut } from '../api.js'
import { element, Keyed, make, put } from '../nodes.js'
import { Poll } from '../poll.js'
import { ageText, browserText, countText, manyText, nameText, sinceText } from '../wording.js'

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
        this.#trouble = rows instanceof Error ? `Could not read the logins: ${sentenceOf(rows)}` : ''
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
    put(element('logins-user'), nameText(session.user))
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
    put(
      element('logins-foreign-note'),
      isCut ? `Showing the ${mostOfOthers} used last. For all: telehub login list` : '',
    )
    put(this.#note, [this.#outcome, this.#trouble].filter(Boolean).join(' '))
  }

  #make(row: LoginRow): HTMLElement {
    const { id, user, current, agent, address } = row
    const isOwn = user === this.#session?.user
    const browser = make('span', 'login-browser', browserText(agent))
    if (agent) browser.title = nameText(agent)
    const button = make('button', current ? 'plain' : 'plain danger', current ? 'Sign out' : 'End')
    button.type = 'button'
    const whose = isOwn ? '' : ` of ${nameText(user)}`
    if (!current) button.setAttribute('aria-label', `End the login${whose}: ${browserText(agent)} from ${address}`)
    button.addEventListener('click', () => void (current ? this.#leave() : this.#end({ id })))
    const made = make(
      'li',
      'login-row',
      make(
        'div',
        'login-head',
        ...(isOwn ? [] : [make('bdi', 'login-user', nameText(user))]),
        browser,
        ...(current ? [make('span', 'login-current', 'This browser')] : []),
      ),
      make('p', 'login-facts', make('span', 'login-began'), make('span', 'login-used')),
      button,
    )
    made.dataset.id = id
    return made
  }

  #paint(made: HTMLElement, { began, used, address }: LoginRow): void {
    const now = hubNow()
    const from = address ? `from ${address}` : 'from an unknown address'
    put(made.querySelector('.login-began') as Element, `Since ${sinceText(began, now)}, ${from}`)
    put(made.querySelector('.login-used') as Element, `Last used ${ageText(now - used)}`)
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
      this.#outcome = `${manyText(ended, 'login')} ended.`
    } catch (error) {
      // The login has ended already: another page was quicker, or the login was not used for too long.
      const isGone = error instanceof ApiError && error.status === 404
      this.#outcome = isGone ? 'That login had already ended.' : `Not ended: ${sentenceOf(error)}`
    }
    this.#busy = false
    await this.#poll.ask()
    // The clicked button was removed with the row.
    if (this.shown && document.activeElement === document.body) this.#title.focus({ preventScroll: true })
  }

  async #leave(): Promise<void> {
    this.#outcome = ''
    await signOut().catch((error: unknown) => {
      this.#outcome = `You are still signed in: ${sentenceOf(error)}`
    })
    this.#draw()
  }
}

function sentenceOf(error: unknown): string {
  return error instanceof ApiError ? error.message : 'The hub does not answer.'
}
