/**
 * The wire format of MQTT 3.1 and 3.1.1 at our own edge, as strict as the specification; statements are cited from
 * 3.1.1. Where the text of 3.1 differs it is followed, but its will messages need not be ASCII:
 *
 * - SUBSCRIBE, UNSUBSCRIBE and PUBREL are QoS 1 messages: sent again they may have DUP in their header.
 * - A client id has 1 to 23 characters.
 * - Without the will flag, will QoS and will retain are disregarded.
 * - User name and password may be missing though they are flagged: the remaining length takes precedence.
 */

import { isTopicFilter, isTopicName, tooDeep, tooLong } from '../topics.js'

export const packetType = {
  connect: 1,
  connack: 2,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  suback: 9,
  unsubscribe: 10,
  unsuback: 11,
  pingreq: 12,
  pingresp: 13,
  disconnect: 14,
} as const

const { connack: CONNACK, suback: SUBACK, unsuback: UNSUBACK, pingresp: PINGRESP } = packetType
const typeNames = ['type 0', ...Object.keys(packetType).map(name => name.toUpperCase()), 'type 15']
const nothing: Buffer = Buffer.alloc(0)

/** Not what the specification allows: the connection is to be closed. [MQTT-4.8.0-1] */
export class MalformedPacket extends Error {
  /** The statement broken, as `MQTT-3.3.1-4`; its section where it has no number; `limit` for limits of the hub. */
  readonly clause: string
  /** A CONNECT is to be answered with this CONNACK code before the connection is closed. */
  readonly returnCode: number | undefined
  /** More bytes were announced than packets may have. */
  readonly tooLarge: boolean

  constructor(clause: string, message: string, returnCode?: number, tooLarge = false) {
    super(message)
    this.name = 'MalformedPacket'
    this.clause = clause
    this.returnCode = returnCode
    this.tooLarge = tooLarge
  }
}

/**
 * Cuts a byte stream into packets. A packet that came in one chunk is not copied; one that did not is put together in
 * a buffer that grows with what arrives, never with what is announced.
 */
export class Framer {
  /** Largest remaining length let through; may be changed between packets. */
  limit: number
  /** The first byte of the packet `next` moved to. */
  header = 0
  /**
   * Holds its body from `start` to `end`, until `push` or `next` is called again. It is a view of what was pushed:
   * whoever keeps bytes copies them.
   */
  buffer = nothing
  start = 0
  end = 0
  /** Bytes held that no packet returned so far contains. */
  buffered = 0
  /** The chunk being read, from where no packet has been returned. */
  #chunk = nothing
  #at = 0
  /** The chunks after it, from `#head`. */
  #queue: Buffer[] = []
  #head = 0
  /** The beginning of a packet whose other bytes are not in the same chunk. */
  #part = nothing
  #filled = 0
  /** Bytes of that packet with its fixed header; 0 as long as they are not known. */
  #size = 0

  constructor(limit: number) {
    this.limit = limit
  }

