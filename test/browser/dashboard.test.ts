import type { MqttClient } from 'mqtt'
import type { Page } from 'playwright-core'
import t from 'tap'
import { connectMqtt, eventually, history, runCli, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'
import { openDashboard } from './open-dashboard.js'

const tileOf = (page: Page, series: string) => page.locator(`.tile[data-series=${JSON.stringify(series)}]`)
const shownOf = (page: Page, series: string) => tileOf(page, series).locator('.tile-value').getAttribute('data-value')
const pointsOf = async (page: Page) => Number(await page.locator('#chart').getAttribute('data-points'))
const stateOf = (page: Page) => page.locator('#connection').getAttribute('data-state')
const isLive = async (page: Page) => (await stateOf(page)) === 'live'

const publish = (device: MqttClient, topic: string, payload: unknown) =>
  device.publishAsync(topic, typeof payload === 'string' ? payload : JSON.stringify(payload), { qos: 1 })

/** The share of the chart's width that its line reaches over, from what was painted. */
const drawnShare = (page: Page) =>
  page.evaluate<number>(`(() => {
    const canvas = document.querySelector('#chart canvas')
    const { width, height } = canvas
    const copy = document.createElement('canvas')
    const pen = Object.assign(copy, { width, height }).getContext('2d', { willReadFrequently: true })
    pen.fillStyle = getComputedStyle(canvas).getPropertyValue('--accent')
    pen.fillRect(0, 0, 1, 1)
    const [r, g, b] = pen.getImageData(0, 0, 1, 1).data
    pen.clearRect(0, 0, width, height)
    pen.drawImage(canvas, 0, 0)
    const { data } = pen.getImageData(0, 0, width, height)
    const columns = []
    for (let i = 0; i < data.length; i += 4) {
      const far = Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b)
      if (data[i + 3] > 200 && far < 12) columns.push((i / 4) % width)
    }
    const [low, high] = columns.reduce(([low, high], x) => [Math.min(low, x), Math.max(high, x)], [width, 0])
    return (high - low) / width
  })()`)

/** Pixels that can only be reached by scrolling sideways, of the page and of the open chart. */
const overflow = (page: Page) =>
  page.evaluate<number>(`Math.max(
    ...[document.documentElement, document.body, document.getElementById('detail')].filter(Boolean).map(
      element => element.scrollWidth - element.clientWidth,
    ),
  )`)

const temperature = 'telemetry,device=t1,room=kitchen temperature'

t.test('an empty hub says so, and the first publish makes a tile without a reload', async t => {
  const hub = await startHub(t)
  const { page, problems } = await openDashboard(t, hub.httpUrl)
  await eventually(() => page.locator('#empty').isVisible(), 'the page says that it waits for a reading')
  t.match(await page.locator('#snippet').textContent(), /^curl .*"home\/kitchen\/thermostat\/telemetry"/)
  t.equal(await page.locator('.tile').count(), 0)
  t.match(await page.locator('#devices-note').textContent(), /No device/)
  await page.evaluate('window.notReloaded = true')

  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 't1' })
  await publish(device, 'home/kitchen/t1/telemetry', { temperature: 21.5, heating: true, mode: 'auto' })
  await tileOf(page, temperature).waitFor()
  t.equal(await page.locator('#empty').isVisible(), false)
  t.equal(await page.evaluate('window.notReloaded'), true)
  t.equal(await page.locator('.group-name').allTextContents().then(String), 'kitchen')
  t.same(await page.locator('.tile-name').allTextContents(), ['heating', 'mode', 'temperature'])
  t.same(await page.locator('.tile-value').allTextContents(), ['on', 'auto', '21.5'])
  t.equal(await tileOf(page, temperature).locator('.tile-unit').textContent(), '°C')
  t.same(problems, [])
})

t.test('a value changes live in its tile, and its age goes on', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 't1' })
  await publish(device, 'home/kitchen/t1/telemetry', { temperature: 21.5 })
  const { page, problems } = await openDashboard(t, hub.httpUrl)
  await eventually(async () => (await shownOf(page, temperature)) === '21.5', 'the value from before')
  await eventually(() => isLive(page), 'live')
  await publish(device, 'home/kitchen/t1/telemetry', { temperature: 22.5 })
  await eventually(async () => (await shownOf(page, temperature)) === '22.5', 'the new value')
  const tile = tileOf(page, temperature)
  t.equal(await tile.locator('.tile-value').textContent(), '22.5')
  const age = () => tile.locator('.tile-age').textContent()
  const first = await eventually(async () => /^\d+ s ago$/.exec((await age()) ?? '')?.[0], 'an age in seconds')
  await eventually(async () => (await age()) !== first, 'another age')
  t.match(await age(), /^\d+ s ago$/)
  t.same(problems, [])
})

