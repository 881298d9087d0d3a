import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { hashPassword } from '../../src/passwords/passwords.js'
import { type Guarded, startGuarded } from './guarded.js'

/* As an attacker would: each attempt by its name, all refused, nothing reached, and the hub serves on. */

const secrets = [
  '/',
  '/index.html',
  '/main.js',
  '/metrics',
  '/api/series',
  '/api/history?series=a%20b',
  '/api/devices',
  '/api/dead',
  '/api/balance',
  '/api/spool',
  '/api/session',
  '/api/openapi.json',
  '/vendor/swagger-ui.js',
]
const changes: readonly (readonly [path: string, body: object])[] = [
  ['/api/dead/replay', { all: true }],
  ['/api/dead/drop', { all: true }],
  ['/api/spool/replay', { from: 0 }],
]

async function serves(t: Test, { post, request }: Guarded, what: string) {
  const login = await post('/api/login', { user: 'root', password: 'sesame-root' })
  const cookie = (login.headers.get('set-cookie') ?? '').split(';')[0] as string
  t.equal((await request('/api/series', { headers: { cookie } })).status, 200, `serves: ${what}`)
}

t.test('strangers reach nothing but the door', async t => {
  const hub = await startGuarded(t)
  for (const path of secrets) {
    const { status, headers } = await hub.request(path)
    const isPage = path === '/' || path === '/index.html'
    t.equal(status, isPage ? 302 : 401, path)
    if (path === '/') t.equal(headers.get('location'), '/login')
  }
  for (const [path, body] of changes) t.equal((await hub.post(path, body)).status, 401, path)
  t.equal((await hub.post('/api/session/token', {})).status, 401)
  for (const path of ['/api/nothing', '/wp-admin', '/.env', '/logins.json', '/api']) {
    t.equal((await hub.request(path)).status, 401, `${path}: whether it is there is nothing for strangers`)
  }
  t.same(hub.reached, [])
  t.same(await (await hub.request('/readyz')).json(), { ready: true }, 'not what it depends on')
  t.same(await (await hub.request('/healthz')).json(), { healthy: true })
  const { headers } = await hub.request('/api/series')
  t.equal(headers.get('www-authenticate'), 'Bearer realm="telehub"', 'no window that asks for a password')
  t.match(await (await hub.request('/api/series')).json(), { error: 'unauthorized', message: /Basic is not supported/ })
  await serves(t, hub, 'strangers')
})

t.test('what is no cookie of ours', async t => {
  const hub = await startGuarded(t)
  const other = await startGuarded(t)
  const theirs = await other.signIn('root', 'sesame-root')
  const mine = await hub.signIn('root', 'sesame-root')
  const value = mine.slice('telehub='.length)
  const { token } = hub.logins.token(hub.logins.find(value)?.login ?? '')
  const cookies: readonly (readonly [string, string])[] = [
    ['empty', 'telehub='],
    ['no value', 'telehub'],
    ['forged', `telehub=${'A'.repeat(27)}`],
    ['of another hub', theirs],
    ['one letter changed', mine.slice(0, -1) + (mine.at(-1) === 'A' ? 'B' : 'A')],
    ['cut', mine.slice(0, -1)],
    ['longer', `${mine}A`],
    ['of another name', `session=${value}`],
    ['of another case', `TELEHUB=${value}`],
    ['of TLS, without it', `__Host-telehub=${value}`],
    ['a hash of it', `telehub=${createHash('sha256').update(value).digest('base64url')}`],
    ['a token of it', `telehub=${token}`],
    ['the name of a login', `telehub=${hub.logins.find(value)?.login}`],
    ['a name of every object', 'telehub=__proto__'],
    ['quoted', `telehub="${value}"`],
    ['encoded', `telehub=%41${value.slice(1)}`],
    ['very long', `telehub=${'A'.repeat(8_000)}`],
    ['many', 'a=b; '.repeat(2_000)],
  ]
  for (const [name, cookie] of cookies) {
    t.equal((await hub.request('/api/series', { headers: { cookie } })).status, 401, name)
  }
  t.same(hub.reached, [])
  t.equal((await hub.request('/api/series', { headers: { cookie: `x=y; ${mine}; z` } })).status, 200)
})

