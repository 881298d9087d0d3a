/**
 * The wire format of MQTT 3.1 and 3.1.1 at the hub's edge, as strict as the specification; statements are cited from
 * 3.1.1. Where the text of 3.1 differs, 3.1 is followed, except that will messages need not be ASCII:
 *
 * - SUBSCRIBE, UNSUBSCRIBE and PUBREL are QoS 1 messages: sent again they may have DUP in their header.
 * - A bridge of Mosquitto sets the highest bit of the protocol level, which is part of neither version.
 * - User name and password may be missing though they are flagged: the remaining length takes precedence.
 */

import type { QoS } from '../model.js'
import { tooLong } from '../topics.js'
import type {
  ConnackFields,
  ConnectPacket,
  Disconnect,
  PacketCodec,
  Subscribe,
  SubscribeOption,
  Unsubscribe,
  Will,
} from './codec.js'
import {
  afterField,
  lengthSize,
  MalformedPacket,
  packetType,
  readBytes,
  readFilter,
  readId,
  readText,
  readTopic,
  typeNames,
  u16,
  writeHead,
  wrongFlags,
} from './primitives.js'
import type { EncodedPublish, PublishOptions, PublishReader } from './publish.js'
import { type Fault, reasonCode } from './reason-codes.js'

const { connack: CONNACK, suback: SUBACK, unsuback: UNSUBACK, pingresp: PINGRESP } = packetType

/** The protocol level: 3 is MQTT 3.1, 4 is 3.1.1. */
export type ProtocolName = 3 | 4

/** CONNACK return codes. */
const unacceptableProtocol = 1
const identifierRejected = 2

/**
 * Reads a CONNECT. The result has copies of all bytes. A malformed packet is not answered [MQTT-3.1.4-1]: a well-formed
 * client id, whose refusal is answered, is checked after everything else.
 */
export function readConnect(header: number, buffer: Buffer, start: number, end: number): ConnectPacket {
  if ((header & 0x0f) !== 0) throw wrongFlags(header)
  let at = afterField(buffer, start)
  const name = at < end ? buffer.toString('latin1', start + 2, at) : ''
  if (name !== 'MQTT' && name !== 'MQIsdp')
    throw new MalformedPacket('MQTT-3.1.2-1', 'a CONNECT with the name of another protocol')
  const protocol: ProtocolName = name === 'MQTT' ? 4 : 3
  const level = buffer[at] as number
  if ((level & 0x7f) !== protocol)
    throw new MalformedPacket('MQTT-3.1.2-2', `a CONNECT with ${name} level ${level}`, unacceptableProtocol)
  if (at + 4 > end) throw new MalformedPacket('MQTT-3.1.2', 'a CONNECT that ends in its variable header')
  const flags = buffer[at + 1] as number
  checkConnectFlags(flags)
  const keepAlive = u16(buffer, at + 2)
  at += 4
  const clientId = readText(buffer, at, end, 'client id')
  at = afterField(buffer, at)
  let will: Will | undefined
  if (flags & 0x04) {
    const topic = readTopic(buffer, at, end, 'will topic', 'MQTT-4.7.1-1')
    at = afterField(buffer, at)
    const payload = readBytes(buffer, at, end, 'will message')
    at = afterField(buffer, at)
    const qos = ((flags >> 3) & 3) as QoS
    will = { topic, payload, qos, retain: (flags & 0x20) !== 0, delay: 0, expiry: undefined, properties: undefined }
  }
  let username: string | undefined
  if (flags & 0x80 && !(protocol === 3 && at === end)) {
    username = readText(buffer, at, end, 'user name')
    const long = tooLong('user name', username)
    if (long) throw new MalformedPacket('limit', long)
    at = afterField(buffer, at)
  }
  let password: Buffer | undefined
  if (flags & 0x40 && !(protocol === 3 && at === end)) {
    password = readBytes(buffer, at, end, 'password')
    at = afterField(buffer, at)
  }
  if (at !== end) throw new MalformedPacket('MQTT-3.1.4-1', `a CONNECT with ${end - at} bytes after its last field`)
  const clean = (flags & 0x02) !== 0
  checkClientId(clientId, protocol, clean)
  return {
    protocol,
    bridge: (level & 0x80) !== 0,
    clean,
    sessionExpiry: clean ? 0 : Infinity,
    keepAlive,
    clientId,
    will,
    username,
    password,
    receiveMaximum: 65_535,
    maximumPacketSize: Infinity,
    topicAliasMaximum: 0,
    requestResponse: false,
    requestProblem: false,
    authentication: undefined,
  }
}

