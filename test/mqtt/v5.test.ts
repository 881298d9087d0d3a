import { isDeepStrictEqual } from 'node:util'
import mqttPacket from 'mqtt-packet'
import t from 'tap'
import type { ConnectPacket } from '../../src/mqtt/codec.js'
import { Framer } from '../../src/mqtt/framer.js'
import { encodeProperties, maxPropertyBytes } from '../../src/mqtt/message-properties.js'
import { packetType } from '../../src/mqtt/primitives.js'
import type { PublishOptions } from '../../src/mqtt/publish.js'
import { EncodedPublish, PublishReader } from '../../src/mqtt/publish.js'
import { TopicAliases } from '../../src/mqtt/topic-aliases.js'
import { type Limits5, Mqtt5, readConnect } from '../../src/mqtt/v5.js'
import { packet, Random } from '../fixtures/packets.js'
import {
  authFaults,
  connectFaults,
  faultOf,
  laterFaults,
  properties as propertiesOf,
  read5,
  someConnect5,
  somePacket5,
  text,
} from '../fixtures/packets5.js'

const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000)
t.comment(`FUZZ_SEED=${seed}`)

const plain: ConnectPacket = {
  protocol: 5,
  bridge: false,
  clean: true,
  sessionExpiry: 0,
  keepAlive: 0,
  clientId: '',
  will: undefined,
  username: undefined,
  password: undefined,
  receiveMaximum: 65_535,
  maximumPacketSize: Infinity,
  topicAliasMaximum: 0,
  requestResponse: false,
  requestProblem: true,
  authentication: undefined,
}
const limits: Limits5 = { receiveMaximum: 100, maximumPacketSize: 1_000_000, topicAliasMaximum: 8 }
const mqtt5 = (connect: Partial<ConnectPacket> = {}) => new Mqtt5({ ...plain, ...connect }, limits)

/** The one packet of these bytes, as arguments of a reader. */
function framed(bytes: Buffer): [header: number, buffer: Buffer, start: number, end: number] {
  const framer = new Framer(1_000_000)
  framer.push(bytes)
  if (!framer.next()) throw new Error('not a whole packet')
  return [framer.header, framer.buffer, framer.start, framer.end]
}

interface Parsed {
  readonly [what: string]: unknown
  readonly properties?: { readonly [name: string]: unknown }
}

/** What mqtt-packet makes of what a server of MQTT 5 sends. */
function parse(bytes: Buffer | readonly Buffer[] | undefined): Parsed[] {
  const parser = mqttPacket.parser({ protocolVersion: 5 })
  const packets: Parsed[] = []
  parser.on('packet', packet => packets.push({ ...packet }))
  parser.on('error', error => {
    throw error
  })
  parser.parse(Buffer.isBuffer(bytes) ? bytes : Buffer.concat(bytes ?? []))
  return packets
}

t.test('every fault is found, with its reason code and the statement broken', async t => {
  const named = (clause: string) => (clause === 'limit' ? clause : `MQTT-${clause}`)
  for (const [name, bytes, code, clause] of connectFaults) {
    const fault = faultOf(() => read5(undefined, ...framed(bytes)))
    t.match(fault, { reasonCode: code, clause: named(clause), returnCode: undefined }, `CONNECT: ${name}`)
    const answer = parse(fault?.connack)
    t.match(answer, [{ cmd: 'connack', reasonCode: code, properties: { reasonString: fault?.message } }])
  }
  for (const [method, rows] of [
    [undefined, laterFaults],
    ['M', authFaults],
  ] as const) {
    for (const [name, bytes, code, clause] of rows) {
      const wire = mqtt5({ authentication: method ? { method, data: undefined } : undefined })
      const fault = faultOf(() => read5(wire, ...framed(bytes)))
      t.match(fault, { reasonCode: code, clause: named(clause), tooLarge: false }, name)
      t.equal(fault?.connack, undefined)
    }
  }
})

t.test('a CONNECT of another version is read and answered as that version has it', async t => {
  const level = (n: string) => packet(0x10, '00044d515454', n, '02 003c 0001 61')
  t.match(readConnect(...framed(level('04'))), { protocol: 4, clientId: 'a' })
  t.equal(faultOf(() => readConnect(...framed(level('06'))))?.connack?.toString('hex'), '20020001')
  const other = packet(0x10, '00044d515455 05 02 003c 00 0001 61')
  t.match(
    faultOf(() => readConnect(...framed(other))),
    { clause: 'MQTT-3.1.2-1', connack: undefined },
  )
})

