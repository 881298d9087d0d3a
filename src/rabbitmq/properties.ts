import {
  decodeProperties,
  encodeProperties,
  type MessageProperties,
  maxPropertyBytes,
} from '../mqtt/message-properties.js'
import { isTopicName } from '../topics.js'
import type { Delivered, Properties } from './connection.js'

/**
 * The properties of MQTT 5 as others see them in AMQP:
 *
 *     mqtt-payload-format     0 or 1
 *     mqtt-content-type       text; also the content type of AMQP, where it can be
 *     mqtt-response-topic     text
 *     mqtt-correlation-data   bytes
 *     mqtt-user-properties    array of arrays [name, value]: in their order, names may repeat
 *     mqtt-properties         bytes: instead of an array that would be too large, the user properties as in a PUBLISH
 */
const header = {
  payloadFormat: 'mqtt-payload-format',
  contentType: 'mqtt-content-type',
  responseTopic: 'mqtt-response-topic',
  correlationData: 'mqtt-correlation-data',
  userProperties: 'mqtt-user-properties',
  encoded: 'mqtt-properties',
} as const

/** The content type of AMQP that makes a body a batch. */
export const batchType = 'application/vnd.telehub.batch'

/**
 * A user property has five bytes beside its text in MQTT, and fifteen in an array of AMQP. The driver encodes all
 * headers of a message into 64 KB: three names and 1,000 characters of detail leave room for these and no more.
 */
const maxInArray = 500

/** Bytes of an AMQP short string. */
const maxShort = 255

/** The headers for encoded properties, and the content type of AMQP if there is one. None when they are ill-formed. */
export function propertyHeaders(
  encoded: Buffer,
): { readonly headers: Readonly<Record<string, unknown>>; readonly contentType: string | undefined } | undefined {
  const properties = encoded.length <= maxPropertyBytes ? decodeProperties(encoded) : undefined
  if (!properties) return undefined
  const { payloadFormat, contentType, responseTopic, correlationData, userProperties } = properties
  const isMany = userProperties !== undefined && userProperties.length > maxInArray
  return {
    headers: {
      ...(payloadFormat !== undefined && { [header.payloadFormat]: payloadFormat }),
      ...(contentType !== undefined && { [header.contentType]: contentType }),
      ...(responseTopic !== undefined && { [header.responseTopic]: responseTopic }),
      ...(correlationData !== undefined && { [header.correlationData]: correlationData }),
      ...(userProperties && !isMany && { [header.userProperties]: userProperties }),
      ...(isMany && { [header.encoded]: encodeProperties({ userProperties }) }),
    },
    contentType: contentType && isForAmqp(contentType) ? contentType : undefined,
  }
}

/** Whoever may say what a body of AMQP is makes us, or a consumer that reads it less strictly, take it for a batch. */
function isForAmqp(contentType: string): boolean {
  return Buffer.byteLength(contentType) <= maxShort && !isOurType(contentType)
}

function isOurType(contentType: string): boolean {
  return /vnd\s*\.\s*telehub/i.test(contentType)
}

/**
 * The encoded properties of an AMQP message, of a hub or of anybody. Headers come first, then what of `mqtt-properties`
 * they do not name, then `contentType` and `correlationId` of AMQP. What is not of its type or not allowed in MQTT is
 * left out; all of them are when they are more than properties may be.
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
  const bytes = encodeProperties(found)
  return bytes && bytes.length <= maxPropertyBytes ? bytes : undefined
}

/** Text that MQTT can carry; each alone is no longer than all may be. */
function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value.length <= maxPropertyBytes && !value.includes('\0') ? value : undefined
}

/** What AMQP says of the body is meant for whoever subscribes, too; not that it was a batch. */
function foreignType(value: unknown): string | undefined {
  const type = textOf(value)
  return type && !isOurType(type) ? type : undefined
}

function dataOf(value: unknown): Buffer | undefined {
  if (Buffer.isBuffer(value)) return value.length <= maxPropertyBytes ? value : undefined
  const text = typeof value === 'string' && value.length <= maxPropertyBytes ? value : ''
  return text === '' ? undefined : Buffer.from(text)
}

/** Of an array of pairs, or of a table whose values are text or arrays of text. */
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
