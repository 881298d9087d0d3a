import { HubError } from '../errors.js'
import { reasonCode } from '../mqtt/reason-codes.js'
import { sourceOf } from '../runtime/addresses.js'
import { sessionName } from '../sessions/session-name.js'
import { listSessions, type Session, type SessionFilter, type SessionList } from '../sessions/sessions.js'
import type { BrokerParts } from './broker-parts.js'
import { ClientList, type ClientQuery } from './client-list.js'
import { listRetained, retainedOn } from './retained-admin.js'

/** Names a client. The user is empty without authentication. */
interface ClientOfUser {
  readonly user: string
  readonly clientId: string
}

/** Selects connected clients that fit all that is given. `source`: as `sourceOf` an address. */
export interface ClientSelection {
  readonly clientId?: string
  readonly user?: string
  readonly source?: string
}

/** The arguments but the first. */
type Skipped<All extends readonly unknown[]> = All extends readonly [unknown, ...infer Rest] ? Rest : never

/** What administrators see of clients and sessions, and how they end or remove them. */
export class ClientAdmin {
  readonly #parts: BrokerParts
  readonly #list = new ClientList()

  constructor(parts: BrokerParts) {
    this.#parts = parts
  }

  /** Returns sessions that outlive their connection, and sessions of connected clients. */
  listSessions(filter: SessionFilter, most: number): SessionList {
    this.#mustBeRestored()
    return listSessions(this.#allSessions(), filter, most)
  }

  /** Resolves with connected clients and kept sessions, and with those that talk most, or take least. */
  listClients(query: ClientQuery): ReturnType<ClientList['list']> {
    this.#mustBeRestored()
    const { presence } = this.#parts
    return this.#list.list(
      this.#allSessions(),
      ({ user, clientId }) => presence.find(sessionName(user, clientId)),
      query,
    )
  }

  /** Closes the connections of clients; their sessions stay. Returns how many. MQTT 5 clients get 0x98 with the reason. */
  disconnect({ clientId, user, source }: ClientSelection): number {
    const fault = { code: reasonCode.administrativeAction, reason: 'an administrator has disconnected it' }
    const meant = [...this.#parts.presence.all()].filter(
      one =>
        (clientId === undefined || one.id === clientId) &&
        (user === undefined || one.user === user) &&
        (source === undefined || sourceOf(one.connection.peer.address) === source),
    )
    for (const { connection } of meant) connection.end(fault)
    return meant.length
  }

  *#allSessions(): Generator<Session> {
    yield* this.#parts.sessions.all()
    for (const { session } of this.#parts.presence.all()) if (session && !session.durable) yield session
  }

  /** Ends the session and the connection of a user's client; false when there is neither. The client's will is due. */
  endSession({ user, clientId }: ClientOfUser): boolean {
    this.#mustBeRestored()
    const name = sessionName(user, clientId)
    const client = this.#parts.presence.find(name)
    const isKept = this.#parts.sessions.find(name) !== undefined
    client?.connection.end({ code: reasonCode.administrativeAction, reason: 'an administrator ended its session' })
    this.#parts.sessions.forget(name)
    return isKept || client !== undefined
  }

  /**
   * Removes a user's client that is gone: session, presence, refusals, and the messages that the client retained. Resolves with
   * the topics of those messages once that is on disk; with undefined when nothing of the client was known. Rejects with
   * `busy` while the client is connected.
   */
  async removeClient({ user, clientId }: ClientOfUser): Promise<readonly string[] | undefined> {
    this.#mustBeRestored()
    if (this.#parts.presence.find(sessionName(user, clientId))) {
      throw new HubError('busy', `client ${JSON.stringify(clientId)} is connected; disconnect it first`)
    }
    const isKept = this.endSession({ user, clientId })
    const topics = await this.#parts.sessions.clearRetained(
      one => one.clientId === clientId && (one.user ?? '') === user,
    )
    const isRefused = this.#parts.refusals.remove(user, clientId)
    const isShown = this.#parts.presence.remove(user, clientId)
    this.#parts.commands?.onRemoved(clientId, user)
    await this.#parts.sessions.flush()
    return isKept || isRefused || isShown || topics.length > 0 ? topics : undefined
  }

  /** Clears the retained messages of these topics. Resolves, with the number of messages, once that is on disk. */
  async clearRetained(topics: readonly string[]): Promise<number> {
    this.#mustBeRestored()
    const cleared = await this.#parts.sessions.clearRetained(() => true, topics)
    await this.#parts.sessions.flush()
    return cleared.length
  }

  /** Returns the retained message of a topic. */
  retainedOn(topic: string): ReturnType<typeof retainedOn> {
    return retainedOn(this.#parts.sessions, topic)
  }

  /** Resolves with the retained messages that the filter matches, of the topics that `reader` may read. */
  listRetained(...asked: Skipped<Parameters<typeof listRetained>>): ReturnType<typeof listRetained> {
    this.#mustBeRestored()
    return listRetained(this.#parts.sessions, ...asked)
  }

  /** Deletes the retained messages that the filter matches. Resolves, with their number, once that is on disk. */
  async clearRetainedUnder(filter: string): Promise<number> {
    this.#mustBeRestored()
    const topics: string[] = []
    for (const message of this.#parts.sessions.retainedOf(filter).search(filter)) {
      if (message) topics.push(message.topic)
      else await new Promise(resolve => setImmediate(resolve))
    }
    return this.clearRetained(topics)
  }

  #mustBeRestored(): void {
    if (!this.#parts.restoration.isOver) throw new HubError('stopping', 'the sessions are being restored; ask again')
  }
}
