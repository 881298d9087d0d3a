/** Packets of MQTT 5: random ones as mqtt-packet writes them, with what they say, and ones that break a statement. */

import mqttPacket, { type Packet } from 'mqtt-packet'
import { MalformedPacket, packetType } from '../../src/broker/fields.js'
import { type Mqtt5, readConnect } from '../../src/broker/mqtt5.js'
import { PublishReader } from '../../src/broker/publish.js'
import { decodeProperties, type MessageProperties } from '../../src/properties.js'
import { packet, type Random } from './packets.js'

/** What a packet says, in the words of our readers. */
export type Content5 = { readonly type: number } & { readonly [what: string]: unknown }

export interface Packet5 {
  readonly bytes: Buffer
  readonly meant: Content5
}

const reader = new PublishReader()

/** A packet read; `wire` is undefined before CONNECT. */
export function read5(
  wire: Mqtt5 | undefined,
  header: number,
  buffer: Buffer,
  start: number,
  end: number,
): Content5 | undefined {
  const type = header >> 4
  if (!wire) {
    const { will, ...connect } = readConnect(header, buffer, start, end)
    return { type, ...connect, will: will && { ...will, properties: decoded(will.properties) } }
  }
  switch (type) {
    case packetType.publish: {
      wire.readPublish(reader, header, buffer, start, end)
      const { topic, packetId, qos, retain, dup, payloadStart, expiry, fault } = reader
      const payload = Buffer.from(buffer.subarray(payloadStart, end))
      return { type, topic, packetId, qos, retain, dup, payload, expiry, fault, properties: decoded(reader.properties) }
    }
    case packetType.puback:
    case packetType.pubrec:
    case packetType.pubrel:
    case packetType.pubcomp: {
      const packetId = wire.readAck(header, buffer, start, end)
      return { type, packetId, code: wire.ackCode }
    }
    case packetType.subscribe:
      return { type, ...wire.readSubscribe(header, buffer, start, end) }
    case packetType.unsubscribe:
      return { type, ...wire.readUnsubscribe(header, buffer, start, end) }
    case packetType.disconnect:
      return { type, ...wire.readDisconnect(header, buffer, start, end) }
    case packetType.auth:
      return { type, ...wire.readAuth(header, buffer, start, end) }
  }
  return undefined
}

function decoded(bytes: Buffer | undefined): MessageProperties | undefined {
  if (!bytes) return undefined
  const properties = decodeProperties(bytes)
  if (!properties) throw new Error(`not of properties.ts: ${bytes.toString('hex')}`)
  const { correlationData } = properties
  return { ...properties, ...(correlationData && { correlationData: Buffer.from(correlationData) }) }
}

/** Undefined values left out, as mqtt-packet wants it. */
function given<T extends object>(properties: T): { [Name in keyof T]: Exclude<T[Name], undefined> } {
  return Object.fromEntries(Object.entries(properties).filter(([, value]) => value !== undefined)) as never
}

const perhaps = <T>(random: Random, make: () => T): T | undefined => (random.chance(40) ? make() : undefined)
const words = ['a', 'home', 'ü', '水', '😀', '\uFEFF', 'x y', '\u0001', 'long'.repeat(60)]
const someText = (random: Random, least = 1) =>
  Array.from({ length: least + random.below(4) }, () => random.pick(words)).join('')
const someTopic = (random: Random) => Array.from({ length: 1 + random.below(3) }, () => random.pick(words)).join('/')
const someId = (random: Random) => 1 + random.below(0xffff)
const someSeconds = (random: Random) => random.pick([0, 1, 60, 0x10000, 0xfffffffe])

/** As mqtt-packet has them: by name, which must not be a number, or they change places. */
function someUserProperties(random: Random): Record<string, string | string[]> {
  return Object.fromEntries(
    Array.from({ length: 1 + random.below(3) }, (_, i) => {
      const value = random.chance(30) ? ['1', someText(random)] : someText(random, 0)
      return [`p${i}${random.pick(words)}`, value]
    }),
  )
}

const pairsOf = (user: Record<string, string | string[]>) =>
  Object.entries(user).flatMap(([name, values]) => [values].flat().map(value => [name, value] as const))

