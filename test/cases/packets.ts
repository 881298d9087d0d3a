/**
 * Bytes that are not MQTT 3.1 or 3.1.1, each with the statement it breaks, and what builds and reads streams of packets
 * in the tests of our wire format: a table for readers, unit tests, fuzz tests and the live hub.
 */

import mqttPacket, { type Packet, type QoS } from 'mqtt-packet'
import { isServerPacket, MalformedPacket, packetType } from '../../src/broker/fields.js'
import type { Framer } from '../../src/broker/framer.js'
import {
  checkEmpty,
  type Protocol,
  readConnect,
  readPacketId,
  readSubscribe,
  readUnsubscribe,
} from '../../src/broker/packets.js'
import { PublishReader } from '../../src/broker/publish.js'

export interface MalformedCase {
  readonly name: string
  readonly bytes: Buffer
  /** Is it the first thing sent, or sent after a CONNECT that was accepted? */
  readonly before: 'connect' | 'connected'
  /** The protocol level of that CONNECT. */
  readonly protocol: Protocol
  readonly clause: string
  /** The CONNACK that is to come before the end, as hex. */
  readonly answer: string
}

/** Hex, with spaces as it pleases. */
const hex = (digits: string) => Buffer.from(digits.replaceAll(' ', ''), 'hex')

/** A string or bytes with two bytes of length. */
const field = (value: string | Buffer) => {
  const bytes = Buffer.from(value)
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes])
}

/** First byte and parts (hex or bytes), the remaining length between them. */
export function packet(first: number, ...parts: readonly (string | Buffer)[]): Buffer {
  const body = Buffer.concat(parts.map(part => (typeof part === 'string' ? hex(part) : part)))
  const length: number[] = []
  for (let rest = body.length; ; rest >>= 7) {
    length.push(rest > 0x7f ? (rest & 0x7f) | 0x80 : rest)
    if (rest <= 0x7f) break
  }
  return Buffer.concat([Buffer.from([first, ...length]), body])
}

const mqtt4 = Buffer.concat([field('MQTT'), hex('04')])
const mqtt3 = Buffer.concat([field('MQIsdp'), hex('03')])
/** After the protocol level: flags and keep-alive as hex, then the fields. */
const connect4 = (flags: string, ...fields: Buffer[]) => packet(0x10, mqtt4, flags, '003c', ...fields)
const connect3 = (flags: string, ...fields: Buffer[]) => packet(0x10, mqtt3, flags, '003c', ...fields)

/** A CONNECT with a clean session that every server accepts. */
export const connectPacket = (protocol: Protocol, clientId: string) =>
  protocol === 4 ? connect4('02', field(clientId)) : connect3('02', field(clientId))

const id = field('id')
const will = field('w')
const long = Buffer.alloc(4_097, 'x')
const deep = Buffer.alloc(65, 'x/')
const publish = (...parts: (string | Buffer)[]) => packet(0x32, ...parts)
const subscribe = (...parts: (string | Buffer)[]) => packet(0x82, ...parts)
const unsubscribe = (...parts: (string | Buffer)[]) => packet(0xa2, ...parts)

type Row = readonly [name: string, bytes: Buffer, clause: string, answer?: string]

