import { randomBytes } from 'node:crypto'

/*
 * MQTT 3.1.1, MQTT 5 and WebSocket as bytes, for a load generator that must be lighter than what it loads: packets are
 * encoded beforehand, and of what comes in only headers and lengths are read.
 */

/** The protocol level: 4 is MQTT 3.1.1. */
export type Version = 4 | 5

/** Microseconds of the machine's monotonic clock: the same for all processes, so that their difference is a latency. */
export function monotonicMicros(): number {
  return performance.now() * 1_000 + clockOffset
}

// performance.now() is this clock too, from the start of the process, and much cheaper to ask than hrtime.
const clockOffset = Number(process.hrtime.bigint()) / 1_000 - performance.now() * 1_000

/** Remaining length, MQTT 3.1.1 §2.2.3. */
function withLength(first: number, ...body: Buffer[]): Buffer {
  let rest = body.reduce((sum, part) => sum + part.length, 0)
  const length: number[] = []
  do {
    length.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0))
    rest >>= 7
  } while (rest > 0)
  return Buffer.concat([Buffer.from([first, ...length]), ...body])
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes])
}

export interface ConnectOptions {
  readonly login?: { readonly username: string; readonly password: string }
  /** The session is kept when the connection ends. */
  readonly kept?: boolean
  /** 3.1.1 without it. */
  readonly version?: Version
  /** Topic aliases the broker may give; none without it. MQTT 5 alone. */
  readonly topicAliases?: number
}

/** CONNECT, clean session unless it is to be kept, no keep-alive. */
export function connectPacket(clientId: string, options: ConnectOptions = {}): Buffer {
  const { login, kept = false, version = 4, topicAliases = 0 } = options
  const flags = (login ? 0xc0 : 0) | (kept ? 0 : 0x02)
  const shown = login ? [text(login.username), text(login.password)] : []
  const properties = topicAliases > 0 ? [3, property.topicAliasMaximum, topicAliases >> 8, topicAliases & 0xff] : [0]
  const head = Buffer.from([version, flags, 0, 0, ...(version === 5 ? properties : [])])
  return withLength(0x10, text('MQTT'), head, text(clientId), ...shown)
}

/** SUBSCRIBE to all of `filters` at one QoS. */
export function subscribePacket(
  packetId: number,
  filters: readonly string[],
  qos: 0 | 1,
  version: Version = 4,
): Buffer {
  const entries = filters.flatMap(filter => [text(filter), Buffer.from([qos])])
  return withLength(0x82, Buffer.from([packetId >> 8, packetId & 0xff]), noProperties[version], ...entries)
}

/**
 * A PUBLISH; with QoS 1 the packet identifier is at `packet.length - payload.length - 2`, in MQTT 5 one byte before, as
 * the length of the properties is behind it.
 */
export function publishPacket(
  topic: string,
  payload: Buffer,
  qos: 0 | 1,
  packetId = 1,
  version: Version = 4,
  retain = false,
): Buffer {
  const id = qos === 0 ? [] : [Buffer.from([packetId >> 8, packetId & 0xff])]
  return withLength(0x30 | (qos << 1) | (retain ? 1 : 0), text(topic), ...id, noProperties[version], payload)
}

const noProperties: Readonly<Record<Version, Buffer>> = { 4: Buffer.alloc(0), 5: Buffer.from([0]) }

/** Those we read or write, MQTT 5 §2.2.2.2. */
export const property = { receiveMaximum: 0x21, topicAliasMaximum: 0x22, topicAlias: 0x23 } as const

/** Bytes of the properties that are numbers; of a user property (0x26) and the other texts the bytes themselves tell. */
const widths: ReadonlyMap<number, number> = new Map([
  ...[0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2a].map((id): [number, number] => [id, 1]),
  ...[0x13, property.receiveMaximum, property.topicAliasMaximum, property.topicAlias].map((id): [number, number] => [
    id,
    2,
  ]),
  ...[0x02, 0x11, 0x18, 0x27].map((id): [number, number] => [id, 4]),
])

