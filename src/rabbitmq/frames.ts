/**
 * The frames of `basic.publish`, as AMQP 0-9-1 (§2.3.5, §4.2) and the errata of RabbitMQ draw them: a method frame, a
 * content header frame, and as many body frames as the largest frame makes necessary.
 *
 *     type 1 | channel 2 | size 4 | payload … | 0xCE
 *
 * The driver encodes a message in several steps, with a buffer for each, and writes each message to the socket by
 * itself: with nine headers that took 45 to 60 µs of processor time for a message, longer than all that the hub does
 * with the message otherwise. Here many messages go into one buffer, and that goes to the socket as a whole. The bytes
 * are those of the driver (test/rabbitmq/frames.test.ts compares them).
 */

/** The properties of an AMQP message that the hub sets. */
export interface PublishProperties {
  /** Whether the message survives a restart of the server, in a durable queue. */
  readonly persistent: boolean
  /** Whether the server returns the message when no queue takes it. */
  readonly mandatory: boolean
  readonly contentType?: string
  readonly headers?: Readonly<Record<string, unknown>>
  readonly correlationId?: string
  readonly replyTo?: string
  /** Milliseconds, as text. */
  readonly expiration?: string
  readonly messageId?: string
  /** Seconds since the epoch. */
  readonly timestamp?: number
}

/** A message that can be written as frames. */
export interface Outgoing {
  /**
   * Messages with the same text keep their order, and so do those without one. Messages with different texts may
   * overtake each other.
   */
  readonly order?: string
  /** Appends the frames of this message. Throws when AMQP has no such message; then nothing may be sent any more. */
  writeTo(frames: FrameWriter): void
}

/** Beginning and end of a frame, without its payload. */
export const frameOverhead = 8

export const frameType = { method: 1, header: 2, body: 3 } as const
const frameEnd = 0xce

/** Flags of the properties in a content header. */
const flag = {
  contentType: 0x8000,
  headers: 0x2000,
  deliveryMode: 0x1000,
  correlationId: 0x0400,
  replyTo: 0x0200,
  expiration: 0x0100,
  messageId: 0x0080,
  timestamp: 0x0040,
} as const

const basicClass = 60
const publishMethod = 40

/** Largest AMQP short string, in bytes. */
const maxShort = 255

/** Largest table of headers, in bytes: that of the driver, with which others read the messages. */
const maxTable = 65_536

/** Method frame, and content header without table, at their largest. */
const maxRest = 3_072

/** Bytes of one buffer, of which each `take` gets a part. */
const bufferBytes = 256 * 1_024

/** Appends frames to a buffer. */
export class FrameWriter {
  /** The channel of the frames that are appended next. */
  channel: number
  readonly #maxBody: number
  /** The buffer in which `reserve` has made room. */
  buffer = Buffer.alloc(0)
  /** Place in the buffer behind the last frame. */
  at = 0
  /** Place of the first byte that was not taken. */
  #from = 0

  /** `frameMax`: bytes of the largest frame, as agreed with the server. */
  constructor(channel: number, frameMax: number) {
    this.channel = channel
    this.#maxBody = frameMax - frameOverhead
  }

  /** Number of bytes that were not taken. */
  get waiting(): number {
    return this.at - this.#from
  }

