import { randomUUID } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type Message as AmqpMessage,
  type Channel,
  type ChannelModel,
  type ConfirmChannel,
  connect,
  type Options,
} from 'amqplib'
import { describe, HubError } from '../errors.js'
import { placeOf, type RabbitNodes } from './nodes.js'

export type { Channel, ChannelModel, ConfirmChannel }
/** An AMQP message from a consumer or from `basic.get`. */
export type Delivered = AmqpMessage
export type Properties = Options.Publish

export const exchanges = {
  telemetry: 'telehub.telemetry',
  batches: 'telehub.batches',
  publish: 'telehub.publish',
  requests: 'telehub.requests',
  receipts: 'telehub.receipts',
  dead: 'telehub.dead',
  hubs: 'telehub.hubs',
  bus: 'telehub.bus',
} as const

const exchangeTypes: Readonly<Record<string, 'topic' | 'direct' | 'fanout'>> = {
  [exchanges.telemetry]: 'topic',
  [exchanges.batches]: 'direct',
  [exchanges.publish]: 'topic',
  [exchanges.requests]: 'topic',
  [exchanges.receipts]: 'direct',
  [exchanges.dead]: 'topic',
  [exchanges.hubs]: 'fanout',
  [exchanges.bus]: 'fanout',
}

/** How often a request comes back from services that died with it, before RabbitMQ gives it up. */
const requestDeaths = 20

/** Routing key of every batch. */
export const batchKey = 'record'

export const queues = {
  record: 'telehub.record',
  publish: 'telehub.publish',
  dead: 'telehub.dead',
  requests: 'telehub.requests',
  answers: (hubId: string) => `telehub.answers.${hubId}`,
  receipts: (hubId: string) => `telehub.receipts.${hubId}`,
} as const

/** The queues that RabbitMQ should have: everything durable, every queue a quorum queue. */
export type Topology = readonly {
  readonly queue: string
  readonly arguments: Readonly<Record<string, unknown>>
  /** Arguments with which an older version declared the queue. Such a queue is used unchanged. */
  readonly formerly?: Readonly<Record<string, unknown>>
  readonly bindings: readonly (readonly [exchange: string, key: string])[]
  /** Bindings of an older version, which are taken away. */
  readonly formerBindings?: readonly (readonly [exchange: string, key: string])[]
}[]

/**
 * A delivery limit that is never reached. Dead letters are delivered each time they are listed, and everything in hand
 * with a message that crashes the process comes back each time: RabbitMQ must drop neither. Without this argument
 * RabbitMQ 4 has a limit of 20.
 */
const noLimit = { 'x-delivery-limit': 2_147_483_647 }

const consumed = { ...noLimit, 'x-dead-letter-exchange': exchanges.dead }
const formerlyConsumed = { ...consumed, 'x-delivery-limit': 100 }

/**
 * Returns the queues of a hub, with their bindings.
 *
 * `telehub.record` has one active consumer at a time, however many there are. So the messages of a device are stored in
 * their order, and when that consumer ends, the next one continues at the same place, with nothing to distribute anew.
 * One consumer stores more than one InfluxDB node takes. The queue gets batches only: a single message costs RabbitMQ
 * more than the hub and the store together.
 */
export function topology(hubId: string, consumesReceipts: boolean): Topology {
  const receipts = queues.receipts(hubId)
  const single = { 'x-single-active-consumer': true }
  return [
    {
      queue: queues.record,
      arguments: { ...consumed, ...single },
      formerly: { ...formerlyConsumed, ...single },
      bindings: [[exchanges.batches, batchKey]],
      formerBindings: [[exchanges.telemetry, '#']],
    },
    {
      queue: queues.publish,
      arguments: consumed,
      formerly: formerlyConsumed,
      bindings: [[exchanges.publish, '#']],
    },
    // A request that nobody took in time is gone: the hub that has sent it knows.
    {
      queue: queues.requests,
      arguments: { 'x-delivery-limit': requestDeaths },
      bindings: [[exchanges.requests, '#']],
    },
    { queue: queues.dead, arguments: noLimit, bindings: [[exchanges.dead, '#']] },
    ...(consumesReceipts
      ? [
          { queue: queues.answers(hubId), arguments: noLimit, bindings: [] },
          {
            queue: receipts,
            arguments: consumed,
            formerly: formerlyConsumed,
            bindings: [[exchanges.receipts, hubId]],
          } as const,
        ]
      : []),
  ]
}

