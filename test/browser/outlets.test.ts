import t from 'tap'
import { connectMqtt, eventually, startHub } from '../harness.js'
import { startHookReceiver } from '../services/webhook-receiver.js'
import { openDashboard } from './open-dashboard.js'

t.test('outlets on the page Delivery: how far behind, why one is down, paused and resumed', async t => {
  const working = await startHookReceiver()
  const failing = await startHookReceiver(() => 503)
  t.teardown(() => Promise.all([working.close(), failing.close()]))
  const outlet = (name: string, url: string) => ({ name, kind: 'webhook', url, wait: '10ms' })
  const outlets = JSON.stringify([outlet('orders', working.url), outlet('lake', failing.url)])
  const hub = await startHub(t, { outlets })
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'oven' })
  for (let n = 0; n < 5; n++) await device.publishAsync('plant/oven', `{"temperature":${n}}`, { qos: 1 })
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/#balance`)
  const row = (name: string) => page.locator(`#outlet-rows [data-outlet="${name}"]`)
  const count = (name: string, column: string) =>
    row(name).locator(`[data-column="${column}"]`).getAttribute('data-count')
  await row('orders').waitFor()
  await eventually(async () => (await count('orders', 'delivered')) === '5', 'delivered')
  t.equal(await count('orders', 'behind'), '0')
  t.equal(await count('orders', 'residual'), '0')
  await eventually(async () => (await row('lake').getAttribute('data-state')) === 'down', 'down')
  t.match(await row('lake').locator('.outlet-state').textContent(), /answers with 503/)
  t.equal(await count('lake', 'behind'), '5')

  await row('orders').locator('button').click()
  await eventually(async () => (await row('orders').getAttribute('data-state')) === 'paused', 'paused')
  await device.publishAsync('plant/oven', '{"temperature":6}', { qos: 1 })
  await eventually(async () => (await count('orders', 'behind')) === '1', 'held back')
  await row('orders').locator('button').click()
  await eventually(async () => (await count('orders', 'delivered')) === '6', 'all delivered')
  if (process.env.SCREENSHOT) await page.locator('#outlets').screenshot({ path: process.env.SCREENSHOT })
  t.same(problems, [])
})

t.test('without outlets there is no table', async t => {
  const hub = await startHub(t)
  const { page } = await openDashboard(t, `${hub.httpUrl}/#balance`)
  await page.locator('#verdict').waitFor()
  t.equal(await page.locator('#outlets').isVisible(), false)
})