  /** Returns the frames appended since the last call. The bytes are the caller's. */
  take(): Buffer {
    const taken = this.buffer.subarray(this.#from, this.at)
    this.#from = this.at
    return taken
  }

  /** Forgets all frames, so that the next ones are at the beginning of the buffer. Not to be called behind `take`. */
  clear(): void {
    this.at = 0
    this.#from = 0
  }

  /** Makes room for this many bytes behind `at`. */
  reserve(bytes: number): void {
    if (this.at + bytes <= this.buffer.length) return
    const { waiting } = this
    const next = Buffer.allocUnsafeSlow(Math.max(bufferBytes, waiting + bytes))
    this.buffer.copy(next, 0, this.#from, this.at)
    this.buffer = next
    this.#from = 0
    this.at = waiting
  }

  /** Returns how many bytes the body frames of a body take. */
  bodyBytes(body: Buffer): number {
    return body.length + frameOverhead * Math.ceil(body.length / this.#maxBody)
  }

  /** Appends the body frames of a body, for which there is room. An empty body has none. */
  body(body: Buffer): void {
    for (let from = 0; from < body.length; from += this.#maxBody) {
      const size = Math.min(this.#maxBody, body.length - from)
      const { buffer } = this
      const to = this.at + 7
      this.#frame(this.at, frameType.body, size)
      buffer.set(size === body.length ? body : body.subarray(from, from + size), to)
      buffer[to + size] = frameEnd
      this.at = to + size + 1
    }
  }

  /** Appends the frames of a message. Throws a `RangeError` when a part of it is longer than AMQP or a frame allows. */
  publish(exchange: string, key: string, body: Buffer, properties: PublishProperties): void {
    this.reserve(maxRest + maxTable + this.bodyBytes(body))
    this.#method(exchange, key, properties.mandatory)
    this.#header(body.length, properties)
    this.body(body)
  }

  #method(exchange: string, key: string, mandatory: boolean): void {
    const start = this.at
    this.at += 7
    this.#uint16(basicClass)
    this.#uint16(publishMethod)
    // Reserved; "ticket" in older versions.
    this.#uint16(0)
    this.#short(exchange)
    this.#short(key)
    this.buffer[this.at++] = mandatory ? 1 : 0
    this.endFrame(start, frameType.method)
  }

  #header(bodySize: number, properties: PublishProperties): void {
    const { contentType, headers = {}, persistent, correlationId, replyTo } = properties
    const { expiration, messageId, timestamp } = properties
    const start = this.at
    this.at += 7
    this.#uint16(basicClass)
    this.#uint16(0)
    this.int64(bodySize)
    const flags = this.at
    this.at += 2
    let present: number = flag.headers | flag.deliveryMode
    if (contentType !== undefined) {
      present |= flag.contentType
      this.#short(contentType)
    }
    this.#table(headers, this.at + maxTable)
    this.buffer[this.at++] = persistent ? 2 : 1
    if (correlationId !== undefined) {
      present |= flag.correlationId
      this.#short(correlationId)
    }
    if (replyTo !== undefined) {
      present |= flag.replyTo
      this.#short(replyTo)
    }
    if (expiration !== undefined) {
      present |= flag.expiration
      this.#short(expiration)
    }
    if (messageId !== undefined) {
      present |= flag.messageId
      this.#short(messageId)
    }
    if (timestamp !== undefined) {
      present |= flag.timestamp
      this.int64(timestamp)
    }
    this.buffer[flags] = present >>> 8
    this.buffer[flags + 1] = present & 0xff
    this.endFrame(start, frameType.header)
  }

  /** Writes type, channel and size of a frame that begins at `start`. */
  #frame(start: number, type: number, size: number): void {
    const { buffer, channel } = this
    buffer[start] = type
    buffer[start + 1] = channel >>> 8
    buffer[start + 2] = channel & 0xff
    buffer.writeUInt32BE(size, start + 3)
  }

  /** Appends the end of a frame that begins at `start`, and writes its beginning. Throws when the frame is too large. */
  endFrame(start: number, type: number): void {
    const size = this.at - start - 7
    // The server ends the connection at a frame that is larger than agreed.
    if (size > this.#maxBody) throw new RangeError(`a frame of ${size} bytes, of which ${this.#maxBody} are allowed`)
    this.#frame(start, type, size)
    this.buffer[this.at++] = frameEnd
  }

  #uint16(value: number): void {
    this.buffer[this.at++] = value >>> 8
    this.buffer[this.at++] = value & 0xff
  }

  /** Appends a whole number in 64 bits. */
  int64(value: number): void {
    const { buffer } = this
    if (!Number.isSafeInteger(value)) buffer.writeBigInt64BE(BigInt(value), this.at)
    else {
      const high = Math.floor(value / 0x1_0000_0000)
      buffer.writeInt32BE(high, this.at)
      buffer.writeUInt32BE(value - high * 0x1_0000_0000, this.at + 4)
    }
    this.at += 8
  }

  #short(text: string): void {
    const bytes = text.length * 3 <= maxShort ? 0 : Buffer.byteLength(text)
    if (bytes > maxShort) throw new RangeError(`a short string of ${bytes} bytes, of which ${maxShort} are allowed`)
    const written = this.buffer.write(text, this.at + 1)
    this.buffer[this.at] = written
    this.at += 1 + written
  }