t.test('what mqtt-packet writes is read as it was meant', async t => {
  const random = new Random(seed)
  const method = 'SCRAM-SHA-256'
  const wire = mqtt5({ sessionExpiry: 1, authentication: { method, data: undefined } })
  const seen = new Set<number>()
  for (let i = 0; i < 20_000; i++) {
    const isConnect = i % 4 === 0
    const { bytes, meant } = isConnect ? someConnect5(random) : somePacket5(random, method)
    seen.add(meant.type)
    const read = read5(isConnect ? undefined : wire, ...framed(bytes))
    if (isDeepStrictEqual(read, meant)) continue
    t.same(read, meant, `packet ${i}: ${bytes.toString('hex').slice(0, 600)}`)
    break
  }
  t.same(
    [...seen].sort((a, b) => a - b),
    [1, 3, 4, 5, 6, 7, 8, 10, 14, 15],
  )
})

t.test('what mqtt-packet does not write, and is allowed', async t => {
  const read = (...bytes: Parameters<typeof packet>) => read5(mqtt5({ sessionExpiry: 5 }), ...framed(packet(...bytes)))
  t.match(read(0x40, '0007'), { packetId: 7, code: 0 }, 'PUBACK of two bytes')
  t.match(read(0x50, '0007 87'), { packetId: 7, code: 0x87 }, 'of three')
  t.match(read(0x62, '0007 92 00'), { packetId: 7, code: 0x92 }, 'of four')
  const wire = mqtt5()
  wire.readAck(...framed(packet(0x40, '0007 97')))
  t.equal(wire.ackCode, 0x97)
  wire.readAck(...framed(packet(0x40, '0008')))
  t.equal(wire.ackCode, 0, 'is that of the last')
  t.match(read(0xe0), { code: 0, sessionExpiry: undefined })
  t.match(read(0xe0, '04'), { code: 4, sessionExpiry: undefined })
  t.match(read(0xe0, '00 05 11 00000007'), { code: 0, sessionExpiry: 7 })
  t.match(read5(mqtt5(), ...framed(packet(0xe0, '00 05 11 00000000'))), { sessionExpiry: 0 }, 'no change')
  for (const filters of ['0002 6123 00', '0000 01', '0001 62 02 0003 612f23 00 0002 6123 00']) {
    t.throws(() => read(0x82, '0001 00', filters), /topic filter/, 'a filter that is none')
  }
  t.throws(() => read(0xa2, '0001 00 0001 61 0002 6123'), /topic filter/)
  const empty = packet(0x10, '00044d515454 05 40 0000 00 0000 0002 7077')
  t.match(readConnect(...framed(empty)), { clientId: '', username: undefined, password: Buffer.from('pw') })
})

