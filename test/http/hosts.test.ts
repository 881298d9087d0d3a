import type { IncomingMessage } from 'node:http'
import t from 'tap'
import { Guard } from '../../src/http/guard.js'
import { HttpRefusals } from '../../src/http/refusals.js'
import { type Guarded, startGuarded } from './guarded.js'

/** The status of a request that asks by this host. */
async function statusBy(host: string, of: Guarded, more = '', path = '/api/series'): Promise<string> {
  return (await of.raw(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n${more}\r\n`)).slice(9, 12)
}

t.test('a name that leads to the hub (DNS rebinding), where strangers are let in', async t => {
  const anonymous = await startGuarded(t, { host: '0.0.0.0', anonymous: true })
  await anonymous.set('anonymous', 'dashboard', '')
  const hubs: readonly (readonly [string, Guarded])[] = [
    ['on loopback', await startGuarded(t, { authority: undefined })],
    ['on every address', await startGuarded(t, { authority: undefined, host: '0.0.0.0', anonymous: true })],
    ['with users', anonymous],
  ]
  for (const [what, hub] of hubs) {
    for (const host of [
      `127.0.0.1:${hub.port}`,
      '127.0.0.1',
      'localhost',
      `LOCALHOST:${hub.port}`,
      'telehub.localhost',
      '[::1]:80',
      '[2001:db8::7]',
      '192.0.2.1',
      '203.0.113.7:8080',
      'hub',
      'raspberry_pi:8080',
      'hub.local',
      'Hub.Local:8080',
      'hub.lan',
      'hub.home',
      'hub.home.arpa',
      'hub.office.internal',
      'hub.localdomain',
    ]) {
      t.equal(await statusBy(host, hub), '200', `${what}: ${host}`)
    }
    const before = hub.reached.length
    for (const host of [
      'evil.example',
      `evil.example:${hub.port}`,
      'hub.evil.example',
      'localhost.evil.example',
      'hub.local.evil.example',
      'evil.notlocal',
      'hub.lan.example',
      'home.arpa.example',
      'evil.arpa',
      '127.0.0.1.evil.example',
      'evil.example#localhost',
      'localhost@evil.example',
      '"',
      `${'x'.repeat(5_000)}.example`,
    ]) {
      for (const path of ['/api/series', '/', '/login', '/metrics', '/healthz'])
        t.match(await statusBy(host, hub, '', path), /40[03]/, `${what}: ${host}: ${path}`)
      const upgrade = 'Upgrade: websocket\r\n'
      const answer = await hub.raw(`GET /mqtt HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\n${upgrade}\r\n`)
      t.match(answer, /^HTTP\/1.1 40[03] /, `${what}: ${host}: no WebSocket`)
    }
    for (const name of ['x-forwarded-host', 'x-forwarded-for', 'x-host', 'forwarded']) {
      t.equal(await statusBy('evil.example', hub, `${name}: localhost\r\n`), '403', `${what}: ${name}`)
    }
    t.equal(hub.reached.length, before)
    const answer = await hub.raw('GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n')
    t.match(answer, /the host \\"evil\.example\\" is not accepted.*add it to ws\.origins/, `${what}: what to do`)
  }
})

t.test('names that are known all the same', async t => {
  const open = { authority: undefined, host: '0.0.0.0', anonymous: true }
  const named = await startGuarded(t, { ...open, origins: ['https://hub.example.org'] })
  t.equal(await statusBy('hub.example.org', named), '200', 'a name that ws.origins gives')
  t.equal(await statusBy('evil.example', named), '403')
  const everyone = await startGuarded(t, { ...open, origins: ['*'] })
  t.equal(await statusBy('evil.example', everyone), '200', 'every one, where ws.origins says so')
  const { logins, adminKey } = named
  const options = { origins: [], proxies: [], authority: undefined, anonymous: false, logins, adminKey }
  const audit = { record: () => {}, repeated: () => {} }
  const refusals = new HttpRefusals({ counters: { refuse: () => {} }, audit, log: { info: () => {} } })
  const guard = new Guard({ ...options, refusals, host: 'Hub.Example.org' })
  const faultOf = (host: string) => guard.hostFault({ headers: { host } } as IncomingMessage)
  t.equal(faultOf('hub.example.org:8080'), undefined, 'the host of the settings')
  t.match(faultOf('evil.example'), /ws\.origins/)
  const proxied = await startGuarded(t, { ...open, proxies: ['127.0.0.1'] })
  const forwarded = 'X-Forwarded-Host: hub.example.org\r\n'
  t.equal(await statusBy('hub.example.org', proxied, forwarded), '200', 'by a proxy that is trusted')
  t.equal(await statusBy('evil.example', proxied), '403')
  const asking = await startGuarded(t, { host: '0.0.0.0' })
  t.equal(await statusBy('hub.example.org', asking), '401', 'who asks everybody has nothing to fear from names')
})

t.test('where nobody is asked', async t => {
  const hub = await startGuarded(t, { authority: undefined })
  t.match(await (await hub.request('/api/session')).json(), { auth: 'open', mayChange: true })
  t.equal((await hub.request('/login')).headers.get('location'), '/')
  t.equal((await hub.post('/api/login', { user: 'root', password: 'x' })).status, 400)
})

t.test('a request with two Host headers is refused, as a proxy may have taken the other one', async t => {
  const hub = await startGuarded(t, { authority: undefined })
  const own = `127.0.0.1:${hub.port}`
  const more = (second: string) => `Host: ${second}\r\n`
  for (const [path, upgrade] of [
    ['/api/series', ''],
    ['/healthz', ''],
    ['/nothing', ''],
    ['/mqtt', 'Connection: upgrade\r\nUpgrade: websocket\r\n'],
  ] as const) {
    const before = hub.reached.length
    for (const second of [own, 'evil.example', '']) {
      t.equal(await statusBy(own, hub, more(second) + upgrade, path), '400', `${path} with ${second || 'an empty one'}`)
    }
    t.equal(hub.reached.length, before, 'and reaches nothing')
  }
  t.equal(await statusBy(own, hub), '200')
})
