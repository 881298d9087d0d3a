import type { QueueReader } from './queue.js'

/** A request to services, as a queue delivers one. */
export interface ServiceRequest {
  /** Comes back with the answer. The same for a request that is sent again. */
  readonly id: string
  /** `orders/create` */
  readonly path: string
  readonly payload: Buffer
  /** Who asks; empty without authentication. */
  readonly user: string
  /** Milliseconds after which nobody waits for the answer. */
  readonly expiryMs: number
}

/** Where the answer to somebody's message on a queue goes, as given with the message. */
export interface ServiceReply {
  readonly replyTo: string
  readonly correlationId: string | undefined
  readonly payload: Buffer
  /** What became of the command: `answered`, `failed`, `expired` … */
  readonly state: string
  readonly reason: string | undefined
}

/** A queue from which services take requests, and by which they answer. */
export interface ServiceQueue {
  /** Resolves when the request is durable. Rejects with `queue_unavailable`: send it again. */
  request(request: ServiceRequest): Promise<void>
  /** Resolves when the reply is on its way; perhaps nobody waits any more. Rejects with `queue_unavailable`. */
  reply(reply: ServiceReply): Promise<void>
  /** Returns the answers, each a message whose correlation data is the id of the request. */
  answers(): QueueReader
  stop(): Promise<void>
}
