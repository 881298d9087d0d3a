import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { type Networks, plainAddress, sourceOf } from '../runtime/addresses.js'
import type { RefusalReport } from '../transport/connections.js'

export interface HttpConnectionsOptions {
  /** Maximum number of connections, in all and of one address. */
  readonly connections: number
  readonly perAddress: number
  /** Trusted proxies. Many clients come from the address of one: `perAddress` does not apply to them. */
  readonly proxies: Networks
  /** Gets connections that were refused or evicted. */
  readonly report: RefusalReport
}

interface HttpConnection {
  readonly socket: Socket
  readonly source: string
  /** Requests that are not answered yet. */
  requests: number
}

/**
 * The connections of the HTTP server, which unauthenticated clients open at will. When there are too many, in all or of
 * one address, the one that has been idle longest is closed; when none is idle, the new one is refused. A connection
 * that has become a WebSocket does not count here any more.
 */
export class HttpConnections {
  readonly #options: HttpConnectionsOptions
  /**
   * Connections by remote address and port: a TLS socket has those of the socket underneath, but does not expose that
   * one.
   */
  readonly #all = new Map<string, HttpConnection>()
  /** Connections without a request, idle longest first. */
  readonly #idle = new Set<HttpConnection>()
  readonly #sources = new Map<string, number>()

  constructor(options: HttpConnectionsOptions) {
    this.#options = options
  }

  watch(server: Server): void {
    server.on('connection', socket => this.#arrived(socket))
    server.on('request', (request: IncomingMessage, response: ServerResponse) => this.#asked(request, response))
    // The connection counts among those of MQTT from here on.
    server.prependListener('upgrade', ({ socket }: IncomingMessage) => this.#forget(this.#all.get(endOf(socket))))
  }

  #arrived(socket: Socket): void {
    const { connections, perAddress, proxies } = this.#options
    const address = plainAddress(socket.remoteAddress)
    if (address === undefined) return
    const source = sourceOf(address)
    const ofSource = this.#sources.get(source) ?? 0
    if (ofSource >= perAddress && !proxies.has(address) && !this.#giveWay('http.address', source)) {
      this.#turnAway(socket, 'too_many_of_address', `${source} has ${ofSource} HTTP connections (http.address)`)
      return
    }
    if (this.#all.size >= connections && !this.#giveWay('http.connections')) {
      const sentence = `${this.#all.size} HTTP connections are open and busy (http.connections)`
      this.#turnAway(socket, 'too_many_connections', sentence)
      return
    }
    const connection = { socket, source, requests: 0 }
    this.#all.set(endOf(socket), connection)
    this.#idle.add(connection)
    this.#sources.set(source, (this.#sources.get(source) ?? 0) + 1)
    const end = endOf(socket)
    socket.once('close', () => {
      if (this.#all.get(end) === connection) this.#forget(connection, end)
    })
  }

  #asked({ socket }: IncomingMessage, response: ServerResponse): void {
    const connection = this.#all.get(endOf(socket))
    if (!connection) return
    connection.requests++
    this.#idle.delete(connection)
    response.once('close', () => {
      connection.requests--
      if (connection.requests === 0 && !connection.socket.destroyed) this.#idle.add(connection)
    })
  }

  /** Closes the connection that has been idle longest, of one source or of all. */
  #giveWay(setting: string, source?: string): boolean {
    for (const idle of this.#idle) {
      if (source !== undefined && idle.source !== source) continue
      const sentence = `an idle HTTP connection of ${idle.source} was closed to make room (${setting})`
      this.#options.report.refused('gave_way', sentence)
      this.#forget(idle)
      idle.socket.destroy()
      return true
    }
    return false
  }

  #turnAway(socket: Socket, reason: string, sentence: string): void {
    this.#options.report.refused(reason, sentence)
    socket.on('error', () => {}).destroy()
  }

  #forget(connection: HttpConnection | undefined, end = connection && endOf(connection.socket)): void {
    if (!connection || end === undefined || !this.#all.delete(end)) return
    this.#idle.delete(connection)
    const left = (this.#sources.get(connection.source) ?? 1) - 1
    if (left === 0) this.#sources.delete(connection.source)
    else this.#sources.set(connection.source, left)
  }
}

function endOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}
