import { createHash } from 'node:crypto'
import type { Message, QoS, Rejection } from '../model.js'
import {
  decodeProperties,
  encodeProperties,
  type MessageProperties,
  maxPropertyBytes,
} from '../mqtt/message-properties.js'
import { decodeBatch, encodeBatch, encodedLength, maxName } from '../spool/message-codec.js'
import { isTopicName } from '../topics.js'
import type { ReceivedHeaders } from './client.js'

/*
 * A message as a record of Kafka: the payload is the value, untouched, and the client id is the key, so that the
 * messages of a client are in one partition, in their order. Headers are UTF-8 text but for the two that are bytes:
 *
 *     message-id              id of the hub and sequence number, `7f0c…-42`; of a batch `7f0c…-42..241`
 *     mqtt-topic              text
 *     mqtt-qos                0, 1 or 2
 *     mqtt-retain             true or false
 *     client-id, user         text; user only if there is one
 *     received-at             microseconds since the epoch
 *     sequence                number
 *     mqtt-payload-format     0 or 1
 *     mqtt-content-type       text
 *     mqtt-response-topic     text
 *     mqtt-correlation-data   bytes
 *     mqtt-user-properties    JSON: array of arrays [name, value], in their order, names may repeat
 *     traceparent             text: that of W3C Trace Context, also among the user properties
 *     mqtt-expires-at         microseconds since the epoch
 *     packet-id               number; of dead letters alone
 *
 * The time of the record is the time of acceptance in milliseconds.
 */

/** Content type of a record with many messages. */
const batchType = 'application/vnd.telehub.batch'

/** Content type of a dead letter that a consumer elsewhere sends to the hub of the message. */
const letterType = 'application/vnd.telehub.letter'

/** Most messages in one record, and most bytes of them. A single longer message is in a record alone. */
const batchMessages = 500
const batchBytes = 256 * 1024

/** Bytes of a record beside key, value and headers, at most. */
const recordOverhead = 40

/** A record to be sent. */
export interface OutgoingRecord {
  readonly topic: string
  /** Decides about the partition. Undefined: partition 0. */
  readonly key: Buffer | undefined
  readonly value: Buffer
  readonly headers: Readonly<Record<string, string | Buffer>>
  /** Milliseconds since the epoch. */
  readonly time: number
  /** About the bytes of the record. */
  readonly bytes: number
  /** Number of messages in the record. */
  readonly count: number
}

/** A record that has come. */
export interface ReceivedRecord {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers?: ReceivedHeaders | undefined
}

/** The content of one record. */
export interface UnpackedRecord {
  /** At least one message. */
  readonly messages: readonly Message[]
  /** Why the record cannot be read, or the reason of a dead letter. Then `messages` holds one message. */
  readonly rejection?: Rejection
}

type RecordHeaders = Readonly<Record<string, string | Buffer>>

/** Returns the record of one message. `more`: headers beside those of every message. */
export function messageRecord(
  topic: string,
  message: Message,
  hubId: string,
  more: RecordHeaders = {},
): OutgoingRecord {
  const { clientId, user, payload, receivedAt, sequence, expiresAt, properties, qos, retain } = message
  const headers = {
    'message-id': `${message.hub ?? hubId}-${sequence}`,
    'mqtt-topic': message.topic,
    'mqtt-qos': String(qos),
    'mqtt-retain': retain ? 'true' : 'false',
    'client-id': clientId,
    ...(user !== '' && { user }),
    'received-at': String(receivedAt),
    sequence: String(sequence),
    ...(properties && propertyHeaders(properties)),
    ...(expiresAt !== undefined && { 'mqtt-expires-at': String(expiresAt) }),
    ...more,
  }
  return record({ topic, key: Buffer.from(clientId), value: payload, headers, time: receivedAt / 1e3, count: 1 })
}

/** Returns a dead letter as a record, for other programs. */
export function letterRecord(topic: string, message: Message, hubId: string, letter: RecordHeaders): OutgoingRecord {
  return messageRecord(topic, message, hubId, { ...letter, 'packet-id': String(message.packetId) })
}

/** Returns a dead letter as a record for the hub of the message, which reads it with `unpack`. */
export function letterForHub(topic: string, message: Message, letter: RecordHeaders): OutgoingRecord {
  return { ...letterRecord(topic, message, '', { ...letter, 'content-type': letterType }), key: undefined }
}

/** Returns a record with a body of the hub's own. */
export function plainRecord(topic: string, value: Buffer): OutgoingRecord {
  return record({ topic, key: undefined, value, headers: {}, time: Date.now(), count: 1 })
}

/**
 * Returns records of many messages each, all of which are for one partition. The hub is named in the message id, not in
 * the value.
 */
