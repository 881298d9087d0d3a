import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Route, routes } from '../contract/contract.js'
import { RequestRefused } from './refusals.js'

/** Questions that are in no contract. */
const others = ['GET /metrics', 'GET /api/openapi.json']

/** Headers that a page may send, and those that a page may read beside the usual ones. */
const sent = 'authorization, content-type, idempotency-key, last-event-id'
const read = 'retry-after, idempotent-replayed, www-authenticate'

/** Seconds that a browser may keep the answer to a preflight. */
const preflightSeconds = 600

/**
 * Cross-origin requests (the Fetch standard's CORS protocol) of the pages at `ws.origins`: they may ask everything that
 * an API key or no key opens. Never with a cookie: Access-Control-Allow-Credentials is not sent, and the guard takes no
 * cookie from there.
 */
export class CrossOrigin {
  readonly #origins: ReadonlySet<string>
  readonly #shared: ReadonlySet<string>

  constructor(origins: readonly string[]) {
    this.#origins = new Set(origins)
    const shared = Object.entries<Route>(routes).filter(([, { isForOwnPages }]) => !isForOwnPages)
    this.#shared = new Set([...shared.map(([name]) => name), ...others])
  }

  /** Returns whether a browser asks what a page of another origin may send. */
  isPreflight({ method, headers }: FastifyRequest): boolean {
    return method === 'OPTIONS' && headers.origin !== undefined && 'access-control-request-method' in headers
  }

  /** Answers a preflight. Throws the reason when the page may not ask that. */
  preflight(request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const { origin = '' } = request.headers
    const method = String(request.headers['access-control-request-method'])
    const name = `${method} ${pathOf(request)}`
    if (!this.#admits(origin)) {
      const sentence = `pages at ${origin} may not ask this hub; ws.origins allows them to`
      throw new RequestRefused('cross_site', 'forbidden', sentence)
    }
    if (!this.#shared.has(name)) {
      const sentence = `${name} does not exist, or is for pages of the hub alone`
      throw new RequestRefused('cross_site', 'forbidden', sentence)
    }
    this.#admit(origin, reply)
    return reply
      .header('access-control-allow-methods', method)
      .header('access-control-allow-headers', sent)
      .header('access-control-max-age', preflightSeconds)
      .header('vary', 'Origin, Access-Control-Request-Method, Access-Control-Request-Headers')
      .code(204)
      .send()
  }

  /** Lets a page of another origin read the answer, if that may be. */
  share(request: FastifyRequest, reply: FastifyReply): void {
    const method = request.method === 'HEAD' ? 'GET' : request.method
    if (this.#origins.size === 0 || !this.#shared.has(`${method} ${pathOf(request)}`)) return
    const { origin } = request.headers
    // A cache must not give one origin the answer that another one has got.
    if (!this.#origins.has('*')) reply.raw.setHeader('vary', 'Origin')
    if (origin === undefined || !this.#admits(origin)) return
    this.#admit(origin, reply)
    reply.raw.setHeader('access-control-expose-headers', read)
  }

  #admits(origin: string): boolean {
    return this.#origins.has('*') || this.#origins.has(origin)
  }

  /** Set on the raw answer, so that the header is there whatever code writes the answer. */
  #admit(origin: string, reply: FastifyReply): void {
    reply.raw.setHeader('access-control-allow-origin', this.#origins.has('*') ? '*' : origin)
  }
}

function pathOf({ url }: FastifyRequest): string {
  return url.split('?', 1)[0] ?? ''
}
