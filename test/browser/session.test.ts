import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { connectMqtt, eventually, startHub } from '../harness.js'
import { openDashboard } from './open-dashboard.js'

/** What the pages do with answers that a hub gives seldom: it is real, those answers are put in its mouth. */

const isLive = async (page: Page) => (await page.locator('#connection').getAttribute('data-state')) === 'live'
const textOf = async (page: Page, selector: string) => (await page.locator(selector).textContent()) ?? ''
const loginPage = await readFile(fileURLToPath(new URL('../../bundle/dashboard/login.html', import.meta.url)), 'utf8')
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'"
const signedIn = { auth: 'required', user: 'anna', kind: 'dashboard', mayChange: false }

/** The login page of any hub, and no page else. */
async function withLogin(page: Page): Promise<void> {
  await page.route(
    url => url.pathname === '/login',
    route =>
      route.fulfill({ body: loginPage, contentType: 'text/html', headers: { 'content-security-policy': policy } }),
  )
}

/** A dashboard of this hub with answers put in first. */
async function openWith(t: Test, url: string, prepare: (page: Page) => Promise<unknown>, path = '/') {
  const opened = await openDashboard(t, 'about:blank', {}, url)
  await withLogin(opened.page)
  await prepare(opened.page)
  await opened.page.goto(url + path)
  return opened
}

async function fillIn(page: Page): Promise<void> {
  await page.locator('#user').fill('anna')
  await page.locator('#password').fill('a long password')
  await page.locator('#password').press('Enter')
}

t.test('the login page says what went wrong, keeps to its policy, and lets nobody ask too often', async t => {
  const hub = await startHub(t)
  const answers = [
    { status: 401, json: { error: 'unauthorized', message: 'no' } },
    { status: 503, json: { error: 'busy', message: 'no' } },
    { status: 418, json: { error: 'teapot', message: '<b>short and stout</b>' } },
    { status: 429, headers: { 'retry-after': '2' }, json: { error: 'too_many', message: 'no' } },
  ]
  const asked: unknown[] = []
  const { page, problems } = await openWith(
    t,
    hub.httpUrl,
    page =>
      page.route('**/api/login', route => {
        asked.push(route.request().postDataJSON())
        const answer = answers[asked.length - 1]
        return answer ? route.fulfill(answer) : route.abort()
      }),
    '/login',
  )
  const says = (pattern: RegExp) => eventually(async () => pattern.test(await textOf(page, '#error')), String(pattern))
  t.equal(await page.evaluate('document.activeElement.id'), 'user')
  await page.keyboard.press('Enter')
  await says(/user name is missing/)
  t.equal(asked.length, 0)
  t.same(
    await page.locator('input').evaluateAll(inputs => inputs.map(input => input.getAttribute('autocomplete'))),
    ['username', 'current-password'],
    'password managers know what is what',
  )
  await page.locator('#password').fill('a long password')
  await page.locator('#show').click()
  t.equal(await page.locator('#password').getAttribute('type'), 'text')
  await fillIn(page)
  await says(/^Wrong user name or password\.$/)
  t.equal(await page.locator('#password').getAttribute('type'), 'password', 'hidden again when it is sent')
  t.equal(await page.evaluate('document.activeElement.id'), 'password')
  t.same(asked[0], { user: 'anna', password: 'a long password' })
  await fillIn(page)
  await says(/busy/)
  await fillIn(page)
  await says(/<b>short and stout<\/b>/)
  await fillIn(page)
  await says(/^Too many attempts\. Try again at \d\d:\d\d:\d\d\.$/)
  t.match(await textOf(page, '#countdown'), /^0:0[12]$/)
  await page.locator('#password').press('Enter')
  await eventually(async () => (await textOf(page, '#countdown')) === '', 'it counts down')
  t.equal(asked.length, 4, 'nothing was sent meanwhile')
  await fillIn(page)
  await says(/does not answer/)
  t.equal(new URL(page.url()).search, '', 'nothing of it in the address')
  t.same(
    problems.filter(problem => !/Failed to load resource/.test(problem)),
    [],
  )
})

