import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Answer } from '../../src/contract/contract.js'
import { asAdmin, connectMqtt, eventually, history, type RunningHub, startHub } from '../harness.js'
import { startInflux } from '../services/influxdb.js'
import { tempDir } from '../services/service.js'

type Listed = Answer<'GET /api/alerts'>['alerts']

const alerts = async (hub: RunningHub, query = ''): Promise<Listed> =>
  (await hub.get<Answer<'GET /api/alerts'>>(`/api/alerts${query}`)).body.alerts

const minute = 60_000

async function backTest(hub: RunningHub, body: object) {
  const response = await fetch(`${hub.httpUrl}/api/alerts/test`, {
    method: 'POST',
    headers: { ...asAdmin(hub.dir), 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  return (await response.json()) as Answer<'POST /api/alerts/test'>
}

t.test('alerts with InfluxDB: history, back-tests and what is usual, also after an outage of the store', async t => {
  const influx = await startInflux()
  t.teardown(() => influx.stop())
  const dir = await tempDir()
  writeFileSync(
    join(dir, 'alerts.yaml'),
    `zone: UTC
rules:
  warm: { field: temperature, above: -15, hysteresis: 1, severity: critical }
`,
  )
  const settings = { 'influx.url': `${influx.url}/alerts` }
  let hub = await startHub(t, settings, dir)
  let freezer = await connectMqtt(t, hub.mqttUrl, { clientId: 'freezer' })
  const send = (temperature: number, time?: number) =>
    freezer.publishAsync('home/cellar/freezer/telemetry', JSON.stringify({ temperature, time }), { qos: 1 })
  // Two hours ago it was warm twice, for two minutes each.
  const begin = Date.now() - 120 * minute
  const past = [-18, -14, -14, -18, -18, -10, -10, -18, -18.5, -17.5, -18, -18.5, -17.5]
  for (const [n, temperature] of past.entries()) await send(temperature, begin + n * minute)
  // Now it is warm.
  await send(-9)
  const [open] = await eventually(async () => {
    const all = await alerts(hub)
    return all[0]?.state === 'firing' && all
  }, 'it is warm now')
  const series = open?.series ?? ''
  await eventually(async () => (await history(hub, series)).length === past.length + 1, 'stored')
  const tested = await backTest(hub, { rule: 'warm', from: 0 })
  t.match(tested, { count: 3, readings: past.length + 1 })
  t.match(await backTest(hub, { rule: { field: 'temperature', above: -12 }, from: begin, to: begin + 60 * minute }), {
    count: 1,
  })
  t.equal((await backTest(hub, { rule: { field: 'temperature', above: 0 }, from: 0 })).count, 0)

  const key = `telehub_alerts,device=freezer,rule=warm,series=${series.replace(/[\\,= ]/g, '\\$&')},severity=critical state`
  const states = async () => (await history(hub, key)).slice().sort()
  t.same(
    await eventually(async () => {
      const all = await states()
      return all.length === 5 && all
    }, 'the history is in the store'),
    ['cleared', 'cleared', 'firing', 'firing', 'firing'],
  )

  // The store is away: alerts go on, and their history comes later, once.
  await influx.stop()
  await send(-18)
  await eventually(async () => (await alerts(hub)).length === 0, 'cleared without the store')
  await send(-9)
  await eventually(async () => (await alerts(hub))[0]?.state === 'firing', 'and raised')
  await hub.kill()
  await influx.restart()
  hub = await startHub(t, settings, dir)
  t.match(await alerts(hub), [{ rule: 'warm', state: 'firing' }])
  await eventually(async () => (await states()).length === 7, 'the history is whole')
  freezer = await connectMqtt(t, hub.mqttUrl, { clientId: 'freezer' })
  await send(-18)
  await eventually(async () => (await states()).length === 8, 'and goes on')
  t.equal((await backTest(hub, { rule: 'warm', from: 0 })).count, 4)

  // What is usual comes from InfluxDB: −18 °C and half a degree around, with a few outliers that do not count.
  const weekAgo = Date.now() - (Date.now() % (60 * minute)) - 7 * 24 * 60 * minute
  for (let n = 0; n < 24; n++) await send(-18 + ((n % 3) - 1) / 2, weekAgo + n * 5 * minute)
  await eventually(
    async () => (await history(hub, series)).length === past.length + 4 + 24,
    'the week before is stored',
  )
  writeFileSync(join(dir, 'alerts.yaml'), 'zone: UTC\nrules:\n  odd: { field: temperature, unusual: 20 }\n')
  const odd = await eventually(async () => {
    await send(-18.2)
    await send(20)
    return (await alerts(hub)).find(({ rule }) => rule === 'odd')
  }, 'unusual')
  t.match(odd.sentence, /is 20 °C; usual at \w+ \d\d:00 is −18 °C ± 0.5 °C, so this is \d+ times the usual distance/)
})
