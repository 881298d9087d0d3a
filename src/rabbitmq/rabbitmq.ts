import { setTimeout as sleep } from 'node:timers/promises'
import { HubError } from '../errors.js'
import type { DeadLetter, Message, Outcome } from '../model.js'
import type { DeadLetterFilter, DeadLetters, QueueReader, QueueServer } from '../queue/queue.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { exchanges, Health, queues, RabbitConnection, topology } from './connection.js'
import { TelemetryCopies } from './copies.js'
import { RabbitDeadLetters } from './dead-letters.js'
import { type Outgoing, PlainOutgoing } from './frames.js'
import { HostLease } from './lease.js'
import { type HeaderSet, outgoingBatches } from './message.js'
import { RabbitNodes } from './nodes.js'
import { RabbitPublisher } from './publisher.js'
import { RabbitReader } from './reader.js'

export interface RabbitMqOptions {
  /** Nodes of one cluster, tried in turn. */
  readonly urls: readonly string[]
  /** First part of every message id. */
  readonly hubId: string
  /** Who uses the virtual host, as {@link HostLease} says. Undefined for a process that is no hub. */
  readonly holder: string | undefined
  /**
   * The consumers of the hub get batches: up to 200 messages or 64 KB in one AMQP message, in the layout of
   * spool/message-codec.ts. `message`: other consumers get each message besides, as an AMQP message that anyone can
   * read. `batch`: they do not.
   */
  readonly envelope: 'message' | 'batch'
  /** Which headers the messages for other consumers have. */
  readonly headers: HeaderSet
  /**
   * Channels on which the messages for other consumers are published: those of a client on one. With 1 they share the
   * channel of the batches.
   */
  readonly channels: number
  /** Most messages published without a confirm. A hundred messages in batches count as one AMQP message. */
  readonly window: number
  /** Most messages taken without being settled. */
  readonly prefetch: number
  /** Whether this hub has a queue for receipts, by which consumers elsewhere report the outcome of its messages. */
  readonly consumesReceipts: boolean
  /** Called when RabbitMQ becomes available or unavailable, with the reason when unavailable, and the node when available. */
  readonly state: (up: boolean, detail?: string, node?: string) => void
  /** Returns the time in microseconds, for messages that other publishers put into the hub's queues. */
  readonly clock: MicrosecondClock
}

/**
 * RabbitMQ as queue and as store of dead letters. Everything is durable and declared on each connection. Each operation
 * is tried once: a failure rejects with `queue_unavailable` (or `queue_clash`: something of that name exists with other
 * arguments), and the consumer loop calls again. Messages published without a confirm are published again, with the
 * same message id. Messages delivered and not settled are delivered again. While RabbitMQ has no memory or disk left,
 * `publish` waits, and `state` reports that. A silent server is noticed by the heartbeat, within 20 s.
 *
 * Publishing and consuming have a connection each: a memory or disk alarm blocks connections that publish, and the
 * acknowledgements of consumers must not wait behind them.
 */
export class RabbitMq implements QueueServer, DeadLetters {
  readonly name = 'rabbitmq'
  readonly #options: RabbitMqOptions
  readonly #publishing: RabbitConnection
  readonly #consuming: RabbitConnection
  readonly #publisher: RabbitPublisher
  readonly #dead: RabbitDeadLetters
  /** Undefined when other consumers get no messages. */
  readonly #copies: TelemetryCopies | undefined

  constructor(options: RabbitMqOptions) {
    const { urls, hubId, holder, envelope, headers, channels, window, consumesReceipts, state, clock } = options
    const wanted = topology(hubId, consumesReceipts)
    const health = new Health(state)
    const nodes = new RabbitNodes(urls)
    const lease = holder === undefined ? undefined : new HostLease(holder)
    this.#options = options
    this.#publishing = new RabbitConnection(nodes, wanted, health, lease)
    this.#consuming = new RabbitConnection(nodes, wanted, health, lease)
    // RabbitMQ moves the consumer of a deleted queue to a new queue of the same name, and then delivers nothing to the
    // consumer.
    const lanes = envelope === 'message' && channels > 1 ? channels : 0
    this.#publisher = new RabbitPublisher(
      { connection: this.#publishing, window: amqpMessages(window, envelope), lanes },
      { onUnroutable: () => this.#consuming.reset() },
    )
    this.#copies = envelope === 'message' ? new TelemetryCopies(hubId, headers) : undefined
    this.#dead = new RabbitDeadLetters({ hubId, publisher: this.#publisher, connection: this.#consuming, clock })
  }

  /**
   * Resolves when no other hub uses the virtual host, or when RabbitMQ has not answered in that time: then each
   * connection finds out. Rejects with `hub_clash` when another hub does.
   */
  async admitted(waitMs: number): Promise<void> {
    const abort = new AbortController()
    const late = sleep(waitMs, undefined, { signal: abort.signal }).catch(() => {})
    const opened = this.#consuming.open().catch((error: unknown) => {
      if (error instanceof HubError && error.code === 'hub_clash') throw error
    })
    try {
      await Promise.race([opened, late])
    } finally {
      abort.abort()
      opened.catch(() => {})
    }
  }

  async stop(): Promise<void> {
    await Promise.all([this.#publishing.close(), this.#consuming.close()])
  }

  async publish(messages: readonly Message[]): Promise<void> {
    const { hubId } = this.#options
    await this.#publisher.publish(withCopies(messages, hubId, this.#copies))
  }

  async bridge(messages: readonly Message[]): Promise<readonly Outcome[] | undefined> {
    await this.publish(messages)
    return undefined
  }

  /** Returns this: with RabbitMQ the letters are in its queue. */
  deadLetters(): DeadLetters {
    return this
  }

  /**
   * Sends another hub the outcomes of its messages. Resolves when they are durable, or when that hub has no queue for
   * them.
   */
  async publishReceipts(hub: string, payload: Buffer): Promise<void> {
    const properties = { persistent: true, mandatory: false, contentType: 'application/json' }
    await this.#publisher.publish([new PlainOutgoing(exchanges.receipts, hub, payload, properties)])
  }

  /** Returns the reader of `record`, `publish` or, for the bodies given to `publishReceipts`, `receipts`. */
  reader(group: string): QueueReader {
    const { hubId, prefetch, consumesReceipts, clock } = this.#options
    const known: Readonly<Record<string, string>> = {
      record: queues.record,
      publish: queues.publish,
      ...(consumesReceipts && { receipts: queues.receipts(hubId) }),
    }
    const queue = known[group]
    if (!queue) throw new Error(`no queue for ${group}`)
    return new RabbitReader({
      queue,
      connection: this.#consuming,
      hubId,
      prefetch: amqpMessages(prefetch, group === 'record' ? 'batch' : 'message'),
      clock,
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

/** Yields the batches for the hub's consumers, and each message for those of others, of whom there may be none. */
function* withCopies(
  messages: readonly Message[],
  hubId: string,
  copies: TelemetryCopies | undefined,
): Generator<Outgoing> {
  yield* outgoingBatches(messages, hubId)
  if (copies) for (const message of messages) yield copies.of(message)
}

/** Returns about how many AMQP messages carry this many messages. */
function amqpMessages(messages: number, envelope: RabbitMqOptions['envelope']): number {
  return envelope === 'batch' ? Math.max(10, Math.floor(messages / 100)) : messages
}
