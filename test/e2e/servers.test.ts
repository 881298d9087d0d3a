import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type Message } from 'amqplib'
import t, { type Test } from 'tap'
import { connectMqtt, eventually, history, metric, type RunningHub, startHub } from '../harness.js'
import { startInflux } from '../services/influxdb.js'
import { startRabbit } from '../services/rabbitmq.js'

const [rabbit, influx] = await Promise.all([startRabbit(), startInflux()])
t.teardown(() => Promise.all([rabbit.stop(), influx.stop()]))

/** Each test has a database of its own; the queues of RabbitMQ are the hub's own names and begin empty. */
async function settingsFor(name: string): Promise<Record<string, string>> {
  const model = await connect(rabbit.url)
  for (const queue of ['telehub.record', 'telehub.publish', 'telehub.dead']) {
    // A queue that is not there yet ends the channel, so each has its own.
    const channel = await model.createChannel()
    channel.on('error', () => {})
    await channel.purgeQueue(queue).catch(() => {})
  }
  await model.close()
  return { 'rabbitmq.url': rabbit.url, 'influx.url': `${influx.url}/${name}` }
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => from + n)

async function publishAll(t: Test, hub: RunningHub, values: readonly number[]): Promise<void> {
  const device = await connectMqtt(t, hub.mqttUrl)
  await Promise.all(
    values.map(value => device.publishAsync('home/kitchen/t1/telemetry', JSON.stringify({ value }), { qos: 1 })),
  )
  await device.endAsync()
}

const series = 'telemetry,device=t1,room=kitchen value'

async function stored(t: Test, hub: RunningHub, values: readonly number[]): Promise<void> {
  const found = await eventually(async () => {
    const answer = await history(hub, series)
    return answer.length >= values.length && answer
  }, `${values.length} values stored`)
  t.same(found, values, 'each once, in order')
}

interface Ready {
  ready: boolean
  dependencies: { name: string; state: string; detail?: string }[]
}

const state = async (hub: RunningHub, name: string) =>
  (await hub.get<Ready>('/readyz')).body.dependencies.find(dependency => dependency.name === name)?.state

t.test(
  'device → RabbitMQ → InfluxDB; a back end reads along; killed and started again, each reading is there once',
  async t => {
    const settings = await settingsFor('whole')
    const first = await startHub(t, settings)
    await eventually(async () => (await state(first, 'RabbitMQ')) === 'up', 'RabbitMQ is up')

    const model = await connect(rabbit.url)
    t.teardown(() => model.close().catch(() => {}))
    const channel = await model.createChannel()
    const { queue } = await channel.assertQueue('', { exclusive: true })
    await channel.bindQueue(queue, 'telehub.telemetry', 'home.#')
    const seen: { key: string; topic: unknown; client: unknown; body: string }[] = []
    await channel.consume(queue, got => {
      if (!got) return
      const { headers = {} } = got.properties
      seen.push({
        key: got.fields.routingKey,
        topic: headers['mqtt-topic'],
        client: headers['client-id'],
        body: got.content.toString(),
      })
      channel.ack(got)
    })

    const device = await connectMqtt(t, first.mqttUrl, { clientId: 'dev-1' })
    await Promise.all(
      range(0, 300).map(value =>
        device.publishAsync('home/kitchen/t1/telemetry', JSON.stringify({ value }), { qos: 1 }),
      ),
    )
    await device.publishAsync('garden/x', '1', { qos: 1 })
    await first.kill()
    const second = await startHub(t, settings, first.dir)
    await stored(t, second, range(0, 300))
    await eventually(() => new Set(seen.map(one => one.body)).size === 300, 'the back end has all')
    t.match(seen[0], {
      key: 'home.kitchen.t1.telemetry',
      topic: 'home/kitchen/t1/telemetry',
      client: 'dev-1',
      body: '{"value":0}',
    })
    t.ok(seen.every(one => one.key.startsWith('home.')))

    const { body } = await second.get<{ series: { key: string; type: string; last: { value: unknown } }[] }>(
      '/api/series',
    )
    t.match(
      body.series.find(one => one.key === series),
      { type: 'number', last: { value: 299 } },
    )
    t.equal(await second.stop(), 0)
  },
)