  /** Takes the next bytes of the stream. The chunk is the framer's until its bytes are returned: it is not copied. */
  push(chunk: Buffer): void {
    if (chunk.length === 0) return
    this.buffered += chunk.length
    if (this.#at < this.#chunk.length || this.#head < this.#queue.length) this.#queue.push(chunk)
    else {
      this.#chunk = chunk
      this.#at = 0
    }
  }

  /**
   * Moves to the next whole packet; false when more bytes are wanted.
   * @throws MalformedPacket as soon as a length is announced that is over the limit or takes more than four bytes
   */
  next(): boolean {
    for (;;) {
      if (this.#filled > 0) {
        if (this.#assemble()) return true
      } else if (this.#at < this.#chunk.length) {
        const size = this.#measure(this.#chunk, this.#at, this.#chunk.length)
        if (size > 0 && this.#at + size <= this.#chunk.length) {
          this.#return(this.#chunk, this.#at, size)
          this.#at += size
          return true
        }
        this.#size = size
        this.#take(this.#chunk.length - this.#at)
      }
      if (this.#at === this.#chunk.length && !this.#turn()) {
        // A connection at rest holds no more than it sent: neither the last packet's chunk, nor one for its last bytes.
        this.buffer = nothing
        return false
      }
    }
  }

  /** Fills up the packet that began in an earlier chunk; is it whole? */
  #assemble(): boolean {
    while (this.#size === 0) {
      this.#size = this.#measure(this.#part, 0, this.#filled)
      if (this.#size > 0) break
      if (this.#at === this.#chunk.length) return false
      this.#take(1)
    }
    this.#take(Math.min(this.#size - this.#filled, this.#chunk.length - this.#at))
    if (this.#filled < this.#size) return false
    this.#return(this.#part, 0, this.#size)
    this.#part = nothing
    this.#filled = this.#size = 0
    return true
  }

  /** Moves bytes of the chunk to the part, which at most doubles and never outgrows the packet. */
  #take(count: number): void {
    const filled = this.#filled + count
    if (filled > this.#part.length) {
      const room = Math.max(2 * filled, 64)
      const part = Buffer.allocUnsafe(this.#size > 0 ? Math.min(room, this.#size) : room)
      this.#part.copy(part, 0, 0, this.#filled)
      this.#part = part
    }
    this.#chunk.copy(this.#part, this.#filled, this.#at, this.#at + count)
    this.#filled = filled
    this.#at += count
  }

  /** The chunk is read to its end: on to the next, if there is one. */
  #turn(): boolean {
    const chunk = this.#queue[this.#head]
    this.#chunk = chunk ?? nothing
    this.#at = 0
    if (chunk) this.#queue[this.#head++] = nothing
    else this.#head = this.#queue.length = 0
    return chunk !== undefined
  }

  /** The size of the packet that begins at `at`, with its fixed header; 0 when that is not all there. */
  #measure(buffer: Buffer, at: number, end: number): number {
    let length = 0
    for (let i = 0; i < 4; i++) {
      if (at + 1 + i >= end) return 0
      const byte = buffer[at + 1 + i] as number
      length |= (byte & 0x7f) << (7 * i)
      if (byte > 0x7f) continue
      if (length <= this.limit) return 2 + i + length
      throw new MalformedPacket('limit', `a packet of ${length} bytes, larger than ${this.limit}`, undefined, true)
    }
    throw new MalformedPacket('MQTT-2.2.3', 'a remaining length of more than four bytes')
  }

  #return(buffer: Buffer, at: number, size: number): void {
    let start = at + 2
    while ((buffer[start - 1] as number) > 0x7f) start++
    this.header = buffer[at] as number
    this.buffer = buffer
    this.start = start
    this.end = at + size
    this.buffered -= size
  }
}

/** Is this a packet only a server sends, or a reserved type? */
export function isServerPacket(type: number): boolean {
  return type === 0 || type === CONNACK || type === SUBACK || type === UNSUBACK || type === PINGRESP || type === 15
}

/** The protocol level: 3 is MQTT 3.1, 4 is 3.1.1. */
export type Protocol = 3 | 4

export interface Will {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
}

export interface Connect {
  readonly protocol: Protocol
  readonly clean: boolean
  /** Seconds; 0 is for ever. */
  readonly keepAlive: number
  /** Empty when the server is to give one. */
  readonly clientId: string
  readonly will: Will | undefined
  readonly username: string | undefined
  readonly password: Buffer | undefined
}

/** CONNACK return codes. */
const unacceptableProtocol = 1
const identifierRejected = 2

/**
 * What it returns has copies of all bytes. A packet that is not well-formed is not answered [MQTT-3.1.4-1]: a client
 * id that is well-formed and still refused comes after everything else.
 */
export function readConnect(header: number, buffer: Buffer, start: number, end: number): Connect {
  if ((header & 0x0f) !== 0) throw wrongFlags(header)
  let at = afterField(buffer, start)
  const name = at < end ? buffer.toString('latin1', start + 2, at) : ''
  if (name !== 'MQTT' && name !== 'MQIsdp')
    throw new MalformedPacket('MQTT-3.1.2-1', 'a CONNECT with the name of another protocol')
  const protocol: Protocol = name === 'MQTT' ? 4 : 3
  if (buffer[at] !== protocol)
    throw new MalformedPacket('MQTT-3.1.2-2', `a CONNECT with ${name} level ${buffer[at]}`, unacceptableProtocol)
  if (at + 4 > end) throw new MalformedPacket('MQTT-3.1.2', 'a CONNECT that ends in its variable header')
  const flags = buffer[at + 1] as number
  checkConnectFlags(flags, protocol)
  const keepAlive = u16(buffer, at + 2)
  at += 4
  const clientId = readText(buffer, at, end, 'client id')
  at = afterField(buffer, at)
  let will: Will | undefined
  if (flags & 0x04) {
    const topic = readTopic(buffer, at, end, 'will topic', 'MQTT-4.7.1-1')
    at = afterField(buffer, at)
    const payload = readBytes(buffer, at, end, 'will message')
    at = afterField(buffer, at)
    will = { topic, payload, qos: ((flags >> 3) & 3) as 0 | 1 | 2, retain: (flags & 0x20) !== 0 }
  }
  let username: string | undefined
  if (flags & 0x80 && !(protocol === 3 && at === end)) {
    username = readText(buffer, at, end, 'user name')
    const long = tooLong('user name', username)
    if (long) throw new MalformedPacket('limit', long)
    at = afterField(buffer, at)
  }
  let password: Buffer | undefined
  if (flags & 0x40 && !(protocol === 3 && at === end)) {
    password = readBytes(buffer, at, end, 'password')
    at = afterField(buffer, at)
  }
  if (at !== end) throw new MalformedPacket('MQTT-3.1.4-1', `a CONNECT with ${end - at} bytes after its last field`)
  const clean = (flags & 0x02) !== 0
  checkClientId(clientId, protocol, clean)
  return { protocol, clean, keepAlive, clientId, will, username, password }
}

function checkConnectFlags(flags: number, protocol: Protocol): void {
  if (flags & 0x01) throw new MalformedPacket('MQTT-3.1.2-3', 'a CONNECT with the reserved flag set')
  if (flags & 0x04) {
    if ((flags & 0x18) === 0x18) throw new MalformedPacket('MQTT-3.1.2-14', 'a will with QoS 3')
  } else if (protocol === 4) {
    if (flags & 0x18) throw new MalformedPacket('MQTT-3.1.2-13', 'a CONNECT with a will QoS and no will')
    if (flags & 0x20) throw new MalformedPacket('MQTT-3.1.2-15', 'a CONNECT with will retain and no will')
  }
  if ((flags & 0xc0) === 0x40) throw new MalformedPacket('MQTT-3.1.2-22', 'a CONNECT with a password and no user name')
}

function checkClientId(clientId: string, protocol: Protocol, clean: boolean): void {
  let fault = tooLong('client id', clientId)
  if (protocol === 3 && (clientId.length === 0 || (clientId.length > 23 && [...clientId].length > 23)))
    fault = 'a client id that does not have the 1 to 23 characters of MQTT 3.1'
  if (fault) throw new MalformedPacket('MQTT-3.1.3-9', fault, identifierRejected)
  if (clientId.length === 0 && !clean)
    throw new MalformedPacket('MQTT-3.1.3-8', 'an empty client id and a session to be kept', identifierRejected)
}

const knownTopics = 20_000
const knownBytes = 256

/**
 * Reads a PUBLISH into its own fields, so that nothing is allocated. It keeps recently seen topics: a topic read again
 * costs no decoding and is the same string object. One reader serves all connections.
 */
export class PublishReader {
  topic = ''
  /** 0 for QoS 0. */
  packetId = 0
  qos: 0 | 1 | 2 = 0
  retain = false
  dup = false
  /** The payload is the bytes from here to the end of the packet. */
  payloadStart = 0
  /** By hash; `bytes` has the bytes of the topic as one character each. */
  readonly #known = new Map<number, { readonly bytes: string; readonly topic: string }>()

