import { io, type Socket } from 'socket.io-client'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { asAdmin, connectMqtt, eventually, history, metric, type RunningHub, startHub } from '../harness.js'

interface Refusal {
  readonly error: string
  readonly message: string
}

interface Reading {
  readonly topic: string
  readonly sequence: number
  readonly values: readonly { readonly value: unknown }[]
}

/** The official client, disconnected when the test ends. */
function client(t: Test, hub: RunningHub, options: Parameters<typeof io>[1] = {}): Socket {
  const socket = io(hub.httpUrl, { forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 100, ...options })
  t.teardown(() => socket.disconnect())
  return socket
}

/** Resolves with the first argument of the next event of this name. */
function next<T>(socket: Socket, event: string): Promise<T> {
  return new Promise(resolve => socket.once(event, resolve))
}

/** Everything that a client was told, in order. */
function told(socket: Socket): { readonly event: string; readonly data: Reading; readonly subscription: number }[] {
  const all: { event: string; data: Reading; subscription: number }[] = []
  socket.onAny((event: string, data: Reading, subscription: number) => all.push({ event, data, subscription }))
  return all
}

for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
  t.test(`history, live and publishing over ${transports.join(', then ')}`, async t => {
    const hub = await startHub(t)
    const device = await connectMqtt(t, hub.mqttUrl)
    for (let n = 0; n < 20; n++) await device.publishAsync('home/hall/t1/telemetry', JSON.stringify({ n }), { qos: 1 })
    await eventually(async () => (await history(hub, 'telemetry,device=t1,room=hall n')).length === 20, 'stored')
    const socket = client(t, hub, { transports })
    const events = told(socket)
    t.match(await socket.emitWithAck('subscribe', 'home/#', { history: '1h' }), { subscription: 1 })
    await eventually(() => events.some(({ event }) => event === 'ready'), 'ready')
    t.same(
      events.map(({ event }) => event),
      ['values', 'history', 'ready'],
    )
    const answer = (await socket.emitWithAck('publish', { topic: 'home/hall/t1/telemetry', payload: { n: 20 } })) as {
      messages: { sequence: number }[]
    }
    t.match(answer, { messages: [{ sequence: 21 }] })
    await eventually(() => events.at(-1)?.event === 'live', 'the reading comes back')
    t.match(events.at(-1), {
      data: { topic: 'home/hall/t1/telemetry', sequence: 21, values: [{ value: 20 }] },
      subscription: 1,
    })
    // Acknowledged is on disk.
    await hub.kill()
    const again = await startHub(t, {}, hub.dir)
    await eventually(async () => (await history(again, 'telemetry,device=t1,room=hall n')).length === 21, 'stored')
  })
}

t.test('a client that was cut off continues where it was, without a gap and without a duplicate', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl)
  const socket = client(t, hub)
  const events = told(socket)
  await socket.emitWithAck('subscribe', ['a/#', 'b'])
  await socket.emitWithAck('subscribe', 'b')
  let sent = 0
  const send = async (count: number) => {
    for (let i = 0; i < count; i++) await device.publishAsync(i % 2 ? 'a/x' : 'b', String(sent++), { qos: 1 })
  }
  const ofFirst = () => events.filter(({ event, subscription }) => event === 'live' && subscription === 1)
  const ofSecond = () => events.filter(({ event, subscription }) => event === 'live' && subscription === 2)
  await eventually(() => events.filter(({ event }) => event === 'ready').length === 2, 'both ready')
  await send(10)
  for (let round = 0; round < 3; round++) {
    await send(6)
    const back = new Promise(resolve => socket.once('connect', () => resolve(socket.recovered)))
    socket.io.engine.close()
    await send(20)
    t.equal(await back, true, 'recovered')
    await send(4)
  }
  await eventually(() => ofFirst().length >= sent && ofSecond().length >= sent / 2, 'everything has come')
  const numbers = (all: readonly { data: Reading }[]) => all.map(({ data }) => data.values[0]?.value)
  t.same(
    numbers(ofFirst()),
    Array.from({ length: sent }, (_, i) => i),
  )
  t.same(
    numbers(ofSecond()),
    Array.from({ length: sent / 2 }, (_, i) => 2 * i),
  )
  await socket.emitWithAck('unsubscribe', 1)
  await eventually(async () => (await metric(hub, 'telehub_feeds')) === 1, 'one is left')
  socket.disconnect()
  await eventually(async () => (await metric(hub, 'telehub_feeds')) === 0, 'none is left')
})

