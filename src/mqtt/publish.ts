import type { QoS } from '../model.js'
import { propertyId } from './message-properties.js'
import {
  lengthSize,
  MalformedPacket,
  packetType,
  readId,
  readTopic,
  type Statements,
  statements3,
  statements5,
  u16,
  writeHead,
  writeLength,
} from './primitives.js'
import type { Fault } from './reason-codes.js'

/** How a PUBLISH is to be sent. */
export interface PublishOptions {
  readonly qos: QoS
  /** 0 for QoS 0. */
  readonly packetId: number
  readonly retain: boolean
  /** Identifiers of the subscriptions that the packet is for. Undefined when none has an identifier. */
  readonly ids: readonly number[] | undefined
}

const knownTopics = 20_000
const knownBytes = 256

/**
 * Reads a PUBLISH into the reader's own fields, so that nothing is allocated. Recently seen topics are kept: a topic
 * read again costs no decoding and is the same string object. One reader serves all connections.
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
  /** MQTT 5: the properties that go with the message. A copy in Node's pool, to be copied again if kept for long. */
  properties: Buffer | undefined = undefined
  /** MQTT 5: seconds after which the message is no longer delivered; -1: never. */
  expiry = -1
  /** MQTT 5: why a well-formed packet is refused. */
  fault: Fault | undefined = undefined
  /** Topics by hash; `bytes` has the bytes of the topic as one character each. */
  readonly #known = new Map<number, { readonly bytes: string; readonly topic: string }>()

  /**
   * Reads a PUBLISH. Topics that begin with `$` pass: the codec knows no rights. An MQTT 5 packet is read up to the
   * properties, which begin at `payloadStart`, and an empty topic passes, as there may be an alias.
   */
  read(header: number, buffer: Buffer, start: number, end: number, statements = statements3): void {
    const qos = (header >> 1) & 3
    if (qos === 3) throw new MalformedPacket('MQTT-3.3.1-4', 'a PUBLISH with QoS 3')
    const dup = (header & 0x08) !== 0
    if (dup && qos === 0) throw new MalformedPacket('MQTT-3.3.1-2', 'a PUBLISH with DUP and QoS 0')
    this.topic = this.#topic(buffer, start, end, statements)
    const at = start + 2 + u16(buffer, start)
    this.packetId = qos === 0 ? 0 : readId(buffer, at, end, 'PUBLISH', statements.packetId)
    this.payloadStart = qos === 0 ? at : at + 2
    this.qos = qos as 0 | 1 | 2
    this.retain = (header & 0x01) !== 0
    this.dup = dup
    this.properties = undefined
    this.expiry = -1
    this.fault = undefined
  }

  #topic(buffer: Buffer, start: number, end: number, statements: Statements): string {
    const from = start + 2
    const length = u16(buffer, start)
    // Long topics are not kept. A cut topic is not looked up: u16 may have read beyond the end.
    if (length > knownBytes || from > end || from + length > end) return read(buffer, start, end, statements)
    if (length === 0 && statements === statements5) return ''
    let hash = length
    for (let i = 0; i < length; i++) hash = Math.imul(hash ^ (buffer[from + i] as number), 0x01000193)
    const known = this.#known.get(hash)
    if (known !== undefined && isSame(known.bytes, buffer, from, length)) return known.topic
    const topic = read(buffer, start, end, statements)
    if (this.#known.size >= knownTopics) this.#known.clear()
    this.#known.set(hash, { bytes: buffer.toString('latin1', from, from + length), topic })
    return topic
  }
}

function read(buffer: Buffer, start: number, end: number, statements: Statements): string {
  return readTopic(buffer, start, end, 'topic', 'MQTT-3.3.2-2', statements)
}

function isSame(bytes: string, buffer: Buffer, from: number, length: number): boolean {
  if (bytes.length !== length) return false
  for (let i = 0; i < length; i++) if (bytes.charCodeAt(i) !== buffer[from + i]) return false
  return true
}

/** Longest payload that is copied for every subscriber whose packet has an own packet id. */
const copiedBytes = 4_096

/** A PUBLISH of MQTT 5 as encoded for the first subscriber, and the fields besides the message. */
interface Form {
  readonly header: number
  readonly alias: number
  readonly named: boolean
  readonly ids: readonly number[] | undefined
  readonly seconds: number
  /** Offsets of packet id and alias in the first part. */
  readonly idAt: number
  readonly aliasAt: number
  /** One chunk, or head and payload. */
  readonly parts: readonly Buffer[]
}

/**
 * One message in the form sent, encoded at most once per form however many subscribers there are. The returned buffers
 * are shared and must not be written to.
 */