/** What a message may have, as mqtt-packet wants it and as we decode it. */
function someMessageProperties(random: Random) {
  const messageExpiryInterval = perhaps(random, () => someSeconds(random))
  const payloadFormatIndicator = perhaps(random, () => random.chance(50))
  const contentType = perhaps(random, () => someText(random, 0))
  const responseTopic = perhaps(random, () => someTopic(random))
  const correlationData = perhaps(random, () => random.bytes(random.below(40)))
  const userProperties = perhaps(random, () => someUserProperties(random))
  const theirs = given({
    payloadFormatIndicator,
    messageExpiryInterval,
    responseTopic,
    correlationData,
    userProperties,
    contentType,
  })
  const ours = given({
    payloadFormat: payloadFormatIndicator === undefined ? undefined : payloadFormatIndicator ? 1 : 0,
    contentType,
    responseTopic,
    correlationData,
    userProperties: userProperties && pairsOf(userProperties),
  })
  return { theirs, expiry: messageExpiryInterval, properties: Object.keys(ours).length > 0 ? ours : undefined }
}

const generate = (what: object) => mqttPacket.generate(what as Packet, { protocolVersion: 5 })

export function someConnect5(random: Random): Packet5 {
  const sessionExpiryInterval = perhaps(random, () => random.pick([0, 1, 3_600, 0xffffffff]))
  const receiveMaximum = perhaps(random, () => someId(random))
  const maximumPacketSize = perhaps(random, () => random.pick([1, 20, 1_000, 0xffffffff]))
  const topicAliasMaximum = perhaps(random, () => random.below(0x10000))
  const requestResponseInformation = perhaps(random, () => random.chance(50))
  const requestProblemInformation = perhaps(random, () => random.chance(50))
  const userProperties = perhaps(random, () => someUserProperties(random))
  const authenticationMethod = perhaps(random, () => someText(random))
  const authenticationData = authenticationMethod && perhaps(random, () => random.bytes(random.below(30)))
  const clean = random.chance(50)
  const keepAlive = random.below(0x10000)
  // mqtt-packet allows no empty one without `clean`.
  const clientId = someText(random, clean ? 0 : 1)
  // Nor a password without a user name.
  const username = perhaps(random, () => someText(random))
  const password = username && perhaps(random, () => random.bytes(1 + random.below(30)))
  const message = someMessageProperties(random)
  const willDelayInterval = perhaps(random, () => someSeconds(random))
  const will = perhaps(random, () => {
    const [topic, payload, qos] = [someTopic(random), random.bytes(random.below(50)), random.below(3)]
    return { topic, payload, qos, retain: random.chance(50) }
  })
  const bytes = generate({
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 5,
    clean,
    keepalive: keepAlive,
    clientId,
    ...given({ username, password }),
    ...(will && { will: { ...will, properties: { ...message.theirs, ...given({ willDelayInterval }) } } }),
    properties: given({
      sessionExpiryInterval,
      receiveMaximum,
      maximumPacketSize,
      topicAliasMaximum,
      requestResponseInformation,
      requestProblemInformation,
      userProperties,
      authenticationMethod,
      authenticationData,
    }),
  })
  const { expiry, properties } = message
  const meant = {
    type: packetType.connect,
    protocol: 5,
    bridge: false,
    clean,
    sessionExpiry: sessionExpiryInterval === 0xffffffff ? Infinity : (sessionExpiryInterval ?? 0),
    keepAlive,
    clientId,
    will: will && { ...will, delay: willDelayInterval ?? 0, expiry, properties },
    username,
    password,
    receiveMaximum: receiveMaximum ?? 65_535,
    maximumPacketSize: maximumPacketSize ?? Infinity,
    topicAliasMaximum: topicAliasMaximum ?? 0,
    requestResponse: requestResponseInformation ?? false,
    requestProblem: requestProblemInformation ?? true,
    authentication:
      authenticationMethod === undefined ? undefined : { method: authenticationMethod, data: authenticationData },
  }
  return { bytes, meant }
}

