import { Adapter, type Session } from 'socket.io-adapter'
import { dropOldest } from '../runtime/drop-oldest.js'

/** State of a socket that its client gets back after a break. */
export interface SocketState {
  readonly user: string
  /** Subscriptions by their number, as they were asked for. */
  readonly subscriptions: readonly (readonly [number: number, asked: SubscriptionAsked])[]
  /** For each subscription, the sequence number up to which the client has everything. Set when the client is back. */
  readonly reached?: ReadonlyMap<number, number>
}

export interface SubscriptionAsked {
  readonly filters: readonly string[]
  readonly historyMs: number
  readonly points: number
}

/** For how long a client may be away, and how many clients. */
export const recoveryMs = 120_000
const maxAway = 5_000

type Persisted = Parameters<Adapter['persistSession']>[0]

/**
 * Connection state recovery of Socket.IO 4.6, without packets in memory: what a client has missed comes from the spool.
 * The offset that the client sends is that of the last event that it has received (`offsetOf`).
 */
export class RecoveringAdapter extends Adapter {
  readonly #away = new Map<string, { readonly session: Persisted; readonly until: number }>()

  override persistSession(session: Persisted): void {
    const now = performance.now()
    for (const [pid, { until }] of this.#away) {
      if (until > now) break
      this.#away.delete(pid)
    }
    this.#away.set(session.pid, { session, until: now + recoveryMs })
    dropOldest(this.#away, maxAway)
  }

  /** Resolves with the session of a client that is back. Rejects when there is none: then the client begins anew. */
  override async restoreSession(pid: string, offset: string): Promise<Session> {
    const away = this.#away.get(pid)
    this.#away.delete(pid)
    if (!away || away.until < performance.now()) throw new Error('the client was away for too long')
    const data: SocketState = { ...(away.session.data as SocketState), reached: parseOffset(offset) }
    return { ...away.session, data, missedPackets: [] }
  }
}

/** Returns the offset of an event: for each subscription that has begun, the last sequence number that was sent. */
export function offsetOf(reached: ReadonlyMap<number, number>): string {
  let text = ''
  for (const [number, sequence] of reached) text += text === '' ? `${number}=${sequence}` : ` ${number}=${sequence}`
  return text
}

function parseOffset(offset: string): ReadonlyMap<number, number> {
  const pairs = offset
    .slice(0, 4_000)
    .split(' ')
    .map(pair => /^(\d{1,9})=(\d{1,15})$/.exec(pair))
  return new Map(pairs.flatMap(pair => (pair ? [[Number(pair[1]), Number(pair[2])] as const] : [])))
}