/** The number in one of the properties whose length is at `at`; undefined when it is not among them. */
export function propertyOf(data: Buffer, at: number, wanted: number): number | undefined {
  const end = pastProperties(data, at)
  for (let next = pastVariable(data, at); next < end; ) {
    const id = data[next++] as number
    const width = widths.get(id)
    if (width !== undefined) {
      if (id === wanted) return data.readUIntBE(next, width)
      next += width
    } else if (id === 0x0b) next = pastVariable(data, next)
    else {
      next += 2 + data.readUInt16BE(next)
      if (id === 0x26) next += 2 + data.readUInt16BE(next)
    }
  }
  return undefined
}

/** What comes after the properties whose length is at `at`. */
export function pastProperties(data: Buffer, at: number): number {
  const end = pastVariable(data, at)
  let length = 0
  for (let digit = end - 1; digit >= at; digit--) length = (length << 7) | ((data[digit] as number) & 0x7f)
  return end + length
}

/** What comes after a variable byte integer, §1.5.5. */
function pastVariable(data: Buffer, at: number): number {
  let end = at
  while ((data[end++] as number) > 0x7f);
  return end
}

/** The topics that the broker has given an alias on one connection, MQTT 5 §3.3.2.3.4. */
export class TopicAliases {
  readonly #topics: (string | undefined)[]

  /** As many as CONNECT allowed. */
  constructor(maximum: number) {
    this.#topics = Array.from({ length: maximum + 1 }, () => undefined)
  }

  /** Of a PUBLISH; undefined when its alias is above the maximum, or was never given. */
  topicOf(data: Buffer, start: number, body: number): string | undefined {
    const length = data.readUInt16BE(body)
    const behind = body + 2 + length
    const alias = propertyOf(data, ((data[start] as number) & 6) === 0 ? behind : behind + 2, property.topicAlias)
    const topic = length > 0 ? data.toString('utf8', body + 2, behind) : undefined
    if (alias === undefined) return topic
    if (alias === 0 || alias >= this.#topics.length) return undefined
    if (topic !== undefined) this.#topics[alias] = topic
    return this.#topics[alias]
  }
}

/**
 * A reading in JSON, as a device sends it, `bytes` long if that is enough for it; one of less than 66 has no voltage. It
 * ends with a time of 16 digits, at the same place in all packets: see {@link stamp}.
 */
export function reading(n: number, bytes: number): Buffer {
  const end = `","sent":${stampBase}}`
  const all = `{"power":${1_000 + (n % 9_000)}.5,"voltage":230.1,"note":"`
  const values = all.length + end.length > bytes ? all.replace('"voltage":230.1,', '') : all
  return Buffer.from(`${values}${'x'.repeat(Math.max(0, bytes - values.length - end.length))}${end}`)
}

// Added to every stamp: a number in JSON has no leading zeros, and this one has always 16 digits.
const stampBase = 1e15
const digits = 16

/** Writes `micros` into the reading that ends at `end`. */
export function stamp(packet: Buffer, end: number, micros: number): void {
  let rest = Math.round(micros) + stampBase
  for (let at = end - 2; at > end - 2 - digits; at--) {
    const tenth = Math.floor(rest / 10)
    packet[at] = 48 + rest - tenth * 10
    rest = tenth
  }
}

/** The time in the reading that ends at `end`; 0 when it was never stamped. */
export function stampOf(packet: Buffer, end: number): number {
  let micros = 0
  for (let at = end - 1 - digits; at < end - 1; at++) micros = micros * 10 + (packet[at] as number) - 48
  return micros - stampBase
}

/** A packet is `data` from `start` (fixed header) over `body` (what follows the remaining length) to `end`. */
export type OnPacket = (data: Buffer, start: number, body: number, end: number) => void

const nothing = Buffer.alloc(0)

/** Cuts a byte stream into MQTT packets. What it hands on is valid during the call only. */
export class PacketScanner {
  readonly #onPacket: OnPacket
  #rest: Buffer = nothing

