import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { AxeResults } from 'axe-core'
import type { Page } from 'playwright-core'
import t from 'tap'
import { Member } from '../../devices/member.js'
import { realHome } from '../../devices/real-home.js'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { asAdmin, connectMqtt, eventually, startHub } from '../harness.js'
import { openPage } from '../services/pages.js'
import { openDashboard } from './open-dashboard.js'

/* Every page, in both colour schemes and two sizes, by the rules of axe-core (WCAG 2.2 A and AA, and best practice). */

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** Returns the violations, each with the first elements that it is about. */
async function violations(page: Page): Promise<readonly string[]> {
  await page.evaluate(axe)
  const { violations } = (await page.evaluate('axe.run(document)')) as AxeResults
  return violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map(({ html }) => html.slice(0, 200))}`)
}

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

const looks = [
  { width: 1440, height: 900, dark: false },
  { width: 1440, height: 900, dark: true },
  { width: 390, height: 844, dark: false },
  { width: 390, height: 844, dark: true },
]

t.test('the pages of a home', async t => {
  const hub = await startHub(t)
  const members = realHome(1).map(behaviour => new Member({ url: hub.mqttUrl, behaviour }))
  for (const member of members) member.start()
  t.teardown(() => Promise.all(members.map(member => member.stop(2_000))))
  const broken = await connectMqtt(t, hub.mqttUrl, { clientId: 'broken' })
  await broken.publishAsync('home/hall/broken/telemetry', '{"broken', { qos: 1 })

  const several = await severalOf(hub.httpUrl)

  for (const { width, height, dark } of looks) {
    const look = `${width} px, ${dark ? 'dark' : 'light'}`
    const { page } = await openDashboard(t, `${hub.httpUrl}/`, { width, height, dark })
    await page.getByText('15 devices', { exact: true }).waitFor()
    t.same(await violations(page), [], `Home, ${look}`)
    await page.locator('#search').fill('lamp')
    await page.locator('.thing-link', { hasText: 'Living room lamp' }).click()
    await page.locator('dialog.sheet').waitFor()
    t.same(await violations(page), [], `the sheet of a device, ${look}`)
    await page.keyboard.press('Escape')
    await page.goto(`${hub.httpUrl}/#values`)
    await page.locator('.tile').first().waitFor()
    t.same(await violations(page), [], `All values, ${look}`)
    await page.locator('.tile').first().click()
    await page.locator('#chart[data-points]:not([data-points="0"])').waitFor()
    t.same(await violations(page), [], `a chart, ${look}`)
    await page.locator('[data-tool="dates"]').click()
    t.same(await violations(page), [], `the dates of a chart, ${look}`)
    await page.goto('about:blank')
    await page.goto(`${hub.httpUrl}/#${several}`)
    await page.locator('.lane').first().waitFor()
    await page.locator('[data-tool="add"]').click()
    t.same(await violations(page), [], `a chart of several series, ${look}`)
    await page.goto(`${hub.httpUrl}/#balance`)
    await page.locator('#dead li, #dead tr, #dead article').first().waitFor()
    t.same(await violations(page), [], `Delivery, ${look}`)
    await page.goto(`${hub.httpUrl}/#explore`)
    await page.locator('.level-toggle').first().click()
    await page.locator('.levels .levels .level').first().waitFor()
    t.same(await violations(page), [], `Explore, ${look}`)
    await page.locator('#search').fill('lamp')
    await page.locator('a.level-name').first().click()
    await page.locator('.message-row').first().waitFor()
    t.same(await violations(page), [], `a topic, ${look}`)
    for (const place of ['retained', 'publish']) {
      await page.goto(`${hub.httpUrl}/#explore&${place}`)
      await page.locator('#explore form').waitFor()
      t.same(await violations(page), [], `${place}, ${look}`)
    }
    await page.goto(`${hub.httpUrl}/#clients`)
    await page.locator('.client').first().waitFor()
    t.same(await violations(page), [], `Clients, ${look}`)
    await page.getByRole('button', { name: 'Ban …' }).first().click()
    t.same(await violations(page), [], `a ban, ${look}`)
    await page.goto(`${hub.httpUrl}/#device=broken`)
    await page.locator('#device-name').waitFor()
    t.same(await violations(page), [], `the page of a client, ${look}`)
    await page.context().close()
  }
})

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
  for (const { width, height, dark } of looks) {
    const look = `${width} px, ${dark ? 'dark' : 'light'}`
    const { page } = await openDashboard(t, `${hub.httpUrl}/#alerts`, { width, height, dark })
    await page.locator('.alerts-item').waitFor()
    t.same(await violations(page), [], `now, ${look}`)
    await page.getByRole('button', { name: /^Mute/ }).click()
    t.same(await violations(page), [], `a mute, ${look}`)
    for (const view of ['history', 'rules', 'notify']) {
      await page.goto(`${hub.httpUrl}/#alerts&view=${view}`)
      await page.locator('.alerts-past, [data-rule], [data-target]').first().waitFor()
      t.same(await violations(page), [], `${view}, ${look}`)
    }
    await page.goto(`${hub.httpUrl}/#alerts&rule=warm`)
    await page.locator('.alerts-handle').waitFor()
    t.same(await violations(page), [], `the editor of a rule, ${look}`)
    await page.locator('.blank-button').first().click()
    await page.locator('.chooser-value').first().waitFor()
    t.same(await violations(page), [], `the choice of what is watched, ${look}`)
    await page.context().close()
  }
})

