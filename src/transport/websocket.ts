import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { type ServerOptions, type WebSocket, WebSocketServer } from 'ws'
import { type Networks, plainAddress } from '../runtime/addresses.js'
import type { Framing } from './outbox.js'
import type { ConnectionSink, RefusalReport } from './pool.js'
import { clientAddress, isOwnPage } from './proxy-protocol.js'
import { noNames } from './tls.js'

export interface WebSocketsOptions {
  /** Origins whose pages may connect, beside the dashboard's own; `*` is any. */
  readonly origins: readonly string[]
  /** Proxies whose X-Forwarded-For and X-Forwarded-Host are believed. */
  readonly trusted: Networks
  /** Milliseconds between pings; 0: none. */
  readonly pingMs: number
  /** Largest MQTT packet, counted as the remaining length. */
  readonly packetBytes: number
  /** Largest MQTT packet before CONNECT is accepted, counted likewise. */
  readonly helloBytes: number
  readonly connections: ConnectionSink
  readonly report: RefusalReport
}

/**
 * Paths of MQTT over WebSocket. Clients of which only a host is known take the root, and those for RabbitMQ `/ws`.
 */
const paths: ReadonlySet<string> = new Set(['/mqtt', '/', '/ws'])

/** Longest fixed header of an MQTT packet. Limits for packets count the bytes after the fixed header. [MQTT-2.2] */
const fixedHeaderBytes = 5

/** Least limit for frames: a frame may hold packets that follow CONNECT, too. */
const leastFrameBytes = 65_536

/** How long a closing handshake may take. */
const closeMs = 1_000

/** MQTT over WebSockets, from the HTTP request on. [MQTT-6.0.0-3] [MQTT-6.0.0-4] */
export class WebSockets {
  readonly #options: WebSocketsOptions
  readonly #server: WebSocketServer
  /** Open streams, with the addresses of the clients. */
  readonly #streams = new Map<WebSocketStream, string>()
  #pings: NodeJS.Timeout | undefined

  constructor(options: WebSocketsOptions) {
    this.#options = options
    // The types do not know closeTimeout yet.
    const server: ServerOptions & { closeTimeout: number } = {
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      // ws keeps a frame until whole: an unauthenticated client must not make ws keep more than a CONNECT takes.
      maxPayload: Math.max(leastFrameBytes, options.helloBytes + fixedHeaderBytes),
      closeTimeout: closeMs,
      // MQTT 3.1 clients ask for mqttv3.1; one that asks for nothing is served as well.
      handleProtocols: offered => ['mqtt', 'mqttv3.1'].find(name => offered.has(name)) ?? false,
    }
    this.#server = new WebSocketServer(server)
  }

  start(): void {
    const { pingMs } = this.#options
    if (pingMs > 0) this.#pings = setInterval(() => this.#ping(), pingMs).unref()
  }