const first: readonly Row[] = [
  // What is no CONNECT.
  ['PUBLISH first', packet(0x30, field('a'), '61'), '3.1.0-1'],
  ['PUBACK first', hex('40 02 0001'), '3.1.0-1'],
  ['PUBREL first', hex('62 02 0001'), '3.1.0-1'],
  ['SUBSCRIBE first', subscribe('0001', field('a'), '00'), '3.1.0-1'],
  ['UNSUBSCRIBE first', unsubscribe('0001', field('a')), '3.1.0-1'],
  ['PINGREQ first', hex('c0 00'), '3.1.0-1'],
  ['DISCONNECT first', hex('e0 00'), '3.1.0-1'],
  ['CONNACK first', hex('20 02 0000'), '3.1.0-1'],
  ['type 0 first', hex('00 00'), '3.1.0-1'],
  ['type 15 first', hex('f0 00'), '3.1.0-1'],
  ['HTTP', Buffer.from(`GET / HTTP/1.1\r\nHost: hub.example.org\r\nUser-Agent: ${'x'.repeat(60)}\r\n\r\n`), '3.1.0-1'],
  ['AMQP', Buffer.concat([Buffer.from('AMQP\0\0\x09\x01'), Buffer.alloc(80)]), '3.1.0-1'],
  ['the ClientHello of TLS', hex('16 03 01 02 00 01 00 01 fc 03 03'), '2.2.2-2'],
  ['zeros', Buffer.alloc(64), '3.1.0-1'],
  // The fixed header.
  ['CONNECT with RETAIN', packet(0x11, mqtt4, '02 003c', id), '2.2.2-2'],
  ['CONNECT with QoS 1', packet(0x12, mqtt4, '02 003c', id), '2.2.2-2'],
  ['CONNECT with QoS 2', packet(0x14, mqtt4, '02 003c', id), '2.2.2-2'],
  ['CONNECT with DUP', packet(0x18, mqtt4, '02 003c', id), '2.2.2-2'],
  ['CONNECT of MQTT 3.1 with DUP', packet(0x18, mqtt3, '02 003c', id), '2.2.2-2'],
  ['CONNECT with a remaining length of 5 bytes', hex('10 80808080 01'), '2.2.3'],
  ['CONNECT with a remaining length of 5 bytes ff', hex('10 ffffffff 7f'), '2.2.3'],
  ['CONNECT with 268,435,455 bytes announced', hex('10 ffffff7f'), 'limit'],
  ['PUBLISH first with 268,435,455 bytes announced', hex('30 ffffff7f'), 'limit'],
  // Name and level.
  ['CONNECT without a body', hex('10 00'), '3.1.2-1'],
  ['CONNECT with half a length of the name', hex('10 01 00'), '3.1.2-1'],
  ['CONNECT cut in the name', hex('10 04 0004 4d51'), '3.1.2-1'],
  ['CONNECT cut after the name', packet(0x10, field('MQTT')), '3.1.2-1'],
  ['protocol name mqtt', packet(0x10, field('mqtt'), '04 02 003c', id), '3.1.2-1'],
  ['protocol name MQTTX', packet(0x10, field('MQTTX'), '04 02 003c', id), '3.1.2-1'],
  ['protocol name MQT', packet(0x10, field('MQT'), '04 02 003c', id), '3.1.2-1'],
  ['protocol name MQIsdq', packet(0x10, field('MQIsdq'), '03 02 003c', id), '3.1.2-1'],
  ['protocol name empty', packet(0x10, field(''), '04 02 003c', id), '3.1.2-1'],
  ['protocol name MQTT with U+0000', packet(0x10, field('MQTT\0'), '04 02 003c', id), '3.1.2-1'],
  ['MQTT level 0', packet(0x10, field('MQTT'), '00 02 003c', id), '3.1.2-2', '20020001'],
  ['MQTT level 3', packet(0x10, field('MQTT'), '03 02 003c', id), '3.1.2-2', '20020001'],
  ['MQTT level 6', packet(0x10, field('MQTT'), '06 02 003c 05 11 00000e10', id), '3.1.2-2', '20020001'],
  [
    'MQTT level 6, flags that 3.1.1 may not have',
    packet(0x10, field('MQTT'), '06 42 003c 00', id, id),
    '3.1.2-2',
    '20020001',
  ],
  ['MQTT level 6 and nothing after', packet(0x10, field('MQTT'), '06'), '3.1.2-2', '20020001'],
  ['MQTT level 83, a bridge', packet(0x10, field('MQTT'), '83 02 003c', id), '3.1.2-2', '20020001'],
  ['MQIsdp level 2', packet(0x10, field('MQIsdp'), '02 02 003c', id), '3.1.2-2', '20020001'],
  ['MQIsdp level 4', packet(0x10, field('MQIsdp'), '04 02 003c', id), '3.1.2-2', '20020001'],
  ['MQIsdp level 84, a bridge', packet(0x10, field('MQIsdp'), '84 02 003c', id), '3.1.2-2', '20020001'],
  ['CONNECT cut after the level', packet(0x10, mqtt4), '3.1.2'],
  ['CONNECT cut after the flags', packet(0x10, mqtt4, '02'), '3.1.2'],
  ['CONNECT cut in the keep-alive', packet(0x10, mqtt4, '02 00'), '3.1.2'],
  // Flags.
  ['the reserved flag', connect4('03', id), '3.1.2-3'],
  ['the reserved flag in MQTT 3.1', connect3('03', id), '3.1.2-3'],
  ['will QoS 3', connect4('1e', id, will, field('bye')), '3.1.2-14'],
  ['will QoS 3 in MQTT 3.1', connect3('1e', id, will, field('bye')), '3.1.2-14'],
  ['will QoS 1 and no will', connect4('0a', id), '3.1.2-13'],
  ['will QoS 2 and no will', connect4('12', id), '3.1.2-13'],
  ['will QoS 3 and no will', connect4('1a', id), '3.1.2-13'],
  ['will retain and no will', connect4('22', id), '3.1.2-15'],
  ['will QoS 1 and no will in MQTT 3.1', connect3('0a', id), '3.1.2-13'],
  ['will QoS 3 and no will in MQTT 3.1', connect3('1a', id), '3.1.2-13'],
  ['will retain and no will in MQTT 3.1', connect3('22', id), '3.1.2-15'],
  ['a password and no user name', connect4('42', id, field('secret')), '3.1.2-22'],
  ['a password and no user name in MQTT 3.1', connect3('42', id, field('secret')), '3.1.2-22'],
  // Client id.
  ['no client id', connect4('02'), '1.5.3'],
  ['half a length of the client id', connect4('02', hex('00')), '1.5.3'],
  ['a client id cut', connect4('02', hex('0003 6162')), '1.5.3'],
  ['a client id cut, nothing kept', connect4('00', hex('0003 6162')), '1.5.3'],
  ['an empty client id and a session to keep', connect4('00', field('')), '3.1.3-8', '20020002'],
  ['an empty client id in MQTT 3.1', connect3('02', field('')), '3.1.3-9', '20020002'],
  ['24 characters of client id in MQTT 3.1', connect3('02', field('x'.repeat(24))), '3.1.3-9', '20020002'],
  ['24 times ü as client id in MQTT 3.1', connect3('02', field('ü'.repeat(24))), '3.1.3-9', '20020002'],
  ['4,097 bytes of client id', connect4('02', field(long)), '3.1.3-9', '20020002'],
  ['an empty client id to keep, and ill-formed after it', connect4('80', field(''), field(hex('ff'))), '1.5.3-1'],
  // Will, user name, password.
  ['a will flag and no will', connect4('06', id), '1.5.3'],
  ['a will topic and no will message', connect4('06', id, will), '1.5.3'],
  ['half a length of the will message', connect4('06', id, will, hex('00')), '1.5.3'],
  ['a will message cut', connect4('06', id, will, hex('0005 6279')), '1.5.3'],
  ['an empty will topic', connect4('06', id, field(''), field('bye')), '4.7.3-1'],
  ['an empty will topic in MQTT 3.1', connect3('06', id, field(''), field('bye')), '4.7.3-1'],
  ['+ in the will topic', connect4('06', id, field('a/+'), field('bye')), '4.7.1-1'],
  ['# in the will topic', connect4('06', id, field('#'), field('bye')), '4.7.1-1'],
  ['4,097 bytes of will topic', connect4('06', id, field(long), field('bye')), 'limit'],
  ['a user name flag and no user name', connect4('82', id), '1.5.3'],
  ['half a length of the user name', connect4('82', id, hex('00')), '1.5.3'],
  ['half a length of the user name in MQTT 3.1', connect3('82', id, hex('00')), '1.5.3'],
  ['33 levels of will topic', connect4('06', id, field(deep), field('bye')), 'limit'],
  ['4,097 bytes of user name', connect4('82', id, field(long)), 'limit'],
  ['a password flag and no password', connect4('c2', id, field('user')), '1.5.3'],
  ['a password cut', connect4('c2', id, field('user'), hex('0009 61')), '1.5.3'],
  ['a password cut in MQTT 3.1', connect3('c2', id, field('user'), hex('0009 61')), '1.5.3'],
  ['a byte after the last field', connect4('02', id, hex('00')), '3.1.4-1'],
  ['a byte after the last field in MQTT 3.1', connect3('02', id, hex('00')), '3.1.4-1'],
  ['a user name without its flag', connect4('02', id, field('user')), '3.1.4-1'],
  ['a password without its flag', connect4('82', id, field('user'), field('secret')), '3.1.4-1'],
  ['a will without its flag', connect4('02', id, will, field('bye')), '3.1.4-1'],
]

