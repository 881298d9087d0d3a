/** Publishes and bytes a second; 0 is no limit. */
export interface Rates {
  readonly messages: number
  readonly bytes: number
}

/**
 * The rate limit of one client, as two token buckets: publishes and bytes that may still be read. Each bucket holds
 * what a second allows.
 */
export class RateLimit {
  #messagesLeft = 0
  #bytesLeft = 0
  #refilledAt = 0

  /** Fills both buckets. Times are milliseconds of a clock that never jumps. */
  fill({ messages, bytes }: Rates, now: number): void {
    this.#messagesLeft = messages
    this.#bytesLeft = bytes
    this.#refilledAt = now
  }

  /** Takes one publish of `bytes`. Returns the seconds until the rate is within the limits again; 0 when it is. */
  take({ messages, bytes: perSecond }: Rates, bytes: number, now: number): number {
    if (messages === 0 && perSecond === 0) return 0
    const seconds = (now - this.#refilledAt) / 1_000
    this.#refilledAt = now
    this.#messagesLeft = Math.min(messages, this.#messagesLeft + seconds * messages) - 1
    this.#bytesLeft = Math.min(perSecond, this.#bytesLeft + seconds * perSecond) - bytes
    return Math.max(
      messages > 0 ? -this.#messagesLeft / messages : 0,
      perSecond > 0 ? -this.#bytesLeft / perSecond : 0,
      0,
    )
  }
}
