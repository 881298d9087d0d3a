import t from 'tap'
import { connectMqtt, eventually, history, type RunningHub, startHub } from '../harness.js'
import { encodePayload, type TestMetric } from '../pipeline/sparkplug/edge-node.js'

const topic = (type: string) => `spBv1.0/plant/${type}/edge`
const series = (field: string) => `spBv1.0,topic=${topic('NDATA')} ${field}`

const reasons = async (hub: RunningHub) =>
  (await hub.get<{ reasons: { dead: Record<string, number> } }>('/api/balance')).body.reasons.dead

t.test('data before the birth wait for it, the edge node is asked, and births outlast a crash', async t => {
  const hub = await startHub(t, { 'sparkplug.host': 'scada' })
  const edge = await connectMqtt(t, hub.mqttUrl, { clientId: 'edge' })
  const heard = new Map<string, string>()
  edge.on('message', (name, payload) => heard.set(name, payload.toString('latin1')))
  await edge.subscribeAsync(['spBv1.0/STATE/scada', topic('NCMD')])
  await eventually(() => heard.get('spBv1.0/STATE/scada')?.includes('"online":true'), 'the state of the host')

  let seq = 0
  let sent = 0
  const start = Date.now() - 10_000
  const send = (type: string, metrics: readonly TestMetric[]) => {
    const timestamp = start + 100 * sent++
    return edge.publishAsync(topic(type), encodePayload({ timestamp, seq: seq++ % 256, metrics }), { qos: 1 })
  }
  await send('NDATA', [{ alias: 1, int: 1 }])
  await send('NDATA', [{ alias: 1, int: -2 }])
  await eventually(async () => (await reasons(hub)).no_birth === 2, 'both wait')
  await eventually(() => heard.get(topic('NCMD'))?.includes('Node Control/Rebirth'), 'asked for a rebirth')

  seq = 0
  const birth: readonly TestMetric[] = [
    { name: 'bdSeq', type: 8, long: 0 },
    { name: 'Motor/speed', alias: 1, type: 3, int: 3, properties: { engUnit: 'rpm' } },
  ]
  await send('NBIRTH', birth)
  await send('NDATA', [{ alias: 1, int: 4 }])
  await eventually(async () => (await history(hub, series('Motor/speed'))).length >= 3, 'late data are stored')
  await eventually(async () => !(await reasons(hub)).no_birth, 'and wait no longer')

  await hub.kill()
  const again = await startHub(t, { 'sparkplug.host': 'scada' }, hub.dir)
  const next = await connectMqtt(t, again.mqttUrl, { clientId: 'edge' })
  const payload = encodePayload({ timestamp: start + 5_000, seq: 2, metrics: [{ alias: 1, int: -5 }] })
  await next.publishAsync(topic('NDATA'), payload, { qos: 1 })
  await eventually(async () => (await history(again, series('Motor/speed'))).includes(-5), 'by the birth on disk')

  const death = encodePayload({ timestamp: start, metrics: [{ name: 'bdSeq', type: 8, long: 0 }] })
  await next.publishAsync(topic('NDEATH'), death, { qos: 1 })
  await eventually(async () => (await history(again, series('online'))).at(-1) === false, 'offline')
  t.same(await history(again, series('online')), [true, false])
  t.same(await reasons(again), {})
  t.equal(await again.stop(), 0)
})
