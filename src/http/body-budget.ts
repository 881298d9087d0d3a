import type { FastifyReply, FastifyRequest } from 'fastify'
import { HubError } from '../errors.js'

/** Bytes of large bodies that may be read and handled at a time, of all requests of a route together. */
const bodiesInHand = 64e6

/** Bounds the memory of requests with large bodies. */
export class BodyBudget {
  /** Most bytes of one body. */
  readonly limit: number
  #inHand = 0

  constructor(limit: number) {
    this.limit = Math.min(bodiesInHand, limit)
  }

  /** Counts the body of a request until the answer is sent. Throws `overloaded` when there are too many bytes in hand. */
  readonly take = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    // The body of a request that does not say its length may be as long as is allowed.
    const bytes = Math.min(this.limit, Number(request.headers['content-length'] ?? this.limit))
    if (this.#inHand > 0 && this.#inHand + bytes > bodiesInHand) {
      throw new HubError('overloaded', 'too many bytes are being published over HTTP', { retryAfterMs: 1_000 })
    }
    this.#inHand += bytes
    reply.raw.once('close', () => {
      this.#inHand -= bytes
    })
  }
}
