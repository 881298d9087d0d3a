import { connect } from 'node:net'
import { io, type Socket } from 'socket.io-client'
import t from 'tap'
import { makeKey } from '../../src/users/users.js'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { connectMqtt, eventually, metric, startHub } from '../harness.js'

/** Receivers that do not do what a client of good will does. */

t.test('the connection of a removed user who does not read is closed', async t => {
  const users = await usersFile()
  await users.add('viewer', ['allow read #'], { kind: 'dashboard' })
  const { text: apiKey, key } = makeKey('screen', Date.now())
  await users.edit(file => file.addKey('viewer', key))
  await users.add('device', ['allow all #'])
  const hub = await startHub(t, users.settings)
  const { hostname, port, host } = new URL(hub.httpUrl)
  const stream = connect(Number(port), hostname)
  t.teardown(() => stream.destroy())
  let isClosed = false
  stream.on('close', () => {
    isClosed = true
  })
  stream.on('error', () => {})
  let text = ''
  stream.on('data', data => {
    if (text.includes('event: ready')) return
    text += data
    if (text.includes('event: ready')) stream.pause()
  })
  stream.write(`GET /api/live?topic=big HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${apiKey}\r\n\r\n`)
  const ready = await eventually(() => text.includes('event: ready') || text.includes('HTTP/1.1 4'), 'an answer')
  t.ok(ready && text.includes('event: ready'), text.slice(0, 200))
  const device = await connectMqtt(t, hub.mqttUrl, { username: 'device', password: passwordOf('device') })
  const payload = JSON.stringify({ filler: 'x'.repeat(50_000) })
  while ((await metric(hub, 'telehub_feed_merged_total')) === 0) {
    await Promise.all(Array.from({ length: 50 }, () => device.publishAsync('big', payload, { qos: 1 })))
  }
  await users.edit(file => file.removeUser('viewer'))
  await eventually(async () => (await metric(hub, 'telehub_feeds')) === 0, 'the feed is closed')
  // Reads on after the hub has given up: what was sent before, and the end.
  await new Promise(resolve => setTimeout(resolve, 6_000))
  stream.resume()
  await eventually(() => isClosed, 'the connection is closed')
})

t.test('a client of Socket.IO whose transport changes while readings flow gets each once', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl)
  let n = 0
  let isOver = false
  const flow = (async () => {
    for (; !isOver; n++) await device.publishAsync('flow', JSON.stringify({ n }), { qos: 1 })
  })()
  const clients = Array.from({ length: 25 }, () => {
    const socket: Socket = io(hub.httpUrl, { forceNew: true, transports: ['polling', 'websocket'] })
    t.teardown(() => socket.disconnect())
    const told: number[] = []
    let isUpgraded = false
    socket.io.engine?.once('upgrade', () => {
      isUpgraded = true
    })
    socket.on('connect', () => {
      socket.io.engine.once('upgrade', () => {
        isUpgraded = true
      })
      void socket.emitWithAck('subscribe', 'flow')
    })
    socket.on('live', ({ sequence }: { readonly sequence: number }) => told.push(sequence))
    return { told, isUpgraded: () => isUpgraded || socket.io.engine.transport.name === 'websocket' }
  })
  await eventually(() => clients.every(({ told, isUpgraded }) => isUpgraded() && told.length > 100), 'all are upgraded')
  isOver = true
  await flow
  await eventually(() => clients.every(({ told }) => told.at(-1) === n), 'all have everything')
  for (const { told } of clients) {
    const [first = 0] = told
    t.same(
      told,
      Array.from({ length: n - first + 1 }, (_, i) => first + i),
    )
  }
})

t.test('a client of Socket.IO that stops to poll is gone after a while, with its subscription', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl)
  const ask = async (sid = '', body?: string) => {
    const query = `EIO=4&transport=polling${sid && `&sid=${sid}`}`
    const init = body === undefined ? {} : { method: 'POST', body, headers: { 'content-type': 'text/plain' } }
    return (await fetch(`${hub.httpUrl}/socket.io/?${query}`, init)).text()
  }
  const { sid } = JSON.parse((await ask()).slice(1)) as { readonly sid: string }
  await ask(sid, '40')
  t.match(await ask(sid), /^40/)
  await ask(sid, '420["subscribe","flow"]')
  await eventually(async () => (await metric(hub, 'telehub_feeds')) === 1, 'subscribed')
  const filler = 'x'.repeat(20_000)
  for (let n = 0; n < 500; n++) await device.publishAsync('flow', JSON.stringify({ n, filler }), { qos: 1 })
  await eventually(async () => (await metric(hub, 'telehub_feed_merged_total')) > 0, 'readings are merged, not held')
  await eventually(async () => (await metric(hub, 'telehub_feeds')) === 0, 'the subscription is closed')
})