t.test('what a message has is kept raw, in its order, without what is for the hub alone', async t => {
  const wire = mqtt5()
  const reader = new PublishReader()
  const travelling = '26 0001 62 0001 32  03 0001 74  26 0001 61 0001 31  01 01  26 0001 62 0001 31'.replaceAll(' ', '')
  const parts = ['26 0001 62 0001 32', '02 00000009', '03 0001 74', '26 0001 61 0001 31', '23 0003', '01 01']
  const said = Buffer.from([...parts, '26 0001 62 0001 31'].join('').replaceAll(' ', ''), 'hex')
  const bytes = packet(0x32, '0001 61 0007', Buffer.from([said.length]), said, '7061')
  wire.readPublish(reader, ...framed(bytes))
  t.equal(reader.properties?.toString('hex'), travelling)
  t.match(reader, { topic: 'a', packetId: 7, expiry: 9, fault: undefined, payloadStart: bytes.length - 2 })
  bytes.fill(0)
  t.equal(reader.properties?.toString('hex'), travelling, 'is a copy')
  wire.readPublish(reader, ...framed(packet(0x30, '0001 61 00')))
  t.match(reader, { properties: undefined, expiry: -1, payloadStart: 6 }, 'and not of the next one')
  reader.expiry = 7
  reader.read(...framed(packet(0x30, '0001 61')))
  t.match(reader, { properties: undefined, expiry: -1, fault: undefined }, 'which may be of 3.1.1')

  const data = (length: number) => packet(0x32, text('a'), '0007', propertiesOf('09', text('x'.repeat(length))), 'ff')
  wire.readPublish(reader, ...framed(data(maxPropertyBytes - 3)))
  t.match(reader, { fault: undefined })
  t.equal(reader.properties?.length, maxPropertyBytes)
  wire.readPublish(reader, ...framed(data(maxPropertyBytes - 2)))
  t.match(
    reader,
    { fault: { code: 0x97 }, properties: undefined, packetId: 7, topic: 'a' },
    'too many: PUBACK may say so',
  )
  const cut = propertiesOf('09', text('x'.repeat(maxPropertyBytes)), '23 0001')
  const aliased = packet(0x30, '0000', propertiesOf('23 0001'))
  wire.readPublish(reader, ...framed(packet(0x32, text('a'), '0008', cut, 'ff')))
  t.match(reader, { fault: { code: 0x97 }, packetId: 8, topic: 'a' })
  const unknown = faultOf(() => wire.readPublish(reader, ...framed(aliased)))
  t.match(unknown, { reasonCode: 0x82 }, 'a refused PUBLISH has not made an alias known')
  wire.readPublish(reader, ...framed(packet(0x30, text('b'), propertiesOf('23 0001'))))
  wire.readPublish(reader, ...framed(packet(0x32, '0000', '0009', cut, 'ff')))
  t.match(reader, { fault: { code: 0x97 }, packetId: 9, topic: 'b' })
  wire.readPublish(reader, ...framed(aliased))
  t.match(reader, { fault: undefined, topic: 'b' }, 'one that uses an alias leaves it as it was')
})

t.test('topic aliases of the client: a random stream, and a map', async t => {
  const random = new Random(seed)
  const wire = mqtt5()
  const reader = new PublishReader()
  const known = new Map<number, string>()
  let replaced = 0
  for (let i = 0; i < 5_000; i++) {
    const alias = random.below(10)
    const named = random.chance(50)
    const topic = named ? `home/${random.below(20)}` : ''
    const bytes = packet(
      0x30,
      Buffer.from([0, topic.length]),
      Buffer.from(topic),
      alias > 0 ? `03 23 ${alias.toString(16).padStart(4, '0')}` : '00',
    )
    const fault = faultOf(() => wire.readPublish(reader, ...framed(bytes)))
    const isRefused = alias > 8 || (!named && !known.has(alias))
    if (isRefused !== (fault !== undefined)) return t.fail(`publish ${i}`, { alias, topic, fault })
    if (isRefused) continue
    if (named && alias > 0 && known.get(alias) !== topic) replaced++
    if (named && alias > 0) known.set(alias, topic)
    const meant = named ? topic : known.get(alias)
    if (reader.topic !== meant) return t.equal(reader.topic, meant, `publish ${i}`)
  }
  t.ok(replaced > 100 && known.size === 8, `${replaced} mapped anew`)
})

