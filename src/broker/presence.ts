import { isAssignedClientId, type PresenceListener } from '../model.js'
import type { Auditor } from '../observe/audit.js'
import type { DebugLog } from '../observe/log.js'
import { SharedPool } from '../runtime/shared-pool.js'
import { inMilliseconds, type MicrosecondClock } from '../runtime/time.js'
import type { Sharing } from '../runtime/user-shares.js'
import { sessionName } from '../sessions/session-name.js'
import { hubTopics } from '../topics.js'
import type { BridgeStates } from './bridge-states.js'
import type { BrokerClient } from './broker-client.js'
import { ClientPages, type PageStore } from './client-pages.js'
import { ConnectionLog } from './connection-log.js'
import type { Restoration } from './restoration.js'
import { isTooLongToShow } from './sentences.js'

export interface PresenceOptions {
  /** True when no client is asked for credentials. */
  readonly isOpen: boolean
  readonly sharing: Sharing
  readonly pages: PageStore
  /** Retained pages are known and changed once they are restored. */
  readonly restoration: Pick<Restoration, 'afterwards'>
  readonly bridges: BridgeStates
  readonly listener: PresenceListener
  readonly clock: MicrosecondClock
  readonly audit: Auditor
  readonly log: DebugLog
}

/**
 * The clients that are connected, and the retained `$hub/presence/…` of these and of clients that are gone. A presence
 * is shown once a client publishes, leaves a will, or keeps a session.
 */
export class Presence {
  readonly #options: PresenceOptions
  /** Connected clients, by session name. */
  readonly #connected = new Map<string, BrokerClient>()
  /** Admitted clients, by client id: among those with the same id, the first user's. */
  readonly #holders = new Map<string, BrokerClient>()
  /** Clients whose id was shown as another user's before. */
  readonly #replacing = new WeakSet<BrokerClient>()
  readonly #pages: ClientPages
  readonly #log: ConnectionLog
  /** Connected clients of each user. */
  readonly perUser: SharedPool
  #maximum = 0

