import type { Received } from '../contract/contract.js'
import type { publishedMessage } from '../contract/publish.js'
import type { Validated } from '../contract/schema.js'
import { HubError, MessagesRefused } from '../errors.js'
import type { Outward, QoS } from '../model.js'
import { encodeProperties, maxPropertyBytes } from '../mqtt/message-properties.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { isTopicName, tooDeep, tooLong } from '../topics.js'

type AskedMessage = Validated<typeof publishedMessage>

/** Validates a value by a schema, as compiled by Fastify. */
export interface Validate {
  (given: unknown): unknown
  readonly errors?:
    | readonly {
        readonly message?: string
        readonly instancePath?: string
        readonly params: Readonly<Record<string, unknown>>
      }[]
    | null
}

/** Most messages of one request. */
const mostMessages = 1_000

/** Bytes of encoded properties that a caller may give: the hub adds one property. */
const propertyBytes = maxPropertyBytes - 256

/** Reads the messages that callers of HTTP and Socket.IO publish. Throws the fault of the first that is wrong, with its index. */
export class PublishedMessages {
  readonly #packetBytes: number
  readonly #clock: MicrosecondClock

  /** @param packetBytes Largest payload with its topic: limits.packet. */
  constructor(packetBytes: number, clock: MicrosecondClock) {
    this.#packetBytes = packetBytes
    this.#clock = clock
  }

  /** Returns the messages of JSON: one, an array, or `{messages: […]}`. */
  fromJson(given: unknown, validate: Validate): readonly Outward[] {
    return messagesOf(given).map((message, index) => {
      if (validate(message)) return this.#messageOf(message as AskedMessage, index)
      const [error] = validate.errors ?? []
      const name = error?.params.additionalProperty
      const what =
        name === undefined ? error?.message : `has ${JSON.stringify(name)}, which is no property of a message`
      throw new MessagesRefused('bad_request', `message ${index}${error?.instancePath ?? ''} ${what}`, index)
    })
  }

  /** Returns the message of a payload, which the query describes. */
  fromBytes({ topic, qos, retain = false, ...more }: Received<'POST /api/publish'>, payload: Buffer): Outward {
    if (topic === undefined) {
      throw new HubError(
        'bad_request',
        'the query names no topic: /api/publish?topic=…; or send JSON with its media type',
      )
    }
    return this.#checked({ topic, qos, retain, ...more }, payload, 0)
  }

  #messageOf({ payload, encoding, ...more }: AskedMessage, index: number): Outward {
    const wrong = (sentence: string) =>
      new MessagesRefused('bad_request', `message ${index}/payload ${sentence}`, index)
    return this.#checked(more, bytesOf(payload, encoding, wrong), index)
  }

  #checked(given: Omit<AskedMessage, 'payload' | 'encoding'>, payload: Buffer, index: number): Outward {
    const { topic, qos, retain = false, messageExpiry } = given
    const wrong = (sentence: string) => new MessagesRefused('bad_request', `message ${index}: ${sentence}`, index)
    const fault =
      topicFault('topic', topic) ?? (given.responseTopic && topicFault('responseTopic', given.responseTopic))
    if (fault) throw wrong(fault)
    if (payload.length + topic.length > this.#packetBytes) {
      const sentence = `message ${index} has ${payload.length} bytes; limits.packet allows ${this.#packetBytes} with the topic`
      throw new MessagesRefused('too_large', sentence, index)
    }
    const properties = propertiesOf(given, wrong)
    return {
      topic,
      payload,
      qos: qos as QoS,
      retain,
      properties,
      expiresAt: messageExpiry === undefined ? undefined : this.#clock.now() + messageExpiry * 1e6,
    }
  }
}

function messagesOf(given: unknown): readonly unknown[] {
  const all = Array.isArray(given) ? given : isList(given) ? given.messages : [given]
  if (all.length > 0 && all.length <= mostMessages) return all
  throw new HubError('bad_request', `given ${all.length} messages, allowed are 1 to ${mostMessages} in one request`)
}

function isList(given: unknown): given is { readonly messages: readonly unknown[] } {
  if (typeof given !== 'object' || given === null) return false
  return 'messages' in given && Array.isArray(given.messages) && Object.keys(given).length === 1
}

/** Returns the bytes of a payload in JSON. Throws the error of `wrong` when it is not what the encoding says. */
export function bytesOf(
  payload: unknown,
  encoding: AskedMessage['encoding'],
  wrong: (sentence: string) => HubError,
): Buffer {
  if (encoding === 'json' || (encoding === undefined && typeof payload !== 'string')) {
    return Buffer.from(JSON.stringify(payload))
  }
  if (typeof payload !== 'string') throw wrong(`must be a string with encoding ${encoding}`)
  if (encoding !== 'base64') return Buffer.from(payload)
  if (!isBase64(payload)) throw wrong('is not base64')
  return Buffer.from(payload, 'base64')
}

function isBase64(text: string): boolean {
  return text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text)
}

function topicFault(what: string, topic: string): string | undefined {
  if (!isTopicName(topic) || !isWellFormed(topic)) {
    return `${what}: given ${JSON.stringify(topic.slice(0, 200))}, allowed is a topic without + and #`
  }
  const large = tooLong('topic', topic) ?? tooDeep('topic', topic)
  return large && `${what}: given ${large}, allowed is a shorter one`
}

/** Returns false for texts that no MQTT client accepts. [MQTT-1.5.4-1] [MQTT-1.5.4-2] */
function isWellFormed(text: string): boolean {
  return !/\0|\p{Surrogate}/u.test(text)
}

/** Returns the encoded MQTT 5 properties; undefined when none are given. */
function propertiesOf(
  { contentType, responseTopic, correlationData, userProperties = [] }: Omit<AskedMessage, 'payload'>,
  wrong: (sentence: string) => Error,
): Buffer | undefined {
  const pairs = isPairs(userProperties) ? userProperties : Object.entries(userProperties)
  for (const text of [contentType ?? '', ...pairs.flat()]) {
    if (!isWellFormed(text)) throw wrong('its properties have a text with U+0000 or half a surrogate pair')
  }
  if (pairs.some(([name]) => name.startsWith('telehub-'))) {
    throw wrong('userProperties: names that begin with telehub- are those of the hub')
  }
  if (correlationData !== undefined && !isBase64(correlationData)) throw wrong('correlationData is not base64')
  const data = correlationData === undefined ? undefined : Buffer.from(correlationData, 'base64')
  const bytes = [contentType ?? '', responseTopic ?? '', data ?? '', ...pairs.flat()].reduce(
    (sum, text) => sum + Buffer.byteLength(text) + 3,
    0,
  )
  if (bytes > propertyBytes) throw wrong(`its properties have more than ${propertyBytes} bytes`)
  return encodeProperties({
    ...(contentType !== undefined && { contentType }),
    ...(responseTopic !== undefined && { responseTopic }),
    ...(data && { correlationData: data }),
    userProperties: pairs,
  })
}

type Pairs = readonly (readonly [name: string, value: string])[]

function isPairs(given: Pairs | Readonly<Record<string, string>>): given is Pairs {
  return Array.isArray(given)
}