t.test('what we write is read by mqtt-packet', async t => {
  const wire = mqtt5()
  const said = { receiveMaximum: 100, maximumPacketSize: 1_000_000, topicAliasMaximum: 8 }
  const available = {
    retainAvailable: true,
    wildcardSubscriptionAvailable: true,
    subscriptionIdentifiersAvailable: true,
    sharedSubscriptionAvailable: true,
  }
  const nothing = {
    sessionPresent: false,
    assignedClientId: undefined,
    sessionExpiry: undefined,
    keepAlive: undefined,
    responseInformation: undefined,
    authentication: undefined,
  }
  t.match(parse(wire.accepted(nothing)), [{ cmd: 'connack', sessionPresent: false, reasonCode: 0 }])
  t.same(parse(wire.accepted(nothing))[0]?.properties, { ...said, ...available })
  const all = {
    sessionPresent: true,
    assignedClientId: 'auto-ü',
    sessionExpiry: Infinity,
    keepAlive: 30,
    responseInformation: 'replies/a',
    authentication: { method: 'M', data: Buffer.from('v=1') },
  }
  const [answer] = parse(wire.accepted(all))
  t.match(answer, { sessionPresent: true, reasonCode: 0 })
  t.same(answer?.properties, {
    ...said,
    ...available,
    sessionExpiryInterval: 0xffffffff,
    assignedClientIdentifier: 'auto-ü',
    serverKeepAlive: 30,
    responseInformation: 'replies/a',
    authenticationMethod: 'M',
    authenticationData: Buffer.from('v=1'),
  })
  const small = mqtt5({ maximumPacketSize: 23 })
  t.ok((small.accepted(nothing)?.length ?? 99) <= 23, 'without what goes without saying')
  t.same(parse(small.accepted(nothing))[0]?.properties, said)

  const fault = { code: 0x87, reason: 'not for you' }
  const words = { reasonString: 'not for you' }
  t.match(parse(wire.refused(fault)), [{ cmd: 'connack', sessionPresent: false, reasonCode: 0x87, properties: words }])
  t.match(parse(wire.disconnect(fault)), [{ cmd: 'disconnect', reasonCode: 0x87, properties: words }])
  for (const cmd of ['puback', 'pubrec'] as const)
    t.match(parse(wire.ack(packetType[cmd], 258, fault)), [
      { cmd, messageId: 258, reasonCode: 0x87, properties: words },
    ])
  for (const cmd of ['pubrel', 'pubcomp'] as const) {
    const unknown = { code: 0x92, reason: '' }
    const bytes = wire.ack(packetType[cmd], 258, unknown)
    t.match(parse(bytes), [{ cmd, messageId: 258, reasonCode: 0x92 }])
    t.equal(bytes.length, 5, 'and no more')
  }
  t.match(parse(wire.suback(7, [0, fault, 2, { code: 0x8f, reason: 'second' }])), [
    { cmd: 'suback', messageId: 7, granted: [0, 0x87, 2, 0x8f], properties: words },
  ])
  const many = Array.from({ length: 20_000 }, (_, i) => (i % 3) as 0 | 1 | 2)
  t.match(parse(wire.suback(7, many)), [{ granted: many }])
  t.match(parse(wire.unsuback(7, [true, false])), [{ cmd: 'unsuback', messageId: 7, granted: [0, 0x11] }])
  const authentication = { method: 'M', data: Buffer.from('r=1') }
  t.match(parse(wire.auth(0x18, authentication)), [
    {
      cmd: 'auth',
      reasonCode: 0x18,
      properties: { authenticationMethod: 'M', authenticationData: Buffer.from('r=1') },
    },
  ])
  t.match(parse(wire.auth(0, { method: 'M', data: undefined })), [{ cmd: 'auth', reasonCode: 0 }])
})

t.test('what is larger than the client takes is not written [MQTT-3.1.2-24]', async t => {
  const accepted = {
    sessionPresent: false,
    assignedClientId: 'x'.repeat(50),
    sessionExpiry: undefined,
    keepAlive: undefined,
    responseInformation: undefined,
    authentication: undefined,
  }
  const written: Readonly<Record<string, (wire: Mqtt5) => Buffer | undefined>> = {
    accepted: wire => wire.accepted(accepted),
    refused: wire => wire.refused({ code: 0x87, reason: 'why' }),
    suback: wire => wire.suback(1, new Array(20).fill(1)),
    unsuback: wire => wire.unsuback(1, new Array(20).fill(true)),
    auth: wire => wire.auth(0x18, { method: 'M', data: Buffer.alloc(50) }),
  }
  for (const [name, write] of Object.entries(written)) {
    let least = 1
    while (!write(mqtt5({ maximumPacketSize: least }))) least++
    t.equal(write(mqtt5({ maximumPacketSize: least }))?.length, least, `${name}: ${least} bytes at least`)
    t.ok((write(mqtt5()) as Buffer).length >= least)
  }
  t.match(parse(mqtt5().unsuback(7, [true, false])), [{ granted: [0, 0x11] }])
})

t.test('CONNACK has no codes but its own', async t => {
  const said = [0x80, 0x86, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x8e, 0x93, 0x95, 0x9f, 0xa0].map(
    code => mqtt5().refused({ code, reason: '' })?.[3],
  )
  t.same(said, [0x80, 0x86, 0x89, 0x8a, 0x88, 0x8c, 0x80, 0x80, 0x80, 0x95, 0x9f, 0x80], '§3.2.2.2')
})

