import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { MqttClient } from 'mqtt'
import t from 'tap'
import type { CommandRow } from '../../src/contract/contract.js'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { asAdmin, connectMqtt, eventually, metric, type RunningHub, runCli, startHub } from '../harness.js'

type Headers = Readonly<Record<string, string>>

async function ask(hub: RunningHub, method: string, path: string, body?: object, headers?: Headers) {
  const response = await fetch(hub.httpUrl + path, {
    method,
    headers: { ...asAdmin(hub.dir), ...(body && { 'content-type': 'application/json' }), ...headers },
    ...(body && { body: JSON.stringify(body) }),
  })
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as CommandRow & { error?: string; message?: string },
  }
}

const send = (hub: RunningHub, body: object, headers?: Headers) => ask(hub, 'POST', '/api/commands', body, headers)

const command = async (hub: RunningHub, id: string) => (await ask(hub, 'GET', `/api/commands/${id}`)).body

/** What a client receives, with the flags of each message. */
function received(
  client: MqttClient,
): { topic: string; payload: string; dup: boolean; properties: object | undefined }[] {
  const all: ReturnType<typeof received> = []
  client.on('message', (topic, payload, { dup, properties }) => {
    all.push({ topic, payload: payload.toString(), dup, properties })
  })
  return all
}

/** Ends a client as a device does that loses its power. */
const lose = (client: MqttClient) => client.stream.destroy()

/** A device that answers as Tasmota does. */
async function plug(t: Parameters<typeof connectMqtt>[0], hub: RunningHub, name: string): Promise<MqttClient> {
  const client = await connectMqtt(t, hub.mqttUrl, { clientId: name })
  client.on('message', (topic, payload) => {
    const value = payload.toString().toUpperCase()
    const known = topic.endsWith('/POWER')
    const said = known ? { POWER: value } : { Command: 'Unknown' }
    client.publish(`stat/${name}/RESULT`, JSON.stringify(said), { qos: 1 })
    if (known) client.publish(`stat/${name}/POWER`, value)
  })
  await client.subscribeAsync(`cmnd/${name}/#`, { qos: 1 })
  return client
}

t.test('a device that is there gets the command, and its answer is recognised', async t => {
  const hub = await startHub(t)
  await plug(t, hub, 'plug1')
  const watcher = await connectMqtt(t, hub.mqttUrl, { clientId: 'watcher' })
  const shown = received(watcher)
  await watcher.subscribeAsync('$hub/commands/+')
  const { status, body } = await send(hub, { topic: 'cmnd/plug1/POWER', payload: 'on', wait: 20 })
  t.equal(status, 200)
  t.match(body, {
    state: 'answered',
    over: true,
    family: 'tasmota',
    sends: 1,
    payload: 'on',
    answer: { topic: 'stat/plug1/RESULT', payload: '{"POWER":"ON"}', good: true, cut: false },
  })
  await eventually(() => shown.some(({ payload }) => payload.includes('"answered"')), 'the state is shown')
  const states = shown.map(({ payload }) => (JSON.parse(payload) as CommandRow).state)
  t.ok(['queued', 'sent'].includes(states[0] as string))
  t.equal(shown[0]?.topic, `$hub/commands/${body.id}`)
  const failed = await send(hub, { topic: 'cmnd/plug1/Powr', payload: 'on', wait: 20 })
  t.match(failed.body, { state: 'failed', answer: { payload: '{"Command":"Unknown"}', good: false } })
  t.equal(await metric(hub, 'telehub_commands_total{state="answered"}'), 1)
  t.equal(await metric(hub, 'telehub_commands_open'), 0)
})