  /** Stops upgrading; open connections stay. */
  stop(): void {
    clearInterval(this.#pings)
    this.#server.close()
  }

  /** Answers an HTTP request to become a WebSocket, in every case. */
  upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    // Without a listener a reset connection would end the process.
    socket.on('error', () => {})
    const { origins, trusted, packetBytes, connections, report } = this.#options
    const { headers, url = '' } = request
    const remote = plainAddress(socket.remoteAddress)
    if (remote === undefined) {
      socket.destroy()
      return
    }
    // Upgrade in an HTTP/1.0 request is to be ignored (RFC 9110 §7.8), and a WebSocket needs Upgrade (RFC 6455 §4.2.1).
    if (request.httpVersionMajor === 1 && request.httpVersionMinor === 0) {
      answer(socket, '400 Bad Request', `A WebSocket is opened with HTTP/1.1, not with HTTP/1.0.`)
      return
    }
    const target = targetOf(url)
    if (!paths.has(target.path)) {
      answer(socket, '404 Not Found', `There is no WebSocket at ${quoted(url)}, only at ${[...paths].join(', ')}.`)
      return
    }
    const address = clientAddress(headers, remote, trusted)
    const forwarded = trusted.has(remote) ? `,${headers['x-forwarded-host'] ?? ''}` : ''
    if (!isAllowed(headers.origin, `${target.host ?? headers.host ?? ''}${forwarded}`.split(','), origins)) {
      const why = `pages of ${quoted(headers.origin)} may not connect; ws.origins lists those that may`
      report.refused('origin', `${address}: ${why}`)
      answer(socket, '403 Forbidden', `WebSocket refused: ${why}.`)
      return
    }
    this.#server.handleUpgrade(request, socket, head, webSocket => {
      socket.setKeepAlive(true, 60_000)
      // A frame may hold more than one packet, or parts of them.
      const stream = new WebSocketStream(webSocket, socket, 2 * (packetBytes + fixedHeaderBytes), target.isJoined)
      this.#streams.set(stream, address)
      stream.once('close', () => this.#streams.delete(stream))
      stream.on('error', () => {})
      connections.accept(stream, { address, listener: 'encrypted' in socket ? 'wss' : 'ws', certificate: noNames })
    })
  }

  #ping(): void {
    const { pingMs, report } = this.#options
    for (const [stream, address] of this.#streams) {
      if (!stream.ping()) report.refused('ping_timeout', `${address}: no answer to a ping for ${pingMs} ms (ws.ping)`)
    }
  }
}

interface RequestTarget {
  readonly path: string
  readonly host: string | undefined
  /** Whether the client reads messages that hold many packets. */
  readonly isJoined: boolean
}

/**
 * Returns the parts of a request target. In absolute form, as `ws://host/mqtt`, a target also has the host, which then
 * counts instead of the Host header. (RFC 9112 §3.2.2)
 */
function targetOf(url: string): RequestTarget {
  const [, host, rest = url] = /^(?:https?|wss?):\/\/([^/?#]+)(.*)$/i.exec(url) ?? []
  const [path = '', query] = rest.split('?')
  return { path, host, isJoined: new URLSearchParams(query).get('packets') === 'joined' }
}

/**
 * Returns whether a page of this origin may connect. A page of another site must not reach a hub that only the visitor
 * of that page can: browsers let pages open WebSockets anywhere (RFC 6455 §10.2). A client without an origin is no
 * browser.
 */
function isAllowed(origin: string | undefined, hosts: readonly string[], origins: readonly string[]): boolean {
  if (origin === undefined || origins.includes('*') || origins.includes(origin)) return true
  return isOwnPage(origin, hosts)
}

/** Returns untrusted text, quoted and cut to fit a sentence. */
function quoted(text = ''): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text)
}

