import type { MqttClient } from 'mqtt'
import t, { type Test } from 'tap'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { asAdmin, connectMqtt, eventually, type RunningHub, runCli, startHub } from '../harness.js'

interface Devices {
  readonly devices: readonly { readonly clientId: string; readonly user: string; readonly online: boolean }[]
  readonly described: readonly { readonly source: string; readonly id: string }[]
}

const devicesOf = async (hub: RunningHub) =>
  (await (await fetch(`${hub.httpUrl}/api/devices`, { headers: asAdmin(hub.dir) })).json()) as Devices

const remove = (hub: RunningHub, which: Readonly<Record<string, string>>) =>
  fetch(`${hub.httpUrl}/api/devices?${new URLSearchParams(which)}`, { method: 'DELETE', headers: asAdmin(hub.dir) })

/** Topics of the retained messages that match, as a new subscriber gets them. */
async function retained(t: Test, url: string, filters: string[], options = {}): Promise<readonly string[]> {
  const client: MqttClient = await connectMqtt(t, url, { clientId: '', ...options })
  const topics = new Set<string>()
  client.on('message', topic => topics.add(topic))
  await client.subscribeAsync([...filters, 'end'])
  // Messages of one connection come in order: behind this one all retained messages are here.
  await client.publishAsync('end', '', { qos: 1 })
  await eventually(() => topics.has('end'), 'the end')
  await client.endAsync()
  topics.delete('end')
  // The presence of this client and of those before it.
  return [...topics].filter(topic => !topic.startsWith('$hub/presence/auto-')).sort()
}

t.test('a device that is gone is removed, with all that is shown of it; what is stored stays', async t => {
  let hub = await startHub(t)
  const lamp = await connectMqtt(t, hub.mqttUrl, { clientId: 'lamp', clean: false })
  await lamp.subscribeAsync('lamp/set', { qos: 1 })
  await lamp.publishAsync('home/lamp/state', '{"brightness":7}', { qos: 1, retain: true })
  await lamp.publishAsync('home/lamp/power', '4.5', { qos: 1 })
  const other = await connectMqtt(t, hub.mqttUrl, { clientId: 'other' })
  await other.publishAsync('home/other/power', '9', { qos: 1, retain: true })
  const shown = ['$hub/last/#', '$hub/presence/+', 'home/#']
  await eventually(async () => (await retained(t, hub.mqttUrl, ['$hub/last/#'])).length === 3, 'all is shown')

  const busy = await remove(hub, { client: 'lamp' })
  t.equal(busy.status, 409)
  t.match(await busy.json(), { error: 'busy', message: /"lamp" is connected/ })
  t.equal((await remove(hub, { client: 'nobody' })).status, 404)
  t.equal((await remove(hub, { source: 'zigbee2mqtt', id: 'nothing' })).status, 404)
  t.equal((await remove(hub, { client: 'lamp', source: 'x' })).status, 400)
  t.equal((await remove(hub, {})).status, 400)

  await lamp.endAsync()
  const live = await connectMqtt(t, hub.mqttUrl)
  const cleared = new Set<string>()
  await live.subscribeAsync(shown)
  live.on('message', (topic, payload) => payload.length === 0 && cleared.add(topic))
  await eventually(async () => (await remove(hub, { client: 'lamp' })).status === 200, 'removed, once it has left')
  t.same(await retained(t, hub.mqttUrl, shown), [
    '$hub/last/home/other/power',
    '$hub/presence/other',
    'home/other/power',
  ])
  const topics = ['$hub/last/home/lamp/power', '$hub/last/home/lamp/state', '$hub/presence/lamp', 'home/lamp/state']
  await eventually(() => topics.every(topic => cleared.has(topic)), 'who watches is told')
  t.same(
    (await devicesOf(hub)).devices.filter(({ clientId }) => clientId === 'lamp'),
    [],
  )
  const { sessions } = (await (await fetch(`${hub.httpUrl}/api/sessions`)).json()) as {
    sessions: { clientId: string }[]
  }
  t.notOk(sessions.some(({ clientId }) => clientId === 'lamp'))
  const { series } = (await (await fetch(`${hub.httpUrl}/api/series`)).json()) as { series: { key: string }[] }
  t.ok(
    series.some(({ key }) => key.includes('lamp')),
    'its history stays',
  )
  t.equal((await remove(hub, { client: 'lamp' })).status, 404, 'nothing is left to be removed')

  // Neither a restart nor a crash brings anything back.
  for (const end of ['kill', 'stop'] as const) {
    await hub[end]()
    hub = await startHub(t, {}, hub.dir)
    t.same(
      (await retained(t, hub.mqttUrl, shown)).filter(topic => topic.includes('lamp')),
      [],
      end,
    )
    t.notOk((await devicesOf(hub)).devices.some(({ clientId }) => clientId === 'lamp'))
  }
})

