import type { ClientPresence } from '../model.js'

/** Time within which the registry is saved: clients that went offline earlier need not be reported again. */
const rememberedMs = 30_000

/** Clients that are online, or went offline a moment ago. */
export class RecentPresences {
  readonly #presences = new Map<string, ClientPresence>()
  #timer: NodeJS.Timeout | undefined

  start(): void {
    this.#timer = setInterval(() => this.#forget(), rememberedMs).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  add(presence: ClientPresence): void {
    this.#presences.set(presence.clientId, presence)
  }

  [Symbol.iterator](): Iterator<ClientPresence> {
    return this.#presences.values()
  }

  #forget(): void {
    const before = (Date.now() - rememberedMs) * 1_000
    for (const [id, { online, since }] of this.#presences) {
      if (!online && since < before) this.#presences.delete(id)
    }
  }
}
