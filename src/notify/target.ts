import type { AlertMessage } from './message.js'

/** A message that this target will never take. The message is given up, and the next is sent. */
export class Undeliverable extends Error {}

/** The push service no longer knows the subscription of a browser. */
export class SubscriptionGone extends Error {}

/** The target was removed, or no longer is for this browser. */
export class TargetGone extends Error {}

/** Sends messages by one protocol. Adapters only try. */
export interface NotifyTarget {
  /**
   * Resolves when the receiver has taken the message. Rejects with `Undeliverable` or `SubscriptionGone`, or with any
   * other error when another attempt makes sense.
   *
   * @param address NotifyTarget, or `target/subscription`.
   */
  send(message: AlertMessage, address: string, signal: AbortSignal): Promise<void>
}

/** Longest time of one attempt, in milliseconds. */
export const attemptMs = 20_000