export function* batchRecords(topic: string, messages: readonly Message[], hubId: string): Generator<OutgoingRecord> {
  for (let from = 0, to = 0; from < messages.length; from = to) {
    const first = messages[from] as Message
    const lengths: number[] = []
    let bytes = 0
    for (; to < messages.length && to - from < batchMessages; to++) {
      const message = messages[to] as Message
      const length = encodedLength(message)
      bytes += length
      if (to > from && (bytes > batchBytes || message.hub !== first.hub)) break
      lengths.push(length)
    }
    const some = messages.slice(from, to)
    const last = some.at(-1) as Message
    const headers = {
      'message-id': `${first.hub ?? hubId}-${first.sequence}..${last.sequence}`,
      'content-type': batchType,
      count: String(some.length),
      'first-sequence': String(first.sequence),
      'last-sequence': String(last.sequence),
    }
    const value = encodeBatch(some, lengths)
    const key = Buffer.from(first.clientId)
    yield record({ topic, key, value, headers, time: first.receivedAt / 1e3, count: some.length })
  }
}

function record({ time, ...rest }: Omit<OutgoingRecord, 'bytes'>): OutgoingRecord {
  let bytes = recordOverhead + rest.value.length + (rest.key?.length ?? 0)
  for (const name in rest.headers) bytes += name.length + (rest.headers[name]?.length ?? 0) + 4
  return { ...rest, time: Math.floor(time), bytes }
}

/** Returns the headers for encoded properties; none when the properties are ill-formed. */
function propertyHeaders(encoded: Buffer): RecordHeaders {
  const properties = encoded.length <= maxPropertyBytes ? decodeProperties(encoded) : undefined
  if (!properties) return {}
  const { payloadFormat, contentType, responseTopic, correlationData, userProperties } = properties
  const trace = userProperties && traceParentOf(userProperties)
  return {
    ...(payloadFormat !== undefined && { 'mqtt-payload-format': String(payloadFormat) }),
    ...(contentType !== undefined && { 'mqtt-content-type': contentType }),
    ...(responseTopic !== undefined && { 'mqtt-response-topic': responseTopic }),
    ...(correlationData !== undefined && { 'mqtt-correlation-data': Buffer.from(correlationData) }),
    ...(userProperties && { 'mqtt-user-properties': JSON.stringify(userProperties) }),
    ...(trace !== undefined && { traceparent: trace }),
  }
}

/** Returns the first user property `traceparent`, if that is well-formed (W3C Trace Context §3.2.2). */
function traceParentOf(userProperties: readonly (readonly [string, string])[]): string | undefined {
  const text = userProperties.find(([name]) => name.toLowerCase() === 'traceparent')?.[1]
  return text !== undefined && isTraceParent(text) ? text : undefined
}

function isTraceParent(text: string): boolean {
  return /^[\da-f]{2}-[\da-f]{32}-[\da-f]{16}-[\da-f]{2}$/.test(text)
}

/**
 * Returns the messages in a record. Records of other programs may lack every header, and a header may hold anything. A
 * record whose message id and sequence are not of the hub's form gets a hub id that no hub has, made from `place`.
 *
 * @param place Topic, partition and offset of the record, which name it for good
 * @param now Microseconds since the epoch, for records without a time of acceptance
 */
export function unpack(got: ReceivedRecord, hubId: string, place: string, now: number): UnpackedRecord {
  const headers = new HeaderReader(got.headers)
  if (headers.text('content-type') === batchType) {
    const messages = decodeBatch(got.value ?? Buffer.alloc(0))
    const [, named] = /^(.+)-\d+\.\.\d+$/.exec(headers.text('message-id')) ?? []
    if (messages && messages.length > 0) {
      const hub = named ?? stranger(place)
      return { messages: hub === hubId ? messages : messages.map(message => ({ ...message, hub })) }
    }
    const detail = `${got.value?.length ?? 0} bytes that are marked as a batch of messages, but are not one`
    return { messages: [single(got, headers, { hubId, place, now })], rejection: { reason: 'bad_batch', detail } }
  }
  const messages = [single(got, headers, { hubId, place, now })]
  if (headers.text('content-type') === letterType) {
    const rejection = {
      reason: headers.text('reason') || 'unknown',
      detail: headers.text('detail'),
      ...(headers.text('partly') === 'true' && { partly: true }),
    }
    return { messages, rejection }
  }
  return headers.isTooLong('mqtt-topic')
    ? { messages, rejection: { reason: 'bad_topic', detail: `a header mqtt-topic of more than ${maxName} bytes` } }
    : { messages }
}

