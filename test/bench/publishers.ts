import { Connection } from './connection.js'
import type { Task } from './task.js'
import { monotonicMicros, publishPacket, reading, stamp, type Version } from './wire.js'

/** QoS 1 publishers that keep a window full: for every PUBACK the next publish. */
export interface AckedJob {
  readonly kind: 'acked'
  readonly port: number
  readonly publishers: number
  /** Publishes of one publisher that may wait for their PUBACK. */
  readonly window: number
  readonly payloadBytes: number
  /** 3.1.1 without it. */
  readonly version?: Version
}

/** Publishers that send at a rate, whatever the broker does; every reading carries the time it was sent. */
export interface PacedJob {
  readonly kind: 'paced'
  readonly port: number
  readonly publishers: number
  readonly qos: 0 | 1
  /** Of all together, a second. */
  readonly rate: number
  readonly payloadBytes: number
}

/** Topics as a fleet has them. All match `bench/#`. */
export const topicOf = (n: number) => `bench/floor-${n % 10}/meter-${n}/telemetry`

export class AckedPublishers implements Task {
  readonly #publishers: readonly AckedPublisher[]
  readonly #window: number

  constructor(job: AckedJob, onFailure: (error: Error) => void) {
    this.#window = job.window
    this.#publishers = Array.from({ length: job.publishers }, (_, n) => new AckedPublisher(job, n, onFailure))
  }

  async prepare(): Promise<void> {
    await Promise.all(this.#publishers.map(({ connection }) => connection.takes(this.#window)))
  }

  run(): void {
    for (const publisher of this.#publishers) publisher.fill()
  }

  counts() {
    return { acknowledged: this.#publishers.reduce((sum, publisher) => sum + publisher.acknowledged, 0) }
  }
}

class AckedPublisher {
  acknowledged = 0
  readonly connection: Connection
  /** The window's packets twice over, so that any run of them is one piece. */
  readonly #packets: Buffer
  readonly #length: number
  readonly #window: number
  /** Acknowledged in this chunk and not yet replaced: a run of packets from here, in order. */
  #from = 0
  #count = 0

  constructor(job: AckedJob, n: number, onFailure: (error: Error) => void) {
    const { port, window, payloadBytes, version } = job
    const payload = reading(n, payloadBytes)
    const packets = Array.from({ length: window }, (_, i) => publishPacket(topicOf(n), payload, 1, i + 1, version))
    this.#packets = Buffer.concat([...packets, ...packets])
    this.#length = this.#packets.length / packets.length / 2
    this.#window = window
    this.connection = new Connection({
      port,
      clientId: `bench-${n}`,
      ...(version && { version }),
      onPacket: (data, start, body) => this.#acknowledge(data, start, body),
      onChunk: () => this.#replace(),
      onFailure,
    })
  }

  fill(): void {
    this.connection.write(this.#packets.subarray(0, this.#window * this.#length))
  }

  #acknowledge(data: Buffer, start: number, body: number): void {
    if (data[start] !== 0x40) return
    this.acknowledged++
    const slot = data.readUInt16BE(body) - 1
    // Brokers acknowledge in order; one that does not is given its packets one by one.
    if (this.#count === this.#window || slot !== (this.#from + this.#count) % this.#window) this.#replace()
    if (this.#count === 0) this.#from = slot
    this.#count++
  }

  #replace(): void {
    if (this.#count === 0) return
    const from = this.#from * this.#length
    this.connection.write(this.#packets.subarray(from, from + this.#count * this.#length))
    this.#count = 0
  }
}

/** How often the paced ones look what is due. */
const tickMs = 1

export class PacedPublishers implements Task {
  readonly #job: PacedJob
  readonly #connections: readonly Connection[]
  readonly #packets: readonly Buffer[]
  readonly #idAt: readonly number[]
  #sent = 0
  #acknowledged = 0

  constructor(job: PacedJob, onFailure: (error: Error) => void) {
    this.#job = job
    const numbers = Array.from({ length: job.publishers }, (_, n) => n)
    this.#packets = numbers.map(n => publishPacket(topicOf(n), reading(n, job.payloadBytes), job.qos))
    this.#idAt = this.#packets.map((packet, n) => packet.length - reading(n, job.payloadBytes).length - 2)
    this.#connections = numbers.map(
      n =>
        new Connection({
          port: job.port,
          clientId: `paced-${n}`,
          onPacket: (data, start) => {
            if (data[start] === 0x40) this.#acknowledged++
          },
          onFailure,
        }),
    )
  }

  async prepare(): Promise<void> {
    await Promise.all(this.#connections.map(({ ready }) => ready))
  }

  run(): void {
    const { rate } = this.#job
    const startedAt = monotonicMicros()
    setInterval(() => {
      const due = Math.floor(((monotonicMicros() - startedAt) / 1e6) * rate)
      while (this.#sent < due) this.#send()
    }, tickMs)
  }

  counts() {
    return { sent: this.#sent, acknowledged: this.#acknowledged }
  }

  #send(): void {
    const n = this.#sent % this.#connections.length
    const turn = Math.floor(this.#sent / this.#connections.length)
    // A copy: the one before may not be with the kernel yet.
    const packet = Buffer.from(this.#packets[n] as Buffer)
    if (this.#job.qos > 0) packet.writeUInt16BE((turn % 65_535) + 1, this.#idAt[n] as number)
    stamp(packet, packet.length, monotonicMicros())
    this.#connections[n]?.write(packet)
    this.#sent++
  }
}
