import { ApiError, fetchSession, reload, type Session, signOut } from './api.js'
import { element, make, put, withNodes } from './nodes.js'
import { say } from './texts/language.js'

/** Longest wait for the session before the bar appears, in milliseconds. */
const patience = 1500

/** The menu with the signed-in user and the sign-out button. Hidden where the hub asks for no login. */
export class Account {
  readonly #changed: (session: Session) => void
  readonly #bar = document.querySelector('.bar') as HTMLElement
  readonly #menu = element('account-menu')
  session: Session | undefined

  /** @param changed Called with the session whenever the rights of this page may have changed. */
  constructor(changed: (session: Session) => void) {
    this.#changed = changed
    element('sign-out').addEventListener('click', () => void this.#leave())
    element('account-logins').addEventListener('click', () => this.#menu.hidePopover())
    // Another tab may have signed in or out.
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden && this.session) void this.ask()
    })
  }

  /** Asks the hub for the session. The bar appears with the answer, so that no part of the bar moves. */
  async ask(): Promise<void> {
    const late = setTimeout(() => this.#appear(), patience)
    // Without an answer, the connection state shows why.
    const session = await fetchSession().catch(() => undefined)
    clearTimeout(late)
    // The contents of this page were for the other user only.
    if (session && this.session && session.user !== this.session.user) return reload()
    if (session && JSON.stringify(session) !== JSON.stringify(this.session)) {
      this.session = session
      this.#draw(session)
      this.#changed(session)
    }
    this.#appear()
  }

  #appear(): void {
    delete this.#bar.dataset.waiting
  }

  #draw({ auth, user, kind, mayChange }: Session): void {
    // On a phone, the bar of pages has no room for this link.
    for (const link of document.querySelectorAll<HTMLElement>('.to-settings')) {
      link.hidden = !mayChange
      link.onclick = () => link.closest<HTMLElement>('[popover]')?.hidePopover()
    }
    const isSomebody = isSignedIn({ auth, user })
    element('account').hidden = !isSomebody
    if (!isSomebody) return
    put(element('account-name'), user)
    element('account-button').setAttribute('aria-label', say('account.user', { user }))
    element('account-user').replaceChildren(...withNodes(say('account.user'), { user: make('bdi', '', user) }))
    put(element('account-kind'), kind === 'admin' || kind === 'dashboard' ? say(`account.${kind}`) : '')
  }

  async #leave(): Promise<void> {
    const note = element('account-note')
    put(note, '')
    await signOut().catch((error: unknown) => {
      const why = error instanceof ApiError ? error.message : `${say('why.silent')}.`
      put(note, say('account.still', { why }))
    })
  }

  /** Whether the menu is open, which Escape then closes. */
  get isOpen(): boolean {
    return this.#menu.matches(':popover-open')
  }
}

/** Whether a user is signed in by name. */
export function isSignedIn({ auth, user }: Pick<Session, 'auth' | 'user'>): boolean {
  return auth === 'required' && user !== ''
}
