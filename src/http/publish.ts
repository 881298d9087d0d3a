import type { FastifyInstance, FastifyRequest } from 'fastify'
import { type Answer, type Received, routes } from '../contract/contract.js'
import { publishedMessage } from '../contract/publish.js'
import type { Validated } from '../contract/schema.js'
import { HubError, MessagesRefused } from '../errors.js'
import type { Outward, QoS } from '../model.js'
import { encodeProperties, maxPropertyBytes } from '../mqtt/message-properties.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { isTopicName, tooDeep, tooLong } from '../topics.js'
import type { Caller } from './guard.js'
import { schemaOf } from './route.js'

/** Publishes messages, and answers when they are on disk. Implemented by `Broker`. */
export interface Publisher {
  /**
   * Resolves with the sequence number of each message. With a key, a request that was carried out is not carried out
   * again. Rejects as `DirectPublisher.publish` says.
   */
  publishDirectly(
    user: string,
    messages: readonly Outward[],
    key?: { readonly key: string; readonly body: readonly (string | Uint8Array)[] },
  ): Promise<{ readonly sequences: readonly number[]; readonly isRepeated: boolean }>
}

export interface PublishRouteOptions {
  readonly publisher: Publisher
  /** Largest payload with its topic: limits.packet. */
  readonly packetBytes: number
  readonly clock: MicrosecondClock
}

type AskedMessage = Validated<typeof publishedMessage>
type Query = Received<'POST /api/publish'>

/** Most messages of one request. */
const mostMessages = 1_000

/** Bytes of bodies that may be read and handled at a time, of all requests together. */
const bodiesInHand = 64e6

/** Bytes of encoded properties that a caller may give: the hub adds one property. */
const propertyBytes = maxPropertyBytes - 256

/** The route that publishes messages: in JSON one or many, in any other media type the payload of one. */
export async function publishRoutes(app: FastifyInstance, options: PublishRouteOptions): Promise<void> {
  const { publisher, packetBytes } = options
  const route = routes['POST /api/publish']
  const bodyLimit = Math.min(bodiesInHand, Math.max(1e6, packetBytes * 2))
  const parseJson = app.getDefaultJsonParser('error', 'error')
  let inHand = 0
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))

  const { body: _, ...schema } = schemaOf(route)
  app.route<{ Body: Buffer | undefined; Querystring: Query }>({
    method: 'POST',
    url: '/api/publish',
    bodyLimit,
    config: { body: route.body },
    schema,
    preParsing: async (request, reply) => {
      // The body of a request that does not say its length may be as long as is allowed.
      const bytes = Math.min(bodyLimit, Number(request.headers['content-length'] ?? bodyLimit))
      if (inHand > 0 && inHand + bytes > bodiesInHand) {
        throw new HubError('overloaded', 'too many bytes are being published over HTTP', { retryAfterMs: 1_000 })
      }
      inHand += bytes
      reply.raw.once('close', () => {
        inHand -= bytes
      })
    },
    handler: async (request, reply) => {
      const { user } = request.caller as Caller
      const body = request.body ?? Buffer.alloc(0)
      const isJson = request.query.topic === undefined && request.mediaType === 'application/json'
      const messages = isJson ? await readJson(request, body) : [readBytes(request.query, body)]
      const key = keyOf(request)
      const [, query = ''] = request.url.split('?', 2)
      const distinguished = key === undefined ? undefined : { key, body: [isJson ? 'json\n' : `${query}\n`, body] }
      const { sequences, isRepeated } = await publisher.publishDirectly(user, messages, distinguished)
      if (isRepeated) reply.header('idempotent-replayed', 'true')
      return { messages: sequences.map(sequence => ({ sequence })) } satisfies Answer<'POST /api/publish'>
    },
  })

  /** Returns the messages of a body of JSON. Throws the fault of the first that is wrong, with its index. */
  async function readJson(request: FastifyRequest, body: Buffer): Promise<readonly Outward[]> {
    const given = await new Promise<unknown>((resolve, reject) => {
      const done = (error: Error | null, value?: unknown) => (error ? reject(error) : resolve(value))
      parseJson(request, body.toString(), done)
    })
    const validate = request.compileValidationSchema(publishedMessage, 'body')
    return messagesOf(given).map((message, index) => {
      if (validate(message)) return messageOf(message as AskedMessage, index)
      const [error] = validate.errors ?? []
      const name = error?.params.additionalProperty
      const what =
        name === undefined ? error?.message : `has ${JSON.stringify(name)}, which is no property of a message`
      throw new MessagesRefused('bad_request', `message ${index}${error?.instancePath ?? ''} ${what}`, index)
    })
  }

  function readBytes({ topic, qos, retain = false, ...more }: Query, payload: Buffer): Outward {
    if (topic === undefined) {
      throw new HubError(
        'bad_request',
        'the query names no topic: /api/publish?topic=…; or send JSON with its media type',
      )
    }
    return checked({ topic, qos, retain, ...more }, payload, 0)
  }

  function messageOf({ payload, encoding, ...more }: AskedMessage, index: number): Outward {
    return checked(more, bytesOf(payload, encoding, index), index)
  }

  function checked(given: Omit<AskedMessage, 'payload' | 'encoding'>, payload: Buffer, index: number): Outward {
    const { topic, qos, retain = false, messageExpiry } = given
    const wrong = (sentence: string) => new MessagesRefused('bad_request', `message ${index}: ${sentence}`, index)
    const fault =
      topicFault('topic', topic) ?? (given.responseTopic && topicFault('responseTopic', given.responseTopic))
    if (fault) throw wrong(fault)
    if (payload.length + topic.length > packetBytes) {
      const sentence = `message ${index} has ${payload.length} bytes; limits.packet allows ${packetBytes} with the topic`
      throw new MessagesRefused('too_large', sentence, index)
    }
    const properties = propertiesOf(given, wrong)
    return {
      topic,
      payload,
      qos: qos as QoS,
      retain,
      properties,
      expiresAt: messageExpiry === undefined ? undefined : options.clock.now() + messageExpiry * 1e6,
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

function bytesOf(payload: unknown, encoding: AskedMessage['encoding'], index: number): Buffer {
  const wrong = (sentence: string) => new MessagesRefused('bad_request', `message ${index}/payload ${sentence}`, index)
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

/** Returns the Idempotency-Key of a request. Throws `bad_request` when that is not allowed. */
function keyOf({ headers }: FastifyRequest): string | undefined {
  const key = headers['idempotency-key']
  if (key === undefined) return undefined
  if (typeof key === 'string' && /^[\x20-\x7e]{1,255}$/.test(key)) return key
  throw new HubError('bad_request', 'Idempotency-Key: allowed are 1 to 255 printable ASCII characters')
}
