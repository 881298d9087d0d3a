/**
 * The numbers that stand for topics in what is sent to one client. (MQTT 5.0 §3.3.2.3.4) A topic gets one when it is
 * sent for the second time; when all are taken, the one that was not used for longest goes to the new topic.
 */
export class TopicAliases {
  readonly #maximum: number
  /** By topic, the one unused for longest first. */
  readonly #aliases = new Map<string, number>()
  /** By alias; 0 is none. */
  readonly #topics: string[] = ['']
  /** Sent once, not long ago. */
  readonly #once = new Set<string>()
  #lastUsed = 0

  /** There are 1 to `maximum`. */
  constructor(maximum: number) {
    this.#maximum = maximum
  }

  /** The alias that the client knows of this topic; 0: none. */
  of(topic: string): number {
    return this.#aliases.get(topic) ?? 0
  }

  /** It is sent in place of its topic. */
  use(alias: number): void {
    if (alias === this.#lastUsed) return
    const topic = this.#topics[alias] as string
    this.#aliases.delete(topic)
    this.#append(topic, alias)
  }

  /** A topic that has none is sent: with this alias, which stands for it from now on, or with 0, without. */
  give(topic: string): number {
    if (topic.length <= savedBytes) return 0
    if (!this.#once.delete(topic)) {
      this.#remember(topic)
      return 0
    }
    const alias = this.#topics.length <= this.#maximum ? this.#topics.length : this.#vacate()
    this.#topics[alias] = topic
    this.#append(topic, alias)
    return alias
  }

  #remember(topic: string): void {
    if (this.#once.size >= 2 * this.#maximum) {
      for (const oldest of this.#once) {
        this.#once.delete(oldest)
        break
      }
    }
    this.#once.add(topic)
  }

  #append(topic: string, alias: number): void {
    this.#aliases.set(topic, alias)
    this.#lastUsed = alias
  }

  #vacate(): number {
    for (const [topic, alias] of this.#aliases) {
      this.#aliases.delete(topic)
      return alias
    }
    return 0
  }
}

/** An alias takes three bytes: shorter topics are better sent. */
const savedBytes = 3
