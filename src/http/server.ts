import type { IncomingMessage } from 'node:http'
import { createRequire } from 'node:module'
import { isIP, type Socket } from 'node:net'
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
  /** PEM; with it all is HTTPS. */
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer } | undefined
  readonly api: Api
  /** A request to become a WebSocket: answers it, whatever it asks for. */
  readonly upgrade: (request: IncomingMessage, socket: Socket, head: Buffer) => void
  readonly listenError: (error: unknown, setting: string, host: string, port: number) => HubError
  readonly warn: (sentence: string) => void
}

/** How long a TLS handshake may take, and after it the headers of a request. */
const patienceMs = 10_000

/** Dashboard, API, health, metrics, and the way in for MQTT over WebSocket, on one port. */
export class HttpServer {
  readonly name = 'http'
  readonly #options: HttpOptions
  #app: FastifyInstance | undefined

  constructor(options: HttpOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    const { host, port, api, version, tls, upgrade, listenError, warn } = this.#options
    const patience = { headersTimeout: patienceMs, connectionsCheckingInterval: 1_000 }
    const secure = { ...tls, ...patience, minVersion: 'TLSv1.2', handshakeTimeout: patienceMs } as const
    const app = fastify({
      ...(tls ? { https: secure } : { http: patience }),
      forceCloseConnections: true,
      // A mistyped filter must be refused, not taken for none.
      ajv: { customOptions: { removeAdditional: false } },
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
    // A page of another site may send what a form can send: not JSON, and not without saying where it comes from.
    app.removeContentTypeParser('text/plain')
    app.addHook('onRequest', async ({ method, headers: { origin, host } }) => {
      if (['GET', 'HEAD', 'OPTIONS'].includes(method) || origin === undefined) return
      if (isOwnPage(origin, host, this.#options.host) || api.origins.some(one => one === '*' || one === origin)) return
      const sentence = `requests of pages at ${origin} are not taken; this hub is at ${host}, and ws.origins may allow others`
      throw new HubError('forbidden', sentence)
    })
    app.addHook('onSend', async (_request, reply) => {
      reply.header('x-content-type-options', 'nosniff')
    })
    await app.register(fastifySwagger, {
      openapi: { info: { title: 'telehub', version, description: 'Times are milliseconds since the epoch.' } },
    })
    await app.register(apiRoutes, api)
    await app.register(dashboard)
    app.server.on('upgrade', upgrade)
    try {
      await app.listen({ host, port })
    } catch (error) {
      throw listenError(error, 'http.port', host, port)
    }
    // Too many open files, and then a connection cannot be accepted.
    app.server.on('error', error => warn(`http: ${describe(error)}`))
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

/** A name that somebody's DNS points at a loopback address would make their page the hub's own. */
function isOwnPage(origin: string, host: string | undefined, listening: string): boolean {
  if (!URL.canParse(origin)) return false
  const page = new URL(origin)
  const isAddress = page.hostname === 'localhost' || isIP(page.hostname.replace(/^\[|\]$/g, '')) !== 0
  const isLoopback = listening === 'localhost' || listening === '::1' || listening.startsWith('127.')
  return page.host === host && (isAddress || !isLoopback)
}