t.test('from the login one comes to where one wanted to go, on this hub alone', async t => {
  const hub = await startHub(t)
  const { page } = await openWith(t, hub.httpUrl, page =>
    page.route('**/api/login', route => route.fulfill({ status: 204 })),
  )
  const arrives = async (address: string) => {
    await page.goto(`${hub.httpUrl}${address}`)
    await fillIn(page)
    await eventually(async () => new URL(page.url()).pathname !== '/login', `away from ${address}`)
    return page.url().slice(hub.httpUrl.length)
  }
  const next = (address: string) => `/login?${new URLSearchParams({ next: address })}`
  t.equal(await arrives(next('/#balance')), '/#balance')
  t.equal(await arrives(next('/#device=a%20b')), '/#device=a%20b')
  t.equal(await arrives('/login#balance'), '/#balance', 'after a redirect the hash is on the login')
  const foreign = [
    '//evil.example',
    '/\\evil.example',
    '/\t/evil.example',
    '\\\\evil.example',
    'https://evil.example/',
    'javascript:window.pwned=1',
    'data:text/html,x',
    '/login',
    'evil',
    '/.//evil.example',
  ]
  for (const address of foreign) t.equal(await arrives(next(address)), '/', address)
  t.equal(await page.evaluate('window.pwned'), undefined)
})

t.test('MQTT gets the token, a new one for each connection; it is renewed without one', async t => {
  const hub = await startHub(t)
  const given: string[] = []
  const shown: string[] = []
  let drop = () => {}
  const { page } = await openWith(t, hub.httpUrl, async page => {
    await page.route('**/api/session', route => route.fulfill({ json: signedIn }))
    await page.route('**/api/session/token', route => {
      if (given.length === 4) given.push('none')
      if (given.at(-1) === 'none' && shown.length < 3) {
        shown.push('nothing')
        return route.fulfill({ status: 503, json: { error: 'unavailable', message: 'Not now.' } })
      }
      given.push(`tht_${given.length}`)
      return route.fulfill({ json: { username: 'anna', password: given.at(-1), expires: Date.now() + 5_000 } })
    })
    await page.routeWebSocket(/\/mqtt\b/, socket => {
      const server = socket.connectToServer()
      socket.onMessage(message => {
        const packet = Buffer.from(message as Buffer)
        if (packet[0] === 0x10) shown.push(/tht_\d+$/.exec(packet.toString('latin1'))?.[0] ?? '')
        server.send(message)
      })
      drop = () => void socket.close()
    })
  })
  await eventually(() => isLive(page), 'live')
  t.same(shown, ['tht_0'])
  t.equal(await textOf(page, '#account-name'), 'anna')
  await eventually(() => given.length >= 3, 'renewed twice')
  t.same(shown, ['tht_0'], 'over the same connection')
  const before = given.length
  drop()
  await eventually(() => shown.length >= 2 && isLive(page), 'it comes back by itself')
  t.ok(given.length > before)
  t.notSame(shown[1], 'tht_0', 'with another one')
})

t.test('who is no longer signed in goes to the login, and comes back to the same page', async t => {
  const hub = await startHub(t)
  let ended = false
  let drop = () => {}
  const { page } = await openWith(
    t,
    hub.httpUrl,
    async page => {
      const unless = (json: object) => (route: import('playwright-core').Route) =>
        ended ? route.fulfill({ status: 401, json: { error: 'unauthorized', message: 'no' } }) : route.fulfill({ json })
      await page.route('**/api/session', unless(signedIn))
      await page.route('**/api/session/token', unless({}))
      await page.routeWebSocket(/\/mqtt\b/, socket => {
        socket.connectToServer()
        drop = () => void socket.close()
      })
    },
    '/#device=a%2Fb',
  )
  await eventually(() => isLive(page), 'live')
  ended = true
  drop()
  await eventually(() => new URL(page.url()).pathname === '/login', 'at the login')
  t.equal(new URL(page.url()).searchParams.get('next'), '/#device=a%2Fb')
})

