import t from 'tap'
import { connectMqtt, eventually, startHub } from '../harness.js'
import { sizes, violationsLightAndDark } from './axe.js'
import { openDashboard } from './open-dashboard.js'

const isWithin = 'document.documentElement.scrollWidth <= innerWidth'

t.test('the inbox, and noise', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'shop' })
  for (let n = 0; n < 60; n++) await device.publishAsync(`shop/till${n % 4}`, JSON.stringify({ total: 5 }), { qos: 1 })
  await device.publishAsync('odd/half', '{"half', { qos: 1 })
  await eventually(async () => (await hub.get<{ points: number }>('/api/noise')).body.points === 60, 'all is stored')
  for (const { width, height } of sizes) {
    const look = `${width} px`
    const { page } = await openDashboard(t, `${hub.httpUrl}/#explore&inbox`, { width, height })
    await page.locator('.inbox .card').first().waitFor()
    await page.locator('.inbox summary').first().click()
    t.same(await violationsLightAndDark(page), [], `inbox, ${look}`)
    t.same(await page.evaluate(isWithin), true, `nothing is beside the window, ${look}`)
    await page.goto(`${hub.httpUrl}/#settings&part=noise`)
    await page.locator('.set-noise [type="radio"]').first().waitFor()
    t.same(await violationsLightAndDark(page), [], `noise, ${look}`)
    t.same(await page.evaluate(isWithin), true, `nor here, ${look}`)
    await page.context().close()
  }
})
