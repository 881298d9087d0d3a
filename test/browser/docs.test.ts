import t from 'tap'
import { connectMqtt, eventually } from '../harness.js'
import { password, pathOf, signIn, startGuarded } from './guarded-hub.js'
import { openDashboard } from './open-dashboard.js'

t.test('the API can be read and tried behind the login, within the policy of the hub', async t => {
  const hub = await startGuarded(t)
  const subscriber = await connectMqtt(t, hub.mqttUrl, { username: 'anna', password })
  await subscriber.subscribeAsync('lamp')
  const got = new Promise<string>(resolve => subscriber.once('message', (_, payload) => resolve(payload.toString())))

  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/api/docs`)
  await page.addInitScript(`window.violations = []
addEventListener('securitypolicyviolation', ({ effectiveDirective, blockedURI }) =>
  window.violations.push(effectiveDirective + ' ' + blockedURI))`)
  t.equal(pathOf(page), '/login', 'not without signing in')
  await signIn(page, 'anna')
  await page.waitForURL(`${hub.httpUrl}/`)
  await page.goto(`${hub.httpUrl}/api/docs`)

  const publish = page.locator('#operations-publish-post_api_publish')
  await publish.locator('.opblock-summary').click()
  await publish.locator('textarea').fill('{"topic": "lamp", "payload": {"on": true}}')
  await publish.locator('button.execute').click()
  t.equal(await got, '{"on":true}', 'what is tried is done')
  const status = await eventually(
    () => publish.locator('.live-responses-table .response-col_status').last().textContent(),
    'the answer is shown',
  )
  t.match(status, /^200/)
  t.same(await page.evaluate('window.violations'), [], 'nothing was kept from happening by the policy')
  t.same(
    problems.filter(problem => problem.startsWith('left')),
    [],
  )
})