const later: readonly Row[] = [
  ['a second CONNECT', connectPacket(4, 'id'), '3.1.0-2'],
  ['a second CONNECT that is malformed', hex('10 00'), '3.1.0-2'],
  ['a PINGREQ, then a second CONNECT', Buffer.concat([hex('c000'), connectPacket(4, 'id')]), '3.1.0-2'],
  // What only servers send, and nobody.
  ['CONNACK', hex('20 02 0000'), '2.2.1'],
  ['SUBACK', hex('90 03 0001 00'), '2.2.1'],
  ['UNSUBACK', hex('b0 02 0001'), '2.2.1'],
  ['PINGRESP', hex('d0 00'), '2.2.1'],
  ['type 0', hex('00 00'), '2.2.1'],
  ['type 15', hex('f0 00'), '2.2.1'],
  ['type 15 with a body', hex('f0 02 0000'), '2.2.1'],
  // Framing.
  ['PUBLISH with a remaining length of 5 bytes', hex('30 80808080 01'), '2.2.3'],
  ['PINGREQ with a remaining length of 5 bytes', hex('c0 80808080 00'), '2.2.3'],
  ['PUBLISH with 268,435,455 bytes announced', hex('30 ffffff7f'), 'limit'],
  ['SUBSCRIBE with 268,435,455 bytes announced', hex('82 ffffff7f 0001'), 'limit'],
  // PUBLISH.
  ['PUBLISH with QoS 3', packet(0x36, field('a'), '0001 61'), '3.3.1-4'],
  ['PUBLISH with QoS 3, DUP and RETAIN', packet(0x3f, field('a'), '0001 61'), '3.3.1-4'],
  ['PUBLISH with DUP and QoS 0', packet(0x38, field('a'), '61'), '3.3.1-2'],
  ['PUBLISH with DUP, RETAIN and QoS 0', packet(0x39, field('a'), '61'), '3.3.1-2'],
  ['PUBLISH without a body', hex('30 00'), '1.5.3'],
  ['PUBLISH with half a length of the topic', hex('30 01 00'), '1.5.3'],
  ['PUBLISH cut in the topic', hex('30 04 0005 6162'), '1.5.3'],
  ['PUBLISH cut in a topic that the next packet would complete', hex('30 03 0003 61 c000 c000'), '1.5.3'],
  ['PUBLISH with an empty topic', packet(0x30, field(''), '61'), '4.7.3-1'],
  ['PUBLISH to #', packet(0x30, field('#'), '61'), '3.3.2-2'],
  ['PUBLISH to a/#', packet(0x30, field('a/#'), '61'), '3.3.2-2'],
  ['PUBLISH to a/+/b', packet(0x30, field('a/+/b'), '61'), '3.3.2-2'],
  ['PUBLISH to a+', packet(0x30, field('a+'), '61'), '3.3.2-2'],
  ['PUBLISH with 4,097 bytes of topic', packet(0x30, field(long), '61'), 'limit'],
  ['PUBLISH with 33 levels of topic', packet(0x30, field(deep), '61'), 'limit'],
  ['PUBLISH of QoS 1 with packet id 0', publish(field('a'), '0000 61'), '2.3.1-1'],
  ['PUBLISH of QoS 2 with packet id 0', packet(0x34, field('a'), '0000 61'), '2.3.1-1'],
  ['PUBLISH of QoS 1 without a packet id', publish(field('a')), '2.3.1-1'],
  ['PUBLISH of QoS 1 with half a packet id', publish(field('a'), '01'), '2.3.1-1'],
  [
    'PUBLISH of QoS 2, its packet id in the next packet',
    Buffer.concat([packet(0x34, field('a')), hex('c000')]),
    '2.3.1-1',
  ],
  // Acknowledgements.
  ...[4, 5, 7].flatMap((type): Row[] => [
    ...[1, 2, 4, 8, 15].map(
      (flags): Row => [`type ${type} with flags ${flags}`, packet((type << 4) | flags, '0001'), '2.2.2-2'],
    ),
    ...['', '01', '0001 00', '0001 0001'].map(
      (body): Row => [`type ${type} with ${body || 'no body'}`, packet(type << 4, body), `3.${type}.1`],
    ),
    [`type ${type} with packet id 0`, packet(type << 4, '0000'), '2.3.1-6'],
  ]),
  ...[0, 1, 3, 4, 6, 10, 15].map(
    (flags): Row => [`PUBREL with flags ${flags}`, packet(0x60 | flags, '0001'), '3.6.1-1'],
  ),
  ...['', '01', '0001 00', '0001 0001'].map(
    (body): Row => [`PUBREL with ${body || 'no body'}`, packet(0x62, body), '3.6.1'],
  ),
  ['PUBREL with packet id 0', hex('62 02 0000'), '2.3.1-6'],
  // SUBSCRIBE.
  ...[0, 1, 3, 4, 6, 10, 15].map(
    (flags): Row => [`SUBSCRIBE with flags ${flags}`, packet(0x80 | flags, '0001', field('a'), '00'), '3.8.1-1'],
  ),
  ['SUBSCRIBE without a body', hex('82 00'), '2.3.1-1'],
  ['SUBSCRIBE with half a packet id', hex('82 01 01'), '2.3.1-1'],
  ['SUBSCRIBE with packet id 0', subscribe('0000', field('a'), '00'), '2.3.1-1'],
  ['SUBSCRIBE without a filter', subscribe('0001'), '3.8.3-3'],
  ['SUBSCRIBE with half a length of a filter', subscribe('0001 00'), '1.5.3'],
  ['SUBSCRIBE cut in a filter', subscribe('0001 0004 6162'), '1.5.3'],
  ['SUBSCRIBE without a QoS', subscribe('0001', field('a')), '3.8.3'],
  ['SUBSCRIBE without the QoS of the second', subscribe('0001', field('a'), '00', field('b')), '3.8.3'],
  ['SUBSCRIBE with QoS 3', subscribe('0001', field('a'), '03'), '3.8.3-4'],
  ['SUBSCRIBE with QoS 3 for the second', subscribe('0001', field('a'), '00', field('b'), '03'), '3.8.3-4'],
  ...['04', '08', '10', '20', '40', '80', 'fd'].map(
    (qos): Row => [`SUBSCRIBE with ${qos} for a QoS`, subscribe('0001', field('a'), qos), '3.8.3-4'],
  ),
  ['SUBSCRIBE with an empty filter', subscribe('0001', field(''), '00'), '4.7.3-1'],
  ['SUBSCRIBE with a byte after the last QoS', subscribe('0001', field('a'), '00 00'), '1.5.3'],
  // UNSUBSCRIBE.
  ...[0, 1, 3, 4, 6, 10, 15].map(
    (flags): Row => [`UNSUBSCRIBE with flags ${flags}`, packet(0xa0 | flags, '0001', field('a')), '3.10.1-1'],
  ),
  ['UNSUBSCRIBE without a body', hex('a2 00'), '2.3.1-1'],
  ['UNSUBSCRIBE with half a packet id', hex('a2 01 01'), '2.3.1-1'],
  ['UNSUBSCRIBE with packet id 0', unsubscribe('0000', field('a')), '2.3.1-1'],
  ['UNSUBSCRIBE without a filter', unsubscribe('0001'), '3.10.3-2'],
  ['UNSUBSCRIBE with half a length of a filter', unsubscribe('0001 00'), '1.5.3'],
  ['UNSUBSCRIBE cut in a filter', unsubscribe('0001 0004 6162'), '1.5.3'],
  ['UNSUBSCRIBE with a byte after the last filter', unsubscribe('0001', field('a'), '00'), '1.5.3'],
  ['UNSUBSCRIBE with an empty filter', unsubscribe('0001', field('')), '4.7.3-1'],
  // Filters.
  ...['a#', '#/a', 'a/#/b', 'a/b#', '##', '#+', 'a/#b'].flatMap((filter): Row[] => [
    [`SUBSCRIBE ${filter}`, subscribe('0001', field(filter), '00'), '4.7.1-2'],
    [`UNSUBSCRIBE ${filter}`, unsubscribe('0001', field(filter)), '4.7.1-2'],
  ]),
  ...['a+', '+a', 'a/+b', '++', 'a/b+/c', '+a/#'].flatMap((filter): Row[] => [
    [`SUBSCRIBE ${filter}`, subscribe('0001', field(filter), '00'), '4.7.1-3'],
    [`UNSUBSCRIBE ${filter}`, unsubscribe('0001', field(filter)), '4.7.1-3'],
  ]),
  ['SUBSCRIBE a, a#', subscribe('0001', field('a'), '00', field('a#'), '00'), '4.7.1-2'],
  // PINGREQ and DISCONNECT.
  ...[1, 2, 4, 8, 15].flatMap((flags): Row[] => [
    [`PINGREQ with flags ${flags}`, hex(`c${flags.toString(16)} 00`), '2.2.2-2'],
    [`DISCONNECT with flags ${flags}`, hex(`e${flags.toString(16)} 00`), '3.14.1-1'],
  ]),
  ['PINGREQ with a body', hex('c0 01 00'), '3.12.1'],
  ['DISCONNECT with a body', hex('e0 01 00'), '3.14.1'],
  ['DISCONNECT of MQTT 5 with a reason', hex('e0 02 04 00'), '3.14.1'],
]

