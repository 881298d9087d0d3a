import { connect, type Socket } from 'node:net'
import {
  connectPacket,
  encodeFrame,
  FrameScanner,
  frame,
  type OnPacket,
  PacketScanner,
  subscribePacket,
  upgradeRequest,
} from './wire.js'

export interface ConnectionOptions {
  readonly port: number
  readonly clientId: string
  readonly login?: { readonly username: string; readonly password: string }
  /** MQTT over WebSocket instead of TCP. */
  readonly webSocket?: boolean
  /** One of 127.0.0.0/8, when 127.0.0.1 has not ports enough or the broker limits one address. */
  readonly localAddress?: string
  /** Every packet but CONNACK and SUBACK. */
  readonly onPacket: OnPacket
  /** After all packets of a chunk. */
  readonly onChunk?: () => void
  /** The connection ended and nobody here had asked for it. Once. */
  readonly onFailure: (error: Error) => void
}

// All connections of this process read into the same memory: what a chunk holds is done with when its call returns.
const buffer = Buffer.allocUnsafeSlow(262_144)

/** A connection to a broker that does as little as possible. Nothing before {@link ready} but what connects. */
export class Connection {
  /** Resolves at CONNACK; rejects when the broker refuses or ends the connection before. */
  readonly ready: Promise<void>
  readonly socket: Socket
  readonly #options: ConnectionOptions
  readonly #packets = new PacketScanner((data, start, body, end) => this.#packet(data, start, body, end))
  readonly #frames: FrameScanner | undefined
  readonly #subscribed = new Map<number, { resolve: () => void; reject: (error: Error) => void }>()
  #upgrading: Buffer | undefined
  #settle: ((error?: Error) => void) | undefined
  #ended = false

  constructor(options: ConnectionOptions) {
    this.#options = options
    const { port, clientId, login, webSocket = false, localAddress } = options
    this.ready = new Promise((resolve, reject) => {
      this.#settle = error => (error ? reject(error) : resolve())
    })
    // Whoever asks for it is told; who does not is told by onFailure.
    this.ready.catch(() => {})
    if (webSocket) {
      this.#upgrading = Buffer.alloc(0)
      this.#frames = new FrameScanner(
        (data, from, to) => this.#packets.take(data, from, to),
        (opcode, payload) => this.#control(opcode, payload),
      )
    }
    this.socket = connect({
      port,
      host: '127.0.0.1',
      noDelay: true,
      ...(localAddress && { localAddress }),
      onread: {
        buffer,
        callback: length => {
          this.#take(buffer.subarray(0, length))
          return true
        },
      },
    })
    this.socket.on('error', error => this.#fail(error))
    this.socket.on('close', () => this.#fail(new Error('the broker closed a connection')))
    this.socket.write(webSocket ? upgradeRequest(port) : connectPacket(clientId, login))
  }

  /** Resolves with SUBACK; rejects when any of the filters is refused. */
  subscribe(packetId: number, filters: readonly string[], qos: 0 | 1 = 0): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#subscribed.set(packetId, { resolve, reject })
      this.write(subscribePacket(packetId, filters, qos))
    })
  }

  /** Whole packets. `done` when they are with the kernel. The bytes must not change before. */
  write(packets: Buffer, done?: (error?: Error | null) => void): void {
    this.socket.write(this.#frames ? encodeFrame(frame.binary, packets, true) : packets, done)
  }

  /** Ends it at once; with `reset` so that its port is free at once too. */
  end(reset = false): void {
    this.#ended = true
    if (reset) this.socket.resetAndDestroy()
    else this.socket.destroy()
  }

  #take(chunk: Buffer): void {
    if (this.#upgrading) this.#upgrade(chunk)
    else if (this.#frames) this.#frames.take(chunk)
    else this.#packets.take(chunk, 0, chunk.length)
    this.#options.onChunk?.()
  }

  #upgrade(chunk: Buffer): void {
    const answer = Buffer.concat([this.#upgrading as Buffer, chunk])
    const end = answer.indexOf('\r\n\r\n')
    if (end < 0) {
      this.#upgrading = answer
      return
    }
    const status = answer.toString('latin1', 0, answer.indexOf('\r\n'))
    if (!status.startsWith('HTTP/1.1 101')) {
      this.#fail(new Error(`not upgraded to a WebSocket: ${status}`))
      return
    }
    this.#upgrading = undefined
    this.write(connectPacket(this.#options.clientId))
    this.#frames?.take(answer.subarray(end + 4))
  }

  #packet(data: Buffer, start: number, body: number, end: number): void {
    const type = (data[start] as number) >> 4
    if (type === 2) {
      const code = data[body + 1]
      if (code === 0) this.#settle?.()
      else this.#fail(new Error(`the broker refused a connection: return code ${code}`))
      this.#settle = undefined
    } else if (type === 9) {
      const packetId = data.readUInt16BE(body)
      const waiting = this.#subscribed.get(packetId)
      this.#subscribed.delete(packetId)
      if (data.subarray(body + 2, end).includes(0x80)) waiting?.reject(new Error('the broker refused a subscription'))
      else waiting?.resolve()
    } else this.#options.onPacket(data, start, body, end)
  }

  #control(opcode: number, payload: Buffer): void {
    if (opcode === frame.ping) this.socket.write(encodeFrame(frame.pong, payload, true))
    else if (opcode === frame.close) this.#fail(new Error('the broker closed a WebSocket'))
  }

  #fail(error: Error): void {
    if (this.#ended) return
    this.#ended = true
    this.socket.destroy()
    this.#settle?.(error)
    for (const { reject } of this.#subscribed.values()) reject(error)
    this.#options.onFailure(error)
  }
}