t.test('a bare value is called as its topic, and stands in the room that its topic runs through', async t => {
  const hub = await startHub(t)
  const { page, problems } = await openDashboard(t, hub.httpUrl)
  await eventually(() => isLive(page), 'live')
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 't1' })
  await publish(device, 'home/kitchen/t1/mode', 'auto')
  await publish(device, 'shed/door/open', 'true')
  await publish(device, 'zigbee2mqtt/lamp', { brightness: 80 })
  const board = async () => {
    const text = (await page.locator('.group:visible .group-name, .tile-name, .tile-device').allTextContents()).join(
      ' ',
    )
    return text.replaceAll(/ +/g, ' ')
  }
  await eventually(
    async () => (await board()) === 'home/kitchen mode t1 shed/door open zigbee2mqtt brightness lamp',
    'by the topics alone',
  )
  t.same(await page.locator('.tile[data-type="boolean"] .tile-value').allTextContents(), ['on'])
  // Now the tags tell that kitchen is a room.
  await publish(device, 'home/kitchen/t1/telemetry', { temperature: 21.5 })
  const settled = 'kitchen mode t1 temperature t1 shed/door open zigbee2mqtt brightness lamp'
  await eventually(async () => (await board()) === settled, 'together in the room')
  await eventually(async () => (await history(hub, temperature)).length === 1, 'stored')
  await page.reload()
  await eventually(async () => (await board()) === settled, 'the same after a reload')
  t.same(problems, [])
})

t.test('a click on the tile opens the chart: history, live readings, an address that leads back to it', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 't1' })
  const now = Date.now()
  for (let n = 0; n < 30; n++) {
    const time = now - (30 - n) * 20_000
    await publish(device, 'home/kitchen/t1/telemetry', { temperature: 20 + (n % 7) / 2, time })
  }
  await eventually(async () => (await history(hub, temperature)).length === 30, 'all stored')

  const { page, problems } = await openDashboard(t, hub.httpUrl)
  await tileOf(page, temperature).click()
  await eventually(async () => (await pointsOf(page)) === 30, 'the history is drawn')
  t.equal(await page.locator('#detail-name').textContent(), 'Temperature')
  await eventually(
    async () => /min20\.0.*max23\.0/.test((await page.locator('#stats').textContent()) ?? ''),
    'its figures',
  )
  await page.locator('#ranges [data-range="15m"]').click()
  await eventually(async () => (await pointsOf(page)) === 30, 'the same in a quarter of an hour')
  await eventually(async () => (await drawnShare(page)) > 0.5, 'painted over ten of fifteen minutes')
  const address = () => new URLSearchParams(new URL(page.url()).hash.slice(1))
  t.equal(address().get('series'), temperature)
  t.equal(address().get('range'), '15m')

  await eventually(() => isLive(page), 'live')
  await publish(device, 'home/kitchen/t1/telemetry', { temperature: 29 })
  await eventually(async () => (await pointsOf(page)) === 31, 'the live reading is added')
  await eventually(async () => (await page.locator('#detail-value').textContent()) === '29.0', 'and it is the value')

  await eventually(async () => (await history(hub, temperature)).length === 31, 'stored too')
  await page.reload()
  await eventually(async () => (await pointsOf(page)) === 31, 'the same chart after a reload')
  t.equal(await page.locator('#detail-name').textContent(), 'Temperature')
  t.equal(await page.locator('#ranges [aria-pressed="true"]').textContent(), '15 min')
  t.equal(await tileOf(page, temperature).getAttribute('aria-current'), 'true')

  await page.keyboard.press('Escape')
  t.equal(await page.locator('#detail').isVisible(), false)
  await page.goBack()
  await eventually(async () => (await pointsOf(page)) === 31, 'back opens it again')
  t.same(problems, [])
})

