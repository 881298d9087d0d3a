import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { connectMqtt, eventually, history, metric, type RunningHub, runCli, startHub } from '../harness.js'
import { foreignKafka, freshPrefix, records } from '../kafka/client.js'
import { startInflux } from '../services/influxdb.js'
import { startMockKafka } from '../services/kafka.js'

/*
 * The record path through Kafka, with hubs and processes as users start them, on librdkafka's mock cluster.
 */

const [cluster, influx] = await Promise.all([startMockKafka(), startInflux()])
t.teardown(() => Promise.all([cluster.stop(), influx.stop()]))

interface KafkaSheet {
  received: number
  stored: number
  queue: number
  spool: number
  dead: number
  dropped: number
  residual: number
}

const sheetOf = async (hub: RunningHub) => (await hub.get<KafkaSheet>('/api/balance')).body

/** A short session: after a kill the mock cluster waits for that before another consumer gets a partition. */
const settingsOf = (prefix: string) => ({
  'kafka.brokers': cluster.brokers,
  'kafka.prefix': prefix,
  'kafka.partitions': '4',
  'kafka.session': '3000',
})

async function publishNumbers(t: Test, hub: RunningHub, devices: number, from: number, to: number) {
  await Promise.all(
    Array.from({ length: devices }, async (_, d) => {
      const device = await connectMqtt(t, hub.mqttUrl, { clientId: `dev${d}` })
      await Promise.all(
        Array.from({ length: to - from }, (_, n) => device.publishAsync(`p/${d}`, String(from + n), { qos: 1 })),
      )
      await device.endAsync()
    }),
  )
}

const upTo = (count: number) => Array.from({ length: count }, (_, n) => n)

async function isAllStored(t: Test, hub: RunningHub, devices: number, each: number) {
  for (let d = 0; d < devices; d++)
    t.same(await history(hub, `p,topic=p/${d} value`), upTo(each), `device ${d}: in the order sent, each once`)
}

for (const envelope of ['message', 'batch'] as const) {
  t.test(`through Kafka into the store, envelope ${envelope}; the hub is killed in between`, async t => {
    const prefix = freshPrefix()
    const settings = { ...settingsOf(prefix), 'kafka.envelope': envelope }
    const first = await startHub(t, settings)
    await publishNumbers(t, first, 5, 0, 400)
    await first.kill()
    const hub = await startHub(t, settings, first.dir)
    await publishNumbers(t, hub, 5, 400, 500)
    const bad = await connectMqtt(t, hub.mqttUrl, { clientId: 'bad' })
    await bad.publishAsync('p/bad', '{"no reading', { qos: 1 })
    await eventually(async () => {
      const { stored, dead, spool, queue } = await sheetOf(hub)
      return stored === 2_500 && dead === 1 && spool + queue === 0
    }, 'all is stored')
    t.match(await sheetOf(hub), { received: 2_501, stored: 2_500, dead: 1, queue: 0, spool: 0, residual: 0 })
    await isAllStored(t, hub, 5, 500)

    const { body } = await hub.get<{ dead: { id: string }[] }>('/api/dead')
    t.match(body.dead, [{ reason: 'bad_json', clientId: 'bad' }])
    const [letter] = await records(t, cluster, `${prefix}dead`, 1)
    t.match(letter, { key: 'bad', headers: { 'mqtt-topic': 'p/bad', reason: 'bad_json' } })
    t.equal(String(letter?.value), '{"no reading')
    const ready = await hub.get<{ dependencies: { name: string; state: string }[] }>('/readyz')
    t.match(
      ready.body.dependencies.find(({ name }) => name === 'Kafka'),
      { state: 'up' },
    )
  })
}

t.test('what a back end sends to the topic publish comes to MQTT subscribers', async t => {
  const prefix = freshPrefix()
  const hub = await startHub(t, settingsOf(prefix))
  const screen = await connectMqtt(t, hub.mqttUrl, { clientId: 'screen' })
  const got: string[] = []
  screen.on('message', (topic, payload, { qos, retain }) => got.push(`${topic}=${payload} ${qos}${retain ? ' r' : ''}`))
  await screen.subscribeAsync('#', { qos: 1 })
  await eventually(async () => {
    const { body } = await hub.get<{ dependencies: { name: string; state: string }[] }>('/readyz')
    return body.dependencies.some(({ name, state }) => name === 'Kafka' && state === 'up')
  }, 'Kafka is up')
  const producer = foreignKafka(cluster).producer()
  await producer.connect()
  t.teardown(() => producer.disconnect())
  await producer.send({
    topic: `${prefix}publish`,
    messages: [
      { key: 'lamp/1/set', value: 'on', headers: { 'mqtt-qos': '1' } },
      { key: 'any key', value: '7', headers: { 'mqtt-topic': 'room/ü', 'mqtt-retain': 'true' } },
      { key: 'no/#/topic', value: 'x' },
    ],
  })
  await eventually(() => got.length === 2, 'both are there')
  t.same([...got].sort(), ['lamp/1/set=on 1', 'room/ü=7 0'])
  const { body } = await hub.get<{ dead: { reason: string }[] }>('/api/dead')
  await eventually(async () => (await hub.get<{ dead: unknown[] }>('/api/dead')).body.dead.length === 1, 'dead letter')
  t.ok(body)
})