/** After a CONNECT of MQTT 3.1, where DUP is allowed in three more headers. */
const laterIn31: readonly Row[] = [
  ['3.1: PUBREL with flags 0', hex('60 02 0001'), '3.6.1-1'],
  ['3.1: PUBREL with RETAIN', hex('63 02 0001'), '3.6.1-1'],
  ['3.1: PUBREL with DUP and QoS 0', hex('68 02 0001'), '3.6.1-1'],
  ['3.1: PUBACK with DUP', hex('48 02 0001'), '2.2.2-2'],
  ['3.1: SUBSCRIBE with flags 0', packet(0x80, '0001', field('a'), '00'), '3.8.1-1'],
  ['3.1: SUBSCRIBE with DUP and RETAIN', packet(0x8b, '0001', field('a'), '00'), '3.8.1-1'],
  ['3.1: UNSUBSCRIBE with QoS 2', packet(0xa4, '0001', field('a')), '3.10.1-1'],
  ['3.1: SUBSCRIBE with QoS 3', subscribe('0001', field('a'), '03'), '3.8.3-4'],
  ['3.1: PUBLISH with DUP and QoS 0', packet(0x38, field('a'), '61'), '3.3.1-2'],
  ['3.1: a second CONNECT', connectPacket(3, 'id'), '3.1.0-2'],
]

