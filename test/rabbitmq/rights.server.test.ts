import t, { type Test } from 'tap'
import { lookAt, topology } from '../../src/rabbitmq/connection.js'
import { connectMqtt, eventually, type RunningHub, startHub } from '../harness.js'
import { startInflux } from '../services/influxdb.js'
import { startRabbit } from '../services/rabbitmq.js'

const [rabbit, influx] = await Promise.all([startRabbit(), startInflux()])
t.teardown(() => Promise.all([rabbit.stop(), influx.stop()]))

/** The rights that the doctor recommends. */
const recommended = '^telehub\\.'

/** Makes a user with these rights to configure, write and read, in a virtual host of the same name. Resolves with the URL. */
async function userWith(name: string, configure: string, write: string, read: string): Promise<string> {
  await rabbit.ctl('add_vhost', name)
  await rabbit.ctl('add_user', name, 'secret')
  await rabbit.ctl('set_permissions', '-p', name, name, configure, write, read)
  const url = new URL(rabbit.url)
  url.username = name
  url.password = 'secret'
  return `${url.href}/${name}`
}

async function isStored(t: Test, hub: RunningHub, topic: string): Promise<void> {
  const client = await connectMqtt(t, hub.mqttUrl)
  await client.publishAsync(topic, '{"value": 1}', { qos: 1 })
  await eventually(
    async () => (await hub.get<{ stored: number }>('/api/balance')).body.stored === 1,
    'it goes through RabbitMQ into the store',
  )
  t.notMatch(hub.log(), /ACCESS.REFUSED/)
}

t.test('a hub alone needs the recommended rights only', async t => {
  const url = await userWith('alone', recommended, recommended, recommended)
  t.match(await lookAt(url, topology('x', true)), { refused: [] })
  await isStored(t, await startHub(t, { 'rabbitmq.url': url }), 'home/hall/t/telemetry')
  t.match(await lookAt(url, topology('x', true)), { refused: [] }, 'nor does looking need more')
})

t.test('hubs of a cluster need no more', async t => {
  const url = await userWith('plant', recommended, recommended, recommended)
  const settings = { 'rabbitmq.url': url, 'cluster.name': 'plant', 'influx.url': `${influx.url}/rights` }
  const [one, two] = [await startHub(t, settings), await startHub(t, settings)]
  const got: string[] = []
  const there = await connectMqtt(t, two.mqttUrl)
  there.on('message', topic => got.push(topic))
  await there.subscribeAsync('#', { qos: 1 })
  await isStored(t, one, 'home/hall/t/telemetry')
  const device = await connectMqtt(t, one.mqttUrl)
  // A subscription is known to the other hub some moments after its SUBACK.
  await eventually(async () => {
    await device.publishAsync('home/hall/t/telemetry', '{"temperature":22}', { qos: 1 })
    return got.includes('home/hall/t/telemetry')
  }, 'it reaches the other hub')
  t.notMatch(two.log(), /ACCESS.REFUSED/)
})

t.test('the rights that the lease needs are looked at before it is there', async t => {
  const url = await userWith('strict', recommended, '^telehub\\.(record|doctor)', recommended)
  const { refused } = await lookAt(url, topology('x', true))
  t.match(refused.join(), /access to exchange 'telehub\./)
})
