import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import mqtt from 'mqtt'
import t from 'tap'
import { open5, openRaw, publishOf } from '../clients/raw-mqtt.js'
import { openSessions } from '../fixtures/sessions.js'
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

t.test(
  'what is retained of clients and damaged does not keep the hub from starting: it goes, and that is said',
  async t => {
    const first = await startHub(t)
    const device = await open5(t, first, { clientId: 'device' })
    device.send(publishOf('x', 'x', 1, 1))
    await device.answer('puback')
    t.equal(await first.stop(), 0)

    const sessions = await openSessions(join(first.dir, 'sessions'))
    const damaged: Readonly<Record<string, string>> = {
      '$hub/presence/text': 'no JSON',
      '$hub/presence/null': 'null',
      '$hub/presence/list': '[1]',
      '$hub/presence/number': '{"clientId":7,"user":"","online":true}',
      '$hub/presence/victim': '{"clientId":"somebody else","user":"","online":true}',
      '$hub/why/text': '{',
      '$hub/why/true': 'true',
      '$hub/why/victim': '{"clientId":"somebody else","user":""}',
    }
    for (const [topic, text] of Object.entries(damaged)) {
      sessions.publish({ topic, payload: Buffer.from(text), qos: 0, retain: true, clientId: '' }, 0)
    }
    await sessions.flush()
    await sessions.stop()

    const second = await startHub(t, {}, first.dir)
    const said = (log: string) => [...log.matchAll(/(\$hub\/\S+) had a retained message/g)].map(([, topic]) => topic)
    t.same(said(second.log()).sort(), Object.keys(damaged).sort())
    const shown = async (hub: typeof first) => {
      const client = await openRaw(t, hub)
      await client.subscribe({ '$hub/presence/+': 0, '$hub/why/+': 0 })
      return (await client.publishes()).map(({ topic, payload }) => [topic, JSON.parse(String(payload)).online])
    }
    t.same(await shown(second), [['$hub/presence/device', false]], 'what is whole stays')
    t.equal(await second.stop(), 0)
    const third = await startHub(t, {}, first.dir)
    t.same(said(third.log()), [], 'it is gone for good')
    t.same(await shown(third), [['$hub/presence/device', false]])
  },
)
