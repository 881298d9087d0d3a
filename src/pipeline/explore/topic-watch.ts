import type { Message } from '../../model.js'
import { dropOldest } from '../../runtime/drop-oldest.js'

/** Most topics that are watched at a time, and how long one stays so that nobody asks for, in milliseconds. */
const mostTopics = 50
const patienceMs = 60_000

/** Most messages, and bytes of payloads, that are kept of a topic. */
const mostMessages = 100
const mostBytes = 2e6

/** The newest messages of one topic. */
class Watched {
  readonly messages: Message[] = []
  /** First sequence number from which on nothing is missing. */
  from: number
  askedAt: number
  #bytes = 0

  constructor(from: number, askedAt: number) {
    this.from = from
    this.askedAt = askedAt
  }

  take(message: Message): void {
    // The buffers of a batch are large: a message that is kept must not keep all of its neighbours.
    const kept = { ...message, payload: Buffer.from(message.payload) }
    if (message.properties) kept.properties = Buffer.from(message.properties)
    this.messages.push(kept)
    this.#bytes += kept.payload.length
    while (this.messages.length > mostMessages || (this.#bytes > mostBytes && this.messages.length > 1)) {
      const oldest = this.messages.shift() as Message
      this.#bytes -= oldest.payload.length
      this.from = oldest.sequence + 1
    }
  }
}

/** Messages of the topics that somebody looks at, as they come. Costs nothing while nobody does. */
export class TopicWatch {
  readonly #watched = new Map<string, Watched>()

  /** Takes a message. Called for every one, in order. */
  observe(message: Message): void {
    if (this.#watched.size > 0) this.#watched.get(message.topic)?.take(message)
  }

  /**
   * Returns what is kept of a topic, and begins to keep it, from the sequence number `next` on. `from`: the first one from
   * which on nothing is missing.
   */
  ask(topic: string, now: number, next: number): { readonly messages: readonly Message[]; readonly from: number } {
    for (const [name, { askedAt }] of this.#watched) if (now - askedAt > patienceMs) this.#watched.delete(name)
    let watched = this.#watched.get(topic)
    this.#watched.delete(topic)
    watched ??= new Watched(next, now)
    watched.askedAt = now
    this.#watched.set(topic, watched)
    dropOldest(this.#watched, mostTopics)
    return { messages: [...watched.messages], from: watched.from }
  }
}
