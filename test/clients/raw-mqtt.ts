import { connect, type Socket } from 'node:net'
import mqttPacket, { type IConnectPacket, type IPublishPacket, type Packet, type QoS } from 'mqtt-packet'
import { WebSocket } from 'ws'

/** What a tap test gives us to clean up with. */
interface Test {
  teardown(end: () => unknown): void
}

/** Where a hub, or another server, listens. */
export interface Server {
  readonly mqttUrl: string
}

/** A packet that came, and its very bytes. */
export type Received = Packet & { readonly bytes: Buffer }
export type ReceivedPublish = IPublishPacket & { readonly bytes: Buffer }

export type ConnectOptions = Partial<Omit<IConnectPacket, 'cmd'>>
export type Version = 3 | 4 | 5

/** A property of MQTT 5 as it was on the wire: its identifier, and its value. */
export type Property = readonly [id: number, value: number | string | Buffer | readonly [name: string, value: string]]

/** Not a limit of what is tested: it makes a test that waits in vain say for what. */
const patienceMs = 20_000

/**
 * A client by hand, for any version: it sends packets or bytes, sees every packet as it came, acknowledges nothing
 * unless told to, and can stop reading.
 */
export class RawClient {
  readonly version: Version
  /** The TCP socket; undefined over WebSocket. */
  readonly socket: Socket | undefined
  closed = false
  /** When it was, by `performance.now()`. */
  closedAt = 0
  /** Of its CONNACK. */
  sessionPresent = false
  /** Sees every packet first; what it returns true for does not come to `next`. */
  handle: (packet: Received) => boolean = () => false
  readonly #webSocket: WebSocket | undefined
  readonly #inbox: (Received | Error)[] = []
  #part = Buffer.alloc(0)
  #waiting: (() => void)[] = []

