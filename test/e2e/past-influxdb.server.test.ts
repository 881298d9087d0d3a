import t from 'tap'
import type { Answer } from '../../src/contract/contract.js'
import { asAdmin, connectMqtt, eventually, history, startHub } from '../harness.js'
import { startInflux } from '../services/influxdb.js'

const influx = await startInflux()
t.teardown(() => influx.stop())

t.test('InfluxDB: rules take effect, the past is stored again by them, and nothing is removed', async t => {
  const hub = await startHub(t, { 'influx.url': `${influx.url}/past${process.pid}`, 'spool.keep': '1h' })
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'press' })
  for (const rpm of [1, 2]) await device.publishAsync('plant/press', JSON.stringify({ rpm }), { qos: 1 })
  const old = 'plant,topic=plant/press rpm'
  const fresh = 'press,machine=press speed'
  await eventually(async () => (await history(hub, old)).length === 2, 'stored')
  const post = async (path: string, body: object) => {
    const headers = { 'content-type': 'application/json', ...asAdmin(hub.dir) }
    const response = await fetch(`${hub.httpUrl}${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
    return (await response.text()).trim().split('\n').at(-1) ?? ''
  }
  const rules = [{ topic: 'plant/{machine}', measurement: 'press', fields: { rpm: 'speed' } }]
  t.match(JSON.parse(await post('/api/mapping/apply', { rules, from: 0 })), { finished: true, stored: 2, dropped: 0 })
  t.same(await history(hub, fresh), [1, 2])
  t.same(await history(hub, old), [1, 2], 'what only the rules before made stays')
  await device.publishAsync('plant/press', '{"rpm":3}', { qos: 1 })
  await eventually(async () => (await history(hub, fresh)).length === 3, 'what comes is by the new rules')
  t.match(JSON.parse(await post('/api/mapping/apply/undo', {})), { finished: true, stored: 3 })
  t.same(await history(hub, old), [1, 2, 3])
  const { body } = await hub.get<Answer<'GET /api/mapping/past'>>('/api/mapping/past')
  t.match(body, { change: { phase: 'undone' } })
})