const illFormed: readonly (readonly [name: string, bytes: string, clause: string])[] = [
  ['overlong U+002F', '61 c0af', '1.5.3-1'],
  ['overlong U+0000', '61 c080', '1.5.3-1'],
  ['overlong U+20AC', 'f08282ac', '1.5.3-1'],
  ['U+D800', '61 eda080', '1.5.3-1'],
  ['U+DFFF', 'edbfbf 61', '1.5.3-1'],
  ['a character above U+FFFF as surrogates', 'eda081 edb080', '1.5.3-1'],
  ['more than U+10FFFF', 'f4908080', '1.5.3-1'],
  ['a character cut', '61 e282', '1.5.3-1'],
  ['a byte that continues nothing', '61 80', '1.5.3-1'],
  ['ff', 'ff', '1.5.3-1'],
  ['U+0000', '61 00 62', '1.5.3-2'],
  ['U+0000 alone', '00', '1.5.3-2'],
]

/** Every string a client may send. */
const strings: readonly (readonly [what: string, before: MalformedCase['before'], put: (string: Buffer) => Buffer])[] =
  [
    ['client id', 'connect', text => connect4('02', text)],
    ['client id of MQTT 3.1', 'connect', text => connect3('02', text)],
    ['will topic', 'connect', text => connect4('06', id, text, field('bye'))],
    ['user name', 'connect', text => connect4('82', id, text)],
    ['topic', 'connected', text => packet(0x30, text, '61')],
    ['second filter of SUBSCRIBE', 'connected', text => subscribe('0001', field('a'), '00', text, '00')],
    ['filter of UNSUBSCRIBE', 'connected', text => unsubscribe('0001', text)],
  ]

