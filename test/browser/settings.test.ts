import { readFileSync, writeFileSync } from 'node:fs'
import jsQRModule from 'jsqr'
import type { Page } from 'playwright-core'
import t from 'tap'
import { connectMqtt, eventually, startHub } from '../harness.js'
import { isLive, openSignedIn, others, signIn, startGuarded } from './guarded-hub.js'
import { openDashboard } from './open-dashboard.js'

// A CommonJS package, whose types say that the function is `default`.
const jsQR = jsQRModule as unknown as typeof jsQRModule.default

const part = (page: Page, name: string) => page.locator(`[data-part="${name}"]`)
const userRow = (page: Page, name: string) =>
  page.locator('.set-item', { has: page.locator('.set-name', { hasText: new RegExp(`^${name}$`) }) })
const told = async (page: Page) => (await page.locator('.set-secret code').textContent()) ?? ''

interface Pixels {
  readonly pixels: readonly number[]
  readonly width: number
  readonly height: number
}

/** Returns what a reader of QR codes sees on the page. */
async function scan(page: Page): Promise<string> {
  const png = await page.locator('.set-qr').screenshot()
  const { pixels, width, height } = await page.evaluate<Pixels>(`(async () => {
    const image = new Image()
    image.src = 'data:image/png;base64,${png.toString('base64')}'
    await image.decode()
    const canvas = document.createElement('canvas')
    const { width, height } = Object.assign(canvas, { width: image.width, height: image.height })
    const context = canvas.getContext('2d')
    context.drawImage(image, 0, 0)
    return { pixels: Array.from(context.getImageData(0, 0, width, height).data), width, height }
  })()`)
  return jsQR(Uint8ClampedArray.from(pixels), width, height)?.data ?? ''
}

