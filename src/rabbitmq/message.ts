import { createHash } from 'node:crypto'
import type { Message, QoS, Rejection, ReplyQueue } from '../model.js'
import { decodeBatch, encodeBatch, encodedLength, maxName } from '../spool/message-codec.js'
import { routingKeyOf, topicOf } from '../topics.js'
import { batchKey, type Delivered, exchanges } from './connection.js'
import { type Outgoing, PlainOutgoing } from './frames.js'
import { batchType, propertiesFrom, propertyHeaders } from './properties.js'

/** Most messages in one AMQP message, and most bytes of them. A single longer message is sent alone. */
const batchMessages = 200
const batchBytes = 64 * 1024

/** Largest AMQP short string, in bytes. */
const maxShort = 255

export type Got = Pick<Delivered, 'content' | 'properties'> & {
  readonly fields: { readonly routingKey: string; readonly redelivered?: boolean }
}

/** The content of one AMQP message. */
export interface Unpacked {
  /** At least one message. */
  readonly messages: readonly Message[]
  /**
   * Why the AMQP message cannot be read. Then `messages` holds one message with the body as payload. Undefined for a
   * readable AMQP message.
   */
  readonly rejection?: Rejection
}

/**
 * Which headers a message has. `full`: all. `lean`: only those that neither routing key nor message id say; QoS, retain
 * flag, client and user are left out. docs/rabbitmq.md lists them.
 */
export type HeaderSet = 'full' | 'lean'

type Headers = Readonly<Record<string, unknown>>

export interface MessageOptions {
  /** Whether RabbitMQ returns the message when no queue takes it. */
  readonly mandatory: boolean
  readonly set: HeaderSet
  /** Headers beside those of every message. */
  readonly more?: Headers
}

export function outgoingMessage(
  exchange: string,
  message: Message,
  hubId: string,
  { mandatory, set, more }: MessageOptions,
): Outgoing {
  const extension = message.properties && propertyHeaders(message.properties)
  return new PlainOutgoing(exchange, keyOf(message.topic), message.payload, {
    persistent: true,
    mandatory,
    messageId: `${hubPart(message, hubId)}-${message.sequence}`,
    timestamp: Math.floor(message.receivedAt / 1e6),
    ...(extension?.contentType && { contentType: extension.contentType }),
    headers: {
      ...topicHeaders(message.topic, set, message),
      ...clientHeaders(message.clientId, message.user, set),
      'received-at': message.receivedAt,
      ...(set === 'full' && { sequence: message.sequence }),
      ...extension?.headers,
      ...(message.expiresAt !== undefined && { 'mqtt-expires-at': message.expiresAt }),
      ...more,
    },
  })
}

/** Returns the routing key of the messages of a topic. */
export function keyOf(topic: string): string {
  return shortened(routingKeyOf(topic))
}

/** Returns the headers in front: the topic, where the routing key does not say it, and how the message was published. */
export function topicHeaders(
  topic: string,
  set: HeaderSet,
  { qos, retain }: Pick<Message, 'qos' | 'retain'> = { qos: 0, retain: false },
): Headers {
  if (set === 'full') return { 'mqtt-topic': topic, 'mqtt-qos': qos, 'mqtt-retain': retain }
  return topicOf(keyOf(topic)) === topic ? {} : { 'mqtt-topic': topic }
}

/** Returns the headers behind those of the topic: who has published. */
export function clientHeaders(clientId: string, user: string, set: HeaderSet): Headers {
  return set === 'full' ? { 'client-id': clientId, ...(user && { user }) } : {}
}

/** Exchange and routing key of batches. */
export interface BatchTarget {
  readonly exchange: string
  readonly key: string
}

const toRecord: BatchTarget = { exchange: exchanges.batches, key: batchKey }

/** Yields the messages in as few AMQP messages as possible, each made when requested. */
export function* outgoingBatches(messages: readonly Message[], hubId: string, to = toRecord): Generator<Outgoing> {
  for (let from = 0, end = 0; from < messages.length; from = end) {
    const { hub } = messages[from] as Message
    let bytes = 0
    const lengths: number[] = []
    for (; end < messages.length && end - from < batchMessages; end++) {
      const message = messages[end] as Message
      const length = encodedLength(message)
      bytes += length
      // The hub is named in the message id, not in the body.
      if (end > from && (bytes > batchBytes || message.hub !== hub)) break
      lengths.push(length)
    }
    yield outgoingBatch(messages.slice(from, end), lengths, hubId, to)
  }
}

function outgoingBatch(messages: readonly Message[], lengths: number[], hubId: string, to: BatchTarget): Outgoing {
  const first = messages[0] as Message
  const last = messages.at(-1) as Message
  return new PlainOutgoing(to.exchange, to.key, encodeBatch(messages, lengths), {
    persistent: true,
    mandatory: true,
    contentType: batchType,
    messageId: `${hubPart(first, hubId)}-${first.sequence}..${last.sequence}`,
    timestamp: Math.floor(first.receivedAt / 1e6),
    headers: { count: messages.length, 'first-sequence': first.sequence, 'last-sequence': last.sequence },
  })
}

