import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Page, Route } from 'playwright-core'
import t from 'tap'
import { asAdmin, connectMqtt, eventually, history, type RunningHub, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'
import { openSignedIn, startGuarded } from './guarded-hub.js'
import { openDashboard } from './open-dashboard.js'

const topic = 'home/kitchen/freezer/telemetry'
const series = 'telemetry,device=freezer,room=kitchen temperature'
const hour = 3_600_000

async function post(hub: RunningHub, path: string, body: unknown): Promise<void> {
  const headers = { ...asAdmin(hub.dir), 'content-type': 'application/json' }
  const response = await fetch(hub.httpUrl + path, { method: 'POST', headers, body: JSON.stringify(body) })
  if (!response.ok) throw new Error(await response.text())
}

/** Two days of a freezer, with a warm hour on the first. */
function pastOf(now: number): readonly object[] {
  return Array.from({ length: 48 * 6 }, (_, n) => {
    const time = now - 48 * hour + n * (hour / 6)
    return { temperature: n >= 60 && n < 66 ? -9 : -18 - (n % 3) / 10, time }
  })
}

const textOf = async (page: Page, selector: string) => (await page.locator(selector).first().textContent()) ?? ''

t.test('a rule is written from the sheet of a device, tried on the past, fires, and is seen to', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'freezer' })
  const send = (payload: unknown) => device.publishAsync(topic, JSON.stringify(payload), { qos: 1 })
  const past = pastOf(Date.now())
  await send(past)
  await send({ temperature: -18 })
  await eventually(async () => (await history(hub, series)).length === past.length + 1, 'all stored')
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/`)

  t.comment('three clicks to an alert: the device, the bell, save')
  await page.locator('.thing-link').click()
  await page.locator('.sheet-alert').click()
  await page.locator('.editor').waitFor()
  t.match(new URL(page.url()).hash, /^#alerts&new=/)
  await page.locator('.blank-button', { hasText: 'Temperature of Freezer' }).waitFor()
  const verdict = async () => `${await textOf(page, '.alerts-verdict')}`
  await eventually(async () => /would have fired/.test(await verdict()), 'tried with the newest value as the limit')
  const limit = page.getByRole('textbox', { name: 'Upper limit' })
  await limit.fill('-15')
  await eventually(async () => /fired 1 time in the last 7 days, for 1 h/.test(await verdict()), 'the warm hour')
  await page.locator('.alerts-plot canvas').waitFor()
  t.ok(Number(await page.locator('.alerts-plot').getAttribute('data-points')) > 200, 'drawn')

  t.comment('the limit is moved by keyboard and by hand')
  const handle = page.getByRole('slider', { name: 'Upper limit' })
  await handle.focus()
  const before = Number(await limit.inputValue())
  await page.keyboard.press('ArrowUp')
  await eventually(async () => Number(await limit.inputValue()) > before, 'one step up')
  const box = (await handle.boundingBox()) ?? { x: 0, y: 0, width: 0, height: 0 }
  await page.mouse.move(box.x + 30, box.y + box.height / 2)
  await page.mouse.down()
  await page.mouse.move(box.x + 30, box.y + box.height / 2 - 180, { steps: 6 })
  await page.mouse.up()
  t.ok(Number(await limit.inputValue()) > -9, await limit.inputValue())
  await eventually(async () => /would not have fired/.test(await verdict()), 'tried again')

  t.comment('mistakes stand at their fields')
  const told = page.waitForResponse(response => response.url().endsWith('/api/alerts/check'))
  await limit.fill('much')
  await told
  await page.locator('.alerts-trouble[data-field="above"]').waitFor()
  t.equal(await limit.getAttribute('aria-invalid'), 'true')
  const name = page.getByRole('textbox', { name: 'Name of the rule' })
  await name.fill('a/b')
  await page.locator('.alerts-trouble[data-field="name"]').waitFor()
  const save = page.getByRole('button', { name: 'Save' })
  await save.click()
  t.match(new URL(page.url()).hash, /new/, 'not saved')
  // Mistakes that the hub has found before must not keep a rule from being saved that has none any more.
  const slowly = (route: Route) => sleep(2_000).then(() => route.continue().catch(() => {}))
  await page.route('**/api/alerts/check', slowly)
  await limit.fill('-15')
  await name.fill('freezer-warm')
  await page.getByRole('combobox', { name: 'Severity' }).selectOption('critical')
  await page.getByRole('textbox', { name: 'How far back' }).fill('1')
  await page.getByRole('textbox', { name: 'Words before each alert' }).fill('The food thaws')
  await save.click()
  const rule = page.locator('[data-rule="freezer-warm"]')
  await rule.waitFor()
  await page.unroute('**/api/alerts/check', slowly)
  t.match(await rule.textContent(), /Critical.*is above −15.*back by 1/)

  t.comment('it fires, without a reload')
  await page.locator('.alerts-tabs a', { hasText: 'Now' }).click()
  await page.getByText('Nothing is wrong.').waitFor()
  t.match(await textOf(page, '.alerts-none'), /1 rule, \d value/)
  await send({ temperature: -7.3 })
  const item = page.locator('.alerts-item')
  await item.waitFor()
  t.match(await item.textContent(), /The food thaws.*−7\.3.*Freezer.*now −7\.3/)
  await eventually(async () => (await page.locator('#pages .nav-count').textContent()) === '1', 'counted in the header')
  await send({ temperature: -6.5 })
  await eventually(async () => /now −6\.5/.test((await item.textContent()) ?? ''), 'the value now')

  t.comment('muted, and unmuted')
  await item.getByRole('button', { name: /^Mute/ }).click()
  await page.getByRole('button', { name: 'For 8 h' }).click()
  await page.locator('.alerts-group[data-state="muted"]').waitFor()
  t.match(await item.textContent(), /Muted by anyone until/)
  await item.getByRole('button', { name: /^Unmute/ }).click()
  await page.locator('.alerts-group[data-state="firing"]').waitFor()

  t.comment('acknowledged with a note')
  await item.getByRole('button', { name: /^Acknowledge/ }).click()
  await page.getByRole('textbox', { name: 'Note' }).fill('on my way')
  await page.keyboard.press('Enter')
  await page.locator('.alerts-group[data-state="acknowledged"]').waitFor()
  t.match(await item.textContent(), /Acknowledged by anyone: on my way/)

  t.comment('over, and in the history')
  await send({ temperature: -18 })
  await page.getByText('Nothing is wrong.').waitFor()
  await page.locator('.alerts-tabs a', { hasText: 'History' }).click()
  const gone = page.locator('.alerts-past')
  await gone.waitFor()
  t.match(await gone.textContent(), /The food thaws.*Acknowledged by anyone/)
  await gone.locator('a').click()
  await page.locator('.alerts-plot canvas').waitFor()
  t.match(await page.locator('.alerts-steps').textContent(), /Firing.*Acknowledged.*on my way.*Over/)
  t.match(await textOf(page, '.alerts-rule-then'), /Temperature of Freezer is above −15 °C/)

  t.comment('switched off, and deleted after a question')
  await page.locator('.alerts-tabs a', { hasText: 'Rules' }).click()
  await rule.getByRole('button', { name: /^Switch/ }).click()
  await eventually(async () => (await rule.getAttribute('data-off')) === 'true', 'off')
  await rule.getByRole('button', { name: /^Delete/ }).click()
  await page.locator('dialog.confirm button[value="yes"]').click()
  await eventually(async () => (await rule.count()) === 0, 'gone')
  t.same(
    problems.filter(problem => !/400 \(Bad Request\)/.test(problem)),
    [],
  )
})

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

t.test('a rule for an area, which tells a target of its own', async t => {
  const dir = await tempDir()
  writeFileSync(join(dir, 'notify.yaml'), 'targets: { siren: { type: mqtt, topic: house/siren } }\nroutes: []\n', {
    mode: 0o600,
  })
  const hub = await startHub(t, {}, dir)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'freezer' })
  await device.publishAsync(topic, '{"temperature":-18}', { qos: 1 })
  await eventually(async () => (await history(hub, series)).length === 1, 'stored')
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/`)
  await page.locator('.thing-link').click()
  await page.locator('.sheet-alert').click()
  await page.locator('.editor').waitFor()
  await page.locator('.blank-button', { hasText: 'Temperature of Freezer' }).click()
  await page.getByLabel('Temperature of devices of the kind Freezer').check()
  await page.getByLabel('Temperature of devices in Kitchen').check()
  await eventually(async () => /^1 value/.test(await textOf(page, '.alerts-dialog .matches summary')), 'one')
  await page.keyboard.press('Escape')
  await page.getByRole('checkbox', { name: 'siren' }).check()
  await page.getByRole('textbox', { name: 'Name of the rule' }).fill('kitchen')
  await page.getByRole('button', { name: 'Save' }).click()
  const rule = page.locator('[data-rule="kitchen"]')
  await rule.waitFor()
  t.match(await rule.textContent(), /Temperature of devices in Kitchen .*Told in any case: siren/)
  const { body } = await hub.get<{ rules: object[] }>('/api/alerts/rules')
  t.match(body.rules, [{ definition: { field: 'temperature', area: 'Kitchen', notify: ['siren'] } }])
  t.same(problems, [])
})
