import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import mqttPacket, { type Packet } from 'mqtt-packet'
import t from 'tap'
import { Framer } from '../../src/mqtt/framer.js'
import { isServerPacket, MalformedPacket, packetType } from '../../src/mqtt/primitives.js'
import { EncodedPublish, PublishReader } from '../../src/mqtt/publish.js'
import {
  connack,
  type ProtocolName,
  pingresp,
  readConnect,
  readPacketId,
  readSubscribe,
  readUnsubscribe,
  suback,
  unsuback,
  writeAck,
} from '../../src/mqtt/v3.js'
import {
  type Content,
  connectPacket,
  contentOf,
  malformedCases,
  packet,
  plainOptions,
  Random,
  readNext,
  someConnect,
  somePacket,
} from '../fixtures/packets.js'

const limit = 1_000_000
const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000)
t.comment(`FUZZ_SEED=${seed}`)

/** What mqtt-packet makes of bytes sent by a server or a client of this protocol. */
function parse(bytes: Buffer, protocolVersion: ProtocolName = 4): Packet[] {
  const parser = mqttPacket.parser({ protocolVersion })
  const packets: Packet[] = []
  parser.on('packet', packet => packets.push(packet))
  parser.on('error', error => {
    throw error
  })
  parser.parse(bytes)
  return packets
}

/** All contents of a stream, or what is wrong with it. */
function readAll(framer: Framer, bytes: Buffer, protocol?: ProtocolName): Content[] {
  framer.push(bytes)
  const contents: Content[] = []
  for (let known = protocol; ; ) {
    const content = readNext(framer, known)
    if (!content) return contents
    contents.push(content)
    known ??= content.protocol as ProtocolName
  }
}

/** The one packet of these bytes, as arguments of a reader. */
function framed(bytes: Buffer): [header: number, buffer: Buffer, start: number, end: number] {
  const framer = new Framer(limit)
  framer.push(bytes)
  if (!framer.next()) throw new Error('not a whole packet')
  return [framer.header, framer.buffer, framer.start, framer.end]
}

const fault = (bytes: Buffer, protocol?: ProtocolName) => {
  try {
    return readAll(new Framer(limit), bytes, protocol)
  } catch (error) {
    if (error instanceof MalformedPacket) return error
    throw error
  }
}

t.test('every malformed case is refused with the statement it breaks', async t => {
  t.ok(malformedCases.length > 250, `${malformedCases.length} cases`)
  for (const { name, bytes, before, protocol, clause, answer } of malformedCases) {
    const error = fault(bytes, before === 'connected' ? protocol : undefined)
    if (!(error instanceof MalformedPacket)) t.fail(`accepted: ${name}`, { error })
    else {
      const code = answer ? Buffer.from(answer, 'hex')[3] : undefined
      t.same([error.clause, error.returnCode], [clause, code], `${name}: ${error.message}`)
      t.equal(error.tooLarge, name.endsWith('announced'), 'too large or not')
      if (code !== undefined) t.equal(connack(code, true).toString('hex'), answer)
    }
  }
  t.equal(new Set(malformedCases.map(one => one.name)).size, malformedCases.length, 'each has a name of its own')
})

t.test('what mqtt-packet writes is read as it was meant', async t => {
  const random = new Random(seed)
  let wrong = 0
  for (let i = 0; i < 20_000 && wrong < 5; i++) {
    const bytes = i % 4 === 0 ? someConnect(random) : somePacket(random)
    const read = fault(bytes, i % 4 === 0 ? undefined : 4)
    const meant = parse(bytes).map(contentOf)
    if (isDeepStrictEqual(read, meant)) continue
    wrong++
    t.same(read, meant, `packet ${i}: ${bytes.toString('hex').slice(0, 400)}`)
  }
  t.equal(wrong, 0)
})

