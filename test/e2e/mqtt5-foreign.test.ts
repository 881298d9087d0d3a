import { connect } from 'amqplib'
import mqtt, { type IClientOptions, type MqttClient, type Packet } from 'mqtt'
import t, { type Test } from 'tap'
import { open5, openRaw, propertiesOf } from '../clients/raw-mqtt.js'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { connectMqtt, eventually, metric, type RunningHub, startHub } from '../harness.js'
import { mosquittoClient } from '../services/mosquitto.js'
import { startRabbit } from '../services/rabbitmq.js'

/* MQTT 5 with clients and servers that share no code with us: MQTT.js, mosquitto's, RabbitMQ's. */

type Message = { readonly topic: string; readonly payload: string; readonly packet: Packet & { cmd: 'publish' } }

const rabbit = await startRabbit()
t.teardown(() => rabbit.stop())
const hub = await startHub(t)
const at = (server: RunningHub) => ['-h', '127.0.0.1', '-p', new URL(server.mqttUrl).port, '-V', '5']
const connect5 = (t: Test, url: string, options: IClientOptions = {}) =>
  connectMqtt(t, url, { protocolVersion: 5, ...options })

/** What comes to it from now on. */
function inbox(client: MqttClient): Message[] {
  const got: Message[] = []
  client.on('message', (topic, payload, packet) => got.push({ topic, payload: String(payload), packet }))
  return got
}

/** A client that comes back to its session: what waits there is not missed. */
async function back(t: Test, url: string, options: IClientOptions) {
  const client = mqtt.connect(url, { protocolVersion: 5, clean: false, reconnectPeriod: 0, ...options })
  t.teardown(() => client.endAsync(true).catch(() => {}))
  const got = inbox(client)
  const connack = await new Promise<Packet>((resolve, reject) => client.once('connect', resolve).once('error', reject))
  return { client, got, connack }
}

const property = (name: string, ...values: string[]) => ['-D', 'publish', name, ...values]
const full = [
  ...property('content-type', 'text/plain'),
  ...property('payload-format-indicator', '1'),
  ...property('response-topic', 'answers/here'),
  ...property('correlation-data', 'c-1'),
  ...property('message-expiry-interval', '500'),
  ...property('user-property', 'b', '2'),
  ...property('user-property', 'a', '1'),
  ...property('user-property', 'b', '3'),
]
const expected = {
  contentType: 'text/plain',
  payloadFormatIndicator: true,
  responseTopic: 'answers/here',
  correlationData: Buffer.from('c-1'),
}

t.test('from mosquitto_pub to MQTT.js, over TCP and WebSocket, live and retained', async t => {
  const clients = [await connect5(t, hub.mqttUrl), await connect5(t, hub.webSocketUrl)]
  const lists = clients.map(inbox)
  for (const client of clients)
    await client.subscribeAsync('mp/#', { qos: 2, rap: true, properties: { subscriptionIdentifier: 5 } })
  for (const qos of ['0', '1', '2']) {
    await mosquittoClient('pub', ...at(hub), '-t', `mp/${qos}`, '-m', `{"q":${qos}}`, '-q', qos, '-r', ...full)
  }
  const late = await connect5(t, hub.webSocketUrl)
  const kept = inbox(late)
  await eventually(() => lists.every(got => got.length === 3), 'all come')
  await late.subscribeAsync('mp/+', { qos: 1 })
  await eventually(() => kept.length === 3, 'retained')
  for (const { packet, payload, topic } of [...lists.flat(), ...kept]) {
    t.equal(payload, `{"q":${topic.at(-1)}}`)
    t.match(packet.properties, expected)
    t.same({ ...packet.properties?.userProperties }, { b: ['2', '3'], a: '1' })
    const expiry = packet.properties?.messageExpiryInterval ?? 0
    t.ok(expiry <= 500 && expiry > 400, `${expiry} s are left`)
    t.equal(packet.retain, true, 'retained, or retain as published')
  }
  t.same(
    lists.flat().map(({ packet }) => packet.properties?.subscriptionIdentifier),
    [5, 5, 5, 5, 5, 5],
  )
})