/** A valid packet of a connected client that authenticates with `method` and whose session outlives it. */
export function somePacket5(random: Random, method: string): Packet5 {
  const packetId = someId(random)
  const userProperties = perhaps(random, () => someUserProperties(random))
  const reasonString = perhaps(random, () => someText(random))
  switch (random.below(8)) {
    case 0: {
      const id = random.pick([0, 0, 1, 127, 128, 16_384, 268_435_455])
      const subscriptions = Array.from({ length: 1 + random.below(4) }, () => {
        const filter = random.pick(['a', '#', '+/b', 'x/#', '$share/g/+', someTopic(random)])
        const noLocal = !filter.startsWith('$') && random.chance(50)
        return {
          filter,
          qos: random.below(3),
          noLocal,
          asPublished: random.chance(50),
          retainHandling: random.below(3),
        }
      })
      const bytes = generate({
        cmd: 'subscribe',
        messageId: packetId,
        properties: given({ subscriptionIdentifier: id || undefined, userProperties }),
        subscriptions: subscriptions.map(({ filter, qos, noLocal, asPublished, retainHandling }) => {
          return { topic: filter, qos, nl: noLocal, rap: asPublished, rh: retainHandling }
        }),
      })
      return { bytes, meant: { type: packetType.subscribe, packetId, id, subscriptions } }
    }
    case 1: {
      const filters = Array.from({ length: 1 + random.below(4) }, () => random.pick(['a', '#', someTopic(random)]))
      const properties = given({ userProperties })
      const bytes = generate({ cmd: 'unsubscribe', messageId: packetId, properties, unsubscriptions: filters })
      return { bytes, meant: { type: packetType.unsubscribe, packetId, filters } }
    }
    case 2:
    case 3: {
      const cmd = random.pick(['puback', 'pubrec', 'pubrel', 'pubcomp'] as const)
      const isAnswer = cmd === 'puback' || cmd === 'pubrec'
      const code = random.pick(isAnswer ? [0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99] : [0, 0x92])
      const properties = given({ reasonString, userProperties })
      const bytes = generate({ cmd, messageId: packetId, reasonCode: code, properties })
      return { bytes, meant: { type: packetType[cmd], packetId, code } }
    }
    case 4: {
      const code = random.pick([0, 4, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99])
      const sessionExpiry = perhaps(random, () => random.pick([0, 1, 0xffffffff]))
      const properties = given({ sessionExpiryInterval: sessionExpiry, reasonString, userProperties })
      const bytes = generate({ cmd: 'disconnect', reasonCode: code, properties })
      const expiry = sessionExpiry === 0xffffffff ? Infinity : sessionExpiry
      return { bytes, meant: { type: packetType.disconnect, code, sessionExpiry: expiry } }
    }
    case 5: {
      const code = random.pick([0x18, 0x19])
      const data = perhaps(random, () => random.bytes(random.below(40)))
      const said = given({ authenticationMethod: method, authenticationData: data, reasonString, userProperties })
      const bytes = generate({ cmd: 'auth', reasonCode: code, properties: said })
      return { bytes, meant: { type: packetType.auth, code, method, data } }
    }
  }
  const qos = random.below(3)
  const { theirs, expiry, properties } = someMessageProperties(random)
  const topicAlias = perhaps(random, () => 1 + random.below(8))
  const [topic, payload] = [someTopic(random), random.bytes(random.below(random.chance(3) ? 20_000 : 60))]
  const [retain, dup] = [random.chance(50), qos > 0 && random.chance(30)]
  const bytes = generate({
    cmd: 'publish',
    topic,
    payload,
    qos,
    retain,
    dup,
    ...(qos > 0 && { messageId: packetId }),
    properties: { ...theirs, ...given({ topicAlias }) },
  })
  const meant = { topic, payload, qos, retain, dup, packetId: qos > 0 ? packetId : 0, properties, fault: undefined }
  return { bytes, meant: { type: packetType.publish, ...meant, expiry: expiry ?? -1 } }
}

/** Text with its two bytes of length. */
export const text = (value: string) => field(Buffer.from(value))
const field = (bytes: Buffer) => Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes])
const hex = (digits: string) => Buffer.from(digits.replaceAll(' ', ''), 'hex')
/** Properties, with their length before them. */
export function properties(...parts: readonly (string | Buffer)[]): Buffer {
  const bytes = Buffer.concat(parts.map(part => (typeof part === 'string' ? hex(part) : part)))
  const length: number[] = []
  for (let rest = bytes.length; ; rest >>= 7) {
    length.push(rest > 0x7f ? (rest & 0x7f) | 0x80 : rest)
    if (rest <= 0x7f) return Buffer.concat([Buffer.from(length), bytes])
  }
}
const none = hex('00')
const mqtt = hex('00044d515454 05')
const connect = (flags: string, said: Buffer, ...fields: Buffer[]) => packet(0x10, mqtt, flags, '003c', said, ...fields)
const id = text('id')
const bad = hex('0002 c0af')
const nul = hex('0001 00')
const user = (...pair: Buffer[]) => Buffer.concat([hex('26'), ...pair])

