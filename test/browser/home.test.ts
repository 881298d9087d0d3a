import type { MqttClient } from 'mqtt'
import t from 'tap'
import { connectMqtt, eventually, startHub } from '../harness.js'
import { openDashboard } from './open-dashboard.js'

const publish = (device: MqttClient, topic: string, payload: unknown) =>
  device.publishAsync(topic, typeof payload === 'string' ? payload : JSON.stringify(payload), { qos: 1 })

t.test('a device has a card in its area, whose values are live', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'thermo' })
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/`)
  await page.locator('.home-empty').waitFor()
  t.match(await page.locator('.home-empty code').textContent(), `curl ${hub.httpUrl}/api/publish `)
  await publish(device, 'home/kitchen/thermo/telemetry', { temperature: 21.5, humidity: 44 })
  await page.locator('.thing').waitFor()
  t.match(await page.locator('.area-name').allTextContents(), ['Kitchen'])
  const link = page.locator('.thing-link')
  const shows = (text: string) => async () =>
    (await page.locator('.main-value').allTextContents()).join().includes(text)
  await eventually(shows('21.5'), 'the value from before')
  await publish(device, 'home/kitchen/thermo/telemetry', { temperature: 123_456_789.1 })
  await eventually(shows('123,456,789.1'), 'the next one, whole')
  const isCut = `[...document.querySelectorAll('.now-value')].some(one => one.scrollWidth > one.clientWidth + 1)`
  t.equal(await page.evaluate(isCut), false, 'and not cut')

  await link.click()
  const sheet = page.locator('dialog.sheet')
  await sheet.waitFor()
  t.match(new URL(page.url()).hash, /^#thing=/)
  await page.keyboard.press('Escape')
  await eventually(async () => (await sheet.count()) === 0, 'closed')
  t.equal(new URL(page.url()).hash, '')
  await link.click()
  await sheet.locator('a.sheet-name').first().click()
  await eventually(async () => Number(await page.locator('#chart').getAttribute('data-points')) > 0, 'a chart')
  await page.keyboard.press('Escape')
  await page.locator('.thing').waitFor()
  t.equal(new URL(page.url()).hash, '', 'back on Home')
  t.same(problems, [])
})

t.test('what others send is text, in the direction that it is written in', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'd1' })
  await publish(device, 'home/kitchen/d1/telemetry', {
    note: '<img src=x onerror="window.ran = 1">',
    file: 'a\u202egnp.exe',
  })
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/`)
  await page.locator('.main-value').first().waitFor()
  await eventually(
    async () => (await page.locator('.main-value').allTextContents()).join().includes('‹202E›'),
    'what turns text is shown',
  )
  t.equal(await page.evaluate('window.ran'), undefined)
  t.equal(await page.locator('.main-value img').count(), 0)
  t.same(problems, [])
})

t.test('what is not stored waits for a person, who gets to the mapping of that topic', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'd1' })
  await publish(device, 'home/kitchen/d1/telemetry', { temperature: 1 })
  await publish(device, 'home/kitchen/d1/telemetry', '{"broken')
  await publish(device, 'home/hall/d2/telemetry', '{"broken')
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/`)
  const need = page.locator('.need[data-level="unstored"]', { hasText: 'home/hall/d2' })
  await need.waitFor()
  t.match(await need.textContent(), /1 message is not stored.*Broken JSON/)
  await need.locator('a').click()
  await page.locator('.tried', { hasText: '{"broken' }).waitFor()
  t.match(page.url(), /#explore&map&topic=home%2Fhall%2Fd2%2Ftelemetry$/)
  await page.goBack()
  await need.waitFor()
  t.same(problems, [])
})

t.test('by keyboard: search, arrows from card to card, Enter opens, Escape closes', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'd1' })
  for (const name of ['a', 'b', 'c']) await publish(device, `home/kitchen/${name}/telemetry`, { temperature: 1 })
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/`)
  await eventually(async () => (await page.locator('.thing').count()) === 3, 'three cards')
  t.equal(await page.locator('.thing-link[tabindex="0"]').count(), 1, 'one stop for Tab')
  const focused = () => page.evaluate<string>(`document.activeElement.closest('.thing')?.dataset.device ?? ''`)
  await page.locator('.thing-link[tabindex="0"]').focus()
  const first = await focused()
  await page.keyboard.press('ArrowRight')
  await eventually(async () => (await focused()) !== first, 'the next card')
  await page.keyboard.press('ArrowLeft')
  await eventually(async () => (await focused()) === first, 'and back')
  await page.keyboard.press('Enter')
  await page.locator('dialog.sheet').waitFor()
  await page.keyboard.press('Escape')
  await eventually(async () => (await focused()) === first, 'where one was')

  await page.keyboard.press('/')
  await page.keyboard.type('nothing like it')
  await page.locator('.home-none').waitFor()
  t.equal(await page.locator('.thing').count(), 0)
  await page.keyboard.press('Escape')
  await eventually(async () => (await page.locator('.thing').count()) === 3, 'all again')
  for (const density of ['List', 'Heat map', 'Cards']) {
    await page.locator(`.segments button[aria-label="${density}"]`).click()
    await eventually(async () => (await page.locator('.thing').count()) === 3, density)
    if (density !== 'List') continue
    const star = page.locator('.thing[data-device] .star').first()
    await star.click()
    await page.getByRole('region', { name: 'Favourites' }).waitFor()
    await page.getByRole('region', { name: 'Favourites' }).locator('.star').click()
    await eventually(async () => (await page.locator('.star[aria-pressed="true"]').count()) === 0, 'no favourite')
  }
  t.same(problems, [])
})