  constructor(options: PresenceOptions) {
    const { isOpen, audit, clock, log, pages: store, sharing } = options
    this.#options = options
    this.#log = new ConnectionLog({ isOpen, audit, log, clock: inMilliseconds(clock) })
    this.#pages = new ClientPages({
      topicOf: hubTopics.presence,
      everyTopic: hubTopics.everyPresence,
      store,
      sharing,
      log,
    })
    this.perUser = new SharedPool(sharing)
  }

  /** Called when what is retained is restored: clients online when the hub went down are shown as offline. */
  restore(): void {
    for (const { name, page } of this.#pages.restored()) {
      // Whether the client has a kept session is not asked: a client that comes back is shown again.
      if (isAssignedClientId(page.clientId)) this.remove(page.user, page.clientId)
      else if (page.online) this.#change(name, page.clientId, page.user, false, this.#options.clock.now())
      else this.#pages.restore(name, page.user)
    }
  }

  // — who is there —

  get count(): number {
    return this.#connected.size
  }

  /** The most clients that were connected at a time. */
  get maximum(): number {
    return this.#maximum
  }

  all(): Iterable<BrokerClient> {
    return this.#connected.values()
  }

  /** Returns the connected client with this session name. */
  find(name: string): BrokerClient | undefined {
    return this.#connected.get(name)
  }

  /** Returns the admitted client that has this client id: among several users, the first one's. */
  holderOf(clientId: string): BrokerClient | undefined {
    return this.#holders.get(clientId)
  }

  /**
   * Returns the name of a client in topics under `$hub`: the client id, or, while another user's client has that id,
   * the session name, which is no client's id.
   */
  nameOf(user: string, clientId: string): string {
    const holder = this.#holders.get(clientId)
    return !holder || holder.user === user ? clientId : sessionName(user, clientId)
  }

  /** Returns whether a client of this name is gone and shown. */
  isAbsent(name: string): boolean {
    return this.#pages.isClearable(name)
  }

  /** Returns a sentence for an alarm while clients take a client id from each other over and over. */
  fights(): string | undefined {
    return this.#log.fights()
  }

  // — who comes and goes —

  /**
   * Called when a client is admitted. Returns false when another user's client has that id. Otherwise the id shows this
   * client from now on.
   */
  entered(client: BrokerClient): boolean {
    const { id, user } = client
    const holder = this.#holders.get(id)
    if (holder && holder.user !== user) return false
    this.#holders.set(id, client)
    if (!holder) this.#options.restoration.afterwards(() => this.#claim(client))
    return !holder
  }

  #claim(client: BrokerClient): void {
    if (!this.#pages.claim(client.id, client.user)) return
    this.#replacing.add(client)
    // The client may have been admitted before this could be known.
    if (client.session) this.seen(client)
  }

  /** Returns a sentence when the client has taken the place of another connection. */
  connected(client: BrokerClient): string | undefined {
    if (!this.#connected.has(client.name)) this.perUser.add(client.user, 1)
    this.#connected.set(client.name, client)
    return this.#log.connected(client)
  }

  /** Called after {@link connected}, unless the client was dismissed: shows a client that is shown at once. */
  admitted(client: BrokerClient): void {
    this.#maximum = Math.max(this.#maximum, this.#connected.size)
    if (client.session?.durable || client.connect?.will || this.#replacing.has(client)) this.seen(client)
  }

  /** Called when a connected client publishes whose presence is not shown yet. */
  seen(client: BrokerClient): void {
    if (this.#connected.get(client.name) !== client) return
    const { id, user } = client
    if (client.shownAs !== '' || isTooLongToShow(id)) return
    client.shownAs = this.nameOf(user, id)
    this.#show(client.shownAs, id, user, true)
  }

  /** Called when the connection is to be closed because another one with the same client id has come. */
  replaced(client: BrokerClient): void {
    this.#log.replaced(client)
  }

  /** Called when a connected client has left. `reason`: why the connection ended, in words. */
  left(client: BrokerClient, reason: string): void {
    this.#log.disconnected(client, reason)
    const { id, name, shownAs, user } = client
    if (this.#connected.get(name) !== client) return
    this.#connected.delete(name)
    this.perUser.add(user, -1)
    this.#options.bridges.left(client)
    if (shownAs === '') return
    if (isAssignedClientId(id) && !client.session?.durable) {
      this.#options.restoration.afterwards(() => this.remove(user, id))
      return
    }
    // Meanwhile another user's client may have come with that id.
    this.#show(shownAs === id ? this.nameOf(user, id) : shownAs, id, user, false)
  }

  /** Forgets a client that is gone. Returns whether the presence was shown. */
  remove(user: string, clientId: string): boolean {
    const name = this.nameOf(user, clientId)
    const isShown = this.#pages.remove(clientId, user)
    if (isShown) {
      const since = this.#options.clock.now()
      this.#options.listener.onPresence({ clientId: shownName(name), user, online: false, since, isForgotten: true })
    }
    return isShown
  }

  /** Called when the connection is over, whether the client was connected or not. */
  closed(client: BrokerClient): void {
    if (this.#holders.get(client.id) === client) this.#holders.delete(client.id)
  }

  #show(name: string, clientId: string, user: string, online: boolean): void {
    const { clock, restoration } = this.#options
    const since = clock.now()
    restoration.afterwards(() => this.#change(name, clientId, user, online, since))
  }

  #change(name: string, clientId: string, user: string, online: boolean, since: number): void {
    this.#options.listener.onPresence({ clientId: shownName(name), user, online, since })
    this.#pages.show(name, user, { clientId, user, online, since: since / 1_000 }, online)
  }
}

/** Returns a name as the lists of devices show names. */
function shownName(name: string): string {
  return name.replace('\0', '/')
}
