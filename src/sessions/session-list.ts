import type { Session } from './session.js'

/** A session as listed for administrators. */
export interface ListedSession {
  readonly clientId: string
  /** The user of the session; empty without authentication. */
  readonly user: string
  readonly connected: boolean
  /** Whether the session outlives the connection. */
  readonly kept: boolean
  /** When the client left, in milliseconds since the epoch. Absent while the client is connected. */
  readonly absentSince?: number
  /** Seconds that the session is kept without a connection. Absent: for ever. */
  readonly expiry?: number
  readonly subscriptions: number
  /** Messages still to be sent or to be acknowledged, and the bytes of those still to be sent. */
  readonly queued: number
  readonly queuedBytes: number
}

export interface SessionFilter {
  readonly clientId?: string | undefined
  readonly user?: string | undefined
}

export interface SessionList {
  /** Number of all sessions that the filter matches. */
  readonly count: number
  readonly sessions: readonly ListedSession[]
}

/** Returns the sessions that a filter matches, at most `most` of them. */
export function listSessions(all: Iterable<Session>, { clientId, user }: SessionFilter, most: number): SessionList {
  const sessions: ListedSession[] = []
  let count = 0
  for (const session of all) {
    if (clientId !== undefined && session.clientId !== clientId) continue
    if (user !== undefined && session.user !== user) continue
    if (count++ < most) sessions.push(listed(session))
  }
  return { count, sessions }
}

function listed({ clientId, user, attached, durable, absentSince, expiry, subscriptions, load, unsent }: Session) {
  return {
    clientId,
    user,
    connected: attached,
    kept: durable && expiry > 0,
    ...(absentSince > 0 && { absentSince }),
    ...(expiry !== Infinity && { expiry }),
    subscriptions: subscriptions.size,
    queued: load,
    queuedBytes: unsent.bytes,
  }
}
