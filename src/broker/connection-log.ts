import type { Auditor } from '../observe/audit.js'
import type { SentenceLog } from '../observe/log.js'
import { rateLimited } from '../observe/log.js'
import { dropOldest } from '../runtime/drop-oldest.js'
import type { MillisecondClock } from '../runtime/time.js'
import { ownerOf, sessionName } from '../sessions/session-name.js'
import type { Connection } from '../transport/connections.js'
import { short } from './sentences.js'

export interface ConnectionLogOptions {
  /** True when no client is asked for credentials: then there are no logins to audit. */
  readonly isOpen: boolean
  readonly audit: Auditor
  /** Logs a sentence. Called at a limited rate. */
  readonly log: Pick<SentenceLog, 'info'>
  /** Milliseconds since the epoch. */
  readonly clock: MillisecondClock
}

/** The fields by which the log names a client. */
export interface NamedClient {
  readonly id: string
  /** Empty when no client is asked for credentials. */
  readonly user: string
  readonly connection: Pick<Connection, 'peer'>
}

/** Takeovers of one client id. */
interface Takeovers {
  /** Times of the latest takeovers, the newest last, in milliseconds since the epoch. */
  readonly times: number[]
  /** Addresses of the connection that was closed last, and of the one that took its place. */
  from: string
  to: string
}

/** Takeovers within `fightMs` that make a fight: a device whose network is bad comes back less often. */
const fightCount = 6
const fightMs = 60_000

/** How long an alarm stays after the latest takeover, in milliseconds. */
const calmMs = 120_000

/** Client ids whose takeovers are remembered; the one taken over longest ago is forgotten first. */
const maxRemembered = 1_000

/** Client ids that an alarm names. */
const maxNamed = 3

/**
 * Logs who connects, who disconnects and why, and who takes whose place: at `info`, ten sentences a second at most.
 * Finds clients that take one client id from each other over and over, each by reconnecting.
 */
export class ConnectionLog {
  readonly #options: ConnectionLogOptions
  readonly #say: (sentence: string) => void
  /** Takeovers by session name, the one taken over longest ago first. */
  readonly #takeovers = new Map<string, Takeovers>()
  /** Addresses of connections closed because another one has come, by session name, until the other is connected. */
  readonly #replaced = new Map<string, string>()

  constructor(options: ConnectionLogOptions) {
    this.#options = options
    this.#say = rateLimited(sentence => options.log.info(sentence))
  }

  /** Returns a sentence when the client has taken the place of another connection. */
  connected(client: NamedClient): string | undefined {
    const { isOpen, audit } = this.#options
    const { id, user, connection } = client
    const { address, listener: via } = connection.peer
    const name = sessionName(user, id)
    const from = this.#replaced.get(name)
    this.#replaced.delete(name)
    this.#say(`connected: ${named(client)}${from === undefined ? '' : `, in the place of a connection from ${from}`}`)
    if (!isOpen) audit.repeated({ event: 'login', result: 'ok', user, address, via, client: id })
    if (from === undefined) return undefined
    audit.repeated({ event: 'takeover', result: 'ok', user, address, via, client: id, detail: `from ${from}` })
    this.#remember(name, from, address)
    return `a connection from ${address} took the place of one from ${from}: they have one client id`
  }

  /** Logs the end of a connection. `reason`: why, in words. */
  disconnected(client: NamedClient, reason: string): void {
    this.#say(`disconnected: ${named(client)}: ${short(reason)}`)
  }

  /** Called when a connection is closed because another one with the same client id has come. */
  replaced({ id, user, connection }: NamedClient): void {
    this.#replaced.set(sessionName(user, id), connection.peer.address)
    // The other one may be gone before being connected.
    dropOldest(this.#replaced, maxRemembered)
  }

  /** Returns a sentence for an alarm while clients fight over a client id. */
  fights(): string | undefined {
    const now = this.#options.clock.now()
    const all = [...this.#takeovers].filter(([, { times }]) => isFight(times, now))
    if (all.length === 0) return undefined
    const some = all.slice(-maxNamed).map(([name, { from, to }]) => {
      const ends = from === to ? `${from}, both` : `${from} and ${to}`
      return `${short(ownerOf(name).clientId)} (${ends})`
    })
    const more = all.length > maxNamed ? `, and ${all.length - maxNamed} more` : ''
    return `connections keep taking over the same client id from each other: ${some.join(', ')}${more}; give each client an id of its own`
  }

  #remember(name: string, from: string, to: string): void {
    const known = this.#takeovers.get(name)
    const times = [...(known?.times ?? []), this.#options.clock.now()].slice(-fightCount)
    this.#takeovers.delete(name)
    this.#takeovers.set(name, { times, from, to })
    dropOldest(this.#takeovers, maxRemembered)
  }
}

function isFight(times: readonly number[], now: number): boolean {
  const [first = 0] = times
  const last = times.at(-1) ?? 0
  return times.length >= fightCount && last - first <= fightMs && now - last <= calmMs
}

function named({ id, user, connection: { peer } }: NamedClient): string {
  return `${short(id)}${user && `, user ${short(user)},`} at ${peer.address} (${peer.listener})`
}