/** The state of one server over all connections to that server. Reports each change. */
export class Health {
  readonly #tell: (up: boolean, detail?: string, node?: string) => void
  #node: string | undefined
  #lost: string | undefined
  #blocked: string | undefined
  #told: string | undefined = 'nothing yet'

  constructor(tell: (up: boolean, detail?: string, node?: string) => void) {
    this.#tell = tell
  }

  /** @param node Host and port of the node */
  connected(node: string): void {
    this.#node = node
    this.#lost = undefined
    this.#changed()
    // Reported without a change too: something other than the connection may have failed meanwhile, and a caller may
    // wait.
    if (this.#blocked === undefined) this.#tell(true, undefined, node)
  }

  lost(detail: string): void {
    this.#lost = detail
    this.#changed()
  }

  /** Records why RabbitMQ takes no messages. Undefined when RabbitMQ takes messages again. */
  blocked(reason: string | undefined): void {
    if (reason === undefined && this.#blocked === undefined) return
    this.#blocked = reason && `RabbitMQ blocks publishing: ${reason}`
    this.#changed()
  }

  #changed(): void {
    const detail = this.#blocked ?? this.#lost
    if (detail === this.#told) return
    this.#told = detail
    if (detail === undefined) this.#tell(true, undefined, this.#node)
    else this.#tell(false, detail)
  }
}

/** Longest wait for an answer of the server. Past this the connection is given up. */
const patienceMs = 30_000
const goodbyeMs = 5_000

/** Decides whether a connection may be used. */
export interface ConnectionGate {
  /**
   * Called before anything is declared. Rejects when the connection may not be used.
   *
   * @param lost Called when that is so no longer
   */
  admit(model: ChannelModel, lost: () => void): Promise<void>
}

/** One AMQP connection, made on first use and again after a loss: then to the next node, if there are several. */
export class RabbitConnection {
  readonly #nodes: RabbitNodes
  readonly #topology: Topology
  readonly #health: Health
  readonly #admission: ConnectionGate | undefined
  readonly #channels = new Set<Channel>()
  #model: Promise<ChannelModel> | undefined
  /** The connection that `#model` has resolved to. */
  #current: ChannelModel | undefined
  #blocked = false
  #closed = false
  /** Of the last connection. */
  #url = ''

  /** @param admission Undefined for those who are no hub */
  constructor(nodes: RabbitNodes, topology: Topology, health: Health, admission?: ConnectionGate) {
    this.#nodes = nodes
    this.#topology = topology
    this.#health = health
    this.#admission = admission
  }

  /** Whether RabbitMQ reads nothing from this connection, until memory and disk are available again. */
  get isBlocked(): boolean {
    return this.#blocked
  }

  async channel<C extends Channel>(create: (model: ChannelModel) => Promise<C>): Promise<C> {
    const model = await this.#connected()
    try {
      const channel = await create(model)
      // Without a listener an 'error' ends the process. The callers receive the error through their rejections.
      channel.on('error', () => {})
      this.#channels.add(channel)
      channel.on('close', () => this.#channels.delete(channel))
      return channel
    } catch (error) {
      if (this.#current === model) this.reset()
      throw unavailable(error)
    }
  }

  /** Drops the connection. The next use makes a new one, which declares everything. */
  reset(): void {
    const model = this.#current
    // A connection that is being made declares everything already.
    if (!model) return
    this.#nodes.failed(this.#url)
    this.#current = undefined
    this.#model = undefined
    this.#unblocked()
    void end(model, [])
  }

  /** Resolves when there is a connection. Rejects when none can be made, or another hub has the lease. */
  async open(): Promise<void> {
    await this.#connected()
  }

  async close(): Promise<void> {
    this.#closed = true
    const model = await this.#model?.catch(() => undefined)
    // RabbitMQ reads nothing from a blocked connection, so closing the channels first is useless.
    if (model) await end(model, this.#blocked ? [] : [...this.#channels])
  }

  #connected(): Promise<ChannelModel> {
    if (this.#closed) return Promise.reject(new HubError('stopping', 'the connection to RabbitMQ is closed'))
    this.#model ??= this.#connectToOne().catch(error => {
      this.#model = undefined
      const failure = unavailable(error)
      this.#health.lost(failure.message)
      throw failure
    })
    return this.#model
  }

  /** Tries each node once. */
  async #connectToOne(): Promise<ChannelModel> {
    const failures: string[] = []
    for (;;) {
      const { url, place, size } = this.#nodes
      try {
        return await this.#connect(url)
      } catch (error) {
        this.#nodes.failed(url)
        failures.push(size === 1 ? describe(error) : `${place}: ${describe(error)}`)
        // Another node has the same queues.
        if (this.#closed || failures.length >= size || isClash(error)) {
          throw size === 1 || isClash(error) ? error : new Error(failures.join('; '), { cause: error })
        }
      }
    }
  }

  async #connect(node: string): Promise<ChannelModel> {
    const url = new URL(node)
    // A sixth of the server's default: a dead peer is noticed within 20 s.
    if (!url.searchParams.has('heartbeat')) url.searchParams.set('heartbeat', '10')
    const model = await connect(url.href, { timeout: this.#nodes.patienceMs, noDelay: true, keepAlive: true })
    model.on('error', () => {})
    model.on('blocked', reason => {
      if (this.#current !== model) return
      this.#blocked = true
      this.#health.blocked(reason)
    })
    model.on('unblocked', () => {
      if (this.#current === model) this.#unblocked()
    })
    model.on('close', error => {
      // A silent peer never answers the hub's FIN: the socket would stay as long as the kernel keeps trying.
      setTimeout(() => socketOf(model).destroy(), 1_000).unref()
      if (this.#current !== model) return
      this.#current = undefined
      this.#model = undefined
      this.#nodes.failed(node)
      this.#unblocked()
      if (!this.#closed) this.#health.lost(error ? describe(error) : 'the connection was closed')
    })
    try {
      let isAdmitted = true
      const left = () => {
        isAdmitted = false
        this.#left(model)
      }
      const admitted = this.#admission?.admit(model, left)
      if (admitted) await within(patienceMs, admitted)
      await within(patienceMs, declare(model, this.#topology))
      // The lease may be lost while the queues are declared.
      if (!isAdmitted) throw new Error('the lease of this virtual host was lost while the connection was made')
    } catch (error) {
      await end(model, [])
      throw error
    }
    this.#current = model
    this.#url = node
    this.#health.connected(placeOf(node))
    return model
  }

  /** Called when the connection may not be used any more: the next one asks again. */
  #left(model: ChannelModel): void {
    if (this.#current === model) this.reset()
  }

  #unblocked(): void {
    if (!this.#blocked) return
    this.#blocked = false
    this.#health.blocked(undefined)
  }
}

/** Returns the socket of a connection. The driver has no way to drop a connection whose peer is silent. */
function socketOf(model: ChannelModel): Duplex {
  return (model.connection as unknown as { readonly stream: Duplex }).stream
}

/** Closes a connection by the AMQP handshake. Destroys the socket when the server does not answer. */
async function end(model: ChannelModel, channels: readonly Channel[]): Promise<void> {
  const goodbye = async () => {
    // Channels are closed first: closing the connection at once would overtake acknowledgements not yet written.
    await Promise.all(channels.map(channel => channel.close().catch(() => {})))
    await model.close().catch(() => {})
  }
  const late = () => socketOf(model).destroy(new Error('RabbitMQ did not confirm that the connection is closed'))
  await within(goodbyeMs, goodbye()).catch(late)
}

async function within<T>(ms: number, action: Promise<T>): Promise<T> {
  const abort = new AbortController()
  const late = sleep(ms, undefined, { signal: abort.signal }).then(
    () => Promise.reject(new Error(`RabbitMQ did not answer within ${ms / 1000} s`)),
    () => new Promise<never>(() => {}),
  )
  try {
    return await Promise.race([action, late])
  } finally {
    abort.abort()
  }
}

async function declare(model: ChannelModel, topology: Topology): Promise<void> {
  for (const [exchange, type] of Object.entries(exchangeTypes)) {
    await onChannel(model, channel => channel.assertExchange(exchange, type, { durable: true })).catch(error => {
      throw clash(
        error,
        `an exchange ${exchange} that is not a durable ${type} exchange. Delete it (management page, or rabbitmqadmin ` +
          `delete exchange name=${exchange}); the hub makes it anew, bindings of yours you must make again`,
      )
    })
  }
  for (const { queue, arguments: wanted, formerly = wanted, bindings, formerBindings = [] } of topology) {
    const assert = (more: Readonly<Record<string, unknown>>) =>
      onChannel(model, channel =>
        channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'quorum', ...more } }),
      )
    // The first error explains what is wrong with the queue.
    await assert(wanted).catch(error =>
      assert(formerly).catch(() => {
        throw clash(
          error,
          `a queue ${queue} that was declared with other arguments. Let its consumers empty it, delete it with "rabbitmqctl ` +
            `delete_queue ${queue}", and the hub makes it anew; what is in it when it is deleted is lost`,
        )
      }),
    )
    await onChannel(model, async channel => {
      for (const [exchange, key] of bindings) await channel.bindQueue(queue, exchange, key)
      for (const [exchange, key] of formerBindings) await channel.unbindQueue(queue, exchange, key)
    })
  }
}

/** Runs an action on a separate channel, as an error ends the channel. */
async function onChannel(model: ChannelModel, action: (channel: Channel) => Promise<unknown>): Promise<void> {
  const channel = await model.createChannel()
  channel.on('error', () => {})
  await action(channel)
  await channel.close()
}

function isClash(error: unknown): boolean {
  return error instanceof HubError && (error.code === 'queue_clash' || error.code === 'hub_clash')
}

function clash(error: unknown, sentence: string): HubError {
  const said = describe(error)
  return /PRECONDITION[_-]FAILED/.test(said)
    ? new HubError('queue_clash', `RabbitMQ has ${sentence}. Its message: ${said}`, { cause: error })
    : unavailable(error)
}

export function unavailable(error: unknown): HubError {
  if (error instanceof HubError) return error
  return new HubError('queue_unavailable', `RabbitMQ: ${describe(error)}`, { cause: error })
}

/** Result of inspecting a server. Nothing was declared but a queue that was removed with the connection. */
export interface Lookup {
  readonly product: string
  readonly version: string
  /** Names of missing exchanges and queues, which a hub declares when connecting. */
  readonly missing: readonly string[]
  /** Operations that this user may not perform, in the words of the server. */
  readonly refused: readonly string[]
}

/**
 * Connects and checks which parts of the topology exist and whether the user has the rights that the hub needs, without
 * changing anything. Rejects with `queue_unavailable` when no connection can be made.
 */
export async function lookAt(url: string, wanted: Topology): Promise<Lookup> {
  const model = await connect(url, { timeout: 10_000 }).catch(error => {
    throw unavailable(error)
  })
  model.on('error', () => {})
  try {
    const missing: string[] = []
    const refused: string[] = []
    const attempt = async (action: (channel: Channel) => Promise<unknown>, failed: (said: string) => void) => {
      // The server closes a channel when an operation is refused.
      const channel = await model.createChannel()
      channel.on('error', () => {})
      try {
        await action(channel)
        await channel.close()
      } catch (error) {
        failed(describe(error))
      }
    }
    const look = (name: string, action: (channel: Channel) => Promise<unknown>) =>
      attempt(action, said => {
        if (/NOT[_-]FOUND/.test(said)) missing.push(name)
        else refused.push(`${name}: ${said}`)
      })
    for (const exchange of Object.keys(exchangeTypes)) await look(exchange, channel => channel.checkExchange(exchange))
    for (const { queue } of wanted) await look(queue, channel => channel.checkQueue(queue))
    const rights = async (channel: Channel) => {
      // Named like the queues of the hub, so that the same rights are checked.
      const { queue } = await channel.assertQueue(`telehub.doctor.${randomUUID()}`, {
        exclusive: true,
        autoDelete: true,
      })
      for (const exchange of Object.keys(exchangeTypes)) {
        // Binding needs the right to write to the queue and to read from the exchange.
        if (!missing.includes(exchange)) await channel.bindQueue(queue, exchange, 'telehub.doctor')
      }
      await channel.get(queue, { noAck: true })
      await channel.deleteQueue(queue)
      for (const exchange of Object.keys(exchangeTypes)) {
        // Declaring such a queue, as the lease is, needs the right to write to the exchange, which need not exist.
        const { queue } = await channel.assertQueue(`telehub.doctor.${randomUUID()}`, {
          exclusive: true,
          autoDelete: true,
          deadLetterExchange: exchange,
          deadLetterRoutingKey: 'telehub.doctor',
        })
        await channel.deleteQueue(queue)
      }
    }
    await attempt(rights, said => refused.push(said))
    const { product = 'RabbitMQ', version = '?' } = model.connection.serverProperties
    return { product: String(product), version: String(version), missing, refused }
  } finally {
    await end(model, [])
  }
}
