import { appendFileSync, readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import mqtt from 'mqtt'
import t from 'tap'
import { parseAuditLine } from '../../src/observe/audit-chain.js'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { connectMqtt, eventually, metric, type RunningHub, runCli, startHub } from '../harness.js'

/** What the audit log of a hub says, the oldest first. */
function audited(hub: RunningHub) {
  const dir = join(hub.dir, 'audit')
  const names = readdirSync(dir).sort()
  const lines = names.flatMap(name => readFileSync(join(dir, name), 'utf8').split('\n'))
  return lines.flatMap(line => parseAuditLine(line) ?? [])
}

/** Resolves when there is an event with these fields. */
function has(hub: RunningHub, fields: Readonly<Record<string, string | RegExp>>) {
  const fits = (line: object) =>
    Object.entries(fields).every(([name, expected]) => {
      const given = String((line as Record<string, unknown>)[name])
      return typeof expected === 'string' ? given === expected : expected.test(given)
    })
  return eventually(() => audited(hub).find(fits), `audited: ${JSON.stringify(fields)}`)
}

const telehub = async (hub: RunningHub, ...args: string[]) => {
  const run = runCli([...args, '--data.dir', hub.dir])
  return { code: await run.exited, out: run.stdout() + run.stderr() }
}

t.test('who came in, was refused, or changed something: by whom, from where, and every refusal is counted', async t => {
  const users = await usersFile()
  await users.add('thermo', ['allow publish home/thermo/#'])
  await users.add('root', ['allow all #'], { kind: 'admin' })
  const hub = await startHub(t, users.settings)
  const post = (path: string, body: object, headers: Readonly<Record<string, string>> = {}) =>
    fetch(hub.httpUrl + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    })
  const origin = { address: '127.0.0.1', via: 'http' }

  t.equal((await post('/api/login', { user: 'root', password: 'wrong' })).status, 401)
  await has(hub, {
    event: 'login',
    result: 'refused',
    reason: 'http_password',
    user: 'root',
    detail: /wrong password/,
    ...origin,
  })
  t.equal(
    (await fetch(`${hub.httpUrl}/api/series`, { headers: { authorization: 'Bearer thk_abcdefgh_x' } })).status,
    401,
  )
  await has(hub, { event: 'refused', reason: 'http_key', what: 'GET /api/series', ...origin })
  await fetch(`${hub.httpUrl}/readyz`, { headers: { authorization: 'Bearer nonsense' } })
  t.equal((await fetch(`${hub.httpUrl}/api/series?key=secret`)).status, 401)
  const bare = await has(hub, { event: 'refused', reason: 'http_unauthorized' })
  t.notMatch(JSON.stringify(bare), 'secret')
  t.equal((await post('/api/pair', { code: 'ABCD-EFGH-JKMN' })).status, 403)
  await has(hub, { event: 'pairing', result: 'refused', reason: 'http_pairing', ...origin })
  t.equal((await post('/api/login', {}, { origin: 'http://evil.example' })).status, 403)
  await has(hub, { event: 'refused', reason: 'http_cross_site' })
  t.equal((await post('/api/login', {})).status, 400)
  t.equal((await fetch(`${hub.httpUrl}/nothing`)).status, 401)
  for (const [reason, count] of Object.entries({
    password: 1,
    key: 2,
    unauthorized: 2,
    pairing: 1,
    cross_site: 1,
    bad_request: 1,
  })) {
    t.equal(await metric(hub, `telehub_refused_total{reason="http_${reason}"}`), count, reason)
  }
  t.match(hub.log(), /refused POST \/api\/login of 127\.0\.0\.1: wrong password for \\?"root/)

  const login = await post('/api/login', { user: 'root', password: passwordOf('root') })
  t.equal(login.status, 204)
  await has(hub, { event: 'login', result: 'ok', user: 'root', ...origin })
  const cookie = (login.headers.get('set-cookie') ?? '').split(';')[0] as string
  t.equal((await post('/api/dead/drop', { all: true }, { cookie })).status, 200)
  const drop = { event: 'change', user: 'root', what: 'drop of dead letters', ...origin }
  await has(hub, { ...drop, result: 'begun', detail: '{"all":true}' })
  await has(hub, { ...drop, result: 'ok', detail: /^0 done/ })
  const replay = await telehub(hub, 'dead', 'replay', '--all', '--url', hub.httpUrl)
  t.equal(replay.code, 0, replay.out)
  await has(hub, { event: 'change', user: 'admin.key', what: 'replay of dead letters' })
  t.equal((await post('/api/logout', {}, { cookie })).status, 204)
  await has(hub, { event: 'logout', user: 'root' })

  await users.add('eve', ['allow read #'])
  await users.edit(file => file.addRule('thermo', 'allow publish home/#'))
  await has(hub, { event: 'users', what: 'added user eve (device)', via: 'file' })
  await has(hub, { event: 'users', what: 'changed user thermo: rules' })
  await users.edit(file => file.removeUser('eve'))
  await has(hub, { event: 'users', what: 'removed user eve (device)' })

  t.equal(await hub.stop(), 0)
  t.match(audited(hub)[0], { n: 1, event: 'hub', result: 'started' })
  t.match(audited(hub).at(-1), { event: 'hub', result: 'stopping' })
  const verified = await telehub(hub, 'audit', 'verify')
  t.equal(verified.code, 0)
  t.match(verified.out, /^the chain is whole: \d+ lines in 1 file, numbers 1 to \d+\nhash of the last line: \S{43}\n$/)
  const tail = await telehub(hub, 'audit', '--limit', '3')
  t.match(tail.out, /^line +when +event(.|\n)*hub stopping/)
  t.equal(tail.out.trimEnd().split('\n').length, 4)
  const json = await telehub(hub, 'audit', 'tail', '--json', '--limit', '2')
  t.match(JSON.parse(json.out.trimEnd().split('\n')[1] ?? ''), { event: 'hub', result: 'stopping' })
  appendFileSync(join(hub.dir, 'audit', '000000000001.jsonl'), '{"n":1}\n')
  const broken = await telehub(hub, 'audit', 'verify')
  t.equal(broken.code, 1)
  t.match(broken.out, /is not a line of an audit log\nthe chain is broken/)
})

t.test('a flood of guesses over HTTP is a few lines with a count', async t => {
  const users = await usersFile()
  await users.add('root', ['allow all #'], { kind: 'admin' })
  const hub = await startHub(t, users.settings)
  const tries = 400
  for (let n = 0; n < tries; n += 40) {
    await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        fetch(`${hub.httpUrl}/api/series`, { headers: { authorization: `Bearer thk_abcdefgh_${n + i}` } }),
      ),
    )
  }
  t.equal(await metric(hub, 'telehub_refused_total{reason="http_key"}'), tries)
  t.equal(await hub.stop(), 0)
  const lines = audited(hub).filter(({ reason }) => reason === 'http_key')
  t.equal(lines.length, 6)
  t.match(lines.at(-1), { count: tries - 5, address: '127.0.0.1' })
})

