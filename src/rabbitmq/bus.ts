import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AnnouncementListener, Bus, PlaceKeeper } from '../cluster/bus.js'
import type { Message } from '../model.js'
import type { QueueReader } from '../queue/queue.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { type Channel, exchanges, Health, RabbitConnection, type Topology } from './connection.js'
import { HostLease } from './lease.js'
import { outgoingBatches } from './message.js'
import { RabbitNodes } from './nodes.js'
import { RabbitPublisher } from './publisher.js'
import { StreamReader } from './stream-reader.js'

export interface RabbitBusOptions {
  /** Nodes of one cluster, tried in turn. */
  readonly urls: readonly string[]
  readonly hubId: string
  /** Who uses the virtual host, as {@link HostLease} says. */
  readonly holder: string
  readonly clock: MicrosecondClock
}

/** The stream with the messages that hubs give each other. */
export const busStream = 'telehub.bus'

/**
 * A stream holds what all hubs read once; a queue for each hub would hold that once for each. Deleted by the server, the
 * oldest first: what a hub that was away for longer has missed is gone for that hub.
 */
const busTopology: Topology = [
  {
    queue: busStream,
    arguments: {
      'x-queue-type': 'stream',
      'x-max-length-bytes': 5_000_000_000,
      'x-stream-max-segment-size-bytes': 50_000_000,
    },
    // By an exchange of the hub's own: the default exchange is closed to users with rights to telehub.* alone.
    bindings: [[exchanges.bus, '']],
  },
]

/** Batches without a confirm. */
const window = 200

const retryMs = 500

/** Longest life of an announcement in a queue of a hub that takes none. */
const announcementMs = '10000'

/**
 * The bus between hubs by RabbitMQ: the log is a stream, which is read over AMQP 0-9-1 from any offset; announcements go
 * by a fanout exchange to an exclusive queue of each hub.
 */
export class RabbitBus implements Bus {
  readonly #options: RabbitBusOptions
  readonly #publishing: RabbitConnection
  readonly #consuming: RabbitConnection
  readonly #publisher: RabbitPublisher
  readonly #abort = new AbortController()
  #speaking: Channel | undefined
  /** Whether the channel waits for the socket. */
  #isFull = false
  #opening = false
  #listening: Promise<void> = Promise.resolve()

  constructor(options: RabbitBusOptions) {
    const { urls, holder } = options
    const nodes = new RabbitNodes(urls)
    const lease = new HostLease(holder)
    const health = new Health(() => {})
    this.#options = options
    this.#publishing = new RabbitConnection(nodes, busTopology, health, lease)
    this.#consuming = new RabbitConnection(nodes, busTopology, health, lease)
    this.#publisher = new RabbitPublisher({ connection: this.#publishing, window, lanes: 0 })
  }

  async append(messages: readonly Message[]): Promise<void> {
    await this.#publisher.publish(outgoingBatches(messages, this.#options.hubId, { exchange: exchanges.bus, key: '' }))
  }

  reader(keeper: PlaceKeeper): QueueReader {
    const { hubId, clock } = this.#options
    return new StreamReader({ stream: busStream, connection: this.#consuming, hubId, keeper, clock })
  }

  announce(payload: Buffer): void {
    // What is sent now would pile up in memory, and the next announcement says the same.
    if (this.#publishing.isBlocked || this.#isFull) return
    try {
      const channel = this.#speaking
      if (channel) this.#isFull = !channel.publish(exchanges.hubs, '', payload, { expiration: announcementMs })
      else void this.#speak()
    } catch {
      // The channel is being closed.
      this.#speaking = undefined
      this.#isFull = false
    }
  }

  listen(listener: AnnouncementListener): void {
    this.#listening = this.#listen(listener)
  }

  async stop(): Promise<void> {
    this.#abort.abort()
    await Promise.all([this.#publishing.close(), this.#consuming.close()])
    await this.#listening
  }

  async #speak(): Promise<void> {
    if (this.#opening) return
    this.#opening = true
    try {
      const channel = await this.#publishing.channel(model => model.createChannel())
      channel.once('close', () => {
        if (this.#speaking !== channel) return
        this.#speaking = undefined
        this.#isFull = false
      })
      channel.on('drain', () => {
        if (this.#speaking === channel) this.#isFull = false
      })
      this.#isFull = false
      this.#speaking = channel
    } catch {
      // The next announcement tries again.
    } finally {
      this.#opening = false
    }
  }

  /** Listens, again and again, until the bus stops. */
  async #listen(listener: AnnouncementListener): Promise<void> {
    const { signal } = this.#abort
    while (!signal.aborted) {
      try {
        await this.#speak()
        await this.#listenOnce(listener)
      } catch {
        // The way in which the consumers of the log report the same.
      }
      await sleep(retryMs, undefined, { signal }).catch(() => {})
    }
  }

  /** Resolves when the channel is lost. */
  async #listenOnce(listener: AnnouncementListener): Promise<void> {
    const channel = await this.#consuming.channel(model => model.createChannel())
    const lost = new Promise<void>(resolve => channel.once('close', () => resolve()))
    const name = `telehub.hubs.${this.#options.hubId}.${randomUUID()}`
    const { queue } = await channel.assertQueue(name, { exclusive: true, autoDelete: true })
    await channel.bindQueue(queue, exchanges.hubs, '')
    await channel.consume(
      queue,
      got => {
        if (got) listener.onAnnouncement(got.content)
        else channel.close().catch(() => {})
      },
      { noAck: true },
    )
    listener.onHearing()
    await lost
  }
}