t.test('the page Settings', async t => {
  const users = await usersFile()
  await users.add('anna', ['allow all #', 'allow read $hub/#'], { kind: 'admin' })
  await users.add('hall', ['allow publish home/hall/#', 'deny publish home/hall/secret'])
  const hub = await startHub(t, users.settings)
  for (const { width, height, dark } of looks) {
    const look = `${width} px, ${dark ? 'dark' : 'light'}`
    const { page } = await openDashboard(t, `${hub.httpUrl}/#settings`, { width, height, dark })
    await page.locator('#user').fill('anna')
    await page.locator('#password').fill(passwordOf('anna'))
    await page.locator('#password').press('Enter')
    await page.getByText('2 users').waitFor()
    await page.getByRole('button', { name: 'Add a user' }).click()
    await page.locator('summary', { hasText: 'hall' }).click()
    t.same(await violations(page), [], `users, ${look}`)
    await page.goto(`${hub.httpUrl}/#settings&part=explain&user=hall&action=publish&topic=home/hall/secret`)
    await page.locator('.set-verdict').waitFor()
    t.same(await violations(page), [], `explain, ${look}`)
    await page.goto(`${hub.httpUrl}/#settings&part=pair&user=hall`)
    await page.getByRole('button', { name: 'Show a code' }).click()
    await page.locator('.set-qr').waitFor()
    t.same(await violations(page), [], `a pairing code, ${look}`)
    for (const part of ['keys', 'mapping', 'notify', 'certificate', 'audit', 'all']) {
      await page.goto(`${hub.httpUrl}/#settings&part=${part}`)
      await page.locator(`[data-part="${part}"] :is(.card, .set-audit-line)`).first().waitFor()
      t.same(await violations(page), [], `${part}, ${look}`)
    }
    await page.goto(`${hub.httpUrl}/pair#ABCD-EFGH-JKMN`)
    await page.locator('#form').waitFor()
    t.same(await violations(page), [], `the page of a code, ${look}`)
    await page.context().close()
  }
})

t.test('the login', async t => {
  const users = await usersFile()
  await users.add('anna', ['allow all #'], { kind: 'admin' })
  const hub = await startHub(t, users.settings)
  for (const { width, height, dark } of looks) {
    const { page, close } = await openPage(`${hub.httpUrl}/login`, { width, height, dark })
    await page.locator('form').waitFor()
    t.same(await violations(page), [], `${width} px, ${dark ? 'dark' : 'light'}`)
    await close()
  }
})
