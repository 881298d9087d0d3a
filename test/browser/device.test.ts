import type { MqttClient } from 'mqtt'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { connectMqtt, eventually, type RunningHub, startHub } from '../harness.js'
import { openDashboard } from './open-dashboard.js'

const isLive = async (page: Page) => (await page.locator('#connection').getAttribute('data-state')) === 'live'
const rowOf = (page: Page, clientId: string) => page.locator(`#devices li[data-client=${JSON.stringify(clientId)}]`)
const markOf = (page: Page, clientId: string) => rowOf(page, clientId).locator('.device-refused')
const textOf = async (page: Page, selector: string) => (await page.locator(selector).textContent()) ?? ''
const overflow = (page: Page) =>
  page.evaluate<number>('document.documentElement.scrollWidth - document.documentElement.clientWidth')
const hashOf = (page: Page) => new URLSearchParams(new URL(page.url()).hash.slice(1))

const publish = (device: MqttClient, topic: string, payload: unknown) =>
  device.publishAsync(topic, JSON.stringify(payload), { qos: 1 })

/** A client that may well be disconnected for what it publishes. */
async function refuse(t: Test, hub: RunningHub, clientId: string, topic: string): Promise<void> {
  const device = await connectMqtt(t, hub.mqttUrl, { clientId })
  device.publish(topic, 'x', { qos: 0 })
}

t.test('a device has a page: how it is, what it has sent, and the way there and back', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'kitchen-t1', username: 'cook' })
  await publish(device, 'home/kitchen/t1/telemetry', { temperature: 21.5 })
  await publish(device, 'home/hall/t2/telemetry', { temperature: 18 })
  const { page, problems } = await openDashboard(t, hub.httpUrl)
  await eventually(() => isLive(page), 'live')
  t.equal(await page.locator('#account').isVisible(), false, 'nobody is asked, so nobody is signed in')
  await rowOf(page, 'kitchen-t1').locator('a').press('Enter')
  t.equal(hashOf(page).get('device'), 'kitchen-t1')
  t.equal(await page.title(), 'kitchen-t1 · telehub')
  t.equal(await page.locator('#page').isVisible(), false, 'the readings are another page')
  t.equal(await page.evaluate('document.activeElement.id'), 'device-name', 'a screen reader begins with its name')
  await eventually(async () => /^Online for .*, since /.test(await textOf(page, '#device-state')), 'since when')
  await eventually(
    async () => /Usercook.*Messages2.*Last seen/.test(await textOf(page, '#device-facts')),
    'what it did',
  )
  t.match(await textOf(page, '#refusals-note'), /Nothing was refused/)
  await page.locator('.device-reading').first().waitFor()
  t.same(await page.locator('.device-reading .reading-name').allTextContents(), ['temperature kitchen'], 'by its name')
  await publish(device, 'home/kitchen/t1/telemetry', { temperature: 22.5 })
  await eventually(async () => (await textOf(page, '.reading-value')) === '22.5', 'they are live')
  await eventually(async () => /Messages3/.test(await textOf(page, '#device-facts')), 'and it is asked again')

  await publish(device, 'home/kitchen/t1/clock', { time: 36, v: 1 })
  const wrong = /Clock\d+ d behind, in home\/kitchen\/t1\/clock; the time of reception is used/
  await eventually(async () => wrong.test(await textOf(page, '#device-facts')), 'by how much its clock is wrong')
  await publish(device, 'home/kitchen/t1/clock', { time: Date.now(), v: 1 })
  await eventually(async () => !/Clock/.test(await textOf(page, '#device-facts')), 'until it is right')

  await page.locator('.device-reading').first().click()
  await page.locator('#detail-name', { hasText: 'Temperature' }).waitFor()
  await page.goBack()
  await page.locator('#device').waitFor()
  await page.reload()
  await eventually(async () => /^Online/.test(await textOf(page, '#device-state')), 'the same after a reload')

  await device.endAsync()
  await eventually(async () => /^Offline for/.test(await textOf(page, '#device-state')), 'it is told that it left')
  await page.keyboard.press('Escape')
  t.equal(new URL(page.url()).hash, '#values')
  await page.locator('#groups').waitFor()
  t.equal(
    await page.evaluate('document.activeElement.closest("li").dataset.client'),
    'kitchen-t1',
    'the focus is where it was chosen',
  )
  await page.goBack()
  await page.locator('#device').waitFor()
  await page.locator('#device .back').click()
  await page.locator('#groups').waitFor()
  t.same(problems, [])
})

