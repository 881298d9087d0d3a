import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { type Socket as Connection, Server as EngineServer } from 'engine.io'
import { Server, type Socket } from 'socket.io'
import { HubError } from '../errors.js'
import { sourceOf } from '../runtime/addresses.js'
import type { Guard, LastingCaller } from './guard.js'
import { SocketClient, type SocketClientParts } from './socket-io-client.js'
import { RecoveringAdapter, recoveryMs, type SocketState } from './socket-io-recovery.js'

export interface SocketIoOptions extends SocketClientParts {
  readonly guard: Guard
  /** Sites whose pages may connect; `*` is every one. */
  readonly origins: readonly string[]
  /** Maximum number of connections, in all and of one address. */
  readonly connections: number
  readonly perAddress: number
  /** Largest message that a client may send, in bytes. */
  readonly packetBytes: number
}

/** Time within which a client must authenticate, and interval at which its login is looked at again. */
const connectMs = 10_000
const checkMs = 15_000

/** Most characters of a user name, a password or a key. */
const maxCredential = 1_000

/**
 * The official Socket.IO 4 server, over WebSocket and polling. Loaded when the first client comes: hubs without one do
 * not pay for it.
 */
export class SocketIo {
  readonly #options: SocketIoOptions
  readonly #engine: EngineServer
  readonly #server: Server
  /** Connections by source. */
  readonly #sources = new Map<string, number>()

  constructor(options: SocketIoOptions) {
    this.#options = options
    const { guard, origins, packetBytes } = options
    this.#engine = new EngineServer({
      // A payload in Base64 or escaped, and what is around it.
      maxHttpBufferSize: packetBytes * 2 + 10_000,
      allowRequest: (request, answer) => this.#admit(request, answer),
      cors: origins.length > 0 ? { origin: origins.includes('*') ? '*' : [...origins] } : { origin: false },
    })
    this.#server = new Server({
      adapter: RecoveringAdapter,
      connectTimeout: connectMs,
      connectionStateRecovery: { maxDisconnectionDuration: recoveryMs, skipMiddlewares: false },
      serveClient: false,
    })
    this.#server.bind(this.#engine)
    this.#engine.on('connection', (connection: Connection) => {
      const source = sourceOf(guard.address(connection.request))
      this.#sources.set(source, (this.#sources.get(source) ?? 0) + 1)
      connection.once('close', () => {
        const left = (this.#sources.get(source) ?? 1) - 1
        if (left > 0) this.#sources.set(source, left)
        else this.#sources.delete(source)
      })
    })
    const callers = new WeakMap<Socket, LastingCaller>()
    this.#server.use((socket, next) => {
      identify(guard, socket).then(
        lasting => {
          const { user } = socket.data as Partial<SocketState>
          if (socket.recovered && user !== lasting.caller.user)
            return next(refusal('unauthorized', 'another user was connected'))
          callers.set(socket, lasting)
          next()
        },
        (error: Error) => {
          guard.report(socket.request, error instanceof HubError ? error.httpStatus : 500, error)
          next(refusal(error instanceof HubError ? error.code : 'internal', error.message))
        },
      )
    })
    this.#server.on('connection', socket => {
      const lasting = callers.get(socket) as LastingCaller
      const check = setInterval(() => {
        if (!lasting.isValid()) socket.disconnect(true)
      }, checkMs)
      socket.once('disconnect', () => clearInterval(check))
      new SocketClient(socket, lasting, options).start()
    })
  }

  handle(request: IncomingMessage, response: ServerResponse): void {
    this.#engine.handleRequest(request as never, response)
  }

  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.#engine.handleUpgrade(request as never, socket, head)
  }

  stop(): void {
    this.#server.disconnectSockets(true)
    this.#engine.close()
  }

  #admit(request: IncomingMessage, answer: (fault: string | undefined, isAdmitted: boolean) => void): void {
    const { guard, connections, perAddress } = this.#options
    try {
      guard.checkOrigin({ headers: request.headers, raw: request })
      const source = sourceOf(guard.address(request))
      const ofSource = this.#sources.get(source) ?? 0
      if (ofSource >= perAddress) {
        throw new HubError('too_many', `${source} has ${ofSource} Socket.IO connections (http.address)`)
      }
      if (this.#engine.clientsCount >= connections) {
        throw new HubError('too_many', `there are ${connections} Socket.IO connections (http.connections)`)
      }
      answer(undefined, true)
    } catch (error) {
      if (!(error instanceof HubError)) throw error
      guard.report(request, error.httpStatus, error)
      answer(error.message, false)
    }
  }
}

/** Returns the caller by `auth` of the handshake: `token`, or `username` and `password`; else by the headers. */
function identify(guard: Guard, { request, handshake }: Socket): Promise<LastingCaller> {
  const { username, password, token } = handshake.auth as Readonly<Record<string, unknown>>
  const text = (given: unknown) => (typeof given === 'string' && given.length <= maxCredential ? given : undefined)
  const secret = text(token) ?? text(password)
  return guard.identifySocket(
    { headers: request.headers, raw: request },
    { username: text(username) ?? '', ...(secret !== undefined && { password: secret }) },
  )
}

/** Returns an error as the client sees it in `connect_error`: with `data`. */
function refusal(error: string, message: string): Error {
  return Object.assign(new Error(message), { data: { error, message } })
}
