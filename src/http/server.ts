import { lookup } from 'node:dns/promises'
import type { IncomingMessage } from 'node:http'
import type { Server as HttpsServer } from 'node:https'
import type { Socket } from 'node:net'
import fastifySwagger from '@fastify/swagger'
import fastify, { type FastifyInstance, type FastifyReply } from 'fastify'
import type { Bans, Logins } from '../auth/admission.js'
import { describe, HubError, MessagesRefused } from '../errors.js'
import type { Auditor } from '../observe/audit.js'
import type { Counters } from '../observe/counters.js'
import type { SentenceLog } from '../observe/log.js'
import type { Metrics } from '../observe/metrics.js'
import type { PipelineApi } from '../pipeline/pipeline-api.js'
import { inUrl, Networks } from '../runtime/addresses.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { type Listeners, listenError } from '../transport/listeners.js'
import type { Tls } from '../transport/tls.js'
import { accessRoutes } from './access.js'
import { type AdministrationOptions, administrationRoutes } from './administration.js'
import { apiRoutes } from './api.js'
import { Assets } from './assets.js'
import { type ClientsApi, clientRoutes } from './clients.js'
import { type CommandsApi, commandRoutes } from './commands.js'
import { Compression } from './compression.js'
import { CrossOrigin } from './cors.js'
import type { DevicesApi } from './devices.js'
import { exploreRoutes, type RetainedApi } from './explore.js'
import { exportRoutes } from './export.js'
import { type AuthorityPort, Guard, hostHeaderFault } from './guard.js'
import { securityHeaders } from './headers.js'
import type { HubHealth } from './health.js'
import { HttpConnections } from './http-connections.js'
import { importRoutes } from './import.js'
import { influxRoutes } from './influx.js'
import { lazyValidators } from './lazy-validators.js'
import { type FeedsApi, liveRoutes } from './live.js'
import { type MappingApi, mappingRoutes } from './mapping.js'
import { notifyRoutes } from './notify.js'
import { outletRoutes } from './outlets.js'
import { pages } from './pages.js'
import { type Publisher, publishRoutes } from './publish.js'
import { HttpRefusals, RequestRefused } from './refusals.js'
import { type PairingDesk, sessionRoutes } from './session.js'
import type { SessionsApi } from './session-list.js'
import { type ShadowsApi, shadowRoutes } from './shadows.js'
import { shareRoutes } from './shares.js'
import { isForSocketIo, LazySocketIo } from './socket-io-routes.js'
import { userRoutes } from './users.js'

export interface HttpOptions {
  readonly host: string
  readonly port: number
  readonly version: string
  /** TLS that has been started. When given, everything is HTTPS. */
  readonly tls?: Tls | undefined
  /** Sent as Strict-Transport-Security over TLS, in milliseconds; 0: not sent. */
  readonly hstsMs?: number
  readonly pipeline: PipelineApi
  /** The mapping rules. */
  readonly mapping: MappingApi
  /** Actions of administrators on clients, sessions and retained messages. */
  readonly admin: SessionsApi & DevicesApi & RetainedApi & ClientsApi
  readonly publisher: Publisher
  readonly commands: CommandsApi
  readonly shadows: ShadowsApi
  /** Largest message that may be published. */
  readonly packetBytes: number
  readonly health: Pick<HubHealth, 'ready' | 'starts' | 'hubId'>
  readonly metrics: Pick<Metrics, 'text' | 'contentType'>
  readonly clock: MicrosecondClock
  /** Sites whose pages may show those of the hub in a frame: `self`, origins, or `*` for every one. */
  readonly frames?: readonly string[]
  /** Other origins whose pages may ask, without cookies; `*` is every one. */
  readonly origins: readonly string[]
  /** Undefined, or open: authentication is off. */
  readonly authority: AuthorityPort | undefined
  /** auth.anonymous: lets callers without credentials in all the same, as far as the authority allows. */
  readonly anonymous: boolean
  readonly logins: Logins
  readonly pairing: PairingDesk
  /** Key that allows everything; for callers that may read the files of the hub. */
  readonly adminKey: string
  /** Addresses and networks of the proxies whose X-Forwarded-… headers are trusted. */
  readonly proxies: readonly string[]
  /** Maximum number of HTTP connections, in all and of one address. */
  readonly connections: number
  readonly perAddress: number
  readonly feeds: FeedsApi
  readonly webSockets: Pick<Listeners, 'upgrade' | 'mqttUrl' | 'mqttsUrl'>
  readonly auditLog: AdministrationOptions['auditLog']
  /** The settings in effect, to be shown. */
  readonly live: AdministrationOptions['live']
  readonly counters: Pick<Counters, 'refuse'>
  readonly log: SentenceLog
  readonly audit: Auditor
  readonly bans: Bans
}

/** Maximum size of a body. The largest useful one is a filter of dead letters. */
const bodyLimit = 65_536

/** Time limit of a TLS handshake, and of the headers of a request after that. */
const patienceMs = 10_000

/** Time that a connection is kept for the next request. */
const idleMs = 10_000

