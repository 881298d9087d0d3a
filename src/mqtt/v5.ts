/**
 * The wire format of MQTT 5.0 at the hub's edge, as strict as the specification, whose statements are cited. CONNECT is
 * in connect5.ts. Additions to 3.1.1 (v3.ts):
 *
 * - Properties, in nearly every packet (properties5.ts). Those of a message stay with the message, unchanged.
 * - Reason codes, both ways: an acknowledgement may refuse, a server may send DISCONNECT with the reason.
 * - Topic aliases, both ways: a number in place of a topic (topic-aliases.ts).
 * - Limits that each side announces: publishes at a time, bytes of a packet.
 * - Options and an identifier for subscriptions; the time that a message, a session and a will have.
 * - AUTH: authentication in several steps.
 */

import type { QoS } from '../model.js'
import { isTopicFilter, sharedFilter } from '../topics.js'
import type {
  Authentication,
  ConnackFields,
  ConnectPacket,
  Disconnect,
  PacketCodec,
  Subscribe,
  SubscribeOption,
  Unsubscribe,
} from './codec.js'
import { isMqtt5, readConnect5 } from './connect5.js'
import { propertyId } from './message-properties.js'
import {
  afterField,
  lengthSize,
  MalformedPacket,
  packetType,
  protocolError,
  readId,
  readText,
  statements5,
  typeNames,
  writeHead,
  writeLength,
  wrongFlags,
} from './primitives.js'
import {
  authenticationOf,
  fieldProperty,
  forEver,
  MessageReader,
  numberProperty,
  PropertyReader,
  type Scope,
  scopes,
  tooManyProperties,
} from './properties5.js'
import type { EncodedPublish, PublishOptions, PublishReader } from './publish.js'
import { type Fault, reasonCode } from './reason-codes.js'
import { TopicAliases } from './topic-aliases.js'
import { connack, readConnect as readConnect3 } from './v3.js'

const { puback: PUBACK, pubrec: PUBREC, pubrel: PUBREL, pubcomp: PUBCOMP } = packetType

/** The limits that the hub announces in CONNACK. */
export interface Limits5 {
  /** QoS 1 and 2 publishes that may be unacknowledged at a time, 1 to 65,535. */
  readonly receiveMaximum: number
  /** Bytes of the largest packet. */
  readonly maximumPacketSize: number
  /** Topic aliases, both ways. */
  readonly topicAliasMaximum: number
}

/** Reads a CONNECT of any version. An error thrown has the CONNACK to send before the connection is closed, if any. */
export function readConnect(header: number, buffer: Buffer, start: number, end: number): ConnectPacket {
  const is5 = isMqtt5(buffer, start, end)
  try {
    return is5 ? readConnect5(header, buffer, start, end) : readConnect3(header, buffer, start, end)
  } catch (error) {
    if (error instanceof MalformedPacket) {
      const { returnCode, reasonCode: code, message: reason } = error
      if (is5) error.connack = refusal({ code, reason }, Infinity)
      else if (returnCode !== undefined) error.connack = connack(returnCode, false)
    }
    throw error
  }
}

const properties = new PropertyReader()
const message = new MessageReader()

const ackScopes: Readonly<Record<number, Scope>> = {
  [PUBACK]: scopes.puback,
  [PUBREC]: scopes.pubrec,
  [PUBREL]: scopes.pubrel,
  [PUBCOMP]: scopes.pubcomp,
}
const ackCodes = new Set([0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])
const releaseCodes = new Set([0x00, 0x92])
const disconnectCodes = new Set([0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99])
/** Reason codes of a CONNACK that refuses. (§3.2.2.2) */
const connackCodes = new Set([
  0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c,
  0x9d, 0x9f,
])
const authCodes = new Set<number>([reasonCode.continueAuthentication, reasonCode.reauthenticate])

/** The MQTT 5 codec of one connection, with the agreements of CONNECT and CONNACK, and topic aliases. */
export class Mqtt5 implements PacketCodec {
  readonly version = 5
  ackCode = 0
  readonly #limits: Limits5
  /** The client's limit. */
  readonly #maximumPacketSize: number
  readonly #requestProblem: boolean
  readonly #sessionExpiry: number
  readonly #method: string | undefined
  /** Topics of the client, by alias. */
  #topics: (string | undefined)[] | undefined
  readonly #aliases: TopicAliases | undefined

