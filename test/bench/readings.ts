import { Connection } from './connection.js'
import { topicOf } from './publishers.js'
import { Latencies, type Task } from './task.js'
import { monotonicMicros, publishPacket, stamp, stampOf } from './wire.js'

/** Devices that send readings with QoS 1, at a rate as long as PUBACKs come, and never more than a window without. */
export interface ReadingsJob {
  readonly kind: 'readings'
  readonly port: number
  readonly publishers: number
  /** Publishes of one device that may wait for their PUBACK. */
  readonly window: number
  /** Of all together, a second; 0: as fast as they are acknowledged, and without the time they were sent. */
  readonly rate: number
}

/** One subscriber to `$hub/last/#`, which measures how old a reading is when it is seen. */
export interface FreshnessJob {
  readonly kind: 'freshness'
  /** MQTT over WebSocket. */
  readonly port: number
}

/** The measurement that the readings become: `topicOf` begins with it. */
export const measurement = 'bench'

/** A field that every reading has. */
export const countedField = 'power'

/**
 * One reading is one message that becomes one point of three numbers. The last of them by name is the time it was sent,
 * so that what the hub makes of it ends with that too: see {@link Freshness}.
 */
export function readingOf(n: number): Buffer {
  return Buffer.from(`{"energy":${(n * 7) % 1_000}.25,"power":${1_000 + (n % 9_000)}.5,"sent":1${'0'.repeat(15)}}`)
}

/** How often they look what is due. */
const tickMs = 5

export class Readings implements Task {
  readonly #rate: number
  readonly #devices: readonly Device[]
  #sent = 0
  #next = 0

  constructor({ port, publishers, window, rate }: ReadingsJob, onFailure: (error: Error) => void) {
    this.#rate = rate
    this.#devices = Array.from({ length: publishers }, (_, n) => {
      const device: Device = new Device(port, n, window, onFailure, () => {
        if (rate === 0) this.#sent += device.send(window)
      })
      return device
    })
  }

  async prepare(): Promise<void> {
    await Promise.all(this.#devices.map(({ connection }) => connection.ready))
  }

  run(): void {
    if (this.#rate === 0) {
      for (const device of this.#devices) this.#sent += device.send(Infinity)
      return
    }
    const startedAt = monotonicMicros()
    setInterval(() => this.#send(((monotonicMicros() - startedAt) / 1e6) * this.#rate), tickMs)
  }

  counts() {
    return { sent: this.#sent, acknowledged: this.#devices.reduce((sum, { acknowledged }) => sum + acknowledged, 0) }
  }

  /** Up to so many since the beginning, a few from each device in turn; a device with a full window is passed over. */
  #send(due: number): void {
    const now = monotonicMicros()
    const each = Math.ceil((due - this.#sent) / this.#devices.length)
    for (let looked = 0; looked < this.#devices.length && this.#sent < Math.floor(due); looked++) {
      const most = Math.min(each, Math.floor(due) - this.#sent)
      this.#sent += this.#devices[this.#next]?.send(most, now) ?? 0
      this.#next = (this.#next + 1) % this.#devices.length
    }
  }
}

class Device {
  readonly connection: Connection
  acknowledged = 0
  readonly #packet: Buffer
  readonly #idAt: number
  /** Packet identifiers that are free. */
  readonly #free: number[]

  constructor(port: number, n: number, window: number, onFailure: (error: Error) => void, onChunk: () => void) {
    const payload = readingOf(n)
    this.#packet = publishPacket(topicOf(n), payload, 1)
    this.#idAt = this.#packet.length - payload.length - 2
    this.#free = Array.from({ length: window }, (_, i) => window - i)
    this.connection = new Connection({
      port,
      clientId: `meter-${n}`,
      onPacket: (data, start, body) => {
        if (data[start] !== 0x40) return
        this.acknowledged++
        this.#free.push(data.readUInt16BE(body))
      },
      onChunk,
      onFailure,
    })
  }

  /** As many of `most` as the window allows, with the time if there is one; returns how many. */
  send(most: number, now?: number): number {
    const count = Math.min(most, this.#free.length)
    if (count === 0) return 0
    const { length } = this.#packet
    const packets = Buffer.allocUnsafe(count * length)
    for (let at = 0; at < packets.length; at += length) {
      packets.set(this.#packet, at)
      packets.writeUInt16BE(this.#free.pop() as number, at + this.#idAt)
      if (now !== undefined) stamp(packets, at + length, now)
    }
    this.connection.write(packets)
    return count
  }
}

/** What `$hub/last/…` has behind the number that a reading ends with. */
const behindStamp = ']}'.length

export class Freshness implements Task {
  readonly latencies = new Latencies()
  readonly #connection: Connection
  #received = 0

  constructor({ port }: FreshnessJob, onFailure: (error: Error) => void) {
    this.#connection = new Connection({
      port,
      webSocket: true,
      clientId: 'freshness',
      onPacket: (data, start, _body, end) => {
        const first = data[start] as number
        // Retained ones are as old as they are.
        if (first >> 4 !== 3 || (first & 1) === 1) return
        const sentAt = stampOf(data, end - behindStamp)
        if (!(sentAt > 0)) return
        this.#received++
        this.latencies.add(monotonicMicros() - sentAt)
      },
      onFailure,
    })
  }

  async prepare(): Promise<void> {
    await this.#connection.ready
    await this.#connection.subscribe(1, ['$hub/last/#'])
  }

  run(): void {}

  counts() {
    return { received: this.#received }
  }
}
