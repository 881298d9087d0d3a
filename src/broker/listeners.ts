import type { IncomingMessage } from 'node:http'
import { createServer, type Server, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import { HubError, systemCode } from '../errors.js'

export interface ListenersOptions {
  readonly host: string
  /** 0 takes a free port. */
  readonly port: number
  readonly limits: {
    readonly connections: number
    readonly packetBytes: number
    readonly inflight: number
  }
  /** Takes over a connection that has passed the limits. */
  readonly handle: (connection: Duplex, request?: IncomingMessage) => void
  /** While true no connection is read: what is accepted already waits for the disk. */
  readonly overloaded: () => boolean
  readonly refused: (reason: string) => void
  /** Resolves when every publish read so far is acknowledged or refused. */
  readonly drain: () => Promise<void>
}

/** MQTT over TCP, and over WebSockets that the HTTP server hands on. Every connection is read through a {@link Gate}. */
export class Listeners {
  readonly name = 'listeners'
  readonly #options: ListenersOptions
  readonly #tcp: Server
  readonly #webSockets: WebSocketServer
  readonly #connections = new Set<Duplex>()
  readonly #turn = new Turn()
  readonly #outbox = new Outbox()
  #stopping = false

  constructor(given: ListenersOptions) {
    const options = { ...given, overloaded: () => this.#stopping || given.overloaded() }
    this.#options = options
    this.#tcp = createServer({ noDelay: true, keepAlive: true }, socket => this.#accept(joinChunks(socket)))
    this.#webSockets = new WebSocketServer({
      noServer: true,
      maxPayload: options.limits.packetBytes,
      perMessageDeflate: false,
      handleProtocols: offered => (offered.has('mqtt') ? 'mqtt' : false),
    })
  }

  async start(): Promise<void> {
    const { host, port } = this.#options
    await new Promise<void>((resolve, reject) => {
      this.#tcp.once('error', error => reject(listenError(error, 'mqtt.port', host, port)))
      this.#tcp.listen(port, host, resolve)
    })
  }

  /** Reads no more, lets the acknowledgements out, then ends every connection; resolves when the port is free. */
  async stop(): Promise<void> {
    this.#stopping = true
    const closed = new Promise<void>(resolve => this.#tcp.close(() => resolve()))
    await this.#options.drain()
    await new Promise(resolve => setImmediate(resolve))
    for (const connection of this.#connections) connection.destroy()
    await closed
  }

  /** The TCP port taken. */
  get port(): number {
    const address = this.#tcp.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }

  get connections(): number {
    return this.#connections.size
  }

  /** An HTTP request to `/mqtt` that asks to become a WebSocket. */
  upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    this.#webSockets.handleUpgrade(request, socket, head, webSocket => {
      socket.setNoDelay(true)
      this.#accept(new WebSocketStream(webSocket), request)
    })
  }

  /** The overload is over: held connections are read again. */
  relieved(): void {
    this.#turn.next()
  }

  #accept(connection: Duplex, request?: IncomingMessage): void {
    const { limits, handle, refused } = this.#options
    if (this.#connections.size >= limits.connections) {
      refused('too_many_connections')
      connection.destroy()
      return
    }
    this.#connections.add(connection)
    connection.once('close', () => this.#connections.delete(connection))
    Gate.put(connection, this.#options, this.#turn)
    this.#outbox.take(connection)
    handle(connection, request)
  }
}

interface Written {
  readonly chunk: Buffer | string
  readonly encoding: BufferEncoding
}

/**
 * Holds back what is written to a connection until the turn of the event loop ends, so that it leaves in one piece:
 * Aedes writes each PUBLISH in five small chunks and each subscriber's in a turn of its own, and a system call for
 * every one of them takes more time than all else the hub does.
 */
class Outbox {
  readonly #written = new Set<Duplex>()

  take(connection: Duplex): void {
    const write = connection.write.bind(connection) as (...written: unknown[]) => boolean
    connection.write = (...written: unknown[]) => {
      if (!this.#written.has(connection)) this.#hold(connection)
      return write(...written)
    }
  }

  #hold(connection: Duplex): void {
    if (this.#written.size === 0) setImmediate(() => this.#flush())
    this.#written.add(connection)
    connection.cork()
  }

  #flush(): void {
    const written = [...this.#written]
    this.#written.clear()
    for (const connection of written) connection.uncork()
  }
}

/** Node would hand the chunks of a corked socket to the kernel one by one. */
function joinChunks(socket: Socket): Socket {
  socket._writev = (chunks: Written[], done: (error?: Error | null) => void) =>
    socket._write(joined(chunks), 'buffer' as BufferEncoding, done)
  return socket
}

function joined(chunks: readonly Written[]): Buffer {
  return Buffer.concat(
    chunks.map(({ chunk, encoding }) => (typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk)),
  )
}

/** `EADDRINUSE` and its like as a sentence that says what to do. */
export function listenError(error: unknown, setting: string, host: string, port: number): HubError {
  const code = systemCode(error)
  const why =
    code === 'EADDRINUSE'
      ? 'is taken by another program'
      : code === 'EACCES'
        ? 'is not allowed for this user'
        : code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND'
          ? 'is no address of this machine'
          : `cannot be used (${code ?? String(error)})`
  return new HubError(
    'port_taken',
    `${setting}: ${host}:${port} ${why}; choose another with --${setting}, 0 takes a free port`,
    {
      cause: error,
    },
  )
}

/** Turns of the event loop, for all gates: what may be read in one, and who waits for the next. */
class Turn {
  number = 0
  #left = turnBytes
  readonly #held = new Set<Gate>()
  #scheduled = false

  hold(gate: Gate): void {
    this.#held.add(gate)
  }

  /** How much of `wanted` bytes may be read in this turn. */
  grant(wanted: number): number {
    return Math.min(wanted, this.#left)
  }

  spend(bytes: number): void {
    this.#left -= bytes
    this.end()
  }

  /** Ends this turn soon: whoever is held by then may read again. */
  end(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.next()
    })
  }

  /** Whoever was held longest reads first; those the turn has no bytes for stay first in line for the next. */
  next(): void {
    this.number++
    this.#left = turnBytes
    const waiting = [...this.#held]
    this.#held.clear()
    let served = 0
    while (served < waiting.length && this.#left > 0) (waiting[served++] as Gate).resume()
    if (served === waiting.length) return
    const again = [...this.#held]
    this.#held.clear()
    for (const gate of [...waiting.slice(served), ...again]) this.#held.add(gate)
  }
}

/** Read in a turn from one connection, so that a flooding one gets its share and no more. */
const readBytes = 16_384

/** Read in a turn from all connections: what they publish is in memory until the turn's deliveries are written. */
const turnBytes = 262_144

/**
 * The read side of one connection, before Aedes: true back-pressure, which Aedes lacks (research: aedes.md §2.4), and
 * the limit on packet size, which the parser lacks. Reads at most {@link readBytes} a turn of the event loop and {@link turnBytes} with all others, nothing
 * while too many of its publishes wait for the disk or the hub is overloaded: TCP then slows the sender down.
 */
export class Gate {
  static readonly #gates = new WeakMap<Duplex, Gate>()
  readonly #connection: Duplex
  readonly #options: ListenersOptions
  readonly #turn: Turn
  readonly #meter: PacketMeter
  #readInTurn = -1
  #inFlight = 0
  #held = false
  /** CONNECT is read alone; what follows waits in the socket until the client is ready, or it would overtake. */
  #state: 'connect' | 'connecting' | 'open' = 'connect'

  private constructor(connection: Duplex, options: ListenersOptions, turn: Turn) {
    this.#connection = connection
    this.#options = options
    this.#turn = turn
    this.#meter = new PacketMeter(Math.min(options.limits.packetBytes, connectBytes))
  }

  static put(connection: Duplex, options: ListenersOptions, turn: Turn): void {
    const gate = new Gate(connection, options, turn)
    Gate.#gates.set(connection, gate)
    const read = connection.read.bind(connection)
    connection.read = size => (size === 0 ? read(0) : gate.#read(read))
  }

  static of(connection: Duplex): Gate | undefined {
    return Gate.#gates.get(connection)
  }

  /** The client is connected and ready: all that it sends may be read. */
  open(): void {
    this.#state = 'open'
    this.#meter.limit = this.#options.limits.packetBytes
    this.resume()
  }

  /** One more of its publishes waits for the disk. */
  begin(): void {
    this.#inFlight++
  }

  /** One of them is there, or refused. */
  end(): void {
    this.#inFlight--
    if (this.#held && this.#inFlight < this.#options.limits.inflight / 2) {
      this.#turn.hold(this)
      this.#turn.end()
    }
  }

  resume(): void {
    if (!this.#held) return
    this.#held = false
    if (!this.#connection.destroyed) this.#connection.emit('readable')
  }

  #read(read: (size?: number) => Buffer | null): Buffer | null {
    const connection = this.#connection
    if (this.#state === 'connecting' || this.#inFlight >= this.#options.limits.inflight) {
      this.#held = true
      return null
    }
    const granted = this.#turn.grant(readBytes)
    if (granted <= 0 || this.#readInTurn === this.#turn.number || this.#options.overloaded()) {
      this.#held = true
      this.#turn.hold(this)
      return null
    }
    const chunk = read(connection.readableLength > granted ? granted : undefined)
    if (chunk === null) return null
    this.#readInTurn = this.#turn.number
    this.#turn.spend(chunk.length)
    const taken = this.#meter.take(chunk, this.#state === 'connect')
    if (taken < 0) {
      this.#options.refused('packet_too_large')
      connection.destroy(new Error(`a packet larger than ${this.#meter.limit} bytes (limits.packet)`))
      return null
    }
    if (this.#state === 'connect' && this.#meter.between) this.#state = 'connecting'
    if (taken < chunk.length) connection.unshift(chunk.subarray(taken))
    // A stream with data left over says nothing more by itself.
    if (connection.readableLength > 0) {
      this.#held = true
      if (this.#state !== 'connecting') this.#turn.hold(this)
    }
    return chunk.subarray(0, taken)
  }
}

/** A CONNECT with will, user name and password of any sense is smaller; nobody has said yet who he is. */
const connectBytes = 65_536

/** Follows packet boundaries through a byte stream: fixed header, remaining length (MQTT 3.1.1 §2.2), body. */
class PacketMeter {
  limit: number
  /** Bytes of the current packet's body still to come. */
  #body = 0
  /** 0: at a packet's first byte; 1 to 4: at that byte of the remaining length. */
  #lengthByte = 0
  #length = 0

  constructor(limit: number) {
    this.limit = limit
  }

  /** At the end of a packet. */
  get between(): boolean {
    return this.#body === 0 && this.#lengthByte === 0
  }

  /**
   * How much of the chunk to go on with: all of it, or with `one` up to the end of the current packet. -1 as soon as
   * a packet announces more than the limit, or a length that is none.
   */
  take(chunk: Buffer, one: boolean): number {
    let at = 0
    while (at < chunk.length) {
      if (this.#body > 0) {
        const step = Math.min(this.#body, chunk.length - at)
        this.#body -= step
        at += step
      } else {
        const byte = chunk[at++] as number
        if (this.#lengthByte === 0) {
          this.#lengthByte = 1
          this.#length = 0
          continue
        }
        this.#length += (byte & 127) * 128 ** (this.#lengthByte - 1)
        if ((byte & 128) !== 0) {
          if (++this.#lengthByte > 4) return -1
          continue
        }
        if (this.#length > this.limit) return -1
        this.#body = this.#length
        this.#lengthByte = 0
      }
      if (one && this.between) return at
    }
    return at
  }
}

/** How long a WebSocket's closing handshake may take. */
const closeMs = 1_000

/**
 * A WebSocket as the byte stream that MQTT wants: writes of one turn leave as one binary frame, a full reader
 * pauses the socket, text frames are refused. [MQTT-6.0.0-1] [MQTT-6.0.0-2]
 */
class WebSocketStream extends Duplex {
  readonly #webSocket: WebSocket

  constructor(webSocket: WebSocket) {
    super({ writableHighWaterMark: 65_536, readableHighWaterMark: 65_536 })
    this.#webSocket = webSocket
    webSocket.on('message', (data, isBinary) => {
      if (!isBinary) {
        webSocket.close(1003, 'MQTT needs binary frames')
        return
      }
      if (!this.push(data)) webSocket.pause()
    })
    webSocket.on('error', error => this.destroy(error))
    webSocket.on('close', () => this.destroy())
  }

  override _read(): void {
    if (this.#webSocket.isPaused) this.#webSocket.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#webSocket.send(chunk, done)
  }

  override _writev(chunks: Written[], done: (error?: Error | null) => void): void {
    this.#webSocket.send(joined(chunks), done)
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    // Lets what was written leave, but does not wait for a peer that takes nothing.
    this.#webSocket.close(1000)
    setTimeout(() => this.#webSocket.terminate(), error ? 0 : closeMs).unref()
    done(error)
  }
}
