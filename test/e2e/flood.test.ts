import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { connectMqtt, eventually, type RunningHub, startHub } from '../harness.js'
import { witness } from '../hostile/witness.js'

/** MQTT by hand: a load generator must be lighter than what it loads. */
function connectPacket(clientId: string): Buffer {
  const id = Buffer.from(clientId)
  return Buffer.concat([
    Buffer.from([0x10, 12 + id.length, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2, 0, 0, 0, id.length]),
    id,
  ])
}

function publishPacket(topic: string, payload: string): Buffer {
  const name = Buffer.from(topic)
  const body = Buffer.concat([Buffer.from([0, name.length]), name, Buffer.from(payload)])
  return Buffer.concat([Buffer.from([0x30, body.length]), body])
}

/** Pushes QoS 0 as fast as the socket takes it until told to stop; resolves with the packets written. */
function flooder(port: number, clientId: string, topic: string, until: Promise<void>): Promise<number> {
  return new Promise(resolve => {
    const packets = 200
    const chunk = Buffer.concat(Array.from({ length: packets }, (_, n) => publishPacket(topic, `{"n":${n}}`)))
    const socket = connect(port, '127.0.0.1')
    let written = 0
    let running = true
    void until.then(() => {
      running = false
      socket.destroy()
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve(written))
    socket.once('data', () => {
      const push = () => {
        while (running) {
          written += packets
          if (!socket.write(chunk)) {
            socket.once('drain', push)
            return
          }
        }
      }
      push()
    })
    socket.write(connectPacket(clientId))
  })
}

function residentMegabytes(hub: RunningHub): number {
  const status = readFileSync(`/proc/${hub.pid}/status`, 'utf8')
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) / 1_000
}

t.test(
  '100 clients push QoS 0 as fast as sockets take it for 10 s, with one subscriber: the hub lives and answers',
  async t => {
    const hub = await startHub(t)
    const port = Number(new URL(hub.mqttUrl).port)
    const subscriber = await connectMqtt(t, hub.mqttUrl, { clientId: 'subscriber' })
    let delivered = 0
    subscriber.on('message', () => delivered++)
    await subscriber.subscribeAsync('flood/#')

    const good = await witness(t, hub)
    const over = sleep(10_000)
    const written = await Promise.all(
      Array.from({ length: 100 }, (_, n) =>
        flooder(
          port,
          `flooder-${n}`,
          `flood/${n}`,
          over.then(() => {}),
        ),
      ),
    )
    const total = written.reduce((sum, n) => sum + n, 0)
    t.comment(`${total} packets written, ${delivered} delivered, peak memory ${residentMegabytes(hub).toFixed()} MB`)
    t.ok(total > 100_000, 'it was a flood')
    await good.end(5_000)
    t.ok(delivered > 0, 'the subscriber was served meanwhile')

    const client = await connectMqtt(t, hub.mqttUrl, { clientId: 'afterwards' })
    const got = new Promise(resolve => client.once('message', (_topic, payload) => resolve(payload.toString())))
    await client.subscribeAsync('after')
    await client.publishAsync('after', '42', { qos: 1 })
    t.equal(await got, '42')
    t.equal((await hub.get('/healthz')).status, 200)
    t.equal(await hub.stop(), 0)
  },
)

t.test('a subscriber that never reads does not delay another', async t => {
  const hub = await startHub(t, { 'limits.outbox': '64KB' })
  const port = Number(new URL(hub.mqttUrl).port)
  const frozen = connect(port, '127.0.0.1')
  t.teardown(() => frozen.destroy())
  frozen.on('error', () => {})
  frozen.write(connectPacket('frozen'))
  frozen.once('data', () => {
    // SUBSCRIBE to f/# at QoS 0, then never read again.
    frozen.write(Buffer.from([0x82, 8, 0, 1, 0, 3, 0x66, 0x2f, 0x23, 0]))
    frozen.pause()
  })
  const healthy = await connectMqtt(t, hub.mqttUrl, { clientId: 'healthy' })
  let got = 0
  healthy.on('message', () => got++)
  await healthy.subscribeAsync('f/#', { qos: 1 })
  const publisher = await connectMqtt(t, hub.mqttUrl, { clientId: 'publisher' })
  const good = await witness(t, hub)
  const payload = 'x'.repeat(30_000)
  for (let n = 0; n < 2_000; n++) await publisher.publishAsync(`f/${n % 10}`, payload, { qos: 1 })
  await eventually(() => got === 2_000, 'the healthy one has all')
  await good.end()
  const metrics = await (await fetch(`${hub.httpUrl}/metrics`)).text()
  t.match(metrics, /telehub_dropped_total [1-9]/, 'what the frozen one did not get is counted')
})