t.test('signing out: said when it fails, else at the login', async t => {
  const hub = await startHub(t)
  let works = false
  const { page } = await openWith(t, hub.httpUrl, async page => {
    await page.route('**/api/session', route => route.fulfill({ json: signedIn }))
    await page.route('**/api/session/token', route => route.fulfill({ json: {} }))
    await page.route('**/api/logout', route => (works ? route.fulfill({ status: 204 }) : route.abort()))
  })
  await page.locator('#account-button').click()
  t.match(await textOf(page, '#account-menu'), /Signed in as anna.*View only/s)
  await page.locator('#sign-out').click()
  await eventually(async () => /still signed in/.test(await textOf(page, '#account-note')), 'said')
  await page.keyboard.press('Escape')
  t.equal(await page.locator('#account-menu').isVisible(), false)
  works = true
  await page.locator('#account-button').press('Enter')
  await page.locator('#sign-out').press('Enter')
  await eventually(() => page.url() === `${hub.httpUrl}/login`, 'at the login')
})

t.test('what a user may not do is not offered, what it may not see is said', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'dev' })
  await device.publishAsync('home/kitchen/dev/telemetry', '{"broken', { qos: 1 })
  let mayRead = true
  const { page } = await openWith(
    t,
    hub.httpUrl,
    async page => {
      await page.route('**/api/session', route => route.fulfill({ json: signedIn }))
      await page.route('**/api/session/token', route => route.fulfill({ json: {} }))
      const unless = (route: import('playwright-core').Route) =>
        mayRead
          ? route.fallback()
          : route.fulfill({ status: 403, json: { error: 'forbidden', message: 'Who may read # may see it.' } })
      await page.route('**/api/balance*', unless)
      await page.route('**/api/devices', unless)
    },
    '/#balance',
  )
  await page.locator('.letter').waitFor()
  await eventually(async () => /Only an admin .* as anna \(dashboard\)/.test(await textOf(page, '#dead-hint')), 'why')
  t.equal(await page.locator('[data-action]:visible').count(), 0)
  mayRead = false
  await eventually(async () => (await textOf(page, '#verdict')) === 'No permission', 'said on the page')
  t.equal(await textOf(page, '#verdict-text'), 'Who may read # may see it.')
  t.equal(await page.locator('#balance .card:visible').count(), 0)
  await page.goto(`${hub.httpUrl}/#device=dev`)
  await eventually(async () => /hidden.*may read #/.test(await textOf(page, '#device-note')), 'said there too')
})

t.test('a hub that is open to all says so on every page', async t => {
  const hub = await startHub(t)
  const { page, problems } = await openWith(t, hub.httpUrl, page =>
    page.route('**/api/session', route =>
      route.fulfill({ json: { auth: 'anonymous', user: '', kind: '', mayChange: true } }),
    ),
  )
  await eventually(async () => /read and publish everything/.test(await textOf(page, '#banners')), 'the banner')
  t.equal(await page.locator('#account').isVisible(), false)
  t.same(
    problems.filter(problem => !/404/.test(problem)),
    [],
  )
})

t.test('where there are users, and one for who gives no name, one may still sign in', async t => {
  const hub = await startHub(t)
  const { page } = await openWith(t, hub.httpUrl, page =>
    page.route('**/api/session', route =>
      route.fulfill({ json: { auth: 'anonymous', user: 'anonymous', kind: 'dashboard', mayChange: false } }),
    ),
  )
  await eventually(async () => /Not signed in/.test(await textOf(page, '#banners')), 'the banner')
  t.notMatch(await textOf(page, '#banners'), /publish everything/)
  await page.locator('.banner a').click()
  await eventually(() => new URL(page.url()).pathname === '/login', 'at the login')
})