t.test('a remaining length in more bytes than it needs: not with MQTT 5', async t => {
  const framer = new Framer(1_000)
  const next = (digits: string) => {
    framer.push(Buffer.from(digits, 'hex'))
    return framer.next()
  }
  t.ok(next('c08000'), 'before it is known to be MQTT 5')
  t.equal(
    faultOf(() => framer.strict()),
    undefined,
    'of one without a body nobody asks',
  )
  t.ok(next('c000'))
  t.match(
    faultOf(() => next('c08000')),
    { reasonCode: 0x81, clause: 'MQTT-1.5.5-1' },
  )
  const late = new Framer(1_000)
  late.push(Buffer.from('308300000161', 'hex'))
  t.ok(late.next())
  t.match(
    faultOf(() => late.strict()),
    { reasonCode: 0x81, clause: 'MQTT-1.5.5-1' },
    'that of the packet itself',
  )
})

t.test('reasons in words: only for whom wants them, as far as they fit', async t => {
  const fault = { code: 0x97, reason: 'full\0er' }
  const quiet = mqtt5({ requestProblem: false })
  t.equal(quiet.ack(packetType.puback, 1, fault).toString('hex'), '4003000197')
  t.equal(quiet.suback(1, [fault])?.toString('hex'), '900400010097')
  t.match(parse(quiet.disconnect(fault)), [{ properties: { reasonString: 'fuller' } }], 'always in DISCONNECT')
  t.match(parse(quiet.refused(fault)), [{ properties: { reasonString: 'fuller' } }], 'and CONNACK')
  for (const write of [
    (wire: Mqtt5) => wire.ack(packetType.pubrec, 1, fault),
    (wire: Mqtt5) => wire.suback(1, [fault]),
    (wire: Mqtt5) => wire.disconnect(fault),
    (wire: Mqtt5) => wire.refused(fault),
  ]) {
    const whole = write(mqtt5())?.length ?? 0
    t.equal(write(mqtt5({ maximumPacketSize: whole }))?.length, whole)
    const less = write(mqtt5({ maximumPacketSize: whole - 1 }))
    t.ok(less && less.length < whole - 8, 'left out when it does not fit')
    t.match(parse(less), [{}])
  }
  const long = mqtt5().disconnect({ code: 0x97, reason: 'a水'.repeat(400) })
  t.equal(parse(long)[0]?.properties?.reasonString, 'a水'.repeat(250), 'cut between characters')
  const cut = parse(mqtt5().disconnect({ code: 0x97, reason: '水'.repeat(400) }))
  t.equal(cut[0]?.properties?.reasonString, '水'.repeat(333))
})

const sendingOf = (random: Random, ids: PublishOptions['ids']): PublishOptions => {
  const qos = random.below(3) as 0 | 1 | 2
  return { qos, packetId: qos > 0 ? 1 + random.below(65_535) : 0, retain: random.chance(50), ids }
}

/** Of a message that expires after 50 s: whole seconds left, by the time. */
const left: Readonly<Record<number, number>> = { 0: 50, 1: 50, 40e6: 10, 40000001: 10, 49000001: 1, 60e6: 1 }

