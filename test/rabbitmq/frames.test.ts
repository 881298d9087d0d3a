import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { PassThrough } from 'node:stream'
import type { ConfirmChannel, Options } from 'amqplib'
import t from 'tap'
import type { Message } from '../../src/model.js'
import { encodeProperties } from '../../src/mqtt/message-properties.js'
import { TelemetryCopies } from '../../src/rabbitmq/copies.js'
import { FrameWriter, PlainOutgoing, type PublishProperties } from '../../src/rabbitmq/frames.js'
import { outgoingMessage } from '../../src/rabbitmq/message.js'
import { PublishChannel } from '../../src/rabbitmq/publish-channel.js'
import { Random } from '../fixtures/packets.js'

const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000)
const cases = Number(process.env.FUZZ_CASES ?? 3_000)
t.comment(`FUZZ_SEED=${seed}`)

interface DriverConnection {
  frameMax: number
  channelMax: number
  readonly channels: { readonly buffer: PassThrough }[]
}

/** The driver's own parts, which its package does not export. */
const require = createRequire(import.meta.url)
const part = (name: string) => require(join(dirname(require.resolve('amqplib')), 'lib', name))
const { Connection } = part('connection.js') as { Connection: new (socket: PassThrough) => DriverConnection }
const { ConfirmChannel: DriverChannel } = part('channel_model.js') as {
  ConfirmChannel: new (connection: DriverConnection) => ConfirmChannel & { allocate(): void; toClosed(): void }
}

/** A channel of the driver without a server, and what it has written since it was last asked. */
function driver(frameMax: number, channels = 1) {
  const socket = new PassThrough()
  const connection = new Connection(socket)
  connection.channelMax = 100
  connection.frameMax = frameMax
  const all = Array.from({ length: channels }, () => {
    const channel = new DriverChannel(connection)
    channel.allocate()
    return channel
  })
  const channel = all.at(-1) as (typeof all)[0]
  const { buffer } = connection.channels[channels] as { buffer: PassThrough }
  const chunks: Buffer[] = []
  buffer.write = ((chunk: Buffer) => chunks.push(chunk) > 0) as typeof buffer.write
  return { channel, socket, written: () => Buffer.concat(chunks.splice(0)) }
}

const frameMaxima = [4_096, 8_192, 131_072, 0xffff_ffff]
const sizes = [0, 1, 100, 4_087, 4_088, 4_089, 8_176, 131_064, 131_065, 300_000]
const numbers = [0, 1, -1, 127, 128, -128, -129, 32_767, 32_768, -32_769, 2 ** 31 - 1, 2 ** 31, -(2 ** 31) - 1, 2 ** 40]
const fractions = [0.5, -1.25, 2 ** 52, 2 ** 53, 2 ** 60, 2 ** 63, -(2 ** 62), 1e300, Infinity]

function text(random: Random, most: number): string {
  const characters = ['a', 'Z', '/', '.', '%', '*', '#', 'ü', '温', '😀', '\0', '\ud800']
  return Array.from({ length: random.below(most + 1) }, () => random.pick(characters)).join('')
}

function value(random: Random, depth = 0): unknown {
  const kinds: (() => unknown)[] = [
    () => random.pick(numbers) + random.below(3),
    () => random.pick(fractions),
    () => text(random, 40),
    () => random.chance(50),
    () => null,
    () => random.bytes(random.below(20)),
    () => Array.from({ length: random.below(4) }, () => (depth < 3 ? value(random, depth + 1) : 'x')),
    () => (depth < 3 ? headers(random, depth + 1) : {}),
  ]
  return random.pick(kinds)()
}

function headers(random: Random, depth = 0): Record<string, unknown> {
  return Object.fromEntries(
    Array.from({ length: random.below(6) }, () => [
      text(random, 20),
      random.chance(10) ? undefined : value(random, depth),
    ]),
  )
}

function properties(random: Random): PublishProperties {
  const perhaps = <T>(name: string, make: () => T) => (random.chance(50) ? { [name]: make() } : {})
  return {
    persistent: random.chance(80),
    mandatory: random.chance(50),
    ...perhaps('contentType', () => text(random, 60)),
    ...perhaps('headers', () => headers(random)),
    ...perhaps('correlationId', () => text(random, 60)),
    ...perhaps('replyTo', () => text(random, 60)),
    ...perhaps('expiration', () => String(random.below(1e6))),
    ...perhaps('messageId', () => text(random, 60)),
    ...perhaps('timestamp', () => random.pick([0, 1, 1_700_000_000, 2 ** 32, 2 ** 40])),
  }
}

t.test('the frames are those of the driver, byte for byte', async t => {
  const random = new Random(seed)
  const given = [1, 2, 300]
  for (const frameMax of frameMaxima) {
    const { channel, written } = driver(frameMax, random.pick([1, 7]))
    const sender = new PublishChannel(channel)
    t.equal(sender.frameMax, frameMax)
    const frames = new FrameWriter(sender.number, sender.frameMax)
    for (let n = 0; n < cases / frameMaxima.length; n++) {
      const [exchange, key, some] = [text(random, 60), text(random, 60), properties(random)]
      const body = random.chance(20) ? Buffer.alloc(random.pick(sizes), n) : random.bytes(random.pick(given))
      new PlainOutgoing(exchange, key, body, some).writeTo(frames)
      channel.publish(exchange, key, body, some as Options.Publish)
      const expected = written()
      const actual = frames.take()
      if (!actual.equals(expected)) {
        t.equal(actual.toString('hex'), expected.toString('hex'), `case ${n} of frames of ${frameMax}`)
        return
      }
    }
  }
})

