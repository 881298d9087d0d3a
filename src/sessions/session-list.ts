import type { Session } from './session.js'

/** A session as administrators see it. */
export interface ListedSession {
  readonly clientId: string
  /** Empty: nobody was asked. */
  readonly user: string
  readonly connected: boolean
  /** It outlives the connection. */
  readonly kept: boolean
  /** When its client left, in milliseconds since the epoch. */
  readonly absentSince?: number
  /** Seconds that it is kept without a connection, if not for ever. */
  readonly expiry?: number
  readonly subscriptions: number
  /** Messages that wait for the client, or for its acknowledgement, and the bytes of those that wait. */
  readonly queued: number
  readonly queuedBytes: number
}

export interface SessionFilter {
  readonly clientId?: string | undefined
  readonly user?: string | undefined
}

export interface SessionList {
  /** Of all that the filter matches. */
  readonly count: number
  readonly sessions: readonly ListedSession[]
}

/** The sessions that a filter matches, `most` of them at most. */
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
