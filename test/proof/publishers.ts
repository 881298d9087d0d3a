import { connect, type Socket } from 'node:net'
import { PacketScanner } from '../bench/wire.js'
import type { Published, Stream } from './report.js'

/*
 * Devices that do what a right device does: each keeps one session for ever, publishes 0, 1, 2 … and, when its
 * connection is lost, connects again and sends again what was not acknowledged, in order. They are never killed, so
 * their state is in memory. MQTT 3.1.1 by bytes, as in test/bench: they share two processors with what they test.
 *
 * A QoS 1 publish carries its own time, as from a device with a clock: sent again it is the same reading, and the hub,
 * which must queue it a second time when its PUBACK was lost, stores it once. A QoS 2 publish is delivered exactly once
 * by the protocol, so it needs no time of its own: what was kept twice would be stored twice, at two receive times.
 */

export interface PublishersOptions {
  readonly port: number
  readonly publishers: number
  /** Numbers of each publisher. */
  readonly numbers: number
  /** Publishes of one publisher without acknowledgement. */
  readonly window: number
  /** Milliseconds since the epoch: the time of number 0; each next one is a millisecond later. */
  readonly base: number
}

/** What a slot of the window waits for. */
const state = { done: 0, acknowledgement: 1, pubcomp: 2 } as const

const tickMs = 20

/** All publishers; they send only as far as {@link Publishers.allow} has let them. */
export class Publishers {
  readonly #all: readonly Publisher[]
  readonly #numbers: number
  #timer: NodeJS.Timeout | undefined
  #flow = { from: 0, to: 0, startedAt: 0, overMs: 1 }

  constructor(options: PublishersOptions) {
    this.#numbers = options.numbers
    this.#all = streams(options.publishers).map(stream => new Publisher(options, stream))
  }