t.test('what mqtt-packet does not write, and is allowed', async t => {
  const one = (bytes: Buffer, protocol?: ProtocolName) => readAll(new Framer(limit), bytes, protocol)[0]
  const mqtt31 = '00064d5149736470 03'
  t.match(one(packet(0x10, mqtt31, '02 003c 0001 61')), { protocol: 3, clientId: 'a', clean: true, keepAlive: 60 })
  t.match(one(packet(0x10, mqtt31, 'c2 003c 0001 61')), { username: undefined, password: undefined })
  t.match(one(packet(0x10, mqtt31, 'c2 003c 0001 61 0001 75')), { username: 'u', password: undefined })
  t.match(one(packet(0x10, mqtt31, '02 003c 0001 61')), { bridge: false })
  t.match(one(packet(0x10, '00064d5149736470 83 02 003c 0001 61')), { protocol: 3, bridge: true })
  t.match(one(packet(0x10, '00044d515454 84 02 003c 0001 61')), { protocol: 4, bridge: true })
  const id30 = Buffer.concat([Buffer.from([0, 120]), Buffer.from('😀'.repeat(30))])
  t.match(one(packet(0x10, mqtt31, '02 003c', id30)), { clientId: '😀'.repeat(30) }, 'more than MQTT 3.1 allows')
  t.match(one(packet(0x10, '00044d515454 04 02 0000 0000')), { protocol: 4, clientId: '', keepAlive: 0 })
  t.match(one(packet(0x10, '00044d515454 04 c2 0000 0000 0000 0000')), { username: '', password: Buffer.alloc(0) })

  t.match(one(Buffer.from('6a020001', 'hex'), 3), { packetId: 1 }, 'DUP in PUBREL of MQTT 3.1')
  t.match(one(packet(0x8a, '0001 0001 61 01'), 3), { subscriptions: [{ filter: 'a', qos: 1 }] })
  t.match(one(packet(0xaa, '0001 0001 61'), 3), { filters: ['a'] })
  t.match(one(packet(0x30, '0003 efbbbf'), 4), { topic: '\uFEFF' }, 'a byte order mark is a character')
  t.match(one(packet(0x30, '0004 24535953'), 4), { topic: '$SYS' }, 'who may publish there is decided elsewhere')
  t.match(one(packet(0x30, '003f', Buffer.alloc(63, 'x/')), 4), { topic: 'x/'.repeat(31).concat('x') }, '32 levels')
  t.match(one(packet(0x82, '0001 0001 2f 00'), 4), { subscriptions: [{ filter: '/', qos: 0 }] })
  t.match(
    one(Buffer.from('30 83 00 0001 61'.replaceAll(' ', ''), 'hex'), 4),
    { topic: 'a' },
    'a length with a spare byte',
  )
})

t.test('what is read is kept as copies, topics as one string', async t => {
  const connect = packet(0x10, '00044d515454 04 c6 0000 0001 61 0001 74 0003 627965 0001 75 0002 7077')
  const { will, password } = readConnect(...framed(connect))
  connect.fill(0)
  t.same([will?.payload, password], [Buffer.from('bye'), Buffer.from('pw')])

  const reader = new PublishReader()
  for (const topic of ['plain/topic', 'ünïcode/水', '\uFEFFmark', 'x'.repeat(4_096)]) {
    const bytes = mqttPacket.generate({ cmd: 'publish', topic, payload: 'p', qos: 0, retain: false, dup: false })
    reader.read(...framed(bytes))
    t.equal(reader.topic, topic)
    bytes.fill(0x61, 4)
  }
  // Far more topics than are kept, twice over, so that some are remembered and some are not.
  for (let i = 0; i < 50_000; i++) {
    const topic = `house/${i % 25_000}`
    const [qos, messageId, retain, dup] = [(i % 3) as 0 | 1 | 2, 1 + i, i % 2 === 0, i % 3 > 0 && i % 5 === 0]
    const bytes = mqttPacket.generate({ cmd: 'publish', topic, payload: 'p', qos, messageId, retain, dup })
    const [header, buffer, start, end] = framed(bytes)
    reader.read(header, buffer, start, end)
    const read = [reader.topic, reader.qos, reader.packetId, reader.retain, reader.dup, end - reader.payloadStart]
    const meant = [topic, qos, qos > 0 ? messageId : 0, retain, dup, 1]
    if (!isDeepStrictEqual(read, meant)) return t.same(read, meant)
  }
})

