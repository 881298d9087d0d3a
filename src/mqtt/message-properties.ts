/**
 * The MQTT 5 properties that go with a message from publisher to subscriber: payload format, content type, response
 * topic, correlation data and user properties (MQTT 5.0 §3.3.2.3). The hub keeps them as they came, encoded as in a
 * PUBLISH (§2.2.2) without the length in front, in the order in which they came. They are decoded only where needed.
 */
export interface MessageProperties {
  /** 1: the publisher has marked the payload as UTF-8. */
  readonly payloadFormat?: 0 | 1
  readonly contentType?: string
  readonly responseTopic?: string
  readonly correlationData?: Uint8Array
  /** The user properties in the order sent; a name may be there more than once. */
  readonly userProperties?: readonly (readonly [name: string, value: string])[]
}

/** Identifiers of properties. [MQTT 5.0 §2.2.2.2] */
export const propertyId = {
  payloadFormat: 0x01,
  messageExpiry: 0x02,
  contentType: 0x03,
  responseTopic: 0x08,
  correlationData: 0x09,
  subscriptionId: 0x0b,
  sessionExpiry: 0x11,
  assignedClientId: 0x12,
  serverKeepAlive: 0x13,
  authenticationMethod: 0x15,
  authenticationData: 0x16,
  requestProblem: 0x17,
  willDelay: 0x18,
  requestResponse: 0x19,
  responseInformation: 0x1a,
  serverReference: 0x1c,
  reason: 0x1f,
  receiveMaximum: 0x21,
  topicAliasMaximum: 0x22,
  topicAlias: 0x23,
  maximumQoS: 0x24,
  retainAvailable: 0x25,
  user: 0x26,
  maximumPacketSize: 0x27,
  wildcardAvailable: 0x28,
  subscriptionIdAvailable: 0x29,
  sharedAvailable: 0x2a,
} as const

/** User property with the ids of the hubs that a message has passed: once for each, in their order. */
export const viaProperty = 'telehub-via'

/** Bytes that the encoded properties of one message may have: with the message's names they must fit AMQP headers. */
export const maxPropertyBytes = 16_384

/**
 * Encodes properties; undefined when there are none. Neither the form of the response topic nor U+0000 in a text is
 * checked.
 * @throws RangeError for a text or data longer than 65,535 bytes
 */
export function encodeProperties(properties: MessageProperties): Buffer | undefined {
  const { payloadFormat, contentType, responseTopic, correlationData, userProperties = [] } = properties
  const parts: Uint8Array[] = []
  const field = (bytes: Uint8Array) => {
    if (bytes.length > 0xffff) throw new RangeError(`a property of ${bytes.length} bytes cannot be sent`)
    parts.push(Uint8Array.of(bytes.length >> 8, bytes.length & 0xff), bytes)
  }
  const one = (id: number, bytes: Uint8Array) => {
    parts.push(Uint8Array.of(id))
    field(bytes)
  }
  if (payloadFormat !== undefined) parts.push(Uint8Array.of(propertyId.payloadFormat, payloadFormat))
  if (contentType !== undefined) one(propertyId.contentType, Buffer.from(contentType))
  if (responseTopic !== undefined) one(propertyId.responseTopic, Buffer.from(responseTopic))
  if (correlationData !== undefined) one(propertyId.correlationData, correlationData)
  for (const [name, value] of userProperties) {
    one(propertyId.user, Buffer.from(name))
    field(Buffer.from(value))
  }
  return parts.length === 0 ? undefined : Buffer.concat(parts)
}

/**
 * The inverse of {@link encodeProperties}. Undefined for anything that MQTT does not allow: another property, one that
 * is there twice, ill-formed UTF-8 or U+0000 in a text. [MQTT-1.5.4-1] [MQTT-1.5.4-2] The data are views.
 */
export function decodeProperties(bytes: Buffer): MessageProperties | undefined {
  const found: { -readonly [Name in keyof MessageProperties]: MessageProperties[Name] } = {}
  const userProperties: [string, string][] = []
  let at = 0
  const field = (): Buffer | undefined => {
    if (at + 2 > bytes.length) return undefined
    const start = at + 2
    at = start + bytes.readUInt16BE(at)
    return at <= bytes.length ? bytes.subarray(start, at) : undefined
  }
  while (at < bytes.length) {
    const id = bytes[at++]
    if (id === propertyId.payloadFormat) {
      const format = bytes[at++]
      if (found.payloadFormat !== undefined || (format !== 0 && format !== 1)) return undefined
      found.payloadFormat = format
      continue
    }
    const data = field()
    if (!data) return undefined
    if (id === propertyId.correlationData) {
      if (found.correlationData) return undefined
      found.correlationData = data
      continue
    }
    const text = textOf(data)
    if (text === undefined) return undefined
    if (id === propertyId.contentType && found.contentType === undefined) found.contentType = text
    else if (id === propertyId.responseTopic && found.responseTopic === undefined) found.responseTopic = text
    else if (id === propertyId.user) {
      const value = textOf(field())
      if (value === undefined) return undefined
      userProperties.push([text, value])
    } else return undefined
  }
  if (userProperties.length > 0) found.userProperties = userProperties
  return found
}

function textOf(bytes: Buffer | undefined): string | undefined {
  const text = bytes?.toString()
  if (!bytes || text === undefined || text.includes('\0')) return undefined
  // Ill-formed bytes are decoded as U+FFFD, which may also have been sent.
  return text.includes('\uFFFD') && !Buffer.from(text).equals(bytes) ? undefined : text
}
