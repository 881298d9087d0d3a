import { connect, type Socket } from 'node:net'
import {
  type ConnectOptions,
  connectPacket,
  encodeFrame,
  FrameScanner,
  frame,
  type OnPacket,
  PacketScanner,
  pastProperties,
  property,
  propertyOf,
  subscribePacket,
  TopicAliases,
  upgradeRequest,
} from './wire.js'

export interface ConnectionOptions extends ConnectOptions {
  readonly port: number
  readonly clientId: string
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
  readonly #packets: PacketScanner
  readonly #frames: FrameScanner | undefined
  readonly #subscribed = new Map<number, { resolve: () => void; reject: (error: Error) => void }>()
  readonly #aliases: TopicAliases | undefined
  #upgrading: Buffer | undefined
  #receiveMaximum = 65_535
  #settle: ((error?: Error) => void) | undefined
  #ended = false

  constructor(options: ConnectionOptions) {
    this.#options = options
    const { port, clientId, version, topicAliases, webSocket = false, localAddress } = options
    // 3.1.1 goes without a look at what only MQTT 5 can say.
    this.#packets = new PacketScanner(
      version === 5
        ? (data, start, body, end) => this.#packet5(data, start, body, end)
        : (data, start, body, end) => this.#packet(data, start, body, end),
    )
    if (topicAliases) this.#aliases = new TopicAliases(topicAliases)
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
    this.socket.write(webSocket ? upgradeRequest(port) : connectPacket(clientId, options))
  }

  /** As {@link ready}; rejects also when the broker does not take so many publishes before it has acknowledged them. */
  async takes(window: number): Promise<void> {
    await this.ready
    const most = this.#receiveMaximum
    if (window > most) throw new Error(`a window of ${window} is more than the broker's Receive Maximum of ${most}`)
  }

  /** Resolves with SUBACK; rejects when any of the filters is refused. */
  subscribe(packetId: number, filters: readonly string[], qos: 0 | 1 = 0): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#subscribed.set(packetId, { resolve, reject })
      this.write(subscribePacket(packetId, filters, qos, this.#options.version))
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
    this.write(connectPacket(this.#options.clientId, this.#options))
    this.#frames?.take(answer.subarray(end + 4))
  }

  #packet5(data: Buffer, start: number, body: number, end: number): void {
    const fault = this.#faultOf(data, start, body, end)
    if (fault === undefined) this.#packet(data, start, body, end)
    else this.#fail(new Error(fault))
  }

  /** Whatever a broker refuses makes a figure wrong: it ends the measurement. */
  #faultOf(data: Buffer, start: number, body: number, end: number): string | undefined {
    const type = (data[start] as number) >> 4
    if (type === 3) {
      const isKnown = !this.#aliases || this.#aliases.topicOf(data, start, body) !== undefined
      return isKnown ? undefined : 'the broker used a topic alias that it has not given'
    }
    // What is left out of a PUBACK or DISCONNECT is 0, success. (§3.4.2.1, §3.14.2.1)
    if (type === 4) {
      const code = end > body + 2 ? (data[body + 2] as number) : 0
      return code < 0x80 ? undefined : `the broker refused a publish: reason code ${code}`
    }
    if (type === 14) return `the broker ended a connection: reason code ${end > body ? data[body] : 0}`
    if (type === 2 && data[body + 1] === 0) {
      if (end < body + 3) return 'the broker answered as one of MQTT 3.1.1'
      this.#receiveMaximum = propertyOf(data, body + 2, property.receiveMaximum) ?? 65_535
    }
    return undefined
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
      const codes = this.#options.version === 5 ? pastProperties(data, body + 2) : body + 2
      if (data.subarray(codes, end).some(code => code >= 0x80)) {
        waiting?.reject(new Error('the broker refused a subscription'))
      } else waiting?.resolve()
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
