import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'amqplib'
import mqtt from 'mqtt'
import t, { type Test } from 'tap'
import { connectMqtt, eventually, metric, type RunningHub, runCli, startHub } from '../harness.js'
import { startInflux } from '../services/influxdb.js'
import { startRabbit } from '../services/rabbitmq.js'

const [rabbit, influx] = await Promise.all([startRabbit(), startInflux()])
t.teardown(() => Promise.all([rabbit.stop(), influx.stop()]))

const settings = {
  'rabbitmq.url': rabbit.url,
  'influx.url': `${influx.url}/hubs`,
  'cluster.name': 'plant',
  'sys.interval': '0s',
}

interface Known {
  readonly id: string
  readonly address: string
  readonly state: string
  readonly lag: number
}

const hubsOf = async (hub: RunningHub) => (await hub.get<{ hubs: readonly Known[] }>('/api/hubs')).body.hubs

/** Resolves when each of these hubs knows that the others are up. */
async function acquainted(...hubs: readonly RunningHub[]): Promise<void> {
  for (const hub of hubs) {
    await eventually(
      async () => (await hubsOf(hub)).filter(({ state }) => state === 'up').length === hubs.length - 1,
      'they know each other',
    )
  }
}

/** The payloads that a subscriber gets, by topic. */
async function subscriber(t: Test, hub: RunningHub, filter: string, clientId?: string) {
  const got: string[] = []
  const client = await connectMqtt(t, hub.mqttUrl, clientId ? { clientId, clean: false } : {})
  client.on('message', (topic, payload, { retain }) => got.push(`${topic}=${payload}${retain ? ' retain' : ''}`))
  await client.subscribeAsync(filter, { qos: 1 })
  return { got, client }
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => from + n)

async function publish(t: Test, hub: RunningHub, topic: string, numbers: readonly number[]): Promise<void> {
  const client = await connectMqtt(t, hub.mqttUrl)
  await Promise.all(numbers.map(n => client.publishAsync(topic, String(n), { qos: 1 })))
  await client.endAsync()
}

/** Publishes to a topic until its subscriber elsewhere has got one: its hub's interest is known then. */
async function isHeard(t: Test, hub: RunningHub, topic: string, got: readonly string[]): Promise<void> {
  const client = await connectMqtt(t, hub.mqttUrl)
  await eventually(async () => {
    await client.publishAsync(topic, 'hello', { qos: 1 })
    return got.includes(`${topic}=hello`)
  }, `${topic} is heard`)
  await client.endAsync()
}

t.test(
  'two hubs: messages, retained ones and those of back ends reach subscribers of both, once, in order',
  async t => {
    const [one, two] = [await startHub(t, settings), await startHub(t, settings)]
    await acquainted(one, two)
    const here = await subscriber(t, one, 'a/#')
    const there = await subscriber(t, two, 'a/#')
    await isHeard(t, one, 'a/ready', there.got)
    await isHeard(t, two, 'a/ready2', here.got)

    await Promise.all([publish(t, one, 'a/one', range(0, 2_000)), publish(t, two, 'a/two', range(0, 2_000))])
    const of = (got: readonly string[], topic: string) => got.filter(one => one.startsWith(`${topic}=`))
    for (const { got } of [here, there]) {
      for (const topic of ['a/one', 'a/two']) {
        await eventually(() => of(got, topic).length >= 2_000, `${topic} is there`)
        t.same(
          of(got, topic),
          range(0, 2_000).map(n => `${topic}=${n}`),
          'once, in order',
        )
      }
    }

    const count = (what: string) => metric(one, `telehub_bus_messages{what="${what}"}`)
    // For some seconds after the start a hub sends all, as it is not sure yet what the others want.
    const spared = await eventually(async () => {
      const [sent, unwanted] = [await count('sent'), await count('unwanted')]
      await publish(t, one, 'b/nobody', range(0, 500))
      for (let more = 0; more < 500; ) {
        more = (await count('sent')) - sent + (await count('unwanted')) - unwanted
        await sleep(50)
      }
      return (await count('sent')) === sent && { unwanted: (await count('unwanted')) - unwanted }
    }, 'what nobody wants is not sent')
    t.equal(spared.unwanted, 500)

    const device = await connectMqtt(t, one.mqttUrl)
    await device.publishAsync('r/kept', 'on', { qos: 1, retain: true })
    await eventually(async () => (await subscriber(t, two, 'r/#')).got.includes('r/kept=on retain'), 'retained there')

    const model = await connect(rabbit.url)
    const channel = await model.createConfirmChannel()
    for (const n of range(0, 20))
      channel.publish('telehub.publish', 'a.order', Buffer.from(String(n)), { headers: { 'mqtt-qos': 1 } })
    await channel.waitForConfirms()
    for (const { got } of [here, there]) {
      await eventually(() => of(got, 'a/order').length >= 20, 'messages of the back end')
      t.same(
        of(got, 'a/order').sort(),
        range(0, 20)
          .map(n => `a/order=${n}`)
          .sort(),
        'each once',
      )
    }
    t.equal((await channel.checkQueue('telehub.publish')).messageCount, 0)
    await model.close()

    const listed = runCli(['hubs', '--url', one.httpUrl, '--data.dir', one.dir])
    t.equal(await listed.exited, 0)
    t.match(listed.stdout(), /hub +version +address +state +runs for +heard +lag/)
    t.match(listed.stdout(), /this one/)
    t.match(listed.stdout(), / up /)
  },
)

