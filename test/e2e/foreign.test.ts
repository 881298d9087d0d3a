import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { connectMqtt, eventually, history, startHub } from '../harness.js'
import { mosquittoClient } from '../services/mosquitto.js'

const hub = await startHub(t)
const port = new URL(hub.mqttUrl).port
const at = ['-h', '127.0.0.1', '-p', port]

/** Raw bytes in, raw bytes out until the hub closes the connection. */
async function raw(...bytes: number[]): Promise<number[]> {
  const socket = connect(Number(port), '127.0.0.1')
  const got: Buffer[] = []
  socket.on('data', chunk => got.push(chunk))
  socket.on('error', () => {})
  socket.write(Buffer.from(bytes))
  await once(socket, 'close')
  return [...Buffer.concat(got)]
}

const text = (value: string) => [0, value.length, ...Buffer.from(value)]
const connectTo = (level: number, id: string) => {
  const body = [...text('MQTT'), level, 2, 0, 0, ...(level === 5 ? [0] : []), ...text(id)]
  return [0x10, body.length, ...body]
}

t.test('mosquitto clients: every QoS both ways, retained', async t => {
  for (const qos of ['0', '1', '2']) {
    const got = mosquittoClient('sub', ...at, '-t', `m/${qos}/#`, '-q', qos, '-C', '2', '-v', '-W', '20')
    await eventually(
      async () => /^telehub_clients 1$/m.test(await (await fetch(`${hub.httpUrl}/metrics`)).text()),
      'it is connected',
    )
    // And has had the time to subscribe, of which only it knows.
    await sleep(500)
    await mosquittoClient('pub', ...at, '-t', `m/${qos}/a`, '-m', 'one', '-q', qos)
    await mosquittoClient('pub', ...at, '-t', `m/${qos}/b`, '-m', 'two', '-q', qos)
    t.equal(await got, `m/${qos}/a one\nm/${qos}/b two\n`)
  }
  await mosquittoClient('pub', ...at, '-t', 'kept', '-m', 'retained', '-r', '-q', '1')
  t.equal(await mosquittoClient('sub', ...at, '-t', 'kept', '-C', '1', '-F', '%r %p', '-W', '20'), '1 retained\n')
})

t.test('a persistent session of mosquitto_sub gets what it missed', async t => {
  const session = ['-i', 'msub', '-c', '-q', '1', '-t', 'missed/#']
  await mosquittoClient('sub', ...at, ...session, '-E')
  for (const value of ['1', '2', '3']) await mosquittoClient('pub', ...at, '-t', 'missed/x', '-m', value, '-q', '1')
  t.equal(await mosquittoClient('sub', ...at, ...session, '-C', '3', '-W', '20'), '1\n2\n3\n')
})

t.test(
  'what is refused: a version there is not, with the code to fall back, $share without a filter, $ topics, garbage',
  async t => {
    t.same(await raw(...connectTo(6, 'six')), [0x20, 2, 0, 1])
    const client = await connectMqtt(t, hub.mqttUrl, { clientId: 'asks' })
    const codes = new Promise(resolve =>
      client.once('packetreceive', packet => resolve(packet.cmd === 'suback' && packet.granted)),
    )
    client.subscribe(['$share/g', '$SYS/#', 'fine'], () => {})
    t.same(await codes, [128, 0, 0])
    for (const topic of ['$hub/last/x', '$SYS/x', '$anything']) {
      const forger = await connectMqtt(t, hub.mqttUrl)
      const closed = new Promise<void>(resolve => forger.once('close', () => resolve()))
      forger.publish(topic, 'forged', { qos: 1 })
      await closed
      t.pass(`${topic} closes the connection`)
    }
    t.same(await raw(0xff, 0xff, 0xff, 0xff, 0xff, 0xff), [])
    t.same(await raw(...Buffer.from('GET / HTTP/1.1\r\n\r\n')), [])
    t.same(await raw(0x30, 3, 0, 1, 0x61), [], 'a PUBLISH before CONNECT')
    t.equal((await hub.get('/healthz')).status, 200)
  },
)

