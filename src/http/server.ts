import type { IncomingMessage } from 'node:http'
import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fastifyStatic from '@fastify/static'
import fastifySwagger from '@fastify/swagger'
import fastify, { type FastifyInstance, type FastifyReply } from 'fastify'
import { describe, HubError } from '../errors.js'
import { type Api, apiRoutes } from './api.js'

export interface HttpOptions {
  readonly host: string
  readonly port: number
  readonly version: string
  readonly api: Api
  /** A WebSocket to `/mqtt`. */
  readonly upgrade: (request: IncomingMessage, socket: Socket, head: Buffer) => void
  readonly listenError: (error: unknown, setting: string, host: string, port: number) => HubError
  readonly warn: (sentence: string) => void
}

/** Dashboard, API, health, metrics, and the way in for MQTT over WebSocket, on one port. */
export class HttpServer {
  readonly name = 'http'
  readonly #options: HttpOptions
  #app: FastifyInstance | undefined

  constructor(options: HttpOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    const { host, port, api, version, upgrade, listenError, warn } = this.#options
    const app = fastify({
      forceCloseConnections: true,
      routerOptions: { maxParamLength: 2_000 },
      frameworkErrors: (error, _request, reply: FastifyReply) => {
        void reply.code(error.statusCode ?? 400).send({ error: 'bad_request', message: error.message })
      },
    })
    this.#app = app
    app.setErrorHandler((error, _request, reply) => {
      const hubError = error instanceof HubError ? error : undefined
      const status = hubError?.httpStatus ?? (error as { statusCode?: number }).statusCode ?? 500
      if (status >= 500 && !hubError) warn(`http: ${describe(error)}`)
      void reply.code(status).send({
        error: hubError?.code ?? (status < 500 ? 'bad_request' : 'internal'),
        message: status >= 500 && !hubError ? 'something went wrong in the hub; its log says what' : describe(error),
      })
    })
    app.setNotFoundHandler((request, reply) => {
      void reply.code(404).send({ error: 'not_found', message: `there is nothing at ${request.method} ${request.url}` })
    })
    app.addHook('onSend', async (_request, reply) => {
      reply.header('x-content-type-options', 'nosniff')
    })
    await app.register(fastifySwagger, {
      openapi: { info: { title: 'telehub', version, description: 'Times are milliseconds since the epoch.' } },
    })
    await app.register(apiRoutes, api)
    await app.register(dashboard)
    app.server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
      // Without a listener a reset connection would end the process.
      socket.on('error', () => {})
      if (request.url?.split('?')[0] !== '/mqtt') refuse(socket, '404 Not Found')
      else if (!sameOrigin(request)) refuse(socket, '403 Forbidden')
      else upgrade(request, socket, head)
    })
    try {
      await app.listen({ host, port })
    } catch (error) {
      throw listenError(error, 'http.port', host, port)
    }
  }

  async stop(): Promise<void> {
    await this.#app?.close()
  }

  /** The port taken. */
  get port(): number {
    const address = this.#app?.server.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }
}

/** A page of another site must not talk to a hub on the visitor's machine: browsers let it open WebSockets anywhere. */
function sameOrigin({ headers }: IncomingMessage): boolean {
  return headers.origin === undefined || (URL.canParse(headers.origin) && new URL(headers.origin).host === headers.host)
}

function refuse(socket: Socket, status: string): void {
  socket.write(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
  socket.destroySoon()
}

/** The dashboard's own files, and the two libraries it imports, as their packages ship them. */
async function dashboard(app: FastifyInstance): Promise<void> {
  const require = createRequire(import.meta.url)
  const packageFile = (name: string, file: string) => join(dirname(require.resolve(`${name}/package.json`)), file)
  const vendor: Readonly<Record<string, string>> = {
    'mqtt.js': packageFile('mqtt', 'dist/mqtt.esm.js'),
    'uplot.js': packageFile('uplot', 'dist/uPlot.esm.js'),
    'uplot.css': packageFile('uplot', 'dist/uPlot.min.css'),
  }
  await app.register(fastifyStatic, {
    root: fileURLToPath(new URL('../dashboard', import.meta.url)),
    cacheControl: true,
    maxAge: 0,
  })
  for (const [name, path] of Object.entries(vendor)) {
    app.get(`/vendor/${name}`, { schema: { hide: true } }, (_request, reply) =>
      reply.sendFile(path, '/', { maxAge: '1d' }),
    )
  }
}
