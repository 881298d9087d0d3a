import mqttPacket, { type Packet } from 'mqtt-packet'
import t from 'tap'
import { distribution } from './task.js'
import {
  connectPacket,
  encodeFrame,
  FrameScanner,
  frame,
  PacketScanner,
  pastProperties,
  property,
  propertyOf,
  publishPacket,
  reading,
  stamp,
  stampOf,
  subscribePacket,
  TopicAliases,
  type Version,
} from './wire.js'

/** A load generator that miscounts makes every figure wrong. */

const packets = [
  connectPacket('client'),
  subscribePacket(1, ['a/+/b', 'c'], 1),
  publishPacket('a', Buffer.from(''), 0),
  publishPacket('a/b', reading(7, 100), 0),
  publishPacket('a/b', Buffer.alloc(300, 'x'), 1, 65_535),
  publishPacket('a/b', Buffer.alloc(20_000, 'y'), 0),
  connectPacket('client', { version: 5, topicAliases: 64 }),
  publishPacket('a/b', Buffer.alloc(300, 'z'), 1, 65_535, 5),
]

/** What mqtt-packet makes of bytes. */
function parsed(bytes: Buffer, protocolVersion: Version): Packet {
  const found: Packet[] = []
  const parser = mqttPacket.parser({ protocolVersion })
  parser.on('packet', packet => found.push(packet))
  parser.on('error', error => {
    throw error
  })
  parser.parse(bytes)
  if (found.length !== 1) throw new Error(`${found.length} packets`)
  return found[0] as Packet
}

t.test('packets come out as they went in, however the stream is cut', async t => {
  const stream = Buffer.concat(packets)
  for (const size of [1, 2, 3, 5, 64, 127, 1_000, stream.length]) {
    const found: string[] = []
    const scanner = new PacketScanner((data, start, _body, end) => found.push(data.toString('hex', start, end)))
    for (let at = 0; at < stream.length; at += size) scanner.take(stream, at, Math.min(at + size, stream.length))
    t.same(
      found,
      packets.map(packet => packet.toString('hex')),
      `in pieces of ${size}`,
    )
  }
})

t.test('frames of a server likewise, also when a packet is spread over several', async t => {
  const both = Buffer.concat(packets)
  const stream = Buffer.concat([
    encodeFrame(frame.binary, both.subarray(0, 33), false),
    encodeFrame(frame.ping, Buffer.from('there?'), false),
    encodeFrame(frame.binary, both.subarray(33, 400), false),
    encodeFrame(frame.binary, both.subarray(400), false),
    encodeFrame(frame.binary, Buffer.alloc(70_000), false),
  ])
  for (const size of [1, 2, 3, 7, 1_000, stream.length]) {
    const data: Buffer[] = []
    const control: [number, string][] = []
    const scanner = new FrameScanner(
      (chunk, from, to) => data.push(Buffer.from(chunk.subarray(from, to))),
      (opcode, payload) => control.push([opcode, payload.toString()]),
    )
    for (let at = 0; at < stream.length; at += size) scanner.take(stream.subarray(at, at + size))
    t.ok(Buffer.concat(data).equals(Buffer.concat([both, Buffer.alloc(70_000)])), `in pieces of ${size}`)
    t.same(control, [[frame.ping, 'there?']])
  }
})

for (const version of [4, 5] as const) {
  t.test(`MQTT ${version === 5 ? '5' : '3.1.1'}: what is written is what mqtt-packet reads`, async t => {
    const aliases = version === 5 ? 64 : 0
    const login = { username: 'who', password: 'what' }
    const connect = parsed(connectPacket('client', { version, login, topicAliases: aliases }), version)
    t.match(connect, { cmd: 'connect', protocolVersion: version, clientId: 'client', clean: true, keepalive: 0 })
    t.match(connect, { username: 'who', password: Buffer.from('what') })
    t.same('properties' in connect && connect.properties, version === 5 && { topicAliasMaximum: 64 })
    t.match(parsed(connectPacket('c', { version }), version), { cmd: 'connect', clientId: 'c', username: undefined })

    const filters = ['a/+/b', '$share/group/c/#']
    const subscribe = parsed(subscribePacket(7, filters, 1, version), version)
    t.match(subscribe, { cmd: 'subscribe', messageId: 7, subscriptions: filters.map(topic => ({ topic, qos: 1 })) })

    for (const [qos, size] of [
      [0, 100],
      [1, 0],
      [1, 20_000],
    ] as const) {
      const payload = Buffer.alloc(size, 'x')
      const bytes = publishPacket('a/ü', payload, qos, 513, version)
      const publish = parsed(bytes, version)
      t.match(publish, { cmd: 'publish', topic: 'a/ü', qos, retain: false, dup: false, payload })
      if (qos === 0) continue
      t.equal(publish.messageId, 513)
      t.equal(bytes.readUInt16BE(bytes.length - size - (version === 5 ? 3 : 2)), 513, 'where the identifier is')
    }
  })
}