type Row = readonly [name: string, bytes: Buffer, code: number, clause: string]

/** The first packet. */
export const connectFaults: readonly Row[] = [
  ['flags', packet(0x11, mqtt, '02 003c 00', id), 0x81, '2.1.3-1'],
  ['cut after the level', packet(0x10, mqtt), 0x81, '3.1.2'],
  ['cut in keep alive', packet(0x10, mqtt, '02 00'), 0x81, '3.1.2'],
  ['no properties', packet(0x10, mqtt, '02 003c'), 0x81, '2.2.2-1'],
  ['properties that do not fit', packet(0x10, mqtt, '02 003c 05 11 00'), 0x81, '2.2.2.1'],
  ['length of properties cut', packet(0x10, mqtt, '02 003c 80'), 0x81, '1.5.5'],
  ['length of five bytes', packet(0x10, mqtt, '02 003c 80808080 00'), 0x81, '1.5.5'],
  ['length with a spare byte', packet(0x10, mqtt, '02 003c 8000', id), 0x81, '1.5.5-1'],
  ['reserved flag', connect('03', none, id), 0x81, '3.1.2-3'],
  ['will QoS without will', connect('0a', none, id), 0x81, '3.1.2-11'],
  ['will QoS 3', connect('1e', none, id, none, text('w'), text('')), 0x81, '3.1.2-12'],
  ['will retain without will', connect('22', none, id), 0x81, '3.1.2-13'],
  ['no client id', connect('02', none), 0x81, '1.5.4'],
  ['client id not UTF-8', connect('02', none, bad), 0x81, '1.5.4-1'],
  ['client id with U+0000', connect('02', none, nul), 0x81, '1.5.4-2'],
  ['client id too long', connect('02', none, text('x'.repeat(4_097))), 0x85, '3.1.3-8'],
  ['user name missing', connect('82', none, id), 0x81, '1.5.4'],
  ['user name too long', connect('82', none, id, text('x'.repeat(4_097))), 0x86, 'limit'],
  ['password missing', connect('42', none, id), 0x81, '1.5.6'],
  ['password cut', connect('42', none, id, hex('0003 61')), 0x81, '1.5.6'],
  ['bytes after it', connect('02', none, id, none), 0x81, '3.1.4-1'],
  ['will without properties', connect('06', none, id), 0x81, '2.2.2-1'],
  ['will topic empty', connect('06', none, id, none, text(''), text('')), 0x90, '4.7.3-1'],
  ['will topic with a wildcard', connect('06', none, id, none, text('a/+'), text('')), 0x90, '4.7.0-1'],
  ['will topic too deep', connect('06', none, id, none, text('/'.repeat(32)), text('')), 0x90, 'limit'],
  ['will payload cut', connect('06', none, id, none, text('w'), hex('0002 61')), 0x81, '1.5.6'],
  ['will with a property of CONNECT', connect('06', none, id, properties('21 0001')), 0x81, '2.2.2.2'],
  ['will with a topic alias', connect('06', none, id, properties('23 0001')), 0x81, '2.2.2.2'],
  ['will with two delays', connect('06', none, id, properties('18 00000001 18 00000001')), 0x82, '3.1.3.2'],
  ['will for a wildcard to answer', connect('06', none, id, properties('08', text('+'))), 0x82, '3.3.2-14'],
  [
    'will with too many properties',
    connect('06', none, id, properties('09', text('x'.repeat(16_382))), text('w'), text('')),
    0x97,
    'limit',
  ],
  ['a property of PUBLISH', connect('02', properties('01 00')), 0x81, '2.2.2.2'],
  ['a property of CONNACK', connect('02', properties('24 00')), 0x81, '2.2.2.2'],
  ['property 0', connect('02', properties('00')), 0x81, '2.2.2.2'],
  ['property 7f', connect('02', properties('7f')), 0x81, '2.2.2.2'],
  ['property ff', connect('02', properties('ff')), 0x81, '2.2.2.2'],
  ['a number cut', connect('02', properties('11 000000')), 0x81, '2.2.2.2'],
  ['two session expiries', connect('02', properties('11 00000000 11 00000000')), 0x82, '3.1.2.11'],
  ['receive maximum 0', connect('02', properties('21 0000')), 0x82, '3.1.2.11'],
  ['two receive maxima', connect('02', properties('21 0001 21 0001')), 0x82, '3.1.2.11'],
  ['maximum packet size 0', connect('02', properties('27 00000000')), 0x82, '3.1.2.11'],
  ['request response 2', connect('02', properties('19 02')), 0x82, '3.1.2.11'],
  ['request problem 2', connect('02', properties('17 02')), 0x82, '3.1.2.11'],
  ['two request problem', connect('02', properties('17 01 17 01')), 0x82, '3.1.2.11'],
  ['two methods', connect('02', properties('15', text('a'), '15', text('a'))), 0x82, '3.1.2.11'],
  ['method not UTF-8', connect('02', properties('15', bad)), 0x81, '1.5.4-1'],
  ['data without a method', connect('02', properties('16', text('a'))), 0x82, '3.1.2.11'],
  ['data cut', connect('02', properties('15', text('a'), '16 0002 61')), 0x81, '1.5.6'],
  ['user property without a value', connect('02', properties(user(text('a')))), 0x81, '1.5.4'],
  ['user property whose name is not UTF-8', connect('02', properties(user(bad, text('a')))), 0x81, '1.5.4-1'],
  ['user property with U+0000', connect('02', properties(user(text('a'), nul))), 0x81, '1.5.4-2'],
]