t.test('messages are read by mqtt-packet, whatever the forms they are asked for in', async t => {
  const random = new Random(seed)
  const properties = encodeProperties({
    contentType: 'text',
    userProperties: [
      ['a', '1'],
      ['b', 'ü'],
    ],
  })
  const edges = [0x80, 0x4000].flatMap(length => [
    length - 8,
    length - 7,
    length - 6,
    length - 5,
    length - 4,
    length - 3,
  ])
  for (const size of [0, 1, 60, 4_095, 4_096, 4_097, 70_000, ...edges])
    for (const topic of ['a', 'home/ünï/水/😀', 't'.repeat(300)])
      for (const extras of [properties, undefined]) {
        const given = Buffer.alloc(size, size % 251)
        const meant = Buffer.from(given)
        const expiresAt = random.chance(50) ? 50e6 : undefined
        const message = new EncodedPublish(topic, given, extras, expiresAt)
        const wires = [mqtt5(), mqtt5({ topicAliasMaximum: 3 }), mqtt5({ topicAliasMaximum: 3 })]
        // So that the same topic has another alias with the last.
        for (let i = 0; i < 2; i++)
          wires[2]?.publish(
            new EncodedPublish('other', meant),
            { qos: 0, packetId: 0, retain: false, ids: undefined },
            false,
            0,
          )
        const known = new Map<Mqtt5, Map<unknown, unknown>>()
        const wrong: unknown[] = []
        for (let i = 0; i < 24; i++) {
          const wire = random.pick(wires)
          const sending = sendingOf(random, random.pick([undefined, undefined, [7], [7], [1, 200, 268_435_455]]))
          const { qos, packetId, retain, ids } = sending
          const dup = qos > 0 && random.chance(50)
          const now = Number(random.pick(Object.keys(left)))
          const parts = wire.publish(message, sending, dup, now)
          given.fill(0)
          const [read, more] = parse(parts)
          const { topicAlias, messageExpiryInterval, subscriptionIdentifier, ...others } = read?.properties ?? {}
          const aliases = known.get(wire) ?? new Map<unknown, unknown>()
          known.set(wire, aliases)
          if (read?.topic && topicAlias) aliases.set(topicAlias, read.topic)
          const got = {
            topic: read?.topic || aliases.get(topicAlias),
            payload: read?.payload,
            qos: read?.qos,
            retain: read?.retain,
            dup: read?.dup,
            packetId: read?.messageId ?? 0,
            expiry: messageExpiryInterval,
            ids: subscriptionIdentifier,
            others: extras ? { ...others, userProperties: { ...(others.userProperties as object) } } : others,
          }
          const expected = {
            topic,
            payload: meant,
            qos,
            retain,
            dup,
            packetId,
            expiry: expiresAt && left[now],
            ids: ids?.length === 1 ? ids[0] : ids,
            others: extras ? { contentType: 'text', userProperties: { a: '1', b: 'ü' } } : {},
          }
          if (more || !isDeepStrictEqual(got, expected)) wrong.push({ i, got, expected })
        }
        t.same(wrong.slice(0, 1), [], `${size} bytes to ${topic.slice(0, 20)}`)
      }
})

t.test('forms are shared, and nothing that was handed out changes', async t => {
  const random = new Random(seed)
  const sending = (qos: 0 | 1 | 2, packetId: number, ids?: readonly number[]): PublishOptions => {
    return { qos, packetId, retain: false, ids }
  }
  const message = new EncodedPublish('home/topic', Buffer.alloc(100, 'p'), undefined, 100e6)
  const first = mqtt5().publish(message, sending(0, 0), false, 0)
  t.equal(mqtt5({ topicAliasMaximum: 9 }).publish(message, sending(0, 0), false, 0), first, 'QoS 0 is one Buffer')
  t.equal(mqtt5().publish(message, sending(0, 0), false, 900_000), first, 'as long as the seconds left are the same')
  t.not(mqtt5().publish(message, sending(0, 0), false, 1e6), first)
  const one = mqtt5().publish(message, sending(0, 0, [5]), false, 0)
  t.equal(mqtt5().publish(message, sending(0, 0, [5]), false, 0), one, 'with the same identifier')
  t.not(mqtt5().publish(message, sending(0, 0, [6]), false, 0), one)
  const aliased = () => {
    const wire = mqtt5({ topicAliasMaximum: 2 })
    wire.publish(message, sending(0, 0), false, 0)
    wire.publish(message, sending(0, 0), false, 0)
    return wire
  }
  const [a, b] = [aliased(), aliased()]
  t.equal(a.publish(message, sending(0, 0), false, 0), b.publish(message, sending(0, 0), false, 0), 'or alias')

  for (const start of [0, 1] as const) {
    const large = new EncodedPublish('home/topic', Buffer.alloc(4_097, 'p'))
    const parts = [start, 1, 2].map((qos, i) => mqtt5().publish(large, sending(qos as 0 | 1 | 2, i), false, 0))
    t.same(
      parts.map(all => all?.length),
      [start === 0 ? 1 : 2, 2, 2],
    )
    t.equal(parts[1]?.[1], parts[2]?.[1], 'large payloads are')
    t.equal(a.publish(large, sending(0, 0), false, 0)?.[1], parts[1]?.[1], 'those with an alias, too')
  }

  const sent: { parts: readonly Buffer[]; bytes: string }[] = []
  const wires = [mqtt5(), a, b]
  const both = new EncodedPublish('home/topic', Buffer.alloc(200, 'q'), encodeProperties({ contentType: 'x' }))
  for (let i = 0; i < 300; i++) {
    const ids = random.pick([undefined, [1], [2], [1, 2]])
    const parts = random.pick(wires).publish(both, sendingOf(random, ids), false, i)
    if (parts) sent.push({ parts, bytes: Buffer.concat(parts).toString('hex') })
    both.qos0(random.chance(50))
  }
  t.ok(sent.every(({ parts, bytes }) => Buffer.concat(parts).toString('hex') === bytes))
})

