import type { Reader, ReaderDirectory } from '../access/rules.js'
import type { Broker } from '../broker/broker.js'
import type { Counters } from '../observe/counters.js'
import type { IncidentReporter, Loss } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { Sharing } from '../runtime/user-shares.js'
import type { Spool } from '../spool/spool.js'
import type { FeedItem, FeedSink } from './feeds/feed.js'
import type { Push as LivePush } from './live-pusher.js'
import type { BackEndCommand, Reply, ReplySink } from './reply-watch.js'
import type { BrokerOffers, ClientsWant, CrossingOutward } from './thread-ports.js'

/** Delivers messages to MQTT subscribers. */
export interface MessageDelivery extends Pick<Broker, 'publishAll' | 'flushed'> {
  readonly wanted: Pick<Broker['wanted'], 'next'>
}

export interface BrokerSideParts {
  readonly spool: Pick<Spool, 'freed'>
  /** Without a directory of readers, everybody may read everything. */
  readonly sharing: Sharing & Partial<ReaderDirectory>
  readonly counters: Counters
  readonly incidents: IncidentReporter
  readonly log: SentenceLog
}

/** Carries out, on the broker thread, what one processor thread asks for. */
export class BrokerSide implements BrokerOffers {
  readonly #parts: BrokerSideParts
  readonly #delivery: MessageDelivery
  readonly #feeds: FeedSink
  readonly #replies: ReplySink
  readonly #died: (error: Error) => void

  /** @param died Called with the error that ends the thread. */
  constructor(
    parts: BrokerSideParts,
    outlets: readonly [MessageDelivery, FeedSink, ReplySink],
    died: (error: Error) => void,
  ) {
    this.#parts = parts
    this.#delivery = outlets[0]
    this.#feeds = outlets[1]
    this.#replies = outlets[2]
    this.#died = died
  }

  live(pushes: readonly LivePush[]): Promise<void> {
    return this.#delivery.publishAll(
      pushes.map(({ topic, json }) => ({ topic, payload: Buffer.from(json), qos: 0, retain: true })),
    )
  }

  feed(items: readonly FeedItem[]): Promise<void> {
    return this.#feeds.feed(items)
  }

  async outward(messages: readonly CrossingOutward[]): Promise<void> {
    const arrived = messages.map(({ payload, properties, ...message }) => ({
      ...message,
      payload: Buffer.from(payload),
      ...(properties && { properties: Buffer.from(properties) }),
    }))
    await this.#delivery.publishAll(arrived)
    this.#feeds.messages(arrived)
    await this.#delivery.flushed()
  }

  wanted(known: number): Promise<ClientsWant> {
    return this.#delivery.wanted.next(known)
  }

  replied(reply: Reply): void {
    this.#replies.replied(reply)
  }

  readers(users: readonly string[]): readonly Reader[] {
    return this.#parts.sharing.readersOf?.(users) ?? users.map(() => ({ isKnown: true }))
  }

  asked(message: BackEndCommand): Promise<void> {
    return this.#replies.asked(message)
  }

  freed(bytes: number): void {
    this.#parts.spool.freed(bytes)
  }

  stored({ messages, points }: { readonly messages: number; readonly points: number }): void {
    this.#parts.counters.stored += messages
    this.#parts.counters.points += points
  }

  deadLettered(reason: string): void {
    this.#parts.counters.deadLetter(reason)
  }

  spansLost(count: number): void {
    this.#parts.counters.spansLost += count
  }

  log({ level, sentence }: { readonly level: 'info' | 'warn'; readonly sentence: string }): void {
    this.#parts.log[level](sentence)
  }

  incident({ kind, sentence, lost }: { kind: string; sentence: string; lost: Loss | undefined }): void {
    this.#parts.incidents.report(kind, sentence, lost)
  }

  dying(detail: string): void {
    this.#died(new Error(detail))
  }
}