const publish = (said: Buffer, payload = '') => packet(0x30, text('a'), said, payload)
/** More than 16,384 bytes. */
const tooMany = properties(...new Array<string>(3_277).fill('26 0000 0000'))
const subscribe = (said: Buffer, ...rest: (Buffer | string)[]) => packet(0x82, '0001', said, ...rest)

/** After a CONNECT without an authentication method, whose session ends with it; there are 8 aliases. */
export const laterFaults: readonly Row[] = [
  ['PUBLISH with QoS 3', packet(0x36, text('a'), '0001 00'), 0x81, '3.3.1-4'],
  ['PUBLISH with DUP and QoS 0', packet(0x38, text('a'), none), 0x81, '3.3.1-2'],
  ['PUBLISH without a topic', packet(0x30), 0x81, '1.5.4'],
  ['PUBLISH with a topic cut', packet(0x30, '0002 61'), 0x81, '1.5.4'],
  ['PUBLISH with a topic not UTF-8', packet(0x30, bad, none), 0x81, '1.5.4-1'],
  ['PUBLISH with U+0000', packet(0x30, nul, none), 0x81, '1.5.4-2'],
  ['PUBLISH to a wildcard', packet(0x30, text('a/#'), none), 0x90, '3.3.2-2'],
  ['PUBLISH to a topic too long', packet(0x30, text('x'.repeat(4_097)), none), 0x90, 'limit'],
  ['PUBLISH to a topic too deep', packet(0x30, text('/'.repeat(32)), none), 0x90, 'limit'],
  ['PUBLISH without topic and alias', packet(0x30, '0000', none), 0x82, '3.3.2.1'],
  ['PUBLISH with a property, without topic and alias', packet(0x30, '0000', properties('01 00')), 0x82, '3.3.2.1'],
  ['PUBLISH without a packet id', packet(0x32, text('a')), 0x81, '2.2.1-3'],
  ['PUBLISH with packet id 0', packet(0x32, text('a'), '0000 00'), 0x82, '2.2.1-3'],
  ['PUBLISH without properties', packet(0x30, text('a')), 0x81, '2.2.2-1'],
  ['PUBLISH with properties cut', publish(hex('03 01')), 0x81, '2.2.2.1'],
  ['PUBLISH with alias 0', publish(properties('23 0000')), 0x94, '3.3.2-8'],
  ['PUBLISH with an alias above the maximum', publish(properties('23 0009')), 0x94, '3.3.2-9'],
  ['PUBLISH with an alias of no topic', packet(0x30, '0000', properties('23 0001')), 0x82, '3.3.2.3.4'],
  ['PUBLISH with two aliases', publish(properties('23 0001 23 0001')), 0x82, '3.3.2.3'],
  ['PUBLISH with two expiries', publish(properties('02 00000001 02 00000001')), 0x82, '3.3.2.3'],
  ['PUBLISH with two formats', publish(properties('01 00 01 00')), 0x82, '3.3.2.3'],
  ['PUBLISH with format 2', publish(properties('01 02')), 0x82, '3.3.2.3'],
  ['PUBLISH with two content types', publish(properties('03', text(''), '03', text(''))), 0x82, '3.3.2.3'],
  ['PUBLISH with two response topics', publish(properties('08', text('a'), '08', text('a'))), 0x82, '3.3.2.3'],
  ['PUBLISH with two correlation data', publish(properties('09', text(''), '09', text(''))), 0x82, '3.3.2.3'],
  ['PUBLISH with a content type not UTF-8', publish(properties('03', bad)), 0x81, '1.5.4-1'],
  ['PUBLISH for a wildcard to answer', publish(properties('08', text('a/+'))), 0x82, '3.3.2-14'],
  ['PUBLISH for no topic to answer', publish(properties('08', text(''))), 0x82, '4.7.3-1'],
  ['PUBLISH with a subscription identifier', publish(properties('0b 01')), 0x82, '3.3.4-6'],
  ['PUBLISH with a session expiry', publish(properties('11 00000001')), 0x81, '2.2.2.2'],
  ...(['PUBACK', 'PUBREC', 'PUBREL', 'PUBCOMP'] as const).flatMap((name, i): Row[] => {
    const first = ((4 + i) << 4) | (name === 'PUBREL' ? 2 : 0)
    const section = `3.${4 + i}`
    return [
      [`${name} with flags`, packet(first ^ 1, '0001'), 0x81, name === 'PUBREL' ? '3.6.1-1' : '2.1.3-1'],
      [`${name} without a packet id`, packet(first, '00'), 0x81, '2.2.1-5'],
      [`${name} with packet id 0`, packet(first, '0000'), 0x82, '2.2.1-5'],
      [`${name} with code 1`, packet(first, '0001 01'), 0x82, `${section}.2-1`],
      [`${name} with a code of another`, packet(first, '0001', i < 2 ? '92' : '10'), 0x82, `${section}.2-1`],
      [`${name} with a property cut`, packet(first, '0001 00 05 1f'), 0x81, '2.2.2.1'],
      [`${name} with two reasons`, packet(first, '0001 00 06 1f0000 1f0000'), 0x82, `${section}.2.2`],
      [`${name} with too many properties`, packet(first, '0001 00', tooMany), 0x97, 'limit'],
      [`${name} with a session expiry`, packet(first, '0001 00 05 11 00000001'), 0x81, '2.2.2.2'],
      [`${name} with bytes after its properties`, packet(first, '0001 00 00 00'), 0x81, `${section}.2.2`],
    ]
  }),
  ['SUBSCRIBE with flags', packet(0x80, '0001 00', text('a'), '00'), 0x81, '3.8.1-1'],
  ['SUBSCRIBE without a packet id', packet(0x82), 0x81, '2.2.1-3'],
  ['SUBSCRIBE with packet id 0', packet(0x82, '0000 00', text('a'), '00'), 0x82, '2.2.1-3'],
  ['SUBSCRIBE without properties', packet(0x82, '0001'), 0x81, '2.2.2-1'],
  ['SUBSCRIBE without a filter', subscribe(none), 0x82, '3.8.3-2'],
  ['SUBSCRIBE without options', subscribe(none, text('a')), 0x81, '3.8.3'],
  ['SUBSCRIBE with a filter cut', subscribe(none, '0002 61'), 0x81, '1.5.4'],
  ['SUBSCRIBE with a filter not UTF-8', subscribe(none, bad, '00'), 0x81, '1.5.4-1'],
  ['SUBSCRIBE with QoS 3', subscribe(none, text('a'), '03'), 0x82, '3.8.3.1'],
  ['SUBSCRIBE with retain handling 3', subscribe(none, text('a'), '30'), 0x82, '3.8.3.1'],
  ['SUBSCRIBE with reserved bits', subscribe(none, text('a'), '40'), 0x81, '3.8.3-5'],
  ['SUBSCRIBE with the other reserved bit', subscribe(none, text('a'), '00', text('b'), '80'), 0x81, '3.8.3-5'],
  ['SUBSCRIBE with No Local, shared', subscribe(none, text('$share/a/b'), '04'), 0x82, '3.8.3-4'],
  ['SUBSCRIBE with identifier 0', subscribe(properties('0b 00'), text('a'), '00'), 0x82, '3.8.2.1'],
  ['SUBSCRIBE with two identifiers', subscribe(properties('0b 01 0b 02'), text('a'), '00'), 0x82, '3.8.2.1'],
  ['SUBSCRIBE with an identifier too large', subscribe(properties('0b ffffffff 01'), text('a'), '00'), 0x81, '1.5.5'],
  ['SUBSCRIBE with an identifier cut', subscribe(properties('0b 80'), text('a'), '00'), 0x81, '1.5.5'],
  ['SUBSCRIBE with a spare byte of identifier', subscribe(properties('0b 8100'), text('a'), '00'), 0x81, '1.5.5-1'],
  ['SUBSCRIBE with a reason', subscribe(properties('1f', text('a')), text('a'), '00'), 0x81, '2.2.2.2'],
  ['SUBSCRIBE with No Local, shared', subscribe(none, text('$share/g/a'), '04'), 0x82, '3.8.3-4'],
  ['SUBSCRIBE to $share alone', subscribe(none, text('$share'), '00'), 0x82, '4.8.2-1'],
  ['SUBSCRIBE with too many properties', subscribe(tooMany, text('a'), '00'), 0x97, 'limit'],
  ['UNSUBSCRIBE with too many properties', packet(0xa2, '0001', tooMany, text('a')), 0x97, 'limit'],
  ['UNSUBSCRIBE with flags', packet(0xa0, '0001 00', text('a')), 0x81, '3.10.1-1'],
  ['UNSUBSCRIBE with packet id 0', packet(0xa2, '0000 00', text('a')), 0x82, '2.2.1-3'],
  ['UNSUBSCRIBE without properties', packet(0xa2, '0001'), 0x81, '2.2.2-1'],
  ['UNSUBSCRIBE without a filter', packet(0xa2, '0001 00'), 0x82, '3.10.3-2'],
  ['UNSUBSCRIBE with a filter cut', packet(0xa2, '0001 00 0002 61'), 0x81, '1.5.4'],
  ['UNSUBSCRIBE with an identifier', packet(0xa2, '0001', properties('0b 01'), text('a')), 0x81, '2.2.2.2'],
  ['DISCONNECT with flags', packet(0xe1), 0x81, '3.14.1-1'],
  ['DISCONNECT with a code of a server', packet(0xe0, '8e'), 0x82, '3.14.2-1'],
  ['DISCONNECT with code 1', packet(0xe0, '01'), 0x82, '3.14.2-1'],
  ['DISCONNECT with a server reference', packet(0xe0, '00', properties('1c', text('a'))), 0x81, '2.2.2.2'],
  ['DISCONNECT with two expiries', packet(0xe0, '00', properties('11 00000000 11 00000000')), 0x82, '3.14.2.2'],
  ['DISCONNECT that keeps the session', packet(0xe0, '00', properties('11 00000001')), 0x82, '3.14.2.2.2'],
  ['DISCONNECT with too many properties', packet(0xe0, '00', tooMany), 0x97, 'limit'],
  ['DISCONNECT with bytes after it', packet(0xe0, '00 00 00'), 0x81, '3.14.2.2'],
  ['AUTH and no method in CONNECT', packet(0xf0, '18', properties('15', text('M'))), 0x82, '4.12.0-7'],
]

