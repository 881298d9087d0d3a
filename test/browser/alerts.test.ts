import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import t from 'tap'
import { asAdmin, connectMqtt, eventually, history, type RunningHub, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'
import { openSignedIn, startGuarded } from './guarded-hub.js'
import { openDashboard } from './open-dashboard.js'

async function post(hub: RunningHub, path: string, body: unknown): Promise<void> {
  const headers = { ...asAdmin(hub.dir), 'content-type': 'application/json' }
  const response = await fetch(hub.httpUrl + path, { method: 'POST', headers, body: JSON.stringify(body) })
  if (!response.ok) throw new Error(await response.text())
}

const textOf = async (page: Page, selector: string) => (await page.locator(selector).first().textContent()) ?? ''

t.test('a rule is chosen by search, made wider, and says what it selects', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'd1' })
  for (const name of ['a', 'b', 'c'])
    await device.publishAsync(`home/kitchen/${name}/telemetry`, '{"temperature":20,"open":true}', { qos: 1 })
  await eventually(
    async () => (await history(hub, 'telemetry,device=c,room=kitchen temperature')).length === 1,
    'all stored',
  )
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/#alerts&new`)
  await page.locator('.blank-button').click()
  await page.locator('.chooser-search input').fill('b temperature')
  const found = page.locator('.chooser-value')
  await eventually(async () => (await found.count()) === 1, 'found')
  await found.click()
  const matches = async () => textOf(page, '.alerts-dialog .matches summary')
  await eventually(async () => /^1 value/.test(await matches()), 'one')
  await page.getByLabel('Temperature of any device').check()
  await eventually(async () => /^3 values/.test(await matches()), 'three')
  await page.keyboard.press('Escape')
  await page.locator('.blank-button', { hasText: 'Temperature of any device' }).waitFor()

  t.comment('each condition has its sentence')
  const kind = page.getByRole('combobox', { name: 'Condition' })
  const all = `[...document.querySelectorAll('[aria-label="Condition"] option')].map(one => one.value)`
  for (const one of await page.evaluate<readonly string[]>(all)) {
    await kind.selectOption(one)
    await eventually(async () => (await kind.inputValue()) === one, one)
    t.notMatch(await textOf(page, '.rule-words'), /[{}]|undefined|NaN/, one)
  }
  await kind.selectOption('outside')
  await page.getByRole('textbox', { name: 'Lower limit' }).fill('30')
  await page.getByRole('textbox', { name: 'Upper limit' }).fill('10')
  await page.locator('.alerts-trouble[data-field="below"]').waitFor()
  t.same(problems, [])
})

t.test('a rule of the file is read-only, and says where it is; a copy is not', async t => {
  const dir = await tempDir()
  writeFileSync(join(dir, 'alerts.yaml'), 'rules:\n  warm:\n    field: temperature\n    above: -15\n')
  const hub = await startHub(t, {}, dir)
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/#alerts&view=rules`)
  const rule = page.locator('[data-rule="warm"]')
  await rule.waitFor()
  t.match(await rule.textContent(), /alerts\.yaml, line \d/)
  t.equal(await rule.getByRole('button').count(), 0)
  await rule.locator('a').click()
  await page.locator('.alerts-note', { hasText: 'is changed there' }).waitFor()
  t.equal(await page.locator('.editor :is(input, select, .blank-button):not(:disabled)').count(), 0)
  t.equal(await page.getByRole('button', { name: 'Save' }).count(), 0)
  await page.locator('.alerts-note a').click()
  const name = page.getByRole('textbox', { name: 'Name of the rule' })
  await eventually(async () => (await name.inputValue()) === 'warm-2', 'a name of its own')
  await page.getByRole('button', { name: 'Save' }).click()
  await page.locator('[data-rule="warm-2"]').waitFor()
  t.same(problems, [])
})

t.test('who may only look sees alerts and no buttons but Acknowledge', async t => {
  const hub = await startGuarded(t)
  await post(hub, '/api/alerts/rules', { name: 'hot', rule: { field: 'temperature', above: 30 } })
  await post(hub, '/api/publish', { topic: 'home/thermo/telemetry', payload: { temperature: 40 } })
  const { page } = await openSignedIn(t, hub, 'bert', '/#alerts')
  const item = page.locator('.alerts-item')
  await item.waitFor()
  t.same(await item.getByRole('button').allTextContents(), ['Acknowledge'])
  await page.locator('.alerts-tabs a', { hasText: 'Rules' }).click()
  await page.locator('[data-rule="hot"]').waitFor()
  t.equal(await page.locator('.alerts :is(button, a.plain)').count(), 0)
  await page.locator('[data-rule="hot"] a').click()
  await page.locator('.editor').waitFor()
  t.equal(await page.locator('.editor-acts').count(), 0)
  t.equal(await page.locator('.editor :is(.blank input, .blank select, .blank-button):not(:disabled)').count(), 0)
  await page.locator('.alerts-tabs a', { hasText: 'Notifications' }).click()
  await page.getByText('shown to administrators').waitFor()
})

t.test('targets say how they do, and are tested', async t => {
  const dir = await tempDir()
  writeFileSync(
    join(dir, 'notify.yaml'),
    'targets:\n  siren: { type: mqtt, topic: house/siren }\n  office: { type: webhook, url: "http://127.0.0.1:9/" }\nroutes: [{ severity: critical, targets: siren }]\n',
    { mode: 0o600 },
  )
  const hub = await startHub(t, {}, dir)
  const { page } = await openDashboard(t, `${hub.httpUrl}/#alerts&view=notify`)
  const siren = page.locator('[data-target="siren"]')
  await siren.getByRole('button').click()
  await siren.getByText('The test was taken.').waitFor()
  const office = page.locator('[data-target="office"]')
  await office.getByRole('button').click()
  await office.getByText(/The test failed/).waitFor()
  t.match(await textOf(page, '.alerts-line'), /Critical .*siren/)
})