function single(
  got: ReceivedRecord,
  headers: HeaderReader,
  { hubId, place, now }: { readonly hubId: string; readonly place: string; readonly now: number },
): Message {
  const sequence = headers.integer('sequence', -1)
  const id = headers.text('message-id')
  const suffix = `-${sequence}`
  const isNamed = sequence >= 0 && id.length > suffix.length && id.endsWith(suffix)
  const hub = isNamed ? id.slice(0, -suffix.length) : stranger(place)
  const qos = headers.text('mqtt-qos')
  const properties = propertiesFrom(headers)
  const expiresAt = headers.integer('mqtt-expires-at', 0)
  return {
    sequence: isNamed ? sequence : 0,
    receivedAt: headers.integer('received-at', now),
    topic: headers.text('mqtt-topic') || keyText(got.key),
    payload: got.value ?? Buffer.alloc(0),
    qos: qos === '1' || qos === '2' ? (Number(qos) as QoS) : 0,
    retain: headers.text('mqtt-retain') === 'true',
    clientId: headers.text('client-id'),
    user: headers.text('user'),
    packetId: headers.integer('packet-id', 0),
    ...(properties && { properties }),
    ...(expiresAt > 0 && { expiresAt }),
    ...(hub !== hubId && { hub }),
  }
}

/** Returns a hub id that no hub has. */
function stranger(place: string): string {
  return `?${createHash('sha1').update(place).digest('hex').slice(0, 16)}`
}

function keyText(key: Buffer | null): string {
  return key && key.length <= maxName ? key.toString('utf8') : ''
}

/**
 * Returns the encoded properties of a record, from a hub or from any other program. Values that MQTT does not allow are
 * left out; all are when they are longer than allowed.
 */
function propertiesFrom(headers: HeaderReader): Buffer | undefined {
  const found: { -readonly [Name in keyof MessageProperties]: MessageProperties[Name] } = {}
  const format = headers.text('mqtt-payload-format')
  if (format === '0' || format === '1') found.payloadFormat = Number(format) as 0 | 1
  const type = headers.allowed('mqtt-content-type')
  if (type !== undefined) found.contentType = type
  const response = headers.allowed('mqtt-response-topic')
  if (response !== undefined && isTopicName(response)) found.responseTopic = response
  const correlation = headers.bytes('mqtt-correlation-data')
  if (correlation && correlation.length <= maxPropertyBytes) found.correlationData = correlation
  const users = pairsOf(headers.bytes('mqtt-user-properties'))
  if (users.length > 0) found.userProperties = users
  const trace = headers.text('traceparent')
  // The header is of a program that traces and knows nothing of MQTT. Hubs have the same among the user properties.
  if (isTraceParent(trace) && traceParentOf(found.userProperties ?? []) === undefined)
    found.userProperties = [...(found.userProperties ?? []), ['traceparent', trace]]
  const bytes = encodeProperties(found)
  return bytes && bytes.length > 0 && bytes.length <= maxPropertyBytes ? bytes : undefined
}

/** Returns the user properties from JSON: an array of pairs, or an object of texts. Anything else is none. */
function pairsOf(json: Buffer | undefined): [string, string][] {
  if (!json || json.length > 16 * maxPropertyBytes) return []
  try {
    const value: unknown = JSON.parse(json.toString('utf8'))
    const pairs: unknown[] = Array.isArray(value) ? value : Object.entries(value ?? {})
    return pairs.filter(
      (pair): pair is [string, string] =>
        Array.isArray(pair) &&
        pair.length === 2 &&
        pair.every(text => typeof text === 'string' && !text.includes('\0')),
    )
  } catch {
    return []
  }
}

/** Reads headers, of which any may be missing, repeated, or of any bytes. The first of a name counts. */
class HeaderReader {
  readonly #headers: ReceivedHeaders

  constructor(headers: ReceivedHeaders = {}) {
    this.#headers = headers
  }

  bytes(name: string): Buffer | undefined {
    const value = Object.hasOwn(this.#headers, name) ? this.#headers[name] : undefined
    const first = Array.isArray(value) ? value[0] : value
    return typeof first === 'string' ? Buffer.from(first) : first
  }

  /** Returns the text of a header; empty when there is none, or a longer one than names of the hub may be. */
  text(name: string): string {
    const bytes = this.bytes(name)
    return bytes && bytes.length <= maxName ? bytes.toString('utf8') : ''
  }

  /** Returns a text that MQTT can carry. */
  allowed(name: string): string | undefined {
    const bytes = this.bytes(name)
    return bytes && bytes.length <= maxPropertyBytes && !bytes.includes(0) ? bytes.toString('utf8') : undefined
  }

  integer(name: string, fallback: number): number {
    const text = this.text(name)
    const value = /^\d{1,16}$/.test(text) ? Number(text) : fallback
    return Number.isSafeInteger(value) ? value : fallback
  }

  isTooLong(name: string): boolean {
    return (this.bytes(name)?.length ?? 0) > maxName
  }
}