export class EncodedPublish {
  readonly topic: string
  /** When the message expires, in microseconds since the epoch. Undefined for never. */
  readonly expiresAt: number | undefined
  /** When the hub has taken the message, in milliseconds since the epoch. Undefined: not known. */
  readonly at: number | undefined
  readonly #properties: Buffer | undefined
  readonly #length: number
  #topicLength = -1
  /** Holds the payload from `#offset`: first the view given, then a form that was encoded. */
  #source: Buffer
  #offset = 0
  readonly #qos0: [plain?: readonly [Buffer], retained?: readonly [Buffer]] = []
  /** A packet of QoS 1 or 2, or the head alone, with the first byte and the packet id of the first one sent. */
  #withId: Buffer | undefined
  #idAt = 0
  #payload: Buffer | undefined
  /** Forms of MQTT 5: QoS 0, QoS 0 retained, QoS 0 with alias or identifiers, QoS 1 and 2 without, and with them. */
  #forms: (Form | undefined)[] | undefined

  /**
   * Encodes nothing yet. `payload` may be overwritten once a form is encoded; `properties`, which go with the message
   * (see message-properties.ts), may not.
   */
  constructor(topic: string, payload: Buffer, properties?: Buffer, expiresAt?: number, at?: number) {
    this.topic = topic
    this.#length = payload.length
    this.#source = payload
    this.#properties = properties
    this.expiresAt = expiresAt
    this.at = at
  }

  /** Properties that go with the message. */
  get properties(): Buffer | undefined {
    return this.#properties
  }

  /** Returns a whole QoS 0 PUBLISH in one part; the same at every call. */
  qos0(retain: boolean): readonly [Buffer] {
    const form = retain ? 1 : 0
    this.#qos0[form] ??= [this.#encode((packetType.publish << 4) | form, 0, true)]
    return this.#qos0[form]
  }

