import t from 'tap'
import { RabbitMq } from '../../src/rabbitmq/rabbitmq.js'
import { connectMqtt, eventually, history, runCli, startHub } from '../harness.js'
import { startInflux } from '../services/influxdb.js'
import { startRabbit } from '../services/rabbitmq.js'
import { tempDir } from '../services/service.js'

const rabbit = await startRabbit({ plugins: ['rabbitmq_management'] })
const influx = await startInflux()
t.teardown(() => Promise.all([rabbit.stop(), influx.stop()]))
const management = rabbit.managementUrl ?? ''

/** What a check has found, a line each. */
async function doctor(settings: Readonly<Record<string, string>>, ...more: string[]) {
  const all = { 'mqtt.port': '0', 'http.port': '0', 'data.dir': await tempDir(), ...settings }
  const flags = Object.entries(all).flatMap(([key, value]) => [`--${key}`, value])
  const run = runCli(['doctor', ...more, ...flags])
  const code = await run.exited
  const lines = run.stdout().split('\n')
  return { code, of: (check: string) => lines.filter(line => line.slice(2).startsWith(`${check}: `)).join('\n') }
}

t.test('RabbitMQ: nothing is there yet, then all of it, and nothing is declared by looking', async t => {
  const first = await doctor({ 'rabbitmq.url': rabbit.url }, '--management', management)
  t.match(
    first.of('RabbitMQ'),
    /^✓ .*RabbitMQ 3\.\d+\.\d+ answers, and the user has the rights; not there yet.*telehub\.record/,
  )
  t.match(first.of('RabbitMQ policies'), '0 of 4 queues are there')
  t.match(first.of('clock of RabbitMQ'), '✓')
  t.equal((await rabbit.ctl('list_queues', '--quiet', 'name')).includes('telehub'), false)
  const hub = await startHub(t, { 'rabbitmq.url': rabbit.url })
  t.equal(await hub.stop(), 0)
  const then = await doctor({ 'rabbitmq.url': rabbit.url, 'data.dir': hub.dir }, '--management', management)
  t.match(then.of('RabbitMQ policies'), '6 of 6 queues are there')
  t.notMatch(then.of('RabbitMQ'), 'not there yet')
})

t.test(
  'RabbitMQ: a policy that loses messages is named, for queues that are there and for those that are not',
  async t => {
    await rabbit.ctl(
      'set_policy',
      'brief',
      '^telehub\\.',
      '{"message-ttl": 60000, "max-length": 1000}',
      '--apply-to',
      'queues',
    )
    const found = await doctor({ 'rabbitmq.url': rabbit.url }, '--management', management)
    t.equal(found.code, 1)
    t.match(
      found.of('RabbitMQ policies'),
      /✗ .*policy brief gives telehub\.record message-ttl 60000: messages that wait longer are deleted/,
    )
    t.match(found.of('RabbitMQ policies'), 'policy brief gives telehub.dead max-length 1000')
    await rabbit.ctl('clear_policy', 'brief')
  },
)

t.test('RabbitMQ: a classic queue in the place of ours', async t => {
  await rabbit.ctl('add_vhost', 'other')
  await rabbit.ctl('set_permissions', '-p', 'other', 'guest', '.*', '.*', '.*')
  const headers = {
    authorization: `Basic ${Buffer.from('guest:guest').toString('base64')}`,
    'content-type': 'application/json',
  }
  const body = JSON.stringify({ durable: true, arguments: {} })
  const put = await fetch(`${management}/api/queues/other/telehub.record`, { method: 'PUT', headers, body })
  t.equal(put.status, 201)
  const found = await doctor({ 'rabbitmq.url': `${rabbit.url}/other` }, '--management', management)
  t.match(found.of('RabbitMQ policies'), 'telehub.record is a classic queue')
})

