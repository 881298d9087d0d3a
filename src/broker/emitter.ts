import type { Reads } from '../auth/rules.js'
import type { QoS } from '../model.js'
import { FilterIndex } from '../topics.js'
import type { Delivery, Queued, Reach, Session, Subscription } from './session.js'

/** A durable session that a message was queued for. */
export interface QueuedIn {
  readonly session: Session
  readonly entry: Queued
}

/**
 * From a topic to the sessions that subscribe to it, in place of mqemitter: found once and remembered, called one
 * after the other and never waited for. There is no queue that a flood could fill and no slot that a frozen
 * subscriber could hold (research: aedes.md §2.5); each session's own bounds are the bound.
 */
export class Emitter {
  readonly #index = new FilterIndex<Subscription>()
  #mark = 0
  /** The last answer: who was asked, for which topic. */
  #asked: Reads | undefined
  #askedFor = ''
  #isReadable = false
  #count = 0

  add(subscription: Subscription): void {
    this.#index.add(subscription.filter, subscription)
    this.#count++
  }

  remove(subscription: Subscription): void {
    this.#index.remove(subscription.filter, subscription)
    this.#count--
  }

  get subscriptions(): number {
    return this.#count
  }

  /** The subscriptions that a topic reaches, a set for each filter. */
  find(topic: string): readonly ReadonlySet<Subscription>[] {
    return this.#index.match(topic)
  }

  /**
   * Delivers once to each session that subscribes, at the lower of the message's QoS and the highest that its matching
   * subscriptions ask for. [MQTT-3.3.5-1] [MQTT-3.8.4-6] Returns where it was queued durably.
   */
  emit(delivery: Delivery, found: readonly ReadonlySet<Subscription>[]): readonly QueuedIn[] {
    const only = found[0] as ReadonlySet<Subscription>
    const queued: QueuedIn[] = []
    const deliver = (session: Session, qos: QoS) => {
      const entry = session.deliver(delivery, qos < delivery.qos ? qos : delivery.qos)
      if (entry && session.durable) queued.push({ session, entry })
    }
    if (found.length === 1) {
      for (const { session, qos, reach } of only)
        if (this.#isReached(session, reach, delivery.topic)) deliver(session, qos)
      return queued
    }
    const mark = ++this.#mark
    const sessions: Session[] = []
    for (const subscriptions of found) {
      for (const { session, qos, reach } of subscriptions) {
        if (!this.#isReached(session, reach, delivery.topic)) continue
        if (session.mark !== mark) {
          session.mark = mark
          session.best = qos
          sessions.push(session)
        } else if (session.best < qos) session.best = qos
      }
    }
    for (const session of sessions) deliver(session, session.best)
    return queued
  }

  /** Clients of one user share what they may read, mostly: it is asked once for all of them. */
  #isReached(session: Session, reach: Reach, topic: string): boolean {
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