t.test('a cookie after its end', async t => {
  const hub = await startGuarded(t)
  const statusOf = async (cookie: string) => (await hub.request('/api/series', { headers: { cookie } })).status
  const out = await hub.signIn('ann', 'sesame-ann')
  const stays = await hub.signIn('ann', 'sesame-ann')
  t.equal(await statusOf(out), 200)
  const left = await hub.post('/api/logout', {}, { cookie: out })
  t.equal(left.status, 204)
  t.match(left.headers.get('set-cookie'), /^telehub=; Path=\/; Max-Age=0; HttpOnly; SameSite=Strict$/)
  t.equal(await statusOf(out), 401, 'after logout')
  t.equal(await statusOf(stays), 200, 'another browser of the same user stays signed in')

  await hub.set('ann', 'dashboard', 'changed')
  t.equal(await statusOf(stays), 401, 'after the password was changed')
  await hub.set('ann', 'dashboard', 'sesame-ann')
  t.equal(await statusOf(stays), 401, 'also when it is changed back')

  const demoted = await hub.signIn('ann', 'sesame-ann')
  await hub.set('ann', 'device', 'sesame-ann')
  t.equal(await statusOf(demoted), 401, 'after it became a device')
  await hub.set('ann', 'dashboard', 'sesame-ann')
  const removed = await hub.signIn('ann', 'sesame-ann')
  await hub.remove('ann')
  t.equal(await statusOf(removed), 401, 'after it was removed')
  t.equal((await hub.post('/api/logout', {}, { cookie: removed })).status, 204, 'signing out twice is no fault')
})

t.test('without a body, whatever it is said to be', async t => {
  const hub = await startGuarded(t)
  for (const [name, headers] of [
    ['JSON', { 'content-type': 'application/json' }],
    ['JSON with a charset', { 'content-type': 'application/json; charset=utf-8' }],
    ['nothing', {}],
  ] as const) {
    const cookie = await hub.signIn('ann', 'sesame-ann')
    const post = (path: string) => hub.request(path, { method: 'POST', headers: { cookie, ...headers } })
    const token = await post('/api/session/token')
    t.equal(token.status, 200, `${name}: a token`)
    t.match(await token.json(), { username: 'ann', password: /^tht_/ })
    t.equal((await post('/api/logout')).status, 204, `${name}: signed out`)
    t.equal((await hub.request('/api/series', { headers: { cookie } })).status, 401, `${name}: it has ended`)
    for (const path of ['/api/login', '/api/pair']) t.equal((await post(path)).status, 400, path)
  }
})

t.test('the cookie itself', async t => {
  const hub = await startGuarded(t, { proxies: ['127.0.0.1'] })
  const login = (headers: Record<string, string>) =>
    hub.post('/api/login', { user: 'ann', password: 'sesame-ann' }, headers)
  t.match(
    (await login({})).headers.get('set-cookie'),
    /^telehub=[\w-]{27}; Path=\/; Max-Age=3600; HttpOnly; SameSite=Strict$/,
  )
  const secure = (await login({ 'x-forwarded-proto': 'https' })).headers.get('set-cookie')
  t.match(secure, /^__Host-telehub=[\w-]{27}; Path=\/; Max-Age=3600; HttpOnly; SameSite=Strict; Secure$/)
  const plain = await startGuarded(t)
  const claimed = await plain.post(
    '/api/login',
    { user: 'ann', password: 'sesame-ann' },
    { 'x-forwarded-proto': 'https' },
  )
  t.match(claimed.headers.get('set-cookie'), /^telehub=/, 'who is no proxy is not believed')

  const put = `telehub=${'B'.repeat(27)}`
  const response = await plain.post('/api/login', { user: 'ann', password: 'sesame-ann' }, { cookie: put })
  t.notMatch(response.headers.get('set-cookie'), put)
  t.equal((await plain.request('/api/series', { headers: { cookie: put } })).status, 401, 'session fixation')
  const first = await plain.signIn('ann', 'sesame-ann')
  await plain.post('/api/login', { user: 'root', password: 'sesame-root' }, { cookie: first })
  t.equal((await plain.request('/api/series', { headers: { cookie: first } })).status, 401, 'one that was good before')
})

