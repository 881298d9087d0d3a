import type { Outward } from '../model.js'
import type { SentenceLog } from '../observe/log.js'
import { FairSet } from '../runtime/fair-set.js'
import type { MicrosecondClock } from '../runtime/time.js'
import type { Sharing } from '../runtime/user-shares.js'
import { sessionName } from '../sessions/session-name.js'
import type { Retained } from '../sessions/sessions.js'
import { hubTopics } from '../topics.js'
import { isTooLongToShow, readShown, short, type ShownReason as Told } from './sentences.js'

export type Action = 'connect' | 'publish' | 'subscribe' | 'receive'

export interface Presence {
  /** The client id, preceded by the user where another user's client has that id; see {@link ShownClients.nameOf}. */
  readonly clientId: string
  readonly user: string
  readonly online: boolean
  /** Microseconds since the epoch. */
  readonly since: number
}

/** A client, and the name under which the client is shown. */
export interface ShownClient {
  readonly id: string
  readonly user: string
  /** The name under which the client's presence is shown. Empty while not shown. */
  shownAs: string
}

export interface ShownClientsOptions {
  readonly sharing: Sharing
  readonly publish: (message: Outward) => void
  readonly retainedBy: (filter: string) => Iterable<Retained>
  readonly presence: (presence: Presence) => void
  /** Microseconds since the epoch. */
  readonly clock: MicrosecondClock
  readonly log: Pick<SentenceLog, 'warn'>
}

/** Clients that are gone and still shown as offline, and refusals still shown. */
const maxShown = 10_000

/** The retained messages about clients: `$hub/presence/…` and `$hub/why/…`. */
export class ShownClients {
  readonly #options: ShownClientsOptions
  /** Connected clients, by client id: among those with the same id, the first user's. */
  readonly #holders = new Map<string, ShownClient>()
  /** Names whose retained presence says offline, the longest gone first. */
  readonly #absent: FairSet<string>
  /** Names with a retained refusal. */
  readonly #refusals: FairSet<string>
  /** Clients whose id was shown as another user's before. */
  readonly #replacing = new WeakSet<ShownClient>()

  constructor(options: ShownClientsOptions) {
    this.#options = options
    this.#absent = new FairSet(options.sharing)
    this.#refusals = new FairSet(options.sharing)
  }

  /**
   * Returns the name of a client in topics under `$hub`: the client id, or, while another user's client has that id,
   * the session name, which is no client's id.
   */
  nameOf(user: string, clientId: string): string {
    const holder = this.#holders.get(clientId)
    return !holder || holder.user === user ? clientId : sessionName(user, clientId)
  }

  /** Called when a client is admitted. Unless another user's client has that id, the id now shows this client. */
  entered(client: ShownClient): void {
    const { id, user } = client
    const holder = this.#holders.get(id)
    if (holder && holder.user !== user) return
    this.#holders.set(id, client)
    if (holder) return
    for (const topicOf of [hubTopics.presence, hubTopics.why]) {
      for (const { payload } of this.#options.retainedBy(topicOf(id))) {
        const told = readShown(payload)
        // A client may read topics with the client's own id: another user's messages must not stay there.
        if (!told || told.user === user) continue
        // An unauthenticated client was refused with that id.
        if (told.user === '' && told.action === 'connect') continue
        this.#namesOf(topicOf).delete(id)
        this.#show(topicOf(id))
        if (topicOf === hubTopics.presence) this.#replacing.add(client)
        if (told.user !== '') this.#keep(topicOf, told.user, id, payload, told.online)
      }
      if (user !== '') this.#clear(topicOf, sessionName(user, id))
    }
  }

  /** Returns whether the id of this client was shown as another user's before. */
  hasReplaced(client: ShownClient): boolean {
    return this.#replacing.has(client)
  }

