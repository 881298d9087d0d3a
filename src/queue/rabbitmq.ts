import {
  type Channel,
  type ChannelModel,
  type ConfirmChannel,
  type ConsumeMessage,
  connect,
  type Options,
} from 'amqplib'
import { describe, HubError } from '../errors.js'
import type { DeadLetter, Message, QoS } from '../model.js'
import { routingKeyOf, topicOf } from '../topics.js'
import { type DeadLetters, type Delivery, type Queue, type QueueReader, Wakeup } from './queue.js'

export interface RabbitMqOptions {
  readonly url: string
  /** The first part of every message id. */
  readonly hubId: string
  readonly prefetch: number
  /** Whether RabbitMQ answers, each time that changes; with the reason when it does not. */
  readonly state: (up: boolean, detail?: string) => void
  /** Microseconds; for messages that others put into our queues. */
  readonly now: () => number
}

/** Redeliveries of one message before RabbitMQ dead-letters it. The hub retries in place; this is for one that kills it. */
const deliveryLimit = 100

/** Headers have to fit one AMQP frame. */
const longestDetail = 1_000

const exchanges = {
  telemetry: 'telehub.telemetry',
  dead: 'telehub.dead',
  publish: 'telehub.publish',
} as const

const queues: Readonly<
  Record<string, { readonly exchange: string; readonly arguments: Readonly<Record<string, unknown>> }>
> = {
  'telehub.record': {
    exchange: exchanges.telemetry,
    arguments: { 'x-delivery-limit': deliveryLimit, 'x-dead-letter-exchange': exchanges.dead },
  },
  'telehub.publish': {
    exchange: exchanges.publish,
    arguments: { 'x-delivery-limit': deliveryLimit, 'x-dead-letter-exchange': exchanges.dead },
  },
  'telehub.dead': { exchange: exchanges.dead, arguments: {} },
}

const groupQueues: Readonly<Record<string, string>> = { record: 'telehub.record', publish: 'telehub.publish' }

/**
 * RabbitMQ as queue and as keeper of dead letters. Everything is durable and declared on each connection. It only
 * tries: whatever fails rejects with `queue_unavailable` (or `queue_clash`: something of that name exists with other
 * arguments), and the consumer loop calls again. What was published without a confirm is published again, with the
 * same message id; what was delivered and not settled is delivered again.
 *
 * Publishing and consuming have a connection each: a memory or disk alarm blocks connections that publish, and the
 * acknowledgements of consumers must not wait behind them.
 */
export class RabbitMq implements Queue, DeadLetters {
  readonly name = 'rabbitmq'
  readonly #options: RabbitMqOptions
  readonly #publishing: Connection
  readonly #consuming: Connection
  #publisher: Promise<ConfirmChannel> | undefined

  constructor(options: RabbitMqOptions) {
    this.#options = options
    this.#publishing = new Connection(options)
    this.#consuming = new Connection(options)
  }