function checkConnectFlags(flags: number): void {
  if (flags & 0x01) throw new MalformedPacket('MQTT-3.1.2-3', 'a CONNECT with the reserved flag set')
  if (flags & 0x04) {
    if ((flags & 0x18) === 0x18) throw new MalformedPacket('MQTT-3.1.2-14', 'a will with QoS 3')
  } else {
    if (flags & 0x18) throw new MalformedPacket('MQTT-3.1.2-13', 'a CONNECT with a will QoS and no will')
    if (flags & 0x20) throw new MalformedPacket('MQTT-3.1.2-15', 'a CONNECT with will retain and no will')
  }
  if ((flags & 0xc0) === 0x40) throw new MalformedPacket('MQTT-3.1.2-22', 'a CONNECT with a password and no user name')
}

function checkClientId(clientId: string, protocol: ProtocolName, clean: boolean): void {
  let fault = tooLong('client id', clientId)
  // MQTT 3.1 allows 23 characters, but clients use more, and most servers accept that.
  if (protocol === 3 && clientId.length === 0) fault = 'an empty client id, which MQTT 3.1 does not allow'
  if (fault) throw new MalformedPacket('MQTT-3.1.3-9', fault, identifierRejected)
  if (clientId.length === 0 && !clean)
    throw new MalformedPacket('MQTT-3.1.3-8', 'an empty client id and a session to be kept', identifierRejected)
}

/** Reads PUBACK, PUBREC, PUBREL or PUBCOMP, which are a packet id and nothing else. */
export function readPacketId(
  header: number,
  buffer: Buffer,
  start: number,
  end: number,
  protocol: ProtocolName,
): number {
  const type = header >> 4
  if (type === packetType.pubrel) checkQoS1Header(header, protocol, 'MQTT-3.6.1-1')
  else if ((header & 0x0f) !== 0) throw wrongFlags(header)
  if (end - start !== 2)
    throw new MalformedPacket(`MQTT-3.${type}.1`, `a ${typeNames[type]} of ${end - start} bytes, not 2`)
  return readId(buffer, start, end, typeNames[type] as string, 'MQTT-2.3.1-6')
}

export function readSubscribe(
  header: number,
  buffer: Buffer,
  start: number,
  end: number,
  protocol: ProtocolName,
): Subscribe {
  checkQoS1Header(header, protocol, 'MQTT-3.8.1-1')
  const packetId = readId(buffer, start, end, 'SUBSCRIBE', 'MQTT-2.3.1-1')
  if (start + 2 === end) throw new MalformedPacket('MQTT-3.8.3-3', 'a SUBSCRIBE without a topic filter')
  const subscriptions: SubscribeOption[] = []
  for (let at = start + 2; at < end; at++) {
    const filter = readFilter(buffer, at, end)
    at = afterField(buffer, at)
    if (at >= end) throw new MalformedPacket('MQTT-3.8.3', 'a SUBSCRIBE that ends before a QoS')
    const qos = buffer[at] as number
    if (qos > 2) throw new MalformedPacket('MQTT-3.8.3-4', `a SUBSCRIBE with ${qos} in the byte of its QoS`)
    subscriptions.push({ filter, qos: qos as QoS, noLocal: false, asPublished: false, retainHandling: 0 })
  }
  return { packetId, id: 0, conflate: false, subscriptions }
}

export function readUnsubscribe(
  header: number,
  buffer: Buffer,
  start: number,
  end: number,
  protocol: ProtocolName,
): Unsubscribe {
  checkQoS1Header(header, protocol, 'MQTT-3.10.1-1')
  const packetId = readId(buffer, start, end, 'UNSUBSCRIBE', 'MQTT-2.3.1-1')
  if (start + 2 === end) throw new MalformedPacket('MQTT-3.10.3-2', 'an UNSUBSCRIBE without a topic filter')
  const filters: string[] = []
  for (let at = start + 2; at < end; at = afterField(buffer, at)) filters.push(readFilter(buffer, at, end))
  return { packetId, filters }
}

/** Checks PINGREQ or DISCONNECT, which have no body. */
export function checkEmpty(header: number, start: number, end: number): void {
  const type = header >> 4
  if ((header & 0x0f) !== 0) throw wrongFlags(header, type === packetType.disconnect ? 'MQTT-3.14.1-1' : undefined)
  if (start !== end)
    throw new MalformedPacket(`MQTT-3.${type}.1`, `a ${typeNames[type]} of ${end - start} bytes, not empty`)
}