t.test('topics of the same hash are told apart', async t => {
  const hashOf = (text: string) => {
    let hash = text.length
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
    return hash
  }
  const byHash = new Map<number, string>()
  const pairs: (readonly [string, string])[] = []
  for (let i = 0; i < 300_000; i++) {
    const topic = `home/${Math.imul(i, 0x9e3779b1) >>> 0}/telemetry`
    const other = byHash.get(hashOf(topic))
    if (other) pairs.push([topic, other])
    byHash.set(hashOf(topic), topic)
  }
  t.ok(pairs.length > 0, `${pairs.length} pairs`)
  const reader = new PublishReader()
  for (const topic of [...pairs, ...pairs].flat()) {
    reader.read(
      ...framed(mqttPacket.generate({ cmd: 'publish', topic, payload: '', qos: 0, retain: false, dup: false })),
    )
    t.equal(reader.topic, topic)
  }
})

t.test('the framer: every way to cut a stream into two or three chunks, and byte by byte', async t => {
  const stream = Buffer.concat([
    connectPacket(4, 'cut'),
    packet(0x32, '0003 612f62 0007', Buffer.alloc(150, 'p')),
    Buffer.from('c000', 'hex'),
    packet(0x82, '0001 0001 61 00 0003 622f23 02'),
    Buffer.from('40020001c000', 'hex'),
    packet(0x30, '0001 61', Buffer.alloc(200, 'q')),
    Buffer.from('e000', 'hex'),
  ])
  const whole = readAll(new Framer(limit), stream)
  t.equal(whole.length, 8)

  const cuts = (...at: number[]) => [0, ...at].map((from, i) => Buffer.from(stream.subarray(from, at[i])))
  /** `late`: nothing is asked for before all has come, as with back-pressure. */
  const read = (chunks: readonly Buffer[], late: boolean) => {
    const framer = new Framer(limit)
    const contents: Content[] = []
    let pushed = 0
    let known: ProtocolName | undefined
    const drain = () => {
      for (;;) {
        const content = readNext(framer, known)
        if (!content) return
        known ??= content.protocol as ProtocolName
        contents.push(content)
      }
    }
    for (const chunk of chunks) {
      framer.push(chunk)
      pushed += chunk.length
      if (!late) drain()
      if (framer.buffered > pushed) throw new Error('more is held than came')
    }
    if (late) drain()
    return framer.buffered === 0 && isDeepStrictEqual(contents, whole)
  }
  const wrong: unknown[] = []
  for (let a = 0; a <= stream.length; a++)
    for (const late of [false, true]) {
      if (!read(cuts(a), late)) wrong.push([a, late])
      for (let b = a; b <= stream.length; b += 3) if (!read(cuts(a, b), late)) wrong.push([a, b, late])
    }
  t.same(wrong, [])
  for (const size of [1, 2, 3, 5, 64]) {
    const at = Array.from({ length: Math.ceil(stream.length / size) - 1 }, (_, i) => (i + 1) * size)
    for (const late of [false, true]) t.ok(read(cuts(...at), late), `chunks of ${size}${late ? ', read late' : ''}`)
  }
})

t.test('the framer: chunks pushed while others wait come after them', async t => {
  const framer = new Framer(limit)
  const ack = (id: number) => packet(0x40, Buffer.from([0, id]))
  const ids: number[] = []
  const next = () => framer.next() && ids.push(readPacketId(framer.header, framer.buffer, framer.start, framer.end, 4))
  framer.push(ack(1))
  framer.push(ack(2))
  next()
  framer.push(ack(3))
  framer.push(ack(4).subarray(0, 3))
  next()
  framer.push(ack(4).subarray(3))
  framer.push(ack(5))
  t.equal(framer.buffered, 12)
  while (next());
  t.same(ids, [1, 2, 3, 4, 5])
  t.equal(framer.buffered, 0)
})

