import t from 'tap'
import { connectMqtt, startHub } from '../harness.js'
import { RawClient } from '../raw-client.js'

const hub = await startHub(t)

t.test('SUBSCRIBE of a kept session under load: no message comes live and then again as retained', async t => {
  const publisher = await connectMqtt(t, hub.mqttUrl, { clientId: 'publisher' })
  let isOver = false
  let number = 0
  const load = Array.from({ length: 20 }, async () => {
    while (!isOver) await publisher.publishAsync('load/state', String(++number), { qos: 1, retain: true })
  })
  const repeated: string[] = []
  let live = 0
  for (const version of [4, 5] as const) {
    for (let round = 0; round < 30; round++) {
      const client = new RawClient(t, hub.mqttUrl, version)
      const kept = version === 5 ? { clean: true, properties: { sessionExpiryInterval: 60 } } : { clean: false }
      await client.connect({ clientId: `kept-${version}-${round}`, ...kept })
      client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'load/state', qos: 0 }] })
      const seen = new Map<string, boolean>()
      for (let came = 0; came < 20; came++) {
        const packet = await client.next()
        if (packet.cmd !== 'publish') continue
        const payload = String(packet.payload)
        if (seen.has(payload)) repeated.push(`${payload}: ${seen.get(payload)}, ${packet.retain}`)
        seen.set(payload, packet.retain)
        if (!packet.retain) live++
      }
      client.destroy()
    }
  }
  isOver = true
  await Promise.all(load)
  t.ok(live > 100)
  t.same(repeated, [])
})
