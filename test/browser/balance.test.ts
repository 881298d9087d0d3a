import type { MqttClient } from 'mqtt'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { asAdmin, connectMqtt, eventually, type RunningHub, startHub } from '../harness.js'
import { openPage } from '../services/pages.js'
import { openDashboard } from './open-dashboard.js'

/** What the page shows of one part of the sum, such as `stored`. */
const partOf = async (page: Page, name: string) =>
  Number(await page.locator(`#sum [data-part="${name}"]`).getAttribute('data-count'))
const partsOf = async (page: Page) => {
  const names = ['received', 'stored', 'spool', 'queue', 'dead', 'dropped', 'refused']
  return Object.fromEntries(await Promise.all(names.map(async name => [name, await partOf(page, name)] as const)))
}
const shows = (page: Page, parts: Readonly<Record<string, number>>) =>
  eventually(
    async () => {
      const now = await partsOf(page)
      return Object.entries(parts).every(([name, count]) => now[name] === count) || Promise.reject(JSON.stringify(now))
    },
    `the page shows ${JSON.stringify(parts)}`,
  )
/** Whether nothing is missing, stored or not. */
const isEven = async (page: Page) =>
  ['even', 'some', 'many'].includes((await page.locator('.verdict').getAttribute('data-state')) ?? '') &&
  (await page.locator('#residual').getAttribute('data-count')) === '0'
const textOf = async (page: Page, selector: string) => (await page.locator(selector).textContent()) ?? ''
const rowsOf = (page: Page, device?: string) =>
  page.locator(device === undefined ? '#rows .row-body .row' : `#rows .row[data-client="${device}"]`)
const numberOf = async (page: Page, device: string, column: string) =>
  Number(await rowsOf(page, device).first().locator(`[data-column="${column}"]`).getAttribute('data-count'))
const letters = (page: Page) => page.locator('.letter')
const action = (page: Page, name: 'replay' | 'drop') => letters(page).first().locator(`[data-action="${name}"]`)

const publish = (device: MqttClient, payload: unknown) =>
  device.publishAsync(
    'home/kitchen/oven/telemetry',
    typeof payload === 'string' || Buffer.isBuffer(payload) ? payload : JSON.stringify(payload),
    { qos: 1 },
  )

/** A hub that has received five readings and one broken payload of dev-1, two readings of dev-2. */
async function startWithHistory(t: Test, settings: Readonly<Record<string, string>> = {}): Promise<RunningHub> {
  const hub = await startHub(t, settings)
  const first = await connectMqtt(t, hub.mqttUrl, { clientId: 'dev-1' })
  const second = await connectMqtt(t, hub.mqttUrl, { clientId: 'dev-2' })
  for (let n = 0; n < 5; n++) await publish(first, { temperature: 20 + n })
  await publish(first, '{"broken')
  for (let n = 0; n < 2; n++) await publish(second, { humidity: 40 + n })
  return hub
}

t.test('by the link in the header: everything is accounted for, and the sum says where it is', async t => {
  const hub = await startWithHistory(t)
  const { page, problems } = await openDashboard(t, hub.httpUrl)
  await page.locator('#pages a[data-page="balance"]').click()
  t.equal(new URL(page.url()).hash, '#balance')
  t.equal(await page.title(), 'Delivery · telehub')
  await shows(page, { received: 8, stored: 7, spool: 0, queue: 0, dead: 1, dropped: 0, refused: 0 })
  await eventually(() => isEven(page), 'nothing is unaccounted for')
  t.equal(await textOf(page, '#verdict'), '1 message is not stored')
  t.equal(await page.locator('.verdict').getAttribute('data-state'), 'many', 'one of eight is no detail')
  t.match(await textOf(page, '#verdict-text'), /^8 received since .*Not stored: 13% of all.*Nothing is waiting/)
  t.match(await textOf(page, '#waits'), /No backlog/)
  t.equal(await textOf(page, '.reasons[data-kind="dead"] [data-reason="bad_json"] .reason-count'), '1')
  t.equal(await page.locator('#groups').isVisible(), false, 'the readings are another page')
  t.equal(await page.evaluate('document.activeElement.id'), 'verdict', 'a screen reader begins with the verdict')

  await publish(await connectMqtt(t, hub.mqttUrl, { clientId: 'dev-3' }), { temperature: 1 })
  await shows(page, { received: 9, stored: 8 })
  await rowsOf(page, 'dev-3').waitFor()

  await page.goBack()
  await page.locator('.tile').first().waitFor()
  t.equal(await page.locator('#balance').isVisible(), false)
  await page.goForward()
  await page.locator('#verdict').waitFor()
  await page.reload()
  await shows(page, { received: 9, stored: 8, dead: 1 })
  await page.locator('#pages a[data-page="values"]').click()
  await page.locator('.tile').first().waitFor()
  t.equal(new URL(page.url()).hash, '#values')
  t.same(problems, [])
})