  /** Topics that begin with `$` pass: who may publish where is not for the wire to know. */
  read(header: number, buffer: Buffer, start: number, end: number): void {
    const qos = (header >> 1) & 3
    if (qos === 3) throw new MalformedPacket('MQTT-3.3.1-4', 'a PUBLISH with QoS 3')
    const dup = (header & 0x08) !== 0
    if (dup && qos === 0) throw new MalformedPacket('MQTT-3.3.1-2', 'a PUBLISH with DUP and QoS 0')
    this.topic = this.#topic(buffer, start, end)
    const at = start + 2 + u16(buffer, start)
    this.packetId = qos === 0 ? 0 : readId(buffer, at, end, 'PUBLISH', 'MQTT-2.3.1-1')
    this.payloadStart = qos === 0 ? at : at + 2
    this.qos = qos as 0 | 1 | 2
    this.retain = (header & 0x01) !== 0
    this.dup = dup
  }

  #topic(buffer: Buffer, start: number, end: number): string {
    const from = start + 2
    const length = u16(buffer, start)
    // Long names are not kept. What is cut is not looked at: u16 may have read beyond the end.
    if (length > knownBytes || from > end || from + length > end) return readTopic(buffer, start, end)
    let hash = length
    for (let i = 0; i < length; i++) hash = Math.imul(hash ^ (buffer[from + i] as number), 0x01000193)
    const known = this.#known.get(hash)
    if (known !== undefined && isSame(known.bytes, buffer, from, length)) return known.topic
    const topic = readTopic(buffer, start, end)
    if (this.#known.size >= knownTopics) this.#known.clear()
    this.#known.set(hash, { bytes: buffer.toString('latin1', from, from + length), topic })
    return topic
  }
}

function isSame(bytes: string, buffer: Buffer, from: number, length: number): boolean {
  if (bytes.length !== length) return false
  for (let i = 0; i < length; i++) if (bytes.charCodeAt(i) !== buffer[from + i]) return false
  return true
}

function readTopic(buffer: Buffer, at: number, end: number, what = 'topic', wildcards = 'MQTT-3.3.2-2'): string {
  const topic = readText(buffer, at, end, what)
  if (topic.length === 0) throw new MalformedPacket('MQTT-4.7.3-1', `an empty ${what}`)
  const large = tooLong(what, topic) ?? tooDeep(what, topic)
  if (large) throw new MalformedPacket('limit', large)
  if (!isTopicName(topic)) throw new MalformedPacket(wildcards, `a ${what} with a wildcard`)
  return topic
}

/** PUBACK, PUBREC, PUBREL and PUBCOMP are a packet id and nothing else. */
export function readPacketId(header: number, buffer: Buffer, start: number, end: number, protocol: Protocol): number {
  const type = header >> 4
  if (type === packetType.pubrel) checkQoS1Header(header, protocol, 'MQTT-3.6.1-1')
  else if ((header & 0x0f) !== 0) throw wrongFlags(header)
  if (end - start !== 2)
    throw new MalformedPacket(`MQTT-3.${type}.1`, `a ${typeNames[type]} of ${end - start} bytes, not 2`)
  return readId(buffer, start, end, typeNames[type] as string, 'MQTT-2.3.1-6')
}

export interface Subscribe {
  readonly packetId: number
  readonly subscriptions: { readonly filter: string; readonly qos: 0 | 1 | 2 }[]
}

export function readSubscribe(
  header: number,
  buffer: Buffer,
  start: number,
  end: number,
  protocol: Protocol,
): Subscribe {
  checkQoS1Header(header, protocol, 'MQTT-3.8.1-1')
  const packetId = readId(buffer, start, end, 'SUBSCRIBE', 'MQTT-2.3.1-1')
  if (start + 2 === end) throw new MalformedPacket('MQTT-3.8.3-3', 'a SUBSCRIBE without a topic filter')
  const subscriptions: Subscribe['subscriptions'] = []
  for (let at = start + 2; at < end; at++) {
    const filter = readFilter(buffer, at, end)
    at = afterField(buffer, at)
    if (at >= end) throw new MalformedPacket('MQTT-3.8.3', 'a SUBSCRIBE that ends before a QoS')
    const qos = buffer[at] as number
    if (qos > 2) throw new MalformedPacket('MQTT-3.8.3-4', `a SUBSCRIBE with ${qos} in the byte of its QoS`)
    subscriptions.push({ filter, qos: qos as 0 | 1 | 2 })
  }
  return { packetId, subscriptions }
}

export interface Unsubscribe {
  readonly packetId: number
  readonly filters: string[]
}

export function readUnsubscribe(
  header: number,
  buffer: Buffer,
  start: number,
  end: number,
  protocol: Protocol,
): Unsubscribe {
  checkQoS1Header(header, protocol, 'MQTT-3.10.1-1')
  const packetId = readId(buffer, start, end, 'UNSUBSCRIBE', 'MQTT-2.3.1-1')
  if (start + 2 === end) throw new MalformedPacket('MQTT-3.10.3-2', 'an UNSUBSCRIBE without a topic filter')
  const filters: string[] = []
  for (let at = start + 2; at < end; at = afterField(buffer, at)) filters.push(readFilter(buffer, at, end))
  return { packetId, filters }
}

/** PINGREQ and DISCONNECT are their first byte and nothing else. */
export function checkEmpty(header: number, start: number, end: number): void {
  const type = header >> 4
  if ((header & 0x0f) !== 0) throw wrongFlags(header, type === packetType.disconnect ? 'MQTT-3.14.1-1' : undefined)
  if (start !== end)
    throw new MalformedPacket(`MQTT-3.${type}.1`, `a ${typeNames[type]} of ${end - start} bytes, not empty`)
}

function checkQoS1Header(header: number, protocol: Protocol, clause: string): void {
  if ((header & (protocol === 3 ? 0x07 : 0x0f)) !== 0x02) throw wrongFlags(header, clause)
}

function wrongFlags(header: number, clause = 'MQTT-2.2.2-2'): MalformedPacket {
  const flags = (header & 0x0f).toString(2).padStart(4, '0')
  return new MalformedPacket(clause, `flags ${flags} in the header of ${typeNames[header >> 4]}`)
}

function readId(buffer: Buffer, at: number, end: number, packet: string, clause: string): number {
  const id = at + 2 > end ? 0 : u16(buffer, at)
  if (id === 0) throw new MalformedPacket(clause, `${packet} without a packet id, or with 0`)
  return id
}

function readFilter(buffer: Buffer, at: number, end: number): string {
  const filter = readText(buffer, at, end, 'topic filter')
  if (isTopicFilter(filter)) return filter
  if (filter.length === 0) throw new MalformedPacket('MQTT-4.7.3-1', 'an empty topic filter')
  const clause = /[^/]#|#./.test(filter) ? 'MQTT-4.7.1-2' : 'MQTT-4.7.1-3'
  throw new MalformedPacket(clause, 'a topic filter with a wildcard that does not stand alone, or # before the end')
}

// A byte order mark is a character like others. [MQTT-1.5.3-3]
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A string with its two bytes of length. Ill-formed UTF-8 and U+0000 are refused. [MQTT-1.5.3-1] [MQTT-1.5.3-2] */
function readText(buffer: Buffer, at: number, end: number, what: string): string {
  checkField(buffer, at, end, what)
  let text: string
  try {
    text = utf8.decode(buffer.subarray(at + 2, afterField(buffer, at)))
  } catch {
    throw new MalformedPacket('MQTT-1.5.3-1', `a ${what} that is not well-formed UTF-8`)
  }
  if (text.includes('\u0000')) throw new MalformedPacket('MQTT-1.5.3-2', `a ${what} with U+0000`)
  return text
}

/** Bytes with their two bytes of length, copied, and not to the pool: they are kept as long as the connection. */
function readBytes(buffer: Buffer, at: number, end: number, what: string): Buffer {
  checkField(buffer, at, end, what)
  const bytes = Buffer.allocUnsafeSlow(u16(buffer, at))
  buffer.copy(bytes, 0, at + 2)
  return bytes
}

function checkField(buffer: Buffer, at: number, end: number, what: string): void {
  if (afterField(buffer, at) > end) throw new MalformedPacket('MQTT-1.5.3', `a ${what} that does not fit the packet`)
}

/** Where the field at `at` ends, which begins with its length. */
function afterField(buffer: Buffer, at: number): number {
  return at + 2 + u16(buffer, at)
}

function u16(buffer: Buffer, at: number): number {
  return ((buffer[at] as number) << 8) | (buffer[at + 1] as number)
}

/** There is no session to speak of when the connection is refused. [MQTT-3.2.2-4] MQTT 3.1 knows no `sessionPresent`. */
export function connack(returnCode: number, sessionPresent: boolean): Buffer {
  return Buffer.from([CONNACK << 4, 2, sessionPresent && returnCode === 0 ? 1 : 0, returnCode])
}

export function suback(packetId: number, codes: readonly number[]): Buffer {
  const length = 2 + codes.length
  const packet = Buffer.allocUnsafe(1 + lengthSize(length) + length)
  const at = writeHead(packet, SUBACK << 4, length)
  packet.writeUInt16BE(packetId, at)
  for (let i = 0; i < codes.length; i++) packet[at + 2 + i] = codes[i] as number
  return packet
}

export function unsuback(packetId: number): Buffer {
  return Buffer.from([UNSUBACK << 4, 2, packetId >> 8, packetId & 0xff])
}

/** The whole packet; nobody may write into it. */
export const pingresp = Buffer.from([PINGRESP << 4, 0])

/** PUBACK, PUBREC, PUBREL or PUBCOMP: four bytes at `at`. */
export function writeAck(target: Buffer, at: number, type: number, packetId: number): void {
  target[at] = (type << 4) | (type === packetType.pubrel ? 2 : 0)
  target[at + 1] = 2
  target.writeUInt16BE(packetId, at + 2)
}

/** Longest payload that is copied for every subscriber with a packet id of its own. */
const copiedBytes = 4_096

/**
 * One message as it is sent, encoded at most once per form however many subscribers get it. Nobody may write into
 * the buffers it hands out: they are shared.
 */
export class EncodedPublish {
  readonly #topic: string
  readonly #length: number
  /** Holds the payload from `#offset`: the view given, then the first form encoded. */
  #source: Buffer
  #offset = 0
  readonly #qos0: [plain?: Buffer, retained?: Buffer] = []
  /** A packet of QoS 1 or 2, or its head; what it has in its first byte and as packet id is of the first one sent. */
  #withId: Buffer | undefined
  #idAt = 0
  #payload: Buffer | undefined