t.test('the audit log of a hub in a process that is killed: what was written is there, and goes on', async t => {
  const hub = await startHub(t)
  await has(hub, { event: 'hub', result: 'started' })
  await hub.kill()
  const next = await startHub(t, {}, hub.dir)
  await eventually(() => audited(next).filter(({ result }) => result === 'started').length === 2, 'both starts')
  t.equal((await telehub(next, 'audit', 'verify')).code, 0, 'also beside a hub that runs')
})

t.test('over MQTT: logins, refusals, takeovers; who connects and disconnects, and why, is in the log', async t => {
  const users = await usersFile()
  await users.add('thermo', ['allow publish home/thermo/#'])
  const hub = await startHub(t, users.settings)
  const options = { username: 'thermo', password: passwordOf('thermo'), clientId: 'lamp-7' }
  await t.rejects(connectMqtt(t, hub.mqttUrl, { ...options, password: 'wrong' }))
  const origin = { address: '127.0.0.1', via: 'mqtt', client: 'lamp-7' }
  await has(hub, { event: 'refused', reason: 'bad_credentials', detail: 'wrong password for "thermo"', ...origin })
  const client = await connectMqtt(t, hub.mqttUrl, options)
  await has(hub, { event: 'login', result: 'ok', user: 'thermo', ...origin })
  await t.rejects(client.subscribeAsync('home/other/#'))
  await has(hub, { event: 'refused', reason: 'subscribe', user: 'thermo', what: 'home/other/#', ...origin })
  client.publish('home/other/t', '1')
  await has(hub, {
    event: 'refused',
    reason: 'publish',
    user: 'thermo',
    what: 'home/other/t',
    detail: /no rule of user/,
  })
  const next = await connectMqtt(t, hub.mqttUrl, options)
  await has(hub, { event: 'takeover', user: 'thermo', detail: 'from 127.0.0.1', ...origin })
  await next.endAsync()
  const gone = await connectMqtt(t, hub.mqttUrl, { ...options, clientId: 'gone' })
  gone.stream.destroy()
  const named = 'lamp-7, user thermo, at 127\\.0\\.0\\.1 \\(mqtt\\)'
  for (const sentence of [
    `connected: ${named}"`,
    `disconnected: ${named}: another connection took over its client id`,
    `connected: ${named}, in the place of a connection from 127\\.0\\.0\\.1`,
    `disconnected: ${named}: it sent DISCONNECT`,
    'disconnected: gone, user thermo, .*: its network connection ended without a DISCONNECT',
  ]) {
    await eventually(() => new RegExp(sentence).test(hub.log()), sentence)
  }
})

t.test('two clients that fight over one client id raise an alarm with both addresses', async t => {
  const hub = await startHub(t)
  const fight = async (localAddress: string) => {
    const stream = () => connect({ host: '127.0.0.1', port: Number(new URL(hub.mqttUrl).port), localAddress })
    const client = new mqtt.MqttClient(stream, { clientId: 'twin', protocolVersion: 4, reconnectPeriod: 0 })
    client.on('error', () => {})
    t.teardown(() => client.endAsync(true).catch(() => {}))
    await new Promise<void>(resolve => client.once('connect', () => resolve()))
  }
  for (let round = 0; round < 5; round++) await fight(round % 2 ? '127.0.0.2' : '127.0.0.1')
  const alarms = async () => (await hub.get<{ alarms: { name: string; detail: string }[] }>('/readyz')).body.alarms
  t.notOk(
    (await alarms()).some(({ name }) => name === 'client_fight'),
    'a few takeovers are none',
  )
  for (let round = 0; round < 4; round++) await fight(round % 2 ? '127.0.0.1' : '127.0.0.2')
  const alarm = await eventually(async () => (await alarms()).find(({ name }) => name === 'client_fight'), 'an alarm')
  t.match(alarm.detail, /twin \(127\.0\.0\.[12] and 127\.0\.0\.[12]\); give each client an id of its own/)
  for (const address of ['127.0.0.1', '127.0.0.2']) t.ok(alarm.detail.includes(address), address)
  t.match(hub.log(), /alarm: connections keep taking over the same client id from each other/)
})
