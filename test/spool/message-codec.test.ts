import t from 'tap'
import type { Message } from '../../src/model.js'
import { encodeProperties, maxPropertyBytes } from '../../src/mqtt/message-properties.js'
import {
  decodeBatch,
  decodeMessage,
  encodeBatch,
  encodedLength,
  encodeMessage,
  encodeNames,
  encodePublish,
  sequenceAt,
  stampedBytes,
} from '../../src/spool/message-codec.js'

const names = ['', 'a', 'gerät/1', '温度', '😀', 'x'.repeat(4_096)]

t.test('a message comes back as it was, also when its names were encoded before', async t => {
  for (const [i, topic] of names.entries()) {
    const message: Message = {
      sequence: 2 ** 40 + i,
      receivedAt: 1_763_710_000_000_000 + i,
      topic,
      payload: Buffer.from(`payload ${topic}`),
      qos: (i % 3) as 0 | 1 | 2,
      retain: i % 2 === 0,
      clientId: names[(i + 1) % names.length] as string,
      user: names[(i + 2) % names.length] as string,
      packetId: i * 10_000,
    }
    const plain = Buffer.alloc(encodedLength(message))
    encodeMessage(message, plain, 0)
    t.same(decodeMessage(plain), message)
    const named = { ...message, names: encodeNames(message) }
    t.equal(encodedLength(named), plain.length)
    const again = Buffer.alloc(plain.length + 3)
    encodePublish(named, message.sequence, message.receivedAt, again, 3)
    t.ok(again.subarray(3).equals(plain), `byte for byte the same: ${topic.slice(0, 20)}`)
  }
})

const properties = encodeProperties({ contentType: 'text/ä', userProperties: [['a', '1']] }) as Buffer
const extensions: readonly Partial<Message>[] = [
  { properties },
  { expiresAt: 1_763_710_000_000_000 },
  { properties, expiresAt: 2 ** 52 },
  { properties: encodeProperties({ correlationData: Buffer.alloc(maxPropertyBytes - 3) }) as Buffer, expiresAt: 1 },
]

const plain: Message = {
  sequence: 513,
  receivedAt: 1_763_710_000_000_000,
  topic: 'a/b',
  payload: Buffer.from('{}'),
  qos: 2,
  retain: true,
  clientId: 'c',
  user: 'ü',
  packetId: 258,
}

const encoded = (message: Message): Buffer => {
  const bytes = Buffer.alloc(encodedLength(message))
  encodeMessage(message, bytes, 0)
  return bytes
}

t.test('without properties and expiry it is the bytes it has always been', async t => {
  const expected = '010602010102000000000000006c09bc1544060001000200030063c3bc612f627b7d'
  t.equal(encoded(plain).toString('hex'), expected)
  t.equal(encoded({ ...plain, properties: undefined, expiresAt: undefined }).toString('hex'), expected)
})

t.test('properties and expiry come back, also when the names were encoded before', async t => {
  for (const extension of extensions) {
    for (const payload of [Buffer.alloc(0), Buffer.from('payload'), Buffer.alloc(100_000, 1)]) {
      const message = { ...plain, ...extension, payload }
      const bytes = encoded(message)
      t.equal(bytes[0], 2)
      t.strictSame(decodeMessage(bytes), message)
      const again = Buffer.alloc(bytes.length + 5)
      const named = { ...message, names: encodeNames(message) }
      t.equal(encodedLength(named), bytes.length)
      encodePublish(named, message.sequence, message.receivedAt, again, 5)
      t.ok(again.subarray(5).equals(bytes))
      t.equal(sequenceAt(again, 5, again.length), message.sequence)
    }
  }
  t.equal(sequenceAt(encoded(plain), 0, 28), plain.sequence)
  t.equal(sequenceAt(encoded(plain), 0, 11), undefined)
  t.equal(sequenceAt(Buffer.alloc(100, 4), 0, 100), undefined, 'of a later version')
})

t.test('a message whose properties end behind it is none', async t => {
  const bytes = encoded({ ...plain, properties, payload: Buffer.alloc(0) })
  const at = bytes.length - properties.length - 12
  for (let length = at; length < bytes.length; length++) t.equal(decodeMessage(bytes.subarray(0, length)), undefined)
  bytes.writeUInt32LE(0xffff_ffff, at)
  t.equal(decodeMessage(bytes), undefined)
})