function rows(before: MalformedCase['before'], protocol: Protocol, given: readonly Row[]): MalformedCase[] {
  return given.map(([name, bytes, clause, answer = '']) => {
    return { name, bytes, before, protocol, clause: clause === 'limit' ? clause : `MQTT-${clause}`, answer }
  })
}

export const malformedCases: readonly MalformedCase[] = [
  ...rows('connect', 4, first),
  ...rows('connected', 4, later),
  ...rows('connected', 3, laterIn31),
  ...strings.flatMap(([what, before, put]) => [
    ...illFormed.flatMap(([name, bytes, clause]) =>
      rows(before, 4, [[`${what} with ${name}`, put(field(hex(bytes))), clause]]),
    ),
    ...rows(before, 4, [[`${what} of ffff bytes that are not there`, put(hex('ffff 61')), '1.5.3']]),
  ]),
]

/** What a packet says, in the words of our readers. */
export type Content = { readonly type: number } & { readonly [what: string]: unknown }

const publishReader = new PublishReader()

/** The next packet of a connection, read; undefined when more bytes are wanted. `protocol` is that of its CONNECT. */
export function readNext(framer: Framer, protocol: Protocol | undefined): Content | undefined {
  if (!framer.next()) return undefined
  const { header, buffer, start, end } = framer
  const type = header >> 4
  if (protocol === undefined) {
    if (type !== packetType.connect) throw new MalformedPacket('MQTT-3.1.0-1', 'the first packet is no CONNECT')
    return { type, ...readConnect(header, buffer, start, end) }
  }
  if (isServerPacket(type)) throw new MalformedPacket('MQTT-2.2.1', 'a packet that no client sends')
  switch (type) {
    case packetType.connect:
      throw new MalformedPacket('MQTT-3.1.0-2', 'a second CONNECT')
    case packetType.publish: {
      publishReader.read(header, buffer, start, end)
      const { topic, packetId, qos, retain, dup, payloadStart } = publishReader
      return { type, topic, packetId, qos, retain, dup, payload: Buffer.from(buffer.subarray(payloadStart, end)) }
    }
    case packetType.subscribe:
      return { type, ...readSubscribe(header, buffer, start, end, protocol) }
    case packetType.unsubscribe:
      return { type, ...readUnsubscribe(header, buffer, start, end, protocol) }
    case packetType.pingreq:
    case packetType.disconnect:
      checkEmpty(header, start, end)
      return { type }
    default:
      return { type, packetId: readPacketId(header, buffer, start, end, protocol) }
  }
}