function checkQoS1Header(header: number, protocol: ProtocolName, clause: string): void {
  if ((header & (protocol === 3 ? 0x07 : 0x0f)) !== 0x02) throw wrongFlags(header, clause)
}

/** Returns a CONNACK; one that refuses has no session present. [MQTT-3.2.2-4] MQTT 3.1 knows no `sessionPresent`. */
export function connack(returnCode: number, sessionPresent: boolean): Buffer {
  return Buffer.from([CONNACK << 4, 2, sessionPresent && returnCode === 0 ? 1 : 0, returnCode])
}

export function suback(packetId: number, codes: readonly number[]): Buffer {
  const length = 2 + codes.length
  const packet = Buffer.allocUnsafe(1 + lengthSize(length) + length)
  const at = writeHead(packet, SUBACK << 4, length)
  packet.writeUInt16BE(packetId, at)
  for (let i = 0; i < codes.length; i++) packet[at + 2 + i] = codes[i] as number
  return packet
}

export function unsuback(packetId: number): Buffer {
  return Buffer.from([UNSUBACK << 4, 2, packetId >> 8, packetId & 0xff])
}

/** The whole PINGRESP, shared: must not be written to. */
export const pingresp = Buffer.from([PINGRESP << 4, 0])

/** Writes PUBACK, PUBREC, PUBREL or PUBCOMP: four bytes at `at`. */
export function writeAck(target: Buffer, at: number, type: number, packetId: number): void {
  target[at] = (type << 4) | (type === packetType.pubrel ? 2 : 0)
  target[at + 1] = 2
  target.writeUInt16BE(packetId, at + 2)
}

/** The codec of MQTT 3.1 or 3.1.1, without state. */
export class Mqtt3 implements PacketCodec {
  readonly version: ProtocolName
  readonly ackCode = 0

  constructor(version: ProtocolName) {
    this.version = version
  }

  readPublish(reader: PublishReader, header: number, buffer: Buffer, start: number, end: number): void {
    reader.read(header, buffer, start, end)
  }

  readAck(header: number, buffer: Buffer, start: number, end: number): number {
    return readPacketId(header, buffer, start, end, this.version)
  }

  readSubscribe(header: number, buffer: Buffer, start: number, end: number): Subscribe {
    return readSubscribe(header, buffer, start, end, this.version)
  }

  readUnsubscribe(header: number, buffer: Buffer, start: number, end: number): Unsubscribe {
    return readUnsubscribe(header, buffer, start, end, this.version)
  }

  readDisconnect(header: number, _buffer: Buffer, start: number, end: number): Disconnect {
    checkEmpty(header, start, end)
    return { code: reasonCode.success, sessionExpiry: undefined }
  }

  readAuth(header: number): never {
    throw new MalformedPacket('MQTT-2.2.1', `a packet of type ${header >> 4}`)
  }

  accepted({ sessionPresent }: ConnackFields): Buffer {
    // MQTT 3.1 has a reserved byte in place of `sessionPresent`.
    return connack(0, sessionPresent && this.version === 4)
  }

  refused({ code }: Fault): Buffer {
    return connack(returnCodes[code] ?? unavailable, false)
  }

  ack(): undefined {}

  suback(packetId: number, answers: readonly (QoS | Fault)[]): Buffer {
    return suback(
      packetId,
      answers.map(answer => (typeof answer === 'number' ? answer : refusedCode)),
    )
  }

  unsuback(packetId: number): Buffer {
    return unsuback(packetId)
  }

  disconnect(): undefined {}

  auth(): undefined {}

  publish(message: EncodedPublish, { qos, packetId, retain }: PublishOptions, dup: boolean): readonly Buffer[] {
    return qos === 0 ? message.qos0(retain) : message.qos12(qos, packetId, retain, dup)
  }
}

/** The code of SUBACK for a refused filter. [MQTT-3.9.3-2] */
const refusedCode = 0x80

const unavailable = 3

/** Return codes of 3.1.1 by reason code of MQTT 5. [MQTT-3.2.2.3] */
const returnCodes: Readonly<Record<number, number>> = {
  [reasonCode.clientIdNotValid]: identifierRejected,
  [reasonCode.badCredentials]: 4,
  [reasonCode.notAuthorized]: 5,
}
