import type { Reads } from '../access/rules.js'
import type { QoS } from '../model.js'
import { charge, type Work } from '../runtime/work.js'
import type { OutboundMessage, Queued } from './delivery.js'
import { FilterIndex, type FilterValues } from './filter-index.js'
import type { Session, Subscription } from './session.js'
import { type Group, Shares } from './shared-group.js'
import { topicsOf } from './subscription.js'
import { WantedTopics } from './wanted-topics.js'

/** A durable session that a message was queued for. */
export interface QueuedIn {
  readonly session: Session
  readonly entry: Queued
}

/**
 * Maps a topic to the sessions that subscribe to it, in place of mqemitter. The sessions are found once and remembered,
 * called one after the other and never waited for. There is no queue that a flood could fill and no slot that a frozen
 * subscriber could hold; each session's own bounds are the bound.
 */
export class SubscriptionIndex {
  readonly #index: FilterIndex<Subscription>
  readonly #shares: Shares
  readonly #work: Work
  readonly wanted = new WantedTopics()
  /** The last permission check: the permissions, the topic and the result. */
  #asked: Reads | undefined
  #askedFor = ''
  #isReadable = false
  #count = 0

  constructor(work: Work) {
    this.#index = new FilterIndex(work)
    this.#shares = new Shares(work)
    this.#work = work
  }

  add(subscription: Subscription): void {
    this.#work.done += charge.filter
    const { group, filter } = subscription
    if (group) this.#shares.join(subscription, group)
    else this.#index.add(filter, subscription)
    this.wanted.add(topicsOf(subscription))
    this.#count++
  }

  remove(subscription: Subscription): void {
    this.#work.done += charge.filter
    const { group, filter } = subscription
    if (group) this.#shares.leave(subscription, group)
    else this.#index.remove(filter, subscription)
    this.wanted.remove(topicsOf(subscription))
    this.#count--
  }

  /** Returns the group with that key. Undefined while it has no member. */
  group(key: string): Group | undefined {
    return this.#shares.find(key)
  }

  /** Called when a client is gone: others may take over messages that wait in the session. */
  hold(session: Session): void {
    for (const { key } of session.groups) this.group(key)?.hold(session)
  }

  /** Called when a client is back: the session keeps the messages that it has. */
  back(session: Session): void {
    for (const { key } of session.groups) this.group(key)?.absent.delete(session)
  }

  get subscriptions(): number {
    return this.#count
  }

  /** Returns the subscriptions that a topic reaches, by filter; for shared ones see {@link findShared}. */
  find(topic: string): readonly FilterValues<Subscription>[] {
    return this.#index.match(topic)
  }

  findShared(topic: string): readonly FilterValues<Group>[] {
    return this.#shares.match(topic)
  }

