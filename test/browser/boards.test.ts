import t from 'tap'
import { connectMqtt, eventually, startHub } from '../harness.js'
import { anna, openSignedIn, password, startGuarded, user } from './guarded-hub.js'
import { openDashboard } from './open-dashboard.js'

interface Boards {
  readonly boards: Readonly<Record<string, { readonly name: string }>>
  readonly favourites: readonly string[]
}

t.test('favourites on top, and boards made, renamed and deleted on the screen', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'd1' })
  for (const name of ['kitchen/a', 'kitchen/b', 'hall/c']) {
    await device.publishAsync(`home/${name}/telemetry`, '{"temperature":21}', { qos: 1 })
  }
  const boards = async () => (await (await fetch(`${hub.httpUrl}/api/boards`)).json()) as Boards
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/`)
  await page.getByRole('button', { name: 'B: favourite' }).click()
  await eventually(async () => (await page.locator('.area-name').allTextContents())[0] === 'Favourites', 'on top')
  await eventually(async () => (await boards()).favourites.length === 1, 'kept')

  await page.getByRole('button', { name: 'New board' }).click()
  const sheet = page.locator('dialog.editor')
  const name = sheet.getByLabel('Name', { exact: true })
  await name.fill('Kitchen wall')
  await name.press('Enter')
  await eventually(async () => Object.values((await boards()).boards)[0]?.name === 'Kitchen wall', 'renamed')
  await sheet.getByLabel('Kitchen', { exact: true }).check()
  await sheet.getByLabel('Add a chart …').selectOption({ label: 'C' })
  await sheet.locator('.board-values button', { hasText: 'Temperature' }).click()
  await sheet.locator('.board-series li', { hasText: 'C · Temperature' }).waitFor()
  await page.keyboard.press('Escape')
  await eventually(async () => (await page.locator('.thing').count()) === 2, 'the devices of the area')
  await page.locator('.board-chart', { hasText: 'C · Temperature' }).waitFor()
  const address = page.url()
  t.match(address, /#board=[0-9a-f]+$/)
  await page.locator('.thing-link').first().click()
  await page.locator('dialog.sheet').waitFor()
  await page.keyboard.press('Escape')
  await eventually(async () => page.url() === address, 'back on the board')

  const other = await openDashboard(t, address.replace('/#', '/?kiosk#'), { width: 3840, height: 2160 })
  await eventually(async () => (await other.page.locator('.thing').count()) === 2, 'the same by its address')
  t.equal(await other.page.locator('.bar').isVisible(), false, 'without a header')
  t.equal(await other.page.locator('.home-tools, .star, .switch').locator('visible=true').count(), 0, 'nor controls')
  const cards = `[...document.querySelectorAll('.thing')].map(one => one.getBoundingClientRect().width)`
  t.ok(
    (await other.page.evaluate<number[]>(cards)).every(width => width > 500),
    'large enough to be seen from afar',
  )
  await eventually(() => other.page.evaluate<boolean>(`'still' in document.documentElement.dataset`), 'no pointer')

  await page.getByRole('button', { name: 'Edit board' }).click()
  await sheet.getByRole('button', { name: 'Delete this board' }).click()
  await sheet.getByRole('button', { name: 'Really delete? The devices stay.' }).click()
  await eventually(async () => Object.keys((await boards()).boards).length === 0, 'deleted')
  await eventually(async () => (await page.locator('.thing').count()) === 3, 'all devices again')
  t.same([...problems, ...other.problems], [])
})

t.test('a wall has all of its width filled, and goes on over a restart of the hub', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'd1' })
  const names = Array.from({ length: 60 }, (_, n) => `m${n}`)
  await Promise.all(
    names.map(name => device.publishAsync(`plant/line/${name}/telemetry`, '{"temperature":1}', { qos: 1 })),
  )
  const { page } = await openDashboard(t, 'about:blank', { width: 3840, height: 2160 }, hub.httpUrl)
  await page.addInitScript(`
    globalThis.locks = 0
    const lock = navigator.wakeLock.request.bind(navigator.wakeLock)
    navigator.wakeLock.request = async kind => {
      const sentinel = await lock(kind)
      globalThis.locks++
      return sentinel
    }`)
  await page.goto(`${hub.httpUrl}/?kiosk`)
  await eventually(async () => (await page.locator('.thing').count()) > 20, 'many cards')
  t.equal(await page.evaluate('locks'), 1, 'the screen is kept on')
  const right = `Math.max(...[...document.querySelectorAll('.thing')].map(one => one.getBoundingClientRect().right))`
  t.ok((await page.evaluate<number>(right)) > 3_700, 'to the right edge')
  t.equal(await page.evaluate('document.documentElement.scrollWidth - innerWidth'), 0, 'nothing sideways')
})

t.test('a user with rules learns no name of what he may not read', async t => {
  const hub = await startGuarded(t)
  await hub.write(anna, user('gast', 'dashboard', 'allow read kitchen/#', 'allow read $hub/#'))
  const publisher = await connectMqtt(t, hub.mqttUrl, { clientId: 'anna', username: 'anna', password })
  const describe = (id: string, name: string, area: string, topic: string) => {
    const device = { ids: [id], name, suggested_area: area }
    const config = { name: 'Temperature', state_topic: topic, unit_of_measurement: '°C', unique_id: `${id}-t`, device }
    const retained = { qos: 1, retain: true } as const
    return publisher.publishAsync(`homeassistant/sensor/${id}/t/config`, JSON.stringify(config), retained)
  }
  await describe('k1', 'Oven', 'Kitchen', 'kitchen/oven/temperature')
  await describe('v1', 'Strongbox', 'Vault', 'vault/box/temperature')
  for (const topic of ['kitchen/oven/temperature', 'vault/box/temperature'])
    await publisher.publishAsync(topic, '21.5', { qos: 1 })
  const { page } = await openSignedIn(t, hub, 'anna', '/')
  await page.locator('.area', { hasText: 'Vault' }).waitFor()
  const patched = await page.evaluate<number>(`fetch('/api/boards', {
    method: 'PATCH',
    headers: { 'content-type': 'application/json', 'if-match': '*' },
    body: JSON.stringify({
      areas: ['Vault', 'Kitchen'],
      boards: {
        money: { name: 'Where the money is', areas: ['Vault'] },
        both: { name: 'Ground floor', areas: ['Vault', 'Kitchen'] },
      },
    }),
  }).then(({ status }) => status)`)
  t.equal(patched, 200)
  const guest = await openSignedIn(t, hub, 'gast', '/')
  await guest.page.locator('.area', { hasText: 'Kitchen' }).waitFor()
  await guest.page.getByRole('link', { name: 'Ground floor' }).waitFor()
  t.notMatch(await guest.page.locator('body').innerText(), /vault|strongbox|money/i)
  const told = await guest.page.evaluate<{ areas: string[]; boards: Record<string, { areas: string[] }> }>(
    `fetch('/api/boards').then(response => response.json())`,
  )
  t.same(told.areas, ['Kitchen'], 'an area from discovery keeps its place')
  t.same(told.boards.both?.areas, ['Kitchen'])
  const asked = ['/api/home?values=all', '/api/boards', '/api/series', '/api/devices', '/api/alerts']
  for (const path of asked) {
    const text = await guest.page.evaluate<string>(`fetch('${path}').then(response => response.text())`)
    t.notMatch(text, /vault|strongbox|money/i, path)
  }
})
