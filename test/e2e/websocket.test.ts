import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import websocketStream from 'websocket-stream'
import { WebSocket } from 'ws'
import { connectMqtt, startHub } from '../harness.js'

const hub = await startHub(t)

t.test('MQTT over WebSocket: both ways, with TCP clients', async t => {
  const page = await connectMqtt(t, hub.webSocketUrl)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'd' })
  const got: string[] = []
  const both = new Promise<void>(resolve => {
    page.on('message', (topic, payload) => {
      if (got.push(`${topic} ${payload}`) === 2) resolve()
    })
  })
  await page.subscribeAsync(['a', 'b'], { qos: 1 })
  await device.publishAsync('a', 'from tcp', { qos: 1 })
  await page.publishAsync('b', 'from ws', { qos: 2 })
  await both
  t.same(got, ['a from tcp', 'b from ws'])
})

t.test('a client that shares no code with ours, and packets cut anywhere', async t => {
  const stream = websocketStream(hub.webSocketUrl, ['mqtt'])
  t.teardown(() => stream.destroy())
  const connect = Buffer.from([0x10, 13, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2, 0, 0, 0, 1, 0x78])
  for (const byte of connect) stream.write(Buffer.from([byte]))
  const [connack] = (await once(stream, 'data')) as [Buffer]
  t.same([...connack], [0x20, 2, 0, 0])
})

t.test('text frames are refused', async t => {
  const socket = new WebSocket(hub.webSocketUrl, 'mqtt')
  await once(socket, 'open')
  socket.send('not binary')
  const [code] = (await once(socket, 'close')) as [number]
  t.equal(code, 1003)
})

t.test('other paths and other origins are refused', async t => {
  const refused = async (url: string, origin?: string) => {
    const socket = new WebSocket(url, 'mqtt', origin === undefined ? {} : { origin })
    const [error] = (await once(socket, 'error')) as [Error]
    return error.message
  }
  t.match(await refused(hub.webSocketUrl.replace('/mqtt', '/other')), /404/)
  t.match(await refused(hub.webSocketUrl, 'http://evil.example'), /403/)
  const own = new WebSocket(hub.webSocketUrl, 'mqtt', { origin: hub.httpUrl })
  await once(own, 'open')
  t.equal(own.protocol, 'mqtt')
  own.terminate()
})

t.test('MQTT is served on the paths that clients take when nobody tells them one', async t => {
  for (const path of ['/mqtt', '/', '/ws']) {
    const client = await connectMqtt(t, hub.webSocketUrl.replace('/mqtt', path))
    t.ok(client.connected, path)
    await client.endAsync()
  }
})

t.test('odd requests and peers that go away in the middle leave the hub serving', async t => {
  const port = Number(new URL(hub.httpUrl).port)
  const request = (path: string) =>
    `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`
  for (const path of ['//', '/nope', '/%', 'mqtt', '/mqtt', '/ws/', '*']) {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    socket.write(request(path))
    await once(socket, 'data')
    socket.resetAndDestroy()
  }
  for (const [path, status] of [
    ['/%', 400],
    ['/api/history?series=a%20b&from=1e300', 400],
    ['/api/history?series=a%20b&from=-1', 400],
    ['/api/history?series=a%20b&to=253402300800000', 200],
    ['/api/nothing', 404],
  ] as const) {
    const { status: got, body } = await hub.get<{ error?: string }>(path)
    t.equal(got, status, path)
    if (status >= 400) t.type(body.error, 'string')
  }
  const { body } = await hub.get<{ dependencies: { state: string }[] }>('/readyz')
  t.ok(body.dependencies.every(one => one.state === 'up'))
})

t.test('too large a packet ends the connection, on TCP and WebSocket, and the hub serves on', async t => {
  for (const url of [hub.mqttUrl, hub.webSocketUrl]) {
    const client = await connectMqtt(t, url)
    const closed = new Promise<void>(resolve => client.once('close', () => resolve()))
    client.publish('large', Buffer.alloc(4_200_000), { qos: 1 })
    await closed
    t.pass(url)
  }
  const client = await connectMqtt(t, hub.mqttUrl)
  await client.publishAsync('fine', Buffer.alloc(3_900_000), { qos: 1 })
})
