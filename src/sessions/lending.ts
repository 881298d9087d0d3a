import type { Outward } from '../model.js'
import type { MillisecondClock } from '../runtime/time.js'
import { OutboundMessage, waitingEntry } from './delivery.js'
import type { Lease } from './leases.js'
import type { Session, Subscription } from './session.js'
import type { SessionRecorder } from './session-recorder.js'
import type { SessionState } from './session-state.js'
import { topicsOf } from './subscription.js'

/** Names the clients that a message on lease is for. */
export interface Addressee {
  readonly topic: string
  /** The one client that is meant. Undefined: whoever subscribes to the topic as {@link Lending} says. */
  readonly client: string | undefined
  /** Levels that the filter of a receiver has before the first wildcard, at least. */
  readonly levels: number
  /** Names of sessions that {@link Lending.receivers} has returned: of a shared subscription, it is no other's turn yet. */
  readonly meant?: readonly string[]
}

/** A client that would get a message now. */
export interface Receiver {
  /** Session name. */
  readonly name: string
  readonly clientId: string
  /** Messages that the client may get now in addition to those in flight. */
  readonly room: number
  /** Whether the client acknowledges: the subscription is of QoS 1 or 2. */
  readonly acknowledges: boolean
  /** Whether the client knows response topics. (MQTT 5 §4.10) */
  readonly canRespond: boolean
}

/** Messages that have gone to clients, and those that were larger than a client takes. */
export interface Lent {
  readonly to: readonly Receiver[]
  readonly tooLarge: boolean
}

interface RankedSubscription {
  readonly subscription: Subscription
  readonly rank: number
}

/**
 * Delivers messages to clients that are connected, and to no others: a message on lease is in no queue of a session,
 * in no journal, and ends with the connection.
 *
 * The receiver of a topic is the client whose subscription names the topic most exactly; several as exact ones all
 * receive, and of a shared subscription one member. A filter that begins with a wildcard watches, and so do less exact
 * ones: watchers get a copy of QoS 0. While the most exact subscriptions are those of absent clients with kept
 * sessions, there is no receiver.
 */
export class Lending {
  readonly #state: SessionState
  readonly #recorder: SessionRecorder
  readonly #clock: MillisecondClock

  constructor(state: SessionState, recorder: SessionRecorder, clock: MillisecondClock) {
    this.#state = state
    this.#recorder = recorder
    this.#clock = clock
  }

  /** Returns the clients that would get a message now. */
  receivers(addressee: Addressee): readonly Receiver[] {
    return this.#receiving(addressee).map(({ session, qos }) => receiverOf(session, qos))
  }

  /** Sends a message. `dup`: some client may have the message already, and gets the message marked as sent before. */
  send(addressee: Addressee, message: Outward, dup: boolean, lease: (to: Receiver) => Lease): Lent {
    const at = this.#clock.now()
    const outbound = new OutboundMessage({ ...message, clientId: '' }, at)
    const { topic, payload, properties, expiresAt } = outbound
    const to: Receiver[] = []
    let tooLarge = false
    const receiving = this.#receiving(addressee)
    for (const { session, qos, ids } of receiving) {
      const { outlet } = session.inflight
      const receiver = receiverOf(session, qos)
      if (!outlet || receiver.room <= 0) continue
      if (qos === 0) {
        if (outlet.deliverQos0(outbound.encoded, false, ids)) to.push(receiver)
        continue
      }
      const kept = { topic, payload, qos: 1, retain: false, at, clientId: '', properties, expiresAt } as const
      const entry = waitingEntry({ ...kept, ids, group: undefined }, 0)
      if (session.inflight.send(outlet, entry, outbound.encoded, dup)) {
        session.inflight.leases.add(entry.packetId, lease(receiver))
        to.push(receiver)
      } else tooLarge = true
    }
    if (to.length > 0 && !dup) this.#show(outbound, new Set(receiving.map(({ session }) => session)))
    return { to, tooLarge }
  }

  /**
   * Delivers a message to one client, by its session name, as a publish that nobody else sees: a kept session gets it
   * when the client is back. Returns false, and does nothing, when there is no such session or it is not subscribed to
   * the topic. Otherwise `done` is called once what a kept session has to send outlives a crash, or with the error.
   */
  deliver(name: string, message: Outward, done: (error?: Error) => void): boolean {
    let found: Subscription | undefined
    for (const { values } of this.#state.index.find(message.topic)) {
      for (const one of values) {
        const { session, qos } = one
        if (session.name !== name || !session.mayReceive(message.topic)) continue
        if (session.attached || session.durable) found = found && found.qos >= qos ? found : one
      }
    }
    if (!found) return false
    const { session, qos, ids } = found
    const delivery = new OutboundMessage({ ...message, clientId: '' }, this.#clock.now())
    const entry = session.deliver(delivery, qos === 0 ? 0 : 1, false, ids)
    if (entry && session.durable) {
      this.#recorder.queued([{ session, entry }], delivery, 0)
      this.#recorder.whenKept(done)
    } else done()
    return true
  }

  /** Sends a copy to the clients that watch the topic. */
  #show(outbound: OutboundMessage, receiving: ReadonlySet<Session>): void {
    const shown = new Set<Session>(receiving)
    for (const { values } of this.#state.index.find(outbound.topic)) {
      for (const { session, ids } of values) {
        if (shown.has(session) || !session.mayReceive(outbound.topic)) continue
        shown.add(session)
        session.inflight.outlet?.deliverQos0(outbound.encoded, false, ids)
      }
    }
  }

  /** Returns the subscriptions of the connected receivers, one of each client. */
  #receiving({ topic, client, levels, meant }: Addressee): readonly Subscription[] {
    const candidates: RankedSubscription[] = []
    let best = client === undefined ? Math.max(1, levels) : 0
    const offer = (subscription: Subscription) => {
      const { session } = subscription
      if (client !== undefined && session.clientId !== client) return
      const rank = rankOf(topicsOf(subscription))
      if (rank < best || !session.mayReceive(topic)) return
      best = Math.max(best, rank)
      candidates.push({ subscription, rank })
    }
    for (const { values } of this.#state.index.find(topic)) for (const one of values) offer(one)
    for (const { values } of this.#state.index.findShared(topic)) {
      for (const group of values) {
        const may = ({ session }: Subscription) => session.attached && session.mayReceive(topic)
        const known = meant && group.choose(1, member => meant.includes(member.session.name) && may(member))
        const member = known ?? group.choose(1, may)
        if (member) offer(member)
      }
    }
    const found = new Map<Session, Subscription>()
    for (const { subscription, rank } of candidates) {
      const { session, qos } = subscription
      const known = found.get(session)
      if (rank === best && session.attached && (!known || known.qos < qos)) found.set(session, subscription)
    }
    return [...found.values()]
  }
}

/** Returns the number of levels before the first wildcard; one more for a filter without any. */
function rankOf(filter: string): number {
  const levels = filter.split('/')
  const wild = levels.findIndex(level => level === '+' || level === '#')
  return wild < 0 ? levels.length + 1 : wild
}

function receiverOf({ name, clientId, inflight, unsent }: Session, qos: number): Receiver {
  const { outlet } = inflight
  // Messages that wait go first. Behind one that waits for the journal, a message could outlive its lease.
  const waits = !outlet?.hasCapacity || unsent.length > 0 || inflight.numbering > 0
  const room = waits ? 0 : qos === 0 ? Infinity : inflight.room
  return { name, clientId, room, acknowledges: qos > 0, canRespond: outlet?.canRespond === true }
}
