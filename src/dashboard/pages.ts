import { type Ready, reload, type Session } from './api.js'
import type { FeedHandlers } from './feed.js'
import type { HomeModel } from './home/model.js'
import { make } from './nodes.js'
import { withStyle } from './styles.js'
import type { TextKey } from './texts/en.js'
import { say } from './texts/language.js'

/** The shell, which is the header and all around the pages, as pages use one. */
export interface Shell {
  /** Devices, their newest values and alerts. */
  readonly home: HomeModel
  /** Rights of the user; undefined until the hub has answered. */
  readonly session: Session | undefined
  /** State of the hub; undefined while the hub does not answer. */
  readonly ready: Ready | undefined
  /** Goes to an address such as `#alerts&rule=x`, as a step that the back button undoes. */
  go(address: string): void
  /** Replaces the address by that of the page before, as this one has nothing to show. */
  leave(): void
  /** Puts a text into the search field, and filters the page by that text. */
  filterBy(text: string): void
  /** Asks for the state of the hub now. Resolves when `ready` is that. */
  askReady(): Promise<void>
  /** Calls the listener with all that the hub pushes from now on. Returns a function that ends that. */
  listen(listener: Partial<FeedHandlers>): () => void
}

/** A page that has an address, and is loaded when first shown. */
export interface Page {
  /** Draws the page into an element. Called once. */
  start(host: HTMLElement, shell: Shell): void
  /**
   * The page is on the screen. Called again whenever the address changes.
   *
   * @param parameters Those of the address: `#alerts&rule=x` has `alerts` (empty) and `rule`.
   * @param focus Whether the user came here by a link, so that the heading should get the focus.
   */
  show(parameters: URLSearchParams, focus: boolean): void
  /** The page has left the screen. */
  hide?(): void
  /** The text of the search field has changed. */
  filter?(text: string): void
  /** Called about once a second while the page is shown. */
  tick?(): void
  /** The session or the state of the hub has changed. Called once after `start`, too. */
  changed?(): void
}

/** A row of the table of pages. */
export interface PageEntry {
  /** First key of the address: `#name`, `#name&more=…`, `#name=value`. */
  readonly name: string
  readonly title: TextKey
  /** Id of an element of the document that is the page's; left out: `name`, and the element is made if there is none. */
  readonly host?: string
  readonly load: () => Promise<{ readonly page: Page }>
  /** Style sheets, beside this file. */
  readonly styles: readonly string[]
  /** Text in the empty search field. */
  readonly search?: TextKey
  /** Whether the navigation has a link to the page; left out: never. Asked again whenever the session or `ready` changes. */
  readonly isLinked?: (shell: Shell) => boolean
  /** Place that the link follows, after those of earlier rows; left out: the last one. */
  readonly after?: 'home'
  /** Number beside the link, of what waits for a person; 0: none is shown. */
  readonly count?: (shell: Shell) => number
}

/** The pages that are loaded when they are first shown, in the order of their links. */
export const pageTable: readonly PageEntry[] = [
  {
    name: 'alerts',
    title: 'place.alerts',
    search: 'search.alerts',
    load: () => import('./alerts/page.js'),
    styles: ['alerts.css'],
    isLinked: () => true,
    after: 'home',
    count: ({ home }) => home.alerts.filter(({ state, muted }) => state === 'firing' && !muted).length,
  },
  {
    name: 'balance',
    title: 'place.delivery',
    search: 'search.delivery',
    load: () => import('./delivery/page.js'),
    styles: ['balance.css', 'rows.css', 'dead.css'],
    // Only a hub that keeps a balance sends `waiting`.
    isLinked: ({ ready }) => ready?.waiting !== undefined,
  },
  {
    name: 'explore',
    title: 'place.explore',
    search: 'search.explore',
    load: () => import('./explore/page.js'),
    styles: ['explore.css'],
    isLinked: ({ session }) => session !== undefined,
  },
  {
    name: 'clients',
    title: 'place.clients',
    search: 'search.clients',
    load: () => import('./clients/page.js'),
    styles: ['explore.css', 'clients.css'],
    // Like the balance, the list is for those who may read everything.
    isLinked: ({ ready }) => ready?.waiting !== undefined,
  },
  {
    name: 'settings',
    title: 'place.settings',
    search: 'search.settings',
    load: () => import('./settings/page.js'),
    styles: ['settings.css'],
    isLinked: ({ session }) => session?.mayChange === true,
  },
  {
    name: 'account',
    title: 'place.account',
    host: 'logins',
    load: () => import('./logins/page.js'),
    styles: ['logins.css'],
  },
]

interface Loaded {
  readonly entry: PageEntry
  readonly host: HTMLElement
  page: Page | undefined
  isLoading: boolean
  parameters: URLSearchParams
  focus: boolean
}