  /**
   * Delivers once to each session that subscribes, at the lower of the message's QoS and the highest that its matching
   * subscriptions ask for, with the identifiers of all of them. [MQTT-3.3.5-1] [MQTT-3.8.4-6] [MQTT-3.3.4-3] Returns
   * the sessions for which the message was queued durably.
   */
  emit(delivery: OutboundMessage, found: readonly FilterValues<Subscription>[]): readonly QueuedIn[] {
    const queued: QueuedIn[] = []
    const only = found[0]
    if (found.length === 1 && only) {
      this.#work.done += only.size * charge.delivery
      for (const subscription of only.values) {
        if (!this.#isReached(subscription, delivery)) continue
        const { session, qos, asPublished, ids, conflate } = subscription
        deliver(queued, delivery, session, qos, asPublished, ids, conflate)
      }
      return queued
    }
    const asked = new Map<Session, Subscription | MergedSubscriptions>()
    for (const subscriptions of found) {
      this.#work.done += subscriptions.size * charge.delivery
      for (const subscription of subscriptions.values) {
        if (!this.#isReached(subscription, delivery)) continue
        const { session, qos, asPublished, ids, conflate } = subscription
        if (session.subscriptions.size === 1) {
          deliver(queued, delivery, session, qos, asPublished, ids, conflate)
          continue
        }
        const other = asked.get(session)
        if (!other) asked.set(session, subscription)
        else if (other instanceof MergedSubscriptions) other.add(subscription)
        else if (ids || other.qos < qos || (asPublished && !other.asPublished) || (conflate && !other.conflate))
          asked.set(session, new MergedSubscriptions(other, subscription))
      }
    }
    for (const [session, { qos, asPublished, ids, conflate }] of asked) {
      deliver(queued, delivery, session, qos, asPublished, ids, conflate)
    }
    return queued
  }

  /** Delivers to one member of each group, in addition to {@link emit}. */
  emitShared(delivery: OutboundMessage, found: readonly FilterValues<Group>[]): readonly QueuedIn[] {
    const queued: QueuedIn[] = []
    for (const { values } of found) for (const group of values) this.emitTo(group, delivery, queued)
    return queued
  }

  /**
   * Delivers to one member; returns false when no member may have the message. Adds to `queued` when the message is
   * queued durably. `isOld`: the message has waited, and goes only to members that acknowledge messages.
   */
  emitTo(group: Group, delivery: OutboundMessage, queued: QueuedIn[], isOld = false, returned?: () => void): boolean {
    const mayHave = (one: Subscription) => (!isOld || one.qos > 0) && this.#isReached(one, delivery)
    this.#work.done += charge.delivery + group.members.size
    const member = group.choose(delivery.qos, mayHave)
    if (!member) return false
    const { session, qos, asPublished, ids, conflate } = member
    const lower = lowerOf(qos, delivery.qos)
    // A QoS 0 message is not kept for another member.
    const retain = lower === 0 ? asPublished && delivery.retain : delivery.retain
    const entry = session.deliver(delivery, lower, retain, ids, group, conflate)
    if (entry && session.durable) queued.push({ session, entry })
    else if (entry) entry.backupDone = returned ?? this.#assignBackup(group, delivery, entry, queued)
    if (!session.attached) group.hold(session)
    return true
  }

  /** Returns whether a member may take over a waiting message on this topic, of this publisher. */
  isWanted(group: Group, topic: string, clientId: string): boolean {
    return group.choose(1, one => one.qos > 0 && this.#isReached(one, { topic, clientId, user: '' })) !== undefined
  }

  /**
   * Backs up a message of a member without a durable session with a member that has one, should this process end before
   * delivery.
   */
  #assignBackup(group: Group, delivery: OutboundMessage, entry: Queued, queued: QueuedIn[]): (() => void) | undefined {
    const keeper = group.backupHolder(one => this.#isReached(one, delivery))
    if (!keeper) return undefined
    const lent = keeper.backups.add(entry)
    queued.push({ session: keeper, entry: lent })
    return () => keeper.backups.drop(lent)
  }

  /**
   * Returns whether a message may reach a subscription. Clients of one user mostly share permissions, so the last check
   * is reused.
   */
  #isReached(
    { session, reach, noLocal }: Subscription,
    { topic, clientId, user }: Pick<OutboundMessage, 'topic' | 'clientId' | 'user'>,
  ): boolean {
    if (noLocal && clientId === session.clientId && user === session.user) return false
    if (reach !== 'some') return reach === 'all'
    if (topic.charCodeAt(0) === 36) return session.mayReceive(topic)
    const reads = session.access?.reads
    if (reads !== this.#asked || topic !== this.#askedFor) {
      this.#asked = reads
      this.#askedFor = topic
      this.#isReadable = session.mayReceive(topic)
    }
    return this.#isReadable
  }
}

function deliver(
  queued: QueuedIn[],
  delivery: OutboundMessage,
  session: Session,
  qos: QoS,
  asPublished: boolean,
  ids: readonly number[] | undefined,
  conflate: boolean,
): void {
  const lower = lowerOf(qos, delivery.qos)
  const entry = session.deliver(delivery, lower, asPublished && delivery.retain, ids, undefined, conflate)
  if (entry && session.durable) queued.push({ session, entry })
}

function lowerOf(a: QoS, b: QoS): QoS {
  return a < b ? a : b
}

/** What several subscriptions of one session ask for together. */
class MergedSubscriptions {
  qos: QoS
  asPublished: boolean
  conflate: boolean
  ids: number[] | undefined

  constructor({ qos, asPublished, conflate, ids }: Subscription, other: Subscription) {
    this.qos = qos
    this.asPublished = asPublished
    this.conflate = conflate
    if (ids) this.ids = [...ids]
    this.add(other)
  }

  add({ qos, asPublished, conflate, ids }: Subscription): void {
    if (this.qos < qos) this.qos = qos
    this.asPublished ||= asPublished
    this.conflate ||= conflate
    if (!ids) return
    this.ids ??= []
    this.ids.push(...ids)
  }
}