t.test('a hub is killed, and away for a while: its kept session gets what others accepted meanwhile', async t => {
  const [one, two] = [await startHub(t, settings), await startHub(t, settings)]
  await acquainted(one, two)
  const kept = await subscriber(t, two, 'k/#', 'kept')
  await isHeard(t, one, 'k/ready', kept.got)
  await kept.client.endAsync()
  await publish(t, one, 'k/m', range(0, 300))
  await two.kill()
  await publish(t, one, 'k/m', range(300, 600))
  await eventually(async () => (await hubsOf(one)).some(({ state }) => state === 'away'), 'it is away')
  t.match((await one.get<{ alarms: unknown }>('/readyz')).body, { alarms: [] })
  await eventually(
    async () => JSON.stringify((await one.get('/readyz')).body).includes('not heard of'),
    'the hub says which one',
  )
  await publish(t, one, 'k/m', range(600, 900))
  const again = await startHub(t, settings, two.dir)
  const got: string[] = []
  // What waits comes with the connection: the listener is there before.
  const client = mqtt.connect(again.mqttUrl, { clientId: 'kept', clean: false, protocolVersion: 4, reconnectPeriod: 0 })
  t.teardown(() => client.endAsync(true))
  client.on('message', (topic, payload) => {
    if (topic === 'k/m') got.push(String(payload))
  })
  await eventually(() => new Set(got).size >= 900, 'all are there')
  const first = got.filter((one, at) => got.indexOf(one) === at)
  t.same(first, range(0, 900).map(String), 'in order; after a kill, some may come twice')
})

t.test('RabbitMQ is away: each hub serves its own, says what is missing, and both follow afterwards', async t => {
  const [one, two] = [await startHub(t, settings), await startHub(t, settings)]
  await acquainted(one, two)
  const here = await subscriber(t, one, 'm/#', 'here')
  const there = await subscriber(t, two, 'm/#', 'there')
  await isHeard(t, one, 'm/ready', there.got)
  await isHeard(t, two, 'm/ready2', here.got)
  await rabbit.kill()
  await publish(t, one, 'm/one', range(0, 200))
  await publish(t, two, 'm/two', range(0, 200))
  await eventually(() => here.got.includes('m/one=199'), 'own subscribers are served')
  await eventually(() => there.got.includes('m/two=199'), 'at both')
  t.notOk(there.got.some(one => one.startsWith('m/one')))
  for (const hub of [one, two]) {
    await eventually(
      async () => JSON.stringify((await hub.get('/readyz')).body).includes('messages of other hubs are missing here'),
      'it says what is missing',
    )
  }
  await rabbit.restart()
  for (const [{ got }, topic] of [
    [there, 'm/one'],
    [here, 'm/two'],
  ] as const) {
    const found = () => got.filter(one => one.startsWith(`${topic}=`))
    await eventually(() => found().length >= 200, 'what was missed is there')
    t.same(
      found(),
      range(0, 200).map(n => `${topic}=${n}`),
      'once, in order',
    )
  }
  await eventually(
    async () => !JSON.stringify((await one.get('/readyz')).body).includes('messages of other hubs are missing'),
    'nothing is missing any more',
  )
})

t.test('a hub that stands still does not hold up the others, and catches up', async t => {
  const [one, two] = [await startHub(t, settings), await startHub(t, settings)]
  await acquainted(one, two)
  const there = await subscriber(t, two, 's/#', 'still')
  const here = await subscriber(t, one, 's/#')
  await isHeard(t, one, 's/ready', there.got)
  process.kill(two.pid, 'SIGSTOP')
  await publish(t, one, 's/m', range(0, 300))
  await eventually(() => here.got.includes('s/m=299'), 'the other goes on')
  await eventually(async () => (await hubsOf(one)).some(({ state }) => state === 'away'), 'it is away')
  await publish(t, one, 's/m', range(300, 600))
  process.kill(two.pid, 'SIGCONT')
  const found = () => there.got.filter(one => one.startsWith('s/m='))
  await eventually(() => found().length >= 600, 'it has caught up')
  t.same(
    found(),
    range(0, 600).map(n => `s/m=${n}`),
    'once, in order',
  )
  await eventually(async () => (await hubsOf(one)).every(({ state }) => state !== 'away'), 'and is up again')
})