/** Shows one of the pages of the table, or none, and loads each when first needed. */
export class Pages {
  readonly #shell: Shell
  readonly #loaded = new Map<string, Loaded>()
  readonly #nav: HTMLElement
  #current: Loaded | undefined
  #filters = new Map<string, string>()

  /** @param nav Element with the links of the places that are always there. */
  constructor(shell: Shell, nav: HTMLElement) {
    this.#shell = shell
    this.#nav = nav
    const values = nav.querySelector('[data-page="values"]')
    for (const { name, title, isLinked, after } of pageTable) {
      if (!isLinked) continue
      const link = make('a', '', say(title))
      link.href = `#${name}`
      link.dataset.page = name
      link.hidden = true
      nav.insertBefore(link, after === 'home' ? values : null)
    }
  }

  /** Returns the page of an address; undefined when the address is that of a place which is always there. */
  static of(parameters: URLSearchParams): PageEntry | undefined {
    const [first] = parameters.keys()
    return pageTable.find(({ name }) => name === first)
  }

  /** The page that is shown. */
  get current(): PageEntry | undefined {
    return this.#current?.entry
  }

  /** The element of the page that is shown. */
  get host(): HTMLElement | undefined {
    return this.#current?.host
  }

  /** Filter of the page that is shown. */
  get filterText(): string {
    return this.#filters.get(this.#current?.entry.name ?? '') ?? ''
  }

  /** Shows the page of the address, and hides the one before. */
  show(parameters: URLSearchParams, focus: boolean): void {
    const entry = Pages.of(parameters)
    if (this.#current && this.#current.entry !== entry) {
      this.#current.host.hidden = true
      this.#current.page?.hide?.()
      this.#current = undefined
    }
    if (!entry) return
    const shown = this.#loadedOf(entry)
    this.#current = shown
    shown.parameters = parameters
    shown.focus = focus
    // A page without styles is not shown.
    shown.host.hidden = shown.page === undefined
    if (shown.page) shown.page.show(parameters, focus)
    else void this.#load(shown)
  }

  filter(text: string): void {
    if (!this.#current) return
    this.#filters.set(this.#current.entry.name, text)
    this.#current.page?.filter?.(text)
  }

  tick(): void {
    this.#current?.page?.tick?.()
    this.#countAll()
  }

  /** The session or the state of the hub has changed. */
  changed(): void {
    for (const { page } of this.#loaded.values()) page?.changed?.()
    for (const { name, isLinked } of pageTable) {
      const link = this.#nav.querySelector<HTMLElement>(`[data-page="${name}"]`)
      if (link && isLinked) link.hidden = !isLinked(this.#shell)
    }
  }

  #countAll(): void {
    for (const { name, title, count } of pageTable) {
      const link = this.#nav.querySelector<HTMLElement>(`[data-page="${name}"]`)
      const found = count?.(this.#shell) ?? 0
      if (!link || link.dataset.count === String(found)) continue
      link.dataset.count = String(found)
      const mark = make('span', 'nav-count', String(found))
      link.replaceChildren(say(title), ...(found > 0 ? [' ', mark] : []))
    }
  }

  #loadedOf(entry: PageEntry): Loaded {
    const known = this.#loaded.get(entry.name)
    if (known) return known
    const id = entry.host ?? entry.name
    const host = document.getElementById(id) ?? document.body.appendChild(make('main'))
    host.id = id
    host.tabIndex = -1
    const made = { entry, host, page: undefined, isLoading: false, parameters: new URLSearchParams(), focus: false }
    this.#loaded.set(entry.name, made)
    return made
  }

  async #load(loaded: Loaded): Promise<void> {
    if (loaded.isLoading) return
    loaded.isLoading = true
    const { entry, host } = loaded
    try {
      const [{ page }] = await Promise.all([entry.load(), ...entry.styles.map(withStyle)])
      host.querySelector(':scope > .page-failed')?.remove()
      page.start(host, this.#shell)
      page.changed?.()
      loaded.page = page
      if (this.#current !== loaded) return
      host.hidden = false
      page.show(loaded.parameters, loaded.focus)
      const text = this.#filters.get(entry.name)
      if (text) page.filter?.(text)
    } catch (error) {
      // The hub may be away, or may have been updated, so that files of this page are no longer there.
      const why = error instanceof Error ? error.message : String(error)
      const again = make('button', 'plain', say('page.reload'))
      again.type = 'button'
      again.addEventListener('click', () => reload())
      const note = make('p', '', say('page.failed', { why }))
      const failed = make('div', 'page-failed', note, again)
      failed.role = 'alert'
      host.querySelector(':scope > .page-failed')?.remove()
      host.append(failed)
      if (this.#current === loaded) host.hidden = false
    } finally {
      loaded.isLoading = false
    }
  }
}