/** The same of what mqtt-packet has parsed. */
export function contentOf(packet: Packet): Content {
  const type = packetType[packet.cmd as keyof typeof packetType]
  const packetId = packet.messageId ?? 0
  switch (packet.cmd) {
    case 'connect': {
      const { protocolVersion, clean, keepalive, clientId, will, username, password } = packet
      const { topic, payload, qos, retain } = will ?? {}
      return {
        type,
        protocol: protocolVersion,
        clean,
        keepAlive: keepalive,
        clientId,
        will: will && { topic, payload, qos, retain, delay: 0, expiry: undefined, properties: undefined },
        username,
        password,
        ...withoutMqtt5,
        // Its types do not know it.
        bridge: (packet as { bridgeMode?: boolean }).bridgeMode === true,
        sessionExpiry: clean ? 0 : Infinity,
      }
    }
    case 'publish': {
      const { topic, payload, qos, retain, dup } = packet
      return { type, topic, packetId, qos, retain, dup, payload }
    }
    case 'subscribe':
      return {
        type,
        packetId,
        subscriptions: packet.subscriptions.map(({ topic, qos }) => ({ filter: topic, qos, ...plainOptions })),
        id: 0,
      }
    case 'unsubscribe':
      return { type, packetId, filters: packet.unsubscriptions }
    case 'pingreq':
    case 'disconnect':
      return { type }
    default:
      return { type, packetId }
  }
}

/** What MQTT 5 adds to a CONNECT, of a client that has not said it. */
const withoutMqtt5 = {
  receiveMaximum: 65_535,
  maximumPacketSize: Infinity,
  topicAliasMaximum: 0,
  requestResponse: false,
  requestProblem: false,
  authentication: undefined,
}

export const plainOptions = { noLocal: false, asPublished: false, retainHandling: 0 }