  async stop(): Promise<void> {
    await Promise.all([this.#publishing.close(), this.#consuming.close()])
  }

  async publish(messages: readonly Message[]): Promise<void> {
    await this.#send(messages.map(message => ({ exchange: exchanges.telemetry, message, headers: {} })))
  }

  async put(letters: readonly DeadLetter[]): Promise<void> {
    await this.#send(
      letters.map(({ message, reason, detail, failedAt, attempts }) => ({
        exchange: exchanges.dead,
        message,
        headers: { reason, detail: detail.slice(0, longestDetail), 'failed-at': failedAt, attempts },
      })),
    )
  }

  /** Looks at the front of `telehub.dead` without taking anything out. */
  async list(limit: number): Promise<readonly DeadLetter[]> {
    const channel = await this.#consuming.channel(model => model.createChannel())
    try {
      const letters: DeadLetter[] = []
      while (letters.length < limit) {
        const got = await channel.get('telehub.dead')
        if (!got) break
        letters.push(this.#deadLetter(got))
      }
      return letters.reverse()
    } catch (error) {
      throw unavailable(error)
    } finally {
      // Closing the channel puts back what was got.
      await channel.close().catch(() => {})
    }
  }

  reader(group: string): QueueReader {
    const queue = groupQueues[group]
    if (!queue) throw new Error(`no queue for ${group}`)
    return new Reader(queue, this.#consuming, this.#options)
  }

  async #send(
    sendings: readonly { exchange: string; message: Message; headers: Readonly<Record<string, unknown>> }[],
  ): Promise<void> {
    const channel = await this.#publisherChannel()
    if (sendings.length === 0) return
    const returned: string[] = []
    const onReturn = ({ fields }: { fields: object }) => returned.push((fields as { routingKey: string }).routingKey)
    channel.on('return', onReturn)
    try {
      await this.#confirmed(channel, sendings)
      // A message that no queue takes is confirmed like any other, after it came back.
      if (returned.length > 0) {
        // RabbitMQ moves the consumer of a deleted queue to a new one of the same name, and then delivers nothing to it.
        this.#consuming.reset()
        throw unavailable(
          new Error(`no queue took ${returned.length} messages, the first with routing key ${returned[0]}`),
        )
      }
    } catch (error) {
      // Whatever it was, exchanges and queues are looked after anew.
      this.#publisher = undefined
      this.#publishing.reset()
      throw error
    } finally {
      channel.removeListener('return', onReturn)
    }
  }

  /** Resolves when RabbitMQ has confirmed all. */
  #confirmed(
    channel: ConfirmChannel,
    sendings: readonly { exchange: string; message: Message; headers: Readonly<Record<string, unknown>> }[],
  ): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      let waiting = sendings.length
      const confirmed = (error: unknown) => {
        if (error) reject(unavailable(error))
        else if (--waiting === 0) resolve()
      }
      try {
        for (const { exchange, message, headers } of sendings) {
          const options = this.#properties(message, headers)
          channel.publish(exchange, shortKey(routingKeyOf(message.topic)), message.payload, options, confirmed)
        }
      } catch (error) {
        reject(unavailable(error))
      }
    })
  }

  #properties(message: Message, headers: Readonly<Record<string, unknown>>): Options.Publish {
    return {
      persistent: true,
      mandatory: true,
      messageId: `${this.#options.hubId}-${message.sequence}`,
      timestamp: Math.floor(message.receivedAt / 1e6),
      headers: {
        'mqtt-topic': message.topic,
        'mqtt-qos': message.qos,
        'mqtt-retain': message.retain,
        'client-id': message.clientId,
        user: message.user,
        'received-at': message.receivedAt,
        sequence: message.sequence,
        ...headers,
      },
    }
  }

  #deadLetter(got: Got): DeadLetter {
    const { headers = {} } = got.properties
    const message = toMessage(got, this.#options.now())
    return {
      message,
      reason: text(headers.reason) || text(headers['x-first-death-reason']) || 'unknown',
      detail: text(headers.detail),
      failedAt: integer(headers['failed-at'], message.receivedAt),
      attempts: integer(headers.attempts, 1),
    }
  }

  #publisherChannel(): Promise<ConfirmChannel> {
    this.#publisher ??= this.#publishing
      .channel(model => model.createConfirmChannel())
      .then(channel => {
        channel.on('close', () => {
          this.#publisher = undefined
        })
        return channel
      })
      .catch(error => {
        this.#publisher = undefined
        throw error
      })
    return this.#publisher
  }
}

/** One AMQP connection, made when first needed and again after it is lost. */
class Connection {
  readonly #options: RabbitMqOptions
  readonly #channels = new Set<Channel>()
  #model: Promise<ChannelModel> | undefined
  /** The one that `#model` has resolved to. */
  #current: ChannelModel | undefined
  #closed = false

  constructor(options: RabbitMqOptions) {
    this.#options = options
  }

