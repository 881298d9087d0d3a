import { timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Access, ReadRules } from '../access/rules.js'
import type { Authority, Logins } from '../auth/admission.js'
import type { Credentials, Verdict } from '../auth/principal.js'
import type { Allow } from '../contract/contract.js'
import type { Schema } from '../contract/schema.js'
import { HubError } from '../errors.js'
import { Networks, plainAddress } from '../runtime/addresses.js'
import { clientAddress, isOwnPage } from '../transport/listeners.js'
import type { RuleKind } from '../users/users.js'
import { type HttpRefusals, RequestRefused } from './refusals.js'

/** Part of the authority that HTTP needs. */
export type AuthorityPort = Pick<
  Authority,
  'open' | 'authenticate' | 'access' | 'user' | 'isStamp' | 'links' | 'directory'
>

export interface GuardOptions {
  readonly host: string
  /** Other sites whose pages may send requests; `*` is every one. */
  readonly origins: readonly string[]
  /** Addresses and networks of trusted proxies. */
  readonly proxies: readonly string[]
  /** Undefined, or open: authentication is off. */
  readonly authority: AuthorityPort | undefined
  /** Lets callers without credentials in all the same, as far as the authority allows. */
  readonly anonymous: boolean
  readonly logins: Logins
  readonly adminKey: string
  readonly refusals: HttpRefusals
}

/** Authenticated sender of a request. */
export interface Caller {
  /** Empty when authentication is off, and for the admin key. */
  readonly user: string
  readonly kind: RuleKind
  /** Login of the browser that sent a cookie. Undefined for other credentials. */
  readonly login: string | undefined
  /** Undefined: the caller may read everything. */
  readonly access: Access | undefined
  /** True when authentication is off, or the caller has sent no credentials. */
  readonly anonymous: boolean
  /** The scope of the link by which the caller came: nothing else is shown. */
  readonly share?: { readonly board: string; readonly series: readonly string[] } | undefined
}

declare module 'fastify' {
  interface FastifyContextConfig {
    allow?: Allow
    /** Schema of the body of a route that validates by itself, for the description of the API. */
    body?: Schema
    /** Redirects callers that are not signed in to the sign-in page. */
    isPage?: boolean
    /** True for requests that Socket.IO answers, and authenticates by itself. */
    isSocketIo?: boolean
    /** Takes credentials and answers failures as InfluxDB 1.x does. */
    isInflux?: boolean
  }
  interface FastifyRequest {
    /** Undefined on routes for anyone. */
    caller: Caller | undefined
  }
}

/** Head of a request, before or without Fastify. */
export type RequestHead = Pick<FastifyRequest, 'headers' | 'raw'>

/** Caller on a connection that outlives the request. */
export interface LastingCaller {
  readonly caller: Caller
  /** Returns false once the login has ended, or the credentials have changed. */
  isValid(): boolean
}

const everybody: Caller = { user: '', kind: 'admin', login: undefined, access: undefined, anonymous: true }
const keyHolder: Caller = { ...everybody, anonymous: false }

/** Decides for each request who sends it, and whether the caller may, before anything but the head is read. */
export class Guard {
  readonly #options: GuardOptions
  readonly #proxies: Networks
  readonly #hosts: ReadonlySet<string>

  constructor(options: GuardOptions) {
    this.#options = options
    this.#proxies = new Networks(options.proxies)
    const named = options.origins.filter(origin => URL.canParse(origin)).map(origin => new URL(origin).hostname)
    this.#hosts = new Set(['localhost', options.host.toLowerCase(), ...named])
  }

  /** True when authentication is off. */
  get open(): boolean {
    return this.#options.authority?.open ?? true
  }

  /** True when callers without credentials may be let in. */
  get isAnonymous(): boolean {
    return this.#options.anonymous
  }

