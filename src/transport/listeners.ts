import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls'
import type { Settings } from '../config/settings.js'
import { describe, HubError, systemCode } from '../errors.js'
import type { Counters } from '../observe/counters.js'
import type { SentenceLog } from '../observe/log.js'
import { rateLimited } from '../observe/log.js'
import { inUrl, Networks, plainAddress } from '../runtime/addresses.js'
import { connectionRoom } from '../runtime/open-files.js'
import { ListenQueue } from './listen-queue.js'
import type { ConnectionSink, RefusalReport } from './pool.js'
import { readProxyHeader } from './proxy-protocol.js'
import { type CertificateId, chainIds } from './revocation.js'
import { namesOf, noNames, type Tls } from './tls.js'
import { WebSockets } from './websocket.js'

export { clientAddress, isOwnPage } from './proxy-protocol.js'

export interface ListenersOptions {
  readonly host: string
  /** 0 takes a free port. */
  readonly mqttPort: number | 'off'
  readonly mqttsPort: number | 'off'
  /** The certificates, started. Needed if there is a TLS port. */
  readonly tls: Tls | undefined
  /** Whether a client that is asked for a certificate must show one. */
  readonly clientCertificates: 'required' | 'optional'
  readonly webSocket: {
    readonly origins: readonly string[]
    readonly pingMs: number
    readonly packetBytes: number
    readonly helloBytes: number
  }
  /** With `protocol` the connections of trusted proxies begin with a PROXY header. */
  readonly proxy: { readonly trusted: readonly string[]; readonly protocol: boolean }
  /** Connections in a handshake at a time; above that number the one that has waited longest is evicted. */
  readonly pending: number
  /** Until the end of the handshakes, PROXY header included. */
  readonly handshakeMs: number
  readonly connections: ConnectionSink
  readonly counters: Counters
  /** Gets refusals, at a limited rate. */
  readonly log: Pick<SentenceLog, 'info'>
}

export function listenerSettings(settings: Settings) {
  return {
    host: settings.host,
    mqttPort: settings['mqtt.port'],
    mqttsPort: settings['mqtts.port'],
    clientCertificates: settings['tls.clients'],
    webSocket: {
      origins: settings['ws.origins'],
      pingMs: settings['ws.ping'],
      packetBytes: settings['limits.packet'],
      helloBytes: settings['limits.hello'],
    },
    proxy: { trusted: settings['proxy.trusted'], protocol: settings['proxy.protocol'] },
    pending: connectionRoom(settings).mqtt,
    handshakeMs: settings['limits.connect'],
  } satisfies Partial<ListenersOptions>
}

/** All ways in for MQTT: TCP, TLS, and WebSockets from the HTTP server. Hands over connections after the handshake. */
export class Listeners implements RefusalReport {
  readonly name = 'listeners'
  readonly #options: ListenersOptions
  readonly #say: (sentence: string) => void
  readonly #trusted: Networks
  readonly #handshakes: Handshakes
  readonly #webSockets: WebSockets
  readonly #mqtt: Server
  readonly #mqtts: Server
  readonly #queue = new ListenQueue(sentence => this.refused('connections_dropped', sentence))
  #tls: TlsServer | undefined
  /** Open connections with the ids of their certificates, which may yet be revoked. */
  readonly #certified = new Map<TLSSocket, readonly CertificateId[]>()