t.test('two processes store side by side, one is killed, and the hub knows of all', async t => {
  const prefix = freshPrefix()
  const settings = { ...settingsOf(prefix), 'influx.url': `${influx.url}/kafka` }
  const flags = Object.entries(settings).flatMap(([key, value]) => [`--${key}`, value])
  const hub = await startHub(t, { ...settings, 'kafka.record': 'false' })
  await publishNumbers(t, hub, 8, 0, 250)
  const bad = await connectMqtt(t, hub.mqttUrl, { clientId: 'bad' })
  await bad.publishAsync('p/bad', '{"no reading', { qos: 1 })
  await eventually(async () => (await sheetOf(hub)).queue === 2_001, 'they wait in Kafka')
  const start = async () => {
    const run = runCli(['process', ...flags])
    t.teardown(() => run.kill())
    await run.line(/^telehub process ready · Kafka .* → InfluxDB .*$/m)
    return run
  }
  const first = await start()
  await start()
  await eventually(async () => (await sheetOf(hub)).stored > 0, 'they work')
  await publishNumbers(t, hub, 8, 250, 500)
  await sleep(500)
  await first.kill()
  await publishNumbers(t, hub, 8, 500, 750)
  await eventually(async () => {
    const { stored, spool, queue, dead } = await sheetOf(hub)
    return stored === 6_000 && dead === 1 && spool + queue === 0
  }, 'the other one has taken over')
  t.match(await sheetOf(hub), { received: 6_001, stored: 6_000, dead: 1, residual: 0 })
  await isAllStored(t, hub, 8, 750)
  const letters = await eventually(async () => {
    const { body } = await hub.get<{ dead: { id: string }[] }>('/api/dead')
    return body.dead.length > 0 && body.dead
  }, 'the hub has the letter')
  t.match(letters, [{ reason: 'bad_json', clientId: 'bad' }])
  t.equal((await records(t, cluster, `${prefix}dead`, 1))[0]?.headers['client-id'], 'bad')
})

t.test('Kafka is away, and has messages twice: devices notice nothing, and each is stored once', async t => {
  const prefix = freshPrefix()
  const hub = await startHub(t, settingsOf(prefix))
  // The mock cluster keeps what is sent again, as no real one would: the hub recognises it by itself.
  cluster.dropAnswers(3)
  await publishNumbers(t, hub, 4, 0, 100)
  await eventually(async () => (await sheetOf(hub)).stored === 400, 'it works')
  await cluster.down(1, 2, 3)
  await publishNumbers(t, hub, 4, 100, 300)
  await eventually(async () => {
    const { body } = await hub.get<{ dependencies: { name: string; state: string; detail?: string }[] }>('/readyz')
    return body.dependencies.some(({ name, state }) => name === 'Kafka' && state === 'down')
  }, 'the hub says that Kafka is down')
  t.match(hub.log(), /Kafka is down: .*the spool keeps arriving messages/)
  await eventually(() => metric(hub, 'telehub_target_failures{target="Kafka"}'), 'the failures are counted')
  await cluster.up(1, 2, 3)
  await publishNumbers(t, hub, 4, 300, 350)
  await eventually(async () => {
    const { stored, spool, queue } = await sheetOf(hub)
    return stored === 1_400 && spool + queue === 0
  }, 'all is stored')
  t.match(await sheetOf(hub), { received: 1_400, stored: 1_400, dead: 0, residual: 0 })
  await isAllStored(t, hub, 4, 350)
  const kept = cluster.produced.filter(({ topic }) => topic === `${prefix}telemetry`)
  t.ok(kept.reduce((sum, { count }) => sum + count, 0) > 1_400, 'some were in the topic twice')
})

t.test('a message that Kafka never takes is a dead letter of the hub, and the others go on', async t => {
  const prefix = freshPrefix()
  const hub = await startHub(t, settingsOf(prefix))
  await publishNumbers(t, hub, 1, 0, 10)
  await eventually(async () => (await sheetOf(hub)).stored === 10, 'it works')
  cluster.maxBatch = 5_000
  t.teardown(() => {
    cluster.maxBatch = undefined
  })
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'large' })
  await device.publishAsync('large', 'x'.repeat(20_000), { qos: 1 })
  await publishNumbers(t, hub, 1, 10, 20)
  await eventually(async () => {
    const { stored, dead } = await sheetOf(hub)
    return stored === 20 && dead === 1
  }, 'the others are stored')
  const { body } = await hub.get<{ dead: { id: string }[] }>('/api/dead')
  t.match(body.dead, [{ reason: 'too_large', clientId: 'large' }])
  t.match(await sheetOf(hub), { residual: 0 })
})

t.test('settings that do not fit together are refused with the reason', async t => {
  const kafka = ['--kafka.brokers', cluster.brokers, '--mqtt.port', '0', '--http.port', '0']
  for (const [more, sentence, env = {}] of [
    [['--rabbitmq.url', 'amqp://127.0.0.1'], /kafka\.brokers and rabbitmq\.url: both given/],
    [['--kafka.sasl.mechanism', 'plain'], /needs kafka\.sasl\.user/],
    [['--kafka.sasl.mechanism', 'plain', '--kafka.sasl.user', 'x'], /needs a password, from the environment/],
    [['--kafka.sasl.password', 'hunter2'], /kafka\.sasl\.password: given in a flag/],
  ] as const) {
    const run = runCli(['start', ...kafka, ...more], env)
    t.equal(await run.exited, 2, run.stderr())
    t.match(run.stderr(), sentence)
    t.notMatch(run.stderr(), 'hunter2')
  }
})
