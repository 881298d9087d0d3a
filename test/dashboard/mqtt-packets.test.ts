import mqttPacket, { type Packet } from 'mqtt-packet'
import t from 'tap'
import {
  connectPacket,
  disconnectPacket,
  type PacketHandlers,
  PacketReader,
  pingPacket,
  subscribePacket,
} from '../../src/dashboard/mqtt-packets.js'

/** Returns what mqtt-packet, which knows all of MQTT, makes of bytes. */
function read(bytes: Uint8Array): Packet {
  const parser = mqttPacket.parser({ protocolVersion: 4 })
  const packets: Packet[] = []
  parser.on('packet', packet => packets.push(packet))
  parser.parse(Buffer.from(bytes))
  if (packets.length !== 1) throw new Error(`${packets.length} packets`)
  return packets[0] as Packet
}

/** Notes all that a reader tells. */
class Notes implements PacketHandlers {
  readonly told: unknown[] = []

  connack(code: number): void {
    this.told.push(['connack', code])
  }

  suback(id: number, granted: readonly boolean[]): void {
    this.told.push(['suback', id, granted])
  }

  message(topic: string, payload: Uint8Array, retained: boolean): void {
    this.told.push(['message', topic, Buffer.from(payload).toString(), retained])
  }
}

t.test('the packets that a page sends are those of MQTT 3.1.1', async t => {
  t.match(read(connectPacket({ clientId: 'dashboard-ü' })), {
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 4,
    clean: true,
    clientId: 'dashboard-ü',
    keepalive: 60,
  })
  const long = 'p'.repeat(1_000)
  const login = read(connectPacket({ clientId: 'a', username: 'root', password: long }))
  t.match(login, { cmd: 'connect', username: 'root' })
  t.equal(String((login as { password?: Buffer }).password), long)
  t.throws(() => connectPacket({ clientId: 'a', password: 'p'.repeat(65_536) }), RangeError)
  t.match(read(subscribePacket(258, ['$hub/last/#', '$hub/why/+'])), {
    cmd: 'subscribe',
    messageId: 258,
    subscriptions: [
      { topic: '$hub/last/#', qos: 0 },
      { topic: '$hub/why/+', qos: 0 },
    ],
  })
  t.equal(read(pingPacket).cmd, 'pingreq')
  t.equal(read(disconnectPacket).cmd, 'disconnect')
})

t.test('packets are read wherever the bytes are cut', async t => {
  const write = (packet: Packet) => mqttPacket.generate(packet, { protocolVersion: 4 })
  const publish = (topic: string, payload: string, retain: boolean) =>
    write({ cmd: 'publish', topic, payload, qos: 0, retain, dup: false })
  const texts = ['', '{"a":1}', 'ü'.repeat(60), 'x'.repeat(127), 'y'.repeat(16_400), 'z'.repeat(200_000)]
  const bytes = Buffer.concat([
    write({ cmd: 'connack', returnCode: 0, sessionPresent: false }),
    write({ cmd: 'suback', messageId: 7, granted: [0, 128, 0] }),
    write({ cmd: 'pingresp' }),
    ...texts.map((text, i) => publish(`$hub/last/home/${i}`, text, i % 2 === 0)),
  ])
  const expected = [
    ['connack', 0],
    ['suback', 7, [true, false, true]],
    ...texts.map((text, i) => ['message', `$hub/last/home/${i}`, text, i % 2 === 0]),
  ]
  const whole = new Notes()
  new PacketReader(whole).push(bytes)
  t.same(whole.told, expected, 'as one piece')
  for (const size of [1, 2, 3, 5, 64, 1_000, 65_536]) {
    const notes = new Notes()
    const reader = new PacketReader(notes)
    for (let at = 0; at < bytes.length; at += size) reader.push(bytes.subarray(at, at + size))
    t.same(notes.told, expected, `in pieces of ${size} bytes`)
  }
})

t.test('bytes that a page never asked for end the connection', async t => {
  const push = (bytes: readonly number[]) => () => new PacketReader(new Notes()).push(Uint8Array.from(bytes))
  t.throws(push([0x32, 5, 0, 1, 97, 0, 1]), /not asked for/, 'QoS 1')
  t.throws(push([0x30, 3, 0, 200, 97]), /not asked for/, 'a topic longer than the packet')
  t.throws(push([0x30, 0xff, 0xff, 0xff, 0xff, 1]), /more than four bytes/)
  t.throws(push([0x10, 0]), /type 1/)
})
