import type { RetainedDelivery } from './delivery.js'

/** A retained message, and the topic filter of the subscription to send to. */
export interface OfferedMessage {
  readonly filter: string
  readonly message: RetainedDelivery
}

/** The retained messages still to be sent to new subscriptions of one session, one filter after the other. */
export class RetainedBacklog {
  readonly #offers = new Map<string, Iterator<RetainedDelivery | undefined>>()

  /** Number of filters with messages left. */
  get size(): number {
    return this.#offers.size
  }

  /** Replaces the messages left for a filter. An undefined message is a pause in a long search. */
  set(filter: string, messages: Iterable<RetainedDelivery | undefined>): void {
    this.#offers.delete(filter)
    this.#offers.set(filter, messages[Symbol.iterator]())
  }

  /** Removes the messages left for a filter. */
  delete(filter: string): void {
    this.#offers.delete(filter)
  }

  /** Takes the next message. `pause`: many messages were looked at, and other sessions are to have their turn. */
  next(): OfferedMessage | 'pause' | undefined {
    for (const [filter, offer] of this.#offers) {
      const { done, value } = offer.next()
      if (!done) return value === undefined ? 'pause' : { filter, message: value }
      this.#offers.delete(filter)
    }
    return undefined
  }
}