t.test('from MQTT.js to mosquitto_sub', async t => {
  const format = '%t %p %C %F %R %D %P|%E'
  const sub = (topic: string, ...more: string[]) =>
    mosquittoClient('sub', ...at(hub), '-t', topic, '-q', '2', '-W', '20', '-F', format, ...more)
  const publisher = await connect5(t, hub.webSocketUrl, {
    properties: { topicAliasMaximum: 5 },
    autoAssignTopicAlias: true,
  })
  const properties = { ...expected, messageExpiryInterval: 500, userProperties: { b: ['2', '3'], a: '1' } }
  const before = await metric(hub, 'telehub_subscriptions')
  const live = sub('js/live', '-C', '3')
  await eventually(async () => (await metric(hub, 'telehub_subscriptions')) === before + 1, 'it has subscribed')
  for (const qos of [0, 1, 2] as const) await publisher.publishAsync('js/live', `${qos}`, { qos, properties })
  await publisher.publishAsync('js/kept', 'kept', { qos: 1, retain: true, properties })
  const line = (topic: string, payload: string) => `${topic} ${payload} text/plain 1 answers/here c-1 b:2 b:3 a:1`
  const [first = '', second = '', third = ''] = (await live).split('\n')
  for (const [n, one] of [first, second, third].entries()) {
    const [text, expiry] = one.split('|')
    t.equal(text, line('js/live', String(n)))
    t.ok(Number(expiry) <= 500 && Number(expiry) > 400, `${expiry} s are left`)
  }
  t.match(await sub('js/kept', '-C', '1'), `${line('js/kept', 'kept')}|`)
  t.equal(
    await mosquittoClient(
      'sub',
      '-h',
      '127.0.0.1',
      '-p',
      new URL(hub.mqttUrl).port,
      '-V',
      'mqttv311',
      '-t',
      'js/kept',
      '-C',
      '1',
      '-W',
      '20',
      '-F',
      '%p|%C',
    ),
    'kept|\n',
    'as 3.1.1: the payload alone',
  )
})

t.test('topic aliases of MQTT.js, both ways', async t => {
  const options = { properties: { topicAliasMaximum: 8 }, autoAssignTopicAlias: true, autoUseTopicAlias: true }
  const publisher = await connect5(t, hub.mqttUrl, options)
  const subscriber = await connect5(t, hub.mqttUrl, { properties: { topicAliasMaximum: 3 } })
  const sent: unknown[] = []
  const received: unknown[] = []
  publisher.on('packetsend', packet => packet.cmd === 'publish' && sent.push(packet.properties?.topicAlias))
  subscriber.on('packetreceive', packet => packet.cmd === 'publish' && received.push(packet.properties?.topicAlias))
  const got = inbox(subscriber)
  await subscriber.subscribeAsync('al/#', { qos: 1 })
  const topics = Array.from({ length: 60 }, (_, n) => `al/${n % 5}`)
  for (const [n, topic] of topics.entries()) await publisher.publishAsync(topic, String(n), { qos: 1 })
  await eventually(() => got.length === topics.length, 'all come')
  t.same(
    got.map(({ topic, payload }) => `${topic} ${payload}`),
    topics.map((topic, n) => `${topic} ${n}`),
  )
  t.ok(
    sent.some(alias => alias !== undefined),
    'the client used them',
  )
  t.ok(
    received.some(alias => alias !== undefined),
    'the hub used them',
  )
})

t.test('sessions and wills of foreign clients: expiry, session present, a will with a delay', async t => {
  const session = { clientId: 'js-session', properties: { sessionExpiryInterval: 60 } }
  const first = await connect5(t, hub.mqttUrl, { ...session, clean: true })
  await first.subscribeAsync('se/#', { qos: 1 })
  await first.endAsync()
  await mosquittoClient('pub', ...at(hub), '-t', 'se/x', '-m', 'missed', '-q', '1', ...full)
  const second = await back(t, hub.webSocketUrl, session)
  t.match(second.connack, { sessionPresent: true })
  await eventually(() => second.got.length === 1, 'what it missed')
  t.match(second.got[0], { payload: 'missed', packet: { properties: { contentType: 'text/plain' } } })
  await second.client.endAsync(false, { properties: { sessionExpiryInterval: 0 } } as object)
  t.match((await back(t, hub.mqttUrl, session)).connack, { sessionPresent: false }, 'DISCONNECT ended it')

  const durable = [...at(hub), '-i', 'msub5', '-c', '-x', '60', '-q', '1', '-t', 'ms/#']
  await mosquittoClient('sub', ...durable, '-E')
  for (const text of ['1', '2']) await mosquittoClient('pub', ...at(hub), '-t', 'ms/x', '-m', text, '-q', '1', ...full)
  t.equal(
    await mosquittoClient('sub', ...durable, '-C', '2', '-W', '20', '-F', '%p %C'),
    '1 text/plain\n2 text/plain\n',
  )

  const watcher = await connect5(t, hub.mqttUrl)
  const wills = inbox(watcher)
  await watcher.subscribeAsync('wi/#', { qos: 1 })
  const will = {
    topic: 'wi/js',
    payload: Buffer.from('gone'),
    qos: 1 as const,
    retain: false,
    properties: { willDelayInterval: 1, contentType: 'text/plain', userProperties: { why: 'cut' } },
  }
  const dying = await connect5(t, hub.mqttUrl, { clientId: 'js-will', will, properties: { sessionExpiryInterval: 60 } })
  const cutAt = performance.now()
  dying.stream.destroy()
  await eventually(() => wills.length === 1, 'the will')
  t.ok(performance.now() - cutAt > 950, 'after its delay')
  t.match(wills[0], {
    payload: 'gone',
    packet: { properties: { contentType: 'text/plain', userProperties: { why: 'cut' } } },
  })
})