t.test('a command waits for its device, and never comes late', async t => {
  const hub = await startHub(t)
  const late = await send(hub, { topic: 'things/a/do', payload: 'late', expiry: 0.3 })
  t.match(late.body, { state: 'queued', over: false, sends: 0 })
  const first = await send(hub, { topic: 'things/a/do', payload: '1', expiry: 600 })
  const second = await send(hub, { topic: 'things/a/do', payload: '2', expiry: 600 })
  const cancelled = await send(hub, { topic: 'things/a/do', payload: 'cancelled', expiry: 600 })
  t.match((await ask(hub, 'DELETE', `/api/commands/${cancelled.body.id}`)).body, { state: 'cancelled', over: true })
  t.match(await ask(hub, 'DELETE', `/api/commands/${cancelled.body.id}`), { status: 409 })
  await eventually(async () => (await command(hub, late.body.id)).state === 'expired', 'it expires')
  // A client that watches everything is not the device.
  const watcher = await connectMqtt(t, hub.mqttUrl, { clientId: 'watcher' })
  const watched = received(watcher)
  await watcher.subscribeAsync('#', { qos: 1 })
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'a' })
  const got = received(device)
  await device.subscribeAsync('things/a/do', { qos: 1 })
  await eventually(async () => (await command(hub, second.body.id)).over, 'both are delivered')
  t.same(
    got.map(({ payload, dup }) => [payload, dup]),
    [
      ['1', false],
      ['2', false],
    ],
  )
  t.same(
    watched.map(({ payload }) => payload),
    ['1', '2'],
    'who watches sees them',
  )
  t.match(await command(hub, first.body.id), { state: 'delivered', sends: 1 })
  t.match(await ask(hub, 'DELETE', `/api/commands/${first.body.id}`), { status: 409 })
})

t.test('an MQTT 5 device answers at the response topic', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'five', protocolVersion: 5 })
  device.on('message', (_topic, payload, { properties }) => {
    const { responseTopic = '', correlationData } = properties ?? {}
    device.publish(responseTopic, `done ${payload}`, {
      qos: 1,
      properties: { ...(correlationData && { correlationData }) },
    })
  })
  await device.subscribeAsync('five/do', { qos: 1 })
  const { body } = await send(hub, { topic: 'five/do', payload: 'it', wait: 20 })
  t.match(body, { state: 'answered', answer: { payload: 'done it', topic: `$hub/commands/${body.id}/answer` } })
  const other = await connectMqtt(t, hub.mqttUrl, { clientId: 'other', protocolVersion: 5 })
  await t.rejects(other.publishAsync(`$hub/commands/${body.id}/answer`, 'no', { qos: 1 }), 'it was not asked')
  // Twice, and late.
  await device.publishAsync(`$hub/commands/${body.id}/answer`, 'again', { qos: 1 })
  t.match(await command(hub, body.id), { answer: { payload: 'done it' } })
  t.equal(await metric(hub, 'telehub_commands_total{state="late_answer"}'), 1)
})

t.test('an MQTT 5 client asks, and gets the answer of a device that speaks 3.1.1', async t => {
  const hub = await startHub(t)
  await plug(t, hub, 'plug1')
  const asker = await connectMqtt(t, hub.mqttUrl, { clientId: 'asker', protocolVersion: 5 })
  const got = received(asker)
  await asker.subscribeAsync('replies/asker', { qos: 1 })
  const correlationData = Buffer.from('c1')
  await asker.publishAsync('$hub/command/cmnd/plug1/POWER', 'off', {
    qos: 1,
    properties: { responseTopic: 'replies/asker', correlationData, messageExpiryInterval: 60 },
  })
  await eventually(() => got.length > 0, 'the answer')
  t.match(got[0], { topic: 'replies/asker', payload: '{"POWER":"OFF"}' })
  const { properties } = got[0] as { properties: { correlationData: Buffer; userProperties: Record<string, string> } }
  t.equal(properties.correlationData.toString(), 'c1')
  t.match(properties.userProperties, { 'telehub-state': 'answered' })
  // Between two MQTT 5 clients, requests and responses pass as in any broker.
  const responder = await connectMqtt(t, hub.mqttUrl, { clientId: 'responder', protocolVersion: 5 })
  responder.on('message', (_topic, payload, { properties }) => {
    responder.publish(properties?.responseTopic ?? '', `re: ${payload}`, { properties: { correlationData } })
  })
  await responder.subscribeAsync('ask/me', { qos: 1 })
  await asker.publishAsync('ask/me', 'what', {
    qos: 1,
    properties: { responseTopic: 'replies/asker', correlationData },
  })
  await eventually(() => got.some(({ payload }) => payload === 're: what'), 'the response')
})