t.test('names too long, wills that cannot be: refused at the door, and nobody else is hurt', async t => {
  const bystander = await connectMqtt(t, hub.mqttUrl, { clientId: 'bystander' })
  await bystander.subscribeAsync('#', { qos: 1 })
  await bystander.subscribeAsync('$hub/#')
  const remaining = (body: number) => [(body & 127) | 128, ((body >> 7) & 127) | 128, body >> 14]
  const long = (length: number, byte: number) => [length >> 8, length & 255, ...new Array<number>(length).fill(byte)]
  // 30,000 bytes that are no UTF-8 become 90,000 that are, more than a length field can say.
  t.same(
    await raw(0x10, ...remaining(10 + 30_002), ...text('MQTT'), 4, 2, 0, 0, ...long(30_000, 0xff)),
    [],
    'client id',
  )
  t.same(
    await raw(...connectTo(4, 'long'), 0x30, ...remaining(65_502), ...long(65_500, 0x61)).then(got => got.slice(0, 4)),
    [0x20, 2, 0, 0],
    'topic: the connection is closed after its CONNACK',
  )
  // Will flag with QoS 3; then a will to a filter.
  const will = (flags: number, topic: string) => [
    ...text('MQTT'),
    4,
    flags,
    0,
    0,
    ...text('w'),
    ...text(topic),
    ...text('x'),
  ]
  for (const body of [will(0x1e, 'w'), will(0x0e, 'a/#'), will(0x0e, '')])
    t.same(await raw(0x10, body.length, ...body), [])
  await bystander.publishAsync('still', 'here', { qos: 1 })
  t.ok(bystander.connected)
})

t.test('what follows CONNECT in the same breath is kept, all of it and in order', async t => {
  const publishes = Array.from({ length: 200 }, (_, n) => [0x30, 6, 0, 1, 0x70, ...Buffer.from(String(n + 100))]).flat()
  await raw(...connectTo(4, 'hasty'), ...publishes, 0xe0, 0)
  const stored = await eventually(async () => {
    const found = await history(hub, 'p,topic=p value')
    return found.length >= 200 && found
  }, 'all stored')
  t.same(
    stored,
    Array.from({ length: 200 }, (_, n) => n + 100),
  )
})

t.test('client ids and topics that are names of JavaScript', async t => {
  for (const name of ['constructor', '__proto__', 'hasOwnProperty', 'toString']) {
    const client = await connectMqtt(t, hub.mqttUrl, { clientId: name, clean: false })
    const got = new Promise(resolve => client.once('message', (_topic, payload) => resolve(payload.toString())))
    await client.subscribeAsync(`${name}/#`, { qos: 2 })
    await client.publishAsync(`${name}/__proto__/x`, `{"${name}":1,"__proto__":{"x":2}}`, { qos: 2 })
    t.match(await got, name)
    await client.endAsync()
  }
  const { body } = await hub.get<{ devices: { clientId: string }[] }>('/api/devices')
  t.ok(body.devices.some(device => device.clientId === '__proto__'))
})

t.test('a second client with the same id takes over; its predecessor is closed', async t => {
  const first = await connectMqtt(t, hub.mqttUrl, { clientId: 'twin' })
  const closed = new Promise<void>(resolve => first.once('close', () => resolve()))
  const second = await connectMqtt(t, hub.mqttUrl, { clientId: 'twin' })
  await closed
  await second.publishAsync('twin', '1', { qos: 1 })
  const twin = await eventually(async () => {
    const { body } = await hub.get<{ devices: { clientId: string; online: boolean; messages: number }[] }>(
      '/api/devices',
    )
    return body.devices.find(device => device.clientId === 'twin' && device.online && device.messages === 1)
  }, 'the second one is online')
  t.ok(twin, 'online, with what it has published')
})