t.test('shared subscriptions of foreign clients', async t => {
  const members = [
    await connect5(t, hub.mqttUrl),
    await connect5(t, hub.webSocketUrl),
    await connectMqtt(t, hub.mqttUrl),
  ]
  const lists = members.map(inbox)
  for (const client of members) await client.subscribeAsync('$share/crew/sh/#', { qos: 1 })
  const before = await metric(hub, 'telehub_subscriptions')
  const sub = mosquittoClient('sub', ...at(hub), '-t', '$share/crew/sh/#', '-q', '1', '-W', '20', '-C', '10')
  await eventually(async () => (await metric(hub, 'telehub_subscriptions')) === before + 1, 'it has subscribed')
  const publisher = await connectMqtt(t, hub.mqttUrl)
  let sent = 0
  let printed = ''
  void sub.then(text => {
    printed = text
  })
  // It leaves with the tenth; what it was sent beyond that goes to the others.
  await eventually(async () => {
    await Promise.all(Array.from({ length: 20 }, () => publisher.publishAsync('sh/x', String(sent++), { qos: 1 })))
    return printed !== ''
  }, 'it has had ten')
  const own = printed.trim().split('\n')
  const all = () => new Set([...own, ...lists.flat().map(({ payload }) => payload)])
  await eventually(() => all().size === sent, 'together they have all')
  t.equal(own.length, 10)
  t.ok(
    lists.every(got => got.length > 0),
    'everybody has a part',
  )
})