t.test('devices: trouble first, filtered by name, by a click, and by an hour', async t => {
  const hub = await startWithHistory(t)
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/#balance`)
  await shows(page, { received: 8, stored: 7, dead: 1 })
  await eventually(async () => (await rowsOf(page).first().getAttribute('data-client')) === 'dev-1', 'trouble first')
  // Around the full hour a device has two rows.
  t.ok((await rowsOf(page).count()) >= 2)
  const total = async (device: string, column: string) => {
    const cells = await rowsOf(page, device).locator(`[data-column="${column}"]`).all()
    const counts = await Promise.all(cells.map(async cell => Number(await cell.getAttribute('data-count'))))
    return counts.reduce((sum, count) => sum + count, 0)
  }
  await eventually(async () => (await total('dev-1', 'stored')) === 5, 'five of dev-1 are stored')
  t.equal(await total('dev-1', 'received'), 6)
  t.equal(await total('dev-1', 'dead'), 1)
  t.equal(await total('dev-2', 'received'), 2)
  t.equal(await total('dev-2', 'stored'), 2)
  t.equal(await numberOf(page, 'dev-1', 'residual'), 0)
  t.equal(await numberOf(page, 'dev-2', 'residual'), 0)

  await letters(page).waitFor()
  await page.keyboard.press('/')
  await page.keyboard.type('DEV-2')
  await rowsOf(page, 'dev-1').first().waitFor({ state: 'detached' })
  t.ok((await rowsOf(page, 'dev-2').count()) > 0)
  t.equal(await letters(page).count(), 0)
  t.match(await textOf(page, '#dead-note'), /No matching dead letters/)
  await page.keyboard.press('Escape')
  await rowsOf(page, 'dev-1').first().waitFor()
  await letters(page).waitFor()

  await rowsOf(page, 'dev-1').first().locator('button').click()
  await rowsOf(page, 'dev-2').first().waitFor({ state: 'detached' })
  t.equal(await page.locator('#search').inputValue(), 'dev-1')
  t.equal(await letters(page).count(), 1)
  await page.locator('#search').fill('')
  await rowsOf(page, 'dev-2').first().waitFor()

  // The newest hour that has anything, by keys alone.
  const bars = page.locator('.hour-bar')
  t.equal(await bars.count(), 24)
  const withRows = new Set(await Promise.all((await rowsOf(page).all()).map(row => row.getAttribute('data-hour'))))
  await page.locator('.hour-bar[tabindex="0"]').focus()
  await page.keyboard.press('ArrowLeft')
  await page.keyboard.press('ArrowLeft')
  const chosen = await page.evaluate<string>('document.activeElement.dataset.hour')
  t.notOk(withRows.has(chosen), 'nothing came in two hours ago')
  await page.keyboard.press('Enter')
  await eventually(async () => (await rowsOf(page).count()) === 0, 'nobody sent anything in that hour')
  t.match(await textOf(page, '#hour-words'), /: 0 received$/)
  await page.locator('#rows-hour').click()
  await rowsOf(page, 'dev-1').first().waitFor()
  t.same(problems, [])
})

t.test('a dead letter: what it is, replayed in vain, kept when one thinks again, dropped', async t => {
  const hub = await startWithHistory(t)
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/#balance`)
  await letters(page).waitFor()
  t.equal(await textOf(page, '.letter pre'), '{"broken')
  t.equal(await textOf(page, '.letter-topic'), 'home/kitchen/oven/telemetry')
  t.equal(await textOf(page, '.letter-device'), 'dev-1')
  t.match(await textOf(page, '.letter-detail'), /not valid JSON/)
  t.match(await textOf(page, '.dead-remedy'), /Correct the device/)
  t.match(await textOf(page, '.letter-when'), /^\d\d:\d\d:\d\d/)
  t.equal(await letters(page).first().getAttribute('data-reason'), 'bad_json')
  await shows(page, { received: 8, stored: 7, dead: 1, dropped: 0 })

  await action(page, 'replay').click()
  await eventually(
    async () => /0 stored, 1 rejected again/.test(await textOf(page, '#dead-note')),
    'it cannot be stored',
  )
  await eventually(() => action(page, 'drop').isEnabled(), 'the next one may begin')
  await shows(page, { received: 8, stored: 7, dead: 1, dropped: 0 })
  t.equal(await letters(page).count(), 1)

  await action(page, 'drop').click()
  await page.locator('#drop').waitFor()
  t.match(await textOf(page, '#drop-text'), /home\/kitchen\/oven\/telemetry/)
  await page.keyboard.press('Escape')
  await page.locator('#drop').waitFor({ state: 'hidden' })
  await action(page, 'drop').click()
  await page.locator('#drop button[value="keep"]').click()
  await page.locator('#drop').waitFor({ state: 'hidden' })
  t.equal((await hub.get<{ dead: unknown[] }>('/api/dead')).body.dead.length, 1, 'it is still there')

  await action(page, 'drop').click()
  await page.locator('#drop-yes').click()
  await eventually(async () => /1 dead letter dropped/.test(await textOf(page, '#dead-note')), 'it is said')
  await shows(page, { received: 8, stored: 7, dead: 0, dropped: 1 })
  await eventually(() => isEven(page), 'the sum is even')
  t.equal(await textOf(page, '#verdict'), '1 message dropped, all others stored')
  t.equal(await page.locator('.verdict').getAttribute('data-state'), 'even')
  await letters(page).waitFor({ state: 'detached' })
  t.same((await hub.get<{ dead: unknown[] }>('/api/dead')).body.dead, [])
  t.same(problems, [])
})

