import { Connection } from './connection.js'
import { Latencies, type Task } from './task.js'
import { type ConnectOptions, monotonicMicros, stampOf } from './wire.js'

/** Subscribers that count what they get and read the time of one message in so many. */
export interface SubscribeJob {
  readonly kind: 'subscribe'
  /** Of TCP or of WebSocket. */
  readonly port: number
  readonly webSocket: boolean
  readonly subscribers: number
  /** What each of them subscribes to, at QoS 0. */
  readonly filters: readonly string[]
  /** The latency of one message in this many is measured. */
  readonly sampleEvery: number
}

/** How to connect and subscribe: without `qos` at 0. */
export interface SubscribeOptions
  extends Pick<SubscribeJob, 'port' | 'webSocket' | 'sampleEvery'>,
    Pick<ConnectOptions, 'version' | 'topicAliases'> {
  readonly qos?: 0 | 1
}

/** Filters of one SUBSCRIBE. */
const filtersPerPacket = 50

export class Subscribers implements Task {
  readonly latencies = new Latencies()
  readonly #connections: Connection[]
  readonly #filters: readonly (readonly string[])[]
  readonly #qos: 0 | 1
  #received = 0
  #arrivedAt = 0

  /** `filters[n]` is what subscriber `n` subscribes to. `onChunk` after all messages of a chunk. */
  constructor(
    options: SubscribeOptions,
    filters: readonly (readonly string[])[],
    onFailure: (error: Error) => void,
    onChunk: () => void = () => {},
  ) {
    this.#filters = filters
    this.#qos = options.qos ?? 0
    this.#connections = filters.map((_, n) => this.#connect(options, n, onFailure, onChunk))
  }

  get received(): number {
    return this.#received
  }

  async prepare(): Promise<void> {
    await Promise.all(
      this.#connections.map(async (connection, n) => {
        await connection.ready
        const filters = this.#filters[n] ?? []
        for (let at = 0; at < filters.length; at += filtersPerPacket) {
          await connection.subscribe(1 + at / filtersPerPacket, filters.slice(at, at + filtersPerPacket), this.#qos)
        }
      }),
    )
  }

  run(): void {}

  counts() {
    return {
      received: this.#received,
      bytes: this.#connections.reduce((sum, { socket }) => sum + socket.bytesRead, 0),
    }
  }

  #connect(
    { port, webSocket, sampleEvery, version, topicAliases }: SubscribeOptions,
    n: number,
    onFailure: (error: Error) => void,
    onChunk: () => void,
  ): Connection {
    let untilSample = n % sampleEvery
    const acks: Buffer[] = []
    const connection: Connection = new Connection({
      port,
      webSocket,
      clientId: `dashboard-${n}`,
      ...(version && { version }),
      ...(topicAliases && { topicAliases }),
      onPacket: (data, start, body, end) => {
        const first = data[start] as number
        if (first >> 4 !== 3) return
        this.#received++
        if ((first & 6) !== 0) acks.push(acknowledgement(data, body))
        if (untilSample-- > 0) return
        const sentAt = stampOf(data, end)
        if (sentAt <= 0) return
        // Once a chunk: it has arrived before the first of its messages is read.
        if (this.#arrivedAt === 0) this.#arrivedAt = monotonicMicros()
        this.latencies.add(this.#arrivedAt - sentAt)
        untilSample = sampleEvery - 1
      },
      onChunk: () => {
        this.#arrivedAt = 0
        if (acks.length > 0) connection.write(Buffer.concat(acks.splice(0)))
        onChunk()
      },
      onFailure,
    })
    return connection
  }
}

/** The PUBACK of a PUBLISH, for brokers that deliver at a higher QoS than was asked for. */
function acknowledgement(data: Buffer, body: number): Buffer {
  const id = body + 2 + data.readUInt16BE(body)
  return Buffer.from([0x40, 2, data[id] as number, data[id + 1] as number])
}