t.test('a user is made, logs in over MQTT, is explained, and removed; a hand edit is noticed', async t => {
  const hub = await startGuarded(t)
  const { page, problems } = await openSignedIn(t, hub, 'anna', '/#home')
  await page.getByRole('link', { name: 'Settings' }).click()
  await part(page, 'users').getByText('3 users').waitFor()
  t.match(await userRow(page, 'anna').textContent(), /Admin.*you/)

  await page.getByRole('button', { name: 'Add a user' }).click()
  await page.getByLabel('Name', { exact: true }).fill('hall')
  await page.getByRole('textbox', { name: /^Rules/ }).fill('allow publish home/hall/#\ndeny publish home/hall/secret')
  await page.getByRole('button', { name: 'Add', exact: true }).click()
  await page.getByText('hall was added.').waitFor()
  const password = await told(page)
  t.match(password, /^[\w-]{27}$/)
  const login = { clientId: 'hall', username: 'hall', reconnectPeriod: 0 }
  const device = await connectMqtt(t, hub.mqttUrl, { ...login, password, protocolVersion: 5 })
  await device.publishAsync('home/hall/t', '{"temperature":20}', { qos: 1 })
  await t.rejects(device.publishAsync('home/hall/secret', '1', { qos: 1 }))

  // From the refusal in the audit log to its reason.
  await page.goto(`${hub.httpUrl}/#settings&part=audit`)
  const refused = page.locator('.set-audit [data-event="refused"]', { hasText: 'home/hall/secret' })
  await refused.waitFor()
  await refused.getByRole('link', { name: 'Why?' }).click()
  await page.getByText('Refused: hall may not publish to home/hall/secret.').waitFor()
  t.equal(await page.locator('.set-verdict .set-rule').textContent(), 'deny publish home/hall/secret')
  await part(page, 'explain').getByLabel('Topic', { exact: true }).fill('home/hall/x')
  await page.getByRole('button', { name: 'Explain' }).click()
  await page.getByText('Allowed: hall may publish to home/hall/x.').waitFor()

  // The rule goes; the open connection has the new right.
  await page.getByRole('link', { name: 'See and change the rules of hall' }).click()
  await userRow(page, 'hall').getByRole('button', { name: 'Remove the rule deny publish home/hall/secret' }).click()
  await page.getByText('The rules of hall were changed.').waitFor()
  await eventually(
    () =>
      device.publishAsync('home/hall/secret', '1', { qos: 1 }).then(
        () => true,
        () => false,
      ),
    'it may publish now',
  )
  await userRow(page, 'hall').getByLabel('What the key is for').fill('spare')
  await userRow(page, 'hall').getByRole('button', { name: 'Make a key' }).click()
  await page.getByText(/Key \w{8} was made/).waitFor()
  const key = await told(page)
  const second = await connectMqtt(t, hub.mqttUrl, { ...login, password: key })
  await second.endAsync()

  // Somebody edits the file while the page is open.
  const file = (await page.locator('.set-head .hint bdi').textContent()) ?? ''
  writeFileSync(file, readFileSync(file, 'utf8').replace('users:', '# by hand\nusers:'))
  await userRow(page, 'hall').getByRole('button', { name: 'Remove …' }).click()
  await page.locator('dialog').getByRole('button', { name: 'Remove' }).click()
  await page.getByText(/Nothing was changed: the users file was edited meanwhile/).waitFor()
  t.ok(readFileSync(file, 'utf8').includes('hall:'))
  await eventually(async () => {
    await page.reload()
    await userRow(page, 'hall').getByRole('button', { name: 'Remove …' }).click()
    await page.locator('dialog').getByRole('button', { name: 'Remove' }).click()
    await page.locator('.set-note:not(:empty), .set-trouble:not(:empty)').first().waitFor()
    return (await page.locator('.set-note').textContent()) === 'hall was removed.'
  }, 'it is removed')
  t.match(readFileSync(file, 'utf8'), '# by hand')
  await t.rejects(connectMqtt(t, hub.mqttUrl, { ...login, password }))

  await page.goto(`${hub.httpUrl}/#settings&part=audit`)
  await part(page, 'audit').getByLabel('Who').fill('anna')
  await part(page, 'audit').getByLabel('What').selectOption({ label: 'Change' })
  const lines = page.locator('.set-audit-what')
  await eventually(async () => (await lines.first().textContent())?.startsWith('remove user hall'), 'the newest')
  const all = (await lines.allTextContents()).join('\n')
  for (const did of ['add user hall', 'rules of user hall', 'add API key of user hall', 'remove user hall'])
    t.match(all, did)
  t.match(all, /remove user hall.*failed: changed/)
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name: 'CSV' }).click(),
  ])
  const csv = readFileSync(await download.path(), 'utf8')
  t.match(csv, /^n,at,event,.*\r\n\d+,.*,change,ok,/)
  t.notMatch(csv, password)
  t.same(others(problems), [])
})

t.test('a device is paired by what the QR code says', async t => {
  const hub = await startGuarded(t)
  const { page, problems } = await openSignedIn(t, hub, 'anna', '/#settings&part=pair')
  await page.getByLabel('Name of the device').fill('lamp')
  await page.getByText('A device of this name is added').waitFor()
  await page.getByRole('button', { name: 'Show a code' }).click()
  await page.getByText('Waiting for the device …').waitFor()
  const address = await scan(page)
  const code = (await page.locator('.set-code strong').textContent()) ?? ''
  t.equal(address, `${hub.httpUrl}/pair#${code}`)

  // The phone, which nobody has signed in.
  const phone = await openDashboard(t, address, { width: 390, height: 844 }, hub.httpUrl)
  await phone.page.getByRole('button', { name: 'Get user and password' }).click()
  await phone.page.locator('#facts').waitFor()
  const fact = async (name: string) =>
    (await phone.page.locator(`#facts dt:has-text("${name}") + dd`).first().textContent()) ?? ''
  t.equal(await fact('User'), 'lamp')
  t.equal(`mqtt://${await fact('Address')}:${await fact('Port')}`, hub.mqttUrl)
  t.equal(await phone.page.evaluate('location.pathname + location.hash'), '/pair', 'the code is out of the history')
  await page.getByText(/lamp has paired at .* from 127\.0\.0\.1/).waitFor()
  await page.getByText('lamp has not connected yet.').waitFor()
  const login = { clientId: 'lamp', username: 'lamp', password: await fact('Password') }
  await (await connectMqtt(t, hub.mqttUrl, login)).publishAsync('devices/lamp/t', '1', { qos: 1 })
  await page.getByText('lamp is connected.').waitFor()
  t.same(phone.problems, [])
  t.same(others(problems), [])

  const again = await openDashboard(t, address, { width: 390, height: 844 }, hub.httpUrl)
  await again.page.getByRole('button', { name: 'Get user and password' }).click()
  await again.page.getByText(/This code is wrong, already used/).waitFor()
})