t.test('a packet larger than the client takes is not sent, and leaves no alias', async t => {
  const topic = 'home/kitchen/telemetry'
  const sending: PublishOptions = { qos: 1, packetId: 9, retain: false, ids: [3] }
  const properties = encodeProperties({ contentType: 'x' })
  const message = new EncodedPublish(topic, Buffer.alloc(300), properties, 9e6)
  const whole = Buffer.concat(mqtt5().publish(message, sending, false, 0) ?? []).length
  for (const alias of [0, 1])
    for (const named of [true, false]) {
      const encoded = Buffer.concat(message.mqtt5(sending, false, alias, named, 0)).length
      t.equal(message.size(sending, alias, named), encoded, 'its size is known before')
    }
  t.equal(mqtt5({ maximumPacketSize: whole - 1 }).publish(message, sending, false, 0), undefined)
  t.equal(mqtt5({ maximumPacketSize: whole }).publish(message, sending, false, 0)?.[0]?.length, whole)

  const small = new EncodedPublish(topic, Buffer.alloc(10))
  const wire = mqtt5({ maximumPacketSize: whole - 1, topicAliasMaximum: 4 })
  const aliasOf = (publish: EncodedPublish) => {
    const parts = wire.publish(publish, sending, false, 0)
    const [read] = parse(parts)
    return read && [read.topic, read.properties?.topicAlias]
  }
  t.equal(aliasOf(message), undefined)
  t.equal(aliasOf(message), undefined)
  t.same(aliasOf(small), [topic, undefined], 'was not sent before')
  t.equal(aliasOf(message), undefined)
  t.same(aliasOf(small), [topic, 1])
  t.same(aliasOf(message), ['', 1], 'fits without its topic')

  const exact = mqtt5({ maximumPacketSize: whole, topicAliasMaximum: 4 })
  for (let i = 0; i < 3; i++)
    t.match(
      parse(exact.publish(message, sending, false, 0)),
      [{ topic }],
      'without an alias, for which there is no room',
    )
})

t.test('topic aliases for the client: random topics, and what the client knows', async t => {
  const random = new Random(seed)
  for (const maximum of [1, 2, 5, 64]) {
    const aliases = new TopicAliases(maximum)
    const client = new Map<number, string>()
    const times = new Map<string, number>()
    let saved = 0
    for (let i = 0; i < 20_000; i++) {
      // A few are frequent, most are not.
      const topic = random.chance(60) ? `often/${random.below(maximum)}` : `seldom/${random.below(500)}`
      times.set(topic, (times.get(topic) ?? 0) + 1)
      const known = aliases.of(topic)
      if (known > 0) {
        aliases.use(known)
        saved++
        if (client.get(known) !== topic) return t.equal(client.get(known), topic, `topic ${i} of ${maximum}`)
        continue
      }
      const given = aliases.give(topic)
      if (given > maximum || (given > 0 && times.get(topic) === 1)) return t.fail(`alias ${given} of ${maximum}`)
      if (given > 0) client.set(given, topic)
    }
    t.equal(client.size, maximum)
    t.ok(saved > 2_000, `${saved} of 20,000 saved with ${maximum}`)
  }
  const aliases = new TopicAliases(2)
  const send = (topic: string) => {
    const known = aliases.of(topic)
    if (known === 0) return aliases.give(topic)
    aliases.use(known)
    return known
  }
  t.same(['abcd', 'abcd', 'efgh', 'efgh', 'abcd'].map(send), [0, 1, 0, 2, 1])
  t.same(['ijkl', 'ijkl'].map(send), [0, 2], 'the one that was not used since')
  t.equal(aliases.of('efgh'), 0)
  t.same(['a/b', 'a/b', 'a/b'].map(send), [0, 0, 0], 'a topic that is no longer than an alias')
  for (let i = 0; i < 4; i++) t.equal(send(`once/${i}`), 0)
  t.equal(send('once/3'), 1, 'still remembered')
  t.equal(send('gone'), 0)
  for (let i = 0; i < 100; i++) send(`flood/${i}`)
  t.equal(send('gone'), 0, 'what was sent long ago is not')
})
