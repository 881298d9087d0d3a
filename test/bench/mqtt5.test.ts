import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import mqttPacket, { type Packet } from 'mqtt-packet'
import t, { type Test } from 'tap'
import { Connection } from './connection.js'
import { startGenerator } from './generator.js'
import { AckedPublishers } from './publishers.js'
import { type Mqtt5Results, readResults, resultsMarkdown } from './results.js'
import { monotonicMicros } from './wire.js'

/** What a client may be told in MQTT 5 by a broker, which is mqtt-packet behind a socket here. */

interface Broker {
  readonly port: number
  readonly sockets: Socket[]
  readonly packets: Packet[]
  /** To the connection that came last. */
  send(packet: Packet): void
}

type Answer = (packet: Packet, socket: Socket) => Packet | undefined

const write = (socket: Socket, packet: Packet) => socket.write(mqttPacket.generate(packet, { protocolVersion: 5 }))

/** It answers as `answer` says, else with what there is to a CONNECT and a SUBSCRIBE. */
async function broker(t: Test, answer: Answer = () => undefined): Promise<Broker> {
  const sockets: Socket[] = []
  const packets: Packet[] = []
  const server = createServer({ noDelay: true }, socket => {
    sockets.push(socket)
    socket.on('error', () => {})
    const parser = mqttPacket.parser()
    parser.on('packet', packet => {
      packets.push(packet)
      const its = answer(packet, socket) ?? answerTo(packet)
      if (its) write(socket, its)
    })
    socket.on('data', data => parser.parse(data))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    return new Promise(resolve => server.close(resolve))
  })
  const { port } = server.address() as AddressInfo
  return { port, sockets, packets, send: packet => void write(sockets.at(-1) as Socket, packet) }
}

function answerTo(packet: Packet): Packet | undefined {
  if (packet.cmd === 'connect') return connack({})
  if (packet.cmd !== 'subscribe') return undefined
  return { cmd: 'suback', messageId: packet.messageId as number, granted: packet.subscriptions.map(({ qos }) => qos) }
}

const connack = (properties: { receiveMaximum?: number; reasonString?: string }): Packet => ({
  cmd: 'connack',
  sessionPresent: false,
  reasonCode: 0,
  properties,
})

/** A subscriber of MQTT 5 that collects what it gets; it has failed with what `failed` resolves with. */
function subscriber(t: Test, port: number) {
  let fail: (error: Error) => void = () => {}
  const failed = new Promise<Error>(resolve => {
    fail = resolve
  })
  const received: string[] = []
  const connection = new Connection({
    port,
    clientId: 'subscriber',
    version: 5,
    topicAliases: 2,
    onPacket: (data, start, _body, end) => received.push(data.toString('hex', start, end)),
    onFailure: fail,
  })
  t.teardown(() => connection.end())
  return { connection, failed, received }
}

const publish = (topic: string, topicAlias: number): Packet => ({
  cmd: 'publish',
  topic,
  payload: 'x',
  qos: 0,
  retain: false,
  dup: false,
  properties: { topicAlias },
})

t.test('connects, subscribes and receives by alias; an alias that was never given is a failure', async t => {
  const { port, packets, send } = await broker(t)
  const { connection, failed, received } = subscriber(t, port)
  await connection.ready
  await connection.subscribe(1, ['a/#', '$share/g/b'], 1)
  t.match(packets, [
    { cmd: 'connect', protocolVersion: 5, properties: { topicAliasMaximum: 2 } },
    { cmd: 'subscribe', subscriptions: [{ topic: 'a/#', qos: 1 }, { topic: '$share/g/b' }] },
  ])
  for (const packet of [publish('a/b', 1), publish('', 1), publish('', 2)]) send(packet)
  t.match((await failed).message, 'a topic alias that it has not given')
  t.equal(received.length, 2)
})

t.test('what a broker refuses is never counted', async t => {
  const cases: [said: Packet, expected: string][] = [
    [{ cmd: 'puback', messageId: 1, reasonCode: 0x97, properties: {} }, 'refused a publish: reason code 151'],
    [{ cmd: 'disconnect', reasonCode: 0x8b, properties: {} }, 'ended a connection: reason code 139'],
  ]
  for (const [said, expected] of cases) {
    const { port, send } = await broker(t)
    const { connection, failed, received } = subscriber(t, port)
    await connection.ready
    send({ cmd: 'puback', messageId: 1, reasonCode: 0x10, properties: { reasonString: 'nobody' } })
    send(said)
    t.match((await failed).message, expected)
    t.equal(received.length, 1, 'what is a success goes on')
  }
  const refusing = await broker(t, packet =>
    packet.cmd === 'subscribe'
      ? { cmd: 'suback', messageId: 1, granted: [0, 0x87], properties: { reasonString: 'not so' } }
      : undefined,
  )
  const { connection } = subscriber(t, refusing.port)
  await connection.ready
  await t.rejects(connection.subscribe(1, ['a', 'b']), /refused a subscription/)
  const closed = await broker(t, ({ cmd }) =>
    cmd === 'connect' ? { cmd: 'connack', sessionPresent: false, reasonCode: 0x87, properties: {} } : undefined,
  )
  await t.rejects(subscriber(t, closed.port).connection.ready, /return code 135/)
})

t.test('a broker that answers MQTT 5 as 3.1.1 is no broker of MQTT 5', async t => {
  const server = createServer(socket => socket.once('data', () => socket.write(Buffer.from([0x20, 2, 0, 0]))))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => new Promise(resolve => server.close(resolve)))
  const { connection } = subscriber(t, (server.address() as AddressInfo).port)
  await t.rejects(connection.ready, /as one of MQTT 3.1.1/)
})

