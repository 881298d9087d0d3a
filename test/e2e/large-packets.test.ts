import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { RawClient, type Received, type Version } from '../clients/raw-mqtt.js'
import { connectMqtt, eventually, startHub } from '../harness.js'

/* A client that subscribes to large messages, publishes itself and does not read for a while: the acknowledgements of
 * its publishes stand between the packets of its subscription, never within one. */

const hub = await startHub(t, { 'limits.window': '1000' })
const publisher = await connectMqtt(t, hub.mqttUrl)

/** More than a socket on loopback takes unread. */
const totalBytes = 12e6

for (const [name, url] of [
  ['TCP', hub.mqttUrl],
  ['WebSocket', hub.webSocketUrl],
] as const) {
  for (const version of [4, 5] as const satisfies readonly Version[]) {
    for (const [size, qos] of [
      [200_000, 0],
      [200_000, 1],
      [65_000, 1],
      [5_000, 1],
    ] as const) {
      t.test(`${size} bytes at QoS ${qos} over ${name}, protocol level ${version}`, async t => {
        const topic = `large/${name}/${version}/${size}/${qos}`
        const client = new RawClient(t, url, version)
        await client.connect()
        await client.subscribe({ [topic]: qos })
        const publishes: Received[] = []
        const acks: (number | undefined)[] = []
        client.handle = packet => {
          if (packet.cmd === 'publish') {
            publishes.push(packet)
            if (packet.qos === 1) client.ack('puback', packet)
          } else if (packet.cmd === 'puback') acks.push(packet.messageId)
          return packet.cmd === 'publish' || packet.cmd === 'puback'
        }
        client.pause()
        const count = Math.min(900, Math.ceil(totalBytes / size))
        const wanted: number[] = []
        const published: Promise<unknown>[] = []
        for (let i = 0; i < count; i++) {
          published.push(publisher.publishAsync(topic, Buffer.alloc(size, 0x61 + (i % 20)), { qos: 1 }))
          client.send({
            cmd: 'publish',
            topic: 'own',
            payload: 'x',
            qos: 1,
            messageId: i + 1,
            dup: false,
            retain: false,
          })
          wanted.push(i + 1)
          if (i % 50 === 49) await Promise.all(published)
        }
        await Promise.all(published)
        await sleep(200)
        client.resume()
        await eventually(
          () => client.closed || (acks.length === count && (qos === 0 || publishes.length === count)),
          `${count} publishes and their acknowledgements are read`,
        )
        t.notOk(client.closed, 'the stream can be read to its end')
        t.same(acks, wanted)
        if (qos === 1) t.equal(publishes.length, count)
        const broken = publishes.filter(packet => {
          if (packet.cmd !== 'publish') return true
          const payload = packet.payload as Buffer
          return !payload.equals(Buffer.alloc(size, payload[0]))
        })
        t.equal(broken.length, 0, 'every payload is as it was sent')
      })
    }
  }
}
