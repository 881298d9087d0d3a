import { join } from 'node:path'
import t from 'tap'
import { connectMqtt, eventually, startHub } from '../harness.js'
import {
  anna,
  isLive,
  openSignedIn,
  others,
  password,
  pathOf,
  signIn,
  startGuarded,
  textOf,
  thermo,
  user,
} from './guarded-hub.js'
import { openDashboard } from './open-dashboard.js'

t.test('nobody sees the dashboard unasked; with name and password it is live', async t => {
  const hub = await startGuarded(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 't1', username: 'thermo', password })
  await device.publishAsync('home/thermo/t1/telemetry', '{"temperature":21.5}', { qos: 1 })
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/#device=t1`)
  t.equal(pathOf(page), '/login')
  t.equal(await page.title(), 'Sign in · telehub')
  t.same(problems, [])
  await signIn(page, 'anna', 'wrong')
  await eventually(async () => /Wrong user name or password/.test(await textOf(page, '#error')), 'said')
  await signIn(page, 'nobody')
  await eventually(async () => /Wrong user name or password/.test(await textOf(page, '#error')), 'and not which')
  await signIn(page, 'thermo')
  await page.locator('#error:not(:empty)').waitFor()
  t.equal(pathOf(page), '/login', 'a device has no dashboard')
  await signIn(page, 'anna')
  await eventually(() => isLive(page), 'live')
  t.equal(await textOf(page, '#device-name'), 't1', 'where one wanted to go')
  await eventually(async () => /Userthermo/.test(await textOf(page, '#device-facts')), 'and there is what it asked for')
  t.equal(await page.evaluate('document.cookie'), '', 'no script reads the cookie')
  t.equal(await page.locator('.banner').count(), 0)

  await page.reload()
  await eventually(() => isLive(page), 'still signed in')
  await page.locator('#account-button').click()
  t.match(await textOf(page, '#account-menu'), /Signed in as anna.*Full access/s)
  await page.locator('#sign-out').click()
  await eventually(() => pathOf(page) === '/login', 'signed out')
  await page.goto(hub.httpUrl)
  t.equal(pathOf(page), '/login')
  t.same(others(problems), [])
})

t.test('a second tab notices the end of the login, and a hub that comes back finds it again', async t => {
  const hub = await startGuarded(t)
  const { page } = await openSignedIn(t, hub, 'bert')
  const second = await page.context().newPage()
  await second.goto(`${hub.httpUrl}/#balance`)
  await eventually(() => isLive(second), 'live without asking')
  await hub.kill()
  await eventually(async () => !(await isLive(second)), 'not live')
  const { port: mqttPort } = new URL(hub.mqttUrl)
  const { port: httpPort } = new URL(hub.httpUrl)
  const settings = { 'mqtt.port': mqttPort, 'http.port': httpPort, 'auth.file': join(hub.dir, 'users.yaml') }
  await startHub(t, settings, hub.dir)
  await eventually(() => isLive(second), 'live again, with a token of the new process')
  await eventually(() => isLive(page), 'both')
  await page.locator('#account-button').click()
  await page.locator('#sign-out').click()
  await eventually(() => pathOf(page) === '/login', 'signed out')
  await eventually(() => pathOf(second) === '/login', 'the other tab too')
  t.equal(new URL(second.url()).searchParams.get('next'), '/#balance')
})

t.test('a user that is taken away is out at once', async t => {
  const hub = await startGuarded(t)
  const { page } = await openSignedIn(t, hub, 'bert')
  await hub.write(anna, thermo)
  await eventually(() => pathOf(page) === '/login', 'at the login')
  await signIn(page, 'bert')
  await eventually(async () => /Wrong user name or password/.test(await textOf(page, '#error')), 'said')
  t.equal(pathOf(page), '/login', 'and stays out')
})

t.test('what a device was refused stands on its page, with the line that decides and what to do', async t => {
  const hub = await startGuarded(t)
  const { page, problems } = await openSignedIn(t, hub, 'bert', '/#device=t1')
  const refuse = async (topic: string) => {
    const device = await connectMqtt(t, hub.mqttUrl, { clientId: 't1', username: 'thermo', password })
    device.publish(topic, '1', { qos: 0 })
  }
  const newest = page.locator('.refusal').first()
  const says = (pattern: RegExp) =>
    eventually(async () => pattern.test((await newest.textContent()) ?? ''), `${pattern}`)
  await refuse('home/other/x')
  await says(/^publish home\/other\/x.*no rule of user thermo allows it/)
  t.equal(await newest.locator('code').textContent(), 'telehub user grant thermo publish home/other/x')
  await refuse('admin/reboot')
  await says(/^publish admin\/reboot.*deny publish admin\/# \(users\.yaml:2\)/)
  t.equal(
    await newest.locator('code').textContent(),
    'telehub explain --user thermo --client t1 --publish admin/reboot',
  )
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 't1', username: 'thermo', password })
  await device.subscribeAsync('home/other/#').catch(() => {})
  await says(/^subscribe home\/other\/#.*no rule of user thermo allows it/)
  t.equal(await newest.locator('code').textContent(), "telehub user grant thermo read 'home/other/#'")
  t.equal(await page.locator('.refusal-why').count(), 0, 'only admins may ask for the rule')
  t.same(problems, [])

  const admin = await openSignedIn(t, hub, 'anna', '/#device=t1')
  const refused = admin.page.locator('.refusal', { hasText: 'home/other/#' })
  await refused.getByRole('link', { name: 'Why?' }).click()
  await admin.page.getByText('Refused: thermo may not subscribe to home/other/#.').waitFor()
  t.same(others(admin.problems), [])
})