  /** Called when the connection of a client is over. */
  closed(client: ShownClient): void {
    if (this.#holders.get(client.id) === client) this.#holders.delete(client.id)
  }

  /** Returns whether a client of this name is gone and shown. */
  isAbsent(name: string): boolean {
    return this.#absent.has(name)
  }

  online(client: ShownClient): void {
    if (client.shownAs !== '' || isTooLongToShow(client.id)) return
    client.shownAs = this.nameOf(client.user, client.id)
    this.#present(client.shownAs, client, true)
  }

  /** Called when a client is gone; shows the client as offline if shown before. */
  offline(client: ShownClient): void {
    if (client.shownAs === '') return
    const { shownAs, id, user } = client
    // Meanwhile another user's client may have come with that id.
    this.#present(shownAs === id ? this.nameOf(user, id) : shownAs, client, false)
  }

  #present(name: string, { id: clientId, user }: Pick<ShownClient, 'id' | 'user'>, online: boolean): void {
    this.#absent.delete(name)
    if (!online) this.#absent.add(name, user)
    const since = this.#options.clock.now()
    this.#options.presence({ clientId: name.replace('\0', '/'), user, online, since })
    this.#show(hubTopics.presence(name), { clientId, user, online, since: since / 1_000 })
    // Clients with throw-away ids come once: clears the client gone longest, of the user with the most shown.
    if (this.#absent.size > maxShown) this.#clear(hubTopics.presence, this.#absent.first)
  }

  /** Shows why a client was refused something, on the topic where the client's developer will look. */
  refused(clientId: string, user: string, action: Action, topic: string, reason: string): void {
    // An unauthenticated client must not write on the page of a connected one.
    const isStrangers = user === '' && (this.#holders.get(clientId)?.user ?? '') !== ''
    if (isTooLongToShow(clientId) || isStrangers) return
    const name = this.nameOf(user, clientId)
    this.#refusals.add(name, user)
    const time = Math.floor(this.#options.clock.now() / 1_000)
    const [shownUser, shownTopic, shownReason] = [user, topic, reason].map(short)
    this.#show(hubTopics.why(name), {
      clientId,
      user: shownUser,
      action,
      topic: shownTopic,
      reason: shownReason,
      time,
    })
    if (this.#refusals.size > maxShown) this.#clear(hubTopics.why, this.#refusals.first)
  }

  /** Called at the start, before any client connects: clients online when the hub went down are shown as offline. */
  restore(): void {
    for (const { name, told } of this.#restored(hubTopics.everyPresence, hubTopics.presence)) {
      if (told.online) this.#present(name, { id: told.clientId, user: told.user }, false)
      else this.#absent.add(name, told.user)
    }
    for (const { name, told } of this.#restored(hubTopics.everyWhy, hubTopics.why)) this.#refusals.add(name, told.user)
  }

  /** Returns the retained messages about clients that match a filter. Clears damaged ones and those not of the hub. */
  #restored(filter: string, topicOf: (name: string) => string): { name: string; told: Told }[] {
    return [...this.#options.retainedBy(filter)].flatMap(({ topic, payload }) => {
      const told = readShown(payload)
      const names = told ? [told.clientId, sessionName(told.user, told.clientId)] : []
      const name = names.find(one => topicOf(one) === topic)
      if (told && name !== undefined) return { name, told }
      this.#options.log.warn(`${short(topic)} had a retained message that is not from the hub; it was cleared`)
      this.#show(topic)
      return []
    })
  }

  #keep(topicOf: (name: string) => string, user: string, id: string, payload: Buffer, isOnline: boolean): void {
    const name = sessionName(user, id)
    if (!isOnline) this.#namesOf(topicOf).add(name, user)
    this.#options.publish({ topic: topicOf(name), payload, qos: 0, retain: true })
  }

  #clear(topicOf: (name: string) => string, name: string | undefined): void {
    if (name !== undefined && this.#namesOf(topicOf).delete(name)) this.#show(topicOf(name))
  }

  #namesOf(topicOf: (name: string) => string): FairSet<string> {
    return topicOf === hubTopics.presence ? this.#absent : this.#refusals
  }

  /** Retains a value on a topic; without a value, clears the topic. */
  #show(topic: string, value?: object): void {
    const payload = value ? Buffer.from(JSON.stringify(value)) : Buffer.alloc(0)
    this.#options.publish({ topic, payload, qos: 0, retain: true })
  }
}
