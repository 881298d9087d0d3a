import { readFile } from 'node:fs/promises'
import type { MqttClient } from 'mqtt'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { connectMqtt, eventually, history, type RunningHub, startHub } from '../harness.js'
import { openDashboard } from './open-dashboard.js'

/* Charts of several series: axes, comparison, dates, CSV, states, marks, the keyboard, and the address. */

const day = 86_400_000
const inKitchen = 'telemetry,device=thermo,room=kitchen'
const inHall = 'telemetry,device=door,room=hall'
const temperature = `${inKitchen} temperature`
const humidity = `${inKitchen} humidity`
const pressure = `${inKitchen} pressure`
const open = `${inHall} open`
const mode = `${inHall} mode`

async function publish(device: MqttClient, topic: string, payload: unknown): Promise<void> {
  await device.publishAsync(topic, JSON.stringify(payload), { qos: 1 })
}

/** A hub with two days of readings, one in ten minutes. */
async function seeded(t: Test): Promise<{ hub: RunningHub; device: MqttClient; now: number }> {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'seeder' })
  const now = Date.now()
  const times = Array.from({ length: 288 }, (_, n) => now - 2 * day + n * 600_000)
  const climate = times.map((time, n) => ({
    time,
    temperature: 20 + (n % 10) / 10,
    humidity: 40 + (n % 5),
    pressure: 1_013,
  }))
  await publish(device, 'home/kitchen/thermo/telemetry', climate)
  const states = times.map((time, n) => ({ time, open: n % 12 < 3, mode: n % 24 < 12 ? 'eco' : '=boost' }))
  await publish(device, 'home/hall/door/telemetry', states)
  await eventually(
    async () => (await history(hub, temperature)).length > 0 && (await all(hub, mode)).length === 288,
    'stored',
  )
  return { hub, device, now }
}

async function all(hub: RunningHub, series: string, from = 0): Promise<readonly unknown[]> {
  const query = new URLSearchParams({ series, from: String(from), points: '10000', fn: 'last' })
  const response = await fetch(`${hub.httpUrl}/api/history?${query}`)
  return ((await response.json()) as { times: unknown[] }).times
}

const addressOf = (hub: RunningHub, parameters: readonly (readonly [string, string])[]) =>
  `${hub.httpUrl}/#${new URLSearchParams(parameters.map(([name, value]): [string, string] => [name, value]))}`
const parametersOf = (page: Page) => new URLSearchParams(new URL(page.url()).hash.slice(1))
const pointsOf = async (page: Page) => Number(await page.locator('#chart').getAttribute('data-points'))
const drawn = (page: Page) => eventually(async () => (await pointsOf(page)) > 0, 'drawn')

t.test('several series: a second axis, a third unit is said, toggles, and the back button', async t => {
  const { hub } = await seeded(t)
  const { page, problems } = await openDashboard(
    t,
    addressOf(hub, [
      ['series', temperature],
      ['range', '24h'],
    ]),
  )
  await drawn(page)
  t.equal(await page.locator('#home').isVisible(), true, 'over Home')
  t.equal(await page.locator('.tile').count(), 0, 'without the wall')
  t.equal(await page.locator('.axis-unit[data-side="left"]').textContent(), '°C')

  await page.locator('[data-tool="add"]').click()
  await page.keyboard.type('kitchen hum')
  await page.locator('.chart-add li button', { hasText: 'Humidity' }).waitFor()
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('Enter')
  await page.locator('.legend-entry', { hasText: 'Humidity' }).waitFor()
  t.same(parametersOf(page).getAll('with'), [humidity])
  await eventually(
    async () => (await page.locator('.axis-unit[data-side="right"]').textContent()) === '%',
    'right axis',
  )
  t.equal(await page.locator('.plot').getAttribute('data-lines'), '2')
  await eventually(async () => (await page.locator('.line-label').count()) === 2, 'labels at the lines')

  await page.locator('.legend-toggle').first().click()
  await eventually(async () => (await page.locator('.plot').getAttribute('data-lines')) === '1', 'one is not drawn')
  t.equal(parametersOf(page).get('off'), '1')
  await page.reload()
  await eventually(async () => (await page.locator('.plot').getAttribute('data-lines')) === '1', 'nor after a reload')
  await page.goBack()
  await eventually(async () => (await page.locator('.plot').getAttribute('data-lines')) === '2', 'back')
  await page.goBack()
  await eventually(async () => (await page.locator('.legend-entry').count()) === 0, 'and further')

  await page.goto(
    addressOf(hub, [
      ['series', temperature],
      ['with', humidity],
      ['with', `${pressure}`],
      ['range', '24h'],
    ]),
  )
  await page.locator('.legend-entry', { hasText: 'Pressure' }).waitFor()
  await page.locator('.chart-trouble', { hasText: 'Not drawn: Pressure' }).waitFor()
  await page.locator('.legend-remove').nth(1).click()
  await eventually(async () => (await page.locator('.chart-trouble').count()) === 0, 'room for it')
  t.same(problems, [])
})