t.test('kill -9 while commands wait, and while one is on its way', async t => {
  const hub = await startHub(t)
  const waiting = await send(hub, { topic: 'things/w/do', payload: 'waiting', expiry: 600 })
  const short = await send(hub, { topic: 'things/w/do', payload: 'short', expiry: 0.2 })
  // A device that acknowledges nothing.
  const deaf = await connectMqtt(t, hub.mqttUrl, { clientId: 'deaf', clean: false })
  const heard = received(deaf)
  deaf.handleMessage = () => {}
  await deaf.subscribeAsync('deaf/do', { qos: 1 })
  const sent = await send(hub, { topic: 'deaf/do', payload: 'toggle', expiry: 600 })
  await eventually(() => heard.length === 1, 'it arrives')
  t.same(
    heard.map(({ dup }) => dup),
    [false],
  )
  t.equal((await command(hub, sent.body.id)).state, 'sent')
  lose(deaf)
  await hub.kill()
  const again = await startHub(t, {}, hub.dir)
  t.match(await command(again, waiting.body.id), { state: 'queued', payload: 'waiting', sends: 0 })
  await eventually(async () => (await command(again, short.body.id)).state === 'expired', 'the short one expires')
  const device = await connectMqtt(t, again.mqttUrl, { clientId: 'w' })
  const got = received(device)
  await device.subscribeAsync('things/w/do', { qos: 1 })
  await eventually(async () => (await command(again, waiting.body.id)).state === 'delivered', 'delivered')
  t.same(
    got.map(({ payload, dup }) => [payload, dup]),
    [['waiting', false]],
  )
  const back = await connectMqtt(t, again.mqttUrl, { clientId: 'deaf', clean: false })
  const repeated = received(back)
  await eventually(async () => (await command(again, sent.body.id)).state === 'delivered', 'the other one, too')
  t.same(
    repeated.map(({ payload, dup }) => [payload, dup]),
    [['toggle', true]],
    'marked as sent before',
  )
})

t.test('the rules of the user decide, and the key of a request', async t => {
  const users = await usersFile()
  await users.add('anna', ['allow publish home/#', 'allow read home/#'], {
    kind: 'dashboard',
    key: undefined,
  } as object)
  await users.add('bob', ['allow read other/#', 'allow read $hub/#'], { kind: 'dashboard' })
  await users.add('dev', ['allow all home/#'])
  const hub = await startHub(t, { ...users.settings, 'limits.commands': '3' })
  const login = { username: 'anna', password: passwordOf('anna'), protocolVersion: 5 } as const
  const anna = await connectMqtt(t, hub.mqttUrl, { ...login, clientId: 'anna1' })
  const bob = await connectMqtt(t, hub.mqttUrl, {
    ...login,
    username: 'bob',
    password: passwordOf('bob'),
    clientId: 'bob1',
  })
  const seen = received(anna)
  await anna.subscribeAsync('$hub/commands/#')
  await t.rejects(anna.publishAsync('$hub/command/other/x', 'no', { qos: 1 }), 'not allowed')
  await t.rejects(bob.publishAsync('$hub/command/home/x', 'no', { qos: 1 }), 'nor here')
  for (const bad of ['$hub/command/', '$hub/command/$SYS/x'])
    await t.rejects(
      anna.publishAsync(bad, 'no', { qos: 1 }).then(() => {
        throw new Error(bad)
      }),
    )
  const again = await connectMqtt(t, hub.mqttUrl, { ...login, clientId: 'anna2' })
  for (const n of [1, 2, 3]) await again.publishAsync('$hub/command/home/x', String(n), { qos: 1 })
  await t.rejects(again.publishAsync('$hub/command/home/x', '4', { qos: 1 }), 'limits.commands')
  await eventually(() => seen.length >= 3 || anna.disconnected, 'she sees what is hers')
  const admin = await send(hub, { topic: 'other/x', payload: 'secret' }, { 'idempotency-key': 'k1' })
  t.equal(admin.status, 200)
  const same = await send(hub, { topic: 'other/x', payload: 'secret' }, { 'idempotency-key': 'k1' })
  t.equal(same.body.id, admin.body.id)
  t.equal(same.headers.get('idempotent-replayed'), 'true')
  t.match(await send(hub, { topic: 'other/x', payload: 'else' }, { 'idempotency-key': 'k1' }), { status: 422 })
  t.notOk(
    seen.some(({ payload }) => payload.includes('secret')),
    'and nothing else',
  )
  await users.edit(file => file.removeUser('anna'))
  await eventually(async () => {
    const { commands } = (await hub.get<{ commands: CommandRow[] }>('/api/commands?topic=home/%23')).body
    return commands.length === 3 && commands.every(({ state }) => state === 'cancelled')
  }, 'what she asked for is cancelled')
})