  async channel<C extends Channel>(create: (model: ChannelModel) => Promise<C>): Promise<C> {
    const model = await this.#connected()
    try {
      const channel = await create(model)
      // Without a listener an 'error' ends the process; what it says reaches the callers by their rejections.
      channel.on('error', () => {})
      this.#channels.add(channel)
      channel.on('close', () => this.#channels.delete(channel))
      return channel
    } catch (error) {
      throw unavailable(error)
    }
  }

  /** Gives the connection up; the next use makes a new one, which declares everything. */
  reset(): void {
    const model = this.#current
    this.#current = undefined
    this.#model = undefined
    model?.close().catch(() => {})
  }

  async close(): Promise<void> {
    this.#closed = true
    const model = await this.#model?.catch(() => undefined)
    // Channel by channel first: closing the connection at once would overtake acknowledgements not yet written.
    await Promise.all([...this.#channels].map(channel => channel.close().catch(() => {})))
    await model?.close().catch(() => {})
  }

  #connected(): Promise<ChannelModel> {
    if (this.#closed) return Promise.reject(new HubError('stopping', 'the connection to RabbitMQ is closed'))
    this.#model ??= this.#connect().catch(error => {
      this.#model = undefined
      const failure = unavailable(error)
      this.#options.state(false, failure.message)
      throw failure
    })
    return this.#model
  }

  async #connect(): Promise<ChannelModel> {
    const url = new URL(this.#options.url)
    // Half of the server's default: a dead peer is noticed within 20 s.
    if (!url.searchParams.has('heartbeat')) url.searchParams.set('heartbeat', '10')
    const model = await connect(url.href, { timeout: 10_000, noDelay: true, keepAlive: true })
    model.on('error', () => {})
    model.on('blocked', reason => this.#options.state(false, `RabbitMQ takes nothing more: ${reason}`))
    model.on('unblocked', () => this.#options.state(true))
    model.on('close', error => {
      if (this.#current !== model) return
      this.#current = undefined
      this.#model = undefined
      if (!this.#closed) this.#options.state(false, error ? describe(error) : 'the connection was closed')
    })
    try {
      await declare(model)
    } catch (error) {
      await model.close().catch(() => {})
      throw error
    }
    this.#current = model
    this.#options.state(true)
    return model
  }
}

async function declare(model: ChannelModel): Promise<void> {
  const channel = await model.createChannel()
  channel.on('error', () => {})
  for (const exchange of Object.values(exchanges)) await channel.assertExchange(exchange, 'topic', { durable: true })
  for (const [queue, { exchange, arguments: more }] of Object.entries(queues)) {
    await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'quorum', ...more } })
    await channel.bindQueue(queue, exchange, '#')
  }
  await channel.close()
}

/** What was delivered and what was fetched have this in common. */
type Got = Pick<ConsumeMessage, 'content' | 'properties'> & { readonly fields: { readonly routingKey: string } }

/** A consumer on one queue. Deliveries settle in order, so one acknowledgement settles all before it. */
class Reader implements QueueReader {
  readonly #queue: string
  readonly #connection: Connection
  readonly #options: RabbitMqOptions
  #channel: Channel | undefined
  #arrived: ConsumeMessage[] = []
  readonly #wakeup = new Wakeup()

  constructor(queue: string, connection: Connection, options: RabbitMqOptions) {
    this.#queue = queue
    this.#connection = connection
    this.#options = options
  }

  async next(limit: number, signal: AbortSignal): Promise<Delivery | undefined> {
    while (this.#arrived.length === 0) {
      if (signal.aborted) return undefined
      await this.#consume()
      if (this.#arrived.length === 0) await this.#wakeup.sleep(signal)
    }
    const taken = this.#arrived.splice(0, limit)
    const channel = this.#channel
    return {
      messages: taken.map(got => toMessage(got, this.#options.now())),
      settle: () => {
        // On a lost channel there is nothing to acknowledge: RabbitMQ delivers again, and writing again changes nothing.
        if (channel && channel === this.#channel) channel.ack(taken.at(-1) as ConsumeMessage, true)
      },
    }
  }

  async #consume(): Promise<void> {
    if (this.#channel) return
    const channel = await this.#connection.channel(model => model.createChannel())
    const lost = () => {
      if (this.#channel === channel) this.#channel = undefined
      this.#arrived = []
      this.#wakeup.wake()
    }
    channel.on('close', lost)
    try {
      await channel.prefetch(this.#options.prefetch)
      this.#channel = channel
      await channel.consume(this.#queue, got => {
        // Null: the queue was deleted; a new connection declares it again.
        if (got === null) {
          lost()
          this.#connection.reset()
          return
        }
        this.#arrived.push(got)
        this.#wakeup.wake()
      })
    } catch (error) {
      lost()
      this.#connection.reset()
      throw unavailable(error)
    }
  }
}

/** What others put into our queues may lack every header; what is there is not trusted to have its type. */
function toMessage(got: Got, now: number): Message {
  const { headers = {} } = got.properties
  const qos = headers['mqtt-qos']
  return {
    sequence: integer(headers.sequence, 0),
    receivedAt: integer(headers['received-at'], now),
    topic: text(headers['mqtt-topic']) || topicOf(got.fields.routingKey),
    payload: got.content,
    qos: qos === 1 || qos === 2 ? (qos as QoS) : 0,
    retain: headers['mqtt-retain'] === true,
    clientId: text(headers['client-id']),
    user: text(headers.user),
    packetId: 0,
  }
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function integer(value: unknown, fallback: number): number {
  return Number.isSafeInteger(value) ? (value as number) : fallback
}

/** AMQP routing keys end at 255 bytes; the header `mqtt-topic` has the whole. */
function shortKey(key: string): string {
  if (Buffer.byteLength(key) <= 255) return key
  return Buffer.from(key)
    .subarray(0, 255)
    .toString('utf8')
    .replace(/\uFFFD+$/, '')
}

function unavailable(error: unknown): HubError {
  if (error instanceof HubError) return error
  const said = describe(error)
  return /PRECONDITION[_-]FAILED/.test(said)
    ? new HubError(
        'queue_clash',
        `RabbitMQ has one of the telehub.* exchanges or queues with other arguments: ${said}`,
        { cause: error },
      )
    : new HubError('queue_unavailable', `RabbitMQ: ${said}`, { cause: error })
}
