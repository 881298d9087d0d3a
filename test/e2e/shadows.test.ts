import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { promisify } from 'node:util'
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'
import t from 'tap'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { asAdmin, connectMqtt, eventually, runCli, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'

type Message = Record<string, unknown>

/** A client that has subscribed to everything of a thing's shadow; what arrives is kept by the end of the topic. */
async function watch(t: Parameters<typeof connectMqtt>[0], url: string, thing: string, options: IClientOptions = {}) {
  const client = await connectMqtt(t, url, options)
  const arrived: (readonly [topic: string, message: Message])[] = []
  client.on('message', (topic, payload) => {
    arrived.push([
      topic.slice(`$aws/things/${thing}/shadow/`.length),
      JSON.parse(payload.toString() || '{}') as Message,
    ])
  })
  await client.subscribeAsync(`$aws/things/${thing}/shadow/#`, { qos: 1 })
  const ask = (verb: string, body: object = {}) =>
    client.publishAsync(`$aws/things/${thing}/shadow/${verb}`, JSON.stringify(body), { qos: 1 })
  const next = (topic: string, fits: (message: Message) => boolean = () => true) =>
    eventually(() => arrived.find(([end, message]) => end === topic && fits(message))?.[1], `${thing} ${topic}`)
  return { client, arrived, ask, next }
}

const closing = (client: MqttClient) => new Promise<void>(resolve => client.once('close', () => resolve()))

/** Asks as an admin. */
async function asked(hub: { httpUrl: string; dir: string }, method: string, path: string, body?: object) {
  const response = await fetch(hub.httpUrl + path, {
    method,
    headers: { ...asAdmin(hub.dir), ...(body && { 'content-type': 'application/json' }) },
    ...(body && { body: JSON.stringify(body) }),
  })
  return { status: response.status, body: (await response.json()) as Message }
}

t.test('topics, messages, versions and tokens of AWS', async t => {
  const hub = await startHub(t)
  const lamp = await watch(t, hub.mqttUrl, 'lamp')
  await lamp.ask('get', { clientToken: 'g0' })
  t.match(await lamp.next('get/rejected'), {
    code: 404,
    message: "No shadow exists with name: 'lamp'",
    clientToken: 'g0',
  })
  await lamp.ask('update', { state: { desired: { on: true }, reported: { on: false } }, clientToken: 'u1' })
  t.match(await lamp.next('update/accepted'), { state: { desired: { on: true } }, version: 1, clientToken: 'u1' })
  t.match(await lamp.next('update/delta'), { state: { on: true }, version: 1, clientToken: 'u1' })
  t.match(await lamp.next('update/documents'), { previous: { version: 0 }, current: { version: 1 } })
  await lamp.ask('update', { state: { reported: { on: true } }, version: 1 })
  await lamp.next('update/accepted', ({ version }) => version === 2)
  t.equal(lamp.arrived.filter(([topic]) => topic === 'update/delta').length, 1, 'nothing differs any more')
  await lamp.ask('update', { state: { reported: { on: 1 } }, version: 1, clientToken: 'late' })
  t.match(await lamp.next('update/rejected'), { code: 409, message: 'Version conflict', clientToken: 'late' })
  await lamp.ask('name/night/update', { state: { desired: { level: 3 } } })
  t.match(await lamp.next('name/night/update/delta'), { state: { level: 3 }, version: 1 })
  const whole = await asked(hub, 'GET', '/api/shadows/lamp')
  t.match(whole.body, { desired: { on: true }, reported: { on: true }, version: 2, named: ['night'] })
  t.notOk('delta' in whole.body)
  await lamp.ask('delete', { clientToken: 'd' })
  t.match(await lamp.next('delete/accepted'), { version: 2, clientToken: 'd' })
  await lamp.ask('update', { state: { desired: { on: true } } })
  await lamp.next('update/accepted', ({ version }) => version === 3)
  t.pass('the version goes on')

  const numbers = (await (await fetch(`${hub.httpUrl}/metrics`, { headers: asAdmin(hub.dir) })).text()).split('\n')
  t.ok(numbers.includes('telehub_shadows 2'))
  t.ok(numbers.includes('telehub_shadow_requests_total{reason="409"} 1'))
  const { body } = await hub.get<{ received: number }>('/api/balance')
  t.equal(body.received, 0, 'requests are no telemetry')
})

t.test('over HTTP: what is desired, and what differs', async t => {
  const hub = await startHub(t)
  const lamp = await watch(t, hub.mqttUrl, 'lamp')
  t.equal((await asked(hub, 'GET', '/api/shadows/lamp')).status, 404)
  const set = await asked(hub, 'POST', '/api/shadows/lamp', { desired: { color: { r: 1, g: 2 } }, clientToken: 'web' })
  t.match(set, { status: 200, body: { thing: 'lamp', delta: { color: { r: 1, g: 2 } }, version: 1 } })
  t.match(await lamp.next('update/delta'), { state: { color: { r: 1, g: 2 } }, clientToken: 'web' })
  await lamp.ask('update', { state: { reported: { color: { r: 1 } } } })
  await lamp.next('update/accepted', ({ version }) => version === 2)
  t.match((await asked(hub, 'PATCH', '/api/shadows/lamp', { desired: { color: { b: 0 } } })).body, {
    desired: { color: { r: 1, g: 2, b: 0 } },
    delta: { color: { g: 2, b: 0 } },
  })
  t.equal((await asked(hub, 'POST', '/api/shadows/lamp', { desired: {}, version: 1 })).status, 409)
  t.equal((await asked(hub, 'POST', '/api/shadows/lamp', { desired: { a: 'x'.repeat(9_000) } })).status, 413)
  t.equal((await asked(hub, 'POST', '/api/shadows/lamp', { desired: 7 })).status, 400)
  for (const thing of ['a%2Fb', '%2B', '%23', 'a%00b']) {
    t.equal((await asked(hub, 'POST', `/api/shadows/${thing}`, { desired: {} })).status, 400, thing)
  }
  t.match(await asked(hub, 'DELETE', '/api/shadows/lamp'), { status: 200, body: { deleted: true, version: 3 } })
  const audited = join(hub.dir, 'audit')
  const audit = readdirSync(audited)
    .map(name => readFileSync(join(audited, name), 'utf8'))
    .join('')
  t.match(audit, /"desired state"/)
  t.match(audit, /"delete shadow"/)
})

t.test('a device that sleeps gets what is desired when it wakes, also when the hub was killed meanwhile', async t => {
  const hub = await startHub(t)
  const kept = { clientId: 'sleeper', clean: false }
  const first = await watch(t, hub.mqttUrl, 'sleeper', kept)
  await first.client.endAsync()
  for (let n = 1; n <= 3; n++) await asked(hub, 'POST', '/api/shadows/sleeper', { desired: { n } })
  await hub.kill()
  const again = await startHub(t, {}, hub.dir)
  const woken: Message[] = []
  // Listens before it connects: what waits comes at once.
  const device = mqtt.connect(again.mqttUrl, { ...kept, protocolVersion: 4, reconnectPeriod: 0 })
  t.teardown(() => device.endAsync(true))
  device.on('message', (topic, payload) => {
    if (topic.endsWith('/update/delta')) woken.push(JSON.parse(payload.toString()) as Message)
  })
  await eventually(() => woken.some(({ version }) => version === 3), 'the newest delta')
  t.match(woken.at(-1), { state: { n: 3 }, version: 3 })
  t.match((await asked(again, 'GET', '/api/shadows/sleeper')).body, { desired: { n: 3 }, delta: { n: 3 }, version: 3 })
})

t.test('what was accepted is there after a kill at any moment, and versions have no gap', async t => {
  let hub = await startHub(t)
  const { dir } = hub
  let accepted = 0
  for (let round = 0; round < 2; round++) {
    const lamp = await watch(t, hub.mqttUrl, 'lamp')
    const killed = closing(lamp.client)
    for (let n = 0; n < 200; n++) void lamp.ask('update', { state: { reported: { n } } }).catch(() => {})
    await eventually(
      () => lamp.arrived.filter(([topic]) => topic === 'update/accepted').length > 20 + 20 * round,
      'some',
    )
    await hub.kill()
    await killed
    for (const [topic, { version }] of lamp.arrived) {
      if (topic === 'update/accepted') accepted = Math.max(accepted, version as number)
    }
    hub = await startHub(t, {}, dir)
    const { body } = await asked(hub, 'GET', '/api/shadows/lamp')
    t.ok((body.version as number) >= accepted, `round ${round}: ${body.version} ≥ ${accepted}`)
  }
})

t.test('of a hundred clients that race for a version one wins, and each hears', async t => {
  const hub = await startHub(t)
  await asked(hub, 'POST', '/api/shadows/lamp', { desired: { n: 0 } })
  const clients = await Promise.all(Array.from({ length: 100 }, () => connectMqtt(t, hub.mqttUrl)))
  const referee = await watch(t, hub.mqttUrl, 'lamp')
  await Promise.all(
    clients.map((client, n) =>
      client.publishAsync(
        '$aws/things/lamp/shadow/update',
        JSON.stringify({ state: { reported: { n } }, version: 1, clientToken: `c${n}` }),
        { qos: 1 },
      ),
    ),
  )
  const heard = (topic: string) => referee.arrived.filter(([end]) => end === topic).length
  await eventually(() => heard('update/accepted') + heard('update/rejected') === 100, 'a hundred answers')
  t.same([heard('update/accepted'), heard('update/rejected')], [1, 99])
})

t.test('a client uses the shadow of its own name, and no other without a rule', async t => {
  const users = await usersFile()
  await users.add('anna', ['allow publish home/#'])
  await users.add('bert', ['allow publish home/#', 'deny publish $aws/things/+/shadow/delete'])
  await users.add('ops', ['allow all $aws/things/+/shadow/#'], { kind: 'service' })
  const hub = await startHub(t, users.settings)
  const as = (username: string, clientId: string): IClientOptions => ({
    ...{ username, password: passwordOf(username), clientId, protocolVersion: 5 },
  })
  const lamp = await watch(t, hub.mqttUrl, 'lamp', as('anna', 'lamp'))
  await lamp.ask('update', { state: { reported: { on: true } } })
  await lamp.next('update/accepted')
  await lamp.client.endAsync()
  const mayNot = async (client: MqttClient, thing: string, why: RegExp) => {
    const topic = `$aws/things/${thing}/shadow`
    await t.rejects(client.publishAsync(`${topic}/get`, '', { qos: 1 }), { message: why }, `${thing}: publish`)
    const granted = await client.subscribeAsync(`${topic}/#`, { qos: 1 }).catch(() => [])
    t.notOk(
      granted.some(({ qos }) => qos < 128),
      `${thing}: subscribe`,
    )
  }
  // Another user's client takes the name of a lamp that is off.
  const thief = await connectMqtt(t, hub.mqttUrl, as('bert', 'lamp'))
  await mayNot(thief, 'lamp', /Not authorized/)
  await mayNot(thief, 'anna', /Not authorized/)
  await mayNot(thief, 'other', /Not authorized/)
  await t.rejects(thief.subscribeAsync('$aws/things/+/shadow/#'))
  const own = await watch(t, hub.mqttUrl, 'bert', as('bert', 'any'))
  await own.ask('update', { state: { reported: { on: true } } })
  await own.next('update/accepted')
  await t.rejects(own.ask('delete'), /Not authorized/, 'a rule denies it')
  const all = await watch(t, hub.mqttUrl, '+', as('ops', 'ops-1'))
  await all.client.publishAsync('$aws/things/lamp/shadow/update', '{"state":{"desired":{"on":false}}}', { qos: 1 })
  await eventually(() => all.arrived.length > 0, 'ops is told')
  const old = await connectMqtt(t, hub.mqttUrl, { ...as('bert', 'old'), protocolVersion: 4 })
  const closed = closing(old)
  old.publish('$aws/things/lamp/shadow/get', '')
  await closed
  t.match(hub.log(), /refused old to publish/)
})

interface ThingShadow extends NodeJS.EventEmitter {
  register(thing: string, options: object, done: (error: unknown, failed: unknown) => void): void
  update(thing: string, state: object): string
  get(thing: string): string
  delete(thing: string): string
  end(force: boolean): void
}

/** AWS's own SDK for devices, of the version that is known to work here. */
async function awsSdk(): Promise<{ thingShadow(options: object): ThingShadow }> {
  const dir = await tempDir()
  await writeFile(join(dir, 'package.json'), '{ "private": true }')
  const args = [
    'install',
    '--prefer-offline',
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    'aws-iot-device-sdk@2.2.15',
  ]
  await promisify(execFile)('npm', args, { cwd: dir })
  return createRequire(join(dir, 'package.json'))('aws-iot-device-sdk') as { thingShadow(options: object): ThingShadow }
}

t.test("AWS's device SDK works unchanged, with a client certificate", async t => {
  const sdk = await awsSdk()
  const dir = await tempDir()
  await runCli(['cert', '--name', 'localhost', '--client', 'thermo'], {}, dir).exited
  const at = (name: string) => join(dir, 'certs', name)
  const users = await usersFile()
  await users.add('thermo', ['allow publish home/#'], { certificates: ['thermo'] })
  const hub = await startHub(t, {
    ...users.settings,
    ...{ 'mqtts.port': '0', 'tls.cert': at('server.pem'), 'tls.key': at('server.key'), 'tls.ca': at('ca.pem') },
  })
  const shadow = sdk.thingShadow({
    ...{ keyPath: at('client-thermo.key'), certPath: at('client-thermo.pem'), caPath: at('ca.pem') },
    ...{ clientId: 'thermo', host: 'localhost', port: Number(new URL(hub.mqttsUrl).port) },
  })
  t.teardown(() => shadow.end(true))
  await once(shadow, 'connect')
  await new Promise<void>((resolve, reject) =>
    shadow.register('thermo', { ignoreDeltas: false, persistentSubscribe: true }, (error, failed) =>
      error || failed ? reject(new Error(String(error ?? failed))) : resolve(),
    ),
  )
  const status = async (token: string) => {
    const [thing, stat, clientToken, answer] = (await once(shadow, 'status')) as [string, string, string, Message]
    t.same([thing, clientToken], ['thermo', token])
    return [stat, answer] as const
  }
  t.match(await status(shadow.get('thermo')), ['rejected', { code: 404 }])
  const delta = once(shadow, 'delta')
  const updated = await status(
    shadow.update('thermo', { state: { desired: { target: 21 }, reported: { target: 19 } } }),
  )
  t.match(updated, ['accepted', { state: { desired: { target: 21 } } }])
  t.match(await delta, ['thermo', { state: { target: 21 }, version: 1 }])
  t.match(await status(shadow.update('thermo', { state: { reported: { target: 21 } } })), ['accepted', {}])
  t.match(await status(shadow.get('thermo')), [
    'accepted',
    { state: { desired: { target: 21 }, reported: { target: 21 } } },
  ])
  const foreign = once(shadow, 'delta')
  const ops = await connectMqtt(t, hub.mqttsUrl, {
    ...{ ca: [readFileSync(at('ca.pem'))], servername: 'localhost', clientId: 'ops' },
    ...{ cert: readFileSync(at('client-thermo.pem')), key: readFileSync(at('client-thermo.key')) },
  })
  await ops.publishAsync('$aws/things/thermo/shadow/update', '{"state":{"desired":{"target":23}}}', { qos: 1 })
  t.match(await foreign, ['thermo', { state: { target: 23 } }])
  t.match(await status(shadow.delete('thermo')), ['accepted', { version: 3 }])
})