t.test('begins where there are readings; dates, and what was before', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'seeder' })
  const old = Date.now() - 20 * day
  const readings = Array.from({ length: 60 }, (_, n) => ({ time: old + n * 60_000, temperature: 20 + n / 10 }))
  await publish(device, 'home/kitchen/thermo/telemetry', readings)
  await eventually(async () => (await all(hub, temperature)).length === 60, 'stored')
  const { page, problems } = await openDashboard(t, addressOf(hub, [['series', temperature]]))
  await drawn(page)
  t.equal(parametersOf(page).get('range'), '30d')
  await page.locator('[data-range="1h"]').click()
  await eventually(
    async () => /No readings between/.test((await page.locator('#chart-note').textContent()) ?? ''),
    'nothing in the last hour',
  )
  await page.locator('.chart-find').click()
  await drawn(page)

  const local = (time: number) => {
    const at = new Date(time)
    return new Date(time - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19)
  }
  await page.locator('[data-tool="dates"]').click()
  await page
    .locator('input[type="datetime-local"]')
    .first()
    .fill(local(old - 60_000))
  await page
    .locator('input[type="datetime-local"]')
    .last()
    .fill(local(old + 30 * 60_000))
  await page.locator('[data-tool="show"]').click()
  await eventually(async () => [30, 31].includes(await pointsOf(page)), 'half of them')
  t.ok(Number(parametersOf(page).get('from')) < old)
  await page.locator('#golive').click()
  await eventually(async () => parametersOf(page).get('from') === null, 'up to now')
  t.same(problems, [])
})

t.test('the day before is drawn as a second course, and read out', async t => {
  const { hub } = await seeded(t)
  const { page, problems } = await openDashboard(
    t,
    addressOf(hub, [
      ['series', temperature],
      ['range', '6h'],
    ]),
  )
  await drawn(page)
  await page.locator('.chart-compare select').selectOption('day')
  t.equal(parametersOf(page).get('compare'), 'day')
  await page.locator('.chart-compared').waitFor()
  const chart = page.locator('#chart')
  await eventually(async () => {
    await chart.press('ArrowLeft')
    return /before: 2\d\.\d °C/.test((await page.locator('#chart-speech').textContent()) ?? '')
  }, 'by keyboard')
  t.match(await page.locator('.tip').textContent(), /°C.*before: 2/)
  t.same(problems, [])
})

t.test('CSV has the readings as they are stored, of each series a column', async t => {
  const { hub } = await seeded(t)
  const parameters = [
    ['series', temperature],
    ['with', mode],
    ['range', '24h'],
  ] as const
  const { page, problems } = await openDashboard(t, addressOf(hub, parameters))
  await drawn(page)
  const [download] = await Promise.all([page.waitForEvent('download'), page.locator('[data-tool="csv"]').click()])
  const text = await readFile(await download.path(), 'utf8')
  const [head, ...rows] = text
    .replace(/^\ufeff/, '')
    .trimEnd()
    .split('\r\n')
  t.equal(head, 'time,Thermo · Kitchen Temperature (°C),Door · Hall Mode')
  const query = new URLSearchParams({ series: temperature, from: String(Date.now() - day), points: '10000' })
  const stored = (await (await fetch(`${hub.httpUrl}/api/history?${query}`)).json()) as {
    times: number[]
    values: number[]
  }
  const cells = rows.map(row => row.split(','))
  const got = new Map(cells.map(([time = '', value = '']) => [Date.parse(time), value]))
  for (const [i, time] of stored.times.entries())
    t.equal(got.get(time), String(stored.values[i]), new Date(time).toISOString())
  t.ok(cells.some(([, , word]) => word === 'eco'))
  t.ok(
    cells.some(([, , word]) => word === "'=boost"),
    'no formula',
  )
  await page.locator('[data-role="csv-said"]', { hasText: 'readings saved' }).waitFor()
  t.same(problems, [])
})

