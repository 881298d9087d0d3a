import type { Outward, QoS } from '../model.js'
import { FairSet } from '../runtime/fair-set.js'
import { SharedPool } from '../runtime/shared-pool.js'
import { type UserShares, unshared } from '../runtime/user-shares.js'
import type { Work } from '../runtime/work.js'
import { isWildcard, sharedFilter } from '../topics.js'
import type { Queued } from './delivery.js'
import type { SharedPayloads } from './queue-chunk.js'
import { RetainedMessages } from './retained.js'
import { Session } from './session.js'
import type { QueueLimits, SessionEvents } from './session-host.js'
import { ownerOf, sessionName } from './session-name.js'
import {
  head,
  type JournalRecord,
  type QueuedFor,
  type RecordedSubscription,
  type RecordedWill,
} from './session-records.js'
import type { Group } from './shared-group.js'
import { reachOf, type Subscription, topicsOf } from './subscription.js'
import { SubscriptionIndex } from './subscription-index.js'

/** A message with its publisher; both empty for the hub itself. */
export type Published = Outward & { readonly clientId: string; readonly user?: string | undefined }

/** A client's last will. */
export type LastWill = Published & {
  /** Seconds that it waits for the client to come back. (MQTT 5 §3.1.3.2.2) */
  readonly delay: number
  /** Seconds that it is delivered, from when it is published; undefined: for ever. */
  readonly expiry: number | undefined
}

/** A will whose client is gone. */
export interface DueWill {
  readonly will: LastWill
  /** Milliseconds since the epoch. */
  readonly due: number
  isPublishing: boolean
}

/** What a session subscribes to, and how; what is not said is as in 3.1.1. */
export interface Subscribing {
  readonly filter: string
  readonly qos: QoS
  readonly noLocal?: boolean
  readonly asPublished?: boolean
  /** 0: none. */
  readonly id?: number
}

/**
 * What outlives a connection, in memory. session-capture.ts puts it into a snapshot, session-replay.ts brings it back.
 */
export class SessionState {
  /** Durable sessions by name. */
  readonly sessions = new Map<string, Session>()
  /** Those without a connection, absent longest first. */
  readonly absent: FairSet<Session>
  /** Subscriptions of each user, and those of them with + or #. */
  readonly subscriptions: SharedPool
  readonly wildcards: SharedPool
  readonly emitter: SubscriptionIndex
  readonly retained: RetainedMessages
  /** Those of the hub itself, under `$`, which no limit is for. */
  readonly own: RetainedMessages
  /** Of clients that are connected, by the names of their sessions. */
  readonly wills = new Map<string, LastWill>()
  /** Of clients that are gone and may come back, likewise. */
  readonly dueWills = new Map<string, DueWill>()
  /** All publishes up to this spool sequence are in. */
  applied = 0
  /** Spool sequences above `applied` that the journal has in its queues. */
  readonly queuedBefore = new Set<number>()
  /** Large payloads of what is queued and packed. */
  readonly payloads: SharedPayloads = new WeakMap()
  readonly #limits: QueueLimits
  readonly #host: SessionEvents

  constructor(limits: QueueLimits, host: SessionEvents, work: Work, shares: () => UserShares = () => unshared) {
    this.absent = new FairSet(shares)
    this.subscriptions = new SharedPool(shares)
    this.wildcards = new SharedPool(shares)
    this.emitter = new SubscriptionIndex(work)
    this.#limits = limits
    this.#host = host
    this.retained = new RetainedMessages(() => host.now(), shares)
    this.own = new RetainedMessages(() => host.now())
  }

  create(name: string): Session {
    const session = new Session(name, true, this.#limits, this.#host)
    this.sessions.set(name, session)
    return session
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
      subscriptions: this.emitter.subscriptions,
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

  /** Counts a subscription of the session's user, or one less. */
  #count({ user }: Session, filter: string, by: 1 | -1): void {
    this.subscriptions.add(user, by)
    if (isWildcard(filter)) this.wildcards.add(user, by)
  }

  /** Of a durable session or a passing one. */
  subscribe(session: Session, { filter, qos, noLocal = false, asPublished = false, id = 0 }: Subscribing): void {
    const known = session.subscriptions.get(filter)
    const isSame =
      known?.qos === qos &&
      known.noLocal === noLocal &&
      known.asPublished === asPublished &&
      (known.ids?.[0] ?? 0) === id
    if (isSame) return
    const group = this.#groupOf(session, filter)
    if (known) this.#drop(session, known)
    const reach = reachOf(session.access, topicsOf({ group, filter }))
    const ids = id > 0 ? ([id] as const) : undefined
    const subscription = { session, filter, qos, noLocal, asPublished, ids, group, reach }
    session.subscriptions.set(filter, subscription)
    session.filterLength += filter.length
    if (isWildcard(filter)) session.wildcards++
    this.#count(session, filter, 1)
    if (group) {
      session.shared ??= new Set()
      session.shared.add(subscription)
    }
    this.emitter.add(subscription)
  }

  /** The group of a shared filter: what the session has waiting of it stays of it, also if it was the only member. */
  #groupOf(session: Session, filter: string): Group | undefined {
    const shared = sharedFilter(filter)
    if (!shared || 'fault' in shared) return undefined
    const { group } = session.subscriptions.get(filter) ?? {}
    return group ?? session.groupOf(filter) ?? this.emitter.group(filter, shared.filter)
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
    this.emitter.remove(subscription)
  }

  /** No wildcard reaches from one into the other. [MQTT-4.7.2-1] */
  retainedOf(filter: string): RetainedMessages {
    return filter.charCodeAt(0) === 36 ? this.own : this.retained
  }
}

type OpenRecord = Extract<JournalRecord, { readonly t: 'open' }>

/** `$hub/last/…` is made anew from the registry on every start, `$SYS/…` by the statistics. */
export function isJournalled(topic: string): boolean {
  return !topic.startsWith('$hub/last/') && !topic.startsWith('$SYS/')
}

export function openRecord({ name: c, absentSince: a, user: u, expiry: e }: Session): OpenRecord {
  return { t: 'open', c, a, ...(u && { u }), ...(e !== Infinity && { e }) }
}

type Recorded = Pick<Subscription, 'filter' | 'qos' | 'noLocal' | 'asPublished' | 'ids'>

export function recordedSubscription({ filter, qos, noLocal, asPublished, ids }: Recorded): RecordedSubscription {
  return { topic: filter, qos, ...(noLocal && { nl: 1 }), ...(asPublished && { rap: 1 }), ...(ids && { id: ids[0] }) }
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
