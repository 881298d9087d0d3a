import t from 'tap'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { connectMqtt, eventually, startHub } from '../harness.js'
import { openDashboard } from './open-dashboard.js'

t.test('from the tree to the messages of a topic, what is different, and what the hub makes of it', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'thermo', protocolVersion: 5 })
  const properties = { contentType: 'application/json', userProperties: { batch: '7' } }
  await device.publishAsync('home/kitchen/thermo/telemetry', '{"temperature":21.5,"door":true}', { qos: 1 })
  await device.publishAsync('home/kitchen/thermo/telemetry', '{"temperature":22,"on":1}', {
    qos: 1,
    retain: true,
    properties,
  })
  await device.publishAsync('home/hall/broken/telemetry', '{"broken', { qos: 1 })
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/#explore`)
  await page.getByRole('button', { name: 'Open home' }).click()
  await page.getByRole('button', { name: 'Open hall' }).click()
  await page.getByRole('button', { name: 'Open broken' }).click()
  await page.locator('.level', { hasText: 'telemetry' }).locator('.mark[data-mark="refused"]').waitFor()

  await page.locator('#search').fill('kitchen')
  await page.locator('a.level-name', { hasText: 'home/kitchen/thermo/telemetry' }).click()
  await page.locator('#topic-title', { hasText: 'home/kitchen/thermo/telemetry' }).waitFor()
  const changes = page.locator('.changes li')
  await eventually(async () => (await changes.count()) === 3, 'three differences')
  const texts = (await changes.allTextContents()).map(text => text.replace(/\s+/g, ' '))
  t.match(texts[0], /changed.*temperature.*21\.5.*22/)
  t.match(texts[1], /new.*on/)
  t.match(texts[2], /gone.*door/)
  t.equal(await page.locator('.json-line[data-changed="changed"]').count(), 1)
  t.match(await page.locator('.topic table').textContent(), /temperature.*22/s)
  t.match(await page.locator('.facts').textContent(), /thermo.*application\/json.*batch/s)

  await device.publishAsync('home/kitchen/thermo/telemetry', '{"temperature":12345678901234567890}', { qos: 1 })
  await page.locator('.message-row', { hasText: '12345678901234567890' }).waitFor()
  t.match(await page.locator('.payload').textContent(), '12345678901234567890', 'numbers keep their digits')
  await page.getByRole('button', { name: 'Freeze' }).click()
  await device.publishAsync('home/kitchen/thermo/telemetry', '{"temperature":99}', { qos: 1 })
  await page.getByRole('button', { name: 'Follow' }).click()
  await page.locator('.message-row', { hasText: '99' }).waitFor()
  t.same(problems, [])
})

t.test('a message is published with a receipt; what is retained is looked at and deleted', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'lamp', protocolVersion: 5 })
  await device.subscribeAsync('home/#')
  const came = new Promise<{ text: string; type: string | undefined }>(resolve =>
    device.on('message', (_topic, payload, { properties }) =>
      resolve({ text: payload.toString(), type: properties?.contentType }),
    ),
  )
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/#explore&publish=home/lamp/set`)
  const payload = page.getByLabel('Payload')
  await payload.fill('{"state": ')
  await page.getByText(/No valid JSON/).waitFor()
  await payload.fill('{"state": "ON"}')
  await page.getByText('Valid JSON', { exact: true }).waitFor()
  await page.getByLabel(/Retain/).check()
  await page.getByText('MQTT 5 properties').click()
  await page.getByLabel('Content type').fill('application/json')
  await page.getByRole('button', { name: 'Publish', exact: true }).click()
  await page.getByText(/On disk as message 1 /).waitFor()
  t.same(await came, { text: '{"state": "ON"}', type: 'application/json' })
  await device.publishAsync('home/other', 'x', { qos: 1, retain: true })
  await device.publishAsync('office/other', 'x', { qos: 1, retain: true })

  await page.getByRole('link', { name: 'Retained messages' }).click()
  await page.getByLabel('Topic filter').fill('home/#')
  await page.getByRole('button', { name: 'Show' }).click()
  await page.getByText('2 retained messages').waitFor()
  await page.getByRole('button', { name: 'Delete the retained message of home/lamp/set' }).click()
  await page.locator('dialog').getByRole('button', { name: 'Cancel' }).click()
  t.equal(await page.locator('.retained-message').count(), 2)
  await page.getByRole('button', { name: 'Delete all 2' }).click()
  const dialog = page.locator('dialog')
  await dialog.getByText('Delete 2 retained messages?').waitFor()
  await dialog.getByRole('button', { name: 'Delete all 2' }).click()
  await page.getByText('2 retained messages were deleted.').waitFor()
  const later = await connectMqtt(t, hub.mqttUrl)
  const topics: string[] = []
  later.on('message', topic => topics.push(topic))
  await later.subscribeAsync('+/other')
  await eventually(async () => topics.length > 0, 'what is left')
  t.same(topics, ['office/other'])
  t.same(problems, [])
})

t.test('a user sees and may do what the rules say', async t => {
  const users = await usersFile()
  await users.add('root', ['allow all #'], { kind: 'admin' })
  await users.add('guest', ['allow read home/#'], { kind: 'dashboard' })
  const hub = await startHub(t, users.settings)
  const device = await connectMqtt(t, hub.mqttUrl, { username: 'root', password: passwordOf('root') })
  await device.publishAsync('home/lamp', '1', { qos: 1, retain: true })
  await device.publishAsync('office/safe', '1', { qos: 1, retain: true })
  const { page } = await openDashboard(t, `${hub.httpUrl}/login?next=/%23explore`)
  await page.locator('#user, [name="user"]').first().fill('guest')
  await page.locator('[type="password"]').fill(passwordOf('guest'))
  await page.keyboard.press('Enter')
  await page.getByRole('button', { name: 'Open home' }).click()
  t.equal(await page.getByText('office').count(), 0)
  await page.locator('a.level-name', { hasText: 'lamp' }).click()
  await page.locator('.message-row').waitFor()
  t.equal(await page.getByRole('link', { name: 'Publish here' }).count(), 0)
  t.equal(await page.getByRole('button', { name: 'Delete retained message' }).count(), 0)
  await page.getByRole('link', { name: 'Retained messages' }).click()
  await page.getByText('1 retained message', { exact: false }).waitFor()
  t.equal(await page.getByRole('button', { name: /^Delete/ }).count(), 0)
})
