import type { Outward, QoS } from '../model.js'
import { FairSet } from '../runtime/fair-set.js'
import { SharedPool } from '../runtime/shared-pool.js'
import type { MillisecondClock } from '../runtime/time.js'
import { type Sharing, unsharing } from '../runtime/user-shares.js'
import type { Work } from '../runtime/work.js'
import { isWildcard, sharedFilter } from '../topics.js'
import type { GroupName, Queued } from './delivery.js'
import type { SharedPayloads } from './queue-chunk.js'
import { RetainedMessages } from './retained.js'
import type { Session, Subscription } from './session.js'
import { ownerOf, sessionName } from './session-name.js'
import {
  head,
  type JournalRecord,
  type QueuedFor,
  type RecordedSubscription,
  type RecordedWill,
} from './session-records.js'
import { reachOf, topicsOf } from './subscription.js'
import { SubscriptionIndex } from './subscription-index.js'

/** A message with its client and user; both empty for the hub itself. */
export type Published = Outward & { readonly clientId: string; readonly user?: string | undefined }

/** A client's last will. */
export type LastWill = Published & {
  /** Seconds to wait for the client to come back. (MQTT 5 §3.1.3.2.2) */
  readonly delay: number
  /** Seconds to deliver the will after publishing; undefined: for ever. */
  readonly expiry: number | undefined
}

/** A will whose client is gone. */
export interface DueWill {
  readonly will: LastWill
  /** Milliseconds since the epoch. */
  readonly due: number
  isPublishing: boolean
}

/** A subscription that a session asks for. Absent options are as in 3.1.1. */
export interface Subscribing {
  readonly filter: string
  readonly qos: QoS
  readonly noLocal?: boolean
  readonly asPublished?: boolean
  readonly conflate?: boolean
  /** Subscription identifier; 0: none. */
  readonly id?: number
}

/**
 * The state that outlives a connection, in memory. Written into a snapshot by session-capture.ts, and restored by
 * session-replay.ts.
 */
export class SessionState {
  /** Durable sessions by name. */
  readonly sessions = new Map<string, Session>()
  /** Sessions without a connection, the one absent longest first. */
  readonly absent: FairSet<Session>
  /** Number of subscriptions of each user, and of those with + or #. */
  readonly subscriptions: SharedPool
  readonly wildcards: SharedPool
  readonly index: SubscriptionIndex
  readonly retained: RetainedMessages
  /** Retained messages of the hub itself, under `$`; no limit applies to them. */
  readonly own: RetainedMessages
  /** Wills of connected clients, by the names of their sessions. */
  readonly wills = new Map<string, LastWill>()
  /** Wills of clients that are gone and may come back, by the names of their sessions. */
  readonly dueWills = new Map<string, DueWill>()
  /** Spool sequence up to which the state has all publishes. */
  applied = 0
  /** Spool sequences above `applied` of publishes that the journal has queued already. */
  readonly queuedBefore = new Set<number>()
  /** Large payloads of messages that are queued and packed. */
  readonly payloads: SharedPayloads = new WeakMap()

  constructor(clock: MillisecondClock, work: Work, sharing: Sharing = unsharing) {
    this.absent = new FairSet(sharing)
    this.subscriptions = new SharedPool(sharing)
    this.wildcards = new SharedPool(sharing)
    this.index = new SubscriptionIndex(work)
    this.retained = new RetainedMessages(() => clock.now(), sharing)
    this.own = new RetainedMessages(() => clock.now())
  }

  remove(name: string): void {
    const session = this.sessions.get(name)
    if (!session) return
    this.unsubscribeAll(session)
    this.absent.delete(session)
    this.sessions.delete(name)
  }

  get pools() {
    const { subscriptions, wildcards, absent, retained } = this
    return { subscriptions, wildcards, absent, retained }
  }

  get counts(): { sessions: number; absent: number; subscriptions: number; retained: number; retainedBytes: number } {
    return {
      sessions: this.sessions.size,
      absent: this.absent.size,
      subscriptions: this.index.subscriptions,
      retained: this.retained.count + this.own.count,
      retainedBytes: this.retained.bytes + this.own.bytes,
    }
  }

  /** Gives a durable session to another user. */
  rename(session: Session, name: string): Session {
    this.sessions.delete(session.name)
    for (const one of session.subscriptions.values()) this.#count(session, one.filter, -1)
    session.name = name
    session.user = ownerOf(name).user
    for (const one of session.subscriptions.values()) this.#count(session, one.filter, 1)
    this.sessions.set(name, session)
    return session
  }

