import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { connectMqtt, eventually, history, type RunningHub, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'

/** One device against the readings of another: by line protocol on a topic of its own, by types, by shared series. */

const balance = async (hub: RunningHub) => (await hub.get<Record<string, number>>('/api/balance')).body
const isStored = (hub: RunningHub, count: number) =>
  eventually(async () => {
    const { spool, received, dead } = await balance(hub)
    return spool === 0 && received === count && dead === 0
  }, `${count} messages are stored`)

t.test('lines on a topic of one device change nothing of what another has sent', async t => {
  const hub = await startHub(t)
  const meter = await connectMqtt(t, hub.mqttUrl, { clientId: 'meter' })
  const mallory = await connectMqtt(t, hub.mqttUrl, { clientId: 'mallory' })
  const start = Date.now() - 10_000
  for (let n = 0; n < 5; n++) {
    const reading = JSON.stringify({ temperature: 20 + n, time: start + n })
    await meter.publishAsync('home/kitchen/meter/telemetry', reading, { qos: 1 })
  }
  await meter.publishAsync('devices/bob', '{"v":1}', { qos: 1 })
  const victims = ['telemetry,device=meter,room=kitchen temperature', 'devices,topic=devices/bob v']
  for (const victim of victims) {
    for (let n = 0; n < 5; n++) {
      await mallory.publishAsync('devices/mallory', `${victim}=999 ${start + n}000000`, { qos: 1 })
      await mallory.publishAsync('home/attic/mallory/telemetry', `${victim}=999 ${start + n}000000`, { qos: 1 })
    }
  }
  await isStored(hub, 26)
  t.same(await history(hub, victims[0] as string), [20, 21, 22, 23, 24])
  t.same(await history(hub, victims[1] as string), [1])
})

t.test('a text of one device does not keep the numbers of another out, nor hide them', async t => {
  const hub = await startHub(t)
  const mallory = await connectMqtt(t, hub.mqttUrl, { clientId: 'mallory' })
  await mallory.publishAsync('devices/mallory', '{"pressure":"none"}', { qos: 1 })
  await mallory.publishAsync('home/attic/mallory/telemetry', '{"humidity":"none"}', { qos: 1 })
  const bob = await connectMqtt(t, hub.mqttUrl, { clientId: 'bob' })
  await bob.publishAsync('devices/bob', '{"pressure":1013}', { qos: 1 })
  await bob.publishAsync('home/kitchen/meter/telemetry', '{"humidity":40}', { qos: 1 })
  await isStored(hub, 4)
  t.same(await history(hub, 'devices,topic=devices/bob pressure'), [1013])
  t.same(await history(hub, 'telemetry,device=meter,room=kitchen humidity'), [40])
})

t.test('where a mapping makes one series of several topics, each user has its own', async t => {
  const dir = await tempDir()
  const config = join(dir, 'telehub.yaml')
  writeFileSync(
    config,
    JSON.stringify({
      mapping: [
        { topic: 'a/{room}/{device}', measurement: 'm', tags: ['device'] },
        { topic: 'lines/#', measurement: 'lines', decoder: 'line' },
      ],
    }),
  )
  const hub = await startHub(t, { config })
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'bob' })
  await device.publishAsync('a/x/lamp', '{"v":1}', { qos: 1 })
  await device.publishAsync('lines/x', 'cpu,host=h v=1', { qos: 1 })
  await isStored(hub, 2)
  t.same(await history(hub, 'm,device=lamp v'), [1], 'without users there is nothing to tell apart')
  t.same(await history(hub, 'cpu,host=h v'), [1])
})