t.test('states are bars with words, beside numbers on one axis of time', async t => {
  const { hub } = await seeded(t)
  const parameters = [
    ['series', open],
    ['with', mode],
    ['with', temperature],
    ['range', '24h'],
  ] as const
  const { page, problems } = await openDashboard(t, addressOf(hub, parameters))
  await drawn(page)
  await eventually(async () => (await page.locator('.lane').count()) === 2, 'two lanes')
  t.same(await page.locator('.plot').getAttribute('data-lines'), '1')
  await eventually(
    async () => (await page.locator('.lane-bar').allTextContents()).includes('=boost'),
    'with their words',
  )
  const left = async (selector: string) => (await page.locator(selector).first().boundingBox())?.x ?? 0
  t.ok(Math.abs((await left('.lane-bars')) - (await left('.u-over'))) < 2, 'over the same times')
  await page.goto(
    addressOf(hub, [
      ['series', mode],
      ['range', '24h'],
    ]),
  )
  await eventually(async () => (await page.locator('.texts li').count()) > 4, 'one below the other')
  t.match(await page.locator('.texts li').first().textContent(), /(eco|=boost)for /)
  await eventually(
    async () => /changes\d+different2/.test((await page.locator('#stats').textContent()) ?? ''),
    'and counted',
  )
  t.same(problems, [])
})

t.test('alerts, commands and starts are marked, and read by keyboard', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'thermo' })
  await device.subscribeAsync('home/kitchen/thermo/set')
  await publish(device, 'home/kitchen/thermo/telemetry', { temperature: 20 })
  await eventually(async () => (await all(hub, temperature)).length === 1, 'stored')
  const post = (path: string, body: object) =>
    fetch(hub.httpUrl + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
  const rule = { name: 'hot', rule: { field: 'temperature', above: 30 } }
  t.equal((await post('/api/alerts/rules', rule)).status, 200)
  await publish(device, 'home/kitchen/thermo/telemetry', { temperature: 40 })
  t.equal(
    (await post('/api/commands', { client: 'thermo', topic: 'home/kitchen/thermo/set', payload: 'cool' })).status,
    200,
  )
  const { page, problems } = await openDashboard(
    t,
    addressOf(hub, [
      ['series', temperature],
      ['range', '15m'],
    ]),
  )
  await drawn(page)
  const said = async () =>
    (await page.locator('.mark').evaluateAll(marks => marks.map(mark => mark.getAttribute('aria-label')))).join('; ')
  await eventually(async () => {
    if (/Alert: .*Command sent|Command sent.*Alert: /.test(await said())) return true
    await page.reload()
    await drawn(page)
    await page.locator('.mark').first().waitFor()
    return /Alert: .*Command sent|Command sent.*Alert: /.test(await said())
  }, 'alert and command')
  t.match(await said(), /The hub was started/)
  t.match(await said(), /Command sent: home\/kitchen\/thermo\/set cool/)
  await page.locator('.mark[tabindex="0"]').focus()
  t.equal(await page.locator('.tip').isVisible(), true, 'words beside it')
  t.same(problems, [])
})

t.test('a number on the wall is whole, however long', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'd1' })
  const values = { a: 1234567.8, b: 123_456_789.1, c: -123_456_789_012.5, d: 1e-9 }
  await publish(device, 'home/kitchen/d1/telemetry', values)
  // Tiles of the smallest width on a desktop, and those of a phone.
  for (const { width, height } of [
    { width: 1_280, height: 800 },
    { width: 360, height: 740 },
  ]) {
    const { page, problems } = await openDashboard(t, hub.httpUrl, { width, height })
    await eventually(async () => (await page.locator('.tile').count()) === 4, 'four tiles')
    const cut = `[...document.querySelectorAll('.tile-value')]
      .filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.textContent)`
    t.same(await page.evaluate(cut), [], `at ${width} px`)
    t.same(problems, [])
  }
})

t.test('of very many values only those near the window have tiles', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'plant' })
  const machine = Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`value${n}`, n]))
  for (let n = 0; n < 5; n++) await publish(device, `plant/line/m${n}/telemetry`, machine)
  const { page, problems } = await openDashboard(t, hub.httpUrl)
  const known = () =>
    page.evaluate<number>(
      `[...document.querySelectorAll('.group-count')].reduce((sum, one) => sum + Number(one.textContent), 0)`,
    )
  await eventually(async () => (await known()) === 500, 'all are known')
  const shown = await page.locator('.tile').count()
  t.ok(shown > 5 && shown < 200, `${shown} on the page`)
  await page.evaluate('scrollTo(0, document.documentElement.scrollHeight)')
  await eventually(() => page.locator('.tile', { hasText: 'value99' }).last().isVisible(), 'the last ones')
  t.ok((await page.locator('.tile').count()) < 200)
  await publish(device, 'plant/line/m4/telemetry', { value99: 4321 })
  await eventually(async () => (await page.locator('.tile-value').allTextContents()).includes('4321'), 'live')
  await page.locator('#search').fill('m2 value42')
  await eventually(async () => (await page.locator('.tile').count()) === 1, 'the filter knows all')
  t.equal(await page.locator('#matches').textContent(), '1 of 500 readings')
  t.same(problems, [])
})