t.test('a dashboard user may look at dead letters; an admin may drop them', async t => {
  const hub = await startGuarded(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 't1', username: 'thermo', password })
  await device.publishAsync('home/thermo/t1/telemetry', '{"broken', { qos: 1 })
  const { page: looking } = await openSignedIn(t, hub, 'bert', '/#balance')
  await looking.locator('.letter').waitFor()
  t.match(await textOf(looking, '#dead-hint'), /Only an admin/)
  t.equal(await looking.locator('[data-action]:visible').count(), 0)
  const { page } = await openSignedIn(t, hub, 'anna', '/#balance')
  await page.locator('.letter [data-action="drop"]').click()
  await page.locator('#drop-yes').click()
  await eventually(async () => /1 dead letter dropped/.test(await textOf(page, '#dead-note')), 'dropped')
})

t.test('who may read a part sees it live, and is told what else is missing', async t => {
  const hub = await startGuarded(t)
  await hub.write(anna, thermo, user('carl', 'dashboard', 'allow read home/#', 'allow read $hub/presence/#'))
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 't1', username: 'thermo', password })
  await device.publishAsync('home/thermo/t1/telemetry', '{"temperature":21.5}', { qos: 1 })
  const { page } = await openSignedIn(t, hub, 'carl')
  await page.locator('.tile').waitFor()
  const other = await connectMqtt(t, hub.mqttUrl, { clientId: 'a1', username: 'anna', password })
  await other.publishAsync('plant/a1/telemetry', '{"temperature":99}', { qos: 1 })
  await device.publishAsync('home/thermo/t1/telemetry', '{"temperature":22.5}', { qos: 1 })
  await eventually(async () => /22.5/.test(await textOf(page, '.tile-value')), 'pushed')
  t.equal(await page.locator('.tile').count(), 1, 'and nothing else')
  await page.goto(`${hub.httpUrl}/#device=t1`)
  await eventually(async () => /may not read \$hub\/why/.test(await textOf(page, '#refusals-note')), 'and here')
})

t.test('who may not read who is connected is told so, not that nobody is', async t => {
  const hub = await startGuarded(t)
  await hub.write(anna, thermo, user('carl', 'dashboard', 'allow read home/#'))
  await connectMqtt(t, hub.mqttUrl, { clientId: 't1', username: 'thermo', password })
  const { page } = await openSignedIn(t, hub, 'carl')
  await eventually(async () => /may not read \$hub\/presence/.test(await textOf(page, '#devices-note')), 'in the list')
  await page.goto(`${hub.httpUrl}/#device=t1`)
  await eventually(async () => /may not read \$hub\/presence/.test(await textOf(page, '#device-state')), 'on its page')
  t.notMatch(await textOf(page, '#device-state'), /Unknown device/)
})

t.test('a page that becomes another user shows nothing of the one before', async t => {
  const hub = await startGuarded(t, { 'auth.anonymous': 'true' })
  await hub.write(anna, thermo, user('anonymous', 'dashboard', 'allow read plant/#'))
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 't1', username: 'thermo', password })
  await device.publishAsync('home/thermo/t1/telemetry', '{"temperature":21.5}', { qos: 1 })
  const { page } = await openSignedIn(t, hub, 'anna', '/login')
  await page.locator('.thing').waitFor()
  await page.evaluate('document.before = true')
  const second = await page.context().newPage()
  await second.goto(hub.httpUrl)
  await eventually(() => isLive(second), 'live')
  await second.locator('#account-button').click()
  await second.locator('#sign-out').click()
  await eventually(async () => !(await page.evaluate('document.before')), 'a new page')
  await eventually(async () => /Not signed in/.test(await textOf(page, '#banners')), 'of somebody else')
  await eventually(() => isLive(page), 'live')
  t.equal(await page.locator('.thing').count(), 0, 'no reading')
  t.equal(await page.locator('#devices li').count(), 0, 'no device')

  await second.goto(`${hub.httpUrl}/login`)
  await signIn(second, 'anna')
  await second.locator('.thing').waitFor()
  // As when its tab is looked at again.
  await page.evaluate('document.dispatchEvent(new Event("visibilitychange"))')
  await page.locator('.thing').waitFor()
  t.equal(await textOf(page, '#account-name'), 'anna')
})

t.test('a hub that is open to all says so', async t => {
  const hub = await startHub(t, { 'auth.anonymous': 'true' })
  const { page, problems } = await openDashboard(t, hub.httpUrl)
  await eventually(async () => /read and publish everything/.test(await textOf(page, '#banners')), 'the banner')
  t.equal(await page.locator('#account').isVisible(), false)
  t.same(problems, [])
})