  constructor(options: ListenersOptions) {
    const { webSocket, proxy, connections } = options
    this.#options = options
    this.#say = rateLimited(sentence => options.log.info(sentence))
    this.#trusted = new Networks(proxy.trusted)
    this.#handshakes = new Handshakes(options.pending, options.handshakeMs, this)
    this.#webSockets = new WebSockets({ ...webSocket, trusted: this.#trusted, connections, report: this })
    const tcp = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 }
    this.#mqtt = createServer(tcp, socket => this.#arrived(socket, 'mqtt'))
    this.#mqtts = createServer(tcp, socket => this.#arrived(socket, 'mqtts'))
  }

  async start(): Promise<void> {
    const { host, mqttPort, mqttsPort, tls } = this.#options
    try {
      if (mqttsPort !== 'off' && tls) {
        const server = this.#tlsServer(tls)
        this.#tls = server
        tls.onChange(() => {
          server.setSecureContext(tls.mqttContext)
          this.#closeRevoked(tls)
        })
        await this.#listen(this.#mqtts, 'mqtts.port', host, mqttsPort)
      }
      if (mqttPort !== 'off') await this.#listen(this.#mqtt, 'mqtt.port', host, mqttPort)
      this.#webSockets.start()
      this.#queue.start()
    } catch (error) {
      this.stop()
      throw error
    }
  }

  /** Frees the ports and ends connections in a handshake. Connections handed over are not touched. */
  stop(): void {
    this.#mqtt.close()
    this.#mqtts.close()
    this.#queue.stop()
    this.#webSockets.stop()
    this.#handshakes.stop()
  }

  /** The address of a listener as clients may use that. Undefined without that listener. */
  get mqttUrl(): string | undefined {
    return urlOf('mqtt', this.#options.host, this.mqttPort)
  }

  get mqttsUrl(): string | undefined {
    return urlOf('mqtts', this.#options.host, this.mqttsPort)
  }

  /** The port taken. Undefined when there is no listener. */
  get mqttPort(): number | undefined {
    return portOf(this.#mqtt)
  }

  get mqttsPort(): number | undefined {
    return portOf(this.#mqtts)
  }

  /** Handles an HTTP request to become a WebSocket. */
  upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    this.#webSockets.upgrade(request, socket, head)
  }

  async #listen(server: Server, setting: string, host: string, port: number): Promise<void> {
    // Devices may reconnect all at once: as many as the system allows can wait to be accepted.
    server.listen({ host, port, backlog: 65_535 })
    try {
      await once(server, 'listening')
    } catch (error) {
      throw listenError(error, setting, host, port)
    }
    server.on('error', error => this.refused('accept_failed', `${setting}: ${describe(error)}`))
  }

  #arrived(socket: Socket, listener: 'mqtt' | 'mqtts'): void {
    // Without a listener a reset connection would end the process.
    socket.on('error', ignore)
    const remote = plainAddress(socket.remoteAddress)
    if (remote === undefined) {
      socket.destroy()
      return
    }
    const isProxied = this.#options.proxy.protocol && this.#trusted.has(remote)
    if (listener === 'mqtt' && !isProxied) {
      this.#options.connections.accept(socket, { address: remote, listener, certificate: noNames })
      return
    }
    const handshake = this.#handshakes.begin(socket, remote)
    const identified = () => {
      if (listener === 'mqtt') this.#accept(socket, listener)
      else this.#tls?.emit('connection', socket)
    }
    if (!isProxied) identified()
    else {
      readProxyHeader(
        socket,
        address => {
          handshake.address = address ?? remote
          identified()
        },
        why => {
          this.refused('proxy_header', `${remote}: no PROXY header, which proxy.protocol requires: ${why}`)
          socket.destroy()
        },
      )
    }
  }

  /** Hands over a connection at the end of the handshakes. */
  #accept(stream: Socket, listener: 'mqtt' | 'mqtts', certificate = noNames): void {
    const handshake = this.#handshakes.end(stream)
    if (handshake) this.#options.connections.accept(stream, { address: handshake.address, listener, certificate })
    else stream.destroy()
  }

  #tlsServer(tls: Tls): TlsServer {
    const { handshakeMs, clientCertificates } = this.#options
    const server = createTlsServer({
      ...tls.mqttContext,
      requestCert: tls.asksClients,
      rejectUnauthorized: tls.asksClients && clientCertificates === 'required',
      handshakeTimeout: handshakeMs,
    })
    server.on('secureConnection', stream => {
      stream.on('error', ignore)
      try {
        // First, as getPeerX509Certificate takes the certificates of the authorities out of the connection.
        if (tls.looksUpRevoked) this.#lookUp(stream, tls)
        this.#accept(stream, 'mqtts', verifiedNames(stream))
      } catch (error) {
        const handshake = this.#handshakes.end(stream)
        stream.destroy()
        if (handshake) this.#notAccepted(`${handshake.address}: `, error)
      }
    })
    server.on('tlsClientError', (error, stream) => {
      const handshake = this.#handshakes.end(stream)
      stream.destroy()
      // Node ends a connection with an unaccepted certificate as if the client had gone away, and forgets the address.
      const verdict = stream.authorizationError
      if (verdict) this.#notAccepted('', verdict)
      // Without a handshake the connection was cut off, as logged already. A client that goes away is not refused.
      else if (handshake && systemCode(error) !== 'ECONNRESET') {
        const why = (error as { reason?: string }).reason ?? describe(error)
        this.refused('tls_handshake', `${handshake.address}: TLS handshake failed: ${why}`)
      }
    })
    return server
  }

  /**
   * Remembers the certificate as long as the connection is open, in case of revocation. Throws for a certificate
   * revoked already: the lists may have changed during the handshake.
   */
  #lookUp(stream: TLSSocket, tls: Tls): void {
    const certificate = stream.getPeerCertificate(true)
    // Without a certificate Node returns an empty object.
    if (!certificate?.raw) return
    const ids = chainIds(certificate)
    if (tls.revokes(ids)) throw revoked
    this.#certified.set(stream, ids)
    stream.once('close', () => this.#certified.delete(stream))
  }

  #closeRevoked(tls: Tls): void {
    for (const [stream, ids] of this.#certified) {
      if (!tls.revokes(ids)) continue
      const address = plainAddress(stream.remoteAddress)
      stream.destroy()
      const serial = ids[0]?.serial
      this.refused(
        'certificate_revoked',
        `${address}: connection closed: its certificate ${serial} was revoked (tls.crl)`,
      )
    }
  }

  #notAccepted(from: string, verdict: unknown): void {
    const code = verdict instanceof Error ? describe(verdict) : String(verdict)
    const [reason, why] = revocationVerdicts[code] ?? ['tls_handshake', undefined]
    this.refused(reason, `${from}the certificate of a client was not accepted: ${code}${why ? `: ${why}` : ''}`)
  }

  refused(reason: string, sentence: string): void {
    this.#options.counters.refuse(reason)
    this.#say(sentence)
  }
}

