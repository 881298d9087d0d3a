import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import t from 'tap'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { connectMqtt, eventually, history, startHub } from '../harness.js'
import { openDashboard } from './open-dashboard.js'

async function logIn(page: Page, user: string): Promise<void> {
  await page.locator('#user, [name="user"]').first().fill(user)
  await page.locator('[type="password"]').fill(passwordOf(user))
  await page.keyboard.press('Enter')
}

t.test('from Fix of a dead letter to values that are stored', async t => {
  const file = join(t.testdir(), 'telehub.yaml')
  writeFileSync(file, 'mapping:\n  - {topic: "plant/#", measurement: plant, types: {rpm: number}}\n')
  const hub = await startHub(t, { config: file })
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'press' })
  for (const machine of ['press1', 'press2'])
    await device.publishAsync(`plant/hall/${machine}`, '{"rpm":"fast","noise":7}', { qos: 1 })
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/#balance`)
  await page.getByRole('link', { name: 'Fix the mapping of plant/hall/press1' }).click()

  // The proposal takes what fails as it comes.
  await page.getByRole('heading', { name: 'Map this' }).waitFor()
  await page.getByText('With this rule 1 of 1 are stored; today 0.').waitFor()
  await page.getByRole('button', { name: 'Only hall' }).click()
  await page.getByRole('button', { name: 'Any, with a name' }).click()
  await page.getByRole('button', { name: 'Any, called name' }).waitFor()
  const name = page.getByLabel('Measurement')
  await name.fill('')
  await page.locator('#mistake-measurement', { hasText: 'missing' }).waitFor()
  t.ok(await page.getByRole('button', { name: 'Save rule' }).isDisabled(), 'no rule with a mistake is saved')
  await name.fill('presses')
  await page.getByLabel('Name of rpm in the store').fill('speed')
  await page.getByLabel('Unit of rpm').fill('1/min')
  await page.locator('.fields li', { hasText: 'noise' }).locator('[type="checkbox"]').uncheck()
  await page
    .locator('.tried .point', { hasText: /presses.*speed.*fast.*1\/min/s })
    .first()
    .waitFor()
  await eventually(async () => !(await page.getByRole('button', { name: 'Save rule' }).isDisabled()), 'it may be saved')
  await page.getByRole('button', { name: 'Save rule' }).click()
  await page.getByText('Saved, and in force as rule 1 of the hub.').waitFor()
  await page.getByText('2 messages on these topics were not stored before. Store them now?').waitFor()
  await page.getByRole('button', { name: 'Store them now' }).click()
  await page.getByText('2 messages tried again: 2 stored.').waitFor()
  const { series } = (await hub.get<{ series: { key: string; unit?: string }[] }>('/api/series?search=presses')).body
  t.equal(series[0]?.unit, '1/min')
  t.same(await history(hub, series[0]?.key ?? ''), ['fast'])

  await page.getByRole('link', { name: 'Mapping rules' }).first().click()
  await page.locator('.rule', { hasText: 'rule 1 of the hub' }).waitFor()
  await page.locator('.rule', { hasText: /rule 1 of the settings.*plant\/#/s }).waitFor()
  await page.getByRole('button', { name: /^Remove the rule/ }).click()
  await page.locator('dialog').getByRole('button', { name: 'Remove' }).click()
  await page.getByText('The hub has no rules of its own yet.').waitFor()
  await page.getByRole('button', { name: 'Undo' }).click()
  await page.locator('.rule', { hasText: 'rule 1 of the hub' }).waitFor()
  // While the processor thread starts with other rules, the hub answers other questions of the page with 503.
  t.same(
    problems.filter(one => !one.includes('503')),
    [],
  )
})

t.test('levels are tapped into names; what is ignored is no dead letter; others only try', async t => {
  const users = await usersFile()
  await users.add('root', ['allow all #'], { kind: 'admin' })
  await users.add('reader', ['allow read #', 'allow read $hub/#'], { kind: 'dashboard' })
  const hub = await startHub(t, users.settings)
  const device = await connectMqtt(t, hub.mqttUrl, { username: 'root', password: passwordOf('root') })
  for (const topic of ['site/a/pump/log', 'site/b/pump/log']) await device.publishAsync(topic, '{"x', { qos: 1 })
  const address = `${hub.httpUrl}/login?next=/%23explore%26map%26topic=site/a/pump/log`
  const { page, problems } = await openDashboard(t, address)
  await logIn(page, 'root')
  await page.getByText('Takes 2 topics that the hub knows').waitFor()
  const chip = page.getByRole('button', { name: 'Only pump' })
  await chip.focus()
  await page.keyboard.press('Enter')
  await page.getByRole('button', { name: 'Any, with a name' }).click()
  await page.getByLabel('Name', { exact: true }).fill('machine')
  await page.getByRole('button', { name: 'Any, called machine' }).waitFor()
  await page.getByRole('button', { name: 'All that follow' }).click()
  await page.getByRole('button', { name: 'Show all parts' }).click()
  await page.getByRole('button', { name: 'Only log' }).waitFor()
  await page.getByLabel('Do not store these messages').check()
  await page.getByText('Not stored, as it is no reading.').first().waitFor()
  await page.getByRole('button', { name: 'Save rule' }).click()
  await page.getByRole('button', { name: 'Store them now' }).click()
  await page.getByText(/2 messages tried again/).waitFor()
  t.same((await hub.get<{ dead: unknown[] }>('/api/dead')).body.dead, [])
  await page.getByRole('button', { name: 'Undo' }).click()
  await page.getByRole('button', { name: 'Save rule' }).waitFor()
  // While the processor thread starts with other rules, the hub answers other questions of the page with 503.
  t.same(
    problems.filter(one => !one.includes('503')),
    [],
  )
  const { page: other } = await openDashboard(t, address)
  await logIn(other, 'reader')
  await other.getByText('Only admins save rules. You can try one here.').waitFor()
})
