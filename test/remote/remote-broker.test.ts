import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import mqttPacket, { type Packet } from 'mqtt-packet'
import t, { type Test } from 'tap'
import type { Outward } from '../../src/model.js'
import {
  type RemoteFilter,
  type RemoteMessage,
  RemotePublisher,
  RemoteRefusal,
  RemoteSubscriber,
} from '../../src/remote/remote-broker.js'
import { eventually } from '../harness.js'

type Answer = (packet: Packet, send: (packet: Packet) => void, socket: Socket) => void

/** A broker whose every packet the test decides. */
async function brokerOf(t: Test, protocolVersion: 4 | 5, answer: Answer) {
  const sockets = new Set<Socket>()
  const seen: Packet[] = []
  const server = createServer(socket => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    const parser = mqttPacket.parser({ protocolVersion })
    const send = (packet: Packet) => socket.write(mqttPacket.generate(packet, { protocolVersion }))
    parser.on('packet', packet => {
      seen.push(packet)
      answer(packet, send, socket)
    })
    socket.on('data', part => parser.parse(part))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const url = `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`
  const address = { url, version: protocolVersion, clientId: 'hub', ca: '', cert: '', key: '' }
  return { address, seen, count: (cmd: Packet['cmd']) => seen.filter(packet => packet.cmd === cmd).length }
}

const connack = (sessionPresent: boolean, properties = {}): Packet => ({
  ...{ cmd: 'connack', reasonCode: 0, returnCode: 0, sessionPresent, properties },
})

t.test('a message that is too large leaves its place to the next', async t => {
  const { address } = await brokerOf(t, 5, (packet, send) => {
    if (packet.cmd === 'connect') send(connack(false, { receiveMaximum: 1, maximumPacketSize: 1_000 }))
    if (packet.cmd === 'publish') send({ cmd: 'puback', messageId: packet.messageId ?? 0, reasonCode: 0 })
  })
  const publisher = await RemotePublisher.connect(address)
  t.teardown(() => publisher.close())
  const message = (bytes: number): Outward => ({ topic: 'a', payload: Buffer.alloc(bytes), qos: 1, retain: false })
  const sent = [1, 2_000, 2_000, 1, 2_000, 1, 1].map(bytes => publisher.publish(message(bytes), 0))
  const all = await Promise.allSettled(sent)
  t.same(
    all.map(one => (one.status === 'fulfilled' ? 'sent' : one.reason instanceof RemoteRefusal && 'refused')),
    ['sent', 'refused', 'refused', 'sent', 'refused', 'sent', 'sent'],
  )
})

t.test('a broker that acknowledges nothing more counts as lost', async t => {
  let acknowledged = 0
  const { address } = await brokerOf(t, 5, (packet, send) => {
    if (packet.cmd === 'connect') send(connack(false))
    if (packet.cmd === 'publish' && acknowledged++ === 0)
      send({ cmd: 'puback', messageId: packet.messageId ?? 0, reasonCode: 0 })
    if (packet.cmd === 'pingreq') send({ cmd: 'pingresp' })
  })
  const publisher = await RemotePublisher.connect(address, undefined, 200)
  t.teardown(() => publisher.close())
  const message: Outward = { topic: 'a', payload: Buffer.alloc(1), qos: 1, retain: false }
  await publisher.publish(message, 0)
  await new Promise(resolve => setTimeout(resolve, 400))
  t.notOk(publisher.isLost, 'nothing is awaited')
  await t.rejects(publisher.publish(message, 0), { message: /acknowledged nothing for 0.2 s/ })
  t.ok(publisher.isLost)
})

/** A receiver that keeps what it takes. */
function receiverOf() {
  const taken: RemoteMessage[] = []
  const told: (readonly RemoteFilter[])[] = []
  const receiver = {
    overloaded: false,
    take: async (message: RemoteMessage) => void taken.push(message),
    connected: () => {},
    subscribed: (filters: readonly RemoteFilter[]) => void told.push(filters),
    lost: () => {},
  }
  return { taken, told, receiver }
}

const filters: readonly RemoteFilter[] = [{ filter: 'plant/#', qos: 1 }]

t.test('a packet identifier that was acknowledged means another message, also when it is sent again', async t => {
  let connections = 0
  const publish = (dup: boolean): Packet => ({
    ...{ cmd: 'publish', topic: 'plant/a', payload: 'same', qos: 1, messageId: 7, retain: false, dup },
  })
  const { address, seen, count } = await brokerOf(t, 5, (packet, send, socket) => {
    if (packet.cmd === 'connect') {
      send(connack(connections++ > 0))
      if (connections === 2) send(publish(true))
    }
    if (packet.cmd === 'subscribe') {
      send({ cmd: 'suback', messageId: packet.messageId ?? 0, granted: [1] })
      if (connections === 1) send(publish(false))
    }
    if (packet.cmd === 'puback' && connections === 1) socket.destroy()
  })
  const { taken, receiver } = receiverOf()
  const options = { address, filters, before: [], sessionSeconds: 60, packetBytes: 1_000, receiver }
  const subscriber = new RemoteSubscriber(options)
  t.teardown(() => subscriber.stop())
  subscriber.start()
  await eventually(() => count('puback') === 2, 'both are acknowledged')
  const connect = seen.find(packet => packet.cmd === 'connect')
  t.match(connect, { properties: { maximumPacketSize: 1_000 } })
  t.equal(taken.length, 2)
})

for (const version of [4, 5] as const) {
  t.test(`a connection that is lost before SUBACK: the filters are asked for again, MQTT ${version}`, async t => {
    let connections = 0
    const { address, count } = await brokerOf(t, version, (packet, send, socket) => {
      if (packet.cmd === 'connect') send(connack(connections++ > 0))
      if (packet.cmd !== 'subscribe') return
      if (connections === 1) socket.destroy()
      else send({ cmd: 'suback', messageId: packet.messageId ?? 0, granted: [1] })
    })
    const { receiver } = receiverOf()
    const options = { address, filters, before: filters, sessionSeconds: 60, packetBytes: 1_000, receiver }
    const subscriber = new RemoteSubscriber(options)
    t.teardown(() => subscriber.stop())
    subscriber.start()
    await eventually(() => count('subscribe') === 2, 'asked for again')
    t.equal(count('connect'), 2)
  })
}
