import t from 'tap'
import { type Route, routes } from '../../src/contract/contract.js'
import { securityHeaders } from '../../src/http/headers.js'
import { type Guarded, startGuarded } from './guarded.js'

const app = 'https://app.example'

const preflight = (hub: Guarded, path: string, method: string, origin: string, more: Record<string, string> = {}) =>
  hub.request(path, { method: 'OPTIONS', headers: { origin, 'access-control-request-method': method, ...more } })

/** All CORS headers of an answer. */
const corsOf = ({ headers }: Response) => [...headers].filter(([name]) => name.startsWith('access-control-'))

t.test('pages of the origins in ws.origins may ask with a key, and read the answers', async t => {
  const hub = await startGuarded(t, { origins: [app, 'http://localhost:3000'] })
  const key = await hub.set('grafana', 'service', '')
  const authorization = `Bearer ${key}`
  for (const origin of [app, 'http://localhost:3000']) {
    const asked = await preflight(hub, '/api/publish', 'POST', origin, {
      'access-control-request-headers': 'authorization,content-type,idempotency-key',
    })
    t.equal(asked.status, 204)
    t.equal(asked.headers.get('access-control-allow-origin'), origin)
    t.equal(asked.headers.get('access-control-allow-methods'), 'POST')
    for (const name of ['authorization', 'content-type', 'idempotency-key', 'last-event-id']) {
      t.ok(asked.headers.get('access-control-allow-headers')?.split(', ').includes(name), name)
    }
    t.equal(asked.headers.get('access-control-max-age'), '600')
    t.match(asked.headers.get('vary'), /\bOrigin\b/)
    t.notOk(asked.headers.get('access-control-allow-credentials'))

    const read = await hub.request('/api/series', { headers: { origin, authorization } })
    t.match([read.status, read.headers.get('access-control-allow-origin')], [200, origin])
    t.match(read.headers.get('access-control-expose-headers'), /retry-after, idempotent-replayed/)
    t.equal(read.headers.get('vary'), 'Origin')
    const published = await hub.post('/api/publish', { topic: 'a', payload: 1 }, { origin, authorization })
    t.match([published.status, published.headers.get('access-control-allow-origin')], [200, origin])
    const wrong = await hub.request('/api/series', { headers: { origin, authorization: 'Bearer thk_x_y' } })
    t.match([wrong.status, wrong.headers.get('access-control-allow-origin')], [401, origin], 'errors can be read, too')
    const stream = await hub.post('/api/dead/drop', { all: true }, { origin, authorization: `Bearer ${hub.adminKey}` })
    t.match([stream.status, stream.headers.get('access-control-allow-origin')], [200, origin], 'a stream')
  }
  const without = await hub.request('/api/series', { headers: { authorization } })
  t.equal(without.headers.get('vary'), 'Origin', 'a cache asks again for another origin')
  t.same(corsOf(without), [])
})

t.test('what a cookie opens is for pages of the hub alone', async t => {
  const hub = await startGuarded(t, { origins: [app] })
  const cookie = await hub.signIn('ann', 'sesame-ann')
  t.equal((await hub.request('/api/series', { headers: { cookie } })).status, 200)
  t.equal((await hub.request('/api/series', { headers: { cookie, origin: hub.url } })).status, 200, 'its own page')
  const read = await hub.request('/api/series', { headers: { cookie, origin: app } })
  t.equal(read.status, 401, 'the cookie counts for nothing')
  t.notOk(read.headers.get('access-control-allow-credentials'))
  t.equal((await hub.post('/api/publish', { topic: 'a', payload: 1 }, { cookie, origin: app })).status, 401)
  t.notOk(hub.reached.some(one => one.startsWith('publish')))
  const own = Object.entries<Route>(routes).filter(([, { isForOwnPages }]) => isForOwnPages)
  t.same(
    own.map(([name]) => name),
    [
      'POST /api/notify/acknowledge',
      'POST /api/login',
      'POST /api/logout',
      'POST /api/session/token',
      'POST /api/pair',
    ],
  )
  for (const [name] of own) {
    const [method = '', path = ''] = name.split(' ')
    const asked = await preflight(hub, path, method, app)
    t.match([asked.status, corsOf(asked)], [403, []], name)
  }
  for (const path of ['/', '/login', '/main.js', '/vendor/swagger-ui.js']) {
    t.same(corsOf(await hub.request(path, { headers: { origin: app, cookie } })), [], path)
  }
})