t.test('signing in with what is no password', async t => {
  const hub = await startGuarded(t)
  const key = await hub.set('keyed', 'admin', 'sesame')
  const cookie = await hub.signIn('root', 'sesame-root')
  const { token } = hub.logins.token(hub.logins.find(cookie.slice(8))?.login ?? '')
  const attempts: readonly (readonly [string, unknown, number])[] = [
    ['a wrong password', { user: 'root', password: 'sesame' }, 401],
    ['no such user', { user: 'nobody', password: 'sesame' }, 401],
    ['a name of every object', { user: '__proto__', password: 'x' }, 401],
    ['an API key', { user: 'keyed', password: key }, 401],
    ['a token', { user: 'root', password: token }, 401],
    ['the admin key', { user: 'root', password: hub.adminKey }, 401],
    ['a device', { user: 'thermo', password: 'sesame-thermo' }, 403],
    ['a service', { user: 'grafana', password: 'sesame-grafana' }, 403],
    ['nothing', {}, 400],
    ['objects', { user: { $ne: '' }, password: { $ne: '' } }, 400],
    ['more than asked', { user: 'root', password: 'sesame-root', kind: 'admin' }, 400],
    ['a prototype', '{"user":"root","password":"x","__proto__":{"kind":"admin"}}', 400],
    ['a constructor', '{"user":"root","password":"x","constructor":{"prototype":{"kind":"admin"}}}', 400],
    ['a long name', { user: 'r'.repeat(65), password: 'x' }, 400],
    ['a long password', { user: 'root', password: 'x'.repeat(1_025) }, 400],
    ['a huge body', { user: 'root', password: 'x'.repeat(10_000_000) }, 413],
    ['no JSON', '{"user":', 400],
    ['null', 'null', 400],
  ]
  for (const [name, body, status] of attempts) {
    // One that is too large is cut off while it is sent.
    const answer = await hub.post('/api/login', body).catch(() => undefined)
    if (answer || status !== 413) t.equal(answer?.status, status, name)
    t.notOk(answer?.headers.get('set-cookie'), `${name}: no cookie`)
  }
  const { message: unknown } = (await (await hub.post('/api/login', { user: 'nobody', password: 'x' })).json()) as {
    message: string
  }
  const { message: wrong } = (await (await hub.post('/api/login', { user: 'root', password: 'x' })).json()) as {
    message: string
  }
  t.equal(unknown, wrong, 'who is a user is not said')
  await serves(t, hub, 'bad logins')
})

t.test('a password that changes while it is checked opens nothing', async t => {
  const hub = await startGuarded(t)
  const authenticate = hub.authority.authenticate.bind(hub.authority)
  hub.authority.authenticate = (credentials, done) =>
    authenticate(credentials, verdict => void hub.set('ann', 'dashboard', 'changed').then(() => done(verdict)))
  t.equal((await hub.post('/api/login', { user: 'ann', password: 'sesame-ann' })).status, 401)
})