t.test('after a break each offset names all subscriptions, so that another break loses nothing', async t => {
  const hub = await startHub(t)
  const socket = client(t, hub)
  let offsets: string[] = []
  let ready = 0
  socket.onAny((event: string, ...given: unknown[]) => {
    if (event === 'ready') ready++
    const last = given.at(-1)
    if (typeof last === 'string') offsets.push(last)
  })
  await socket.emitWithAck('subscribe', 'a')
  // An offset names a subscription once there was a message.
  for (const payload of ['1', '2']) {
    const arrived = next(socket, 'live')
    await socket.emitWithAck('publish', { topic: 'a', payload })
    await arrived
  }
  for (const filter of ['b', 'c']) await socket.emitWithAck('subscribe', filter)
  await eventually(() => ready === 3, 'all ready')
  t.match(offsets.at(-1), /^1=\d+ 2=\d+ 3=\d+$/)
  offsets = []
  const back = new Promise(resolve => socket.once('connect', () => resolve(socket.recovered)))
  socket.io.engine.close()
  t.equal(await back, true, 'recovered')
  await eventually(() => ready === 6, 'all ready again')
  for (const offset of offsets) t.match(offset, /^1=\d+ 2=\d+ 3=\d+$/)
})

t.test('users: who may connect, and what each may read and publish', async t => {
  const users = await usersFile()
  await users.add('viewer', ['allow read home/#', 'deny read home/secret/#'], { kind: 'dashboard' })
  await users.add('thermo', ['allow publish #', 'allow read #'])
  await users.add('root', ['allow all #'], { kind: 'admin' })
  const hub = await startHub(t, users.settings)
  const rejected = async (auth: object) => {
    const socket = client(t, hub, { auth, reconnection: false })
    return (await next<Error & { data?: Refusal }>(socket, 'connect_error')).data
  }
  t.match(await rejected({}), { error: 'unauthorized' })
  t.match(await rejected({ username: 'viewer', password: 'wrong' }), { error: 'unauthorized' })
  t.match(await rejected({ token: 'thk_x_y' }), { error: 'unauthorized' })
  t.match(await rejected({ username: 'thermo', password: passwordOf('thermo') }), {
    error: 'forbidden',
    message: /device/,
  })

  const socket = client(t, hub, { auth: { username: 'viewer', password: passwordOf('viewer') } })
  const events = told(socket)
  await socket.emitWithAck('subscribe', '#')
  await eventually(() => events.some(({ event }) => event === 'ready'), 'ready')
  const device = await connectMqtt(t, hub.mqttUrl, { username: 'thermo', password: passwordOf('thermo') })
  for (const topic of ['home/secret/x', 'plant/x', 'home/x']) await device.publishAsync(topic, '1', { qos: 1 })
  await eventually(() => events.some(({ event }) => event === 'live'), 'the one that may be read')
  t.same(
    events.filter(({ event }) => event === 'live').map(({ data }) => data.topic),
    ['home/x'],
  )
  t.match(await socket.emitWithAck('publish', { topic: 'home/x', payload: '2' }), { error: 'forbidden' })

  const admin = client(t, hub, { auth: { token: asAdmin(hub.dir).authorization.slice('Bearer '.length) } })
  t.match(
    await admin.emitWithAck('publish', [
      { topic: 'home/y', payload: '2' },
      { topic: 'home/z', payload: '3' },
    ]),
    {
      messages: [{ sequence: 4 }, { sequence: 5 }],
    },
  )
  // A user who is removed is cut off.
  const gone = next(socket, 'disconnect')
  await users.edit(file => file.removeUser('viewer'))
  await gone
})