for (const set of ['full', 'lean'] as const) {
  t.test(`a copy of a message is made from kept parts, and is what the whole would be: headers ${set}`, async t => {
    const random = new Random(seed)
    const hubId = random.pick(['hub', 'é'.repeat(300)])
    const { channel, written } = driver(131_072)
    const frames = new FrameWriter(1, 131_072)
    const copies = new TelemetryCopies(hubId, set)
    const topics = ['a', 'home/kitchen', 'v1.2/#/*', `${'l'.repeat(200)}/ü`, 'x'.repeat(255), 'é/'.repeat(2_000)]
    const clients = ['', 'c1', 'ü'.repeat(30), 'long'.repeat(200)]
    const more = [
      {},
      {},
      { properties: encodeProperties({ contentType: 'text/plain' }) },
      { expiresAt: 5 },
      { hub: 'b' },
    ]
    for (let n = 0; n < cases; n++) {
      const message: Message = {
        sequence: random.pick([n, 127, 128, 70_000, 2 ** 31, 2 ** 32, 2 ** 52]),
        receivedAt: 1_700_000_000_000_000 + random.below(1e9),
        topic: random.chance(5) ? text(random, 400) : random.pick(topics),
        payload: random.chance(2) ? Buffer.alloc(random.pick(sizes), n) : random.bytes(random.below(30)),
        qos: random.pick([0, 1, 2]),
        retain: random.chance(50),
        clientId: random.pick(clients),
        user: random.pick(['', 'u', 'ü2']),
        packetId: 0,
        ...(random.pick(more) as object),
      }
      copies.of(message).writeTo(frames)
      const actual = frames.take()
      const whole = new FrameWriter(1, 131_072)
      outgoingMessage('telehub.telemetry', message, hubId, { mandatory: false, set }).writeTo(whole)
      const expected = whole.take()
      if (!actual.equals(expected)) {
        t.equal(actual.toString('hex'), expected.toString('hex'), `case ${n}`)
        return
      }
    }
    t.same(written(), Buffer.alloc(0))
    channel.publish('telehub.telemetry', 'a.b', Buffer.from('1'), {
      persistent: true,
      messageId: 'hub-7',
      timestamp: 1_700_000_000,
      headers:
        set === 'lean'
          ? { 'received-at': 1_700_000_000_000_001 }
          : {
              ...{ 'mqtt-topic': 'a/b', 'mqtt-qos': 1, 'mqtt-retain': true, 'client-id': 'c', user: 'u' },
              ...{ 'received-at': 1_700_000_000_000_001, sequence: 7 },
            },
    })
    const one = { sequence: 7, receivedAt: 1_700_000_000_000_001, topic: 'a/b', payload: Buffer.from('1') }
    const rest = { qos: 1, retain: true, clientId: 'c', user: 'u', packetId: 0 } as const
    new TelemetryCopies('hub', set).of({ ...one, ...rest }).writeTo(frames)
    t.same(frames.take(), written(), 'and as the driver makes it')
  })
}

t.test('more topics and clients than are kept', async t => {
  const frames = new FrameWriter(1, 131_072)
  const copies = new TelemetryCopies('hub', 'full')
  const rest = {
    receivedAt: 1_700_000_000_000_000,
    payload: Buffer.from('1'),
    qos: 0,
    retain: false,
    packetId: 0,
  } as const
  for (const round of [0, 1]) {
    for (let n = 0; n < 12_000; n++) {
      const message: Message = { ...rest, sequence: n, topic: `t/${n}`, clientId: `c${n}`, user: round ? 'u' : '' }
      copies.of(message).writeTo(frames)
      const actual = frames.take()
      if (n % 500 > 0) continue
      outgoingMessage('telehub.telemetry', message, 'hub', { mandatory: false, set: 'full' }).writeTo(frames)
      t.ok(actual.equals(frames.take()), `${n} in round ${round}`)
    }
  }
})

t.test('what AMQP has no room for is an error', async t => {
  const frames = new FrameWriter(1, 4_096)
  const publish = (key: string, more: Partial<PublishProperties>) => () =>
    new PlainOutgoing('', key, Buffer.alloc(1), { persistent: true, mandatory: true, ...more }).writeTo(frames)
  t.throws(publish('ü'.repeat(128), {}), /short string of 256 bytes/)
  t.throws(publish('', { messageId: 'x'.repeat(256) }), RangeError)
  t.throws(publish('', { headers: { ['x'.repeat(256)]: 1 } }), RangeError)
  t.throws(publish('', { headers: { x: 'x'.repeat(70_000) } }), /headers of more than/)
  t.throws(publish('', { headers: { x: 'x'.repeat(5_000) } }), /a frame of/)
  t.throws(publish('', { headers: { x: () => {} } }), TypeError)
  const { channel } = driver(4_096)
  t.throws(() => channel.publish('ü'.repeat(128), '', Buffer.alloc(1)), 'as it is for the driver')
})

t.test('nothing is sent on a channel that is closed, nor on one that has its number', async t => {
  const { channel } = driver(4_096)
  const sender = new PublishChannel(channel)
  const confirms: unknown[] = []
  sender.expectConfirm(error => confirms.push(error))
  t.equal(sender.send(Buffer.from('x')), true)
  ;(channel as unknown as { toClosed(): void }).toClosed()
  t.throws(() => sender.send(Buffer.from('x')), /closed/)
  t.match(confirms, [{ message: 'channel closed' }])
})
