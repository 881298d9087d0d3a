import { Slices } from '../runtime/slices.js'
import type { Session } from '../sessions/sessions.js'
import type { Connection } from '../transport/connections.js'
import type { BrokerClient } from './broker-client.js'

/** Selects clients: those whose id, user or address contains the text, sorted by one of their numbers. */
export interface ClientQuery {
  readonly search?: string | undefined
  readonly sort: 'name' | 'in' | 'out' | 'queue' | 'since'
  readonly limit: number
}

/** A connected client, or a kept session without one. */
export interface ListedClient {
  readonly clientId: string
  readonly user: string
  readonly connected: boolean
  /** Whether the session outlives the connection. */
  readonly kept: boolean
  readonly address?: string
  readonly listener?: string
  /** Version of MQTT. */
  readonly version?: string
  /** Milliseconds since the epoch. */
  readonly since?: number
  readonly absentSince?: number
  /** Milliseconds since the last publish. */
  readonly sincePublish?: number
  readonly subscriptions: number
  readonly filters: readonly string[]
  readonly queued: number
  readonly queuedBytes: number
  /** Whether the client does not take what is sent fast enough. */
  readonly isFull: boolean
  readonly publishes: number
  readonly bytesInPerSecond: number
  readonly bytesOutPerSecond: number
  readonly publishesPerSecond: number
}

/** Bytes and publishes of a connection at a time, and what they were in a second before. */
interface TrafficSample {
  at: number
  bytesIn: number
  bytesOut: number
  publishes: number
  perSecond: { readonly bytesIn: number; readonly bytesOut: number; readonly publishes: number }
}

/** Shortest time between two samples, in milliseconds. */
const leastMs = 1_000
/** Most filters of a client in the list, and clients in the short lists. */
const mostFilters = 50
const mostTop = 5

const versions: Readonly<Record<number, string>> = { 3: '3.1', 4: '3.1.1', 5: '5' }

/** Lists connected clients and kept sessions, with their traffic since the list was last asked for. */
export class ClientList {
  readonly #samples = new WeakMap<Connection, TrafficSample>()

  /** @param clientOf Returns the connected client of a session. */
  async list(
    sessions: Iterable<Session>,
    clientOf: (session: Session) => BrokerClient | undefined,
    { search, sort, limit }: ClientQuery,
  ) {
    const slices = new Slices()
    const text = search?.toLowerCase() ?? ''
    const page = new Best(limit, sort)
    const talkers = new Best(mostTop, 'in')
    const slow = new Best(mostTop, 'queue')
    let [count, connected] = [0, 0]
    for (const session of sessions) {
      if (slices.isOver) await slices.turn()
      const client = session.attached ? clientOf(session) : undefined
      const row = this.#row(session, client)
      if (client) connected++
      if (row.publishesPerSecond > 0) talkers.offer(row)
      if (client && (row.queuedBytes > 0 || row.isFull)) slow.offer(row)
      const isMeant = [row.clientId, row.user, row.address ?? ''].some(one => one.toLowerCase().includes(text))
      if (!isMeant) continue
      count++
      page.offer(row)
    }
    return { count, connected, clients: page.rows, talkers: talkers.rows, slow: slow.rows }
  }

  #row(session: Session, client: BrokerClient | undefined): ListedClient {
    const { clientId, user, durable, absentSince, expiry, subscriptions, load, unsent } = session
    const traffic = client ? this.#sample(client) : idle
    const filters: string[] = []
    for (const [filter] of subscriptions) {
      if (filters.length >= mostFilters) break
      filters.push(filter)
    }
    return {
      clientId,
      user,
      connected: client !== undefined,
      kept: durable && expiry > 0,
      ...(client && {
        address: client.connection.peer.address,
        listener: client.connection.peer.listener,
        version: versions[client.version] ?? '',
        since: client.connectedAt / 1_000,
        ...(client.publishedAt > 0 && { sincePublish: Math.round(performance.now() - client.publishedAt) }),
      }),
      ...(!client && absentSince > 0 && { absentSince }),
      subscriptions: subscriptions.size,
      filters,
      queued: load,
      queuedBytes: unsent.bytes,
      isFull: client?.connection.isFull === true,
      publishes: client?.published ?? 0,
      bytesInPerSecond: traffic.bytesIn,
      bytesOutPerSecond: traffic.bytesOut,
      publishesPerSecond: traffic.publishes,
    }
  }

  #sample({ connection, published, connectedAt }: BrokerClient): TrafficSample['perSecond'] {
    const { bytesIn, bytesOut } = connection.traffic
    const at = performance.now()
    const before = this.#samples.get(connection)
    if (before && at - before.at < leastMs) return before.perSecond
    // For a client that is new in the list: the mean since the connection began.
    const seconds = before ? (at - before.at) / 1_000 : Math.max(1, Date.now() / 1_000 - connectedAt / 1e6)
    const rate = (now: number, was = 0) => Math.round(((now - was) / seconds) * 100) / 100
    const perSecond = {
      bytesIn: rate(bytesIn, before?.bytesIn),
      bytesOut: rate(bytesOut, before?.bytesOut),
      publishes: rate(published, before?.publishes),
    }
    this.#samples.set(connection, { at, bytesIn, bytesOut, publishes: published, perSecond })
    return perSecond
  }
}

const idle: TrafficSample['perSecond'] = { bytesIn: 0, bytesOut: 0, publishes: 0 }

const orders: Readonly<Record<ClientQuery['sort'], (a: ListedClient, b: ListedClient) => number>> = {
  name: (a, b) => (a.clientId < b.clientId ? -1 : a.clientId > b.clientId ? 1 : 0),
  in: (a, b) => b.publishesPerSecond - a.publishesPerSecond || b.bytesInPerSecond - a.bytesInPerSecond,
  out: (a, b) => b.bytesOutPerSecond - a.bytesOutPerSecond,
  queue: (a, b) => b.queuedBytes - a.queuedBytes || b.queued - a.queued,
  since: (a, b) => (b.since ?? 0) - (a.since ?? 0),
}

/** The first of many rows in an order, without a list of all. */
class Best {
  readonly #limit: number
  readonly #order: (a: ListedClient, b: ListedClient) => number
  #rows: ListedClient[] = []

  constructor(limit: number, sort: ClientQuery['sort']) {
    this.#limit = limit
    this.#order = orders[sort]
  }

  offer(row: ListedClient): void {
    this.#rows.push(row)
    if (this.#rows.length >= 2 * this.#limit + 1_000) this.#cut()
  }

  get rows(): readonly ListedClient[] {
    this.#cut()
    return this.#rows
  }

  #cut(): void {
    this.#rows.sort(this.#order)
    if (this.#rows.length > this.#limit) this.#rows.length = this.#limit
  }
}