t.test('the framer: the limit, as soon as it is announced, and changed between packets', async t => {
  const framer = new Framer(10)
  framer.push(Buffer.from('c00030', 'hex'))
  t.ok(framer.next())
  t.notOk(framer.next())
  framer.push(Buffer.from([11]))
  t.throws(() => framer.next(), { clause: 'limit', tooLarge: true, message: 'a packet of 11 bytes, larger than 10' })
  // And it stays refused.
  t.throws(() => framer.next(), MalformedPacket)
  framer.limit = 11
  framer.push(Buffer.alloc(11, 'x'))
  t.ok(framer.next())
  t.equal(framer.end - framer.start, 11)

  const long = new Framer(0x0fffffff)
  long.push(Buffer.from('30ffffff7f', 'hex'))
  t.notOk(long.next(), 'the largest there is')
  const endless = new Framer(0x0fffffff)
  endless.push(Buffer.from('30ffffff', 'hex'))
  t.notOk(endless.next())
  endless.push(Buffer.from([0xff]))
  // Four bytes suffice to know.
  t.throws(() => endless.next(), { clause: 'MQTT-2.2.3', tooLarge: false, message: /four bytes/ })
})

// Copied anew for each byte, the megabyte would take longer than a test file may.
t.test('the framer: no copy of whole packets; a megabyte in single bytes is copied once', async t => {
  const chunk = Buffer.concat([packet(0x30, '0001 61 62'), packet(0x30, '0001 61 63')])
  const framer = new Framer(limit)
  framer.push(chunk)
  framer.next()
  t.equal(framer.buffer, chunk)
  framer.next()
  t.equal(framer.buffer, chunk)

  const large = packet(0x30, '0001 61', Buffer.alloc(999_000, 'l'))
  for (const late of [false, true]) {
    const framer = new Framer(limit)
    for (let i = 0; i < large.length; i++) {
      framer.push(large.subarray(i, i + 1))
      if (!late && framer.next() !== (i === large.length - 1)) return t.fail(`at byte ${i}`)
    }
    if (late) t.ok(framer.next())
    t.ok(framer.buffer.subarray(framer.start, framer.end).equals(large.subarray(4)))
  }
})

t.test('the framer: a connection at rest holds what it sent, not what it announced', async t => {
  setFlagsFromString('--expose_gc')
  const gc = runInNewContext('gc') as () => void
  const held = async () => {
    // What is found unused is freed by another thread, some time after.
    for (let i = 0; i < 5; i++) {
      gc()
      await sleep(20)
    }
    return process.memoryUsage().arrayBuffers
  }
  const before = await held()
  const framers = Array.from({ length: 500 }, (_, i) => {
    const framer = new Framer(limit)
    // Whole packets, then 10 bytes of a large one, or nothing.
    const tail = i % 2 === 0 ? packet(0x30, '0001 61', Buffer.alloc(900_000)).subarray(0, 10) : Buffer.alloc(0)
    framer.push(Buffer.concat([packet(0x30, '0001 61', Buffer.alloc(60_000)), tail]))
    while (framer.next());
    return framer
  })
  const grown = (await held()) - before
  t.ok(grown < 500 * 1_000, `${grown} bytes for ${framers.length} framers`)
  t.equal(framers[0]?.buffered, 10)
})

t.test('acknowledgements are read by mqtt-packet', async t => {
  for (const code of [0, 1, 2, 3, 4, 5])
    t.match(parse(connack(code, true)), [{ cmd: 'connack', returnCode: code, sessionPresent: code === 0 }])
  t.match(parse(connack(0, false)), [{ cmd: 'connack', returnCode: 0, sessionPresent: false }])
  t.match(parse(suback(7, [0, 1, 2, 0x80])), [{ cmd: 'suback', messageId: 7, granted: [0, 1, 2, 0x80] }])
  const many = Array.from({ length: 20_000 }, (_, i) => i % 3)
  t.match(parse(suback(65_535, many)), [{ messageId: 65_535, granted: many }])
  t.match(parse(unsuback(258)), [{ cmd: 'unsuback', messageId: 258 }])
  t.match(parse(pingresp), [{ cmd: 'pingresp' }])
  const acks = ['puback', 'pubrec', 'pubrel', 'pubcomp'] as const
  const target = Buffer.alloc(4 * acks.length)
  acks.forEach((cmd, i) => {
    writeAck(target, 4 * i, packetType[cmd], 0xff00 + i)
  })
  t.match(
    parse(target),
    acks.map((cmd, i) => ({ cmd, messageId: 0xff00 + i })),
  )
  t.same([...Array(16).keys()].filter(isServerPacket), [
    0,
    packetType.connack,
    packetType.suback,
    packetType.unsuback,
    packetType.pingresp,
    15,
  ])
})