/** Chance that can be had again: the same seed, the same numbers (mulberry32). */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed | 0
  }

  /** A whole number from 0 to `limit` - 1. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 0x100000000) * limit)
  }

  chance(percent: number): boolean {
    return this.below(100) < percent
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T
  }

  bytes(count: number): Buffer {
    return Buffer.from(Array.from({ length: count }, () => this.below(256)))
  }
}

const characters = ['a', 'b', 'C', '7', '-', ' ', '$', '/', 'ü', '€', '水', '😀', '\u0001', '\uFEFF', '\uFFFF']

function someText(random: Random, least: number, most: number): string {
  return Array.from({ length: least + random.below(most - least + 1) }, () => random.pick(characters)).join('')
}

function someTopic(random: Random): string {
  return random.chance(3) ? `${'x'.repeat(100)}/`.repeat(1 + random.below(31)) : someText(random, 1, 30)
}

function someFilter(random: Random): string {
  const levels = Array.from({ length: random.below(4) }, () => random.pick(['+', '', 'a', 'hall 7', '$x', 'ü', '水']))
  if (random.chance(30)) levels.push('#')
  return levels.join('/') || '+'
}

const somePayload = (random: Random) => random.bytes(random.chance(3) ? random.below(20_000) : random.below(100))
const someId = (random: Random) => 1 + random.below(0xffff)
const someQoS = (random: Random) => random.below(3) as QoS

export function someConnect(random: Random): Buffer {
  const protocolVersion = random.chance(25) ? 3 : 4
  const clean = random.chance(70)
  const named = random.chance(50)
  return mqttPacket.generate({
    cmd: 'connect',
    protocolId: protocolVersion === 3 ? 'MQIsdp' : 'MQTT',
    protocolVersion,
    clean,
    keepalive: random.below(0x10000),
    clientId: someText(random, protocolVersion === 4 && clean ? 0 : 1, 20),
    ...(random.chance(40) && {
      will: { topic: someTopic(random), payload: somePayload(random), qos: someQoS(random), retain: random.chance(50) },
    }),
    ...(named && { username: someText(random, 1, 12) }),
    ...(named && random.chance(70) && { password: random.bytes(random.below(20)) }),
  })
}

/** A valid packet that a connected client sends, other than DISCONNECT. */
export function somePacket(random: Random): Buffer {
  const messageId = someId(random)
  switch (random.below(9)) {
    case 0:
      return mqttPacket.generate({
        cmd: 'subscribe',
        messageId,
        subscriptions: Array.from({ length: 1 + random.below(4) }, () => {
          return { topic: someFilter(random), qos: someQoS(random) }
        }),
      })
    case 1:
      return mqttPacket.generate({
        cmd: 'unsubscribe',
        messageId,
        unsubscriptions: Array.from({ length: 1 + random.below(4) }, () => someFilter(random)),
      })
    case 2:
      return mqttPacket.generate({ cmd: 'pingreq' })
    case 3:
    case 4:
      return mqttPacket.generate({ cmd: random.pick(['puback', 'pubrec', 'pubrel', 'pubcomp'] as const), messageId })
    default: {
      const qos = someQoS(random)
      return mqttPacket.generate({
        cmd: 'publish',
        topic: someTopic(random),
        payload: somePayload(random),
        qos,
        retain: random.chance(30),
        dup: qos > 0 && random.chance(30),
        ...(qos > 0 && { messageId }),
      })
    }
  }
}

/** One thing wrong with a stream, perhaps: a bit, a byte, something cut out, put in, said twice, a piece of another. */
export function mutate(random: Random, stream: Buffer, other: Buffer): Buffer {
  if (stream.length === 0) return random.bytes(1 + random.below(20))
  // Mostly near the beginning: that is where the lengths are.
  const at = random.below(random.chance(60) ? Math.min(stream.length, 40) : stream.length)
  const some = at + 1 + random.below(Math.min(8, stream.length - at))
  const [before, after] = [stream.subarray(0, at), stream.subarray(at)]
  switch (random.below(8)) {
    case 0: {
      const copy = Buffer.from(stream)
      copy[at] = (copy[at] as number) ^ (1 << random.below(8))
      return copy
    }
    case 1: {
      const copy = Buffer.from(stream)
      copy[at] = random.pick([0, 1, 0x7f, 0x80, 0xff, ((copy[at] as number) + 1) & 0xff, random.below(256)])
      return copy
    }
    case 2:
      return Buffer.concat([before, stream.subarray(some)])
    case 3:
      return Buffer.concat([before, random.bytes(1 + random.below(6)), after])
    case 4:
      return Buffer.concat([stream.subarray(0, some), after])
    case 5:
      return before
    case 6:
      return Buffer.concat([before, other.subarray(random.below(other.length))])
    default:
      return Buffer.concat([before, other, after])
  }
}
