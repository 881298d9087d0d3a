import type { DeadLetter, Message } from '../model.js'
import type { DeadLetterFilter, DeadLetters, Queue, QueueReader } from '../queue/queue.js'
import { Connection, exchanges, Health, queues, topology } from './connection.js'
import { RabbitDeadLetters } from './dead-letters.js'
import { outgoingBatches, outgoingMessage } from './message.js'
import { Publisher } from './publisher.js'
import { Reader } from './reader.js'

export interface RabbitMqOptions {
  readonly url: string
  /** The first part of every message id. */
  readonly hubId: string
  /**
   * `message`: each message is an AMQP message that any consumer can bind to and read. `batch`: up to 200 messages or
   * 64 KB are one, laid out as spool/message-codec.ts draws it; several times faster. Both can be read, mixed, whatever is set here.
   */
  readonly envelope: 'message' | 'batch'
  /** Messages that are published and not confirmed, at most; with `batch`, a hundred count as one AMQP message. */
  readonly window: number
  /** Messages that are taken and not settled, at most. */
  readonly prefetch: number
  /** Whether this hub has a queue for what consumers elsewhere tell of its messages. */
  readonly consumesReceipts: boolean
  /** Whether RabbitMQ answers, each time that changes; with the reason when it does not. */
  readonly state: (up: boolean, detail?: string) => void
  /** Microseconds; for messages that others put into our queues. */
  readonly now: () => number
}

/**
 * RabbitMQ as queue and as keeper of dead letters. Everything is durable and declared on each connection. It only
 * tries: whatever fails rejects with `queue_unavailable` (or `queue_clash`: something of that name exists with other
 * arguments), and the consumer loop calls again. What was published without a confirm is published again, with the
 * same message id; what was delivered and not settled is delivered again. While RabbitMQ has no memory or disk left,
 * `publish` waits, and the state says so; a silent server is noticed by the heartbeat, within 20 s.
 *
 * Publishing and consuming have a connection each: a memory or disk alarm blocks connections that publish, and the
 * acknowledgements of consumers must not wait behind them.
 */
export class RabbitMq implements Queue, DeadLetters {
  readonly name = 'rabbitmq'
  readonly #options: RabbitMqOptions
  readonly #publishing: Connection
  readonly #consuming: Connection
  readonly #publisher: Publisher
  readonly #dead: RabbitDeadLetters

  constructor(options: RabbitMqOptions) {
    const { url, hubId, envelope, window, consumesReceipts, state, now } = options
    const wanted = topology(hubId, consumesReceipts)
    const health = new Health(state)
    this.#options = options
    this.#publishing = new Connection(url, wanted, health)
    this.#consuming = new Connection(url, wanted, health)
    // RabbitMQ moves the consumer of a deleted queue to a new one of the same name, and then delivers nothing to it.
    this.#publisher = new Publisher(this.#publishing, amqpMessages(window, envelope), () => this.#consuming.reset())
    this.#dead = new RabbitDeadLetters({ hubId, publisher: this.#publisher, connection: this.#consuming, now })
  }

  async stop(): Promise<void> {
    await Promise.all([this.#publishing.close(), this.#consuming.close()])
  }

  async publish(messages: readonly Message[]): Promise<void> {
    const { envelope, hubId } = this.#options
    await this.#publisher.publish(
      envelope === 'batch'
        ? outgoingBatches(messages, hubId)
        : messages.map(message => outgoingMessage(exchanges.telemetry, message, hubId)),
    )
  }

  /** Tells another hub what became of its messages; resolves when that is durable, or that hub has no queue for it. */
  async publishReceipts(hub: string, payload: Buffer): Promise<void> {
    const properties = { persistent: true, mandatory: false, contentType: 'application/json' }
    await this.#publisher.publish([{ exchange: exchanges.receipts, key: hub, body: payload, properties }])
  }

  /** Of `record`, `publish` or, for the bodies given to `publishReceipts`, `receipts`. */
  reader(group: string): QueueReader {
    const { hubId, prefetch, envelope, consumesReceipts, now } = this.#options
    const known: Readonly<Record<string, string>> = {
      record: queues.record,
      publish: queues.publish,
      ...(consumesReceipts && { receipts: queues.receipts(hubId) }),
    }
    const queue = known[group]
    if (!queue) throw new Error(`no queue for ${group}`)
    return new Reader({
      queue,
      connection: this.#consuming,
      hubId,
      prefetch: amqpMessages(prefetch, group === 'record' ? envelope : 'message'),
      now,
    })
  }

  put(letters: readonly DeadLetter[]): Promise<void> {
    return this.#dead.put(letters)
  }

  list(filter: DeadLetterFilter, limit: number): Promise<readonly DeadLetter[]> {
    return this.#dead.list(filter, limit)
  }

  sweep(
    filter: DeadLetterFilter,
    handle: (letters: readonly DeadLetter[]) => Promise<readonly boolean[]>,
    signal: AbortSignal,
  ): Promise<void> {
    return this.#dead.sweep(filter, handle, signal)
  }
}

/** How many AMQP messages so many messages are, about. */
function amqpMessages(messages: number, envelope: RabbitMqOptions['envelope']): number {
  return envelope === 'batch' ? Math.max(10, Math.floor(messages / 100)) : messages
}
