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
  /** Of the subscriptions it is for; undefined: none has one. */
  readonly ids: readonly number[] | undefined
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
  /** MQTT 5: what travels with the message, a copy in Node's pool: whoever keeps it for long copies it again. */
  properties: Buffer | undefined = undefined
  /** MQTT 5: seconds after which it is not delivered any more; -1: never. */
  expiry = -1
  /** MQTT 5: it is well-formed, and still not taken. */
  fault: Fault | undefined = undefined
  /** By hash; `bytes` has the bytes of the topic as one character each. */
  readonly #known = new Map<number, { readonly bytes: string; readonly topic: string }>()

  /**
   * Topics that begin with `$` pass: who may publish where is not for the wire to know. Of MQTT 5 it reads what comes
   * before the properties, which are where `payloadStart` is, and lets an empty topic pass, as there may be an alias.
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
    // Long names are not kept. What is cut is not looked at: u16 may have read beyond the end.
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

/** Longest payload that is copied for every subscriber with a packet id of its own. */
const copiedBytes = 4_096

/** A PUBLISH of MQTT 5 as it was encoded for the first who got it, and what it has besides the message. */
interface Form {
  readonly header: number
  readonly alias: number
  readonly named: boolean
  readonly ids: readonly number[] | undefined
  readonly seconds: number
  /** Where packet id and alias are, in the first part. */
  readonly idAt: number
  readonly aliasAt: number
  /** One chunk, or its head and the payload. */
  readonly parts: readonly Buffer[]
}

/**
 * One message as it is sent, encoded at most once per form however many subscribers get it. Nobody may write into
 * the buffers it hands out: they are shared.
 */
export class EncodedPublish {
  readonly topic: string
  /** In microseconds since the epoch; undefined: never. */
  readonly expiresAt: number | undefined
  readonly #properties: Buffer | undefined
  readonly #length: number
  #topicLength = -1
  /** Holds the payload from `#offset`: the view given, then the first form encoded. */
  #source: Buffer
  #offset = 0
  readonly #qos0: [plain?: readonly [Buffer], retained?: readonly [Buffer]] = []
  /** A packet of QoS 1 or 2, or its head; what it has in its first byte and as packet id is of the first one sent. */
  #withId: Buffer | undefined
  #idAt = 0
  #payload: Buffer | undefined
  /** Of MQTT 5: QoS 0, QoS 0 retained, QoS 0 with aliases or identifiers, QoS 1 and 2, these with such. */
  #forms: (Form | undefined)[] | undefined

  /**
   * Does nothing yet. `payload` may be overwritten once a form is encoded; `properties`, which travel with it (see
   * message-properties.ts), may not.
   */
  constructor(topic: string, payload: Buffer, properties?: Buffer, expiresAt?: number) {
    this.topic = topic
    this.#length = payload.length
    this.#source = payload
    this.#properties = properties
    this.expiresAt = expiresAt
  }

  /** A whole QoS 0 PUBLISH in one part; the same at every call. */
  qos0(retain: boolean): readonly [Buffer] {
    const form = retain ? 1 : 0
    this.#qos0[form] ??= [this.#encode((packetType.publish << 4) | form, 0, true)]
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
   * Bytes of its PUBLISH. `alias` is the topic's, 0 for none; not `named` it stands for the topic, which the client
   * knows already.
   */
  size({ qos, ids }: PublishOptions, alias: number, named: boolean): number {
    const properties = this.#propertiesSize(alias, ids)
    const length = this.#bodySize(qos > 0, named, properties)
    return 1 + lengthSize(length) + length
  }

  /**
   * The PUBLISH at `now`, in microseconds: one chunk, or for large payloads its head and the payload, which is shared.
   * Without packet id, alias and identifiers it is one and the same Buffer; those with the same alias, or the same
   * identifiers, share theirs as long as nothing else is asked for between them. The `ids` are kept: nobody may change
   * them.
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
    // The pattern has been sent: what differs goes into a copy.
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

  /** What is left of it is sent on, begun seconds as whole ones. [MQTT-3.3.2-6] */
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

  /** No bytes of it when an alias stands for it. */
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
      // At offset 0 it is still in the view given, else in a form encoded already.
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