t.test('messages are read by mqtt-packet, in whatever order their forms are asked for', async t => {
  const random = new Random(seed)
  // About where the remaining length takes a byte more, with `a` as topic: 3 bytes less, or 5 with a packet id.
  const edges = [0x80, 0x4000, 0x200000].flatMap(length => [length - 6, length - 5, length - 4, length - 3])
  const sizes = [0, 1, 60, 4_095, 4_096, 4_097, 200_000, ...edges]
  for (const size of [...sizes, ...sizes])
    for (const topic of ['a', 'home/ünï/水/😀', 't'.repeat(300)]) {
      const payload = random.bytes(Math.min(size, 1_000))
      const given = Buffer.alloc(size, payload.length > 0 ? payload : 0)
      const meant = Buffer.from(given)
      const message = new EncodedPublish(topic, given)
      const wrong: unknown[] = []
      for (let i = 0; i < 8; i++) {
        const qos = random.below(3) as 0 | 1 | 2
        const [retain, dup, messageId] = [random.chance(50), qos > 0 && random.chance(50), 1 + random.below(65_535)]
        const parts = qos === 0 ? message.qos0(retain) : message.qos12(qos, messageId, retain, dup)
        // What was given may be overwritten as soon as a form is encoded.
        given.fill(0)
        const [read, more] = parse(Buffer.concat(parts))
        const expected = { topic, payload: meant, qos, retain, dup, packetId: qos > 0 ? messageId : 0, type: 3 }
        if (more || !read || !isDeepStrictEqual(contentOf(read), expected)) wrong.push([i, qos, retain, dup, messageId])
      }
      t.same(wrong, [], `${size} bytes to ${topic.slice(0, 20)}`)
    }
})

t.test('a message is encoded once per form, and large payloads are shared', async t => {
  const small = new EncodedPublish('a', Buffer.alloc(4_096))
  t.equal(small.qos0(false), small.qos0(false))
  t.equal(small.qos0(true), small.qos0(true))
  t.not(small.qos0(true), small.qos0(false))
  const sent = [1, 2, 3].map(id => small.qos12(1, id, false, false))
  t.same(
    sent.map(parts => [parts.length, readPublishId(parts)]),
    [
      [1, 1],
      [1, 2],
      [1, 3],
    ],
    'no packet is changed by the next',
  )

  for (const first of ['qos0', 'qos1']) {
    const large = new EncodedPublish('a', Buffer.alloc(4_097, 'p'))
    if (first === 'qos0') large.qos0(false)
    const [a, b] = [large.qos12(1, 1, false, false), large.qos12(2, 2, true, true)]
    t.same([a.length, b.length], [2, 2])
    t.equal(a[1], b[1], 'the payload')
    if (first === 'qos0') t.equal(a[1]?.buffer, large.qos0(false)[0].buffer, 'is that of the QoS 0 form')
  }
  t.match(parse(new EncodedPublish('x'.repeat(65_535), Buffer.alloc(0)).qos0(false)[0]), [
    { topic: 'x'.repeat(65_535) },
  ])
  t.throws(() => new EncodedPublish('x'.repeat(65_536), Buffer.alloc(0)).qos0(false), RangeError)
})

function readPublishId(parts: readonly Buffer[]): number {
  const reader = new PublishReader()
  reader.read(...framed(Buffer.concat(parts)))
  return reader.packetId
}

t.test('readers tell what they read', async t => {
  t.same(readSubscribe(...framed(packet(0x82, '0102 0001 61 00 0003 622f23 02')), 4), {
    packetId: 258,
    id: 0,
    conflate: false,
    subscriptions: [
      { filter: 'a', qos: 0, ...plainOptions },
      { filter: 'b/#', qos: 2, ...plainOptions },
    ],
  })
  t.same(readUnsubscribe(...framed(packet(0xa2, '0102 0001 61 0001 2b')), 4), { packetId: 258, filters: ['a', '+'] })
})
