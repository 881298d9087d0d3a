import type { QoS } from '../model.js'
import type { Work } from '../runtime/work.js'
import type { GroupName } from './delivery.js'
import { FilterIndex, type FilterValues } from './filter-index.js'
import type { Session, Subscription } from './session.js'

/**
 * The members of one shared subscription, each a subscription of a session. A message goes to one member: to the
 * connected one with the least to do, and among equals to the one whose turn it is. While messages wait with a member
 * that is not connected, new messages wait behind them, so that each member gets messages in order.
 */
export class Group implements GroupName {
  readonly key: string
  readonly filter: string
  /** Members in the order they joined. */
  readonly members = new Set<Subscription>()
  /** Sessions without a connection that have messages of the group. */
  readonly absent = new Set<Session>()
  #turn: Iterator<Subscription> | undefined

  constructor(key: string, filter: string) {
    this.key = key
    this.filter = filter
  }

  /**
   * Returns the member to get a message of that QoS. Undefined when no member may, or can. `mayHave` is asked about
   * each member that would be chosen.
   */
  choose(messageQoS: QoS, mayHave: (member: Subscription) => boolean): Subscription | undefined {
    const there = this.#least(mayHave, ({ session }) => session.attached)
    if (messageQoS === 0) return there
    const queues = ({ session, qos }: Subscription) => !session.attached && session.durable && qos > 0
    // A member at QoS 0 takes over no messages that have waited.
    if (!there) return this.#holder(mayHave) ?? this.#least(mayHave, queues)
    return (this.absent.size > 0 && there.qos > 0 && this.#holder(mayHave)) || there
  }

  /** Returns a member without a connection that has messages waiting, and room for more. */
  #holder(mayHave: (member: Subscription) => boolean): Subscription | undefined {
    for (const session of this.absent) {
      const member = session.subscriptions.get(this.key)
      if (member && member.qos > 0 && !session.unsent.isFull && mayHave(member)) return member
    }
    return undefined
  }

  #least(mayHave: (member: Subscription) => boolean, isAsked: (member: Subscription) => boolean) {
    let chosen: Subscription | undefined
    let least = Infinity
    for (let i = 0; i < this.members.size; i++) {
      const member = this.#next()
      const { load } = member.session
      if (load >= least || !isAsked(member) || !mayHave(member)) continue
      chosen = member
      least = load
      if (load === 0) break
    }
    return chosen
  }

  /** Returns a member with a durable session, which keeps backups of messages of members without one. */
  backupHolder(mayHave: (member: Subscription) => boolean): Session | undefined {
    for (const member of this.members) {
      if (member.session.durable && member.qos > 0 && mayHave(member)) return member.session
    }
    return undefined
  }

  /** Called when messages wait with a member that is not connected: the others are to take them over. */
  hold(session: Session): void {
    if (session.has(this) === 0) return
    this.absent.add(session)
    for (const { session: member } of this.members) if (member.attached) member.wake()
  }

  /** Returns the members in turn, for ever. */
  #next(): Subscription {
    this.#turn ??= this.members.values()
    const { done, value } = this.#turn.next()
    if (!done) return value
    this.#turn = undefined
    return this.#next()
  }
}

/** All shared subscriptions, by topic. */
export class Shares {
  readonly #groups = new Map<string, Group>()
  readonly #index: FilterIndex<Group>

  constructor(work: Work) {
    this.#index = new FilterIndex(work)
  }

  /** Returns the group with that key. Undefined while it has no member. */
  find(key: string): Group | undefined {
    return this.#groups.get(key)
  }

  join(member: Subscription, { key, filter }: GroupName): void {
    let group = this.#groups.get(key)
    if (!group) {
      group = new Group(key, filter)
      this.#groups.set(key, group)
      this.#index.add(filter, group)
    }
    group.members.add(member)
  }

  leave(member: Subscription, { key, filter }: GroupName): void {
    const group = this.#groups.get(key)
    if (!group?.members.delete(member) || group.members.size > 0) return
    this.#groups.delete(key)
    this.#index.remove(filter, group)
  }

  /** Returns the groups that a topic reaches, a set for each filter. */
  match(topic: string): readonly FilterValues<Group>[] {
    return this.#groups.size > 0 ? this.#index.match(topic) : none
  }
}

const none: readonly FilterValues<Group>[] = []
