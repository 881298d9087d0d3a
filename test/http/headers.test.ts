import t from 'tap'
import { securityHeaders } from '../../src/http/headers.js'
import { startGuarded } from './guarded.js'

t.test('headers: of every answer, whatever it is', async t => {
  const hub = await startGuarded(t)
  const cookie = await hub.signIn('root', 'sesame-root')
  const own = { headers: { cookie } }
  const answers: readonly (readonly [string, Response])[] = [
    ['the page', await hub.request('/', own)],
    ['a file', await hub.request('/main.js', own)],
    ['a library', await hub.request('/vendor/swagger-ui.js', own)],
    ['the API', await hub.request('/api/series', own)],
    ['a stream', await hub.post('/api/dead/drop', { all: true }, { cookie })],
    ['nothing there', await hub.request('/api/nothing', own)],
    ['no path', await hub.request('/%', own)],
    ['a redirect', await hub.request('/')],
    ['a refusal', await hub.request('/api/series')],
    ['a mistake', await hub.request('/api/history', own)],
    ['another method', await hub.request('/api/series', { ...own, method: 'DELETE' })],
    ['health', await hub.request('/healthz')],
  ]
  for (const [name, { headers }] of answers) {
    const policy = headers.get('content-security-policy') ?? ''
    t.match(policy, /default-src 'none'; .*frame-ancestors 'none'$/, name)
    t.match(policy, /script-src 'self';/, name)
    t.notMatch(policy, /unsafe|\*|https?:/, name)
    t.equal(headers.get('x-frame-options'), 'DENY', name)
    t.equal(headers.get('x-content-type-options'), 'nosniff', name)
    t.equal(headers.get('referrer-policy'), 'no-referrer', name)
    t.equal(headers.get('cross-origin-opener-policy'), 'same-origin', name)
    t.equal(headers.get('cross-origin-resource-policy'), 'same-origin', name)
    t.match(headers.get('permissions-policy'), /camera=\(\)/, name)
    const isFile = name === 'a file' || name === 'a library'
    t.equal(headers.get('cache-control') === 'no-store', !isFile, `${name}: ${headers.get('cache-control')}`)
    t.notOk(headers.get('strict-transport-security'))
    t.notOk(headers.get('server') ?? headers.get('x-powered-by'))
  }
  for (const host of ["x; script-src 'unsafe-inline'", "127.0.0.1 'unsafe-inline'", 'a,b']) {
    const answer = await hub.raw(`GET /healthz HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    t.notMatch(answer, /unsafe-inline|ws:/, 'a host that would write the policy')
  }
})

t.test('Strict-Transport-Security: over TLS, when it is set', async t => {
  const hsts = (ms?: number) =>
    securityHeaders({ hstsMs: ms })(undefined).find(([name]) => name === 'strict-transport-security')?.[1]
  t.equal(hsts(), undefined)
  t.equal(hsts(0), undefined)
  t.equal(hsts(365 * 864e5), 'max-age=31536000')
  const plain = await startGuarded(t, { hstsMs: 1e9 })
  t.notOk((await plain.request('/healthz')).headers.get('strict-transport-security'), 'not without TLS (RFC 6797 §7.2)')
})
