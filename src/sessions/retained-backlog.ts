import { LateMap } from '../runtime/late-map.js'
import type { RetainedDelivery } from './delivery.js'

/** A retained message, and the topic filter of the subscription it is for. */
export interface OfferedMessage {
  readonly filter: string
  readonly message: RetainedDelivery
}

/** The retained messages that new subscriptions of one session have yet to be sent, one filter after the other. */
export class RetainedBacklog {
  readonly #offers = new LateMap<string, Iterator<RetainedDelivery | undefined>>()

  /** Filters with messages left. */
  get size(): number {
    return this.#offers.size
  }

  /** Replaces what is left for that filter. An undefined message is a pause in a long search. */
  set(filter: string, messages: Iterable<RetainedDelivery | undefined>): void {
    this.#offers.delete(filter)
    this.#offers.set(filter, messages[Symbol.iterator]())
  }

  /** Forgets what is left for that filter. */
  delete(filter: string): void {
    this.#offers.delete(filter)
  }

  /** Gives the memory back when nothing is left. */
  release(): void {
    this.#offers.release()
  }

  /** Takes the next message. `pause`: many were looked at, and other sessions are to have their turn. */
  next(): OfferedMessage | 'pause' | undefined {
    for (const [filter, offer] of this.#offers) {
      const { done, value } = offer.next()
      if (!done) return value === undefined ? 'pause' : { filter, message: value }
      this.#offers.delete(filter)
    }
    return undefined
  }
}