  /** Throws the reason when the hub does not answer under the name that a request gives. */
  checkHost({ raw }: FastifyRequest): void {
    const ambiguous = hostHeaderFault(raw)
    if (ambiguous) throw new HubError('bad_request', ambiguous)
    const foreign = this.hostFault(raw)
    if (foreign) throw new RequestRefused('host', 'forbidden', foreign)
  }

  /**
   * Decides about a request whose host is checked: throws the reason of a rejection, answers, or stores the caller in the
   * request.
   */
  async check(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined> {
    const { allow = 'read', isPage, isInflux } = request.routeOptions.config ?? {}
    const fault = this.#crossSiteFault(request)
    if (fault) throw new RequestRefused('cross_site', 'forbidden', fault)
    if (allow === 'anyone') return undefined
    const isRead = request.method === 'GET' || request.method === 'HEAD'
    const authorization = isInflux ? influxAuthorization(request) : undefined
    request.caller = await this.identify(request, authorization).catch((error: unknown) => {
      if (isPage && isRead && error instanceof HubError && error.code === 'unauthorized') return undefined
      throw error
    })
    if (!request.caller) return reply.redirect('/login')
    const refusal = refusalOf(request.caller, allow) ?? shareRefusalOf(request)
    if (refusal) throw refusal
    return undefined
  }

  /**
   * Returns the caller. Throws `unauthorized` for wrong or missing credentials, and `too_many` for too many attempts.
   */
  async identify(request: RequestHead, authorization = request.headers.authorization): Promise<Caller> {
    if (this.open) return everybody
    const byCookie = authorization === undefined && this.#isOwn(request) ? this.loginOf(request) : undefined
    if (byCookie) return byCookie
    const caller =
      authorization === undefined ? await this.#unasked(request) : await this.#keyed(request, authorization)
    if (caller) return caller
    throw authorization === undefined ? new HubError('unauthorized', whoAsks) : wrongKey('it is not an API key')
  }

  /** Throws the reason when a page may not open a socket that sends the credentials of the browser. */
  checkOrigin(head: RequestHead): void {
    const { origin, host = '' } = head.headers
    if (origin === undefined || this.#isAdmitted(origin) || this.#isOwn(head)) return
    const sentence = `pages at ${origin} may not connect; this hub is at ${host}, and ws.origins allows others`
    throw new RequestRefused('cross_site', 'forbidden', sentence)
  }

  /** Returns the caller of a socket: by the credentials given, else as {@link identify}, which says what is thrown. */
  async identifySocket(head: RequestHead, given: { username?: string; password?: string }): Promise<LastingCaller> {
    const always = () => true
    if (this.open) return { caller: everybody, isValid: always }
    if (given.password === undefined) {
      const caller = notDevice(await this.identify(head))
      if (caller.share) throw sharedOnly()
      return { caller, isValid: caller.login === undefined ? always : () => this.loginOf(head) !== undefined }
    }
    if (isEqual(given.password, this.#options.adminKey)) return { caller: keyHolder, isValid: always }
    const verdict = await this.authenticate(head, given)
    const caller = this.#callerOf(verdict)
    if ('refused' in verdict || !caller) throw wrongKey('why' in verdict ? verdict.why : '')
    if (this.#options.authority?.links.isVisitor(caller.user)) throw sharedOnly()
    return { caller: notDevice(caller), isValid: () => verdict.isValid() }
  }

  /** Counts a refusal, and logs it. */
  report(request: IncomingMessage, status: number, error: Error): void {
    this.#options.refusals.report(request, this.address(request), status, error)
  }

  /** Returns the caller by the cookie of the request. Ends a login that is older than the password of the user. */
  loginOf(request: RequestHead): Caller | undefined {
    const { authority, logins } = this.#options
    const login = logins.find(cookieOf(request.headers.cookie, this.#cookieName(request)) ?? '')
    if (!login || !authority) return undefined
    const user = authority.user(login.user)
    if (!user || !mayLogIn(user.kind) || !authority.isStamp(user.name, login.stamp)) {
      logins.end(login.login)
      return undefined
    }
    const access = authority.access(user.name, '')
    const visited = authority.links.visited(user.name)
    const share = visited && { board: visited.board, series: visited.scope.series }
    return { user: user.name, kind: user.kind, login: login.login, access, anonymous: false, share }
  }

  /** Never rejects. */
  authenticate(request: RequestHead, given: { username?: string; password?: string }): Promise<Verdict> {
    const { authority } = this.#options
    const { username, password } = given
    const credentials: Credentials = { address: this.address(request.raw), username, password, certificate: [] }
    return new Promise(resolve => {
      if (authority) authority.authenticate(credentials, resolve)
      else resolve({ refused: 'bad_credentials', why: 'there are no users', retryAfterMs: 0 })
    })
  }

  /** Returns the address of the caller, also behind trusted proxies. */
  address({ headers, socket }: IncomingMessage): string {
    return clientAddress(headers, plainAddress(socket.remoteAddress) ?? '', this.#proxies)
  }

  /** Sets the cookie, or removes the cookie when there is no value. */
  setCookie(request: FastifyRequest, reply: FastifyReply, value: string | undefined, forMs = 0): void {
    const secure = this.#isSecure(request) ? '; Secure' : ''
    const text = `${this.#cookieName(request)}=${value ?? ''}; Path=/; Max-Age=${Math.floor(forMs / 1_000)}`
    reply.header('set-cookie', `${text}; HttpOnly; SameSite=Strict${secure}`)
  }

  /** Sends the cookie again, so that the browser keeps the cookie as long as the hub keeps the login. */
  slideCookie(request: FastifyRequest, reply: FastifyReply, forMs: number): void {
    const value = cookieOf(request.headers.cookie, this.#cookieName(request))
    if (value) this.setCookie(request, reply, value, forMs)
  }

  /**
   * Returns why the host of a request is rejected. Undefined when accepted. The owner of any domain could point a name
   * at this hub, and pages under that name would count as the hub's own. Where unauthenticated callers are let in, the
   * hub therefore answers only to names that no other site can have. Trusted proxies check the host themselves.
   */
  hostFault({ headers, socket }: IncomingMessage): string | undefined {
    const letsStrangersIn = this.open || this.isAnonymous
    if (!letsStrangersIn || headers.host === undefined || this.#options.origins.includes('*')) return undefined
    const isForwarded = headers['x-forwarded-host'] !== undefined || headers['x-forwarded-for'] !== undefined
    if (isForwarded && this.#isProxy(socket.remoteAddress)) return undefined
    const name = hostName(headers.host)
    if (name !== undefined && (isOwnNetworks(name) || this.#hosts.has(name))) return undefined
    const given = JSON.stringify(headers.host.slice(0, 200))
    return (
      `the host ${given} is not accepted: without a login the hub answers only under addresses and names of the local network. ` +
      'If this is a name of the hub, add it to ws.origins, as http://hub.example.org'
    )
  }

  /**
   * Returns why a request from a page of another site is rejected. Undefined when accepted. Such a page may send what a
   * form can send, and the browser sends where the page comes from.
   */
  #crossSiteFault(request: FastifyRequest): string | undefined {
    const { method, headers } = request
    if (['GET', 'HEAD', 'OPTIONS'].includes(method)) return undefined
    const { origin, host = '' } = headers
    if (headers.cookie !== undefined && headers['sec-fetch-site'] === 'cross-site') {
      return 'requests from pages of other sites are not accepted with a cookie'
    }
    if (origin === undefined || this.#isAdmitted(origin)) return undefined
    if (this.#isOwn(request)) return undefined
    return `requests from pages at ${origin} are not accepted; this hub is at ${host}, and ws.origins allows others`
  }

  #isAdmitted(origin: string): boolean {
    return this.#options.origins.some(one => one === '*' || one === origin)
  }

  /** Returns false for a request that a browser sends for a page of another origin and says so. */
  #isOwn({ headers, raw }: RequestHead): boolean {
    const { origin, host = '' } = headers
    if (origin === undefined) return true
    const forwarded = this.#isProxy(raw.socket.remoteAddress) ? String(headers['x-forwarded-host'] ?? '') : ''
    return isOwnPage(origin, [host, ...forwarded.split(',')])
  }

  /** Returns the caller of a request without credentials. */
  async #unasked(request: RequestHead): Promise<Caller | undefined> {
    if (!this.#options.anonymous) return undefined
    const caller = this.#callerOf(await this.authenticate(request, {}))
    return caller && caller.kind !== 'device' ? { ...caller, anonymous: true } : undefined
  }

  async #keyed(request: RequestHead, authorization: string): Promise<Caller | undefined> {
    const key = /^Bearer +(\S+) *$/i.exec(authorization)?.[1] ?? ''
    if (isEqual(key, this.#options.adminKey)) return keyHolder
    // Tokens of pages are for MQTT alone.
    if (!/^thk_\w+_[\w-]+$/.test(key) || key.length > 200) return undefined
    const verdict = await this.authenticate(request, { username: '', password: key })
    if ('refused' in verdict && verdict.refused === 'bad_credentials') throw wrongKey(verdict.why)
    return this.#callerOf(verdict)
  }

  #callerOf(verdict: Verdict): Caller | undefined {
    if ('refused' in verdict) {
      if (verdict.refused === 'busy') throw tooMany(verdict.retryAfterMs)
      return undefined
    }
    const { user, kind } = verdict
    return { user, kind, login: undefined, access: this.#options.authority?.access(user, ''), anonymous: false }
  }

  /**
   * Returns the name of the cookie. Over TLS the name itself guarantees that no other host, and no page without TLS,
   * has set the cookie (RFC 6265bis §4.1.3.2).
   */
  #cookieName(request: RequestHead): string {
    return this.#isSecure(request) ? '__Host-telehub' : 'telehub'
  }

  #isSecure({ raw: { headers, socket } }: RequestHead): boolean {
    if ('encrypted' in socket) return true
    const protocol = String(headers['x-forwarded-proto'] ?? '').split(',')
    return this.#isProxy(socket.remoteAddress) && protocol.at(-1)?.trim() === 'https'
  }

  #isProxy(address: string | undefined): boolean {
    return this.#proxies.has(plainAddress(address) ?? '')
  }
}

/**
 * Returns the credentials of a request to the API of InfluxDB 1.x as those of the hub: an API key is the password of HTTP
 * Basic, or the parameter `p` of the URL. User names do not matter, as a key belongs to one user.
 */
function influxAuthorization({ headers: { authorization }, url }: FastifyRequest): string | undefined {
  const [, encoded] = /^Basic +([\w+/=-]+) *$/i.exec(authorization ?? '') ?? []
  if (encoded !== undefined) {
    const text = Buffer.from(encoded, 'base64').toString()
    return `Bearer ${text.slice(text.indexOf(':') + 1)}`
  }
  const password = new URLSearchParams(url.split('?')[1] ?? '').get('p')
  return authorization ?? (password === null ? undefined : `Bearer ${password}`)
}

const whoAsks =
  'authentication required: sign in at /login, or send an API key as Authorization: Bearer thk_…; ' +
  'HTTP Basic is not supported, except for /query, with an API key as the password'

function wrongKey(detail: string): HubError {
  return new RequestRefused('key', 'unauthorized', whoAsks, { detail })
}

/** Returns the name of the caller for the audit log. */
export function callerName({ user, anonymous }: Caller): string {
  return user || (anonymous ? 'anyone' : 'admin.key')
}

/**
 * Returns why the Host headers of a request are refused with 400, or undefined. A proxy in front of the hub may have
 * taken the other one of two (RFC 9112 §3.2).
 */
export function hostHeaderFault({ rawHeaders }: IncomingMessage): string | undefined {
  let hosts = 0
  for (let i = 0; i < rawHeaders.length; i += 2) if (rawHeaders[i]?.toLowerCase() === 'host') hosts++
  return hosts > 1 ? `given ${hosts} Host headers, allowed is one (RFC 9112 §3.2)` : undefined
}

/** Returns the rules for what a caller may read of the topics that `filter` matches. Undefined: all of them. */
export function readRulesOf({ access }: Caller, filter: string): ReadRules | undefined {
  return access === undefined || access.readsAll(filter) ? undefined : access.readRules
}

/** Returns whether users of a kind may sign in: services have API keys, and devices have nothing to see. */
export function mayLogIn(kind: RuleKind): boolean {
  return kind === 'dashboard' || kind === 'admin'
}

export function tooMany(retryAfterMs: number): HubError {
  const seconds = Math.ceil(retryAfterMs / 1_000)
  const said = { code: 'too-many-attempts', values: { waitMs: seconds * 1_000 } }
  return new HubError('too_many', `too many attempts; try again in ${seconds} s`, { retryAfterMs, said })
}

/** Returns the caller. Throws `forbidden` for a device. */
function notDevice(caller: Caller): Caller {
  const refusal = refusalOf(caller, 'read')
  if (refusal) throw refusal
  return caller
}

/** Returns why a caller may not use a route, in words that help. Undefined when allowed. */
function refusalOf({ user, kind, access }: Caller, allow: Allow): HubError | undefined {
  const refused = (code: string, sentence: string) =>
    new HubError('forbidden', `user ${user} ${sentence}`, { said: { code, values: { user } } })
  if (kind === 'device') {
    const sentence = 'is a device, and devices may use MQTT only; the HTTP API is for dashboards, services and admins'
    return refused('device-only', sentence)
  }
  if (allow === 'change' && kind !== 'admin') return refused('admin-only', `is a ${kind}; only an admin may do this`)
  if (allow === 'everything' && access && !access.readsAll('#')) {
    return refused('reads-all-only', 'may not read every topic; this needs the rule allow read #, and no deny')
  }
  return undefined
}

/** Routes for visitors by a link: the page, and what a board shows. All others are refused, those to come too. */
const forVisitors: ReadonlySet<string> = new Set([
  ...['GET /', 'GET /:name', 'GET /assets/:version/:name', 'GET /vendor/:name'],
  ...['GET /api/session', 'POST /api/session/token', 'GET /api/home', 'GET /api/boards', 'GET /api/history'],
])

function sharedOnly(): HubError {
  const said = { code: 'shared-only', values: {} }
  return new HubError('forbidden', 'this link shares one board, and nothing else; sign in for more', { said })
}

/** Returns why a visitor by a link may not use a route. Undefined when allowed, and for other callers. */
function shareRefusalOf({ caller, method, routeOptions }: FastifyRequest): HubError | undefined {
  if (!caller?.share) return undefined
  const route = `${method === 'HEAD' ? 'GET' : method} ${routeOptions.url ?? ''}`
  return forVisitors.has(route) ? undefined : sharedOnly()
}

/** Returns true for addresses, and for names that no public DNS knows (RFC 6761, 6762, 8375; .internal is ICANN's). */
function isOwnNetworks(name: string): boolean {
  if (isIP(name.replace(/^\[|\]$/g, '')) !== 0 || !name.includes('.')) return true
  return /\.(local|localhost|home\.arpa|internal|lan|home|localdomain)$/.test(name)
}

function hostName(host: string): string | undefined {
  return /^[\w.:[\]-]+$/.test(host) && URL.canParse(`http://${host}`) ? new URL(`http://${host}`).hostname : undefined
}

function cookieOf(header: string | undefined, name: string): string | undefined {
  for (const pair of (header ?? '').split(';')) {
    const at = pair.indexOf('=')
    if (at > 0 && pair.slice(0, at).trim() === name) return pair.slice(at + 1).trim()
  }
  return undefined
}

/** Compares in constant time, except for the lengths. */
function isEqual(one: string, other: string): boolean {
  const a = Buffer.from(one)
  const b = Buffer.from(other)
  return a.length === b.length && a.length > 0 && timingSafeEqual(a, b)
}