t.test('what it was refused is told at once, with the reason, and marked in the list', async t => {
  const hub = await startHub(t)
  const calm = await connectMqtt(t, hub.mqttUrl, { clientId: 'calm' })
  await publish(calm, 'calm/x', 1)
  const { page, problems } = await openDashboard(t, hub.httpUrl)
  await eventually(() => isLive(page), 'live')
  await refuse(t, hub, 'pushy', '$x/y')
  await markOf(page, 'pushy').waitFor()
  t.equal(await markOf(page, 'calm').isVisible(), false)
  t.equal(await textOf(page, '#presence-count'), '1 of 1 online', 'who was only refused is not counted')
  await rowOf(page, 'pushy').locator('a').click()
  const head = async () => (await page.locator('.refusal-head').allTextContents()).map(text => text.split(/\d\d:/)[0])
  t.same(await head(), ['publish $x/y'])
  t.match(await textOf(page, '.refusal-reason'), /begin with \$ are the hub's own/)
  t.match(await textOf(page, '.refusal-remedy'), /another topic/)
  t.equal(await page.locator('.refusal .snippet').count(), 0, 'without users no command helps')

  await refuse(t, hub, 'pushy', '$x/z')
  await eventually(async () => (await head()).join() === 'publish $x/z,publish $x/y', 'the newest first')
  await refuse(t, hub, 'pushy', '$x/z')
  await eventually(async () => /2 times/.test(await textOf(page, '#refusals')), 'the same again is no new line')
  t.equal(await page.locator('.refusal').count(), 2)
  await page.reload()
  await eventually(async () => (await head()).join() === 'publish $x/z', 'the hub keeps the last')

  await page.goto(`${hub.httpUrl}/#device=nobody`)
  await eventually(
    async () => /Unknown device/.test(await textOf(page, '#device-state')),
    'an address without a device',
  )
  t.same(problems, [])
})

t.test('what a device is called is text, seen whole, and no wider than a phone', async t => {
  const hub = await startHub(t)
  const image = '<img src=x onerror=window.pwned=1>'
  const ids = [
    image,
    `long-${'x'.repeat(245)}`,
    'photo-\u202egpj.exe',
    'zero\u200bwidth',
    "'; rm -rf ~; '",
    'ملقم',
    '#"+%/',
  ]
  const { page, problems } = await openDashboard(t, hub.httpUrl, { width: 320, height: 640 })
  await eventually(() => isLive(page), 'live')
  await page.locator('#presence summary').click()
  for (const clientId of ids) await refuse(t, hub, clientId, `$x/${image}/\u202e`)
  for (const clientId of ids) {
    await eventually(async () => {
      const shown = await page.locator('#devices li').evaluateAll(items => items.map(item => item.dataset.client))
      return shown.includes(clientId)
    }, `a row for ${clientId}`)
    await page.goto(`${hub.httpUrl}/#${new URLSearchParams({ device: clientId })}`)
    await page.locator('.refusal').waitFor()
    const shown = await textOf(page, '#device-name')
    t.notMatch(shown, /[\u200b\u202e]/)
    t.equal(
      shown.replaceAll(/‹(202E|200B)›/g, (_, hex) => String.fromCharCode(parseInt(hex, 16))),
      clientId,
    )
    t.ok((await textOf(page, '.refusal-topic')).startsWith(`$x/${image}`))
    t.notMatch(await textOf(page, '#device'), /\u202e/)
    t.ok((await overflow(page)) <= 0, 'no wider than the screen')
  }
  t.equal(await page.evaluate('window.pwned'), undefined)
  t.equal(await page.locator('img, iframe').count(), 0)
  t.same(problems, [])
})

t.test('a device that is gone is removed from its page, once that is confirmed', async t => {
  const hub = await startHub(t)
  const gone = await connectMqtt(t, hub.mqttUrl, { clientId: 'old-lamp' })
  await publish(gone, 'home/hall/old-lamp/telemetry', { brightness: 7 })
  const other = await connectMqtt(t, hub.mqttUrl, { clientId: 'lamp' })
  await publish(other, 'home/hall/lamp/telemetry', { brightness: 9 })
  const { page, problems } = await openDashboard(t, hub.httpUrl)
  await eventually(() => isLive(page), 'live')
  await rowOf(page, 'old-lamp').locator('a').click()
  const button = page.locator('#device-remove')
  await eventually(async () => /^Online/.test(await textOf(page, '#device-state')), 'online')
  t.equal(await button.isVisible(), false, 'nothing is removed that is connected')
  await gone.endAsync()
  await button.click()
  await page.locator('#device-removal button').first().click()
  t.equal(await page.locator('#device').isVisible(), true, 'nothing happens when it is called off')
  await button.click()
  await page.locator('#device-removal').getByText('Remove', { exact: true }).click()
  await page.locator('#groups').waitFor()
  await eventually(async () => (await rowOf(page, 'old-lamp').count()) === 0, 'it has left the list')
  await eventually(async () => (await page.locator('#groups a.tile').count()) === 1, 'and its tile is gone')
  t.equal(await rowOf(page, 'lamp').count(), 1)
  await page.reload()
  await eventually(async () => (await page.locator('#groups a.tile').count()) === 1, 'the same after a reload')
  t.equal(await rowOf(page, 'old-lamp').count(), 0)
  t.same(problems, [])
})