t.test('what a user may not: reason codes in MQTT 5 and the connection stays; 3.1.1 as ever', async t => {
  const users = await usersFile()
  await users.add('thermo', ['allow publish home/thermo/#', 'allow read home/thermo/#'])
  await users.add('watcher', ['allow read #'])
  const hub = await startHub(t, users.settings)
  const as = (username: string) => ({ username, password: passwordOf(username) })
  const watcher = await connect5(t, hub.mqttUrl, as('watcher'))
  const seen = inbox(watcher)
  await watcher.subscribeAsync('#', { qos: 1 })
  for (const url of [hub.mqttUrl, hub.webSocketUrl]) {
    const device = await connect5(t, url, as('thermo'))
    for (const qos of [1, 2] as const) {
      await t.rejects(device.publishAsync('home/other/x', 'forged', { qos }), { code: 0x87 }, `QoS ${qos}`)
      await t.rejects(device.publishAsync('$SYS/x', 'forged', { qos }), { code: 0x87 }, `$SYS, QoS ${qos}`)
    }
    await device.publishAsync('home/other/x', 'forged')
    const granted = await new Promise(resolve =>
      device.subscribe({ 'home/other/#': { qos: 1 }, 'home/thermo/#': { qos: 1 } }, (_error, _granted, suback) =>
        resolve(suback?.granted),
      ),
    )
    t.same(granted, [0x87, 1])
    await device.publishAsync('home/thermo/x', 'fine', { qos: 2 })
    t.ok(device.connected, 'it stays')
    for (const [bad, code] of [
      [{ ...as('thermo'), password: 'wrong' }, 0x86],
      [{ username: 'nobody', password: 'x' }, 0x86],
    ] as const) {
      await t.rejects(connect5(t, url, bad), { code })
    }
  }
  await eventually(() => seen.filter(({ payload }) => payload === 'fine').length === 2, 'what it may is delivered')
  t.notOk(seen.some(({ payload }) => payload === 'forged'))

  const old = await openRaw(t, hub, { username: 'thermo', password: Buffer.from(passwordOf('thermo')) })
  t.same(await old.subscribe({ 'home/other/#': 1, 'home/thermo/#': 1 }), [0x80, 1])
  const older = mosquittoClient(
    'pub',
    '-h',
    '127.0.0.1',
    '-p',
    new URL(hub.mqttUrl).port,
    '-V',
    'mqttv311',
    '-u',
    'thermo',
    '-P',
    passwordOf('thermo'),
    '-t',
    'home/other/x',
    '-m',
    'forged',
    '-q',
    '1',
    '-d',
  )
  const said = await older.catch((error: { stdout?: string }) => error.stdout ?? '')
  t.notMatch(said, /PUBACK/, '3.1.1: closed, not acknowledged')
  const five = await mosquittoClient(
    'pub',
    ...at(hub),
    '-u',
    'thermo',
    '-P',
    passwordOf('thermo'),
    '-t',
    'home/other/x',
    '-m',
    'forged',
    '-q',
    '1',
    '-d',
  ).catch((error: { stdout?: string; stderr?: string }) => `${error.stdout}${error.stderr}`)
  t.match(five, /PUBACK \(.*RC:135|Not authorized/i, 'MQTT 5: PUBACK with 0x87')
})

t.test('RabbitMQ: properties become headers, and headers of a back end become properties', async t => {
  const model = await connect(rabbit.url)
  t.teardown(() => model.close().catch(() => {}))
  const hub = await startHub(t, { 'rabbitmq.url': rabbit.url })
  await eventually(async () => {
    const { body } = await hub.get<{ dependencies: { name: string; state: string }[] }>('/readyz')
    return body.dependencies.find(({ name }) => name === 'RabbitMQ')?.state === 'up'
  }, 'RabbitMQ is up')
  const channel = await model.createConfirmChannel()
  const { queue } = await channel.assertQueue('', { exclusive: true })
  await channel.bindQueue(queue, 'telehub.telemetry', 'out.#')
  const seen: { headers: Record<string, unknown>; at: number }[] = []
  await channel.consume(queue, got => {
    if (!got) return
    seen.push({ headers: { ...got.properties.headers }, at: Date.now() * 1_000 })
    channel.ack(got)
  })
  const sentAt = Date.now() * 1_000
  await mosquittoClient('pub', ...at(hub), '-t', 'out/x', '-m', '1', '-q', '1', ...full)
  await mosquittoClient('pub', ...at(hub), '-t', 'out/x', '-m', '2', '-q', '1')
  await eventually(() => seen.length === 2, 'the back end has both')
  const [rich, bare] = seen as [(typeof seen)[0], (typeof seen)[0]]
  t.match(rich.headers, {
    'mqtt-topic': 'out/x',
    'mqtt-content-type': 'text/plain',
    'mqtt-response-topic': 'answers/here',
    'mqtt-payload-format': 1,
  })
  t.equal(String(rich.headers['mqtt-correlation-data']), 'c-1')
  t.same(
    rich.headers['mqtt-user-properties'],
    [
      ['b', '2'],
      ['a', '1'],
      ['b', '3'],
    ],
    'pairs, in their order',
  )
  const expiresAt = Number(rich.headers['mqtt-expires-at'])
  t.ok(expiresAt >= sentAt + 500e6 && expiresAt <= rich.at + 500e6, 'microseconds since the epoch')
  const names = [
    'content-type',
    'response-topic',
    'correlation-data',
    'payload-format',
    'user-properties',
    'expires-at',
  ]
  for (const name of names) t.notOk(Object.hasOwn(bare.headers, `mqtt-${name}`), `none of ${name}`)

  const reader = await open5(t, hub)
  const absent = { clientId: 'absent', properties: { sessionExpiryInterval: 60 } }
  const first = await open5(t, hub, absent)
  for (const client of [reader, first]) await client.subscribe({ 'in/#': 1 })
  await first.cut()
  const send = (text: string, headers: object) =>
    channel.publish('telehub.publish', 'in.x', Buffer.from(text), {
      persistent: true,
      headers: { 'mqtt-qos': 1, ...headers },
    })
  const userProperties = [
    ['z', '1'],
    ['a', '2'],
    ['z', '3'],
    ['', ''],
  ]
  const all = {
    'mqtt-content-type': 'application/json',
    'mqtt-response-topic': 'answers/back',
    'mqtt-correlation-data': Buffer.from([0, 1, 255]),
    'mqtt-payload-format': 1,
    'mqtt-user-properties': userProperties,
  }
  send('rich', { ...all, 'mqtt-expires-at': Date.now() * 1_000 + 100e6 })
  send('too late', { 'mqtt-expires-at': Date.now() * 1_000 - 1e6 })
  send('bare', {})
  await channel.waitForConfirms()
  const back = async () => open5(t, hub, { ...absent, clean: false })
  for (const client of [reader, await eventually(() => back(), 'it is back')]) {
    const [one, two] = await client.take(2)
    t.same([String(one?.payload), String(two?.payload)], ['rich', 'bare'], 'what has expired is not delivered')
    const found = one ? propertiesOf(one) : []
    t.same(
      found.filter(([id]) => id === 0x26).map(([, value]) => value),
      userProperties,
      'in their order',
    )
    const others = new Map(found.filter(([id]) => id !== 0x26))
    t.match(
      [0x03, 0x08, 0x09, 0x01].map(id => others.get(id)),
      ['application/json', 'answers/back', Buffer.from([0, 1, 255]), 1],
    )
    const left = Number(others.get(0x02))
    t.ok(left <= 100 && left > 30, `${left} s are left`)
    t.same(two ? propertiesOf(two) : undefined, [])
  }
})