function ignore(): void {}

/** OpenSSL's code for a revoked certificate. */
const revoked = 'CERT_REVOKED'

/** OpenSSL's codes about revocation, each with the reason under which a refusal is counted, and a remedy. */
const revocationVerdicts: Readonly<Record<string, readonly [reason: string, why: string]>> = {
  [revoked]: ['certificate_revoked', 'it is revoked by a list in tls.crl'],
  UNABLE_TO_GET_CRL: ['crl_unusable', 'tls.crl has no list of a CA between it and tls.ca; add one, which may be empty'],
  CRL_HAS_EXPIRED: ['crl_unusable', 'the list of its CA in tls.crl has expired; add a new one to the file'],
  CRL_NOT_YET_VALID: ['crl_unusable', 'the list of its CA in tls.crl is not valid yet; is the clock right?'],
  CRL_SIGNATURE_FAILURE: ['crl_unusable', 'the list in tls.crl was not signed by the key of its CA'],
}

/** Returns the names in a client's certificate; none without one. Throws when the certificate is not verified. */
function verifiedNames(stream: TLSSocket): readonly string[] {
  const certificate = stream.getPeerX509Certificate()
  if (!certificate) return noNames
  if (!stream.authorized) throw stream.authorizationError
  return namesOf(certificate)
}

function urlOf(scheme: string, host: string, port: number | undefined): string | undefined {
  return port === undefined ? undefined : `${scheme}://${inUrl(host)}:${port}`
}

function portOf(server: Server): number | undefined {
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : undefined
}

interface Handshake {
  readonly socket: Socket
  /** The key of this handshake, kept here because a closed socket no longer knows the ends. */
  readonly ends: string
  readonly timer: NodeJS.Timeout
  /** The client's address, as far as known. */
  address: string
}

/** Connections in a handshake, the one that has waited longest first. */
class Handshakes {
  readonly #limit: number
  readonly #ms: number
  readonly #report: RefusalReport
  /** Handshakes by the ends of the connection: a TLS socket has the ends of the socket below, and hides that socket. */
  readonly #waiting = new Map<string, Handshake>()

  constructor(limit: number, ms: number, report: RefusalReport) {
    this.#limit = limit
    this.#ms = ms
    this.#report = report
  }

  begin(socket: Socket, address: string): Handshake {
    const [longest] = this.#waiting.values()
    if (longest && this.#waiting.size >= this.#limit)
      this.#cutOff(longest, 'gave_way', 'closed to make room for another')
    const timer = setTimeout(() => {
      this.#cutOff(handshake, 'handshake_timeout', `not finished within ${this.#ms} ms (limits.connect)`)
    }, this.#ms)
    const handshake: Handshake = { socket, ends: endsOf(socket), timer, address }
    this.#waiting.set(handshake.ends, handshake)
    socket.once('close', () => this.#remove(handshake))
    return handshake
  }

  /** Ends the handshake of a socket or of the TLS socket above. Undefined if that handshake is over already. */
  end(stream: Socket): Handshake | undefined {
    const handshake = this.#waiting.get(endsOf(stream))
    if (handshake) this.#remove(handshake)
    return handshake
  }

  stop(): void {
    for (const { socket } of this.#waiting.values()) socket.destroy()
  }

  #cutOff(handshake: Handshake, reason: string, why: string): void {
    this.#remove(handshake)
    handshake.socket.destroy()
    this.#report.refused(reason, `${handshake.address}: handshake aborted: ${why}`)
  }

  #remove(handshake: Handshake): void {
    clearTimeout(handshake.timer)
    // The next connection may have the same ends.
    if (this.#waiting.get(handshake.ends) === handshake) this.#waiting.delete(handshake.ends)
  }
}

function endsOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`
}

/** Returns an error for `EADDRINUSE` and the like, with a sentence on what to do. */
export function listenError(error: unknown, setting: string, host: string, port: number): HubError {
  const code = systemCode(error)
  const why =
    code === 'EADDRINUSE'
      ? 'is taken by another program'
      : code === 'EACCES'
        ? 'may not be opened by this user'
        : code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND'
          ? 'is not an address of this machine'
          : `cannot be used (${code ?? String(error)})`
  return new HubError(
    'port_taken',
    `${setting}: ${host}:${port} ${why}; choose another with --${setting}, 0 takes a free port`,
    {
      cause: error,
    },
  )
}