t.test('a device is online, then offline; the filter finds it', async t => {
  const hub = await startHub(t)
  const { page, problems } = await openDashboard(t, hub.httpUrl)
  await eventually(() => isLive(page), 'live')
  const row = (id: string, online: boolean) => page.locator(`#devices [data-client="${id}"][data-online="${online}"]`)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'boiler' })
  await publish(device, 'boiler/pressure', '1.5')
  await publish(await connectMqtt(t, hub.mqttUrl, { clientId: 'lamp' }), 'lamp/on', 'true')
  await row('boiler', true).waitFor()
  await row('lamp', true).waitFor()
  t.equal(await page.locator('#presence-count').textContent(), '2 of 2 online', 'the page itself is not a device')

  await device.endAsync()
  await row('boiler', false).waitFor()
  await row('lamp', true).waitFor()
  t.equal(await page.locator('#presence-count').textContent(), '1 of 2 online')
  t.match(await row('boiler', false).textContent(), /offline /)

  await page.reload()
  await row('boiler', false).waitFor()
  await page.locator('#search').fill('LAMP')
  await row('boiler', false).waitFor({ state: 'detached' })
  t.equal(await row('lamp', true).isVisible(), true)
  t.same(problems, [])
})

t.test('the hub is killed: the page says that it is not live, and is again by itself when the hub is back', async t => {
  const first = await startHub(t)
  const before = await connectMqtt(t, first.mqttUrl, { clientId: 't1' })
  await publish(before, 'home/kitchen/t1/telemetry', { temperature: 21.5 })
  const { page, problems } = await openDashboard(t, first.httpUrl)
  await tileOf(page, temperature).waitFor()
  await eventually(() => isLive(page), 'live')
  await page.evaluate('window.notReloaded = true')
  t.same(problems, [])

  await first.kill()
  await eventually(async () => !(await isLive(page)), 'not live')
  t.match(await page.locator('#connection-text').textContent(), /Reconnecting|Not connected/)
  const banner = page.locator('.banner[data-tone="offline"]')
  await banner.waitFor()
  t.match(await page.locator('#banners').textContent(), /Not connected.*does not answer.*last received/)
  t.equal(await stateOf(page), 'offline')
  await page.setViewportSize({ width: 1280, height: 240 })
  await page.evaluate('scrollTo(0, document.documentElement.scrollHeight)')
  t.ok(await page.evaluate('scrollY > 0'), 'scrolled down')
  t.ok(((await banner.boundingBox())?.y ?? -1) >= 0, 'it is in view all the same')
  t.equal(await shownOf(page, temperature), '21.5', 'what arrived is still there')

  const settings = { 'mqtt.port': new URL(first.mqttUrl).port, 'http.port': new URL(first.httpUrl).port }
  const second = await startHub(t, settings, first.dir)
  await eventually(() => isLive(page), 'live again')
  t.equal(await page.locator('.tile').count(), 1)
  t.equal(await page.locator('.banner').count(), 0)
  const after = await connectMqtt(t, second.mqttUrl, { clientId: 't1' })
  await publish(after, 'home/kitchen/t1/telemetry', { temperature: 23.5, humidity: 40 })
  await eventually(async () => (await shownOf(page, temperature)) === '23.5', 'the new value')
  await eventually(async () => (await page.locator('.tile').count()) === 2, 'the new series')
  await page.locator('#devices [data-client="t1"][data-online="true"]').waitFor()
  t.equal(await page.evaluate('window.notReloaded'), true)
  t.same(
    problems.filter(problem => !/net::ERR_|WebSocket connection to \S+ failed/.test(problem)),
    [],
    'nothing but the network was complained of',
  )
})

t.test('what devices send is text, whatever is in it', async t => {
  const hub = await startHub(t)
  // A window that holds all tiles: others are not on the page.
  const { page, problems } = await openDashboard(t, hub.httpUrl, { height: 4_000 })
  await eventually(() => isLive(page), 'live')
  const image = '<img src=x onerror=window.pwned=1>'
  const script = '<script>window.pwned=1</script>'
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: image })
  await publish(device, `home/${image}/x/telemetry`, script)
  await publish(device, `home/${image}/x/telemetry`, { [image]: 7, [script]: true, text: image })
  await publish(device, `${image}/${script.replaceAll('/', '')}`, '8')
  const harmless = async () => {
    t.equal(await page.evaluate('window.pwned'), undefined)
    t.equal(await page.locator('img, iframe, #board script, #detail script').count(), 0)
  }
  const look = async () => {
    await eventually(async () => (await page.locator('.tile').count()) === 5, 'a tile for each')
    t.ok((await page.locator('.group-name').allTextContents()).includes(image))
    t.ok((await page.locator('.tile-value').allTextContents()).includes(script))
    t.ok((await page.locator('.tile-value').allTextContents()).includes(image))
    t.ok((await page.locator('.tile-name').allTextContents()).includes(script))
    await page.locator('#devices .device-id', { hasText: image }).waitFor()
    await harmless()
  }
  await look()
  await page.reload()
  await look()
  const tiles = await page.locator('.tile').all()
  for (const tile of tiles) {
    await tile.click()
    await eventually(async () => (await pointsOf(page)) > 0, 'its chart')
    await page.locator('#chart').hover()
    await page.locator('#chart').press('ArrowLeft')
    t.not(await page.locator('#detail-name').textContent(), '')
    await harmless()
  }
  t.same(problems, [])
})

