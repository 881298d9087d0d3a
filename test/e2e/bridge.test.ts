import t, { type Test } from 'tap'
import { type ConnectOptions, RawClient } from '../clients/raw-mqtt.js'
import { connectMqtt, eventually, type RunningHub, startHub } from '../harness.js'
import { ensureMosquitto, startMosquitto } from '../services/mosquitto.js'

await ensureMosquitto()

const stateOf = (id: string) => `$SYS/broker/connection/${id}/state`

/** Messages on `topics` as a client of this broker sees them: `topic=payload`, and ` retain` with the flag. */
async function watch(t: Test, url: string, topics: string | string[]): Promise<string[]> {
  const got: string[] = []
  const client = await connectMqtt(t, url)
  client.on('message', (topic, payload, { retain }) => got.push(`${topic}=${payload}${retain ? ' retain' : ''}`))
  await client.subscribeAsync(topics, { qos: 1 })
  return got
}

for (const version of ['mqttv311', 'mqttv50']) {
  t.test(`a bridge of Mosquitto with default settings, ${version}`, async t => {
    const hub = await startHub(t, { 'sys.interval': '0s' })
    const id = `bridge-${version}`
    const other = await startMosquitto({
      lines: [
        // As by default: a bridge with none would ask for a receive maximum of 0, which MQTT 5 forbids.
        'max_inflight_messages 20',
        'connection hub',
        `address 127.0.0.1:${new URL(hub.mqttUrl).port}`,
        `remote_clientid ${id}`,
        `bridge_protocol_version ${version}`,
        'topic both/# both 1',
        'topic up/# out 1',
        'topic down/# in 1',
      ],
    })
    t.teardown(() => other.stop())
    const states = await watch(t, hub.mqttUrl, stateOf(id))
    await eventually(
      () => states.includes(`${stateOf(id)}=1`) || states.includes(`${stateOf(id)}=1 retain`),
      'it is up',
    )

    const here = await connectMqtt(t, hub.mqttUrl)
    const there = await connectMqtt(t, other.url)
    const gotHere = await watch(t, hub.mqttUrl, ['both/#', 'up/#', 'down/#'])
    const gotThere = await watch(t, other.url, ['both/#', 'up/#', 'down/#'])
    // What is subscribed at the other side by a bridge that has just come may take a moment.
    await eventually(async () => {
      await here.publishAsync('both/ready', 'x', { qos: 1 })
      return gotThere.includes('both/ready=x')
    }, 'it has subscribed')
    const expected: string[] = []
    for (let n = 0; n < 50; n++) {
      for (const [client, topics] of [
        [here, ['both/here', 'down/here']],
        [there, ['both/there', 'up/there']],
      ] as const) {
        for (const topic of topics) {
          await client.publishAsync(topic, String(n), { qos: 1 })
          expected.push(`${topic}=${n}`)
        }
      }
    }
    await here.publishAsync('both/kept', 'from here', { qos: 1, retain: true })
    await here.publishAsync('both/last', 'here', { qos: 1 })
    await there.publishAsync('both/last', 'there', { qos: 1 })
    const all = [...expected, 'both/kept=from here', 'both/last=here', 'both/last=there'].sort()
    for (const [where, got] of Object.entries({ hub: gotHere, mosquitto: gotThere })) {
      const seen = () => got.filter(one => !one.startsWith('both/ready')).sort()
      await eventually(() => seen().length >= all.length, `all is at ${where}`)
      t.same(seen(), all, `each came to ${where} once`)
    }
    const late = await watch(t, other.url, 'both/kept')
    await eventually(() => late.length > 0, 'what is retained')
    t.same(late, ['both/kept=from here retain'], 'is retained at the other side, too')
    t.notMatch(hub.log(), /refused/)

    await other.kill()
    await eventually(() => states.at(-1) === `${stateOf(id)}=0`, 'the hub says that it is gone')
  })
}

/** A client that says it is a bridge, in the bit that the types of mqtt-packet do not know. */
async function bridge(t: Test, hub: RunningHub, clientId: string, more: ConnectOptions = {}): Promise<RawClient> {
  const client = new RawClient(t, hub.mqttUrl, more.protocolVersion ?? 4)
  await client.connect({ clientId, bridgeMode: true, ...more } as ConnectOptions)
  return client
}

t.test('what a bridge says of itself is its own state, and nothing else', async t => {
  const hub = await startHub(t, { 'sys.interval': '0s' })
  const states = await watch(t, hub.mqttUrl, '$SYS/broker/connection/#')
  const topic = stateOf('b')
  const will = { topic, payload: Buffer.from('0'), qos: 1, retain: true } as const
  const client = await bridge(t, hub, 'b', { will })
  for (const [messageId, qos] of [
    [1, 1],
    [2, 2],
  ] as const) {
    client.send({ cmd: 'publish', topic, payload: '1', qos, messageId, retain: true, dup: false })
    t.match(await client.next(), { cmd: qos === 1 ? 'puback' : 'pubrec', messageId })
  }
  client.send({ cmd: 'pubrel', messageId: 2 })
  t.match(await client.next(), { cmd: 'pubcomp', messageId: 2 })
  client.destroy()
  await eventually(() => states.length === 2, 'both states')
  t.same(states, [`${topic}=1`, `${topic}=0`])

  for (const [name, payload] of [
    [topic, 'x'],
    [topic, '11'],
    [stateOf('other'), '1'],
    [`${topic}/x`, '1'],
    ['$SYS/broker/uptime', '1'],
  ] as const) {
    const again = await bridge(t, hub, 'b')
    again.send({ cmd: 'publish', topic: name, payload, qos: 1, messageId: 1, retain: true, dup: false })
    t.same(await again.gone(), [], `${name}=${payload} closes the connection, as before`)
  }
})

t.test('the bridge bit of MQTT 3.1 and 3.1.1: no echo, and RETAIN flags as published', async t => {
  const hub = await startHub(t)
  for (const version of [3, 4] as const) {
    const client = await bridge(t, hub, 'b', {
      protocolVersion: version,
      ...(version === 3 && { protocolId: 'MQIsdp' }),
    })
    const plain = new RawClient(t, hub.mqttUrl)
    await plain.connect({ clientId: 'plain' })
    await client.subscribe({ [`e${version}/#`]: 1 })
    await plain.subscribe({ [`e${version}/#`]: 1 })
    const own = {
      cmd: 'publish',
      topic: `e${version}/own`,
      payload: 'x',
      qos: 1,
      messageId: 9,
      retain: false,
      dup: false,
    } as const
    client.send(own)
    await client.answer('puback')
    plain.send({ ...own, topic: `e${version}/other`, retain: true })
    await plain.answer('puback')
    const seen = async (one: RawClient) => (await one.publishes()).map(({ topic, retain }) => `${topic} ${retain}`)
    t.same(await seen(client), [`e${version}/other true`])
    t.same(await seen(plain), [`e${version}/own false`, `e${version}/other false`])
    await client.cut()
    await plain.cut()
  }
})
