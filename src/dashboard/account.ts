import { ApiError, fetchSession, reload, type Session, signOut } from './api.js'
import { element, put } from './nodes.js'

const kindWords: Readonly<Record<string, string>> = {
  admin: 'Admin: may change everything',
  dashboard: 'Dashboard: may look, not change',
}

/** Until the hub has said who this is, at most. */
const patience = 1500

/** Who is signed in, and the way out. Nothing of it where nobody is asked. */
export class Account {
  readonly #changed: (session: Session) => void
  readonly #bar = document.querySelector('.bar') as HTMLElement
  readonly #menu = element('account-menu')
  session: Session | undefined

  /** `changed` is told whenever the hub says that this page may do something else. */
  constructor(changed: (session: Session) => void) {
    this.#changed = changed
    element('sign-out').addEventListener('click', () => void this.#leave())
    element('account-logins').addEventListener('click', () => this.#menu.hidePopover())
    // Another tab may have signed in or out.
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden && this.session) void this.ask()
    })
  }

  /** Asks the hub. The bar appears with the answer, so that nothing in it moves. */
  async ask(): Promise<void> {
    const late = setTimeout(() => this.#appear(), patience)
    // Without an answer: the connection says why.
    const session = await fetchSession().catch(() => undefined)
    clearTimeout(late)
    // What is on this page was for the other user's eyes.
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

  #draw({ auth, user, kind }: Session): void {
    const isSomebody = isSignedIn({ auth, user })
    element('account').hidden = !isSomebody
    if (!isSomebody) return
    put(element('account-name'), user)
    element('account-button').setAttribute('aria-label', `Signed in as ${user}`)
    put(element('account-user'), user)
    put(element('account-kind'), kindWords[kind] ?? '')
  }

  async #leave(): Promise<void> {
    const note = element('account-note')
    put(note, '')
    await signOut().catch((error: unknown) => {
      const why = error instanceof ApiError ? error.message : 'The hub does not answer.'
      put(note, `You are still signed in. ${why}`)
    })
  }

  /** Is its menu open? Then Escape closes that. */
  get isOpen(): boolean {
    return this.#menu.matches(':popover-open')
  }
}

/** Is it somebody who gave a name? */
export function isSignedIn({ auth, user }: Pick<Session, 'auth' | 'user'>): boolean {
  return auth === 'required' && user !== ''
}

/** Why this page may not change anything; empty when it may. */
export function whyNotChange({ auth, user, kind, mayChange }: Session): string {
  if (mayChange) return ''
  const who = auth === 'required' && user ? ` You are signed in as ${user}${kind ? ` (${kind})` : ''}.` : ''
  return `Only an admin may replay or drop them.${who}`
}