t.test('what is refused', async t => {
  const hub = await startHub(t, { 'limits.packet': '2MB' })
  for (const body of [
    { payload: 'x' },
    { topic: 'a/+', payload: 'x' },
    { topic: '$hub/x', payload: 'x' },
    { topic: 'a', payload: 'x', expiry: 0 },
    { topic: 'a', payload: 'x', expiry: -1 },
    { topic: 'a', payload: 'x', device: 'b' },
    { topic: 'a', payload: '%', encoding: 'base64' },
  ])
    t.match(await send(hub, body), { status: 400 }, JSON.stringify(body))
  t.match(await send(hub, { device: 'nobody', payload: 'x' }), { status: 404 })
  t.match(await ask(hub, 'GET', '/api/commands/nothing'), { status: 404 })
  t.match(await ask(hub, 'DELETE', '/api/commands/nothing'), { status: 404 })
  t.match(await send(hub, { topic: 'a', payload: 'x'.repeat(2_100_000) }), { status: 413 })
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'large' })
  const got = received(device)
  await device.subscribeAsync('a', { qos: 1 })
  const large = await send(hub, { topic: 'a', payload: 'y'.repeat(1_000_000), wait: 20 })
  t.match(large.body, { state: 'delivered' })
  t.equal(got[0]?.payload.length, 1_000_000)
  const small = await connectMqtt(t, hub.mqttUrl, {
    clientId: 'small',
    protocolVersion: 5,
    properties: { maximumPacketSize: 1_000 },
  })
  await small.subscribeAsync('b', { qos: 1 })
  t.match((await send(hub, { topic: 'b', payload: 'z'.repeat(10_000), wait: 20 })).body, { state: 'failed' })
  const zero = await connectMqtt(t, hub.mqttUrl, { clientId: 'zero' })
  const unsure = received(zero)
  await zero.subscribeAsync('zero', { qos: 0 })
  t.match((await send(hub, { topic: 'zero', payload: 'x', wait: 20 })).body, { state: 'sent', over: true })
  await eventually(() => unsure.length === 1, 'it arrives once')
})

