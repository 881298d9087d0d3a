import t from 'tap'
import { connectMqtt, eventually, history, startHub } from '../harness.js'
import {
  anna,
  bert,
  isLive,
  openSignedIn,
  others,
  password,
  signIn,
  startGuarded,
  thermo,
  user,
} from './guarded-hub.js'
import { openDashboard } from './open-dashboard.js'

// While the processor thread starts with other rules, the hub answers other questions of the page with 503.
const serious = (problems: readonly string[]) => problems.filter(one => !one.includes('503'))

t.test('from Delivery to the inbox, where a rule is accepted by keyboard and fills in the past', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'shop' })
  for (let n = 0; n < 12; n++)
    await device.publishAsync(`shop/till${n % 4}/state`, JSON.stringify({ total: n }), { qos: 1 })
  await device.publishAsync('odd/half', '{"half', { qos: 1 })
  await device.publishAsync('home/hall/t1/telemetry', '{"temperature":21}', { qos: 1 })
  await eventually(async () => (await hub.get<{ dead: unknown[] }>('/api/dead')).body.dead.length === 1, 'all judged')

  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/#balance`)
  await page.getByText('5 topics have neither a rule nor a preset.').waitFor()
  await page.getByRole('link', { name: 'See the inbox' }).click()
  await page.getByRole('heading', { name: '5 topics that no rule and no preset knows' }).waitFor()
  const group = page.locator('.inbox li', { has: page.getByRole('heading', { name: 'shop/+/state' }) })
  t.match(await group.textContent(), /4 topics.*12 messages since the start.*stored under the name of the topic/)
  t.match(await group.textContent(), /\{"total":\d+\}.*shop\/\{till\}\/state.*Stored as shop, told apart by till/)
  const odd = page.locator('.inbox li', { has: page.getByRole('heading', { name: 'odd/+' }) })
  t.match(await odd.textContent(), /1 topic.*not stored: /)

  const accept = page.getByRole('button', { name: 'Accept, and fill in the past: shop/+/state' })
  await accept.focus()
  await page.keyboard.press('Enter')
  await page.getByText('shop/+/state: the rule is in force, and 12 messages of the past are stored by it.').waitFor()
  t.same(await history(hub, 'shop,till=till3 total'), [3, 7, 11])
  await eventually(async () => (await group.count()) === 0, 'the group has a rule now')

  t.same(await history(hub, 'shop,topic=shop/till3/state total'), [], 'not under the name of the topic any more')
  // What is not stored is known again with the next message.
  await device.publishAsync('odd/half', '{"half', { qos: 1 })
  await eventually(async () => (await hub.get<{ topics: number }>('/api/inbox')).body.topics === 1, 'known again')
  await page.getByRole('link', { name: 'See the rules' }).click()
  await page.locator('.rule', { hasText: 'shop/{till}/state' }).waitFor()
  await page.getByRole('link', { name: 'Topics', exact: true }).click()
  await page.getByRole('link', { name: /^Inbox\s*1$/ }).click()
  await page.getByRole('link', { name: 'Change it first: odd/+' }).click()
  await page.getByRole('heading', { name: 'Map this' }).waitFor()
  await page.goto(`${hub.httpUrl}/#explore&inbox`)
  await page.getByRole('button', { name: 'Accept, and fill in the past: odd/+' }).click()
  await page.getByText('odd/+: the rule is in force, and').waitFor()
  await page.getByRole('button', { name: 'Undo' }).click()
  await page.getByText('The rule was taken back, and the past is as it was.').waitFor()
  t.same(serious(problems), [])
})

t.test('who may read everything sees the inbox, and only admins accept', async t => {
  const hub = await startGuarded(t)
  await hub.write(anna, bert, thermo, user('guest', 'dashboard', 'allow read home/#', 'allow read $hub/#'))
  const device = await connectMqtt(t, hub.mqttUrl, { username: 'thermo', password })
  await device.publishAsync('home/thermo/till', '{"total":1}', { qos: 1 })
  const reader = await openSignedIn(t, hub, 'bert', '/#explore&inbox')
  await reader.page.getByText('Only admins save rules.').waitFor()
  await reader.page.getByRole('heading', { name: 'home/+/till' }).waitFor()
  t.equal(await reader.page.getByRole('button', { name: /Accept/ }).count(), 0)
  t.same(others(reader.problems), [])
  const guest = await openDashboard(t, `${hub.httpUrl}/#explore`)
  await signIn(guest.page, 'guest')
  await eventually(() => isLive(guest.page), 'live')
  await guest.page.getByRole('link', { name: 'Topics', exact: true }).waitFor()
  await eventually(
    async () => (await guest.page.getByRole('link', { name: /^Inbox/ }).count()) === 0,
    'the hub has refused the number',
  )
})

t.test('the rule of a noisy series is tried, written and taken back', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'oven' })
  for (let n = 0; n < 200; n++) {
    const temperature = 200 + ((n * 7) % 10) / 100 + (n % 50 === 0 ? 5 : 0)
    await device.publishAsync('plant/oven', JSON.stringify({ temperature }), { qos: 1 })
  }
  await device.publishAsync('plant/quiet', '1', { qos: 1 })
  await eventually(
    async () => (await hub.get<{ points: number }>('/api/noise')).body.points === 201,
    'all of it is stored',
  )
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/#settings&part=kept`)
  await page.getByRole('link', { name: 'Which series need the most room?' }).click()
  await page.getByText('201 points of 2 series in 24 hours').waitFor()
  const row = page.locator('.set-noise', { hasText: 'plant,topic=plant/oven temperature' })
  await row.getByRole('radio', { name: /^200 → 8 points largest error 0\.0\d \(dead band 0\.2\)/ }).waitFor()
  t.equal(await row.getByRole('radio', { name: /dead band 0\.2/ }).isChecked(), true, 'what is proposed')
  t.match(await page.locator('.set-noise', { hasText: 'plant/quiet' }).textContent(), /A rule would save little here/)
  await row.getByRole('radio', { name: /dead band 0\.05/ }).check()
  await page.getByRole('button', { name: 'Store less: plant,topic=plant/oven temperature' }).click()
  await page.getByText('plant,topic=plant/oven temperature: stored less from now on.').waitFor()
  const rules = async () =>
    (await hub.get<{ rules: { place: { from: string }; rule: object }[] }>('/api/mapping')).body.rules
      .filter(({ place }) => place.from === 'hub')
      .map(({ rule }) => rule)
  t.same(await rules(), [{ topic: 'plant/oven', onChange: { heartbeat: '1h' }, deadband: { temperature: 0.05 } }])
  await page.getByRole('button', { name: 'Undo' }).click()
  await page.getByText('The rule was taken back.').waitFor()
  t.same(await rules(), [])
  t.same(serious(problems), [])
})
