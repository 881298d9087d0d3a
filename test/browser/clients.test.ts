import t from 'tap'
import { connectMqtt, eventually, startHub } from '../harness.js'
import { openDashboard } from './open-dashboard.js'

t.test('clients are listed with what they do, disconnected, ended, banned, and let in again', async t => {
  const hub = await startHub(t)
  const meter = await connectMqtt(t, hub.mqttUrl, {
    clientId: 'meter',
    protocolVersion: 5,
    clean: false,
    properties: { sessionExpiryInterval: 600 },
    reconnectPeriod: 0,
  })
  await meter.subscribeAsync('plant/+/set', { qos: 1 })
  for (let i = 0; i < 20; i++) await meter.publishAsync('plant/meter', String(i), { qos: 1 })
  const lamp = await connectMqtt(t, hub.mqttUrl, { clientId: 'lamp', protocolVersion: 4, reconnectPeriod: 0 })
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/#clients`)
  const row = (name: string) => page.locator('.client', { has: page.getByRole('heading', { name, exact: true }) })
  await row('meter').waitFor()
  t.match(await row('meter').textContent(), /MQTT 5, mqtt.*plant\/\+\/set/s)
  t.match(await row('lamp').textContent(), /127\.0\.0\.1.*MQTT 3\.1\.1/s)
  await page.locator('.short-lists li', { hasText: 'meter' }).first().waitFor()
  await page.getByRole('button', { name: 'Publishes' }).click()
  await page.locator('#search').fill('mete')
  await eventually(async () => (await page.locator('.client').count()) === 1, 'the search')

  const code = new Promise<number | undefined>(resolve =>
    meter.on('disconnect', ({ reasonCode }) => resolve(reasonCode)),
  )
  await row('meter').getByRole('button', { name: 'Disconnect' }).click()
  await page.locator('dialog').getByRole('button', { name: 'Cancel' }).click()
  t.equal(meter.connected, true)
  await row('meter').getByRole('button', { name: 'Disconnect' }).click()
  await page.locator('dialog').getByRole('button', { name: 'Disconnect' }).click()
  t.equal(await code, 0x98)
  await page.getByText('meter was disconnected.').waitFor()
  await eventually(async () => /away.*session kept/.test((await row('meter').textContent()) ?? ''), 'its session stays')
  await row('meter').getByRole('button', { name: 'End session' }).click()
  await page.locator('dialog').getByRole('button', { name: 'End session' }).click()
  await page.getByText('No client fits “mete”.').waitFor()

  await page.locator('#search').fill('lamp')
  const closed = new Promise(resolve => lamp.on('close', () => resolve(true)))
  await row('lamp').getByRole('button', { name: 'Ban …' }).click()
  await page.getByLabel('This client id').check()
  await page.locator('dialog select').selectOption({ label: '1 day' })
  await page.locator('dialog').getByRole('button', { name: 'Ban', exact: true }).click()
  await page.getByText('Banned; 1 client was disconnected.').waitFor()
  t.ok(await closed)
  await t.rejects(connectMqtt(t, hub.mqttUrl, { clientId: 'lamp', reconnectPeriod: 0 }))
  await page.getByRole('button', { name: 'Lift the ban of lamp' }).click()
  await page.getByText('The ban of lamp was lifted.').waitFor()
  await connectMqtt(t, hub.mqttUrl, { clientId: 'lamp', reconnectPeriod: 0 })
  await row('lamp').waitFor()
  t.same(problems, [])
  const audit = await hub.get<unknown>('/api/bans')
  t.same(audit.body, { bans: [], imposed: [] })
})