t.test('telehub send and telehub commands', async t => {
  const hub = await startHub(t)
  await plug(t, hub, 'plug1')
  const run = async (...args: string[]) => {
    const run = runCli([...args, '--data.dir', hub.dir, '--url', hub.httpUrl])
    return { code: await run.exited, out: run.stdout(), err: run.stderr() }
  }
  const done = await run('send', 'cmnd/plug1/POWER', 'ON', '--wait', '--expiry', '30s')
  t.match(done, { code: 0, out: /state +answered\n +answer +\{"POWER":"ON"\}/ })
  t.match(await run('send', 'cmnd/plug1/Nonsense', '--wait'), { code: 1, out: /state +failed/ })
  t.match(await run('send', 'nobody/there', 'x', '--wait', '--expiry', '500ms'), { code: 1, out: /expired/ })
  t.match(await run('send', 'nobody', 'x'), { code: 1, err: /nobody/ })
  t.match(await run('send', 'nobody/there', 'x', '--expiry', 'soon'), { err: /--expiry/ })
  const { out } = await run('send', 'nobody/there', 'x', '--expiry', '1h', '--json')
  const { id } = JSON.parse(out) as CommandRow
  t.match(await run('commands'), { code: 0, out: new RegExp(`${id}.*nobody/there.*queued`) })
  t.match(await run('commands', 'list', '--open', '--json'), { out: new RegExp(id) })
  t.match(await run('commands', 'show', id), { code: 0, out: /nobody\/there/ })
  t.match(await run('commands', 'cancel', id), { code: 0, out: /cancelled/ })
  t.match(await run('commands', 'cancel', id), { code: 1 })
  const described = [
    {
      ieee_address: '0x1',
      friendly_name: 'Desk lamp',
      type: 'Router',
      definition: { exposes: [{ type: 'light', features: [{ property: 'state', access: 7 }] }] },
    },
  ]
  const gateway = await connectMqtt(t, hub.mqttUrl, { clientId: 'z2m' })
  gateway.on(
    'message',
    (topic, payload) => topic.endsWith('/set') && gateway.publish(topic.replace('/set', ''), payload, { qos: 1 }),
  )
  await gateway.subscribeAsync('zigbee2mqtt/#', { qos: 1 })
  await gateway.publishAsync('zigbee2mqtt/bridge/devices', JSON.stringify(described), { qos: 1, retain: true })
  await eventually(
    async () => (await run('send', 'Desk lamp', '{"state":"ON"}', '--wait', '--expiry', '5s')).out.includes('answered'),
    'by its name',
  )
  t.match(
    readFileSync(join(hub.dir, 'audit', '000000000001.jsonl'), 'utf8'),
    /"event":"command","result":"asked".*cmnd\/plug1\/POWER/,
  )
})

t.test('an answer is for those who may read the topic on which it came', async t => {
  const users = await usersFile()
  const rules = ['allow publish cmnd/#', 'allow read cmnd/#', 'allow read replies/#']
  await users.add('switcher', rules, { kind: 'dashboard' })
  await users.add('dev', ['allow all cmnd/#', 'allow all stat/#'])
  const hub = await startHub(t, users.settings)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'plug1', username: 'dev', password: passwordOf('dev') })
  device.on('message', () => device.publish('stat/plug1/RESULT', '{"POWER":"ON"}', { qos: 1 }))
  await device.subscribeAsync('cmnd/plug1/#', { qos: 1 })
  const login = { username: 'switcher', password: passwordOf('switcher'), protocolVersion: 5 } as const
  const switcher = await connectMqtt(t, hub.mqttUrl, { ...login, clientId: 's1' })
  const got = received(switcher)
  await switcher.subscribeAsync(['replies/s1', '$hub/commands/#'], { qos: 1 })
  const properties = { responseTopic: 'replies/s1', correlationData: Buffer.from('1') }
  await switcher.publishAsync('$hub/command/cmnd/plug1/POWER', 'ON', { qos: 1, properties })
  await eventually(() => got.some(({ topic }) => topic === 'replies/s1'), 'the response')
  const response = got.find(({ topic }) => topic === 'replies/s1')
  t.match(response?.properties, { userProperties: { 'telehub-state': 'answered' } })
  t.equal(response?.payload, '', 'it was done; the answer itself is not for this user')
  await eventually(() => got.some(({ payload }) => payload.includes('"answered"')), 'the state is shown')
  t.notOk(got.some(({ payload }) => payload.includes('POWER\\"')))
  // Who may read both topics sees the answer to a command of an admin, and who may not does not.
  const sent = await send(hub, { topic: 'cmnd/plug1/POWER', payload: 'ON', wait: 10 })
  t.match(sent.body.answer, { payload: '{"POWER":"ON"}', cut: false })
  const body = JSON.stringify({ user: 'switcher', password: passwordOf('switcher') })
  const asJson = { 'content-type': 'application/json' }
  const { headers } = await fetch(`${hub.httpUrl}/api/login`, { method: 'POST', headers: asJson, body })
  const cookie = (headers.get('set-cookie') ?? '').split(';')[0] as string
  const seen = await fetch(`${hub.httpUrl}/api/commands/${sent.body.id}`, { headers: { cookie } })
  t.match(await seen.json(), {
    state: 'answered',
    answer: { payload: '', topic: 'stat/plug1/RESULT', good: true, cut: true },
  })
})