t.test('a window beyond the Receive Maximum is refused; one within it is kept full', async t => {
  const acknowledging = await broker(t, packet => {
    if (packet.cmd === 'connect') return connack({ receiveMaximum: 5, reasonString: 'few' })
    if (packet.cmd !== 'publish') return undefined
    return { cmd: 'puback', messageId: packet.messageId as number, reasonCode: 0, properties: {} }
  })
  const { port, packets } = acknowledging
  const job = { kind: 'acked', port, publishers: 1, payloadBytes: 100, version: 5 } as const
  const failures: Error[] = []
  const fail = (error: Error) => failures.push(error)
  await t.rejects(new AckedPublishers({ ...job, window: 6 }, fail).prepare(), /Receive Maximum of 5/)
  const publishers = new AckedPublishers({ ...job, window: 5 }, fail)
  await publishers.prepare()
  publishers.run()
  while (publishers.counts().acknowledged < 100) await new Promise(resolve => setTimeout(resolve, 5))
  t.same(failures, [])
  const published = packets.filter(packet => packet.cmd === 'publish')
  t.match(published[0], { qos: 1, topic: 'bench/floor-0/meter-0/telemetry', messageId: 1 })
  t.same(
    published.slice(0, 7).map(({ messageId }) => messageId),
    [1, 2, 3, 4, 5, 1, 2],
  )
})

t.test(
  'QoS 1 to a group: identifiers in turn, no more under way than the window, each message counted once',
  async t => {
    const window = 20
    const topics = { names: ['plant/line-4/press-17/telemetry', 'plant/line-5/press-17/telemetry'], filter: 'plant/#' }
    const members: Socket[] = []
    const filters: string[] = []
    let delivered = 0
    let underWay = 0
    let most = 0
    const { port, packets } = await broker(t, (packet, socket) => {
      if (packet.cmd === 'subscribe') {
        members.push(socket)
        filters.push(...packet.subscriptions.map(({ topic }) => topic))
      }
      if (packet.cmd !== 'publish') return undefined
      most = Math.max(most, ++underWay)
      const messageId = packet.messageId as number
      const deliver = { ...packet, messageId: (delivered % 65_535) + 1, properties: {} }
      // Delivered first and acknowledged later: a message is under way for as long.
      write(members[delivered++ % members.length] as Socket, deliver)
      setImmediate(() => {
        underWay--
        write(socket, { cmd: 'puback', messageId })
      })
      return undefined
    })
    const generator = await startGenerator({
      kind: 'saturate',
      port,
      publishers: 1,
      subscribers: 2,
      filters: 0,
      window,
      batch: 4,
      payloadBytes: 64,
      version: 5,
      qos: 1,
      group: 'g',
      topics,
    })
    t.teardown(() => generator.end())
    const begin = monotonicMicros()
    const { counts } = await generator.run({ begin, end: begin + 500_000 })
    generator.check()
    const published = packets.filter(packet => packet.cmd === 'publish')
    const { sent = 0, received = 0, bytes = 0 } = counts
    t.ok(received > 0 && Math.abs(sent - received) <= window, `${sent} sent, ${received} received`)
    // A part of a packet may have come at the beginning, and at the end, to each of the two.
    t.ok(Math.abs(bytes - 102 * received) < 4 * 102, `${bytes / received} bytes each`)
    t.ok(most <= window, `${most} under way`)
    t.same(filters, ['$share/g/plant/#', '$share/g/plant/#'])
    t.same(
      published.slice(0, 30).map(({ messageId }) => messageId),
      Array.from({ length: 30 }, (_, n) => n + 1),
    )
    t.same(new Set(published.map(({ topic }) => topic)), new Set(topics.names))
    t.ok(
      published.every(({ payload, qos }) => payload.length === 64 && qos === 1),
      'each a whole packet',
    )
    t.ok(
      packets.some(({ cmd }) => cmd === 'puback'),
      'the members acknowledge',
    )
  },
)

t.test('the part of docs/benchmarks.md: both sides, how they compare, also of what was not measured', async t => {
  const { mqtt5: _, month: __, screen: ___, ...others } = readResults()
  const alone = resultsMarkdown(others)
  const mqtt5: Mqtt5Results = {
    date: '2030-01-02T03:04:05Z',
    machine: others.machine,
    versions: { telehub: '1', mosquitto: '2', node: '3' },
    seconds: 4,
    rows: [
      {
        name: 'a',
        unit: '/s',
        without: '3.1.1',
        with: '5',
        telehub: { before: 1_000, after: 900 },
        rival: { before: 10, after: 10 },
        floor: { before: 2_000, after: 1_000 },
        target: '0.85 × 3.1.1',
        reached: true,
      },
      { name: 'b', unit: 'bytes', without: 'no alias', with: '64 aliases', telehub: { before: 100, after: 72 } },
      { name: 'c', unit: '/s', without: '3.1.1', with: '5', target: '0.85 × 3.1.1', reached: false },
    ],
  }
  const text = resultsMarkdown({ ...others, mqtt5 })
  t.ok(text.startsWith(`${alone}\n\n`), 'the rows of the broker come first')
  const lines = text.slice(alone.length).trim().split('\n')
  t.same(lines.slice(4, 7), [
    '| a | 3.1.1: 1,000/s | 5: 900/s | 0.90 × | 0.85 × 3.1.1 | reached | 1.00 × | 0.50 × |',
    '| b | no alias: 100.0 bytes | 64 aliases: 72.0 bytes | −28 % |  |  |  |  |',
    '| c | 3.1.1: — | 5: — |  | 0.85 × 3.1.1 | missed |  |  |',
  ])
  t.match(lines.at(-1), '1 of 2 targets reached. Measured 2030-01-02')
})
