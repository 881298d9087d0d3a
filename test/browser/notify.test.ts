import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Page, Worker } from 'playwright-core'
import t from 'tap'
import type { Answer } from '../../src/contract/contract.js'
import { connectMqtt, eventually, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'
import { signIn, startGuarded } from './guarded-hub.js'
import { openDashboard } from './open-dashboard.js'

const isLive = async (page: Page) => (await page.locator('#connection').getAttribute('data-state')) === 'live'
const textOf = async (page: Page, selector: string) => (await page.locator(selector).textContent()) ?? ''
const overflow = (page: Page) =>
  page.evaluate<number>('document.documentElement.scrollWidth - document.documentElement.clientWidth')

const rules = `rules:
  freezer-warm: { measurement: telemetry, field: temperature, above: -15, severity: critical }
`
const targets = `
url: http://127.0.0.1
targets: { bus: { type: mqtt, topic: home/siren } }
routes: [{ targets: bus, group: 0s }]
`

/** A hub with a freezer that is too warm. */
async function startWarm(t: Parameters<typeof startHub>[0]) {
  const dir = await tempDir()
  writeFileSync(join(dir, 'notify.yaml'), targets, { mode: 0o600 })
  writeFileSync(join(dir, 'alerts.yaml'), rules)
  const hub = await startHub(t, {}, dir)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'freezer' })
  const told = new Promise<{ readonly acknowledge: { readonly token: string } }>(resolve =>
    device.on('message', (topic, payload) => topic === 'home/siren' && resolve(JSON.parse(payload.toString()))),
  )
  await device.subscribeAsync('home/siren')
  await device.publishAsync('home/kitchen/freezer/telemetry', '{"temperature":-18}', { qos: 1 })
  await device.publishAsync('home/kitchen/freezer/telemetry', '{"temperature":-7.3}', { qos: 1 })
  const alerts = async () => (await hub.get<Answer<'GET /api/alerts'>>('/api/alerts')).body.alerts
  await eventually(async () => (await alerts()).length === 1, 'an alert')
  return { hub, device, alerts, told }
}

t.test('the service worker shows what the hub pushes, and its button acknowledges with no page open', async t => {
  const { hub, alerts, told } = await startWarm(t)
  const { page, problems } = await openDashboard(t, hub.httpUrl)
  await eventually(() => isLive(page), 'live')
  t.equal(await textOf(page, '#notify-switch'), 'Notify me on this device')
  const context = page.context()
  await context.grantPermissions(['notifications'], { origin: hub.httpUrl })
  const cdp = await context.newCDPSession(page)
  let registration = ''
  cdp.on('ServiceWorker.workerRegistrationUpdated', ({ registrations }) => {
    registration = registrations[0]?.registrationId ?? registration
  })
  await cdp.send('ServiceWorker.enable')
  await page.evaluate("navigator.serviceWorker.register('/service-worker.js', { scope: '/' })")
  await page.evaluate('navigator.serviceWorker.ready.then(() => true)')
  const worker = (await eventually(() => context.serviceWorkers()[0], 'a worker')) as Worker

  const { token } = (await told).acknowledge
  const pushed = {
    ...{ id: 'msg_1', title: 'Critical: Freezer is warm', body: 'since now', severity: 'critical', state: 'firing' },
    ...{ tag: 'alert-1', url: '/#device=freezer', at: Date.now(), token },
  }
  await eventually(() => registration, 'a registration')
  await cdp.send('ServiceWorker.deliverPushMessage', {
    origin: hub.httpUrl,
    registrationId: registration,
    data: JSON.stringify(pushed),
  })
  const shown = await eventually(async () => {
    const found = (await worker.evaluate(
      'self.registration.getNotifications().then(all => all.map(({ title, body, tag, actions }) => ({ title, body, tag, actions })))',
    )) as readonly { readonly title: string; readonly actions: readonly object[] }[]
    return found[0]
  }, 'a notification')
  t.match(shown, { title: pushed.title, body: 'since now', tag: 'alert-1', actions: [{ title: 'Acknowledge' }] })

  await page.goto('about:blank')
  await worker.evaluate(
    `self.registration.getNotifications().then(([notification]) =>
      self.dispatchEvent(new NotificationEvent('notificationclick', { notification, action: 'acknowledge' })))`,
  )
  await eventually(async () => (await alerts())[0]?.state === 'acknowledged', 'acknowledged')
  t.match(await alerts(), [{ by: 'bus' }])
  t.same(problems, [])
})