t.test('pages of other sites', async t => {
  const hub = await startGuarded(t)
  const cookie = await hub.signIn('root', 'sesame-root')
  const json = 'application/json'
  const attempts: readonly (readonly [string, Record<string, string>, number])[] = [
    ['another origin', { origin: 'https://evil.example', 'content-type': json }, 403],
    ['no origin to speak of', { origin: 'null', 'content-type': json }, 403],
    ['our host as a part of theirs', { origin: `${hub.url}.evil.example`, 'content-type': json }, 403],
    ['our host as their user', { origin: `http://127.0.0.1:${hub.port}@evil.example`, 'content-type': json }, 403],
    ['another port of this host', { origin: 'http://127.0.0.1:1', 'content-type': json }, 403],
    ['another name of this host', { origin: `http://localhost:${hub.port}`, 'content-type': json }, 403],
    ['a file', { origin: 'file://', 'content-type': json }, 403],
    ['cross-site, without an origin', { 'sec-fetch-site': 'cross-site', 'content-type': json }, 403],
    [
      'cross-site, that says it is ours',
      { origin: hub.url, 'sec-fetch-site': 'cross-site', 'content-type': json },
      403,
    ],
    ['a form', { origin: 'https://evil.example', 'content-type': 'application/x-www-form-urlencoded' }, 403],
    ['a form without an origin', { 'content-type': 'application/x-www-form-urlencoded' }, 415],
    ['a form with files', { 'content-type': 'multipart/form-data; boundary=x' }, 415],
    ['a form of text', { 'content-type': 'text/plain' }, 415],
    ['JSON that calls itself text', { 'content-type': 'text/plain; application/json' }, 415],
    ['XML', { 'content-type': 'application/xml' }, 415],
  ]
  for (const [name, headers, status] of attempts) {
    for (const [path, body] of [...changes, ['/api/session/token', {}] as const]) {
      const answer = await hub.request(path, {
        method: 'POST',
        headers: { cookie, ...headers },
        body: JSON.stringify(body),
      })
      t.equal(answer.status, status, `${name}: ${path}`)
    }
  }
  const untyped = await hub.raw(
    `POST /api/dead/drop HTTP/1.1\r\nHost: 127.0.0.1:${hub.port}\r\nConnection: close\r\nCookie: ${cookie}\r\nContent-Length: 12\r\n\r\n{"all":true}`,
  )
  t.match(untyped, /^HTTP\/1.1 (400|415)/, 'no content type')
  t.same(hub.reached, [])
  for (const path of ['/api/series', '/api/login']) {
    const headers = { origin: 'https://evil.example', 'access-control-request-method': 'POST' }
    const answer = await hub.request(path, { method: 'OPTIONS', headers })
    t.ok(answer.status >= 400, 'asked before')
    const read = await hub.request(path, { headers: { cookie, origin: 'https://evil.example' } })
    for (const { headers: got } of [answer, read]) {
      t.notOk(
        [...got.keys()].some(name => name.startsWith('access-control')),
        'no CORS',
      )
    }
  }
  t.equal(
    (await hub.post('/api/dead/drop', { all: true }, { cookie, origin: hub.url, 'sec-fetch-site': 'same-origin' }))
      .status,
    200,
  )
  t.equal(
    (await hub.post('/api/login', { user: 'ann', password: 'sesame-ann' }, { origin: 'https://evil.example' })).status,
    403,
    'login CSRF',
  )
})

t.test('ways around by the path', async t => {
  const hub = await startGuarded(t)
  const paths = [
    '//api/dead',
    '///api/dead',
    '/api//dead',
    '/api/dead/',
    '/api/./dead',
    '/api/../api/dead',
    '/login/../api/dead',
    '/healthz/../api/dead',
    '/healthz/..%2fapi/dead',
    '/healthz%2f..%2fapi%2fdead',
    '/%61pi/dead',
    '/api%2fdead',
    '/api%252fdead',
    '/API/dead',
    '/api/dead;x=/healthz',
    '/api/dead?/healthz',
    '/api/dead%00',
    '/api/dead%20',
    '/api/dead.json',
    '/api/dead#/healthz',
    '/api\\dead',
    '/./api/dead',
    '/../../../../etc/passwd',
    '/..%2f..%2f..%2f..%2fetc%2fpasswd',
    '/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd',
    '/..\\..\\etc\\passwd',
    '/....//....//etc/passwd',
    '/vendor/../main.js',
    '/vendor/..%2f..%2fcli.js',
    '/login.html/../main.js',
    '*',
    'http://127.0.0.1/api/dead',
    'http://evil.example/api/dead',
    'api/dead',
    `/${'a/'.repeat(4_000)}`,
  ]
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PROPFIND', 'DELETE', 'PUT', 'PATCH']) {
    for (const path of ['/api/dead', ...paths]) {
      const answer = await hub.raw(
        `${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1:${hub.port}\r\nConnection: close\r\n\r\n`,
      )
      t.notMatch(answer, /^HTTP\/1\.1 [25]/, `${method} ${path.slice(0, 40)}`)
      t.notMatch(answer, /root:|"dead"|import /, 'nothing is in it')
    }
  }
  t.same(hub.reached, [])
  await serves(t, hub, 'odd paths')
})

t.test('what is served to one who is signed in stays in its folder', async t => {
  const hub = await startGuarded(t)
  const cookie = await hub.signIn('ann', 'sesame-ann')
  for (const path of [
    '/../cli.js',
    '/..%2fcli.js',
    '/%2e%2e/cli.js',
    '/vendor/..%2f..%2fcli.js',
    '//etc/passwd',
    '/vendor/%2fetc%2fpasswd',
  ]) {
    const answer = await hub.raw(
      `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${hub.port}\r\nCookie: ${cookie}\r\nConnection: close\r\n\r\n`,
    )
    t.match(answer, /^HTTP\/1\.1 4/, path)
  }
})

