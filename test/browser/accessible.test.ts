import t from 'tap'
import { Member } from '../../devices/member.js'
import { realHome } from '../../devices/real-home.js'
import { connectMqtt, eventually, startHub } from '../harness.js'
import { sizes, violationsLightAndDark } from './axe.js'
import { openDashboard } from './open-dashboard.js'

/** Returns the address of a chart with numbers, a boolean and a text. */
async function severalOf(url: string): Promise<URLSearchParams> {
  const wanted = ['number', 'number', 'boolean', 'text']
  const keys = await eventually(async () => {
    const { series } = (await (await fetch(`${url}/api/series`)).json()) as { series: { key: string; type: string }[] }
    const found = wanted.map((type, i) => series.filter(one => one.type === type)[i % 2]?.key)
    return found.every(key => key !== undefined) && found
  }, 'series of all types')
  const named = keys.map((key, i): [string, string] => [i ? 'with' : 'series', key ?? ''])
  return new URLSearchParams([...named, ['range', '15m']])
}

t.test('the pages of a home', async t => {
  const hub = await startHub(t)
  const members = realHome(1).map(behaviour => new Member({ url: hub.mqttUrl, behaviour }))
  for (const member of members) member.start()
  t.teardown(() => Promise.all(members.map(member => member.stop(2_000))))
  const broken = await connectMqtt(t, hub.mqttUrl, { clientId: 'broken' })
  await broken.publishAsync('home/hall/broken/telemetry', '{"broken', { qos: 1 })

  const several = await severalOf(hub.httpUrl)

  for (const { width, height } of sizes) {
    const look = `${width} px`
    const { page } = await openDashboard(t, `${hub.httpUrl}/`, { width, height })
    await page.getByText('15 devices', { exact: true }).waitFor()
    t.same(await violationsLightAndDark(page), [], `Home, ${look}`)
    await page.locator('#search').fill('lamp')
    await page.locator('.thing-link', { hasText: 'Living room lamp' }).click()
    await page.locator('dialog.sheet').waitFor()
    t.same(await violationsLightAndDark(page), [], `the sheet of a device, ${look}`)
    await page.keyboard.press('Escape')
    await page.goto(`${hub.httpUrl}/#values`)
    await page.locator('.tile').first().waitFor()
    t.same(await violationsLightAndDark(page), [], `All values, ${look}`)
    await page.locator('.tile').first().click()
    await page.locator('#chart[data-points]:not([data-points="0"])').waitFor()
    t.same(await violationsLightAndDark(page), [], `a chart, ${look}`)
    await page.locator('[data-tool="dates"]').click()
    t.same(await violationsLightAndDark(page), [], `the dates of a chart, ${look}`)
    await page.goto('about:blank')
    await page.goto(`${hub.httpUrl}/#${several}`)
    await page.locator('.lane').first().waitFor()
    await page.locator('[data-tool="add"]').click()
    t.same(await violationsLightAndDark(page), [], `a chart of several series, ${look}`)
    await page.goto(`${hub.httpUrl}/#balance`)
    await page.locator('#dead li, #dead tr, #dead article').first().waitFor()
    t.same(await violationsLightAndDark(page), [], `Delivery, ${look}`)
    // All parts of the balance at once, each wide enough to be named.
    await page.route('**/api/balance?*', async route => {
      const response = await route.fetch()
      const part = width > 1_000 ? 1_000 : 0
      const parts = { spool: 1_000, queue: 1_000, dead: part, dropped: part, refused: part }
      await route.fulfill({ response, json: { ...(await response.json()), ...parts } })
    })
    await page.locator('.flow-large [data-part="queue"] span').waitFor()
    t.same(await violationsLightAndDark(page), [], `Delivery, with messages in every place, ${look}`)
    await page.unrouteAll({ behavior: 'ignoreErrors' })
    await page.goto(`${hub.httpUrl}/#explore`)
    await page.locator('.level-toggle').first().click()
    await page.locator('.levels .levels .level').first().waitFor()
    t.same(await violationsLightAndDark(page), [], `Explore, ${look}`)
    await page.locator('#search').fill('lamp')
    await page.locator('a.level-name').first().click()
    await page.locator('.message-row').first().waitFor()
    t.same(await violationsLightAndDark(page), [], `a topic, ${look}`)
    for (const place of ['retained', 'publish']) {
      await page.goto(`${hub.httpUrl}/#explore&${place}`)
      await page.locator('#explore form').waitFor()
      t.same(await violationsLightAndDark(page), [], `${place}, ${look}`)
    }
    await page.goto(`${hub.httpUrl}/#explore&rules`)
    await page.locator('.rule').first().waitFor()
    t.same(await violationsLightAndDark(page), [], `mapping rules, ${look}`)
    await page.goto(`${hub.httpUrl}/#explore&map&topic=home/hall/broken/telemetry`)
    await page.locator('.tried li').first().waitFor()
    await page.locator('.chip').nth(1).click()
    t.same(await violationsLightAndDark(page), [], `a rule, ${look}`)
    await page.goto(`${hub.httpUrl}/#clients`)
    await page.locator('.client').first().waitFor()
    t.same(await violationsLightAndDark(page), [], `Clients, ${look}`)
    await page.getByRole('button', { name: 'Ban …' }).first().click()
    t.same(await violationsLightAndDark(page), [], `a ban, ${look}`)
    await page.goto(`${hub.httpUrl}/#device=broken`)
    await page.locator('#device-name').waitFor()
    t.same(await violationsLightAndDark(page), [], `the page of a client, ${look}`)
    await page.context().close()
  }
})
