import {
  decodeProperties,
  encodeProperties,
  type MessageProperties,
  maxPropertyBytes,
} from '../mqtt/message-properties.js'
import { isTopicName } from '../topics.js'
import type { Delivered, Properties } from './connection.js'

/**
 * The properties of MQTT 5 as AMQP headers:
 *
 *     mqtt-payload-format     0 or 1
 *     mqtt-content-type       text; also the content type of AMQP, where it can be
 *     mqtt-response-topic     text
 *     mqtt-correlation-data   bytes
 *     mqtt-user-properties    array of arrays [name, value]: in their order, names may repeat
 *     mqtt-properties         bytes: instead of an array that would be too large, the user properties as in a PUBLISH
 *     traceparent             text: that of W3C Trace Context, also among the user properties, where tracers look for it
 */
const header = {
  payloadFormat: 'mqtt-payload-format',
  contentType: 'mqtt-content-type',
  responseTopic: 'mqtt-response-topic',
  correlationData: 'mqtt-correlation-data',
  userProperties: 'mqtt-user-properties',
  encoded: 'mqtt-properties',
} as const

const traceParent = 'traceparent'

/** AMQP content type of a batch. */
export const batchType = 'application/vnd.telehub.batch'

/**
 * Most user properties in an array. A user property takes five bytes beside the text in MQTT, and fifteen in an array
 * of AMQP. The driver encodes all headers of a message into 64 KB: three names and 1,000 characters of detail leave
 * room for this many and no more.
 */
const maxInArray = 500

/** Largest AMQP short string, in bytes. */
const maxShort = 255

/**
 * Returns the AMQP headers for encoded properties, and the AMQP content type if there is one. Undefined when the
 * properties are ill-formed.
 */
export function propertyHeaders(
  encoded: Buffer,
): { readonly headers: Readonly<Record<string, unknown>>; readonly contentType: string | undefined } | undefined {
  const properties = encoded.length <= maxPropertyBytes ? decodeProperties(encoded) : undefined
  if (!properties) return undefined
  const { payloadFormat, contentType, responseTopic, correlationData, userProperties } = properties
  const trace = userProperties && traceParentOf(userProperties)
  const isMany = userProperties !== undefined && userProperties.length > maxInArray
  return {
    headers: {
      ...(payloadFormat !== undefined && { [header.payloadFormat]: payloadFormat }),
      ...(contentType !== undefined && { [header.contentType]: contentType }),
      ...(responseTopic !== undefined && { [header.responseTopic]: responseTopic }),
      ...(correlationData !== undefined && { [header.correlationData]: correlationData }),
      ...(userProperties && !isMany && { [header.userProperties]: userProperties }),
      ...(isMany && { [header.encoded]: encodeProperties({ userProperties }) }),
      ...(trace !== undefined && { [traceParent]: trace }),
    },
    contentType: contentType && isForAmqp(contentType) ? contentType : undefined,
  }
}

/** Returns the first user property `traceparent`, if that is well-formed (W3C Trace Context §3.2.2). */
function traceParentOf(userProperties: readonly (readonly [string, string])[]): string | undefined {
  const text = userProperties.find(([name]) => name.toLowerCase() === traceParent)?.[1]
  return text !== undefined && isTraceParent(text) ? text : undefined
}

function isTraceParent(text: unknown): text is string {
  return typeof text === 'string' && /^[\da-f]{2}-[\da-f]{32}-[\da-f]{16}-[\da-f]{2}$/.test(text)
}

/**
 * Whether a client's content type may become the content type of the AMQP message. A client that chose the type of a
 * batch would make the hub, or a consumer that parses less strictly, take the body for a batch.
 */
function isForAmqp(contentType: string): boolean {
  return Buffer.byteLength(contentType) <= maxShort && !isOurType(contentType)
}

function isOurType(contentType: string): boolean {
  return /vnd\s*\.\s*telehub/i.test(contentType)
}

/**
 * Returns the encoded properties of an AMQP message, from a hub or from any other publisher. Headers come first, then
 * the properties in `mqtt-properties` that no header names, then `contentType` and `correlationId` of AMQP. Values of
 * the wrong type, or not allowed in MQTT, are left out. All properties are left out when they are longer than allowed.
 */
export function propertiesFrom({
  headers = {},
  contentType,
  correlationId,
}: Pick<Properties, 'contentType' | 'correlationId'> & Pick<Delivered['properties'], 'headers'>): Buffer | undefined {
  const encoded: unknown = headers[header.encoded]
  const found: { -readonly [Name in keyof MessageProperties]: MessageProperties[Name] } = {
    ...(Buffer.isBuffer(encoded) && encoded.length <= maxPropertyBytes && decodeProperties(encoded)),
  }
  const format: unknown = headers[header.payloadFormat]
  if (format === 0 || format === 1) found.payloadFormat = format
  const type = textOf(headers[header.contentType]) ?? found.contentType ?? foreignType(contentType)
  if (type !== undefined) found.contentType = type
  const response = textOf(headers[header.responseTopic]) ?? found.responseTopic
  if (response !== undefined && isTopicName(response)) found.responseTopic = response
  else delete found.responseTopic
  const correlation = dataOf(headers[header.correlationData]) ?? found.correlationData ?? dataOf(correlationId)
  if (correlation) found.correlationData = correlation
  const users = pairsOf(headers[header.userProperties])
  if (users.length > 0) found.userProperties = users
  const trace: unknown = headers[traceParent]
  // The header is of a program that traces and knows nothing of MQTT. Hubs have the same among the user properties.
  if (isTraceParent(trace) && traceParentOf(found.userProperties ?? []) === undefined)
    found.userProperties = [...(found.userProperties ?? []), [traceParent, trace]]
  const bytes = encodeProperties(found)
  return bytes && bytes.length <= maxPropertyBytes ? bytes : undefined
}

/**
 * Returns a text that MQTT can carry; undefined for other values. Each text alone may be as long as all properties
 * together.
 */
function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value.length <= maxPropertyBytes && !value.includes('\0') ? value : undefined
}

/** Returns the AMQP content type, which is meant for subscribers too. Undefined for the type of a batch. */
function foreignType(value: unknown): string | undefined {
  const type = textOf(value)
  return type && !isOurType(type) ? type : undefined
}

function dataOf(value: unknown): Buffer | undefined {
  if (Buffer.isBuffer(value)) return value.length <= maxPropertyBytes ? value : undefined
  const text = typeof value === 'string' && value.length <= maxPropertyBytes ? value : ''
  return text === '' ? undefined : Buffer.from(text)
}

/** Returns the user properties from an array of pairs, or from a table whose values are text or arrays of text. */
function pairsOf(value: unknown): [string, string][] {
  const found: [string, string][] = []
  const add = (name: unknown, text: unknown) => {
    const pair = [textOf(name), textOf(text)]
    if (pair[0] !== undefined && pair[1] !== undefined) found.push([pair[0], pair[1]])
  }
  if (Array.isArray(value)) {
    for (const pair of value) if (Array.isArray(pair) && pair.length === 2) add(pair[0], pair[1])
  } else if (typeof value === 'object' && value !== null && !Buffer.isBuffer(value)) {
    for (const [name, texts] of Object.entries(value)) {
      for (const text of Array.isArray(texts) ? texts : [texts]) add(name, text)
    }
  }
  return found
}
