import type { QueueReader } from '../queue/queue.js'
import type { ServiceQueue, ServiceReply, ServiceRequest } from '../queue/service-queue.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { exchanges, Health, queues, RabbitConnection, topology } from './connection.js'
import { PlainOutgoing } from './frames.js'
import { HostLease } from './lease.js'
import { keyOf, text } from './message.js'
import { RabbitNodes } from './nodes.js'
import { RabbitPublisher } from './publisher.js'
import { RabbitReader } from './reader.js'

export interface RabbitServicesOptions {
  readonly urls: readonly string[]
  readonly hubId: string
  readonly holder: string
  readonly clock: MicrosecondClock
}

/** Messages without a confirm, and answers without an acknowledgement. */
const window = 1_000

/** Longest AMQP short string, in bytes. */
const maxShort = 255

/**
 * Requests to services by RabbitMQ, as RabbitMQ's tutorial on RPC has it: the exchange `telehub.requests`, with the path
 * as routing key, and `reply_to` and `correlation_id` for the answer, which goes to a durable queue of this hub.
 */
export class RabbitServices implements ServiceQueue {
  readonly #options: RabbitServicesOptions
  readonly #publishing: RabbitConnection
  readonly #consuming: RabbitConnection
  readonly #publisher: RabbitPublisher

  constructor(options: RabbitServicesOptions) {
    const { urls, hubId, holder } = options
    const nodes = new RabbitNodes(urls)
    const lease = new HostLease(holder)
    const wanted = topology(hubId, true)
    const health = new Health(() => {})
    this.#options = options
    this.#publishing = new RabbitConnection(nodes, wanted, health, lease)
    this.#consuming = new RabbitConnection(nodes, wanted, health, lease)
    this.#publisher = new RabbitPublisher({ connection: this.#publishing, window, lanes: 0 })
  }

  async request({ id, path, payload, user, expiryMs }: ServiceRequest): Promise<void> {
    const { hubId } = this.#options
    await this.#publisher.publish([
      new PlainOutgoing(exchanges.requests, keyOf(path), payload, {
        persistent: true,
        mandatory: true,
        messageId: id,
        correlationId: id,
        replyTo: queues.answers(hubId),
        expiration: String(expiryMs),
        headers: { path, ...(user && { user }) },
      }),
    ])
  }

  async reply({ replyTo, correlationId, payload, state, reason }: ServiceReply): Promise<void> {
    const key = text(replyTo, maxShort)
    if (key === '') return
    const headers = { 'telehub-state': state, ...(reason !== undefined && { 'telehub-reason': reason }) }
    const correlated = text(correlationId, maxShort)
    const properties = {
      ...{ persistent: true, mandatory: false, headers },
      ...(correlated !== '' && { correlationId: correlated }),
    }
    await this.#publisher.publish([new PlainOutgoing('', key, payload, properties)])
  }

  answers(): QueueReader {
    const { hubId, clock } = this.#options
    return new RabbitReader({
      ...{ queue: queues.answers(hubId), connection: this.#consuming, hubId, prefetch: window, clock },
    })
  }

  async stop(): Promise<void> {
    await Promise.all([this.#publishing.close(), this.#consuming.close()])
  }
}