  /** `url` as a hub tells it: mqtt: or ws:. */
  constructor(t: Test, url: string, version: Version = 4, localAddress = '127.0.0.1') {
    this.version = version
    if (url.startsWith('ws')) {
      const socket = new WebSocket(url, 'mqtt', { perMessageDeflate: false })
      this.#webSocket = socket
      socket.on('message', data => this.#read(data as Buffer))
      socket.on('error', () => {})
      socket.on('close', () => this.#over())
    } else {
      const { hostname: host, port } = new URL(url)
      this.socket = connect({ port: Number(port), host, localAddress }).setNoDelay()
      this.socket.on('data', chunk => this.#read(chunk))
      this.socket.on('error', () => {})
      this.socket.on('close', () => this.#over())
    }
    t.teardown(() => this.destroy())
  }

  /** In one segment. */
  write(...bytes: readonly Uint8Array[]): void {
    const all = Buffer.concat(bytes)
    if (this.socket) this.socket.write(all)
    else if (this.#webSocket?.readyState === WebSocket.CONNECTING) this.#webSocket.once('open', () => this.write(all))
    else this.#webSocket?.send(all)
  }

  /** In one segment. */
  send(...packets: readonly Packet[]): void {
    this.write(...packets.map(packet => mqttPacket.generate(packet, { protocolVersion: this.version })))
  }

  pause(): void {
    this.socket?.pause()
    this.#webSocket?.pause()
  }

  resume(): void {
    this.socket?.resume()
    this.#webSocket?.resume()
  }

  /** No goodbye. */
  destroy(): void {
    this.socket?.destroy()
    this.#webSocket?.terminate()
  }

  async next(): Promise<Received> {
    const packet = await this.#shift()
    if (!packet) throw new Error('the hub has closed the connection')
    return packet
  }

  /** Everything up to the first packet of this kind, with it. */
  async until(cmd: Packet['cmd']): Promise<Received[]> {
    const packets = [await this.next()]
    while (packets.at(-1)?.cmd !== cmd) packets.push(await this.next())
    return packets
  }

  /** The first packet of this kind; what came before it is still to come. */
  async answer<Cmd extends Packet['cmd']>(cmd: Cmd): Promise<Extract<Received, { readonly cmd: Cmd }>> {
    const packets = await this.until(cmd)
    const found = packets.pop()
    this.#inbox.unshift(...packets)
    return found as Extract<Received, { readonly cmd: Cmd }>
  }

  /** Resolves when the hub has closed the connection; with all that came before. */
  async gone(): Promise<Received[]> {
    const packets: Received[] = []
    for (let packet = await this.#shift(); packet; packet = await this.#shift()) packets.push(packet)
    return packets
  }

  /** No goodbye; resolves when this side is closed, which the hub may not know yet. */
  async cut(): Promise<void> {
    this.destroy()
    await this.gone()
  }

  /** DISCONNECT, with this reason code and these seconds that the session is to be kept from now on. */
  async leave(reasonCode = 0, sessionExpiryInterval?: number): Promise<void> {
    const properties = sessionExpiryInterval === undefined ? {} : { properties: { sessionExpiryInterval } }
    this.send({ cmd: 'disconnect', ...(this.version === 5 && { reasonCode, ...properties }) })
    await this.gone()
  }

  /** Sends CONNECT; resolves with what answers it, which need not be good. */
  async hello(options: ConnectOptions = {}): Promise<Received> {
    this.write(connectBytes({ protocolVersion: this.version, ...options }))
    return this.next()
  }

  /** Connected; its CONNACK was the first packet. [MQTT-3.2.0-1] */
  async connect(options?: ConnectOptions): Promise<void> {
    const packet = await this.hello(options)
    if (packet.cmd !== 'connack') throw new Error(`the first packet is ${packet.cmd}, not CONNACK`)
    const code = this.version === 5 ? packet.reasonCode : packet.returnCode
    if (code !== 0) throw new Error(`refused with code ${code}`)
    this.sessionPresent = packet.sessionPresent
  }

  /** Everything the hub has sent so far: an UNSUBACK comes behind it, also behind what waits for the journal. */
  async soFar(): Promise<Received[]> {
    this.send({ cmd: 'unsubscribe', messageId: 65_535, unsubscriptions: ['so/far'] })
    return (await this.until('unsuback')).slice(0, -1)
  }

  async publishes(): Promise<ReceivedPublish[]> {
    return (await this.soFar()).filter(packet => packet.cmd === 'publish')
  }

  /** So many publishes, each acknowledged to the end as its QoS wants it. */
  async take(count: number): Promise<ReceivedPublish[]> {
    const publishes: ReceivedPublish[] = []
    const unreleased = new Set<number | undefined>()
    const others: Received[] = []
    while (publishes.length < count || unreleased.size > 0) {
      const packet = await this.next()
      if (packet.cmd === 'publish' && publishes.length < count) {
        publishes.push(packet)
        if (packet.qos === 2) unreleased.add(packet.messageId)
        this.#acknowledge(packet)
      } else if (packet.cmd === 'pubrel') {
        unreleased.delete(packet.messageId)
        this.#acknowledge(packet)
      } else others.push(packet)
    }
    this.#inbox.unshift(...others)
    return publishes
  }

  /** The same; their payloads. */
  async receive(count: number): Promise<string[]> {
    return (await this.take(count)).map(({ payload }) => String(payload))
  }

  /** From here on publishes are acknowledged as they come and kept, in the list that is returned. */
  collect(): ReceivedPublish[] {
    return this.collectAs(publish => publish)
  }

  /** The same; of each publish, what `read` returns is kept. */
  collectAs<Kept>(read: (publish: ReceivedPublish) => Kept): Kept[] {
    const kept: Kept[] = []
    this.handle = packet => {
      if (packet.cmd === 'publish') kept.push(read(packet))
      return this.#acknowledge(packet)
    }
    return kept
  }

  /** The codes of its SUBACK. */
  async subscribe(
    filters: Readonly<Record<string, QoS>> | readonly (readonly [string, QoS])[],
    more: Readonly<{ nl?: boolean; rap?: boolean; rh?: number; id?: number }> = {},
  ): Promise<number[]> {
    const { id, ...options } = more
    const all: readonly (readonly [string, QoS])[] = Array.isArray(filters) ? filters : Object.entries(filters)
    const subscriptions = all.map(([topic, qos]) => ({ topic, qos, ...options }))
    const properties = id === undefined ? {} : { properties: { subscriptionIdentifier: id } }
    this.send({ cmd: 'subscribe', messageId: 1, subscriptions, ...properties })
    return (await this.answer('suback')).granted as number[]
  }

  /** The codes of its UNSUBACK, none before MQTT 5. */
  async unsubscribe(...filters: string[]): Promise<number[]> {
    this.send({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: filters })
    return (await this.answer('unsuback')).granted ?? []
  }

  async ping(): Promise<void> {
    this.send({ cmd: 'pingreq' })
    await this.answer('pingresp')
  }

  ack(cmd: 'puback' | 'pubrec' | 'pubrel' | 'pubcomp', ...of: readonly { readonly messageId?: number }[]): void {
    this.send(...of.map(({ messageId = 0 }) => ({ cmd, messageId })))
  }

  #acknowledge(packet: Received): boolean {
    if (packet.cmd === 'pubrel') this.ack('pubcomp', packet)
    else if (packet.cmd !== 'publish') return false
    else if (packet.qos === 1) this.ack('puback', packet)
    else if (packet.qos === 2) this.ack('pubrec', packet)
    return true
  }

  #read(chunk: Buffer): void {
    this.#part = Buffer.concat([this.#part, chunk])
    for (let size = packetSize(this.#part); size > 0; size = packetSize(this.#part)) {
      const bytes = this.#part.subarray(0, size)
      this.#part = this.#part.subarray(size)
      const packet = parse(bytes, this.version)
      if (!(packet instanceof Error) && this.handle(packet)) continue
      this.#inbox.push(packet)
      this.#changed()
    }
  }

  #over(): void {
    this.closed = true
    this.closedAt = performance.now()
    this.#changed()
  }

  #changed(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const wake of waiting) wake()
  }

  /** The next packet; undefined when the connection is closed. */
  async #shift(): Promise<Received | undefined> {
    let late = false
    const timer = setTimeout(() => {
      late = true
      this.#changed()
    }, patienceMs)
    try {
      for (;;) {
        const packet = this.#inbox.shift()
        if (packet instanceof Error) throw packet
        if (packet || this.closed) return packet
        if (late) throw new Error(`nothing came for ${patienceMs / 1_000} s, and the connection is open`)
        await new Promise<void>(resolve => this.#waiting.push(resolve))
      }
    } finally {
      clearTimeout(timer)
    }
  }
}

/** A client by hand, connected. In 3.1.1, as `connectMqtt`, unless it says otherwise. */
export async function openRaw(t: Test, server: Server, options: ConnectOptions = {}): Promise<RawClient> {
  const client = new RawClient(t, server.mqttUrl, options.protocolVersion ?? 4)
  await client.connect(options)
  return client
}

/** The same in MQTT 5, with a clean start unless it says otherwise. */
export function open5(t: Test, server: Server, options: ConnectOptions = {}): Promise<RawClient> {
  return openRaw(t, server, { protocolVersion: 5, ...options })
}

/** A CONNECT to be sent. */
export function connectOf(options: ConnectOptions = {}): IConnectPacket {
  return {
    cmd: 'connect',
    clientId: '',
    clean: true,
    keepalive: 0,
    protocolId: 'MQTT',
    protocolVersion: 4,
    ...options,
  }
}

export function connectBytes(options: ConnectOptions = {}): Buffer {
  return mqttPacket.generate(connectOf(options))
}

/** A PUBLISH to be sent. */
export function publishOf(
  topic: string,
  payload: string | Buffer,
  qos: QoS = 0,
  messageId = 0,
  more: Partial<Pick<IPublishPacket, 'dup' | 'retain' | 'properties'>> = {},
): IPublishPacket {
  return {
    cmd: 'publish',
    topic,
    payload,
    qos,
    dup: false,
    retain: false,
    ...(qos > 0 && { messageId }),
    ...more,
  }
}

/** Length of the packet that begins `bytes`; 0 when it is not all there. */
function packetSize(bytes: Buffer): number {
  let length = 0
  for (let i = 0; i < 4; i++) {
    const byte = bytes[1 + i]
    if (byte === undefined) return 0
    length += (byte & 0x7f) << (7 * i)
    if (byte < 0x80) return bytes.length >= 2 + i + length ? 2 + i + length : 0
  }
  throw new Error(`no packet begins with ${bytes.toString('hex', 0, 5)}`)
}

/** An error when it is none: whoever waits for the next packet is told. */
function parse(bytes: Buffer, version: Version): Received | Error {
  // What refuses a version that it does not know answers in 3.1.1.
  const isOld = bytes[0] === 0x20 && bytes[1] === 2
  const parser = mqttPacket.parser({ protocolVersion: isOld ? 4 : version })
  const found: Packet[] = []
  const faults: string[] = []
  parser.on('packet', packet => found.push(packet))
  parser.on('error', (error: Error) => faults.push(error.message))
  parser.parse(Buffer.from(bytes))
  const [packet] = found
  if (packet && faults.length === 0) return { ...packet, bytes }
  return new Error(`the hub sent ${bytes.toString('hex', 0, 60)}: ${faults.join() || 'no packet'}`)
}

type Kind = 'byte' | 'two' | 'four' | 'variable' | 'text' | 'data' | 'pair'
const kindsOfProperty: Readonly<Record<Kind, readonly number[]>> = {
  byte: [0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2a],
  two: [0x13, 0x21, 0x22, 0x23],
  four: [0x02, 0x11, 0x18, 0x27],
  variable: [0x0b],
  text: [0x03, 0x08, 0x12, 0x15, 0x1a, 0x1c, 0x1f],
  data: [0x09, 0x16],
  pair: [0x26],
}

/**
 * The properties of a packet a server sent in MQTT 5, in their order, which mqtt-packet does not keep. Read by a
 * reader of our own, so that neither it nor the hub's is believed alone. (MQTT 5.0 §2.2.2)
 */
export function propertiesOf({ bytes }: { readonly bytes: Buffer }): Property[] {
  let at = 1
  const variable = () => {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = bytes.readUInt8(at++)
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
  }
  const data = () => {
    const start = at + 2
    at = start + bytes.readUInt16BE(at)
    return bytes.subarray(start, at)
  }
  variable()
  const type = (bytes[0] as number) >> 4
  const qos = ((bytes[0] as number) >> 1) & 3
  if (type === 3) {
    data()
    at += qos > 0 ? 2 : 0
    // CONNACK: flags and code; an acknowledgement: packet id and code; SUBACK, UNSUBACK: packet id; DISCONNECT, AUTH: code.
  } else at += { 2: 2, 4: 3, 5: 3, 6: 3, 7: 3, 9: 2, 11: 2, 14: 1, 15: 1 }[type] ?? 0
  if (at >= bytes.length) return []
  const length = variable()
  const end = at + length
  const found: Property[] = []
  while (at < end) {
    const id = bytes.readUInt8(at++)
    const [kind] = Object.entries(kindsOfProperty).find(([, ids]) => ids.includes(id)) ?? []
    if (kind === 'byte') found.push([id, bytes.readUInt8(at++)])
    else if (kind === 'two' || kind === 'four') {
      found.push([id, bytes.readUIntBE(at, kind === 'two' ? 2 : 4)])
      at += kind === 'two' ? 2 : 4
    } else if (kind === 'variable') found.push([id, variable()])
    else if (kind === 'text') found.push([id, String(data())])
    else if (kind === 'data') found.push([id, data()])
    else if (kind === 'pair') found.push([id, [String(data()), String(data())]])
    else throw new Error(`a property ${id} in ${bytes.toString('hex', 0, 60)}`)
  }
  if (at !== end) throw new Error(`properties that do not end where they should: ${bytes.toString('hex', 0, 60)}`)
  return found
}
