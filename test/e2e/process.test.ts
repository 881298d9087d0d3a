import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { connectMqtt, eventually, history, runCli, startHub } from '../harness.js'
import { startInflux } from '../services/influxdb.js'
import { startRabbit } from '../services/rabbitmq.js'

const [rabbit, influx] = await Promise.all([startRabbit(), startInflux()])
t.teardown(() => Promise.all([rabbit.stop(), influx.stop()]))

const servers = { 'rabbitmq.url': rabbit.url, 'influx.url': `${influx.url}/process` }
const flags = Object.entries(servers).flatMap(([key, value]) => [`--${key}`, value])

interface Sheet {
  received: number
  stored: number
  queue: number
  spool: number
  dead: number
  dropped: number
  residual: number
  devices: { clientId: string; stored: number; dead: number }[]
}

async function startProcess(test: { teardown(end: () => unknown): void }) {
  const run = runCli(['process', ...flags])
  test.teardown(() => run.kill())
  await run.line(/^telehub process ready · RabbitMQ .* → InfluxDB .*$/m)
  return run
}

t.test('the record consumers run elsewhere, one dies: all is stored once, in order, and the hub knows', async t => {
  const hub = await startHub(t, { ...servers, 'rabbitmq.record': 'false' })
  const sheet = async () => (await hub.get<Sheet>('/api/balance')).body
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'dev' })
  const publish = (from: number, to: number) =>
    Promise.all(Array.from({ length: to - from }, (_, n) => device.publishAsync('p', String(from + n), { qos: 1 })))
  await publish(0, 2_000)
  await device.publishAsync('p', '{"no reading', { qos: 1 })
  await eventually(async () => (await sheet()).queue === 2_001, 'they wait in RabbitMQ')
  t.match(await sheet(), { received: 2_001, stored: 0, spool: 0, dead: 0, residual: 0 })

  const first = await startProcess(t)
  await startProcess(t)
  await eventually(async () => (await sheet()).stored > 0, 'the first one works')
  const more = publish(2_000, 30_000)
  await sleep(300)
  await first.kill()
  await more
  const last = await eventually(async () => {
    const found = await sheet()
    return found.spool === 0 && found.queue === 0 && found.stored === 30_000 && found
  }, 'the other one has taken over, and the hub has heard of all')
  t.match(last, { received: 30_001, stored: 30_000, dead: 1, residual: 0 })
  t.match(
    last.devices.find(row => row.clientId === 'dev'),
    { stored: 30_000, dead: 1 },
  )
  const values = await history(hub, 'p,topic=p value')
  t.same(
    values,
    Array.from({ length: 30_000 }, (_, n) => n),
    'in the order sent, each once',
  )
  const { body } = await hub.get<{ dead: { id: string }[] }>('/api/dead')
  t.match(body.dead, [{ reason: 'bad_json', clientId: 'dev', sequence: 2_001 }])
  const dropped = runCli(['dead', 'drop', '--all', '--yes', '--url', hub.httpUrl])
  t.equal(await dropped.exited, 0, dropped.stderr())
  t.match(await sheet(), { dead: 0, dropped: 1, residual: 0 })
})

t.test('it stops in order, and says what it needs', async t => {
  const run = await startProcess(t)
  process.kill(run.pid, 'SIGTERM')
  t.equal(await run.exited, 0)
  const wrong = runCli(['process', '--rabbitmq.url', rabbit.url])
  t.equal(await wrong.exited, 2)
  t.match(wrong.stderr(), /influx\.url: required, as telehub process/)
})
