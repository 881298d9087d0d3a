import mqtt from 'mqtt'
import t, { type Test } from 'tap'
import { eventually } from '../harness.js'
import { type Guarded, others, password, startGuarded } from './guarded-hub.js'
import { openDashboard } from './open-dashboard.js'

const json = { 'content-type': 'application/json' }

/** A caller with a cookie, as a browser is. */
class Caller {
  readonly #hub: string
  cookie = ''

  constructor(hub: string) {
    this.#hub = hub
  }

  async ask(method: string, path: string, body?: unknown): Promise<Response> {
    const response = await fetch(`${this.#hub}${path}`, {
      method,
      redirect: 'manual',
      headers: { ...(body === undefined ? {} : json), ...(this.cookie && { cookie: this.cookie }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const cookie = /^[^;]+/.exec(response.headers.get('set-cookie') ?? '')?.[0]
    if (cookie) this.cookie = cookie
    return response
  }

  async get<Answer>(path: string): Promise<Answer> {
    return (await (await this.ask('GET', path)).json()) as Answer
  }
}

/** A hub with a board of the kitchen and of one chart, and two devices that are on no board. */
async function withBoard(t: Test) {
  const hub = await startGuarded(t)
  const anna = new Caller(hub.httpUrl)
  await anna.ask('POST', '/api/login', { user: 'anna', password })
  const publish = async (topic: string, payload: object) => {
    const sent = await anna.ask('POST', '/api/publish', { topic, payload: JSON.stringify(payload) })
    t.ok(sent.ok, await sent.text())
  }
  await publish('home/kitchen/lamp/telemetry', { temperature: 21 })
  await publish('home/cellar/safe/telemetry', { temperature: 7, secret: 'a code' })
  await publish('home/hall/meter/telemetry', { power: 5, other: 6 })
  const seriesOf = async (field: string) => {
    const { series } = await anna.get<{ series: { key: string }[] }>('/api/series')
    return (
      series.find(({ key }) => key.endsWith(` ${field}`) && (field !== 'temperature' || key.includes('safe')))?.key ??
      ''
    )
  }
  await eventually(async () => (await seriesOf('other')) !== '' && (await seriesOf('power')) !== '', 'stored')
  const power = await seriesOf('power')
  const boards = {
    wall: { name: 'Wall', areas: ['Kitchen'], series: [power] },
    other: { name: 'Not for all', areas: ['Cellar'] },
  }
  t.equal((await anna.ask('PATCH', '/api/boards', { boards })).status, 200)
  const share = async (ms: number) => {
    const response = await anna.ask('POST', '/api/shares', { board: 'wall', expires: Date.now() + ms })
    return (await response.json()) as { readonly id: string; readonly path: string }
  }
  return { hub, anna, publish, share, seriesOf, power }
}

async function visit(hub: Guarded, path: string): Promise<Caller> {
  const visitor = new Caller(hub.httpUrl)
  const page = await visitor.ask('GET', path)
  t.equal(page.status, 200)
  return visitor
}

t.test('a visitor sees the board, and nothing else, however it is tried', async t => {
  const { hub, anna, share, seriesOf, power } = await withBoard(t)
  const { id, path } = await share(60_000)
  const visitor = await visit(hub, path)

  const home = await visitor.get<{ count: number; areas: { name: string }[]; devices: { name: string }[] }>(
    '/api/home?values=all',
  )
  t.same(
    home.devices.map(({ name }) => name),
    ['Lamp'],
  )
  t.same(
    home.areas.map(({ name }) => name),
    ['Kitchen'],
  )
  t.equal(home.count, 1)
  const boards = await visitor.get<{ boards: object; mayEdit: boolean }>('/api/boards')
  t.same(Object.keys(boards.boards), ['wall'])
  t.equal(boards.mayEdit, false)
  t.notMatch(JSON.stringify(boards), /Not for all|Cellar/)
  const session = await visitor.get('/api/session')
  t.match(session, { kind: 'dashboard', mayChange: false, share: { board: 'wall' } })

  const history = (key: string) => visitor.ask('GET', `/api/history?${new URLSearchParams({ series: key })}`)
  t.same(((await (await history(power)).json()) as { values: unknown }).values, [5], 'the chart of the board')
  for (const field of ['other', 'temperature', 'secret']) {
    const answer = await history(await seriesOf(field))
    const { values = [] } = (await answer.json()) as { values?: unknown[] }
    t.same(values, [], `${field}, which is not on the board`)
  }
  const closed = [
    ...[
      'GET /api/series',
      'GET /api/devices',
      'GET /api/alerts',
      'GET /api/balance',
      'GET /api/dead',
      'GET /api/commands',
    ],
    ...['GET /api/shares', 'GET /api/logins', 'GET /api/live?topic=%23', 'GET /metrics', 'GET /api/openapi.json'],
    ...[
      'POST /api/publish',
      'POST /api/commands',
      'PATCH /api/boards',
      'POST /api/boards/favourites',
      'POST /api/shares',
    ],
    ...[
      'POST /api/boards/undo',
      'POST /api/logins/end',
      'GET /query?q=SHOW%20DATABASES',
      'DELETE /api/devices?client=x',
    ],
  ]
  const board = {
    boards: { wall: null },
    board: 'wall',
    expires: Date.now() + 1e6,
    devices: [],
    topic: 'x',
    payload: '1',
  }
  for (const route of closed) {
    const [method = '', to = ''] = route.split(' ')
    const { status } = await visitor.ask(method, to, method === 'GET' || method === 'DELETE' ? undefined : board)
    t.match(String(status), /^40[0134]$/, `${route}: ${status}`)
    t.not(status, 200, route)
  }
  t.match(await (await visitor.ask('GET', '/readyz')).json(), { ready: true })
  t.notOk('dependencies' in (await visitor.get<object>('/readyz')))

  const token = (await (await visitor.ask('POST', '/api/session/token', {})).json()) as {
    username: string
    password: string
  }
  const client = await mqtt.connectAsync(hub.mqttUrl, {
    ...token,
    clientId: 'wall',
    protocolVersion: 5,
    reconnectPeriod: 0,
  })
  t.teardown(() => client.endAsync(true))
  await t.rejects(
    mqtt.connectAsync(hub.mqttUrl, { ...token, clientId: 'thermo', reconnectPeriod: 0 }),
    'the name of a device',
  )
  const got: string[] = []
  client.on('message', topic => got.push(topic))
  const subscribed = async (filter: string) => {
    const [grant] = (await client.subscribeAsync(filter).catch(() => undefined)) ?? []
    return grant !== undefined && grant.qos < 128
  }
  t.equal(await subscribed('$hub/last/#'), true)
  for (const filter of [
    '#',
    'home/#',
    'home/cellar/#',
    '$SYS/#',
    '$hub/presence/#',
    '$hub/alerts/#',
    '$aws/things/thermo/shadow/#',
  ]) {
    t.equal(await subscribed(filter), false, filter)
  }
  await eventually(() => Promise.resolve(got.length > 0), 'the newest value')
  for (const topic of [
    'home/kitchen/lamp/telemetry',
    '$hub/command/home/kitchen/lamp/set',
    '$aws/things/thermo/shadow/update',
  ]) {
    await client.publishAsync(topic, '{"temperature":99}', { qos: 1 }).catch(() => {})
  }
  t.same(
    [...new Set(got)].filter(topic => topic.startsWith('$hub/last/')),
    ['$hub/last/home/kitchen/lamp/telemetry'],
  )
  const lamp = await anna.get<{ values: unknown[] }>(
    `/api/history?${new URLSearchParams({ series: (await anna.get<{ series: { key: string }[] }>('/api/series')).series.find(({ key }) => key.includes('lamp'))?.key ?? '' })}`,
  )
  t.same(lamp.values, [21], 'nothing was published')

  const isClosed = new Promise(resolve => client.once('close', () => resolve(undefined)))
  t.equal((await anna.ask('POST', '/api/shares/end', { id })).status, 200)
  await isClosed
  t.equal((await visitor.ask('GET', '/api/home')).status, 401, 'ended')
  t.equal((await visitor.ask('POST', '/api/session/token', {})).status, 401)
  t.equal((await new Caller(hub.httpUrl).ask('GET', path)).status, 404)
  t.equal((await new Caller(hub.httpUrl).ask('GET', `/share/${'A'.repeat(43)}`)).status, 404)
  t.same(await anna.get('/api/shares'), { shares: [] })
  await t.rejects(
    mqtt.connectAsync(hub.mqttUrl, { username: token.username, password: '', reconnectPeriod: 0 }),
    'no password',
  )
})

t.test('in another browser: the board and no more, until the link ends by itself', async t => {
  const { hub, publish, share } = await withBoard(t)
  const { path } = await share(40_000)
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}${path}`)
  await page.locator('.thing').waitFor()
  t.match(page.url(), /\/#board=wall$/)
  t.same(await page.locator('.thing-link bdi').allTextContents(), ['Lamp'])
  await page.locator('.board-chart').waitFor()
  await publish('home/kitchen/lamp/telemetry', { temperature: 33 })
  await page.locator('.main-value', { hasText: '33' }).waitFor()
  t.equal(
    await page.locator('#pages, #account, .star, .board-links').locator('visible=true').count(),
    0,
    'no way elsewhere',
  )
  t.equal(await page.getByRole('button', { name: 'Edit board' }).count(), 0)
  await page.goto(`${hub.httpUrl}/#board=other`)
  await page.reload()
  await page.locator('.thing').waitFor()
  t.same(await page.locator('.thing-link bdi').allTextContents(), ['Lamp'], 'another board is not to be had')
  await page.waitForURL(/\/login/, { timeout: 90_000 })
  t.same(others(problems), [])
})