t.test('one topic is replayed, once the mapping is mended', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'press' })
  for (const topic of ['plant/a/raw', 'plant/b/raw']) await device.publishAsync(topic, '{"broken', { qos: 1 })
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/#balance`)
  await eventually(async () => (await letters(page).count()) === 2, 'both are there')
  const headers = { ...asAdmin(hub.dir), 'content-type': 'application/json' }
  const rules = [{ topic: 'plant/+/raw', ignore: true }]
  const change = { method: 'POST', headers: { ...headers, 'if-match': '*' }, body: JSON.stringify({ rules }) }
  const changed = await fetch(`${hub.httpUrl}/api/mapping`, change)
  t.ok(changed.ok, await changed.text())
  await page.getByRole('button', { name: 'Replay all dead letters of plant/a/raw with this reason' }).click()
  await page.locator('.dead-topic[data-topic="plant/a/raw"]').waitFor({ state: 'detached' })
  t.equal(await page.locator('.dead-topic[data-topic="plant/b/raw"]').count(), 1, 'the other topic stays')
  t.equal((await hub.get<{ dead: unknown[] }>('/api/dead')).body.dead.length, 1)
  t.same(problems, [])
})

t.test('a whole reason, and of one device alone', async t => {
  const hub = await startHub(t)
  const first = await connectMqtt(t, hub.mqttUrl, { clientId: 'dev-1' })
  const second = await connectMqtt(t, hub.mqttUrl, { clientId: 'dev-2' })
  for (const device of [first, second]) for (let n = 0; n < 3; n++) await publish(device, `{"broken ${n}`)
  await publish(second, Buffer.from([0, 255, 16]))
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/#balance`)
  await shows(page, { received: 7, dead: 7 })
  await eventually(async () => (await letters(page).count()) === 7, 'all letters')
  t.equal(await textOf(page, '.letter[data-reason="not_utf8"] pre'), '00 ff 10', 'what is no text is hexadecimal')
  const group = page.locator('.dead-group[data-reason="bad_json"]')
  t.equal(await group.locator('.dead-head .dead-size').textContent(), '6')
  const topic = group.locator('.dead-topic[data-topic="home/kitchen/oven/telemetry"]')
  t.equal(await topic.locator('.dead-size').textContent(), '6', 'all of one topic')
  t.equal(await topic.locator('.letter').count(), 6)

  await page.locator('#dead-reasons [data-reason="not_utf8"]').click()
  await eventually(async () => (await letters(page).count()) === 1, 'only that reason')
  await page.locator('#dead-reasons [data-reason=""]').click()
  await eventually(async () => (await letters(page).count()) === 7, 'all of them')

  await page.locator('#search').fill('dev-')
  t.equal(await group.locator('.dead-head button:visible').count(), 0, 'a part in view is not all')
  await page.locator('#search').fill('dev-1')
  await group.locator('.dead-head [data-action="drop"]', { hasText: 'Drop all of dev-1' }).click()
  await page.locator('#drop-yes').click()
  await shows(page, { received: 7, dead: 4, dropped: 3 })
  await page.locator('#search').fill('')
  await group.locator('.dead-head [data-action="replay"]', { hasText: 'Replay all 3' }).click()
  await eventually(async () => /0 stored, 3 rejected again/.test(await textOf(page, '#dead-note')), 'in vain')
  await shows(page, { received: 7, stored: 0, dead: 4, dropped: 3 })
  await eventually(() => isEven(page), 'the sum is even')
  t.same(problems, [])
})

