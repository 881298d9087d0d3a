import type { Page } from 'playwright-core'
import t from 'tap'
import { connectMqtt, eventually, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'
import { isLive, password, signIn, startGuarded, textOf } from './guarded-hub.js'
import { openDashboard } from './open-dashboard.js'

const keptState = `caches.open('telehub-offline').then(cache => cache.match('/offline-state'))
  .then(state => state && state.text())`
const kept = (page: Page) => page.evaluate<string | undefined>(keptState)

t.test(
  'a browser shows the last values, with their age, while there is no hub, and goes on when it is back',
  async t => {
    const dir = await tempDir()
    const first = await startHub(t, {}, dir)
    const device = await connectMqtt(t, first.mqttUrl, { clientId: 'd1' })
    await device.publishAsync('home/hall/d1/telemetry', '{"temperature":21.5,"note":"<img src=x>"}', { qos: 1 })
    const { page } = await openDashboard(t, first.httpUrl)
    await page.goto(`${first.httpUrl}/`)
    await page.locator('.thing').first().waitFor()
    await eventually(async () => (await kept(page))?.includes('21.5'), 'the values are kept')
    await device.endAsync()
    await first.stop()

    await page.reload()
    await page.locator('.kept-device').waitFor()
    t.equal(await textOf(page, '#title'), 'The hub cannot be reached')
    t.match(await textOf(page, '#since'), /^Values of .*\d:\d\d.*ago\. They may be different now\.$/)
    t.match(await textOf(page, '.kept-device'), /Temperature\s*21\.5/)
    t.equal(await page.locator('#areas img').count(), 0)
    t.equal(await page.locator('#areas button, #areas input').count(), 0, 'nothing that would act')

    const { port } = new URL(first.httpUrl)
    const second = await startHub(t, { 'http.port': port }, dir)
    t.equal(second.httpUrl, first.httpUrl)
    await page.locator('.thing').first().waitFor()
    await eventually(() => isLive(page), 'live again')
  },
)

t.test('what one user saw is gone with the login', async t => {
  const hub = await startGuarded(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'thermo', username: 'thermo', password })
  await device.publishAsync('home/thermo/telemetry', '{"temperature":19.25}', { qos: 1 })
  const { page } = await openDashboard(t, `${hub.httpUrl}/login`)
  await signIn(page, 'bert')
  await page.locator('.thing').first().waitFor()
  await eventually(async () => (await kept(page))?.includes('19.25'), 'the values are kept')
  await page.locator('#account-button').click()
  await page.locator('#sign-out').click()
  await page.locator('#form').waitFor()
  t.notOk(await kept(page), 'nothing is kept')
  await hub.stop()
  await page.goto(`${hub.httpUrl}/`).catch(() => undefined)
  await page.locator('#title').waitFor()
  t.equal(await page.locator('.kept-device').count(), 0)
})

t.test('the dashboard can be installed', async t => {
  const hub = await startGuarded(t)
  const { page } = await openDashboard(t, `${hub.httpUrl}/login`)
  const response = await page.request.get(`${hub.httpUrl}/manifest.webmanifest`)
  t.match(response.headers()['content-type'], /^application\/manifest\+json/)
  const manifest = (await response.json()) as { icons: { src: string; sizes: string }[]; start_url: string }
  t.equal(manifest.start_url, '/')
  for (const { src, sizes } of manifest.icons) {
    const size = await page.evaluate<string>(
      `fetch('${src}').then(answer => answer.blob()).then(createImageBitmap).then(image => image.width + 'x' + image.height)`,
    )
    t.equal(size, sizes, src)
  }
  await signIn(page, 'bert')
  await page.locator('.home-empty').waitFor()
  const session = await page.context().newCDPSession(page)
  const { errors, url } = await session.send('Page.getAppManifest')
  t.equal(url, `${hub.httpUrl}/manifest.webmanifest`)
  t.same(errors, [])
})