  /** Connects them; resolves at once. */
  start(): void {
    for (const publisher of this.#all) publisher.start()
    this.#timer = setInterval(() => this.#tick(), tickMs)
  }

  /** From now until `overMs` later they may send up to this part of their numbers, evenly; with 0 all at once. */
  allow(part: number, overMs: number): void {
    const startedAt = performance.now()
    const to = part * this.#numbers
    this.#flow = { from: overMs > 0 ? this.#reached(startedAt) : to, to, startedAt, overMs: Math.max(1, overMs) }
    this.#tick()
  }

  /** Nothing new is sent: the numbers end where each publisher is. */
  cut(): void {
    for (const publisher of this.#all) publisher.cut()
  }

  stop(): void {
    clearInterval(this.#timer)
    for (const publisher of this.#all) publisher.stop()
  }

  /** Every number is acknowledged, to the last step of the protocol. */
  get isComplete(): boolean {
    return this.#all.every(publisher => publisher.isComplete)
  }

  get acknowledged(): number {
    return this.#all.reduce((sum, { acknowledged }) => sum + acknowledged, 0)
  }

  /** Numbers to acknowledge at the end. */
  get messages(): number {
    return this.#all.reduce((sum, { numbers }) => sum + numbers, 0)
  }

  /** Below this all of one publisher's numbers are acknowledged. */
  acknowledgedBelow(publisher: number): number {
    return this.#all[publisher]?.acknowledgedBelow ?? 0
  }

  /** Longest from a publish to its acknowledgement; what still waits counts too. */
  get longestStallMs(): number {
    return Math.max(...this.#all.map(({ longestStallMs }) => longestStallMs))
  }

  /** How often a hub that had a session did not know it at the next connection. */
  get forgottenSessions(): number {
    return this.#all.reduce((sum, { forgotten }) => sum + forgotten, 0)
  }

  published(qos: 1 | 2): Published {
    const some = this.#all.filter(publisher => publisher.stream.qos === qos)
    const sum = (of: (publisher: Publisher) => number) => some.reduce((total, one) => total + of(one), 0)
    return {
      sent: sum(one => one.sent),
      acknowledged: sum(one => one.acknowledged),
      retransmitted: sum(one => one.retransmitted),
    }
  }

  /** Those that wait for an acknowledgement, in words. */
  waiting(): string[] {
    return this.#all
      .filter(publisher => !publisher.isComplete)
      .map(({ stream, acknowledgedBelow }) => `publisher ${stream.publisher} waits for n = ${acknowledgedBelow}`)
  }

  #reached(at: number): number {
    const { from, to, startedAt, overMs } = this.#flow
    return from + (to - from) * Math.min(1, (at - startedAt) / overMs)
  }

  #tick(): void {
    const limit = Math.floor(this.#reached(performance.now()))
    for (const publisher of this.#all) publisher.allow(limit)
  }
}

/** Half of them QoS 1, half QoS 2. */
export function streams(publishers: number): Stream[] {
  return Array.from({ length: publishers }, (_, publisher) => {
    const qos = publisher % 2 === 0 ? 1 : 2
    return { publisher, qos, topic: `proof/${publisher}/q${qos}` }
  })
}

class Publisher {
  readonly stream: Stream
  /** It ends before this number. */
  numbers: number
  acknowledged = 0
  retransmitted = 0
  forgotten = 0
  readonly #port: number
  readonly #base: number
  readonly #window: number
  readonly #connect: Buffer
  readonly #topic: Buffer
  /** By number modulo the window: what it waits for, and since when it was first sent. */
  readonly #states: Uint8Array
  readonly #sentAt: Float64Array
  /** Everything below is done with. */
  #first = 0
  #next = 0
  #allowed = 0
  #longestStallMs = 0
  #socket: Socket | undefined
  #isReady = false
  #hasSession = false
  #stopped = false
  #timer: NodeJS.Timeout | undefined

  constructor({ port, numbers, window, base }: PublishersOptions, stream: Stream) {
    this.stream = stream
    this.numbers = numbers
    this.#port = port
    this.#base = base
    this.#window = window
    this.#connect = connectPacket(`proof-${stream.publisher}`)
    this.#topic = text(stream.topic)
    this.#states = new Uint8Array(window)
    this.#sentAt = new Float64Array(window)
  }

  get isComplete(): boolean {
    return this.#first >= this.numbers
  }

  get sent(): number {
    return this.#next
  }

  get acknowledgedBelow(): number {
    let n = this.#first
    while (n < this.#next && this.#states[n % this.#window] !== state.acknowledgement) n++
    return n
  }

  get longestStallMs(): number {
    const now = performance.now()
    let longest = this.#longestStallMs
    for (let n = this.#first; n < this.#next; n++) {
      const slot = n % this.#window
      if (this.#states[slot] === state.acknowledgement)
        longest = Math.max(longest, now - (this.#sentAt[slot] as number))
    }
    return longest
  }

  start(): void {
    if (this.#stopped) return
    const socket = connect({ port: this.#port, host: '127.0.0.1', noDelay: true })
    const scanner = new PacketScanner((data, start, body) => this.#packet(data, start, body))
    this.#socket = socket
    socket.on('data', chunk => {
      if (socket !== this.#socket) return
      scanner.take(chunk, 0, chunk.length)
      this.#fill()
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      if (socket !== this.#socket) return
      this.#socket = undefined
      this.#isReady = false
      // Not all at the same moment.
      this.#timer = setTimeout(() => this.start(), 50 + 100 * Math.random())
    })
    socket.write(this.#connect)
  }

  allow(limit: number): void {
    this.#allowed = limit
    this.#fill()
  }

  cut(): void {
    this.numbers = this.#next
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
    const socket = this.#socket
    this.#socket = undefined
    socket?.destroy()
  }

  #packet(data: Buffer, start: number, body: number): void {
    const type = (data[start] as number) >> 4
    if (type === 2) this.#connected(data[body] === 1, data[body + 1] as number)
    else if (type === 4 || type === 5 || type === 7) this.#answered(type, data.readUInt16BE(body))
  }

  #connected(isPresent: boolean, returnCode: number): void {
    if (returnCode !== 0) {
      this.#socket?.destroy()
      return
    }
    if (this.#hasSession && !isPresent) this.forgotten++
    this.#hasSession = true
    this.#isReady = true
    this.#sendAgain()
  }

  /** PUBACK, PUBREC, PUBCOMP. A late one for what is done with is no news. */
  #answered(type: 4 | 5 | 7, packetId: number): void {
    const n = this.#numberOf(packetId)
    if (n === undefined) return
    const slot = n % this.#window
    if (type === 5) this.#write(pubrel(packetId))
    if (type !== 7 && this.#states[slot] === state.acknowledgement) {
      this.acknowledged++
      this.#longestStallMs = Math.max(this.#longestStallMs, performance.now() - (this.#sentAt[slot] as number))
      this.#states[slot] = type === 4 ? state.done : state.pubcomp
    } else if (type === 7 && this.#states[slot] === state.pubcomp) this.#states[slot] = state.done
    while (this.#first < this.#next && this.#states[this.#first % this.#window] === state.done) this.#first++
  }

  /** The number under way with this packet identifier: ids ascend with the numbers, and a window has each once. */
  #numberOf(packetId: number): number | undefined {
    const n = this.#first + ((packetId - packetIdOf(this.#first) + highestId) % highestId)
    return n < this.#next ? n : undefined
  }

  /** After a connection was lost: in the order of their first time [MQTT-4.6.0-1], [MQTT-4.6.0-4]. */
  #sendAgain(): void {
    const packets: Buffer[] = []
    for (let n = this.#first; n < this.#next; n++) {
      const waitsFor = this.#states[n % this.#window]
      if (waitsFor === state.pubcomp) packets.push(pubrel(packetIdOf(n)))
      if (waitsFor !== state.acknowledgement) continue
      packets.push(this.#publish(n, true))
      this.retransmitted++
    }
    if (packets.length > 0) this.#write(Buffer.concat(packets))
  }

  #fill(): void {
    if (!this.#isReady) return
    const until = Math.min(this.#allowed, this.numbers, this.#first + this.#window)
    if (this.#next >= until) return
    const now = performance.now()
    const packets: Buffer[] = []
    for (; this.#next < until; this.#next++) {
      const slot = this.#next % this.#window
      this.#states[slot] = state.acknowledgement
      this.#sentAt[slot] = now
      packets.push(this.#publish(this.#next, false))
    }
    this.#write(Buffer.concat(packets))
  }

  #publish(n: number, again: boolean): Buffer {
    const { qos } = this.stream
    const payload = qos === 1 ? `{"n":${n},"time":${this.#base + n}}` : `{"n":${n}}`
    return packet(0x30 | (again ? 8 : 0) | (qos << 1), this.#topic, uint16(packetIdOf(n)), Buffer.from(payload))
  }

  #write(packets: Buffer): void {
    this.#socket?.write(packets)
  }
}

const highestId = 65_535

function packetIdOf(n: number): number {
  return (n % highestId) + 1
}

/** CONNECT of a session that is kept, without keep alive. */
function connectPacket(clientId: string): Buffer {
  return packet(0x10, text('MQTT'), Buffer.from([4, 0, 0, 0]), text(clientId))
}

function pubrel(packetId: number): Buffer {
  return packet(0x62, uint16(packetId))
}

/** None of ours is longer than 127 bytes, which one byte of length can say. */
function packet(first: number, ...parts: readonly Buffer[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  return Buffer.concat([Buffer.from([first, length]), ...parts])
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([uint16(bytes.length), bytes])
}

function uint16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff])
}