t.test('of very many devices only those near the window are on the page', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'd1' })
  const names = Array.from({ length: 300 }, (_, n) => `m${n}`)
  await Promise.all(names.map(name => publish(device, `plant/line/${name}/telemetry`, { temperature: 1 })))
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/`, { width: 390, height: 700 })
  await eventually(async () => /^300 /.test((await page.locator('.home-count').textContent()) ?? ''), 'all are known')
  const shown = await page.locator('.thing').count()
  t.ok(shown > 3 && shown < 40, `${shown} on the page`)
  await page.evaluate('scrollTo(0, document.documentElement.scrollHeight)')
  await eventually(() => page.locator('.thing').last().isVisible(), 'the last ones are there when they are looked at')
  t.ok((await page.locator('.thing').count()) < 40)
  t.equal(await page.evaluate('document.documentElement.scrollWidth - innerWidth'), 0, 'nothing sideways')
  t.same(problems, [])
})

t.test('the page speaks German, and is dark when told', async t => {
  const hub = await startHub(t)
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/`)
  await page.locator('#display-button').click()
  await page.locator('#theme button', { hasText: 'Dark' }).click()
  const ground = () => page.evaluate<string>('getComputedStyle(document.body).backgroundColor')
  t.equal(await ground(), 'rgb(15, 19, 21)')
  await page.locator('#language').selectOption('de')
  await eventually(async () => (await page.locator('html').getAttribute('lang')) === 'de', 'German')
  await page.locator('.home-empty h2', { hasText: 'Noch kein Gerät' }).waitFor()
  t.equal(await ground(), 'rgb(15, 19, 21)', 'still dark')
  t.same(problems, [])
})

t.test('a phone reaches all pages with a thumb', async t => {
  const hub = await startHub(t)
  const { page } = await openDashboard(t, `${hub.httpUrl}/`, { width: 320, height: 640 })
  await page.locator('.home-empty').waitFor()
  const { y = 0 } = (await page.locator('#pages').boundingBox()) ?? {}
  t.ok(y > 540, `at ${y}`)
  t.equal(await page.evaluate('document.documentElement.scrollWidth - innerWidth'), 0, 'nothing sideways')
  await page.locator('#pages a[data-page="values"]').click()
  await page.locator('#empty').waitFor()
  await page.setViewportSize({ width: 360, height: 640 })
  for (const language of ['en', 'de', 'zh']) {
    await page.evaluate(`localStorage.setItem('telehub.language', '${language}')`)
    await page.reload()
    const links = page.locator('#pages a:visible')
    await page.locator('#pages a[data-page="clients"]').waitFor()
    for (const link of await links.all()) {
      const { x = -1, width = 0, height = 0 } = (await link.boundingBox()) ?? {}
      const what = `${language}: ${await link.textContent()} at ${x}, ${width} x ${height}`
      t.ok(x >= 0 && x + width <= 360 && height >= 44, what)
    }
  }
})