t.test('what devices send is text here too, and nothing is wider than a phone', async t => {
  const hub = await startHub(t)
  const image = '<img src=x onerror=window.pwned=1>'
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: image })
  await publish(device, `{${image}<script>window.pwned=1</script>`)
  await device.publishAsync(`home/${image}/${'d'.repeat(90)}`, `{"${'x'.repeat(3000)}`, { qos: 1 })
  const long = await connectMqtt(t, hub.mqttUrl, { clientId: `device-${'long'.repeat(40)}` })
  await publish(long, { temperature: 1 })
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/#balance`, { width: 360, height: 740, dark: true })
  await shows(page, { received: 3, stored: 1, dead: 2 })
  await eventually(async () => (await letters(page).count()) === 2, 'both letters')
  t.ok((await page.locator('.letter pre').allTextContents()).some(text => text.includes(image)))
  t.ok((await page.locator('.row-device').allTextContents()).includes(image))
  const overflow = () => page.evaluate<number>('document.documentElement.scrollWidth - innerWidth')
  t.ok((await overflow()) <= 0)
  await action(page, 'drop').click()
  await page.locator('#drop').waitFor()
  t.ok((await overflow()) <= 0, 'with the question')
  t.equal(await page.evaluate('window.pwned'), undefined)
  t.equal(await page.locator('img, iframe, #balance script').count(), 0)
  t.same(problems, [])
})

t.test('the hub is killed: the page says how old it is, and goes on by itself when the hub is back', async t => {
  const first = await startWithHistory(t)
  const { page } = await openDashboard(t, `${first.httpUrl}/#balance`)
  await shows(page, { received: 8, stored: 7, dead: 1 })
  await first.kill()
  await eventually(async () => /Could not read/.test(await textOf(page, '#balance-note')), 'it is said')
  t.equal(await textOf(page, '#verdict'), 'Unknown')
  t.match(await textOf(page, '#verdict-text'), /from .*Nothing was missing then/)
  t.equal(await page.locator('#balance').getAttribute('data-stale'), 'true')
  t.equal(await partOf(page, 'stored'), 7, 'what was known is still there')
  const settings = { 'mqtt.port': new URL(first.mqttUrl).port, 'http.port': new URL(first.httpUrl).port }
  const second = await startHub(t, settings, first.dir)
  await eventually(async () => (await page.locator('#balance').getAttribute('data-stale')) === 'false', 'fresh')
  await publish(await connectMqtt(t, second.mqttUrl, { clientId: 'dev-1' }), { temperature: 30 })
  await shows(page, { received: 9, stored: 8, dead: 1 })
  await eventually(() => isEven(page), 'the sum is even across the crash')
  t.equal(await textOf(page, '#balance-note'), '')
})

t.test('what is not accounted for is said loudly, with what to do; an alarm is on every page', async t => {
  const hub = await startWithHistory(t)
  const { page, close } = await openPage('about:blank')
  t.teardown(close)
  const now = Date.now()
  await page.route('**/api/balance?*', async route => {
    const response = await route.fetch()
    const body = (await response.json()) as { received: number; residual: number }
    await route.fulfill({ response, json: { ...body, received: body.received + 37, residual: body.residual + 37 } })
  })
  await page.route('**/readyz', route =>
    route.fulfill({
      status: 503,
      json: {
        ready: false,
        dependencies: [{ name: 'influxdb', state: 'down', since: now - 200_000, retryAt: now + 3_600_000 }],
        waiting: [{ consumer: 'record', target: 'InfluxDB', detail: 'ECONNREFUSED' }],
        alarms: [{ name: 'spool', detail: 'The spool is 83 % full: InfluxDB has been away for 2 h' }],
      },
    }),
  )
  await page.goto(hub.httpUrl)
  const alarm = page.locator('.banner[data-tone="alarm"]')
  await alarm.waitFor()
  t.match(await alarm.textContent(), /The spool is 83 % full: InfluxDB has been away for 2 h/)
  await alarm.locator('a').click()
  await eventually(async () => (await textOf(page, '#verdict')) === '37 messages are missing', 'how many are missing')
  t.equal(await page.locator('.verdict').getAttribute('data-state'), 'odd')
  t.match(await textOf(page, '#verdict-help'), /log.*telehub spool/)
  t.equal(await partOf(page, 'residual'), 37)
  t.equal(await alarm.isVisible(), true, 'here too')
  t.match(
    await textOf(page, '#waits'),
    /^record waits for InfluxDB: ECONNREFUSED, since 3 min, next try in (59 min|1 h)$/,
  )
})

t.test('a hub that keeps no balance has no such page', async t => {
  const hub = await startHub(t)
  const { page, close } = await openPage('about:blank')
  t.teardown(close)
  await page.route('**/readyz', route => route.fulfill({ json: { ready: true, dependencies: [] } }))
  await page.route('**/api/balance?*', route => route.fulfill({ status: 404, json: { message: 'there is nothing' } }))
  await page.goto(`${hub.httpUrl}/#balance`)
  await page.locator('.home-empty').waitFor()
  t.equal(await page.locator('#balance').isVisible(), false)
  t.equal(await page.locator('#pages a[data-page="balance"]').isVisible(), false)
  t.equal(new URL(page.url()).hash, '')
})
