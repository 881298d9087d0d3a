import t from 'tap'
import { distribution } from './task.js'
import {
  connectPacket,
  encodeFrame,
  FrameScanner,
  frame,
  PacketScanner,
  publishPacket,
  reading,
  stamp,
  stampOf,
  subscribePacket,
} from './wire.js'

/** A load generator that miscounts makes every figure wrong. */

const packets = [
  connectPacket('client'),
  subscribePacket(1, ['a/+/b', 'c'], 1),
  publishPacket('a', Buffer.from(''), 0),
  publishPacket('a/b', reading(7, 100), 0),
  publishPacket('a/b', Buffer.alloc(300, 'x'), 1, 65_535),
  publishPacket('a/b', Buffer.alloc(20_000, 'y'), 0),
]

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

t.test('a reading is JSON of the length asked for, before and after it is stamped', async t => {
  const payload = reading(3, 100)
  t.equal(payload.length, 100)
  t.equal(stampOf(payload, payload.length), 0)
  const packet = publishPacket('a/b', payload, 0)
  stamp(packet, packet.length, 123_456_789.4)
  t.equal(stampOf(packet, packet.length), 123_456_789)
  const { power, sent } = JSON.parse(packet.subarray(-100).toString()) as { power: number; sent: number }
  t.same([power, sent], [1_003.5, 1e15 + 123_456_789])
})

t.test('percentiles', async t => {
  const micros = Float64Array.from({ length: 1_000 }, (_, n) => (1_000 - n) * 1_000)
  t.same(distribution(micros), { samples: 1_000, p50: 501, p99: 991, max: 1_000 })
})