/** Time limit for a whole request to arrive, body included: unauthenticated callers may send some. */
const requestMs = 30_000

/** Dashboard, API, health, metrics, and MQTT over WebSocket, on one port. */
export class HttpServer {
  readonly name = 'http'
  readonly #options: HttpOptions
  #app: FastifyInstance | undefined
  #sockets: LazySocketIo | undefined

  constructor(options: HttpOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    const { host, port, version, tls, authority, logins, pairing, webSockets, log } = this.#options
    const hstsMs = tls ? this.#options.hstsMs : 0
    const { audit, bans, clock } = this.#options
    const refusals = new HttpRefusals(this.#options)
    const guard = new Guard({ ...this.#options, refusals })
    const crossOrigin = new CrossOrigin(this.#options.origins)
    const assets = new Assets()
    const headersFor = securityHeaders({ hstsMs, frames: this.#options.frames })
    // Set on the raw answer, so that the headers are there whatever code writes the answer.
    const secureAnswer = (reply: FastifyReply, asked: string | undefined) => {
      for (const [name, value] of headersFor(asked)) reply.raw.setHeader(name, value)
    }
    const patience = { headersTimeout: patienceMs, connectionsCheckingInterval: 1_000 }
    const app = fastify({
      ...(tls ? { https: { ...tls.context, ...patience, handshakeTimeout: patienceMs } } : { http: patience }),
      forceCloseConnections: true,
      bodyLimit,
      requestTimeout: requestMs,
      keepAliveTimeout: idleMs,
      // A mistyped filter must be refused, not ignored.
      ajv: { customOptions: { removeAdditional: false } },
      schemaController: { compilersFactory: { buildValidator: lazyValidators } },
      routerOptions: { maxParamLength: 2_000 },
      clientErrorHandler: (error, socket) => {
        const [status, message] = malformed[error.code] ?? ['400 Bad Request', 'this is not a valid HTTP request']
        if (error.code === 'ECONNRESET') return void socket.destroy()
        refusals.count(error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 'timeout' : 'malformed')
        refuse(socket, status, { error: 'bad_request', message }, headersFor(undefined))
      },
      frameworkErrors: (error, request, reply: FastifyReply) => {
        secureAnswer(reply, request.headers.host)
        refusals.count('bad_request')
        void reply.code(error.statusCode ?? 400).send({ error: 'bad_request', message: error.message })
      },
    })
    this.#app = app
    const sockets = new LazySocketIo({ ...this.#options, guard })
    this.#sockets = sockets
    const { connections, perAddress, proxies } = this.#options
    new HttpConnections({
      connections,
      perAddress,
      proxies: new Networks(proxies),
      report: refusals,
    }).watch(app.server)
    app.setErrorHandler((error, request, reply) => {
      const hubError = error instanceof HubError ? error : undefined
      const status = hubError?.httpStatus ?? (error as { statusCode?: number }).statusCode ?? 500
      if (status >= 500 && !hubError) log.warn(`http: ${describe(error)}`)
      if (status >= 400 && status < 500 && error instanceof Error) guard.report(request.raw, status, error)
      if (status === 401) reply.header('www-authenticate', 'Bearer realm="telehub"')
      if (hubError?.retryAfterMs) reply.header('retry-after', Math.ceil(hubError.retryAfterMs / 1_000))
      if (request.routeOptions.config.isInflux) {
        const sentence = status >= 500 && !hubError ? 'internal error; see the log of the hub' : describe(error)
        return void reply.code(status).send({ error: sentence })
      }
      void reply.code(status).send({
        error: hubError?.code ?? (status === 413 ? 'too_large' : status < 500 ? 'bad_request' : 'internal'),
        message: status >= 500 && !hubError ? 'internal error; see the log of the hub' : describe(error),
        ...(hubError?.said && { said: hubError.said }),
        ...(error instanceof MessagesRefused && { index: error.index, kept: error.kept }),
      })
    })
    app.setNotFoundHandler((request, reply) => {
      refusals.count('not_found')
      void reply.code(404).send({ error: 'not_found', message: `${request.method} ${request.url} does not exist` })
    })
    // The schemas of answers are for the description; the compiler has checked the handlers against them.
    app.setSerializerCompiler(() => data => JSON.stringify(data))
    // A page of another site may send what a form can send: not JSON, and not without naming its origin.
    app.removeContentTypeParser('text/plain')
    app.decorateRequest('caller', undefined)
    app.addHook('onRequest', async (request, reply) => {
      secureAnswer(reply, request.headers.host)
      guard.checkHost(request)
      if (request.routeOptions.config?.isSocketIo) return undefined
      if (crossOrigin.isPreflight(request)) return crossOrigin.preflight(request, reply)
      crossOrigin.share(request, reply)
      return guard.check(request, reply)
    })
    const compression = new Compression()
    app.addHook('onSend', (request, reply, body) => compression.answer(request, reply, body))
    await app.register(fastifySwagger, {
      // Bodies that routes validate by themselves.
      transform: ({ schema, url, route: { config } }) => ({
        schema: {
          ...schema,
          tags: [/^\/api\/([a-z]+)/.exec(url)?.[1] ?? 'hub'],
          ...(config?.body !== undefined && { body: config.body }),
        },
        url,
      }),
      openapi: {
        info: { title: 'telehub', version, description: 'Times are milliseconds since the epoch.' },
        components: { securitySchemes },
        security: guard.open ? [] : Object.keys(securitySchemes).map(name => ({ [name]: [] })),
      },
    })
    const { admin, pipeline } = this.#options
    await app.register(apiRoutes, { ...this.#options, sessions: admin, devices: admin, guard })
    await app.register(exploreRoutes, { pipeline, retained: admin, guard, audit })
    await app.register(mappingRoutes, { ...this.#options, guard })
    await app.register(clientRoutes, { clients: admin, bans, guard, audit })
    await app.register(publishRoutes, this.#options)
    await app.register(commandRoutes, { ...this.#options, guard })
    await app.register(shadowRoutes, { guard, audit, shadows: this.#options.shadows })
    await app.register(notifyRoutes, { ...this.#options, guard })
    await app.register(outletRoutes, { ...this.#options, guard })
    await app.register(influxRoutes, this.#options)
    await app.register(exportRoutes, { ...this.#options, guard })
    await app.register(importRoutes, { ...this.#options, guard })
    await app.register(liveRoutes, { guard, feeds: this.#options.feeds })
    await app.register(async app => sockets.register(app))
    await app.register(sessionRoutes, { guard, authority, logins, pairing, audit, bans, clock, listeners: webSockets })
    await app.register(shareRoutes, { ...this.#options, guard })
    await app.register(accessRoutes, { guard, logins, bans, audit })
    await app.register(userRoutes, { ...this.#options, guard, site: { host, url: () => this.url } })
    await app.register(administrationRoutes, this.#options)
    await app.register(async app => pages(app, guard, assets))
    app.server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
      const ambiguous = hostHeaderFault(request)
      const fault = ambiguous ?? guard.hostFault(request)
      const [status, error] = ambiguous ? ['400 Bad Request', 'bad_request'] : ['403 Forbidden', 'forbidden']
      if (fault) {
        const refused = ambiguous ? new HubError('bad_request', fault) : new RequestRefused('host', 'forbidden', fault)
        guard.report(request, refused.httpStatus, refused)
        refuse(socket, status, { error, message: fault }, headersFor(undefined))
      } else if (isForSocketIo(request)) sockets.upgrade(request, socket, head)
      else webSockets.upgrade(request, socket, head)
    })
    tls?.onChange(() => (app.server as HttpsServer).setSecureContext(tls.context))
    try {
      // Fastify would give each address of localhost a server of its own, which no new certificate would reach.
      const address = tls && host === 'localhost' ? (await lookup(host)).address : host
      await app.listen({ host: address, port })
    } catch (error) {
      throw listenError(error, 'http.port', host, port)
    }
    // Raised when there are too many open files, so that a connection cannot be accepted.
    app.server.on('error', error => log.warn(`http: ${describe(error)}`))
  }

  async stop(): Promise<void> {
    this.#sockets?.stop()
    await this.#app?.close()
  }

  /** The address of the dashboard and the API as clients may use it, and that of MQTT over WebSocket. */
  get url(): string {
    return this.#url('http')
  }

  get webSocketUrl(): string {
    return `${this.#url('ws')}/mqtt`
  }

  #url(scheme: 'http' | 'ws'): string {
    const { tls, host } = this.#options
    return `${scheme}${tls ? 's' : ''}://${inUrl(host)}:${this.port}`
  }

  /** Port that the server listens on. */
  get port(): number {
    const address = this.#app?.server.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }
}

/** Ways to authenticate, for /api/openapi.json. */
const securitySchemes = {
  cookie: {
    type: 'apiKey',
    in: 'cookie',
    name: 'telehub',
    description: 'Set by POST /api/login; over TLS its name is __Host-telehub.',
  },
  key: { type: 'http', scheme: 'bearer', description: 'An API key, thk_…, or the key in admin.key of data.dir.' },
} as const

/** Status and message for faults that Node names in the bytes of a request. */
const malformed: Readonly<Record<string, readonly [status: string, message: string]>> = {
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', 'the headers are longer than 16 KB'],
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'the request took too long to arrive'],
}

/** Answers when there is no request object to answer, and ends the connection. */
function refuse(
  socket: Socket,
  status: string,
  answer: { readonly error: string; readonly message: string },
  headers: readonly (readonly [name: string, value: string])[],
): void {
  // Without a listener a reset connection would end the process.
  socket.on('error', () => {})
  if (!socket.writable) return void socket.destroy()
  const body = JSON.stringify(answer)
  const all = [
    ...headers,
    ['connection', 'close'],
    ['content-type', 'application/json; charset=utf-8'],
    ['content-length', Buffer.byteLength(body)],
  ]
  socket.write(`HTTP/1.1 ${status}\r\n${all.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body}`)
  socket.destroySoon()
}
