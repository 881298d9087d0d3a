import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { connectMqtt, eventually, history, metric, type RunningHub, startHub } from '../harness.js'
import { startInflux } from '../services/influxdb.js'

interface Ready {
  readonly ready: boolean
  readonly dependencies: readonly { readonly name: string; readonly state: string; readonly detail?: string }[]
  readonly alarms: readonly { readonly name: string; readonly detail: string }[]
  readonly incidents: readonly { readonly kind: string; readonly detail: string }[]
}

const ready = async (hub: RunningHub) => (await hub.get<Ready>('/readyz')).body

/** Loaded before the hub: in the processor thread, this payload, and no file that mentions it, ends the thread while it is handled. */
const preload = `import { isMainThread } from 'node:worker_threads'
const { parse } = JSON
if (!isMainThread) JSON.parse = (text, reviver) => {
  if (String(text) === '{"poison-pill":1}') process.nextTick(() => { throw new Error('poisoned') })
  return parse(text, reviver)
}
`

t.test('with InfluxDB, a message that ends the processor thread is set aside; MQTT is served meanwhile', async t => {
  const influx = await startInflux()
  t.teardown(() => influx.stop())
  await setsAside(t, { 'influx.url': `${influx.url}/processor` })
})

t.test('likewise with DuckDB', t => setsAside(t, {}))

/** Each reading is a late one, which DuckDB looks for before it stores it: so DuckDB is at work when the thread dies. */
t.test('deaths while DuckDB is at work end the thread alone, however often', async t => {
  const hub = await startPoisonable(t, {})
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'dev' })
  const count = 200
  const publish = (value: number) => {
    const payload = JSON.stringify({ value, time: 1_700_000_000_000 - value * 1_000 })
    return device.publishAsync('home/kitchen/t1/telemetry', payload, { qos: 1 })
  }
  const published: Promise<unknown>[] = []
  for (let n = 0; n < count; n++) {
    published.push(publish(n))
    if (n === count / 2) published.push(device.publishAsync('poison', '{"poison-pill":1}', { qos: 1 }))
  }
  await Promise.all(published)
  const whole = { received: count + 1, stored: count, dead: 1, spool: 0, residual: 0 }
  await eventually(async () => {
    const { body } = await hub.get<Record<string, number>>('/api/balance')
    return Object.entries(whole).every(([name, number]) => body[name] === number)
  }, 'one is set aside, all else is stored')
  t.match((await hub.get<object>('/api/dead')).body, { dead: [{ topic: 'poison', reason: 'poison' }] })
  const deaths = hub.log().split('the processor thread ended: poisoned').length - 1
  t.ok(deaths >= 6, `${deaths} deaths`)
  t.equal(await hub.stop(), 0)
})

function startPoisonable(t: Test, settings: Parameters<typeof startHub>[1]): Promise<RunningHub> {
  const file = join(t.testdir(), 'preload.mjs')
  writeFileSync(file, preload)
  return startHub(t, settings, undefined, { NODE_OPTIONS: `--import ${pathToFileURL(file)}` })
}

async function setsAside(t: Test, settings: Parameters<typeof startHub>[1]): Promise<void> {
  const hub = await startPoisonable(t, settings)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'dev' })
  const listener = await connectMqtt(t, hub.mqttUrl, { clientId: 'screen' })
  const heard: string[] = []
  listener.on('message', (_topic, payload) => heard.push(payload.toString()))
  await listener.subscribeAsync('home/kitchen/t1/telemetry', { qos: 1 })
  const publish = (value: number) =>
    device.publishAsync('home/kitchen/t1/telemetry', JSON.stringify({ value }), { qos: 1 })
  for (let n = 0; n < 20; n++) await publish(n)
  await device.publishAsync('poison', '{"poison-pill":1}', { qos: 1 })
  for (let n = 20; n < 40; n++) await publish(n)
  await eventually(() => /the processor thread ended/.test(hub.log()), 'the thread died')
  const alarm = await eventually(
    async () => (await ready(hub)).alarms.find(({ name }) => name === 'processor'),
    'an alarm is raised',
  )
  t.match(alarm, { name: 'processor', detail: /the processor thread ended (once|\d+ times)/ })
  const before = heard.length
  await publish(40)
  await eventually(() => heard.length > before, 'subscribers are served')

  const [letter] = await eventually(async () => {
    const { status, body } = await hub.get<{ dead?: { topic: string; reason: string }[] }>('/api/dead')
    return status === 200 && body.dead?.length && body.dead
  }, 'the message is set aside')
  t.match(letter, { topic: 'poison', reason: 'poison', clientId: 'dev' })
  await eventually(
    async () => (await history(hub, 'telemetry,device=t1,room=kitchen value')).length === 41,
    'everything else is stored',
  )
  const { incidents } = await ready(hub)
  t.ok(incidents.some(({ kind, detail }) => kind === 'poison_message' && /poison/.test(detail)))
  const { body } = await hub.get<{ dead: object[] }>('/api/dead')
  t.equal(body.dead.length, 1, 'nothing else is set aside')
  // What is stored can be read a moment before it is accounted for.
  const whole = { received: 42, stored: 41, dead: 1, residual: 0 }
  await eventually(async () => {
    const { body } = await hub.get<Record<string, number>>('/api/balance')
    return Object.entries(whole).every(([name, number]) => body[name] === number)
  }, 'everything is accounted for')
  const { devices } = (await hub.get<{ devices: { clientId: string; online: boolean }[] }>('/api/devices')).body
  t.match(
    devices.filter(({ clientId }) => clientId === 'dev'),
    [{ online: true }],
    'the new thread knows who is online',
  )
  t.equal(await metric(hub, 'telehub_clients'), 2)
  t.equal(await hub.stop(), 0)
}
