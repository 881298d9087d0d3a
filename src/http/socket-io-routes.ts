import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { publishedMessage } from '../contract/publish.js'
import type { MicrosecondClock } from '../runtime/time.js'
import type { CommandsApi } from './commands.js'
import type { Guard } from './guard.js'
import type { FeedsApi } from './live.js'
import type { Publisher } from './publish.js'
import { PublishedMessages, type Validate } from './published-messages.js'
import type { SocketIo } from './socket-io.js'

export interface SocketIoParts {
  readonly guard: Guard
  readonly feeds: FeedsApi
  readonly publisher: Publisher
  readonly commands: CommandsApi
  readonly clock: MicrosecondClock
  readonly origins: readonly string[]
  readonly connections: number
  readonly perAddress: number
  readonly packetBytes: number
}

const path = '/socket.io/'

/** The Socket.IO server, loaded when the first client comes: loading it takes 0.15 s of processor time. */
export class LazySocketIo {
  readonly #parts: SocketIoParts
  #loading: Promise<SocketIo> | undefined
  #isStopped = false
  #app: FastifyInstance | undefined

  constructor(parts: SocketIoParts) {
    this.#parts = parts
  }

  /** Hands the requests of Socket.IO over before Fastify reads their bodies. */
  register(app: FastifyInstance): void {
    this.#app = app
    app.route({
      method: ['GET', 'POST', 'OPTIONS'],
      url: path,
      // Any schema makes Fastify give this instance a compiler of validators.
      schema: { hide: true, querystring: { type: 'object' } },
      config: { isSocketIo: true },
      onRequest: async (request, reply) => {
        reply.hijack()
        this.#handle(request.raw, reply.raw)
      },
      handler: async () => {},
    })
  }

  #handle(request: IncomingMessage, response: ServerResponse): void {
    this.#loaded().then(
      server => server.handle(request, response),
      () => response.destroy(),
    )
  }

  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => {})
    this.#loaded().then(
      server => server.upgrade(request, socket, head),
      () => socket.destroy(),
    )
  }

  stop(): void {
    this.#isStopped = true
    // A server that cannot be loaded has nothing to stop.
    this.#loading?.then(
      server => server.stop(),
      () => {},
    )
  }

  async #loaded(): Promise<SocketIo> {
    this.#loading ??= this.#load()
    const server = await this.#loading
    if (this.#isStopped) throw new Error('the hub stops')
    return server
  }

  async #load(): Promise<SocketIo> {
    const { SocketIo } = await import('./socket-io.js')
    const { packetBytes, clock } = this.#parts
    const validate = this.#app?.validatorCompiler?.({
      schema: publishedMessage,
      method: 'POST',
      url: '/api/publish',
      httpPart: 'body',
    }) as Validate
    return new SocketIo({ ...this.#parts, messages: new PublishedMessages(packetBytes, clock), validate })
  }
}

/** Whether a request to upgrade is for Socket.IO. */
export function isForSocketIo({ url = '' }: IncomingMessage): boolean {
  return url.startsWith(path)
}
