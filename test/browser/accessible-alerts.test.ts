import t from 'tap'
import { asAdmin, connectMqtt, startHub } from '../harness.js'
import { sizes, violationsLightAndDark } from './axe.js'
import { openDashboard } from './open-dashboard.js'

t.test('the page Alerts', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'freezer' })
  const rule = { field: 'temperature', above: -15, hysteresis: 1, severity: 'critical', when: 'mon-sun 00:00-24:00' }
  await fetch(`${hub.httpUrl}/api/alerts/rules`, {
    method: 'POST',
    headers: { ...asAdmin(hub.dir), 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'warm', rule }),
  })
  for (const temperature of [-7, -18, -7])
    await device.publishAsync('home/kitchen/freezer/telemetry', JSON.stringify({ temperature }), { qos: 1 })
  for (const { width, height } of sizes) {
    const look = `${width} px`
    const { page } = await openDashboard(t, `${hub.httpUrl}/#alerts`, { width, height })
    await page.locator('.alerts-item').waitFor()
    t.same(await violationsLightAndDark(page), [], `now, ${look}`)
    await page.getByRole('button', { name: /^Mute/ }).click()
    t.same(await violationsLightAndDark(page), [], `a mute, ${look}`)
    for (const view of ['history', 'rules', 'notify']) {
      await page.goto(`${hub.httpUrl}/#alerts&view=${view}`)
      await page.locator('.alerts-past, [data-rule], [data-target]').first().waitFor()
      t.same(await violationsLightAndDark(page), [], `${view}, ${look}`)
    }
    await page.goto(`${hub.httpUrl}/#alerts&rule=warm`)
    await page.locator('.alerts-handle').waitFor()
    t.same(await violationsLightAndDark(page), [], `the editor of a rule, ${look}`)
    await page.locator('.blank-button').first().click()
    await page.locator('.chooser-value').first().waitFor()
    t.same(await violationsLightAndDark(page), [], `the choice of what is watched, ${look}`)
    await page.context().close()
  }
})