  constructor(onPacket: OnPacket) {
    this.#onPacket = onPacket
  }

  take(chunk: Buffer, from: number, to: number): void {
    let data = chunk
    let at = from
    let until = to
    if (this.#rest.length > 0) {
      data = Buffer.concat([this.#rest, chunk.subarray(from, to)])
      at = 0
      until = data.length
    }
    while (at + 2 <= until) {
      let byte = data[at + 1] as number
      let body = at + 2
      let length = byte & 0x7f
      for (let shift = 7; byte > 0x7f && body < until && shift <= 21; shift += 7) {
        byte = data[body++] as number
        length |= (byte & 0x7f) << shift
      }
      if (byte > 0x7f || body + length > until) break
      this.#onPacket(data, at, body, body + length)
      at = body + length
    }
    this.#rest = at === until ? nothing : Buffer.from(data.subarray(at, until))
  }
}

/** The HTTP request that turns a connection into a WebSocket of MQTT. */
export function upgradeRequest(port: number): Buffer {
  return Buffer.from(
    `GET /mqtt HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n` +
      `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`,
  )
}

/** Frame types, RFC 6455 §5.2. */
export const frame = { binary: 2, close: 8, ping: 9, pong: 10 } as const

/** One frame around `payload`. A client's is masked, with the key 0, which changes nothing. RFC 6455 §5.3 */
export function encodeFrame(opcode: number, payload: Buffer, client: boolean): Buffer {
  const { length } = payload
  const head = Buffer.alloc((length < 126 ? 2 : length < 65_536 ? 4 : 10) + (client ? 4 : 0))
  head[0] = 0x80 | opcode
  const mask = client ? 0x80 : 0
  if (length < 126) head[1] = mask | length
  else if (length < 65_536) {
    head[1] = mask | 126
    head.writeUInt16BE(length, 2)
  } else {
    head[1] = mask | 127
    head.writeUInt32BE(length, 6)
  }
  return Buffer.concat([head, payload])
}

/** Cuts a byte stream of unmasked frames; hands on what is in data frames as it comes, control frames as a whole. */
export class FrameScanner {
  readonly #onData: (data: Buffer, from: number, to: number) => void
  readonly #onControl: (opcode: number, payload: Buffer) => void
  /** Bytes of the current data frame still to come. */
  #left = 0
  #rest: Buffer = nothing

  constructor(
    onData: (data: Buffer, from: number, to: number) => void,
    onControl: (opcode: number, payload: Buffer) => void,
  ) {
    this.#onData = onData
    this.#onControl = onControl
  }

  take(chunk: Buffer): void {
    const data = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk
    this.#rest = nothing
    let at = 0
    while (at < data.length) {
      if (this.#left > 0) {
        const to = Math.min(at + this.#left, data.length)
        this.#left -= to - at
        this.#onData(data, at, to)
        at = to
        continue
      }
      const payload = payloadStart(data, at)
      const length = payload < 0 ? 0 : payloadLength(data, at)
      const opcode = (data[at] as number) & 0xf
      if (payload < 0 || (opcode >= 8 && payload + length > data.length)) {
        this.#rest = Buffer.from(data.subarray(at))
        return
      }
      at = payload
      if (opcode >= 8) {
        this.#onControl(opcode, Buffer.from(data.subarray(at, at + length)))
        at += length
      } else this.#left = length
    }
  }
}

/** Where the payload of the frame at `at` begins; -1 when its header is not all there. */
function payloadStart(data: Buffer, at: number): number {
  if (at + 2 > data.length) return -1
  const short = (data[at + 1] as number) & 0x7f
  const start = at + (short < 126 ? 2 : short === 126 ? 4 : 10)
  return start > data.length ? -1 : start
}

function payloadLength(data: Buffer, at: number): number {
  const short = (data[at + 1] as number) & 0x7f
  return short < 126 ? short : short === 126 ? data.readUInt16BE(at + 2) : data.readUInt32BE(at + 6)
}
