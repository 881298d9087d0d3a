import type { Page } from 'playwright-core'
import t from 'tap'
import { connectMqtt, eventually, history, metric, startHub } from '../harness.js'
import { openDashboard } from './open-dashboard.js'

const series = 'telemetry,device=t1,room=kitchen temperature'
const topic = 'home/kitchen/t1/telemetry'
const chart = async (page: Page) => ({
  points: Number(await page.locator('#chart').getAttribute('data-points')),
  phase: await page.locator('#chart').getAttribute('data-phase'),
  note: await page.locator('#chart-note').textContent(),
})

t.test('the chart has every reading: history, those of one message, and those of a break', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 't1' })
  const begin = Date.now() - 600_000
  const at = (n: number) => ({ temperature: 20 + (n % 7) / 2, time: begin + n * 10_000 })
  for (let n = 0; n < 10; n++) await device.publishAsync(topic, JSON.stringify(at(n)), { qos: 1 })
  await eventually(async () => (await history(hub, series)).length === 10, 'all stored')
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/#${new URLSearchParams({ series, range: '15m' })}`)
  const shows = async (points: number, what: string) => {
    await eventually(async () => (await chart(page)).points === points, what).catch(async error => {
      t.fail(`${what}: ${JSON.stringify(await chart(page))}`, { error })
    })
  }
  await shows(10, 'the history')
  await eventually(async () => (await chart(page)).phase === 'live', 'live')
  t.equal(await metric(hub, 'telehub_feeds'), 1, 'by a feed')

  // $hub/last has only the newest of these.
  const some = Array.from({ length: 10 }, (_, i) => at(10 + i))
  await device.publishAsync(topic, JSON.stringify(some), { qos: 1 })
  await shows(20, 'each reading of one message')

  await page.reload()
  await shows(20, 'the same after a reload')

  await page.context().setOffline(true)
  for (let n = 20; n < 30; n++) await device.publishAsync(topic, JSON.stringify(at(n)), { qos: 1 })
  await page.context().setOffline(false)
  await shows(30, 'also those of a break')
  await page.keyboard.press('Escape')
  await eventually(async () => (await metric(hub, 'telehub_feeds')) === 0, 'a closed chart has no feed')
  t.same(
    problems.filter(problem => !problem.includes('ERR_INTERNET_DISCONNECTED')),
    [],
  )
})