  #long(text: string, end: number): void {
    this.#need(4 + Buffer.byteLength(text), end)
    const written = this.buffer.write(text, this.at + 4)
    this.buffer.writeUInt32BE(written, this.at)
    this.at += 4 + written
  }

  #need(bytes: number, end: number): void {
    if (this.at + bytes > end) throw new RangeError(`headers of more than ${maxTable} bytes`)
  }

  /** Appends a field table that must end at `end`, or before. Fields that are undefined are left out. */
  #table(fields: object, end: number): void {
    this.#need(4, end)
    const start = this.at
    this.at += 4
    for (const [name, value] of Object.entries(fields)) {
      if (value === undefined) continue
      this.#need(1 + Buffer.byteLength(name), end)
      this.#short(name)
      this.#value(value, end)
    }
    this.buffer.writeUInt32BE(this.at - start - 4, start)
  }

  #value(value: unknown, end: number): void {
    this.#need(9, end)
    if (typeof value === 'number') this.#number(value)
    else if (typeof value === 'string') {
      this.#tag('S')
      this.#long(value, end)
    } else if (typeof value === 'boolean') {
      this.#tag('t')
      this.buffer[this.at++] = value ? 1 : 0
    } else if (value === null) this.#tag('V')
    else if (Buffer.isBuffer(value)) {
      this.#tag('x')
      this.#need(4 + value.length, end)
      this.buffer.writeUInt32BE(value.length, this.at)
      this.buffer.set(value, this.at + 4)
      this.at += 4 + value.length
    } else if (Array.isArray(value)) {
      this.#tag('A')
      const start = this.at
      this.at += 4
      for (const one of value) this.#value(one, end)
      this.buffer.writeUInt32BE(this.at - start - 4, start)
    } else if (typeof value === 'object') {
      this.#tag('F')
      this.#table(value, end)
    } else throw new TypeError(`no header can be a ${typeof value}`)
  }

  /** Appends a number as the shortest signed integer that holds it, or else as a double. */
  #number(value: number): void {
    const { buffer } = this
    if (!Number.isInteger(value) || value >= 2 ** 63 || value < -(2 ** 63)) {
      this.#tag('d')
      this.at = buffer.writeDoubleBE(value, this.at)
    } else this.integer(value)
  }

  /** Appends a whole number with the tag of its length, of 9 bytes at most. */
  integer(value: number): void {
    const { buffer } = this
    if (value >= -0x80 && value < 0x80) {
      this.#tag('b')
      this.at = buffer.writeInt8(value, this.at)
    } else if (value >= -0x8000 && value < 0x8000) {
      this.#tag('s')
      this.at = buffer.writeInt16BE(value, this.at)
    } else if (value >= -0x8000_0000 && value < 0x8000_0000) {
      this.#tag('I')
      this.at = buffer.writeInt32BE(value, this.at)
    } else {
      this.#tag('l')
      this.int64(value)
    }
  }

  #tag(letter: string): void {
    this.buffer[this.at++] = letter.charCodeAt(0)
  }
}

/** A message of any kind, encoded when it is written. */
export class PlainOutgoing implements Outgoing {
  readonly #exchange: string
  readonly #key: string
  readonly #body: Buffer
  readonly #properties: PublishProperties

  constructor(exchange: string, key: string, body: Buffer, properties: PublishProperties) {
    this.#exchange = exchange
    this.#key = key
    this.#body = body
    this.#properties = properties
  }

  writeTo(frames: FrameWriter): void {
    frames.publish(this.#exchange, this.#key, this.#body, this.#properties)
  }
}