t.test('RabbitMQ: rights that are missing, a wrong password, no management API, no server', async t => {
  await rabbit.ctl('add_user', 'weak', 'secret')
  await rabbit.ctl('set_permissions', 'weak', '^weak', '^weak', '^weak')
  const weak = await doctor(
    { 'rabbitmq.url': rabbit.url.replace('guest:guest', 'weak:secret') },
    '--management',
    management,
  )
  t.match(weak.of('RabbitMQ'), /✗ .*the user weak lacks a right: .*ACCESS.REFUSED.*set_permissions -p \/ weak/)
  t.match(weak.of('RabbitMQ policies'), /! .*not looked at: .*status 401/)
  t.equal(weak.code, 1)
  const wrong = await doctor({ 'rabbitmq.url': rabbit.url.replace('guest:guest', 'weak:wrong') })
  t.match(wrong.of('RabbitMQ'), /✗ .*ACCESS.REFUSED/)
  t.notMatch(wrong.of('RabbitMQ'), 'weak:wrong')
  const none = await doctor({ 'rabbitmq.url': rabbit.url }, '--management', 'http://127.0.0.1:1')
  t.match(none.of('RabbitMQ policies'), '! ')
  const gone = await doctor({ 'rabbitmq.url': 'amqp://127.0.0.1:1' })
  t.match(gone.of('RabbitMQ'), /✗ RabbitMQ: connect ECONNREFUSED/)
})

t.test('looking at RabbitMQ takes no message and leaves no queue', async t => {
  const message = { sequence: 1, receivedAt: 1, topic: 'a', payload: Buffer.from('1'), qos: 1, retain: false } as const
  const hub = new RabbitMq({
    urls: [rabbit.url],
    hubId: 'seen',
    holder: undefined,
    envelope: 'message',
    headers: 'full',
    channels: 2,
    window: 10,
    prefetch: 10,
    consumesReceipts: false,
    state: () => {},
    clock: { now: () => 0 },
  })
  t.teardown(() => hub.stop())
  await hub.publish([{ ...message, clientId: 'c', user: '', packetId: 1 }])
  const counts = () => rabbit.ctl('list_queues', '--quiet', 'name', 'messages')
  // A quorum queue counts late.
  await eventually(async () => /telehub\.record\t1/.test(await counts()), 'the message is counted')
  await doctor({ 'rabbitmq.url': rabbit.url }, '--management', management)
  await eventually(async () => /telehub\.record\t1/.test(await counts()), 'the message is there')
  t.notMatch(await counts(), 'telehub.doctor')
})

t.test('InfluxDB: whether it is the database that this hub has written to', async t => {
  const [own, other] = [`own${process.pid}`, `other${process.pid}`]
  const query = (q: string) => fetch(`${influx.url}/query`, { method: 'POST', body: new URLSearchParams({ q }) })
  const hub = await startHub(t, { 'influx.url': `${influx.url}/${own}` })
  const client = await connectMqtt(t, hub.mqttUrl)
  await client.publishAsync('home/hall/t/telemetry', '{"value": 1}', { qos: 1 })
  await eventually(async () => (await history(hub, 'telemetry,device=t,room=hall value')).length > 0, 'it is stored')
  t.equal(await hub.stop(), 0)
  await query(`CREATE DATABASE "${other}"`)
  const at = async (name: string) =>
    (await doctor({ 'influx.url': `${influx.url}/${name}`, 'data.dir': hub.dir })).of('store identity')
  t.match(await at(own), '✓ store identity: 1 of 1 last readings of this hub')
  t.match(await at(other), '! store identity: 0 of 1 last readings')
  for (const name of [own, other]) await query(`DROP DATABASE "${name}"`)
})

t.test('InfluxDB: no database yet, one that deletes, none that answers', async t => {
  const name = `doctor${process.pid}`
  const query = (q: string) => fetch(`${influx.url}/query`, { method: 'POST', body: new URLSearchParams({ q }) })
  const first = await doctor({ 'influx.url': `${influx.url}/${name}` })
  t.match(first.of('InfluxDB'), `✓ InfluxDB: version 1.`)
  t.match(first.of('InfluxDB'), 'is not there yet')
  t.match(first.of('clock of InfluxDB'), '✓')
  await query(`CREATE DATABASE "${name}"`)
  t.match((await doctor({ 'influx.url': `${influx.url}/${name}` })).of('InfluxDB'), 'keeps readings for ever')
  await query(`CREATE RETENTION POLICY "week" ON "${name}" DURATION 7d REPLICATION 1 DEFAULT`)
  const week = await doctor({ 'influx.url': `${influx.url}/${name}` })
  t.match(week.of('InfluxDB'), `! InfluxDB: retention policy week of ${name} deletes readings older than 168h0m0s`)
  t.match((await doctor({ 'influx.url': 'http://127.0.0.1:9/x' })).of('InfluxDB'), '✗ InfluxDB: nothing answers')
  await query(`DROP DATABASE "${name}"`)
})