t.test('certificate, mapping, notifications and settings are shown; all of it to admins alone', async t => {
  const hub = await startGuarded(t, { 'rabbitmq.window': '1000' })
  const { page, problems } = await openSignedIn(t, hub, 'anna', '/#settings&part=all')
  const row = page.locator('.set-setting', { hasText: 'rabbitmq.window' }).first()
  t.match(await row.textContent(), /1000.*--rabbitmq\.window.*default: 2000/)
  await page.locator('#search').fill('how long a stop')
  await eventually(async () => (await page.locator('.set-setting').count()) === 1, 'the search')
  await page.getByText('How to change it').click()
  t.match(await page.locator('.set-setting').textContent(), /TELEHUB_SHUTDOWN_TIMEOUT.*without a restart/)
  for (const [name, text] of [
    ['certificate', 'This hub speaks without TLS'],
    ['mapping', 'presets of known devices'],
    ['kept', 'Computed from what came in the last seven days'],
    ['notify', 'Browsers of yours that get notifications'],
    ['keys', 'What else lets somebody in'],
  ] as const) {
    await page.goto(`${hub.httpUrl}/#settings&part=${name}`)
    await part(page, name).getByText(text).first().waitFor()
  }
  t.same(others(problems), [])

  // The page may call what its own address may.
  await page.evaluate(`(async () => {
    const send = (method, path, body, more) =>
      fetch(path, { method, headers: { 'content-type': 'application/json', ...more }, body: JSON.stringify(body) })
    await send('PATCH', '/api/boards', { boards: { wall: { name: 'Hall' } } }, { 'if-match': '*' })
    const made = await send('POST', '/api/shares', { board: 'wall', expires: Date.now() + 86_400_000 })
    if (!made.ok) throw new Error(await made.text())
  })()`)
  await page.reload()
  const shared = part(page, 'keys').locator('li', { has: page.getByRole('link', { name: 'Hall' }) })
  t.match(await shared.textContent(), /ends .*anna/)
  await shared.getByRole('button', { name: 'End the link to Hall' }).click()
  await part(page, 'keys').getByText('There are no such links.').waitFor()
  t.same(others(problems), [])

  const bert = await openDashboard(t, `${hub.httpUrl}/#settings`)
  await signIn(bert.page, 'bert')
  await eventually(() => isLive(bert.page), 'live')
  await bert.page.getByText('The settings are for administrators.').waitFor()
  t.equal(await bert.page.getByRole('link', { name: 'Settings' }).isVisible(), false)
})

t.test('without a login the page says what that means', async t => {
  const hub = await startHub(t)
  const { page } = await openDashboard(t, `${hub.httpUrl}/#settings`)
  await page.getByText('This hub asks nobody for a login').waitFor()
  await page.getByText('telehub user add ME --kind admin').waitFor()
  t.equal(await page.getByRole('button', { name: 'Add a user' }).count(), 0)
})
