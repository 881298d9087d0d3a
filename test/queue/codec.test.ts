import t from 'tap'
import type { Message } from '../../src/model.js'
import {
  decodeBatch,
  decodeMessage,
  encodeBatch,
  encodedLength,
  encodeMessage,
  encodeNames,
  encodePublish,
} from '../../src/queue/codec.js'

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
  const single = Buffer.alloc(encodedLength(batch[1] as Message))
  encodeMessage(batch[1] as Message, single, 0)
  t.equal(decodeBatch(single), undefined, 'a message is no batch')
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