  constructor(connect: ConnectPacket, limits: Limits5) {
    this.#limits = limits
    this.#maximumPacketSize = connect.maximumPacketSize
    this.#requestProblem = connect.requestProblem
    this.#sessionExpiry = connect.sessionExpiry
    this.#method = connect.authentication?.method
    const aliases = Math.min(connect.topicAliasMaximum, limits.topicAliasMaximum)
    this.#aliases = aliases > 0 ? new TopicAliases(aliases) : undefined
  }

  // — packets from the client —

  readPublish(reader: PublishReader, header: number, buffer: Buffer, start: number, end: number): void {
    reader.read(header, buffer, start, end, statements5)
    const at = reader.payloadStart
    const hasTopic = reader.topic.length > 0
    if (at < end && buffer[at] === 0) {
      reader.payloadStart = at + 1
      if (!hasTopic) throw noTopic()
      return
    }
    reader.payloadStart = message.read(buffer, at, end, scopes.publish)
    reader.properties = message.properties
    reader.expiry = message.expiry
    message.properties = undefined
    const { alias } = message
    if (alias >= 0) this.#resolve(reader, alias)
    else if (!hasTopic) throw noTopic()
    if (!message.isTooLarge) return
    reader.fault = tooManyProperties
    // A refused PUBLISH defines no alias. From now on the client no longer means the topic that the alias had before.
    if (alias >= 0 && hasTopic && this.#topics) this.#topics[alias] = undefined
  }

  #resolve(reader: PublishReader, alias: number): void {
    const invalid = reasonCode.topicAliasInvalid
    if (alias === 0) throw protocolError('MQTT-3.3.2-8', 'a PUBLISH with topic alias 0', invalid)
    const { topicAliasMaximum } = this.#limits
    if (alias > topicAliasMaximum)
      throw protocolError('MQTT-3.3.2-9', `a PUBLISH with topic alias ${alias} of ${topicAliasMaximum}`, invalid)
    this.#topics ??= []
    if (reader.topic.length > 0) {
      this.#topics[alias] = reader.topic
      return
    }
    const topic = this.#topics[alias]
    if (topic === undefined) throw protocolError('MQTT-3.3.2.3.4', `a PUBLISH with topic alias ${alias} for no topic`)
    reader.topic = topic
  }

  readAck(header: number, buffer: Buffer, start: number, end: number): number {
    const type = header >> 4
    if ((header & 0x0f) !== (type === PUBREL ? 2 : 0))
      throw wrongFlags(header, type === PUBREL ? 'MQTT-3.6.1-1' : 'MQTT-2.1.3-1')
    const packetId = readId(buffer, start, end, typeNames[type] as string, 'MQTT-2.2.1-5')
    this.ackCode = 0
    if (end - start === 2) return packetId
    const allowed = type === PUBACK || type === PUBREC ? ackCodes : releaseCodes
    this.ackCode = readCode(buffer, start + 2, ackScopes[type] as Scope, allowed)
    skipProperties(buffer, start + 3, end, ackScopes[type] as Scope)
    return packetId
  }

  readSubscribe(header: number, buffer: Buffer, start: number, end: number): Subscribe {
    if ((header & 0x0f) !== 2) throw wrongFlags(header, 'MQTT-3.8.1-1')
    const packetId = readId(buffer, start, end, 'SUBSCRIBE', 'MQTT-2.2.1-3')
    let id = 0
    let conflate = false
    let at = properties.begin(buffer, start + 2, end, scopes.subscribe)
    while (properties.next()) {
      if (properties.id === propertyId.subscriptionId) id = properties.value
      else if (properties.isPair('conflate', 'true')) conflate = true
    }
    if (at === end) throw protocolError('MQTT-3.8.3-2', 'a SUBSCRIBE without a topic filter')
    const subscriptions: SubscribeOption[] = []
    for (; at < end; at++) {
      const filter = readFilter(buffer, at, end, 'SUBSCRIBE')
      at = afterField(buffer, at)
      if (at >= end) throw new MalformedPacket('MQTT-3.8.3', 'a SUBSCRIBE that ends before its options')
      subscriptions.push(readOptions(filter, buffer[at] as number))
    }
    return { packetId, id, conflate, subscriptions }
  }

