import t from 'tap'
import { eventually, type RunningHub, startHub } from '../harness.js'
import { isLive, openSignedIn, others, password, pathOf, startGuarded, textOf } from './guarded-hub.js'
import { openDashboard } from './open-dashboard.js'

/** Signs in as a browser that calls itself so. */
async function signInFrom(hub: RunningHub, name: string, agent: string): Promise<void> {
  const { status } = await fetch(`${hub.httpUrl}/api/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'user-agent': agent },
    body: JSON.stringify({ user: name, password }),
  })
  if (status !== 204) throw new Error(`signing in: ${status}`)
}

const iphone =
  'Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1'
const edge =
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36 Edg/128.0.0.0'
const firefox = 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0'
const hostileAgent = '<img src=x onerror=canary=1>'

t.test('one sees where one is signed in, and ends one login, or all others', async t => {
  const hub = await startGuarded(t)
  for (const agent of [iphone, edge, firefox, hostileAgent]) await signInFrom(hub, 'bert', agent)
  await signInFrom(hub, 'anna', firefox)
  const { page: other } = await openSignedIn(t, hub, 'bert')
  const { page, problems } = await openSignedIn(t, hub, 'bert')
  await page.locator('#account-button').click()
  await page.locator('#account-logins').click()
  const rows = page.locator('#logins-own .login-row')
  const count = (wanted: number) => eventually(async () => (await rows.count()) === wanted, `${wanted} logins`)
  await count(6)
  t.equal(new URL(page.url()).hash, '#account')
  t.equal(await page.title(), 'Account · telehub')
  t.equal(await page.locator('#account-menu').isVisible(), false)
  t.equal(await page.evaluate('document.activeElement.id'), 'logins-title')
  const texts = (await rows.allTextContents()).map(text => text.replace(/\s+/g, ' '))
  t.match(texts[0], /^Chrome on Linux ?This browser ?Since \d\d:\d\d, from 127\.0\.0\.1 ?Last used .*Sign out$/)
  for (const name of ['Safari on iPhone', 'Edge on Windows', 'Firefox on Linux', hostileAgent]) {
    t.ok(
      texts.some(text => text.startsWith(`${name}Since`) && text.endsWith('End')),
      name,
    )
  }
  t.equal(await page.evaluate('window.canary'), undefined)
  t.equal(await page.locator('#logins-foreign-card').isVisible(), false, 'of others nothing')

  await rows.filter({ hasText: 'Safari on iPhone' }).getByRole('button').click()
  await eventually(async () => /^1 login ended/.test(await textOf(page, '#logins-note')), 'said')
  await count(5)
  t.notMatch((await rows.allTextContents()).join(), /iPhone/)
  await page.locator('#logins-end-others').click()
  await eventually(async () => /^4 logins ended/.test(await textOf(page, '#logins-note')), 'said')
  await count(1)
  t.equal(await page.locator('#logins-end-others').isVisible(), false)
  await eventually(() => pathOf(other) === '/login', 'the other browser is out at once')
  t.ok(await isLive(page), 'and this one stays')

  await page.reload()
  await count(1)
  await rows.getByRole('button').click()
  await eventually(() => pathOf(page) === '/login', 'this browser is signed out')
  t.same(others(problems), [])
})

t.test('an admin sees the logins of others too, and ends them one by one', async t => {
  const hub = await startGuarded(t)
  const { page: ofBert } = await openSignedIn(t, hub, 'bert')
  const { page } = await openSignedIn(t, hub, 'anna', '/#account')
  const foreign = page.locator('#logins-foreign .login-row')
  await foreign.waitFor()
  t.match(await foreign.textContent(), /^bert\s*Chrome on Linux/)
  t.equal(await page.locator('#logins-own .login-row').count(), 1)
  t.equal(await page.locator('#logins-end-others').isVisible(), false, 'there is no other of hers')
  await foreign.getByRole('button', { name: /^End the login of bert/ }).click()
  await eventually(() => pathOf(ofBert) === '/login', 'he is out')
  await eventually(async () => (await foreign.count()) === 0, 'not listed')
  await page.keyboard.press('Escape')
  t.equal(new URL(page.url()).hash, '')
  t.ok(await page.locator('#home').isVisible())
})

t.test('without users there is no page of logins', async t => {
  const hub = await startHub(t)
  const { page } = await openDashboard(t, `${hub.httpUrl}/#account`)
  await eventually(() => isLive(page), 'live')
  await eventually(() => new URL(page.url()).hash === '', 'back on Home')
  t.ok(await page.locator('#home').isVisible())
})
