import type { Reader } from '../access/rules.js'
import type { Outward } from '../model.js'
import type { NotifyPublisher, Readers } from '../notify/notify.js'
import type { IncidentReporter, Loss } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { SpanLosses } from '../observe/otel.js'
import type { Link } from '../runtime/worker-link.js'
import type { DeadLetterCounts } from './consumers.js'
import type { OutwardDelivery } from './downlink.js'
import type { FeedItem } from './feeds/feed.js'
import type { FeedDelivery } from './feeds/live-feeds.js'
import type { LiveDelivery, Push } from './live-pusher.js'
import type { RecordCounts } from './recorder.js'
import type { BackEndCommand, Reply, ReplyDelivery } from './reply-watch.js'
import type { BrokerOffers, ClientsWant } from './thread-ports.js'

/** The broker thread, as seen from the processor thread. Its calls are carried out by `BrokerSide`. */
export class BrokerLink
  implements
    SentenceLog,
    IncidentReporter,
    LiveDelivery,
    FeedDelivery,
    OutwardDelivery,
    NotifyPublisher,
    Readers,
    RecordCounts,
    DeadLetterCounts,
    SpanLosses,
    ReplyDelivery
{
  readonly #link: () => Link<BrokerOffers>

  /** @param link Returns the link, which may be made after this. */
  constructor(link: () => Link<BrokerOffers>) {
    this.#link = link
  }

  info(sentence: string): void {
    this.#link().tell('log', { level: 'info', sentence })
  }

  warn(sentence: string): void {
    this.#link().tell('log', { level: 'warn', sentence })
  }

  report(kind: string, sentence: string, lost?: Loss): void {
    this.#link().tell('incident', { kind, sentence, lost })
  }

  push(pushes: readonly Push[]): Promise<void> {
    return this.#link().call('live', pushes)
  }

  feed(items: readonly FeedItem[]): Promise<void> {
    return this.#link().call('feed', items)
  }

  publish(messages: readonly Outward[]): Promise<void> {
    // Payloads are copied: each is a view into an AMQP frame, and cloning a view clones the whole buffer.
    return this.#link().call(
      'outward',
      messages.map(({ payload, properties, ...message }) => ({
        ...message,
        payload: Uint8Array.from(payload),
        ...(properties && { properties: Uint8Array.from(properties) }),
      })),
    )
  }

  /** Resolves with what clients of this hub want, once that is another state than the one with this number. */
  next(known: number): Promise<ClientsWant> {
    return this.#link().call('wanted', known)
  }

  readersOf(users: readonly string[]): Promise<readonly Reader[]> {
    return this.#link().call('readers', users)
  }

  recorded(messages: number, points: number): void {
    this.#link().tell('stored', { messages, points })
  }

  deadLettered(reason: string): void {
    this.#link().tell('deadLettered', reason)
  }

  ask({ payload, ...message }: BackEndCommand): Promise<void> {
    return this.#link().call('asked', { ...message, payload: Uint8Array.from(payload) })
  }

  replied(reply: Reply): void {
    this.#link().tell('replied', reply)
  }

  spansLost(count: number): void {
    this.#link().tell('spansLost', count)
  }

  freed(bytes: number): void {
    this.#link().tell('freed', bytes)
  }
}