function answer(socket: Socket, status: string, sentence: string): void {
  const head = `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8`
  const body = `${sentence}\n`
  socket.write(`${head}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)
  socket.destroySoon()
}

/**
 * One MQTT packet is one binary message: Paho C reads the first packet of a message and forgets the others. A packet
 * that is longer than a piece of the outbox is several messages and not fragments of one, as Paho for Python and Java
 * do not read continuation frames (paho.mqtt.python#89, paho.mqtt.java#501). A client that opens `/mqtt?packets=joined`
 * can do better, and gets all packets that leave together as one message: a browser takes longer for a message than
 * for the packet in it.
 */
const framing: Framing = {
  headerBytes: length => (length < 126 ? 2 : length < 65_536 ? 4 : 10),
  writeHeader: (target, at, length) => {
    target[at] = finalBinaryFrame
    if (length < 126) {
      target[at + 1] = length
      return at + 2
    }
    if (length < 65_536) {
      target[at + 1] = 126
      return target.writeUInt16BE(length, at + 2)
    }
    target[at + 1] = 127
    return target.writeBigUInt64BE(BigInt(length), at + 2)
  },
}

/** FIN and the opcode of a binary frame (RFC 6455 §5.2). */
const finalBinaryFrame = 0x82

/**
 * A WebSocket as the byte stream that MQTT wants. Bytes read are the content of binary frames; bytes written must be
 * whole frames, as `framing` makes them; without `framing` they become one frame. A full reader stops the peer; a text
 * frame ends the connection.
 * [MQTT-6.0.0-1] [MQTT-6.0.0-2]
 *
 * Frames are written to the socket here and not by `send`, which costs a fifth more time for the small ones. This is
 * safe as ws, without compression, writes its control frames whole and at once.
 */
class WebSocketStream extends Duplex {
  readonly framing: Framing | undefined
  readonly #webSocket: WebSocket
  readonly #socket: Socket
  readonly #messageBytes: number
  #isOpen = false
  arrived: ((bytes: number) => void) | undefined
  /** Bytes read when the last ping was sent; -1 before the first. */
  #readAtPing = -1

  /** `socket` is the one below the WebSocket. `messageBytes`: the longest message, once the client is connected. */
  constructor(webSocket: WebSocket, socket: Socket, messageBytes: number, isJoined: boolean) {
    super({ allowHalfOpen: false, readableHighWaterMark: 65_536, writableHighWaterMark: 65_536 })
    this.framing = isJoined ? undefined : framing
    this.#webSocket = webSocket
    this.#socket = socket
    this.#messageBytes = messageBytes
    socket.on('data', this.#count)
    webSocket.on('message', (data: Buffer, isBinary: boolean) => {
      if (this.destroyed) return
      if (!isBinary) {
        webSocket.close(1003, 'MQTT needs binary frames')
        this.destroy(new Error('a text frame; MQTT needs binary ones'))
      } else if (!this.push(data)) webSocket.pause()
    })
    webSocket.on('error', error => this.destroy(error))
    webSocket.on('close', code => {
      // 1006: without a closing handshake (RFC 6455 §7.1.5). After one, earlier bytes are still to be read.
      if (code === 1006) this.destroy()
      else this.push(null)
    })
  }

  readonly #count = (chunk: Buffer): void => this.arrived?.(chunk.length)

  /** Called when the client is connected: longer messages may come. ws allows no other way to raise the limit. */
  opened(): void {
    this.#isOpen = true
    this.arrived = undefined
    this.#socket.off('data', this.#count)
    const { _receiver: receiver } = this.#webSocket as WebSocket & { _receiver?: { _maxPayload: number } }
    if (receiver) receiver._maxPayload = this.#messageBytes
  }

  /**
   * Asks the peer for a sign of life. If nothing at all came since the last ping, destroys the connection and returns
   * false. A peer whose bytes are not read is not asked.
   */
  ping(): boolean {
    if (this.destroyed || this.#webSocket.isPaused) return true
    const { bytesRead } = this.#socket
    if (bytesRead === this.#readAtPing) {
      this.#webSocket.terminate()
      this.destroy(new Error('no answer to a ping'))
      return false
    }
    this.#readAtPing = bytesRead
    this.#webSocket.ping()
    return true
  }

  override _read(): void {
    if (this.#webSocket.isPaused) this.#webSocket.resume()
  }

  override _write(frames: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    // Behind a close frame nothing may follow (RFC 6455 §5.5.1), and the peer would not read it.
    if (this.#webSocket.readyState !== this.#webSocket.OPEN) done()
    else if (this.framing) this.#socket.write(frames, done)
    else {
      const header = Buffer.allocUnsafe(framing.headerBytes(frames.length))
      framing.writeHeader(header, 0, frames.length)
      this.#socket.cork()
      this.#socket.write(header)
      this.#socket.write(frames, done)
      this.#socket.uncork()
    }
  }

  override _final(done: () => void): void {
    this.#webSocket.close(1000)
    done()
  }

  /** Closes the WebSocket: written bytes and the closing handshake still leave, if the peer takes them in time. */
  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    // An evicted unauthenticated client must not fill the memory until the closing handshake is over.
    if (!this.#isOpen && !this.writableFinished) this.#webSocket.terminate()
    else this.#webSocket.close(1000)
    // While paused, ws would not see the peer's answer.
    this.#webSocket.resume()
    done(error)
  }
}