  /** Adds `by` to the subscription counts of the session's user. */
  #count({ user }: Session, filter: string, by: 1 | -1): void {
    this.subscriptions.add(user, by)
    if (isWildcard(filter)) this.wildcards.add(user, by)
  }

  /** Subscribes a session, durable or transient. */
  subscribe(session: Session, subscribing: Subscribing): void {
    const { filter, qos, noLocal = false, asPublished = false, conflate = false, id = 0 } = subscribing
    const known = session.subscriptions.get(filter)
    const isSame =
      known?.qos === qos &&
      known.noLocal === noLocal &&
      known.asPublished === asPublished &&
      known.conflate === conflate &&
      (known.ids?.[0] ?? 0) === id
    if (isSame) return
    const group = groupOf(filter)
    if (known) this.#drop(session, known)
    const reach = reachOf(session.access, topicsOf({ group, filter }))
    const ids = id > 0 ? ([id] as const) : undefined
    const subscription = { session, filter, qos, noLocal, asPublished, conflate, ids, group, reach }
    session.subscriptions.set(filter, subscription)
    session.filterLength += filter.length
    if (isWildcard(filter)) session.wildcards++
    this.#count(session, filter, 1)
    if (group) {
      session.shared ??= new Set()
      session.shared.add(subscription)
    }
    this.index.add(subscription)
  }

  unsubscribe(session: Session, filter: string): Subscription | undefined {
    const subscription = session.subscriptions.get(filter)
    if (!subscription) return undefined
    session.forgetRetained(filter)
    this.#drop(session, subscription)
    return subscription
  }

  unsubscribeAll(session: Session): void {
    for (const subscription of session.subscriptions.values()) this.#drop(session, subscription)
  }

  #drop(session: Session, subscription: Subscription): void {
    const { filter, group } = subscription
    session.subscriptions.delete(filter)
    session.filterLength -= filter.length
    if (isWildcard(filter)) session.wildcards--
    this.#count(session, filter, -1)
    if (group) session.shared?.delete(subscription)
    this.index.remove(subscription)
  }

  /** Number of all retained messages. */
  get held(): number {
    return this.retained.count + this.own.count
  }

  /** Returns the retained messages that a filter reaches. No wildcard reaches both kinds. [MQTT-4.7.2-1] */
  retainedOf(filter: string): RetainedMessages {
    return filter.charCodeAt(0) === 36 ? this.own : this.retained
  }
}

/** Returns the group of a shared filter. */
function groupOf(key: string): GroupName | undefined {
  const shared = sharedFilter(key)
  return shared && !('fault' in shared) ? { key, filter: shared.filter } : undefined
}

type OpenRecord = Extract<JournalRecord, { readonly t: 'open' }>

/**
 * Returns whether retained messages of a topic are journalled. Others are made anew on every start: `$hub/last/…` from
 * the registry, `$hub/commands/…` from the journal of commands, `$SYS/…` by the statistics.
 */
export function isJournalled(topic: string): boolean {
  return !/^\$(?:SYS|hub\/(?:last|commands))\//.test(topic)
}

export function openRecord({ name: c, absentSince: a, user: u, expiry: e }: Session): OpenRecord {
  return { t: 'open', c, a, ...(u && { u }), ...(e !== Infinity && { e }) }
}

type Recorded = Pick<Subscription, 'filter' | 'qos' | 'noLocal' | 'asPublished' | 'conflate' | 'ids'>

export function recordedSubscription(subscription: Recorded): RecordedSubscription {
  const { filter, qos, noLocal, asPublished, conflate, ids } = subscription
  return {
    topic: filter,
    qos,
    ...(noLocal && { nl: 1 }),
    ...(asPublished && { rap: 1 }),
    ...(conflate && { new: 1 }),
    ...(ids && { id: ids[0] }),
  }
}

export function queuedFor({ name: c }: Session, entry: Queued): QueuedFor {
  const { n, qos: o, packetId: m, retain, ids: s, group } = entry
  return { c, n, o, m, ...(retain && { r: 1 }), ...(s && { s }), ...(group && { g: group.key }) }
}

export function willRecord(will: LastWill): JournalRecord {
  return { t: 'will', ...recordedWill(will) }
}

export function dueRecord(will: LastWill, due: number): JournalRecord {
  return { t: 'due', a: due, ...recordedWill(will) }
}

function recordedWill(will: LastWill): RecordedWill {
  const { clientId, user: u, delay: d, expiry: x } = will
  const c = sessionName(u ?? '', clientId)
  return { c, ...(u && { u }), ...(d > 0 && { d }), ...(x !== undefined && { x }), p: head(will) }
}
