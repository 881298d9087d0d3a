import { setTimeout as sleep } from 'node:timers/promises'
import mqtt from 'mqtt'
import t from 'tap'
import { connectMqtt, eventually, startHub } from '../harness.js'

t.test('a session that comes and goes under load gets everything, in order on each connection', async t => {
  const hub = await startHub(t)
  const session = { protocolVersion: 4, clientId: 'comes-and-goes', clean: false, reconnectPeriod: 0 } as const
  const setUp = await connectMqtt(t, hub.mqttUrl, session)
  await setUp.subscribeAsync('load/#', { qos: 1 })
  await setUp.endAsync()

  const total = 6_000
  const publisher = await connectMqtt(t, hub.mqttUrl, { clientId: 'publisher' })
  const publishing = (async () => {
    for (let n = 0; n < total; n += 50) {
      await Promise.all(
        Array.from({ length: 50 }, (_, i) => publisher.publishAsync('load/x', String(n + i), { qos: 1 })),
      )
    }
  })()

  const got = new Set<number>()
  let outOfOrder = 0
  let published = false
  void publishing.then(() => {
    published = true
  })
  for (let connections = 0; !published || got.size < total; connections++) {
    t.ok(connections < 200, 'it gets there')
    if (connections >= 200) return
    const client = mqtt.connect(hub.mqttUrl, session)
    client.on('error', () => {})
    let last = -1
    client.on('message', (_topic, payload) => {
      const value = Number(payload.toString())
      if (value < last) outOfOrder++
      last = value
      got.add(value)
    })
    await eventually(() => client.connected, 'connected')
    await sleep(published ? 2_000 : 100)
    await client.endAsync(true)
  }
  await publishing
  t.equal(got.size, total, 'nothing is missing')
  t.equal(outOfOrder, 0, 'nothing overtakes on a connection')
})