t.test('other methods, and headers that would make another one of it', async t => {
  const hub = await startGuarded(t)
  const cookie = await hub.signIn('ann', 'sesame-ann')
  for (const name of ['x-http-method-override', 'x-http-method', 'x-method-override']) {
    const answer = await hub.request('/api/dead/drop?_method=POST', { headers: { cookie, [name]: 'POST' } })
    t.equal(answer.status, 404, name)
  }
  for (const name of ['x-original-url', 'x-rewrite-url', 'x-forwarded-uri', 'x-forwarded-prefix']) {
    t.equal((await hub.request('/api/spool', { headers: { [name]: '/healthz' } })).status, 401, name)
  }
  for (const [name, value] of [
    ['x-forwarded-user', 'root'],
    ['x-remote-user', 'root'],
    ['x-forwarded-for', '127.0.0.1'],
    ['x-real-ip', '127.0.0.1'],
    ['forwarded', 'for=127.0.0.1'],
  ] as const) {
    t.equal((await hub.request('/api/spool', { headers: { [name]: value } })).status, 401, name)
  }
  t.same(hub.reached, [])
})

t.test('requests in requests', async t => {
  const hub = await startGuarded(t)
  const inner = 'GET /api/dead HTTP/1.1\r\nHost: x\r\n\r\n'
  const host = `Host: 127.0.0.1:${hub.port}`
  const attempts: readonly (readonly [string, string])[] = [
    [
      'both lengths',
      `POST /api/logout HTTP/1.1\r\n${host}\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${inner}`,
    ],
    [
      'two lengths',
      `POST /api/logout HTTP/1.1\r\n${host}\r\nContent-Length: 0\r\nContent-Length: ${inner.length}\r\n\r\n${inner}`,
    ],
    [
      'a length with a sign',
      `POST /api/logout HTTP/1.1\r\n${host}\r\nContent-Length: +${inner.length}\r\n\r\n${inner}`,
    ],
    ['an encoding that is none', `POST /api/logout HTTP/1.1\r\n${host}\r\nTransfer-Encoding: xchunked\r\n\r\n${inner}`],
    [
      'a space before the colon',
      `POST /api/logout HTTP/1.1\r\n${host}\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n${inner}`,
    ],
    [
      'a folded header',
      `GET /healthz HTTP/1.1\r\n${host}\r\nX: a\r\n b: c\r\nTransfer-Encoding:\r\n chunked\r\n\r\n${inner}`,
    ],
    ['no host', 'GET /healthz HTTP/1.1\r\n\r\n'],
    ['two hosts', `GET /healthz HTTP/1.1\r\n${host}\r\nHost: evil.example\r\nConnection: close\r\n\r\n`],
    ['headers without an end', `GET /healthz HTTP/1.1\r\n${host}\r\nX: ${'a'.repeat(40_000)}\r\n\r\n`],
    ['a NUL in a header', `GET /healthz HTTP/1.1\r\n${host}\r\nCookie: telehub=\0\r\n\r\n`],
    ['no HTTP', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n'],
    ['MQTT', '\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00\r\n\r\n'],
  ]
  for (const [name, text] of attempts) {
    const answer = await hub.raw(
      text.includes('Connection') ? text : text.replace(host, `${host}\r\nConnection: close`),
    )
    t.notMatch(answer, /"dead"/, name)
    for (const [, status] of answer.matchAll(/HTTP\/1\.1 (\d)/g))
      t.ok('24'.includes(status as string), `${name}: ${status}xx`)
  }
  const malformed = await hub.raw('GET\r\n\r\n')
  t.match(
    malformed,
    /^HTTP\/1.1 400.*content-security-policy: .*\{"error":"bad_request"/s,
    'refused as everything else is',
  )
  t.same(hub.reached, [])
  await serves(t, hub, 'bytes')
})

t.test('keys that are none', async t => {
  const hub = await startGuarded(t)
  const key = await hub.set('grafana', 'service', 'sesame-grafana')
  const cookie = await hub.signIn('root', 'sesame-root')
  const { token } = hub.logins.token(hub.logins.find(cookie.slice(8))?.login ?? '')
  const statusOf = async (authorization: string, path = '/api/series') =>
    (await hub.request(path, { headers: { authorization } })).status
  t.equal(await statusOf(`Bearer ${key}`), 200)
  t.equal(await statusOf(`Bearer ${hub.adminKey}`), 200)
  const [, id = '', secret = ''] = key.split('_')
  for (const [name, given] of [
    ['nothing', ''],
    ['no key', 'Bearer'],
    ['empty', 'Bearer '],
    ['another id', `Bearer thk_aaaaaaaa_${secret}`],
    ['no id', `Bearer thk__${secret}`],
    ['another secret', `Bearer thk_${id}_${'A'.repeat(27)}`],
    ['no secret', `Bearer thk_${id}_`],
    ['its hash', `Bearer thk_${id}_${hub.authority.user('grafana')?.keys[0]?.hash}`],
    ['very long', `Bearer thk_${id}_${'A'.repeat(8_000)}`],
    ['a token of a page', `Bearer ${token}`],
    ['a cookie', `Bearer ${cookie.slice(8)}`],
    ['the admin key, cut', `Bearer ${hub.adminKey.slice(0, -1)}`],
    ['the admin key, longer', `Bearer ${hub.adminKey}A`],
    ['a password', 'Bearer sesame-root'],
    ['HTTP Basic', `Basic ${Buffer.from('root:sesame-root').toString('base64')}`],
    ['HTTP Basic with a key', `Basic ${Buffer.from(`:${key}`).toString('base64')}`],
    ['Digest', 'Digest username="root"'],
  ] as const) {
    t.equal(await statusOf(given), 401, name)
  }
  t.equal(
    (await hub.request(`/api/series?key=${key}&access_token=${key}`)).status,
    401,
    'not in an address, which is logged',
  )
  const both = { cookie, authorization: 'Bearer x' }
  t.equal((await hub.request('/api/series', { headers: both })).status, 401, 'a wrong key is not mended by a cookie')
  t.equal(
    (await hub.request('/api/session/token', { method: 'POST', headers: { authorization: `Bearer ${key}` } })).status,
    403,
  )
})

t.test('kinds: what each may not', async t => {
  const hub = await startGuarded(t)
  const narrow = ['allow read home/#']
  const keys = {
    device: await hub.set('dev', 'device', 'x'),
    service: await hub.set('svc', 'service', 'x'),
    narrow: await hub.set('some', 'service', 'x', narrow),
    denied: await hub.set('most', 'dashboard', 'x', ['allow read #', 'deny read home/secret']),
    dashboard: await hub.set('ui', 'dashboard', 'x'),
    admin: await hub.set('adm', 'admin', 'x'),
    own: hub.adminKey,
  }
  const reads = [
    '/api/series',
    '/api/history?series=a%20b',
    '/api/devices',
    '/metrics',
    '/api/session',
    '/api/openapi.json',
  ]
  const all = ['/api/dead', '/api/balance', '/api/spool']
  for (const [who, key] of Object.entries(keys)) {
    const headers = { authorization: `Bearer ${key}` }
    for (const path of reads)
      t.equal((await hub.request(path, { headers })).status, who === 'device' ? 403 : 200, `${who}: ${path}`)
    const mayAll = ['service', 'dashboard', 'admin', 'own'].includes(who)
    for (const path of all)
      t.equal((await hub.request(path, { headers })).status, mayAll ? 200 : 403, `${who}: ${path}`)
    const mayChange = who === 'admin' || who === 'own'
    for (const [path, body] of changes) {
      t.equal((await hub.post(path, body, headers)).status, mayChange ? 200 : 403, `${who}: ${path}`)
    }
  }
  const why = async (key: string, path: string) =>
    ((await (await hub.request(path, { headers: { authorization: `Bearer ${key}` } })).json()) as { message: string })
      .message
  t.match(await why(keys.device, '/api/series'), /user dev is a device, and devices may use MQTT only/)
  t.match(await why(keys.narrow, '/api/dead'), /user some may not read every topic/)
})

t.test('a login gives the page what it needs, and not more', async t => {
  const hub = await startGuarded(t)
  const cookie = await hub.signIn('ann', 'sesame-ann')
  t.same(await (await hub.request('/api/session', { headers: { cookie } })).json(), {
    auth: 'required',
    user: 'ann',
    kind: 'dashboard',
    mayChange: false,
  })
  const given = await hub.post('/api/session/token', {}, { cookie })
  const { username, password, expires } = (await given.json()) as {
    username: string
    password: string
    expires: number
  }
  t.equal(username, 'ann')
  t.ok(expires > Date.now())
  t.match(hub.logins.verify(password), { user: 'ann' })
  t.match(given.headers.get('set-cookie'), cookie, 'the browser keeps it as long as the hub')
  t.equal((await hub.post('/api/dead/drop', { all: true }, { cookie })).status, 403)
  t.match(await (await hub.request('/readyz', { headers: { cookie } })).json(), { dependencies: [{}] })
  await hub.post('/api/logout', {}, { cookie })
  t.equal(hub.logins.verify(password), undefined, 'its token ends with it')
})

t.test('who shows nothing, where that is allowed', async t => {
  const hub = await startGuarded(t, { anonymous: true })
  t.equal((await hub.request('/api/series')).status, 401, 'there is no user anonymous')
  await hub.set('anonymous', 'device', '')
  t.equal((await hub.request('/api/series')).status, 401, 'a device')
  await hub.set('anonymous', 'dashboard', '', ['allow read home/#'])
  t.match(await (await hub.request('/api/session')).json(), { auth: 'anonymous', user: 'anonymous', mayChange: false })
  t.equal((await hub.request('/api/dead')).status, 403)
  t.equal((await hub.post('/api/dead/drop', { all: true })).status, 403)
  t.same(await (await hub.post('/api/session/token', {})).json(), {})
  t.equal(
    (await hub.request('/api/series', { headers: { authorization: 'Bearer x' } })).status,
    401,
    'a wrong key is not nothing',
  )
})

t.test('guessing', async t => {
  const hub = await startGuarded(t)
  // Of a secret that nobody can guess every attempt may be heard; this one people chose.
  await hub.set('eve', 'admin', await hashPassword('sesame-eve'))
  for (let i = 0; i < 20; i++)
    t.equal((await hub.post('/api/login', { user: 'eve', password: `guess${i}` })).status, 401)
  const late = await hub.post('/api/login', { user: 'eve', password: 'sesame-eve' })
  t.equal(late.status, 429, 'a login flood: also the right one is not heard')
  t.ok(Number(late.headers.get('retry-after')) > 0)
  t.match(await late.json(), { error: 'too_many' })
  await serves(t, hub, 'another user')
})

t.test('redirects lead to this hub alone', async t => {
  const hub = await startGuarded(t)
  for (const path of ['/?next=//evil.example', '/?next=https://evil.example', '/index.html?next=//evil.example']) {
    t.match((await hub.request(path)).headers.get('location'), /^\/(login)?$/, path)
  }
  for (const path of [
    '//evil.example',
    '//evil.example/..',
    '/\\evil.example',
    '/%0d%0alocation:%20https://evil.example',
    '/login/',
  ]) {
    const answer = await hub.raw(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`)
    t.notMatch(answer, /^location: (?!\/login\r)/im, path)
  }
})

t.test('the description of the API says who may ask, and how', async t => {
  const hub = await startGuarded(t)
  const headers = { authorization: `Bearer ${hub.adminKey}` }
  const description = (await (await hub.request('/api/openapi.json', { headers })).json()) as {
    readonly paths: Readonly<Record<string, Readonly<Record<string, { readonly security?: readonly unknown[] }>>>>
    readonly security: readonly unknown[]
    readonly components: { readonly securitySchemes: object }
  }
  t.same(description.security, [{ cookie: [] }, { key: [] }])
  t.same(Object.keys(description.components.securitySchemes), ['cookie', 'key'])
  const { paths } = description
  for (const path of ['/api/login', '/api/logout', '/api/pair']) t.same(paths[path]?.post?.security, [], path)
  t.ok(paths['/api/session']?.get && !paths['/api/session'].get.security)
  t.ok(paths['/api/session/token']?.post && !paths['/api/session/token'].post.security)
})