/** After a CONNECT with method M. */
export const authFaults: readonly Row[] = [
  ['AUTH with flags', packet(0xf2, '18', properties('15', text('M'))), 0x81, '3.15.1-1'],
  ['AUTH without anything', packet(0xf0), 0x82, '3.15.2-1'],
  ['AUTH with success', packet(0xf0, '00', properties('15', text('M'))), 0x82, '3.15.2-1'],
  ['AUTH without properties', packet(0xf0, '18'), 0x82, '3.15.2.2.2'],
  ['AUTH without a method', packet(0xf0, '18 00'), 0x82, '3.15.2.2.2'],
  ['AUTH with data only', packet(0xf0, '18', properties('16', text('M'))), 0x82, '3.15.2.2'],
  ['AUTH with another method', packet(0xf0, '18', properties('15', text('N'))), 0x82, '4.12.0-5'],
  ['AUTH with too many properties', packet(0xf0, '18', tooMany), 0x97, 'limit'],
  ['AUTH with two methods', packet(0xf0, '18', properties('15', text('M'), '15', text('M'))), 0x82, '3.15.2.2'],
  ['AUTH with bytes after it', packet(0xf0, '18', properties('15', text('M')), '00'), 0x81, '3.15.2.2'],
]

/** What is thrown, and nothing else may be. */
export function faultOf(read: () => unknown): MalformedPacket | undefined {
  try {
    read()
    return undefined
  } catch (error) {
    if (error instanceof MalformedPacket) return error
    throw error
  }
}