t.test('mistakes are answered with what is allowed, and pages of other origins are refused', async t => {
  const hub = await startHub(t, { 'limits.feeds': '1', 'ws.origins': 'http://good.example' })
  const socket = client(t, hub)
  const ask = (event: string, ...given: unknown[]) => socket.emitWithAck(event, ...given) as Promise<Refusal>
  t.match(await ask('subscribe', 'a#'), { error: 'bad_request', message: /allowed is a topic filter/ })
  t.match(await ask('subscribe', 5), { error: 'bad_request', message: /allowed is a topic filter/ })
  t.match(await ask('subscribe', 'a', { histori: '6h' }), { error: 'bad_request', message: /no option histori/ })
  t.match(await ask('subscribe', 'a', { history: 'x' }), { error: 'bad_request', message: /6h|10s/ })
  t.match(await ask('subscribe', 'a', { points: -1 }), { error: 'bad_request', message: /points: given -1/ })
  t.match(await ask('subscribe', 'a', { points: 1e9 }), { error: 'bad_request', message: /points/ })
  t.match(await ask('unsubscribe', 7), { error: 'not_found' })
  t.match(await ask('publish', { topic: 'a/#', payload: '' }), { error: 'bad_request', message: /message 0/ })
  t.match(await ask('publish', { topic: 'a', payload: '', qoss: 1 }), { error: 'bad_request', message: /qoss/ })
  t.match(await ask('subscribe', 'a'), { subscription: 1 })
  t.match(await ask('subscribe', 'b'), { error: 'too_many', message: /limits.feeds/ })
  socket.emit('publish', 'nothing')
  const refused = await next<Refusal>(socket, 'refused')
  t.match(refused, { event: 'publish', error: 'bad_request' })
  const poll = (origin: string) => fetch(`${hub.httpUrl}/socket.io/?EIO=4&transport=polling`, { headers: { origin } })
  const bad = await poll('http://evil.example')
  t.equal(bad.status, 403)
  t.equal(bad.headers.get('access-control-allow-origin'), null)
  const good = await poll('http://good.example')
  t.equal(good.status, 200)
  t.equal(good.headers.get('access-control-allow-origin'), 'http://good.example')
  t.equal(good.headers.get('access-control-allow-credentials'), null)
})

t.test('a connection with as many subscriptions as it may have', async t => {
  const hub = await startHub(t)
  const socket = client(t, hub)
  let live = 0
  socket.on('live', () => live++)
  const subscribe = () => socket.emitWithAck('subscribe', 'a/#') as Promise<Refusal>
  for (let n = 1; n <= 100; n++) t.match(await subscribe(), { subscription: n })
  t.match(await subscribe(), { error: 'too_many', message: /100 subscriptions/ })
  for (let n = 0; n < 5; n++) await socket.emitWithAck('publish', { topic: `a/${n}`, payload: 'x'.repeat(10_000) })
  await eventually(() => live === 500, 'every subscription has every reading')
  t.notMatch(hub.log(), /MaxListenersExceeded/)
  t.match(await socket.emitWithAck('unsubscribe', 100), {})
  await eventually(
    async () => ((await subscribe()) as { subscription?: number }).subscription === 101,
    'room for another',
  )
  socket.disconnect()
  await eventually(async () => (await metric(hub, 'telehub_feeds')) === 0, 'no feed is left')
})

t.test('a client that asks and never reads is disconnected', async t => {
  const hub = await startHub(t)
  const socket = new WebSocket(`${hub.httpUrl.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`)
  t.teardown(() => socket.terminate())
  await new Promise(resolve => socket.once('open', resolve))
  socket.send('40')
  await new Promise<void>(resolve =>
    socket.on('message', data => {
      if (String(data).startsWith('40')) resolve()
    }),
  )
  socket.pause()
  const closed = new Promise(resolve => socket.once('close', resolve))
  // Its answer repeats the beginning of what was sent.
  const ask = `42["unsubscribe","${'x'.repeat(2_000)}"]`
  for (let n = 0; n < 80_000; n++) {
    socket.send(ask)
    if (n % 500 === 0)
      await eventually(() => socket.bufferedAmount < 1e6 || socket.readyState !== WebSocket.OPEN, 'sent')
  }
  socket.resume()
  await closed
  t.equal(socket.readyState, WebSocket.CLOSED)
})
