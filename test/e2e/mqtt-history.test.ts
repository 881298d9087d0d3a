import { setTimeout as sleep } from 'node:timers/promises'
import type { MqttClient } from 'mqtt'
import t from 'tap'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { connectMqtt, eventually, history, metric, startHub } from '../harness.js'

interface HistoryMessage {
  readonly topic: string
  readonly event: string
  readonly times?: readonly number[]
  readonly values?: readonly { readonly value?: unknown }[]
  readonly sequence?: number
  readonly message?: string
}

/** Everything that a client gets, in order. */
function told(client: MqttClient): { readonly on: string; readonly said: HistoryMessage }[] {
  const all: { on: string; said: HistoryMessage }[] = []
  client.on('message', (on, payload) => all.push({ on, said: JSON.parse(payload.toString()) }))
  return all
}

const filter = '$hub/history/1h/500/home/+/+/telemetry'

for (const protocolVersion of [4, 5] as const) {
  t.test(`MQTT ${protocolVersion}: newest values, history, a marker, then live, until UNSUBSCRIBE`, async t => {
    const hub = await startHub(t)
    const device = await connectMqtt(t, hub.mqttUrl)
    for (let n = 0; n < 20; n++) await device.publishAsync('home/hall/t1/telemetry', JSON.stringify({ n }), { qos: 1 })
    await eventually(async () => (await history(hub, 'telemetry,device=t1,room=hall n')).length === 20, 'stored')
    const client = await connectMqtt(t, protocolVersion === 5 ? hub.webSocketUrl : hub.mqttUrl, { protocolVersion })
    const all = told(client)
    t.match(await client.subscribeAsync(filter, { qos: 1 }), [{ topic: filter, qos: 0 }])
    await eventually(() => all.some(({ said }) => said.event === 'ready'), 'the marker')
    t.same(
      all.map(({ on, said }) => [on, said.event]),
      [
        ['$hub/history/1h/500/home/hall/t1/telemetry', 'values'],
        ['$hub/history/1h/500/home/hall/t1/telemetry', 'history'],
        ['$hub/history/1h/500/home/$all/$all/telemetry', 'ready'],
      ],
    )
    t.same(
      all[1]?.said.values,
      Array.from({ length: 20 }, (_, n) => n),
    )
    for (let n = 20; n < 40; n++) await device.publishAsync('home/hall/t1/telemetry', JSON.stringify({ n }), { qos: 1 })
    await device.publishAsync('plant/x', '1', { qos: 1 })
    await eventually(() => all.length === 23, 'live')
    t.same(
      all.slice(3).map(({ said }) => [said.event, said.values?.[0]?.value]),
      Array.from({ length: 20 }, (_, i) => ['live', 20 + i]),
    )
    await client.unsubscribeAsync(filter)
    t.equal(await metric(hub, 'telehub_feeds'), 0)
    await device.publishAsync('home/hall/t1/telemetry', '{"n":40}', { qos: 1 })
    await sleep(200)
    t.equal(all.length, 23)
  })
}

t.test('a kept session gets history again when it is back, also after kill -9', async t => {
  const first = await startHub(t)
  const options = { clientId: 'wall', clean: false }
  const client = await connectMqtt(t, first.mqttUrl, options)
  await client.subscribeAsync(filter)
  const device = await connectMqtt(t, first.mqttUrl)
  await device.publishAsync('home/hall/t1/telemetry', '{"n":1}', { qos: 1 })
  await first.kill()
  const second = await startHub(t, {}, first.dir)
  await eventually(async () => (await history(second, 'telemetry,device=t1,room=hall n')).length === 1, 'stored')
  const again = await connectMqtt(t, second.mqttUrl, options)
  const all = told(again)
  await eventually(() => all.some(({ said }) => said.event === 'ready'), 'the marker')
  t.same(all.find(({ said }) => said.event === 'history')?.said.values, [1])
  await again.endAsync()
  await eventually(async () => (await metric(second, 'telehub_feeds')) === 0, 'no feed is left')
})

t.test('a client that does not read ends with the newest value of each topic, and is told', async t => {
  const hub = await startHub(t)
  const client = await connectMqtt(t, hub.mqttUrl)
  const all = told(client)
  await client.subscribeAsync('$hub/history/1m/10/big/#')
  await eventually(() => all.some(({ said }) => said.event === 'ready'), 'the marker')
  client.stream.pause()
  const device = await connectMqtt(t, hub.mqttUrl)
  const filler = 'x'.repeat(2_000)
  for (let n = 0; n < 12_000; n += 50) {
    const some = Array.from({ length: 50 }, (_, i) => n + i)
    await Promise.all(some.map(i => device.publishAsync(`big/${i % 20}`, JSON.stringify({ n: i, filler }), { qos: 1 })))
  }
  await eventually(async () => (await metric(hub, 'telehub_feed_merged_total')) > 0, 'events are merged')
  client.stream.resume()
  const newest = () => {
    const values = new Map<string, unknown>()
    for (const { said } of all) {
      if (said.event !== 'live') continue
      const [value] = (said.values ?? []).filter(({ value }) => typeof value === 'number')
      values.set(said.topic, value?.value)
    }
    return values
  }
  await eventually(
    () => Array.from({ length: 20 }, (_, i) => i).every(i => newest().get(`big/${i}`) === 11_980 + i),
    'the newest value of each topic has come',
  )
  t.ok(all.some(({ said }) => said.event === 'behind'))
  await eventually(() => all.some(({ said }) => said.event === 'caught_up'), 'caught up')
})

t.test('rules, malformed filters and the limit of feeds', async t => {
  const users = await usersFile()
  await users.add('viewer', ['allow read home/#', 'deny read home/secret/#'], { kind: 'dashboard' })
  await users.add('thermo', ['allow publish #'])
  const hub = await startHub(t, { ...users.settings, 'limits.feeds': '2' })
  const login = (username: string) => ({ username, password: passwordOf(username), protocolVersion: 5 as const })
  const device = await connectMqtt(t, hub.mqttUrl, login('thermo'))
  const viewer = await connectMqtt(t, hub.mqttUrl, login('viewer'))
  const all = told(viewer)
  for (const wrong of ['$hub/history/6h', '$hub/history/6h/300', '$hub/history/x/300/#', '$hub/history/6h/0/#']) {
    await t.rejects(viewer.subscribeAsync(wrong), { message: /Topic Filter invalid/ }, wrong)
  }
  await viewer.subscribeAsync(['$hub/history/1h/10/#', '$hub/history/1h/20/#', '$hub/history/1h/30/#'])
  await eventually(() => all.filter(({ said }) => said.event === 'ready').length === 2, 'two are ready')
  const [refused] = all.filter(({ said }) => said.event === 'ended')
  t.match(refused, { on: '$hub/history/1h/30/$all', said: { error: 'too_many', message: /limits.feeds/ } })
  for (const topic of ['home/secret/x', 'plant/x', 'home/x']) await device.publishAsync(topic, '1', { qos: 1 })
  await eventually(() => all.filter(({ said }) => said.event === 'live').length === 2, 'the topic that may be read')
  t.same(
    all.filter(({ said }) => said.event === 'live').map(({ said }) => said.topic),
    ['home/x', 'home/x'],
  )
})
