import { encodeProperties, viaProperty } from '../mqtt/message-properties.js'

/** Recognises messages that this hub has sent to another broker before, and that have come back. */
export class LoopGuard {
  readonly #identity: { readonly hubId: string }
  /** The user property that names this hub, as encoded. */
  #own: Buffer | undefined

  constructor(identity: { readonly hubId: string }) {
    this.#identity = identity
  }

  /** Returns whether encoded properties name this hub among those that the message has passed. */
  has(properties: Buffer): boolean {
    this.#own ??= encodeProperties({ userProperties: [[viaProperty, this.#identity.hubId]] })
    return this.#own !== undefined && properties.includes(this.#own)
  }
}