  /** Returns a whole PUBLISH of QoS 1 or 2: one chunk, or for a large payload the head and the shared payload. */
  qos12(qos: 1 | 2, packetId: number, retain: boolean, dup: boolean): readonly Buffer[] {
    const header = (packetType.publish << 4) | (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0)
    // The first packet is sent, and is the pattern for later ones.
    const head = this.#withId ? Buffer.from(this.#withId) : this.#encode(header, packetId, this.#length <= copiedBytes)
    this.#withId ??= head
    head[0] = header
    head.writeUInt16BE(packetId, this.#idAt)
    return this.#length <= copiedBytes ? [head] : [head, this.#sharedPayload()]
  }

  #encode(header: number, packetId: number, withPayload: boolean): Buffer {
    const topicLength = this.#measureTopic()
    const withId = (header & 0x06) !== 0
    const length = 2 + topicLength + (withId ? 2 : 0) + this.#length
    const packet = Buffer.allocUnsafe(1 + lengthSize(length) + length - (withPayload ? 0 : this.#length))
    let at = this.#writeTopic(packet, writeHead(packet, header, length), topicLength)
    if (withId) {
      packet.writeUInt16BE(packetId, at)
      this.#idAt = at
      at += 2
    }
    if (withPayload) this.#writePayload(packet, at)
    return packet
  }

  // — MQTT 5 —

  /**
   * Returns the size of the PUBLISH. `alias` is that of the topic, 0 for none. Without `named` the alias stands for the
   * topic, which the client knows already.
   */
  size({ qos, ids }: PublishOptions, alias: number, named: boolean): number {
    const properties = this.#propertiesSize(alias, ids)
    const length = this.#bodySize(qos > 0, named, properties)
    return 1 + lengthSize(length) + length
  }

  /**
   * Returns the PUBLISH at `now`, in microseconds: one chunk, or for a large payload the head and the shared payload.
   * Packets without packet id, alias and identifiers are one and the same Buffer. Packets of QoS 0 with the same alias,
   * or the same identifiers, share a Buffer as long as no other is asked for in between. The `ids` are kept and must
   * not be changed.
   */
  mqtt5(sending: PublishOptions, dup: boolean, alias: number, named: boolean, now: number): readonly Buffer[] {
    const { qos, packetId, retain, ids } = sending
    const header = (packetType.publish << 4) | (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0)
    const seconds = this.#secondsLeft(now)
    const isPlain = alias === 0 && ids === undefined
    const slot = qos === 0 ? (isPlain ? header & 1 : 2) : isPlain ? 3 : 4
    this.#forms ??= [undefined, undefined, undefined, undefined, undefined]
    let form = this.#forms[slot]
    if (
      form === undefined ||
      form.named !== named ||
      form.seconds !== seconds ||
      form.alias > 0 !== alias > 0 ||
      !areSame(form.ids, ids)
    ) {
      form = this.#encode5(header, packetId, alias, named, ids, seconds, slot < 2 || this.#length <= copiedBytes)
      this.#forms[slot] = form
      return form.parts
    }
    if (qos === 0 && form.alias === alias && form.header === header) return form.parts
    // The pattern has been sent: differences go into a copy.
    const [pattern, payload] = form.parts as [Buffer, Buffer?]
    const head = Buffer.from(pattern)
    head[0] = header
    if (qos > 0) head.writeUInt16BE(packetId, form.idAt)
    if (alias > 0) head.writeUInt16BE(alias, form.aliasAt)
    const parts = payload === undefined ? [head] : [head, payload]
    if (qos === 0) {
      const { idAt, aliasAt } = form
      this.#forms[slot] = { header, alias, named, ids, seconds, idAt, aliasAt, parts }
    }
    return parts
  }

  #encode5(
    header: number,
    packetId: number,
    alias: number,
    named: boolean,
    ids: readonly number[] | undefined,
    seconds: number,
    withPayload: boolean,
  ): Form {
    const withId = (header & 0x06) !== 0
    const propertiesSize = this.#propertiesSize(alias, ids)
    const length = this.#bodySize(withId, named, propertiesSize)
    const packet = Buffer.allocUnsafe(1 + lengthSize(length) + length - (withPayload ? 0 : this.#length))
    let at = this.#writeTopic(packet, writeHead(packet, header, length), named ? this.#measureTopic() : 0)
    const idAt = at
    if (withId) at = packet.writeUInt16BE(packetId, at)
    at = writeLength(packet, at, propertiesSize)
    const aliasAt = at + 1
    if (alias > 0) {
      packet[at] = propertyId.topicAlias
      at = packet.writeUInt16BE(alias, aliasAt)
    }
    if (this.expiresAt !== undefined) {
      packet[at] = propertyId.messageExpiry
      at = packet.writeUInt32BE(seconds, at + 1)
    }
    if (ids) {
      for (const id of ids) {
        packet[at] = propertyId.subscriptionId
        at = writeLength(packet, at + 1, id)
      }
    }
    if (this.#properties) {
      packet.set(this.#properties, at)
      at += this.#properties.length
    }
    if (withPayload) this.#writePayload(packet, at)
    const parts = withPayload ? [packet] : [packet, this.#sharedPayload()]
    return { header, alias, named, ids, seconds, idAt, aliasAt, parts }
  }

  /** Returns the seconds until the message expires, rounded up; the packet carries this rest. [MQTT-3.3.2-6] */
  #secondsLeft(now: number): number {
    if (this.expiresAt === undefined) return 0
    return Math.min(0xffffffff, Math.max(1, Math.ceil((this.expiresAt - now) / 1e6)))
  }

  #propertiesSize(alias: number, ids: readonly number[] | undefined): number {
    let size = (alias > 0 ? 3 : 0) + (this.expiresAt === undefined ? 0 : 5) + (this.#properties?.length ?? 0)
    if (ids) for (const id of ids) size += 1 + lengthSize(id)
    return size
  }

  #bodySize(withId: boolean, named: boolean, properties: number): number {
    const topic = named ? this.#measureTopic() : 0
    return 2 + topic + (withId ? 2 : 0) + lengthSize(properties) + properties + this.#length
  }

  // — MQTT 3.1.1 and 5 —

  #measureTopic(): number {
    if (this.#topicLength < 0) this.#topicLength = Buffer.byteLength(this.topic)
    if (this.#topicLength > 0xffff) throw new RangeError(`a topic of ${this.#topicLength} bytes cannot be sent`)
    return this.#topicLength
  }

  /** Writes the topic; of length 0, without bytes, when an alias stands for the topic. */
  #writeTopic(packet: Buffer, at: number, length: number): number {
    packet.writeUInt16BE(length, at)
    if (length > 0) packet.write(this.topic, at + 2)
    return at + 2 + length
  }

  #writePayload(packet: Buffer, at: number): void {
    this.#source.copy(packet, at, this.#offset, this.#offset + this.#length)
    this.#source = packet
    this.#offset = at
  }

  #sharedPayload(): Buffer {
    if (!this.#payload) {
      // At offset 0 the payload is still in the view given, otherwise in a form encoded already.
      if (this.#offset === 0) this.#source = Buffer.from(this.#source)
      this.#payload = this.#source.subarray(this.#offset, this.#offset + this.#length)
    }
    return this.#payload
  }
}

function areSame(a: readonly number[] | undefined, b: readonly number[] | undefined): boolean {
  if (a === b) return true
  return a !== undefined && b !== undefined && a.length === b.length && a.every((id, i) => id === b[i])
}