t.test('MQTT 5: a request from a back end to a device and the answer, each with what was sent along', async t => {
  const hub = await startHub(t, await settingsFor('requests'))
  await eventually(async () => (await state(hub, 'RabbitMQ')) === 'up', 'RabbitMQ is up')
  const model = await connect(rabbit.url)
  t.teardown(() => model.close().catch(() => {}))
  const channel = await model.createChannel()
  const { queue } = await channel.assertQueue('', { exclusive: true })
  await channel.bindQueue(queue, 'telehub.telemetry', 'replies.#')
  const answer = new Promise<Message | null>(resolve => {
    void channel.consume(queue, resolve, { noAck: true })
  })
  const device = await connectMqtt(t, hub.mqttUrl, { protocolVersion: 5 })
  device.on('message', (_topic, payload, { properties = {} }) => {
    const { responseTopic = '', correlationData, userProperties } = properties
    device.publish(responseTopic, `got ${payload}`, {
      qos: 1,
      properties: {
        ...(correlationData && { correlationData }),
        ...(userProperties && { userProperties }),
        contentType: 'text/plain',
        payloadFormatIndicator: true,
        messageExpiryInterval: properties.messageExpiryInterval === 60 ? 100 : 1,
      },
    })
  })
  await device.subscribeAsync('lamp/+', { qos: 1 })
  channel.publish('telehub.publish', 'lamp.set', Buffer.from('on'), {
    correlationId: 'abc',
    expiration: '60000',
    headers: {
      'mqtt-qos': 1,
      'mqtt-response-topic': 'replies/1',
      'mqtt-user-properties': [
        ['trace', '1'],
        ['trace', '0'],
      ],
    },
  })
  const { content, properties } = (await answer) as Message
  t.equal(content.toString(), 'got on')
  t.equal(properties.contentType, 'text/plain')
  const { 'received-at': receivedAt, 'mqtt-expires-at': expiresAt, ...headers } = properties.headers ?? {}
  t.match(headers, {
    'mqtt-topic': 'replies/1',
    'mqtt-content-type': 'text/plain',
    'mqtt-payload-format': 1,
    'mqtt-correlation-data': Buffer.from('abc'),
    'mqtt-user-properties': [
      ['trace', '1'],
      ['trace', '0'],
    ],
  })
  t.notOk('mqtt-response-topic' in headers)
  t.equal(Math.round((expiresAt - receivedAt) / 1e6), 100)
})

t.test('what cannot be decoded is dead-lettered in RabbitMQ with its reason, and shown by the API', async t => {
  const hub = await startHub(t, await settingsFor('dead'))
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'odd' })
  await device.publishAsync('odd', '{"broken', { qos: 1 })
  const [letter] = await eventually(async () => {
    const { body } = await hub.get<{ dead: object[] }>('/api/dead')
    return body.dead.length > 0 && body.dead
  }, 'the dead letter is there')
  t.match(letter, { topic: 'odd', clientId: 'odd', reason: 'bad_json' })
})

t.test('RabbitMQ goes away in the middle and comes back: devices notice nothing, nothing is missing', async t => {
  const hub = await startHub(t, await settingsFor('rabbit_away'))
  await publishAll(t, hub, range(0, 100))
  await stored(t, hub, range(0, 100))
  // RabbitMQ writes down that a quorum queue exists only seconds after it was declared.
  await sleep(8_000)
  await rabbit.kill()
  await publishAll(t, hub, range(100, 400))
  await eventually(async () => (await state(hub, 'RabbitMQ')) === 'down', 'the hub says that RabbitMQ is down')
  t.equal((await hub.get<Ready>('/readyz')).status, 200, 'and that it is ready all the same')
  await rabbit.restart()
  await publishAll(t, hub, range(400, 500))
  await stored(t, hub, range(0, 500))
  await eventually(async () => (await state(hub, 'RabbitMQ')) === 'up', 'up again')
})