t.test('the page of a device: its alerts, with an acknowledgement, and its commands with their receipts', async t => {
  const { hub, device, alerts } = await startWarm(t)
  for (const view of [{ width: 1280 }, { width: 1280, dark: true }, { width: 390 }, { width: 390, dark: true }]) {
    const { page } = await openDashboard(t, `${hub.httpUrl}/#device=freezer`, view)
    await page.locator('#device-alerts .alert').waitFor()
    t.equal(await overflow(page), 0, JSON.stringify(view))
    if (process.env.SCREENSHOTS)
      await page.screenshot({
        path: join(process.env.SCREENSHOTS, `device-${view.width}${view.dark ? '-dark' : ''}.png`),
        fullPage: true,
      })
  }
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/#device=freezer`)
  const alert = page.locator('#device-alerts .alert')
  await alert.waitFor()
  t.match(await alert.textContent(), /Critical Firing.*since.*is −7\.3.*Rule freezer-warm/)
  t.equal(await textOf(page, '#device-alerts-count'), '1 firing')
  await alert.locator('input').fill('on my way')
  await alert.locator('input').press('Enter')
  await eventually(
    async () => /Acknowledged by .*: on my way\./.test((await alert.textContent()) ?? ''),
    'acknowledged',
  )
  t.match(await alerts(), [{ state: 'acknowledged', note: 'on my way' }])
  t.equal(await alert.locator('form').isVisible(), false)

  const received: string[] = []
  device.on('message', (topic, payload) => topic === 'home/kitchen/freezer/set' && received.push(payload.toString()))
  await device.subscribeAsync('home/kitchen/freezer/set', { qos: 1 })
  await page.locator('#command-topic').fill('home/kitchen/freezer/set')
  await page.locator('#command-payload').fill('{"cool":true}')
  await page.locator('#command-send').click()
  await eventually(() => received.length === 1, 'the device has it')
  t.same(received, ['{"cool":true}'])
  const command = page.locator('#device-commands .command').first()
  await eventually(
    async () =>
      (await command.locator('.command-receipts li').allTextContents()).map(text => text.split(' ')[0]).join() ===
      'Sent,Delivered',
    'receipts',
  )

  await device.endAsync()
  await page.locator('#command-payload').fill('later')
  await page.locator('#command-send').click()
  await eventually(async () => (await page.locator('#device-commands .command').count()) === 2, 'two')
  if (process.env.SCREENSHOTS)
    await page.screenshot({ path: join(process.env.SCREENSHOTS, 'device-commands.png'), fullPage: true })
  const waiting = page.locator('#device-commands .command[data-state="queued"]')
  await waiting.locator('button').click()
  await page.locator('#device-commands .command[data-state="cancelled"]').waitFor()
  t.same(problems, [])
})

t.test('a browser that signs out gets no more notifications of that user', async t => {
  const hub = await startGuarded(t)
  const { page } = await openDashboard(t, `${hub.httpUrl}/login`)
  await signIn(page, 'bert')
  await eventually(() => isLive(page), 'live')
  await page.evaluate("navigator.serviceWorker.register('/service-worker.js', { scope: '/' })")
  await page.evaluate('navigator.serviceWorker.ready.then(() => true)')
  const keys = { p256dh: Buffer.alloc(65, 4).toString('base64url'), auth: Buffer.alloc(16).toString('base64url') }
  const subscription = { endpoint: 'https://push.example.org/1', keys }
  // There is no push service that a headless browser could subscribe to: the browser's own answer is put in its mouth.
  await page.evaluate(`PushManager.prototype.getSubscription = async () => ({
    toJSON: () => (${JSON.stringify(subscription)}),
    unsubscribe: async () => localStorage.setItem('unsubscribed', 'yes'),
  })`)
  const ids = `fetch('/api/notify/push').then(answer => answer.json()).then(({ subscriptions }) => subscriptions.length)`
  await page.evaluate(`fetch('/api/notify/push', { method: 'POST', headers: { 'content-type': 'application/json' },
    body: ${JSON.stringify(JSON.stringify(subscription))} }).then(answer => answer.status)`)
  t.equal(await page.evaluate(ids), 1)
  await page.locator('#account-button').click()
  await page.locator('#sign-out').click()
  await page.locator('#form').waitFor()
  t.equal(await page.evaluate("localStorage.getItem('unsubscribed')"), 'yes')
  await signIn(page, 'bert')
  await eventually(() => isLive(page), 'live again')
  t.equal(await page.evaluate(ids), 0)
})
