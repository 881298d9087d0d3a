import { createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Device, type DeviceOptions } from '../../devices/device.js'

interface Received {
  readonly topic: string
  readonly text: string
  readonly retain: boolean
}

/** A broker that can go away and come back on the same port. */
async function startBroker(t: Test) {
  const { Aedes } = await import('aedes')
  const received: Received[] = []
  const subscribed: string[] = []
  const sockets = new Set<Socket>()
  let port = 0
  let server: Server | undefined
  let broker: InstanceType<typeof Aedes> | undefined
  const up = async () => {
    broker = await Aedes.createBroker()
    broker.on('publish', ({ topic, payload, retain }) => {
      if (!topic.startsWith('$')) received.push({ topic, text: payload.toString(), retain })
    })
    broker.on('subscribe', filters => subscribed.push(...filters.map(({ topic }) => topic)))
    server = createServer(socket => {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
      broker?.handle(socket)
    })
    await new Promise<void>(resolve => server?.listen(port, '127.0.0.1', resolve))
    const address = server.address()
    if (address && typeof address === 'object') port = address.port
  }
  const down = async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise<void>(resolve => (server ? server.close(() => resolve()) : resolve()))
    await new Promise<void>(resolve => (broker ? broker.close(() => resolve()) : resolve()))
    server = undefined
    broker = undefined
  }
  await up()
  t.teardown(down)
  const publish = (topic: string, payload: string) =>
    new Promise<void>((resolve, reject) =>
      broker?.publish(
        { cmd: 'publish', topic, payload: Buffer.from(payload), qos: 1, retain: false, dup: false },
        error => (error ? reject(error) : resolve()),
      ),
    )
  return { received, subscribed, url: `mqtt://127.0.0.1:${port}`, up, down, publish }
}

function startDevice(t: Test, url: string, options: Partial<DeviceOptions> = {}): Device {
  const device = new Device({ url, room: 'lab', name: 'one', profile: 'meter', seed: 997, interval: 0, ...options })
  device.start()
  t.teardown(() => device.stop(0))
  return device
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(10)
}

t.test('says online, publishes with its own time, says offline when it leaves', async t => {
  const { received, url } = await startBroker(t)
  const device = startDevice(t, url)
  device.report()
  await until(() => device.counts().acknowledged === 1)
  await device.stop()
  t.same(
    received.map(({ topic, retain }) => [topic, retain]),
    [
      ['home/lab/one/status', true],
      ['home/lab/one/telemetry', false],
      ['home/lab/one/status', true],
    ],
  )
  t.same([received[0]?.text, received[2]?.text], ['online', 'offline'])
  const reading = JSON.parse(received[1]?.text ?? '')
  t.type(reading.time, 'number')
  t.type(reading.power, 'number')
})

t.test('while the broker is away readings are kept, and sent in order when it is back', async t => {
  const { received, url, up, down } = await startBroker(t)
  const device = startDevice(t, url, { seed: 0 })
  const sent: number[] = []
  const report = async (times: number) => {
    for (let i = 0; i < times; i++) {
      sent.push(Date.now())
      device.report()
      // The device's time tells the readings apart.
      await sleep(2)
    }
  }
  await report(30)
  await until(() => device.counts().acknowledged === 30)
  await down()
  await until(() => !device.counts().connected)
  await report(50)
  t.equal(device.counts().buffered, 50)
  await up()
  await until(() => device.counts().acknowledged === 80)
  const times = received.filter(({ topic }) => topic.endsWith('telemetry')).map(({ text }) => JSON.parse(text).time)
  t.equal(new Set(times).size, 80)
  t.same(times, times.toSorted(), 'in order')
  t.equal(device.counts().buffered, 0)
})

t.test('a full buffer loses the oldest, and says so', async t => {
  const { received, url, up, down } = await startBroker(t)
  await down()
  const device = startDevice(t, url, { bufferLimit: 5, seed: 0 })
  for (let i = 0; i < 8; i++) {
    device.report()
    await sleep(2)
  }
  t.match(device.counts(), { published: 8, buffered: 5, dropped: 3, acknowledged: 0 })
  await up()
  await until(() => device.counts().acknowledged === 5)
  t.equal(received.filter(({ topic }) => topic.endsWith('telemetry')).length, 5)
})

t.test('a light obeys and reports at once; nonsense changes nothing', async t => {
  const { received, subscribed, url, publish } = await startBroker(t)
  startDevice(t, url, { profile: 'light' })
  const reports = () => received.filter(({ topic }) => topic.endsWith('telemetry')).map(({ text }) => JSON.parse(text))
  await until(() => subscribed.includes('home/lab/one/set'))
  await publish('home/lab/one/set', '{"on":true,"brightness":35}')
  await until(() => reports().length === 1)
  t.match(reports()[0], { on: true, brightness: 35 })
  await publish('home/lab/one/set', '{"on":false}')
  await until(() => reports().length === 2)
  t.match(reports()[1], { on: false, brightness: 0 })
  await publish('home/lab/one/set', 'nonsense')
  await publish('home/lab/one/set', '{"brightness":400}')
  await until(() => reports().length === 3)
  t.match(reports()[2], { on: true, brightness: 100 }, 'a brightness alone switches on, within bounds')
})

t.test('a lost connection leaves the will', async t => {
  const { received, url } = await startBroker(t)
  const device = startDevice(t, url, { seed: 996 })
  await until(() => received.length === 1)
  device.drop()
  await until(() => received.length === 2)
  t.match(received[1], { topic: 'home/lab/one/status', text: 'offline', retain: true })
  await until(() => received.length === 3)
  t.match(received[2], { topic: 'home/lab/one/status', text: 'online' }, 'and it comes back')
})
