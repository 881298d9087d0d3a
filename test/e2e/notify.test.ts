import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Answer } from '../../src/contract/contract.js'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { asAdmin, connectMqtt, eventually, metric, type RunningHub, runCli, startHub } from '../harness.js'
import { type PushService, pushAuthority, startPushService } from '../services/push-service.js'
import { tempDir } from '../services/service.js'

const rules = `rules:
  freezer-warm: { measurement: telemetry, field: temperature, above: -15, severity: critical }
`

const targets = `
targets:
  phones: { type: web-push, private: true }
  bus: { type: mqtt, topic: home/siren }
routes:
  - { targets: [phones, bus], group: 0s, severity: critical }
`

async function post(hub: RunningHub, path: string, body: unknown, headers: Readonly<Record<string, string>>) {
  const response = await fetch(hub.httpUrl + path, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

async function signIn(hub: RunningHub, user: string): Promise<{ readonly cookie: string }> {
  const response = await fetch(`${hub.httpUrl}/api/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ user, password: passwordOf(user) }),
  })
  return { cookie: (response.headers.get('set-cookie') ?? '').split(';')[0] ?? '' }
}

async function subscribe(hub: RunningHub, service: PushService, user: string): Promise<string> {
  const cookie = await signIn(hub, user)
  const response = await fetch(`${hub.httpUrl}/api/notify/push`, { headers: cookie })
  const { publicKey } = (await response.json()) as Answer<'GET /api/notify/push'>
  const { status, body } = await post(hub, '/api/notify/push', service.subscribe(user, publicKey), cookie)
  if (status !== 200) throw new Error(JSON.stringify(body))
  return body.id as string
}

async function start(t: Test, dir: string, settings: Readonly<Record<string, string>> = {}) {
  return startHub(t, settings, dir, { NODE_EXTRA_CA_CERTS: pushAuthority })
}

t.test(
  'an alert on a phone: encrypted, for those who may read it, acknowledged by its button, over kill -9',
  async t => {
    const service = await startPushService()
    t.teardown(() => service.stop())
    const users = await usersFile()
    await users.add('anna', ['allow read #', 'allow read $hub/#'], { kind: 'dashboard' })
    await users.add('carl', ['allow read garden/#', 'allow read $hub/#'], { kind: 'dashboard' })
    await users.add('freezer', ['allow all home/#'])
    const dir = await tempDir()
    writeFileSync(join(dir, 'notify.yaml'), targets, { mode: 0o600 })
    writeFileSync(join(dir, 'alerts.yaml'), rules)
    const hub = await start(t, dir, users.settings)
    t.equal(statSync(join(dir, 'notify', 'keys.json')).mode & 0o777, 0o600)
    await subscribe(hub, service, 'anna')
    await subscribe(hub, service, 'carl')
    const device = await connectMqtt(t, hub.mqttUrl, {
      clientId: 'freezer',
      username: 'freezer',
      password: passwordOf('freezer'),
    })
    await device.publishAsync('home/kitchen/freezer/telemetry', '{"temperature":-18}', { qos: 1 })
    await device.publishAsync('home/kitchen/freezer/telemetry', '{"temperature":-7.3}', { qos: 1 })
    const pushed = await eventually(() => service.pushed[0], 'a notification')
    t.equal(pushed.browser, 'anna')
    t.match(pushed.headers, { urgency: 'high', ttl: '86400' })
    const notification = JSON.parse(pushed.text)
    t.match(notification, { title: /^Critical: /, severity: 'critical', state: 'firing', url: /^\/(#device=.*)?$/ })

    await hub.kill()
    const again = await start(t, dir, users.settings)
    const { status, body } = await post(again, '/api/notify/acknowledge', { token: notification.token }, {})
    t.same([status, body], [200, { acknowledged: 1 }])
    const { alerts } = (await again.get<Answer<'GET /api/alerts'>>('/api/alerts')).body
    t.match(alerts, [{ state: 'acknowledged', by: 'anna' }])
    t.same((await post(again, '/api/notify/acknowledge', { token: notification.token }, {})).body, { acknowledged: 0 })
    t.equal((await post(again, '/api/notify/acknowledge', { token: 'forged' }, {})).status, 403)

    await users.edit(file => file.removeUser('anna'))
    await eventually(
      async () => (await post(again, '/api/notify/acknowledge', { token: notification.token }, {})).status === 403,
      'the token ends with the user',
    )
    t.same(service.faults, [])
    t.ok(
      service.pushed.every(({ browser }) => browser === 'anna'),
      'carl may not read it',
    )
  },
)

t.test(
  'a push service that fails is an alarm; a browser that is gone is forgotten; nothing secret is said',
  async t => {
    const service = await startPushService()
    t.teardown(() => service.stop())
    const users = await usersFile()
    await users.add('anna', ['allow read #', 'allow read $hub/#'], { kind: 'admin' })
    const dir = await tempDir()
    writeFileSync(join(dir, 'notify.yaml'), targets, { mode: 0o600 })
    const hub = await start(t, dir, users.settings)
    const id = await subscribe(hub, service, 'anna')
    const telehub = async (...args: string[]) => {
      const run = runCli(['notify', ...args, '--url', hub.httpUrl, '--data.dir', dir])
      return { code: await run.exited, text: run.stdout() + run.stderr() }
    }
    t.match(await telehub('test', 'phones'), { code: 0, text: /the test was taken: phones, 1 receiver/ })
    t.match(JSON.parse(service.pushed[0]?.text ?? ''), { title: /^Test: / })
    t.match(await telehub('test', 'bus'), { code: 0 })
    t.match(await telehub('test', 'nobody'), { code: 1, text: /there is no target nobody/ })

    const { endpoint } = JSON.parse(readFileSync(join(dir, 'notify', 'subscriptions.json'), 'utf8'))[0]
    service.answer = response => response.writeHead(503).end(`not now, ${endpoint}`)
    t.match(await telehub('test', 'phones'), {
      code: 1,
      text: /target phones fails: answers with 503: not now, \*\*\*/,
    })
    service.answer = response => response.writeHead(410).end()
    const { code } = await telehub('test', 'phones')
    t.equal(code, 1)
    service.answer = undefined

    const cookie = await signIn(hub, 'anna')
    const refused = { endpoint: 'http://push.example.org/1', keys: { p256dh: 'x', auth: 'x' } }
    t.equal((await post(hub, '/api/notify/push', refused, cookie)).status, 400)
    t.equal((await post(hub, '/api/notify/push', service.subscribe('x', ''), asAdmin(dir))).status, 403, 'no user')
    const list = await fetch(`${hub.httpUrl}/api/notify/push`, { headers: cookie })
    t.notMatch(await list.text(), endpoint)
    const ended = await fetch(`${hub.httpUrl}/api/notify/push?id=${id}`, { method: 'DELETE', headers: cookie })
    t.equal(ended.status, 204)
    t.equal(await metric(hub, 'telehub_notifications_waiting{target="phones"}'), 0)
    for (const text of [hub.log(), JSON.stringify((await hub.get('/readyz')).body), (await telehub('list')).text])
      t.notMatch(text, endpoint)
  },
)

t.test('telehub check lists the mistakes of the file', async t => {
  const dir = await tempDir()
  const file = join(dir, 'targets.yaml')
  const check = async () => {
    const run = runCli(['check', '--notify.file', file, '--data.dir', dir], { PASSWORD: 'open-sesame' })
    return { code: await run.exited, text: run.stdout() + run.stderr() }
  }
  t.match(await check(), { code: 2, text: /notify\.file: there is no file/ })
  writeFileSync(file, `targets: { mail: { type: email, host: "\${PASSWORD}", to: "\${MISSING}" } }\nroutes: [{}]\n`)
  chmodSync(file, 0o644)
  t.match(await check(), { code: 2, text: /chmod 600/ })
  chmodSync(file, 0o600)
  const { code, text } = await check()
  t.equal(code, 2)
  for (const place of [/targets\.mail\.from: missing/, /"\$\{MISSING\}" is not set/, /routes\.1\.targets/]) {
    t.match(text, place)
  }
  t.notMatch(text, /open-sesame/)
})