t.test('without a version it is MQTT 3.1.1, byte for byte', async t => {
  t.equal(connectPacket('ab').toString('hex'), '100e00044d5154540402000000026162')
  t.equal(subscribePacket(258, ['a/#'], 1).toString('hex'), '820801020003612f2301')
  t.equal(publishPacket('a', Buffer.from('b'), 1, 258).toString('hex'), '3206000161010262')
})

t.test('one property among all that a broker may send', async t => {
  const connack = mqttPacket.generate(
    {
      cmd: 'connack',
      sessionPresent: false,
      reasonCode: 0,
      properties: {
        sessionExpiryInterval: 0x21_22_23_21,
        assignedClientIdentifier: 'x'.repeat(200),
        userProperties: { '!': '"', b: ['c', 'd'] },
        retainAvailable: true,
        receiveMaximum: 777,
        maximumPacketSize: 5,
        topicAliasMaximum: 3,
        reasonString: '!!',
      },
    },
    { protocolVersion: 5 },
  )
  const found: (number | undefined)[] = []
  const scanner = new PacketScanner((data, _start, body, end) => {
    found.push(propertyOf(data, body + 2, property.receiveMaximum), propertyOf(data, body + 2, 0x27))
    found.push(propertyOf(data, body + 2, property.topicAlias), pastProperties(data, body + 2) - end)
  })
  scanner.take(connack, 0, connack.length)
  t.same(found, [777, 5, undefined, 0])
})

t.test('topic aliases: the topic that was last given one, and nothing that was not', async t => {
  const aliases = new TopicAliases(2)
  const topicOf = (topic: string, topicAlias?: number, qos: 0 | 1 = 0) => {
    const properties = {
      userProperties: { a: '#' },
      subscriptionIdentifier: 200,
      ...(topicAlias !== undefined && { topicAlias }),
    }
    const packet = {
      cmd: 'publish',
      topic,
      payload: 'x',
      qos,
      messageId: 1,
      retain: false,
      dup: false,
      properties,
    } as const
    const bytes = mqttPacket.generate(packet, { protocolVersion: 5 })
    const found: (string | undefined)[] = []
    new PacketScanner((data, start, body) => found.push(aliases.topicOf(data, start, body))).take(
      bytes,
      0,
      bytes.length,
    )
    return found
  }
  t.same(topicOf('a/b'), ['a/b'])
  t.same(topicOf('a/b', 1), ['a/b'])
  t.same(topicOf('c', 2, 1), ['c'])
  t.same([topicOf('', 1), topicOf('', 2, 1)], [['a/b'], ['c']])
  t.same([topicOf('d', 1), topicOf('', 1)], [['d'], ['d']])
  t.same([topicOf('a/b', 3), topicOf('', 3)], [[undefined], [undefined]], 'above the maximum')
  const fresh = new TopicAliases(2)
  const alone = Buffer.from('300600000323000178', 'hex')
  t.equal(fresh.topicOf(alone, 0, 2), undefined, 'never given')
})

t.test('a reading is JSON of the length asked for, before and after it is stamped', async t => {
  const payload = reading(3, 100)
  t.equal(payload.length, 100)
  t.equal(stampOf(payload, payload.length), 0)
  const packet = publishPacket('a/b', payload, 0)
  stamp(packet, packet.length, 123_456_789.4)
  t.equal(stampOf(packet, packet.length), 123_456_789)
  const { power, sent } = JSON.parse(packet.subarray(-100).toString()) as { power: number; sent: number }
  t.same([power, sent], [1_003.5, 1e15 + 123_456_789])
  const short = reading(3, 64)
  t.equal(short.length, 64)
  t.equal((JSON.parse(short.toString()) as { power: number }).power, 1_003.5)
})

t.test('percentiles', async t => {
  const micros = Float64Array.from({ length: 1_000 }, (_, n) => (1_000 - n) * 1_000)
  t.same(distribution(micros), { samples: 1_000, p50: 501, p99: 991, max: 1_000 })
})
