import t from 'tap'
import type { Message } from '../../src/model.js'
import { decodeMessage, encodedLength, encodeMessage, encodeNames, encodePublish } from '../../src/queue/codec.js'

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