t.test('an address that names nothing, and history that cannot be read, are said in words', async t => {
  const hub = await startHub(t)
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/#series=no,such=series+x&over=values`)
  await eventually(() => page.locator('#detail').isVisible(), 'the panel')
  await page.locator('#detail-name', { hasText: 'Not found' }).waitFor()
  t.match(await page.locator('#chart-note').textContent(), /no such series/)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 't1' })
  await publish(device, 'home/kitchen/t1/telemetry', { temperature: 21.5 })
  await tileOf(page, temperature).waitFor()
  t.same(problems, [])

  await page.route(/\/api\/(history|live)\?/, route =>
    route.fulfill({ status: 503, json: { error: 'unavailable', message: 'The store is away.' } }),
  )
  await page.locator('#close').click()
  await tileOf(page, temperature).click()
  await eventually(
    async () =>
      /Could not read the history: The store is away/.test((await page.locator('#chart-note').textContent()) ?? ''),
    'the hub’s own sentence',
  )
  await publish(device, 'home/kitchen/t1/telemetry', { temperature: 22.5 })
  await eventually(async () => (await pointsOf(page)) > 0, 'what comes live is drawn all the same')
})

t.test('on a phone nothing is wider than the screen, with the chart and without', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: `device-${'long'.repeat(40)}` })
  await publish(device, 'home/kitchen/t1/telemetry', { temperature: 21.5, heating: true, mode: 'auto' })
  await publish(device, `home/${'r'.repeat(80)}/${'d'.repeat(80)}/telemetry`, {
    [`field${'x'.repeat(80)}`]: -123456789.125,
    text: 'word'.repeat(100),
    number: 1e-9,
    state_of_something: false,
  })
  await publish(device, `${'deep/'.repeat(20)}end`, '1234567890123')
  const { page, problems } = await openDashboard(t, hub.httpUrl, { width: 360, height: 740, dark: true })
  const tiles = page.locator('.tile')
  await eventually(async () => (await tiles.count()) === 8, 'all tiles')
  t.ok((await overflow(page)) <= 0)
  await page.locator('#presence summary').click()
  await page.locator('#devices li').waitFor()
  t.ok((await overflow(page)) <= 0, 'with the devices')
  for (const tile of await tiles.all()) {
    await tile.click()
    await eventually(async () => (await pointsOf(page)) > 0, 'its chart')
    t.ok((await overflow(page)) <= 0, `with the chart of ${(await tile.getAttribute('data-series'))?.slice(0, 40)}`)
    await page.locator('#close').click()
  }
  t.same(problems, [])
})

t.test('the demo: a home full of readings within a minute', async t => {
  const dir = await tempDir()
  const run = runCli(['start', '--demo', '--mqtt.port', '0', '--http.port', '0', '--data.dir', dir])
  t.teardown(() => run.kill())
  const url = (await run.line(/^telehub ready .*http:\/\/\S+/m)).replace(/^.*(?=http:)/, '')
  const { page, problems } = await openDashboard(t, url)
  await eventually(async () => (await page.locator('.tile').count()) >= 8, 'eight tiles')
  await eventually(async () => (await page.locator('#devices [data-online="true"]').count()) >= 8, 'eight devices')
  t.equal(await page.locator('#devices [data-online="false"]').count(), 0)
  const number = page.locator('.tile[data-type="number"]').first()
  await number.click()
  const points = await eventually(() => pointsOf(page), 'its chart')
  await eventually(async () => (await pointsOf(page)) > points, 'and it grows')
  t.same(problems, [])
  // In good order, so that the devices are gone too.
  process.kill(run.pid, 'SIGTERM')
  t.equal(await run.exited, 0)
})

t.test('a page of another origin gets no WebSocket', async t => {
  const hub = await startHub(t)
  const other = await startHub(t)
  const { page } = await openDashboard(t, other.httpUrl)
  const outcome = await page.evaluate<string>(`new Promise(resolve => {
    const socket = new WebSocket(${JSON.stringify(hub.webSocketUrl)}, 'mqtt')
    socket.onopen = () => resolve('opened')
    socket.onerror = () => resolve('refused')
  })`)
  t.equal(outcome, 'refused')
})