  readUnsubscribe(header: number, buffer: Buffer, start: number, end: number): Unsubscribe {
    if ((header & 0x0f) !== 2) throw wrongFlags(header, 'MQTT-3.10.1-1')
    const packetId = readId(buffer, start, end, 'UNSUBSCRIBE', 'MQTT-2.2.1-3')
    let at = properties.begin(buffer, start + 2, end, scopes.unsubscribe)
    while (properties.next());
    if (at === end) throw protocolError('MQTT-3.10.3-2', 'an UNSUBSCRIBE without a topic filter')
    const filters: string[] = []
    for (; at < end; at = afterField(buffer, at)) filters.push(readFilter(buffer, at, end, 'UNSUBSCRIBE'))
    return { packetId, filters }
  }

  readDisconnect(header: number, buffer: Buffer, start: number, end: number): Disconnect {
    if ((header & 0x0f) !== 0) throw wrongFlags(header, 'MQTT-3.14.1-1')
    if (start === end) return { code: 0, sessionExpiry: undefined }
    const code = readCode(buffer, start, scopes.disconnect, disconnectCodes)
    let sessionExpiry: number | undefined
    skipProperties(buffer, start + 1, end, scopes.disconnect, (id, value) => {
      if (id === propertyId.sessionExpiry) sessionExpiry = forEver(value)
    })
    if (sessionExpiry && this.#sessionExpiry === 0)
      throw protocolError('MQTT-3.14.2.2.2', 'a DISCONNECT that would keep a session which CONNECT did not')
    return { code, sessionExpiry }
  }

  readAuth(header: number, buffer: Buffer, start: number, end: number): Authentication & { readonly code: number } {
    if ((header & 0x0f) !== 0) throw wrongFlags(header, 'MQTT-3.15.1-1')
    if (this.#method === undefined)
      throw protocolError('MQTT-4.12.0-7', 'an AUTH of a client that has not said how it authenticates')
    // An AUTH without bytes means success, which only a server sends. (§3.15.2.1)
    const code = start === end ? 0 : (buffer[start] as number)
    if (!authCodes.has(code)) throw protocolError('MQTT-3.15.2-1', `an AUTH with reason code ${code}`)
    let method: string | undefined
    let data: Buffer | undefined
    skipProperties(buffer, start + 1, end, scopes.auth, id => {
      if (id === propertyId.authenticationMethod) method = properties.text()
      else if (id === propertyId.authenticationData) data = properties.data()
    })
    const authentication = authenticationOf(method, data, scopes.auth)
    if (!authentication) throw protocolError('MQTT-3.15.2.2.2', 'an AUTH without a method')
    if (authentication.method !== this.#method)
      throw protocolError('MQTT-4.12.0-5', 'an AUTH with another method than CONNECT')
    return { code, ...authentication }
  }

  // — packets to the client —

  accepted(answer: ConnackFields): Buffer | undefined {
    const { sessionExpiry, assignedClientId, keepAlive, responseInformation, authentication } = answer
    const said: Buffer[] = []
    if (sessionExpiry !== undefined) said.push(numberProperty(propertyId.sessionExpiry, sessionExpiry))
    said.push(
      numberProperty(propertyId.receiveMaximum, this.#limits.receiveMaximum),
      numberProperty(propertyId.maximumPacketSize, this.#limits.maximumPacketSize),
      numberProperty(propertyId.topicAliasMaximum, this.#limits.topicAliasMaximum),
    )
    if (assignedClientId !== undefined) said.push(fieldProperty(propertyId.assignedClientId, assignedClientId))
    if (keepAlive !== undefined) said.push(numberProperty(propertyId.serverKeepAlive, keepAlive))
    if (authentication) said.push(...authenticationProperties(authentication))
    const start = [answer.sessionPresent ? 1 : 0, reasonCode.success]
    const extras = [
      numberProperty(propertyId.retainAvailable, 1),
      numberProperty(propertyId.wildcardAvailable, 1),
      numberProperty(propertyId.subscriptionIdAvailable, 1),
      numberProperty(propertyId.sharedAvailable, 1),
    ]
    if (responseInformation !== undefined)
      extras.push(fieldProperty(propertyId.responseInformation, responseInformation))
    const whole = control(packetType.connack << 4, start, [...said, ...extras])
    // Fields that a client may take for granted, or do without, are left out for one that takes only small packets.
    return this.#fitting(whole) ?? this.#fitting(control(packetType.connack << 4, start, said))
  }

  refused(fault: Fault): Buffer | undefined {
    return this.#fitting(refusal(fault, this.#maximumPacketSize))
  }

  ack(type: number, packetId: number, { code, reason }: Fault): Buffer {
    const header = (type << 4) | (type === PUBREL ? 2 : 0)
    return explained(
      header,
      [packetId >> 8, packetId & 0xff, code],
      undefined,
      this.#saying(reason),
      this.#maximumPacketSize,
    )
  }

  suback(packetId: number, answers: readonly (QoS | Fault)[]): Buffer | undefined {
    return this.#answers(packetType.suback, packetId, answers)
  }

  unsuback(packetId: number, answers: readonly boolean[]): Buffer | undefined {
    const { success, noSubscriptionExisted } = reasonCode
    const codes = answers.map(existed => (existed ? success : noSubscriptionExisted))
    return this.#answers(packetType.unsuback, packetId, codes)
  }

  /** Writes SUBACK or UNSUBACK, which have one reason string for all filters: that of the first fault. */
  #answers(type: number, packetId: number, answers: readonly (number | Fault)[]): Buffer | undefined {
    const reason = answers.find(answer => typeof answer !== 'number')?.reason ?? ''
    const codes = Buffer.from(answers.map(answer => (typeof answer === 'number' ? answer : answer.code)))
    const start = [packetId >> 8, packetId & 0xff]
    return this.#fitting(explained(type << 4, start, [], this.#saying(reason), this.#maximumPacketSize, codes))
  }

  disconnect({ code, reason }: Fault): Buffer {
    return explained(packetType.disconnect << 4, [code], undefined, reason, this.#maximumPacketSize)
  }

  auth(code: number, authentication: Authentication): Buffer | undefined {
    return this.#fitting(control(packetType.auth << 4, [code], authenticationProperties(authentication)))
  }

  publish(publish: EncodedPublish, sending: PublishOptions, dup: boolean, now: number): readonly Buffer[] | undefined {
    const aliases = this.#aliases
    if (aliases) {
      const known = aliases.of(publish.topic)
      if (known > 0) {
        if (!this.#takes(publish, sending, known, false)) return undefined
        aliases.use(known)
        return publish.mqtt5(sending, dup, known, false, now)
      }
      // The packet would have to fit with both topic and alias.
      if (this.#takes(publish, sending, 1, true)) {
        return publish.mqtt5(sending, dup, aliases.give(publish.topic), true, now)
      }
    }
    return this.#takes(publish, sending, 0, true) ? publish.mqtt5(sending, dup, 0, true, now) : undefined
  }

  /** [MQTT-3.1.2-24] */
  #takes(publish: EncodedPublish, sending: PublishOptions, alias: number, named: boolean): boolean {
    return this.#maximumPacketSize === Infinity || publish.size(sending, alias, named) <= this.#maximumPacketSize
  }

  /** [MQTT-3.1.2-24] */
  #fitting(packet: Buffer): Buffer | undefined {
    return packet.length <= this.#maximumPacketSize ? packet : undefined
  }

  /** Returns the reason string of an acknowledgement: empty unless the client wants reason strings. [MQTT-3.1.2-29] */
  #saying(reason: string): string {
    return this.#requestProblem ? reason : ''
  }
}

function refusal({ code, reason }: Fault, maximum: number): Buffer {
  const { shuttingDown, serverUnavailable, unspecified } = reasonCode
  const said = connackCodes.has(code) ? code : code === shuttingDown ? serverUnavailable : unspecified
  return explained(packetType.connack << 4, [0, said], [], reason, maximum)
}

function noTopic(): MalformedPacket {
  return protocolError('MQTT-3.3.2.1', 'a PUBLISH with neither a topic nor an alias')
}

function readCode(buffer: Buffer, at: number, { packet, section }: Scope, allowed: ReadonlySet<number>): number {
  const code = buffer[at] as number
  // `MQTT-3.4.2.2` is the section of the properties, `MQTT-3.4.2-1` the statement on the code.
  if (!allowed.has(code)) throw protocolError(section.replace(/\.2$/, '-1'), `a ${packet} with reason code ${code}`)
  return code
}

/** Reads over the properties at the end of a packet, if there are any. */
function skipProperties(
  buffer: Buffer,
  at: number,
  end: number,
  scope: Scope,
  found?: (id: number, value: number) => void,
): void {
  if (at === end) return
  const after = properties.begin(buffer, at, end, scope)
  while (properties.next()) found?.(properties.id, properties.value)
  if (after < end)
    throw new MalformedPacket(scope.section, `a ${scope.packet} with ${end - after} bytes after its properties`)
}

function readOptions(filter: string, options: number): SubscribeOption {
  if (options & 0xc0)
    throw new MalformedPacket('MQTT-3.8.3-5', `a SUBSCRIBE with ${options} as options, which has reserved bits`)
  const qos = options & 3
  const retainHandling = (options >> 4) & 3
  if (qos === 3) throw protocolError('MQTT-3.8.3.1', 'a SUBSCRIBE with QoS 3')
  if (retainHandling === 3) throw protocolError('MQTT-3.8.3.1', 'a SUBSCRIBE with 3 as retain handling')
  const noLocal = (options & 4) !== 0
  if (noLocal && sharedFilter(filter))
    throw protocolError('MQTT-3.8.3-4', 'a SUBSCRIBE with No Local for a shared subscription')
  return {
    filter,
    qos: qos as QoS,
    noLocal,
    asPublished: (options & 8) !== 0,
    retainHandling: retainHandling as 0 | 1 | 2,
  }
}

/** Reads a filter of SUBSCRIBE or UNSUBSCRIBE. A text that is no topic filter is a protocol error, as in 3.1.1. */
function readFilter(buffer: Buffer, at: number, end: number, packet: string): string {
  const filter = readText(buffer, at, end, 'topic filter', statements5)
  const shared = sharedFilter(filter)
  // [MQTT-4.8.2-1] [MQTT-4.8.2-2]
  if (shared && 'fault' in shared)
    throw protocolError('MQTT-4.8.2-1', `${packet} with a faulty filter: ${shared.fault}`)
  if (isTopicFilter(filter)) return filter
  if (filter.length === 0) throw protocolError('MQTT-4.7.3-1', `${packet} with an empty topic filter`)
  const clause = /[^/]#|#./.test(filter) ? 'MQTT-4.7.1-1' : 'MQTT-4.7.1-2'
  const rule = '+ and # stand alone in a level, and # is the last one'
  throw protocolError(clause, `${packet} with a text that is no topic filter: ${rule}`)
}

function authenticationProperties({ method, data }: Authentication): Buffer[] {
  const said = [fieldProperty(propertyId.authenticationMethod, method)]
  if (data) said.push(fieldProperty(propertyId.authenticationData, data))
  return said
}

const maxReasonBytes = 1_000

/** Returns a packet with the reason in words, or without if the packet would be larger than `maximum`. */
function explained(
  header: number,
  start: readonly number[],
  properties: readonly Buffer[] | undefined,
  reason: string,
  maximum: number,
  rest?: Buffer,
): Buffer {
  const plain = () => control(header, start, properties, rest)
  if (reason.length === 0) return plain()
  const bytes = Buffer.from(reason.replaceAll('\0', ''))
  let length = bytes.length
  if (length > maxReasonBytes) {
    length = maxReasonBytes
    // The cut must not be within a character.
    while (((bytes[length] as number) & 0xc0) === 0x80) length--
  }
  const words = fieldProperty(propertyId.reason, bytes.subarray(0, length))
  const packet = control(header, start, [...(properties ?? []), words], rest)
  return packet.length <= maximum ? packet : plain()
}

/** Returns a packet. Undefined properties leave out the length too, for packets that may end before the length. */
function control(
  header: number,
  start: readonly number[],
  properties: readonly Buffer[] | undefined,
  rest: Buffer = nothing,
): Buffer {
  let size = 0
  for (const one of properties ?? []) size += one.length
  const length = start.length + (properties ? lengthSize(size) + size : 0) + rest.length
  const packet = Buffer.allocUnsafe(1 + lengthSize(length) + length)
  let at = writeHead(packet, header, length)
  for (const byte of start) packet[at++] = byte
  if (properties) {
    at = writeLength(packet, at, size)
    for (const one of properties) at += one.copy(packet, at)
  }
  rest.copy(packet, at)
  return packet
}

const nothing = Buffer.alloc(0)