t.test('other origins get nothing, whatever they look like', async t => {
  const hub = await startGuarded(t, { origins: [app, 'http://localhost:3000'] })
  const authorization = `Bearer ${await hub.set('grafana', 'service', '')}`
  const hostile = [
    ...['https://evil.example', 'null', '', '*', 'http://app.example', 'https://app.example:444', `${app}/`],
    ...['https://app.example.evil.example', 'https://evil-app.example', 'https://xapp.example', 'https://APP.example'],
    ...['https://sub.app.example', 'http://localhost', 'http://localhost:30000', `${app}, https://evil.example`],
    ...['https://app.example%60.evil.example', 'file://', 'https://app.example@evil.example'],
  ]
  for (const origin of hostile) {
    const asked = await preflight(hub, '/api/series', 'GET', origin)
    t.match([asked.status, corsOf(asked)], [403, []], `preflight of ${origin}`)
    const read = await hub.request('/api/series', { headers: { origin, authorization } })
    t.same(corsOf(read), [], `answer to ${origin}`)
    const published = await hub.post('/api/publish', { topic: 'a', payload: 1 }, { origin, authorization })
    t.match([published.status, corsOf(published)], [403, []], `publish of ${origin}`)
  }
  t.notOk(hub.reached.some(one => one.startsWith('publish')))
  t.equal((await preflight(hub, '/api/nothing', 'GET', app)).status, 403)
  t.equal((await preflight(hub, '/api/series', 'PUT', app)).status, 403)
  t.equal((await hub.request('/api/series', { method: 'OPTIONS' })).status, 401, 'no preflight without an origin')
  t.ok(hub.counted.includes('http_cross_site'))

  const closed = await startGuarded(t)
  t.equal((await preflight(closed, '/api/series', 'GET', app)).status, 403, 'without ws.origins there is no CORS')
  t.notOk((await closed.request('/healthz')).headers.get('vary'))
})

t.test('ws.origins: * is every origin, still without cookies', async t => {
  const hub = await startGuarded(t, { origins: ['*'] })
  const cookie = await hub.signIn('ann', 'sesame-ann')
  for (const origin of ['https://any.example', 'null']) {
    const asked = await preflight(hub, '/api/history', 'GET', origin)
    t.match([asked.status, asked.headers.get('access-control-allow-origin')], [204, '*'])
    t.notOk(asked.headers.get('access-control-allow-credentials'))
    t.equal((await hub.request('/api/series', { headers: { origin, cookie } })).status, 401)
  }
})

t.test('a page in a frame: none, the own site, or those of the setting', async t => {
  const frames = (...sites: string[]) => {
    const headers = new Map(securityHeaders({ frames: sites })(undefined))
    return [
      /frame-ancestors .*$/.exec(headers.get('content-security-policy') ?? '')?.[0],
      headers.get('x-frame-options'),
    ]
  }
  t.same(frames(), ["frame-ancestors 'none'", 'DENY'])
  t.same(frames('self'), ["frame-ancestors 'self'", 'SAMEORIGIN'])
  t.same(frames('self', app), [`frame-ancestors 'self' ${app}`, undefined], 'X-Frame-Options cannot say that')
  t.same(frames('*'), ['frame-ancestors *', undefined])
  const hub = await startGuarded(t, { frames: [app] })
  const { headers } = await hub.request('/login')
  t.match(headers.get('content-security-policy'), /frame-ancestors https:\/\/app\.example$/)
  t.notOk(headers.get('x-frame-options'))
})
