import type { Outward } from '../model.js'
import type { SentenceLog } from '../observe/log.js'
import { FairSet } from '../runtime/fair-set.js'
import type { Sharing } from '../runtime/user-shares.js'
import { sessionName } from '../sessions/session-name.js'
import type { Sessions } from '../sessions/sessions.js'
import { type ClientPage, readPage, short } from './sentences.js'

/** The retained messages of the hub. */
export interface PageStore {
  publish(message: Outward): void
  readonly retainedBy: Sessions['retainedBy']
}

export interface ClientPagesOptions {
  /** Returns the topic of a name, as `$hub/presence/…` or `$hub/why/…`. */
  readonly topicOf: (name: string) => string
  /** The filter that matches the topic of every name. */
  readonly everyTopic: string
  readonly store: PageStore
  readonly sharing: Sharing
  readonly log: Pick<SentenceLog, 'warn'>
}

/** Pages that may be cleared to make room, before the oldest is. */
const maxPages = 10_000

/** The retained messages about clients on one kind of topic, a page for each name; see {@link Presence.nameOf}. */
export class ClientPages {
  readonly #options: ClientPagesOptions
  /** Names whose page may be cleared to make room, the oldest first. */
  readonly #clearable: FairSet<string>

  constructor(options: ClientPagesOptions) {
    this.#options = options
    this.#clearable = new FairSet(options.sharing)
  }

  /** Returns whether a name has a page that may be cleared. */
  isClearable(name: string): boolean {
    return this.#clearable.has(name)
  }

  /** Shows a page until room is needed, or for good with `isKept`. */
  show(name: string, user: string, page: object, isKept = false): void {
    if (isKept) this.#clearable.delete(name)
    else this.#clearable.add(name, user)
    this.#retain(name, Buffer.from(JSON.stringify(page)))
    // Clients with throw-away ids come once: clears the oldest page, of the user with the most pages.
    if (this.#clearable.size > maxPages) this.#clear(this.#clearable.first)
  }

  /**
   * Called when a client id shows this user's client from now on. Moves another user's page from that id to a name of
   * the other user: a client may read topics with the client's own id. Returns whether there was such a page.
   */
  claim(id: string, user: string): boolean {
    const { store, topicOf } = this.#options
    let wasAnothers = false
    for (const { payload } of store.retainedBy(topicOf(id))) {
      const page = readPage(payload)
      if (!page || page.user === user) continue
      // An unauthenticated client was refused with that id.
      if (page.user === '' && page.action === 'connect') continue
      wasAnothers = true
      this.#clearable.delete(id)
      this.#retain(id, nothing)
      if (page.user === '') continue
      const name = sessionName(page.user, id)
      if (!page.online) this.#clearable.add(name, page.user)
      this.#retain(name, payload)
    }
    if (user !== '') this.#clear(sessionName(user, id))
    return wasAnothers
  }

  /** Returns the pages from before the start. Clears damaged ones and messages that are not the hub's. */
  restored(): readonly { readonly name: string; readonly page: ClientPage }[] {
    const { everyTopic, log, store, topicOf } = this.#options
    return [...store.retainedBy(everyTopic)].flatMap(({ topic, payload }) => {
      const page = readPage(payload)
      const names = page ? [page.clientId, sessionName(page.user, page.clientId)] : []
      const name = names.find(one => topicOf(one) === topic)
      if (page && name !== undefined) return { name, page }
      log.warn(`${short(topic)} had a retained message that is not from the hub; it was cleared`)
      store.publish({ topic, payload: nothing, qos: 0, retain: true })
      return []
    })
  }

  /** Counts a restored page among those that may be cleared. */
  restore(name: string, user: string): void {
    this.#clearable.add(name, user)
  }

  /** Clears the page of this user's client of that id. Returns whether there was one. */
  remove(clientId: string, user: string): boolean {
    const { store, topicOf } = this.#options
    let isFound = false
    for (const name of new Set([clientId, sessionName(user, clientId)])) {
      for (const { payload } of [...store.retainedBy(topicOf(name))]) {
        const page = readPage(payload)
        if (page?.clientId !== clientId || page.user !== user) continue
        isFound = true
        this.#clearable.delete(name)
        this.#retain(name, nothing)
      }
    }
    return isFound
  }

  #clear(name: string | undefined): void {
    if (name !== undefined && this.#clearable.delete(name)) this.#retain(name, nothing)
  }

  #retain(name: string, payload: Buffer): void {
    this.#options.store.publish({ topic: this.#options.topicOf(name), payload, qos: 0, retain: true })
  }
}

const nothing = Buffer.alloc(0)
