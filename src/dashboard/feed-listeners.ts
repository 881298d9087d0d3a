import type { FeedHandlers, FeedPart, FeedState, LastReading, Presence, Refusal } from './feed.js'

/** All who listen to the pushes of the hub, in the order in which they began. */
export class FeedListeners implements FeedHandlers {
  readonly #listeners = new Set<Partial<FeedHandlers>>()

  /** Adds a listener. Returns how to remove the listener. */
  add(listener: Partial<FeedHandlers>): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  state(state: FeedState, reason: string): void {
    for (const listener of this.#listeners) listener.state?.(state, reason)
  }

  late(seconds: number): void {
    for (const listener of this.#listeners) listener.late?.(seconds)
  }

  beat(): void {
    for (const listener of this.#listeners) listener.beat?.()
  }

  subscribed(denied: readonly FeedPart[]): void {
    for (const listener of this.#listeners) listener.subscribed?.(denied)
  }

  reading(reading: LastReading, retained: boolean): void {
    for (const listener of this.#listeners) listener.reading?.(reading, retained)
  }

  cleared(topic: string): void {
    for (const listener of this.#listeners) listener.cleared?.(topic)
  }

  presence(presence: Presence): void {
    for (const listener of this.#listeners) listener.presence?.(presence)
  }

  forgotten(clientId: string): void {
    for (const listener of this.#listeners) listener.forgotten?.(clientId)
  }

  refusal(refusal: Refusal): void {
    for (const listener of this.#listeners) listener.refusal?.(refusal)
  }

  alerts(): void {
    for (const listener of this.#listeners) listener.alerts?.()
  }

  home(revision: number): void {
    for (const listener of this.#listeners) listener.home?.(revision)
  }
}
