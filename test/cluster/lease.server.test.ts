import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect } from 'amqplib'
import t, { type Test } from 'tap'
import { connectMqtt, eventually, runCli, startHub } from '../harness.js'
import { startInflux } from '../services/influxdb.js'
import { startRabbit } from '../services/rabbitmq.js'
import { tempDir } from '../services/service.js'

const [rabbit, influx] = await Promise.all([startRabbit(), startInflux()])
t.teardown(() => Promise.all([rabbit.stop(), influx.stop()]))

const alone = { 'rabbitmq.url': rabbit.url }
const clustered = (name: string, database = 'shared') => ({
  ...alone,
  'cluster.name': name,
  'influx.url': `${influx.url}/${database}`,
})

/** Starts a hub that must not start. Resolves with what it says. */
async function refused(t: Test, settings: Readonly<Record<string, string>>, code = 1): Promise<string> {
  const all = { 'mqtt.port': '0', 'http.port': '0', 'data.dir': await tempDir(), ...settings }
  const run = runCli(['start', ...Object.entries(all).flatMap(([key, value]) => [`--${key}`, value])])
  t.teardown(() => run.kill())
  t.equal(await run.exited, code, 'it ends')
  t.notMatch(run.stdout(), 'telehub ready')
  return run.stderr()
}

t.test('a second hub on one RabbitMQ is refused; when the first is killed, it starts', async t => {
  const first = await startHub(t, alone)
  const said = await refused(t, alone)
  t.match(said, /this virtual host of RabbitMQ is in use by hub [\w-]+, in no cluster, and this is hub/)
  t.match(said, /cluster\.name.*virtual host of its own/s)
  t.notMatch(said, 'guest:guest')
  t.match(await refused(t, clustered('plant')), /in use by hub/, 'a cluster is not let in, either')
  await first.kill()
  const second = await startHub(t, alone)
  t.match(await refused(t, { ...alone, 'data.dir': first.dir }), /in use by hub/, 'now the first one is the second')
  t.equal(await second.stop(), 0)
  const again = await startHub(t, alone, first.dir)
  t.ok(again.mqttUrl)
})

t.test('the same hub comes back while RabbitMQ still believes in its old connection', async t => {
  const first = await startHub(t, alone)
  process.kill(first.pid, 'SIGSTOP')
  t.teardown(() => first.kill())
  const moved = await tempDir()
  mkdirSync(moved, { recursive: true })
  copyFileSync(join(first.dir, 'hub.json'), join(moved, 'hub.json'))
  const again = await startHub(t, alone, moved)
  t.ok(again.mqttUrl)
  t.match(await refused(t, alone), /in use by hub/)
})

t.test('hubs of one cluster start side by side; others are refused', async t => {
  const first = await startHub(t, clustered('plant'))
  const second = await startHub(t, clustered('plant'))
  t.ok(second.mqttUrl)
  const store = new URL(influx.url).host
  t.match(
    await refused(t, clustered('office')),
    `in use by cluster plant, store ${store}/shared, and this is cluster office`,
  )
  t.match(await refused(t, clustered('plant', 'other')), `and this is cluster plant, store ${store}/other`)
  t.match(await refused(t, alone), /in use by cluster plant, .* and this is hub/)
  await first.kill()
  t.match(await refused(t, alone), /in use by cluster plant/, 'one of them is left')
  t.match(
    await refused(t, { ...alone, 'cluster.name': 'plant' }, 2),
    /cluster\.name: given "plant", which needs influx\.url, one InfluxDB for all hubs: DuckDB/,
  )
  t.match(await refused(t, { 'cluster.name': 'plant', 'influx.url': `${influx.url}/x` }, 2), /needs rabbitmq\.url/)
})

t.test(
  'a hub that starts without RabbitMQ finds out later: it keeps its messages, and takes none of the other',
  async t => {
    await rabbit.stop()
    const config = join(t.testdir(), 'telehub.yaml')
    writeFileSync(config, 'log.level: info\n')
    const hub = await startHub(t, { ...alone, config })
    const other = await startHub(t, { ...alone, config })
    const first = await connectMqtt(t, hub.mqttUrl, { clientId: 'one' })
    const second = await connectMqtt(t, other.mqttUrl, { clientId: 'two' })
    await first.publishAsync('m/one', '1', { qos: 1 })
    await second.publishAsync('m/two', '2', { qos: 1 })
    await rabbit.restart()
    const readyOf = async (one: typeof hub) => {
      const { body } = await one.get<{ dependencies: { name: string; state: string; detail?: string }[] }>('/readyz')
      return body.dependencies.find(({ name }) => name === 'RabbitMQ')
    }
    const states = await eventually(async () => {
      const found = await Promise.all([readyOf(hub), readyOf(other)])
      const isUp = found.filter(one => one?.state === 'up').length === 1
      return isUp && found.some(one => one?.detail?.includes('in use by hub')) && found
    }, 'one of them has it, the other says why not')
    const [winner, loser] = states[0]?.state === 'up' ? [hub, other] : [other, hub]
    const sheet = async (one: typeof hub) =>
      (await one.get<{ stored: number; spool: number; residual: number }>('/api/balance')).body
    await eventually(async () => (await sheet(winner)).stored === 1, 'its message is stored')
    t.match(await sheet(loser), { stored: 0, spool: 1, residual: 0 }, 'the other waits')
    writeFileSync(config, 'rabbitmq.window: 1500\n')
    process.kill(loser.pid, 'SIGHUP')
    await eventually(() => /changed: .*rabbitmq\.window/.test(loser.log()), 'its processor starts anew')
    await eventually(async () => (await readyOf(loser))?.detail?.includes('in use by hub'), 'and is not refused')
    t.notMatch(loser.log(), 'the processor thread ended')
    await winner.kill()
    await eventually(async () => (await sheet(loser)).stored === 1, 'and goes on when it is alone')
    const model = await connect(rabbit.url)
    const channel = await model.createChannel()
    t.equal((await channel.checkQueue('telehub.record')).messageCount, 0)
    await model.close()
  },
)
