import { connect } from 'node:net'
import { Connection } from './connection.js'
import type { Task } from './task.js'
import { connectPacket, publishPacket, reading } from './wire.js'

/** Publishers that write as fast as TCP takes it and wait for nothing: with QoS 1 they ignore every window. */
export interface FloodJob {
  readonly kind: 'flood'
  readonly port: number
  readonly connections: number
  readonly qos: 0 | 1
  readonly payloadBytes: number
  /**
   * How it ends. `reset`: as when a device dies; what its kernel has not yet sent, up to megabytes, never comes. `close`:
   * in order; all of that still comes. Either way a server finds what its own kernel has received.
   */
  readonly ending: 'reset' | 'close'
}

/** Sockets that connect and never become clients: half of them are silent, half stop in the middle of a CONNECT. */
export interface HalfOpenJob {
  readonly kind: 'half-open'
  readonly port: number
  readonly sockets: number
}

/** Begun at a time: more would only fill the queue of connections the server has yet to accept. */
const concurrency = 100

/** Connections of one source address: under what one address is allowed by default. */
const perAddress = 2_500

/** 127.0.0.1 is left to the clients that behave. */
const addressOf = (n: number) => `127.0.1.${1 + Math.floor(n / perAddress)}`

const chunkBytes = 65_536

/** So long a socket that was closed stays away. */
const reopenMs = 1_000

export class Flooders implements Task {
  readonly #job: FloodJob
  readonly #chunks: readonly { readonly bytes: Buffer; readonly packets: number }[]
  readonly #connections: Connection[] = []
  #written = 0
  #acknowledged = 0
  #closed = 0

  constructor(job: FloodJob) {
    this.#job = job
    this.#chunks = chunksOf(job)
  }

  async prepare(): Promise<void> {
    const { connections, port } = this.#job
    await several(connections, async n => {
      const connection = new Connection({
        port,
        clientId: `flooder-${n}`,
        localAddress: addressOf(n),
        onPacket: (data, start) => {
          if (data[start] === 0x40) this.#acknowledged++
        },
        // A server may well end it.
        onFailure: () => {
          this.#closed++
        },
      })
      await connection.ready
      this.#connections.push(connection)
    })
  }

  run(): void {
    for (const [n, connection] of this.#connections.entries()) this.#push(connection, n % this.#chunks.length)
  }

  counts() {
    return { written: this.#written, acknowledged: this.#acknowledged, closed: this.#closed }
  }

  end(): void {
    for (const connection of this.#connections) connection.end(this.#job.ending === 'reset')
  }

  /** One chunk at a time: the next when the kernel has all of this one. */
  #push(connection: Connection, at: number): void {
    const chunk = this.#chunks[at]
    if (!chunk) return
    connection.write(chunk.bytes, error => {
      if (error) return
      this.#written += chunk.packets
      // In a turn of its own: else a server that takes all at once would leave us no time to read.
      setImmediate(() => this.#push(connection, (at + 1) % this.#chunks.length))
    })
  }
}

/** All packet identifiers once, in order; all connections send the same bytes. */
function chunksOf({ qos, payloadBytes }: FloodJob) {
  const chunks: { bytes: Buffer; packets: number }[] = []
  let packets: Buffer[] = []
  let bytes = 0
  for (let id = 1; id <= 65_535; id++) {
    const packet = publishPacket(`flood/${id % 100}`, reading(id, payloadBytes), qos, id)
    packets.push(packet)
    bytes += packet.length
    if (bytes < chunkBytes && id < 65_535) continue
    chunks.push({ bytes: Buffer.concat(packets), packets: packets.length })
    packets = []
    bytes = 0
  }
  return chunks
}

export class HalfOpen implements Task {
  readonly #job: HalfOpenJob
  #closed = 0

  constructor(job: HalfOpenJob) {
    this.#job = job
  }

  async prepare(): Promise<void> {
    await several(this.#job.sockets, n => this.#connect(n))
  }

  run(): void {}

  counts() {
    return { closed: this.#closed }
  }

  /** Resolves when it is connected, or was not let in. Comes again when it is closed. */
  #connect(n: number): Promise<void> {
    return new Promise(resolve => {
      const socket = connect({ port: this.#job.port, host: '127.0.0.1', localAddress: addressOf(n) })
      socket.on('error', () => {})
      socket.on('connect', () => {
        if (n % 2 === 0) socket.write(connectPacket(`half-open-${n}`).subarray(0, 9))
        resolve()
      })
      socket.on('close', () => {
        this.#closed++
        resolve()
        setTimeout(() => void this.#connect(n), reopenMs)
      })
      socket.resume()
    })
  }
}

/** Runs `each` for 0 to `count` − 1, some at a time. */
async function several(count: number, each: (n: number) => Promise<void>): Promise<void> {
  let next = 0
  const worker = async () => {
    while (next < count) await each(next++)
  }
  await Promise.all(Array.from({ length: Math.min(concurrency, count) }, worker))
}
