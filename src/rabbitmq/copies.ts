import type { Message } from '../model.js'
import { takeOldest } from '../runtime/drop-oldest.js'
import { exchanges } from './connection.js'
import { FrameWriter, frameOverhead, frameType, type Outgoing } from './frames.js'
import { clientHeaders, type HeaderSet, hubPart, keyOf, outgoingMessage, topicHeaders } from './message.js'

/** Most topics, and most clients, of which the bytes are kept. */
const maxKept = 10_000

/** Longest topic, client id and user name that are kept, in UTF-16 code units. All that are kept take about 10 MB. */
const maxKeptLength = 256

/** Frame header, class, weight, size of the body, flags and size of the table: all in front of the first header. */
const beforeTable = 7 + 2 + 2 + 8 + 2 + 4

/** Behind the headers in `sample`: delivery mode, message id, timestamp, end of the frame. */
const afterTable = 1 + 1 + 8 + 1

/** Bytes behind the headers of topic and client, at most: two numbers with a name, and `afterTable` with an id. */
const maxBehind = 8 + 18 + 255 + afterTable

/** Bytes between the value of `mqtt-qos` and that of `mqtt-retain`. */
const retainAfterQos = 1 + 'mqtt-retain'.length + 1 + 1

const nothing = Buffer.alloc(0)
const beforeSequence = Buffer.from('\x08sequence')

/** A number of 64 bits, with which a time is encoded to have its place. */
const someTime = 2 ** 50

/** Bytes that are the same in all messages of one topic. */
interface TopicBytes {
  /** The method frame, and the content header up to the headers that the topic decides about. */
  readonly bytes: Buffer
  /** Length of the method frame. */
  readonly method: number
}

/** Bytes that are the same in all messages of one client and user. */
interface ClientBytes {
  readonly user: string
  readonly bytes: Buffer
}

/**
 * The messages on `telehub.telemetry`, for consumers other than the hub. The bytes that a topic, a client and a user
 * decide about are kept, and copied into each message. A message with properties of MQTT 5 is encoded as a whole.
 */
export class TelemetryCopies {
  readonly #hubId: string
  readonly #set: HeaderSet
  readonly #idPrefix: Buffer
  readonly #topics = new Map<string, TopicBytes>()
  readonly #clients = new Map<string, ClientBytes>()
  /** Encodes what is kept. */
  readonly #encoder = new FrameWriter(0, 2 ** 31)

  constructor(hubId: string, set: HeaderSet) {
    this.#hubId = hubId
    this.#set = set
    this.#idPrefix = Buffer.from(`${hubPart({}, hubId)}-`)
  }

  /** Returns the copy of a message, which the server drops when no queue is bound for it. */
  of(message: Message): Outgoing {
    const { properties, expiresAt, hub } = message
    return properties || expiresAt !== undefined || hub !== undefined ? this.#whole(message) : new Copy(message, this)
  }

  #whole(message: Message): Outgoing {
    const whole = outgoingMessage(exchanges.telemetry, message, this.#hubId, { mandatory: false, set: this.#set })
    return { order: message.clientId, writeTo: frames => whole.writeTo(frames) }
  }

  /** Appends the frames of a message without properties, expiry and hub. */
  write({ topic, clientId, user, payload, qos, retain, receivedAt, sequence }: Message, frames: FrameWriter): void {
    const ofTopic = this.#topic(topic)
    const ofClient = this.#client(clientId, user)
    const { method } = ofTopic
    const bytes = ofTopic.bytes.length + ofClient.bytes.length + maxBehind
    frames.reserve(bytes + frames.bodyBytes(payload))
    const { buffer, channel, at: start } = frames
    buffer.set(ofTopic.bytes, start)
    const header = start + method
    buffer[start + 1] = channel >>> 8
    buffer[start + 2] = channel & 0xff
    buffer.writeUInt32BE(payload.length, header + 15)
    let at = start + ofTopic.bytes.length
    const isFull = this.#set === 'full'
    if (isFull) {
      buffer[at - 1 - retainAfterQos] = qos
      buffer[at - 1] = retain ? 1 : 0
    }
    buffer.set(ofClient.bytes, at)
    frames.at = at + ofClient.bytes.length
    frames.int64(receivedAt)
    if (isFull) {
      buffer.set(beforeSequence, frames.at)
      frames.at += beforeSequence.length
      frames.integer(sequence)
    }
    buffer.writeUInt32BE(frames.at - header - beforeTable, header + beforeTable - 4)
    at = frames.at
    // Delivery mode: persistent.
    buffer[at] = 2
    at = this.#messageId(buffer, at + 1, sequence)
    frames.at = at
    frames.int64(Math.floor(receivedAt / 1e6))
    frames.endFrame(header, frameType.header)
    frames.body(payload)
  }

  #messageId(buffer: Buffer, at: number, sequence: number): number {
    const prefix = this.#idPrefix
    buffer.set(prefix, at + 1)
    const digits = at + 1 + prefix.length
    const end = digits + buffer.write(String(sequence), digits, 'latin1')
    buffer[at] = end - at - 1
    return end
  }

  #topic(topic: string): TopicBytes {
    const known = this.#topics.get(topic)
    if (known) return known
    const made = this.#topicBytes(topic)
    if (topic.length <= maxKeptLength) keep(this.#topics, topic, made)
    return made
  }

  #client(clientId: string, user: string): ClientBytes {
    const known = this.#clients.get(clientId)
    if (known?.user === user) return known
    const made = { user, bytes: this.#clientBytes(clientId, user) }
    if (clientId.length + user.length <= maxKeptLength) keep(this.#clients, clientId, made)
    return made
  }

  #topicBytes(topic: string): TopicBytes {
    const bytes = this.#sample(keyOf(topic), topicHeaders(topic, this.#set))
    return { bytes: Buffer.from(bytes.subarray(0, -afterTable)), method: methodLength(bytes) }
  }

  #clientBytes(clientId: string, user: string): Buffer {
    const bytes = this.#sample('', { ...clientHeaders(clientId, user, this.#set), 'received-at': someTime })
    return Buffer.from(bytes.subarray(methodLength(bytes) + beforeTable, -afterTable - 8))
  }

  /** Returns a message with these headers, in bytes that the next call overwrites. */
  #sample(key: string, headers: Readonly<Record<string, unknown>>): Buffer {
    const properties = { persistent: true, mandatory: false, headers, messageId: '', timestamp: 0 }
    this.#encoder.clear()
    this.#encoder.publish(exchanges.telemetry, key, nothing, properties)
    return this.#encoder.buffer.subarray(0, this.#encoder.at)
  }
}

class Copy implements Outgoing {
  readonly #message: Message
  readonly #copies: TelemetryCopies

  constructor(message: Message, copies: TelemetryCopies) {
    this.#message = message
    this.#copies = copies
  }

  get order(): string {
    return this.#message.clientId
  }

  writeTo(frames: FrameWriter): void {
    this.#copies.write(this.#message, frames)
  }
}

/** Returns how long the method frame is with which a message begins. */
function methodLength(bytes: Buffer): number {
  return frameOverhead + bytes.readUInt32BE(3)
}

function keep<Value>(all: Map<string, Value>, key: string, value: Value): void {
  if (all.size >= maxKept && !all.has(key)) takeOldest(all)
  all.set(key, value)
}
