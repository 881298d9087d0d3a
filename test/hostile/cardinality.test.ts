import t from 'tap'
import { connectMqtt, eventually, history, type RunningHub, startHub } from '../harness.js'
import { stillServes } from './attempts.js'

/** One device that sends ever new series: against the memory of the hub, its starts, and the others. */

const small = {
  'limits.series': '2000',
  'limits.jsonFields': '1000',
  'limits.packet': '100kB',
}

/** A heap as on a small machine. */
const heap = { NODE_OPTIONS: '--max-old-space-size=128' }

const balance = async (hub: RunningHub) => (await hub.get<Record<string, number>>('/api/balance')).body
const alarms = async (hub: RunningHub) =>
  (await hub.get<{ alarms: { name: string; detail: string }[] }>('/readyz')).body.alarms

t.test('wide JSON, a thousand new names in each: the hub lives, says who it is, and starts again', async t => {
  const hub = await startHub(t, small, undefined, heap)
  const good = await connectMqtt(t, hub.mqttUrl, { clientId: 'good' })
  await good.publishAsync('good', '1', { qos: 1 })
  const mallory = await connectMqtt(t, hub.mqttUrl, { clientId: 'mallory' })
  const count = 300
  for (let k = 0; k < count; k += 100) {
    await Promise.all(
      Array.from({ length: 100 }, (_, i) => {
        const names = Array.from({ length: 999 }, (_, f) => `"f${k + i}_${f}":1`)
        return mallory.publishAsync(`devices/mallory/${k + i}`, `{${names.join(',')}}`, { qos: 1 })
      }),
    )
  }
  await good.publishAsync('good', '2', { qos: 1 })
  const sheet = await eventually(async () => {
    const found = await balance(hub)
    return found.spool === 0 && found
  }, 'all is stored or refused')
  t.match(sheet, { received: count + 2, residual: 0 })
  t.ok((sheet.dead ?? 0) >= count - 3, `${sheet.dead} are dead letters`)
  t.same(await history(hub, 'good,topic=good value'), [1, 2], 'others are stored as before')
  const { body } = await hub.get<{ dead: { reason: string }[] }>('/api/dead?limit=10')
  t.ok(body.dead.every(({ reason }) => reason === 'too_many_series'))
  t.match((await alarms(hub)).find(({ name }) => name === 'series')?.detail, /client mallory sends more new series/)
  await stillServes(t, hub)
  await hub.kill()

  const again = await startHub(t, small, hub.dir, heap)
  await eventually(async () => (await balance(again)).spool === 0, 'it starts again, and goes on')
  t.same(await history(again, 'good,topic=good value'), [1, 2])
  await stillServes(t, again)
})

t.test('ever new topics: the series there are go on, new ones are dead letters', async t => {
  const hub = await startHub(t, { ...small, 'limits.series': '500' }, undefined, heap)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'mallory' })
  for (let k = 0; k < 1_500; k += 500) {
    await Promise.all(Array.from({ length: 500 }, (_, i) => device.publishAsync(`t/${k + i}`, '1', { qos: 1 })))
  }
  await eventually(async () => (await balance(hub)).spool === 0, 'all is stored or refused')
  t.match(await balance(hub), { stored: 500, dead: 1_000, residual: 0 })
  await device.publishAsync('t/7', '2', { qos: 1 })
  await eventually(async () => (await balance(hub)).stored === 501, 'what is known is stored')
  const pages: string[] = []
  let after = ''
  do {
    const { body } = await hub.get<{ series: { key: string }[]; next?: string }>(
      `/api/series?limit=200${after && `&after=${encodeURIComponent(after)}`}`,
    )
    pages.push(...body.series.map(({ key }) => key))
    after = body.next ?? ''
  } while (after !== '')
  t.equal(new Set(pages).size, 500, 'page by page')
})
