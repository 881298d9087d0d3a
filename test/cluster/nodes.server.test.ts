import { type AddressInfo, createServer, type Socket } from 'node:net'
import t from 'tap'
import { connectMqtt, eventually, history, type RunningHub, runCli, startHub } from '../harness.js'
import { startRabbitCluster } from '../services/rabbitmq.js'
import { tempDir } from '../services/service.js'

const rabbit = await startRabbitCluster()
// One hub in all tests: while a node is down, RabbitMQ counts the connections that it had, and another hub would be refused.
const dir = await tempDir()
t.teardown(() => rabbit.stop())

interface Ready {
  readonly dependencies: readonly { readonly name: string; readonly state: string; readonly node?: string }[]
}

interface Sheet {
  readonly received: number
  readonly stored: number
  readonly residual: number
}

async function rabbitOf(hub: RunningHub) {
  const { body } = await hub.get<Ready>('/readyz')
  return body.dependencies.find(({ name }) => name === 'RabbitMQ')
}

const placeOf = (url = '') => new URL(url).host

t.test('a node is killed while messages flow: the hub goes on at the next one, nothing is lost', async t => {
  const hub = await startHub(t, { 'rabbitmq.url': rabbit.url }, dir)
  await eventually(async () => (await rabbitOf(hub))?.node === placeOf(rabbit.nodes[0]?.url), 'it is at the first node')
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'dev' })
  let sent = 0
  let isOver = false
  const publishing = (async () => {
    while (!isOver) {
      const some = Array.from({ length: 50 }, () => device.publishAsync('m', String(sent++), { qos: 1 }))
      await Promise.all(some)
    }
  })()
  const stored = async () => (await hub.get<Sheet>('/api/balance')).body.stored
  await eventually(async () => (await stored()) > 500, 'messages go through RabbitMQ')
  await rabbit.nodes[0]?.kill()
  await eventually(async () => {
    const found = await rabbitOf(hub)
    return found?.state === 'up' && found.node !== placeOf(rabbit.nodes[0]?.url)
  }, 'it is at another node')
  const before = await stored()
  await eventually(async () => (await stored()) > before + 500, 'messages go on')
  isOver = true
  await publishing
  const sheet = await eventually(async () => {
    const { body } = await hub.get<Sheet>('/api/balance')
    return body.stored === sent && body
  }, 'all are stored')
  t.match(sheet, { received: sent, residual: 0 })
  const values = await history(hub, 'm,topic=m value')
  t.same(values.length, Math.min(sent, 100_000))
  t.same(
    values,
    [...(values as number[])].sort((a, b) => a - b),
    'in order',
  )
  t.match(hub.log(), /RabbitMQ: at 127\.0\.0\.1:\d+ now, before at 127\.0\.0\.1:\d+/)
  t.notMatch(hub.log(), 'guest:guest')
})

t.test('a hub starts with the first node away, and telehub doctor says which one that is', async t => {
  const hub = await startHub(t, { 'rabbitmq.url': rabbit.url }, dir)
  await eventually(async () => (await rabbitOf(hub))?.state === 'up', 'it is up')
  t.not((await rabbitOf(hub))?.node, placeOf(rabbit.nodes[0]?.url))
  const doctor = runCli(['doctor', '--rabbitmq.url', rabbit.url, '--data.dir', hub.dir])
  await doctor.exited
  t.match(doctor.stdout(), `the node ${placeOf(rabbit.nodes[0]?.url)} does not answer`)
  t.match(doctor.stdout(), new RegExp(`RabbitMQ \\S+ at ${placeOf(rabbit.nodes[1]?.url)} answers`))
  t.notMatch(doctor.stdout(), 'guest:guest')
})

t.test('a node that accepts connections and then says nothing is passed over', async t => {
  const silent = createServer(() => {})
  await new Promise<void>(resolve => silent.listen(0, '127.0.0.1', resolve))
  const sockets = new Set<Socket>()
  silent.on('connection', socket => sockets.add(socket.on('error', () => {})))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    silent.close()
  })
  const { port } = silent.address() as AddressInfo
  const third = rabbit.nodes[2]?.url
  const hub = await startHub(t, { 'rabbitmq.url': `amqp://guest:guest@127.0.0.1:${port},${third}` }, dir)
  const found = await eventually(async () => {
    const one = await rabbitOf(hub)
    return one?.state === 'up' && one
  }, 'it is up')
  t.equal(found.node, placeOf(third))
})