  /** Does nothing yet. `payload` may be overwritten once a form is encoded. */
  constructor(topic: string, payload: Buffer) {
    this.#topic = topic
    this.#length = payload.length
    this.#source = payload
  }

  /** A whole QoS 0 PUBLISH; the same Buffer at every call. */
  qos0(retain: boolean): Buffer {
    const form = retain ? 1 : 0
    this.#qos0[form] ??= this.#encode((packetType.publish << 4) | form, 0, true)
    return this.#qos0[form]
  }

  /** A whole PUBLISH of QoS 1 or 2: one chunk, or for a large payload its head and the payload, which is shared. */
  qos12(qos: 1 | 2, packetId: number, retain: boolean, dup: boolean): readonly Buffer[] {
    const header = (packetType.publish << 4) | (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0)
    // The first is the pattern of those to come, and is sent itself.
    const head = this.#withId ? Buffer.from(this.#withId) : this.#encode(header, packetId, this.#length <= copiedBytes)
    this.#withId ??= head
    head[0] = header
    head.writeUInt16BE(packetId, this.#idAt)
    if (this.#length <= copiedBytes) return [head]
    if (!this.#payload) {
      // At offset 0 it is still in the view given, else in a form encoded already.
      if (this.#offset === 0) this.#source = Buffer.from(this.#source)
      this.#payload = this.#source.subarray(this.#offset, this.#offset + this.#length)
    }
    return [head, this.#payload]
  }

  #encode(header: number, packetId: number, withPayload: boolean): Buffer {
    const topicLength = Buffer.byteLength(this.#topic)
    if (topicLength > 0xffff) throw new RangeError(`a topic of ${topicLength} bytes cannot be sent`)
    const withId = (header & 0x06) !== 0
    const length = 2 + topicLength + (withId ? 2 : 0) + this.#length
    const packet = Buffer.allocUnsafe(1 + lengthSize(length) + length - (withPayload ? 0 : this.#length))
    let at = writeHead(packet, header, length)
    packet.writeUInt16BE(topicLength, at)
    packet.write(this.#topic, at + 2)
    at += 2 + topicLength
    if (withId) {
      packet.writeUInt16BE(packetId, at)
      this.#idAt = at
      at += 2
    }
    if (!withPayload) return packet
    this.#source.copy(packet, at, this.#offset, this.#offset + this.#length)
    this.#source = packet
    this.#offset = at
    return packet
  }
}

/** Bytes the remaining length takes. [MQTT-2.2.3] */
function lengthSize(length: number): number {
  return length < 0x80 ? 1 : length < 0x4000 ? 2 : length < 0x200000 ? 3 : 4
}

/** The fixed header; where it ends. */
function writeHead(target: Buffer, header: number, length: number): number {
  if (length > 0x0fffffff) throw new RangeError(`a packet of ${length} bytes cannot be sent`)
  target[0] = header
  let at = 1
  let rest = length
  for (; rest > 0x7f; rest >>= 7) target[at++] = (rest & 0x7f) | 0x80
  target[at++] = rest
  return at
}

/** A packet as it came, for whoever reads it again: a copy with its fixed header. */
export function wholePacket(header: number, buffer: Buffer, start: number, end: number): Buffer {
  const length = end - start
  const packet = Buffer.allocUnsafe(1 + lengthSize(length) + length)
  buffer.copy(packet, writeHead(packet, header, length), start, end)
  return packet
}