t.test('of a batch, properties that no subscriber may get are left out, and the message is not', async t => {
  const bad: [attempt: string, wrong: Partial<Message>][] = [
    ['rubbish', { properties: Buffer.from('rubbish') }],
    ['a topic alias', { properties: Buffer.from([0x23, 0, 1]) }],
    ['U+0000', { properties: encodeProperties({ contentType: '\0' }) as Buffer }],
    ['a wildcard in the response topic', { properties: encodeProperties({ responseTopic: 'a/#' }) as Buffer }],
    ['no response topic', { properties: encodeProperties({ responseTopic: '' }) as Buffer }],
    ['too long', { properties: encodeProperties({ correlationData: Buffer.alloc(maxPropertyBytes) }) as Buffer }],
    ['an expiry that is no number', { expiresAt: 2 ** 60 }],
  ]
  for (const [attempt, wrong] of bad) {
    const sent = [plain, { ...plain, properties, expiresAt: 5, ...wrong }, { ...plain, properties }]
    t.strictSame(decodeBatch(encodeBatch(sent)), [plain, plain, { ...plain, properties }], attempt)
  }
})

const batch: readonly Message[] = names.map((topic, i) => ({
  sequence: 2 ** 40 + i,
  receivedAt: 1_763_710_000_000_000 + i,
  topic,
  payload: Buffer.alloc(i * 10, i),
  qos: (i % 3) as 0 | 1 | 2,
  retain: i % 2 === 1,
  clientId: `client ${i}`,
  user: '',
  packetId: i,
  ...(i % 2 === 0 && extensions[(i / 2) % extensions.length]),
}))

t.test('a batch comes back as it was', async t => {
  t.same(decodeBatch(encodeBatch(batch)), batch)
  t.same(decodeBatch(encodeBatch(batch.slice(0, 1))), batch.slice(0, 1))
})

t.test('what is no batch, or a damaged one, is undefined and never a throw', async t => {
  const short = batch.slice(0, 3)
  const body = encodeBatch(short)
  for (let length = 0; length < body.length; length++) {
    t.equal(decodeBatch(body.subarray(0, length)), undefined, `cut to ${length} bytes`)
  }
  t.equal(decodeBatch(Buffer.concat([body, Buffer.alloc(1)])), undefined, 'a byte too many')
  t.equal(decodeBatch(encoded(batch[1] as Message)), undefined, 'a message is no batch')
  t.equal(decodeBatch(Buffer.from([0x81, 0, 0, 0])), undefined, 'nothing in it')
  t.equal(decodeBatch(Buffer.from('{"temperature": 21.5}')), undefined)
  let whole = 0
  for (let at = 0; at < body.length; at++) {
    for (const value of [0x00, 0x01, 0x7f, 0x80, 0xff]) {
      const damaged = Buffer.from(body)
      damaged[at] = value
      const decoded = decodeBatch(damaged)
      if (!decoded) continue
      whole++
      t.equal(decoded.length, short.length)
      t.ok(decoded.every(({ sequence, receivedAt }) => Number.isSafeInteger(sequence + receivedAt * 0)))
    }
  }
  t.ok(whole > 0, 'changed text is text')
})

t.test('bytes as older versions wrote them', async t => {
  const rest = {
    topic: 't/1',
    payload: Buffer.from('21.5'),
    qos: 1,
    retain: true,
    clientId: 'dev',
    user: 'u',
    packetId: 7,
  }
  const [sequence, receivedAt] = [513, 1_763_710_000_000_000]
  const names = '03000100030064657675742f31'
  const head = (version: string) => `${version}0507000102000000000000006c09bc15440600`
  const plainBytes = Buffer.from(`${head('01')}${names}32312e35`, 'hex')
  t.same(decodeMessage(plainBytes), { sequence, receivedAt, ...rest })
  const extendedBytes = Buffer.from(`${head('02')}${names}00000000e80300000000000032312e35`, 'hex')
  t.same(decodeMessage(extendedBytes), { sequence, receivedAt, ...rest, expiresAt: 1_000 })
})

t.test('the time of the clock beside the stamp of the spool', async t => {
  for (const extension of [{}, ...extensions]) {
    const publish = { ...plain, ...extension }
    const bytes = Buffer.alloc(encodedLength(publish) + stampedBytes(publish))
    encodePublish(publish, 9, 2 ** 51, bytes, 0, 1_000_000)
    const message = decodeMessage(bytes)
    t.same(message, { ...publish, sequence: 9, receivedAt: 1_000_000, stamp: 2 ** 51 })
    t.equal(sequenceAt(bytes, 0, bytes.length), 9)
    // Elsewhere only the time counts.
    const again = Buffer.alloc(encodedLength(publish))
    encodeMessage(message as Message, again, 0)
    t.match(decodeMessage(again), { receivedAt: 1_000_000, stamp: undefined })
    for (let cut = 0; cut < 60; cut++) t.doesNotThrow(() => decodeMessage(bytes.subarray(0, Math.max(26, cut))))
  }
})
