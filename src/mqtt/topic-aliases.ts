/**
 * The aliases, numbers that stand for topics, in packets to one client. (MQTT 5.0 §3.3.2.3.4) A topic gets one when
 * sent for the second time. When all are taken, the alias unused for longest goes to the new topic.
 */
export class TopicAliases {
  readonly #maximum: number
  /** Aliases by topic, the one unused for longest first. */
  readonly #aliases = new Map<string, number>()
  /** Topics by alias; 0 is no alias. */
  readonly #topics: string[] = ['']
  /** Topics sent once, not long ago. */
  readonly #once = new Set<string>()
  #lastUsed = 0

  /** Aliases are numbers from 1 to `maximum`. */
  constructor(maximum: number) {
    this.#maximum = maximum
  }

  /** Returns the alias that the client knows of a topic; 0 for none. */
  of(topic: string): number {
    return this.#aliases.get(topic) ?? 0
  }

  /** Called when an alias is sent in place of the topic. */
  use(alias: number): void {
    if (alias === this.#lastUsed) return
    const topic = this.#topics[alias] as string
    this.#aliases.delete(topic)
    this.#append(topic, alias)
  }

  /** Returns the alias to send along with a topic that has none, known from now on; 0 to send the topic alone. */
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

/** Bytes of an alias: a topic that is no longer is better sent. */
const savedBytes = 3