t.test('InfluxDB goes away in the middle and comes back: nothing is missing', async t => {
  const hub = await startHub(t, await settingsFor('influx_away'))
  await publishAll(t, hub, range(0, 100))
  await stored(t, hub, range(0, 100))
  await influx.kill()
  await publishAll(t, hub, range(100, 300))
  await eventually(async () => (await state(hub, 'InfluxDB')) === 'down', 'the hub says that InfluxDB is down')
  const { status, body } = await hub.get<{ error: string }>('/api/series')
  t.equal(status, 503)
  t.equal(body.error, 'store_unavailable')
  await influx.restart()
  await stored(t, hub, range(0, 300))
  await eventually(async () => (await state(hub, 'InfluxDB')) === 'up', 'up again')
})

t.test('started while neither is there: it accepts, and catches up when they come', async t => {
  const settings = await settingsFor('late')
  await Promise.all([rabbit.kill(), influx.kill()])
  const hub = await startHub(t, settings)
  await publishAll(t, hub, range(0, 200))
  await Promise.all([rabbit.restart(), influx.restart()])
  await stored(t, hub, range(0, 200))
})

t.test(
  'a back end publishes to telehub.publish: subscribers get it, absent ones later, and it is acknowledged only then',
  async t => {
    const settings = await settingsFor('outward')
    const first = await startHub(t, settings)
    await eventually(async () => (await state(first, 'RabbitMQ')) === 'up', 'RabbitMQ is up')
    const got: string[] = []
    const page = await connectMqtt(t, first.webSocketUrl)
    page.on('message', (topic, payload) => got.push(`${topic} ${payload}`))
    await page.subscribeAsync(['lamp/#', 'state/#'], { qos: 1 })
    const absent = { clientId: 'absent', clean: false }
    const lamp = await connectMqtt(t, first.mqttUrl, absent)
    await lamp.subscribeAsync('lamp/#', { qos: 1 })
    await lamp.endAsync()

    const model = await connect(rabbit.url)
    t.teardown(() => model.close().catch(() => {}))
    const channel = await model.createConfirmChannel()
    const publish = (key: string, text: string, headers: object = {}) =>
      channel.publish('telehub.publish', key, Buffer.from(text), { persistent: true, headers })
    publish('lamp.set', 'on', { 'mqtt-qos': 1 })
    publish('state.v1%2E2', 'kept', { 'mqtt-qos': 1, 'mqtt-retain': true })
    publish('lamp.set', 'off', { 'mqtt-qos': 1 })
    publish('$hub.last.x', 'forged')
    await channel.waitForConfirms()
    await eventually(() => got.length === 3, 'the page has them')
    t.same(got, ['lamp/set on', 'state/v1.2 kept', 'lamp/set off'])
    // The queue's own count leaves out what is delivered and not acknowledged.
    const putAway = 'telehub_dead_total{reason="bad_topic"}'
    await eventually(async () => (await metric(first, putAway)) === 1, 'all are acknowledged')
    await first.kill()

    const second = await startHub(t, settings, first.dir)
    const { default: mqtt } = await import('mqtt')
    const back = mqtt.connect(second.mqttUrl, { protocolVersion: 4, ...absent })
    t.teardown(() => back.endAsync(true))
    const late: string[] = []
    back.on('message', (_topic, payload) => late.push(payload.toString()))
    await eventually(() => late.length >= 2, 'the absent one gets them')
    t.same(late, ['on', 'off'])
    const reader = await connectMqtt(t, second.mqttUrl)
    const retained = new Promise(resolve => reader.once('message', (_topic, payload) => resolve(payload.toString())))
    await reader.subscribeAsync('state/v1.2')
    t.equal(await retained, 'kept')
    const { body } = await second.get<{ dead: object[] }>('/api/dead')
    t.match(body.dead, [{ reason: 'bad_topic', topic: '$hub/last/x' }])
  },
)