t.test('a described device is removed; the others of its gateway stay', async t => {
  const hub = await startHub(t)
  const gateway = await connectMqtt(t, hub.mqttUrl, { clientId: 'gateway' })
  for (const id of ['kitchen', 'hall']) {
    const config = {
      name: 'Temperature',
      unique_id: `${id}_t`,
      state_topic: `rooms/${id}`,
      value_template: '{{ value_json.t }}',
      unit_of_measurement: '°C',
      device: { identifiers: [id], name: id },
    }
    const about = `homeassistant/sensor/${id}/config`
    await gateway.publishAsync(about, JSON.stringify(config), { qos: 1, retain: true })
    await gateway.publishAsync(`rooms/${id}`, '{"t":20.5}', { qos: 1, retain: true })
  }
  await eventually(async () => (await devicesOf(hub)).described.length === 2, 'both are described')
  await eventually(async () => (await retained(t, hub.mqttUrl, ['$hub/last/#'])).length === 2, 'both are shown')
  const listed = runCli(['device', 'list', '--url', hub.httpUrl, '--json'], { TELEHUB_DATA_DIR: hub.dir })
  t.equal(await listed.exited, 0)
  const { described } = JSON.parse(listed.stdout()) as Devices
  const { source = '', id = '' } = described.find(one => one.id.includes('kitchen')) ?? {}

  const cli = (...args: string[]) =>
    runCli(['device', 'remove', ...args, '--url', hub.httpUrl], { TELEHUB_DATA_DIR: hub.dir })
  const unconfirmed = cli(id, '--described', source)
  t.not(await unconfirmed.exited, 0)
  t.match(unconfirmed.stderr(), /confirm with --yes/)
  const removed = cli(id, '--described', source, '--yes')
  t.equal(await removed.exited, 0)
  t.match(removed.stdout(), /is removed, with 1 newest reading and 2 retained messages/)
  t.same(await retained(t, hub.mqttUrl, ['homeassistant/#', 'rooms/#', '$hub/last/#']), [
    '$hub/last/rooms/hall',
    'homeassistant/sensor/hall/config',
    'rooms/hall',
  ])
  t.equal((await devicesOf(hub)).described.length, 1)
})

t.test(
  'of two users with the same client id only the one that is meant is removed; devices may remove nothing',
  async t => {
    const users = await usersFile()
    await users.add('admin', ['allow all #', 'allow read $hub/#'], { kind: 'admin' })
    for (const name of ['anna', 'bob']) await users.add(name, [`allow all ${name}/#`])
    const hub = await startHub(t, users.settings)
    for (const username of ['anna', 'bob']) {
      const client = await connectMqtt(t, hub.mqttUrl, { username, password: passwordOf(username), clientId: 'lamp' })
      await client.publishAsync(`${username}/t`, '1', { qos: 1, retain: true })
      await client.endAsync()
    }
    const asBob = { authorization: `Basic ${Buffer.from(`bob:${passwordOf('bob')}`).toString('base64')}` }
    const url = `${hub.httpUrl}/api/devices?client=lamp&user=anna`
    t.ok([401, 403].includes((await fetch(url, { method: 'DELETE', headers: asBob })).status))
    await eventually(async () => (await remove(hub, { client: 'lamp', user: 'bob' })).status === 200, 'removed')
    const admin = { username: 'admin', password: passwordOf('admin') }
    t.same(await retained(t, hub.mqttUrl, ['anna/#', 'bob/#'], admin), ['anna/t'])
    t.notOk((await devicesOf(hub)).devices.some(({ user }) => user === 'bob'))
  },
)

t.test('clients without an id of their own are devices while they are connected only', async t => {
  let hub = await startHub(t)
  const named = await connectMqtt(t, hub.mqttUrl, { clientId: 'named' })
  await named.publishAsync('a/b', '1', { qos: 1 })
  for (let n = 0; n < 3; n++) {
    const nameless = await connectMqtt(t, hub.mqttUrl, { clientId: '', clean: true })
    await nameless.publishAsync('x/y', String(n), { qos: 1 })
    if (n === 0) {
      const isShown = async () => (await devicesOf(hub)).devices.some(({ clientId }) => clientId.startsWith('auto-'))
      await eventually(isShown, 'shown while it is connected')
    }
    await nameless.endAsync()
  }
  const names = async () => (await devicesOf(hub)).devices.map(({ clientId }) => clientId)
  await eventually(async () => (await names()).join() === 'named', 'forgotten')
  t.same(await retained(t, hub.mqttUrl, ['$hub/presence/+']), ['$hub/presence/named'])
  await hub.kill()
  hub = await startHub(t, {}, hub.dir)
  await eventually(async () => (await names()).join() === 'named', 'the spool does not bring them back')
})