/**
 * Returns the messages in an AMQP message. Messages of other publishers may lack every header, and a header may have
 * any type. A message whose message id and sequence are not of the hub's form gets a hub id that no hub has, made from
 * the message.
 */
export function unpack(got: Got, hubId: string, now: number): Unpacked {
  const { properties, content } = got
  if (properties.contentType !== batchType) {
    const messages = [single(got, hubId, now)]
    const topic: unknown = properties.headers?.['mqtt-topic']
    // The topic is too long, and the routing key is not that topic either.
    if (typeof topic !== 'string' || topic === '' || text(topic) !== '') return { messages }
    const detail = `a header mqtt-topic of more than ${maxName} bytes`
    return { messages, rejection: { reason: 'bad_topic', detail } }
  }
  const messages = decodeBatch(content)
  if (!messages) {
    const detail = `${content.length} bytes that are marked as a batch of messages, but are not one`
    return { messages: [single(got, hubId, now)], rejection: { reason: 'bad_batch', detail } }
  }
  const [, named] = /^(.+)-\d+\.\.\d+$/.exec(text(properties.messageId)) ?? []
  const hub = named ?? stranger(got)
  return { messages: hub === hubId ? messages : messages.map(message => ({ ...message, hub })) }
}

function single(got: Got, hubId: string, now: number): Message {
  const { headers = {}, messageId } = got.properties
  const qos = headers['mqtt-qos']
  const sequence = integer(headers.sequence, -1)
  const id = text(messageId)
  const suffix = `-${sequence}`
  const named = sequence >= 0 && id.length > suffix.length && id.endsWith(suffix)
  const hub = named ? id.slice(0, -suffix.length) : stranger(got)
  const properties = propertiesFrom(got.properties)
  const expiresAt = expiryOf(got, now)
  const reply = replyOf(got)
  return {
    sequence: named ? sequence : 0,
    receivedAt: integer(headers['received-at'], now),
    topic: text(headers['mqtt-topic']) || topicOf(got.fields.routingKey),
    payload: got.content,
    qos: qos === 1 || qos === 2 ? (qos as QoS) : 0,
    retain: headers['mqtt-retain'] === true,
    clientId: text(headers['client-id']),
    user: text(headers.user),
    packetId: 0,
    ...(properties && { properties }),
    ...(expiresAt !== undefined && { expiresAt }),
    ...(hub !== hubId && { hub }),
    ...(reply && { reply }),
  }
}

/** Returns where the answer to a message goes. Undefined when nobody waits for one. */
function replyOf({ properties, fields, content }: Got): ReplyQueue | undefined {
  const queue = text(properties.replyTo, maxShort)
  if (queue === '') return undefined
  const correlationId = text(properties.correlationId, maxShort) || undefined
  const named = text(properties.messageId) || correlationId
  const isRedelivered = fields.redelivered === true || integer(properties.headers?.['x-delivery-count'], 0) > 0
  return { queue, correlationId, key: `${queue} ${named ?? digest(fields.routingKey, content)}`, isRedelivered }
}

/** Returns the expiry from the hub's header, or else from the AMQP expiration: milliseconds from now, as text. */
function expiryOf({ properties: { headers, expiration } }: Got, now: number): number | undefined {
  const header: unknown = headers?.['mqtt-expires-at']
  // A time at or before the epoch has expired, like a time just after the epoch.
  if (Number.isSafeInteger(header)) return Math.max(1, header as number)
  const lifetime: unknown = expiration
  if (typeof lifetime !== 'string' || !/^\d{1,15}$/.test(lifetime)) return undefined
  const at = now + Number(lifetime) * 1_000
  return Number.isSafeInteger(at) ? at : undefined
}

function stranger({ properties, fields, content }: Got): string {
  return `?${text(properties.messageId) || digest(fields.routingKey, content)}`
}

/** Returns the hub's part of a message id, which must fit an AMQP short string together with the sequences behind. */
export function hubPart({ hub }: Pick<Message, 'hub'>, hubId: string): string {
  const name = hub ?? hubId
  return name.length > 60 && Buffer.byteLength(name) > maxShort - 40 ? `?${digest(name)}` : name
}

function digest(...parts: readonly (string | Buffer)[]): string {
  const hash = createHash('sha1')
  for (const part of parts) hash.update(part).update('\0')
  return hash.digest('hex').slice(0, 16)
}

export function text(value: unknown, longest = maxName): string {
  return typeof value === 'string' && value.length <= longest && Buffer.byteLength(value) <= longest ? value : ''
}

export function integer(value: unknown, fallback: number): number {
  return Number.isSafeInteger(value) ? (value as number) : fallback
}

/** Shortens a routing key to the 255 bytes of AMQP. The header `mqtt-topic` has the whole topic. */
function shortened(key: string): string {
  if (key.length * 3 <= maxShort || Buffer.byteLength(key) <= maxShort) return key
  return Buffer.from(key)
    .subarray(0, maxShort)
    .toString('utf8')
    .replace(/\uFFFD+$/, '')
}
