import { createServer } from 'node:http'
import { type AddressInfo, createConnection, type Socket, createServer as tcpServer } from 'node:net'
import t, { type Test } from 'tap'
import { connect, type FeedEvent, type FeedPhase, NewestValues } from '../../client/src/client.js'
import { asAdmin, connectMqtt, eventually, metric, type RunningHub, startHub } from '../harness.js'

/** A client of the hub, as the administrator; closed when the test ends. */
function clientOf(t: Test, { httpUrl, dir }: Pick<RunningHub, 'httpUrl' | 'dir'>) {
  const hub = connect({ url: httpUrl, token: () => asAdmin(dir).authorization.slice('Bearer '.length) })
  t.teardown(() => hub.close())
  return hub
}

/** Collects the events of a feed, and the phases in their order. */
function collector() {
  const events: FeedEvent[] = []
  const phases: FeedPhase[] = []
  return {
    events,
    phases,
    event: (event: FeedEvent) => events.push(event),
    state: ({ phase }: { readonly phase: FeedPhase }) => phases.push(phase),
    of: <K extends FeedEvent['kind']>(kind: K) =>
      events.filter((one): one is Extract<FeedEvent, { kind: K }> => one.kind === kind),
  }
}

/** A way to the hub that can be cut, and that can stop to carry anything. */
async function breakableWay(t: Test, target: () => string) {
  const sockets = new Set<Socket>()
  let isStill = false
  const server = tcpServer(inner => {
    const outer = createConnection(Number(new URL(target()).port), '127.0.0.1')
    for (const [from, to] of [[inner, outer] as const, [outer, inner] as const]) {
      sockets.add(from)
      from.on('data', chunk => {
        if (!to.write(chunk) && !isStill) from.pause()
      })
      to.on('drain', () => !isStill && from.resume())
      from.on('close', () => {
        sockets.delete(from)
        to.destroy()
      })
      from.on('error', () => {})
      if (isStill) from.pause()
    }
  }).listen(0, '127.0.0.1')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  await new Promise(resolve => server.once('listening', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut: () => {
      for (const socket of sockets) socket.destroy()
    },
    hold: (still: boolean) => {
      isStill = still
      for (const socket of sockets) socket[still ? 'pause' : 'resume']()
    },
  }
}

t.test('newest values, history, then live; series and history by themselves', async t => {
  const running = await startHub(t)
  const device = await connectMqtt(t, running.mqttUrl)
  const topic = 'home/kitchen/t1/telemetry'
  for (const temperature of [20, 21]) {
    await device.publishAsync(topic, JSON.stringify({ temperature }), { qos: 1 })
  }
  const hub = clientOf(t, running)
  const [row] = await eventually(async () => {
    const rows = await hub.series({ search: 'temperature' })
    return rows[0]?.last.value === 21 && rows
  }, 'stored')
  t.match(row, { field: 'temperature', tags: { room: 'kitchen', device: 't1' } })
  const key = row?.key ?? ''
  t.same((await hub.history(key)).values, [20, 21])
  t.same((await hub.history(key, { to: new Date(0), from: 0 })).values, [])
  t.same((await hub.history(key, { points: 1, fn: 'max' })).values, [21])

  const feed = hub.subscribe(['home/+/+/telemetry'], { history: '1h' })
  const kinds: string[] = []
  for await (const event of feed) {
    kinds.push(event.kind)
    if (event.kind === 'history') t.same(event.data.values, [20, 21])
    if (event.kind === 'ready') {
      t.equal(feed.state.phase, 'live')
      await device.publishAsync(topic, '{"temperature":22}', { qos: 1 })
    }
    if (event.kind !== 'live') continue
    t.match(event.data, { topic, quality: 'good', values: [{ series: key, value: 22 }] })
    t.equal(feed.after, event.data.sequence)
    break
  }
  t.same(kinds, ['start', 'values', 'history', 'ready', 'live'])
  t.ok(feed.state.ageMs < 25_000)
  feed.close()
  t.equal(feed.state.phase, 'ended')
  await eventually(async () => (await metric(running, 'telehub_feeds')) === 0, 'the feed is closed at the hub')
})

t.test('over cuts and kills every reading comes once, and no gap is told', async t => {
  let running = await startHub(t)
  const way = await breakableWay(t, () => running.httpUrl)
  const hub = clientOf(t, { httpUrl: way.url, dir: running.dir })
  const seen = collector()
  const feed = hub.subscribe('a/#', { history: '1h', points: 10_000, on: seen })
  await eventually(() => feed.state.phase === 'live', 'live')
  const publishSome = async (from: number) => {
    const device = await connectMqtt(t, running.mqttUrl)
    for (let n = from; n < from + 50; n++) await device.publishAsync(`a/${n % 3}`, `{"n":${n}}`, { qos: 1 })
    await device.endAsync()
  }
  await publishSome(0)
  way.cut()
  await publishSome(50)
  await running.kill()
  running = await startHub(t, {}, running.dir)
  await publishSome(100)
  const numbers = () => seen.of('live').map(({ data }) => Number(data.values.find(({ field }) => field === 'n')?.value))
  await eventually(() => numbers().length >= 150, 'all have come')
  t.same(
    numbers(),
    Array.from({ length: 150 }, (_, n) => n),
  )
  await eventually(() => feed.state.phase === 'live', 'live again')
  t.equal(seen.of('start').length, 1, 'and nothing was sent again')
  t.equal(feed.state.gaps, 0)
  t.equal(feed.state.error, undefined)
})

t.test('a receiver that was held up is told, and ends with the newest values, or with every one', async t => {
  const running = await startHub(t)
  const way = await breakableWay(t, () => running.httpUrl)
  const hub = clientOf(t, { httpUrl: way.url, dir: running.dir })
  const merged = collector()
  const all = collector()
  const newest = new NewestValues()
  const feeds = [
    hub.subscribe('big/#', {
      on: { event: event => [merged, newest].map(one => one.event(event)), state: merged.state },
    }),
    hub.subscribe('big/#', { on: all, complete: true }),
  ]
  await eventually(() => feeds.every(({ state }) => state.phase === 'live'), 'live')
  way.hold(true)
  const device = await connectMqtt(t, running.mqttUrl)
  const filler = 'x'.repeat(2_000)
  const count = 9_000
  for (let n = 0; n < count; n += 50) {
    const some = Array.from({ length: 50 }, (_, i) => n + i)
    await Promise.all(some.map(i => device.publishAsync(`big/${i % 20}`, JSON.stringify({ n: i, filler }), { qos: 1 })))
  }
  await eventually(async () => (await metric(running, 'telehub_feed_merged_total')) > 0, 'readings are merged')
  way.hold(false)
  const numbersOf = (seen: typeof all) =>
    seen.of('live').map(({ data }) => Number(data.values.find(({ field }) => field === 'n')?.value))
  await eventually(() => numbersOf(all).length >= count, 'every reading')
  t.same(
    numbersOf(all),
    Array.from({ length: count }, (_, n) => n),
    'once, in order',
  )
  await eventually(
    () => merged.of('caught_up').length > 0 && feeds.every(({ state }) => state.phase === 'live'),
    'live',
  )
  t.ok(numbersOf(merged).length < count)
  t.ok(merged.phases.includes('behind') && all.phases.includes('behind'))
  const values = [...newest].filter(({ series }) => series.endsWith('n')).map(({ value }) => Number(value))
  t.same(
    values.sort((a, b) => a - b),
    Array.from({ length: 20 }, (_, i) => count - 20 + i),
  )
  t.ok(feeds.every(({ state }) => state.gaps === 0))
})

t.test('a feed that cannot continue says that there is a gap, and begins anew', async t => {
  const running = await startHub(t)
  const hub = clientOf(t, running)
  await hub.publish({ topic: 'a', payload: { n: 1 } })
  const seen = collector()
  const feed = hub.subscribe('a', { on: seen, after: 1_000_000 })
  await eventually(() => feed.state.phase === 'live', 'live')
  t.match(feed.state, { gaps: 1, gap: { reason: 'unknown' } })
  t.ok(seen.phases.indexOf('gap') < seen.phases.indexOf('live'))
  t.same(
    seen.events.map(({ kind }) => kind),
    ['gap', 'start', 'values', 'ready'],
  )
})

t.test('what is published is on disk, once, though the answer was lost', async t => {
  const running = await startHub(t)
  const direct = clientOf(t, running)
  const seen = collector()
  const feed = direct.subscribe('#', { on: seen })
  await eventually(() => feed.state.phase === 'live', 'live')
  // A proxy that loses the first two answers, after the hub has done what was asked.
  let requests = 0
  const proxy = createServer(async (request, response) => {
    const body: Buffer[] = []
    for await (const chunk of request) body.push(chunk)
    const { authorization = '', 'idempotency-key': key = '', 'content-type': type = '' } = request.headers
    const headers = { authorization, 'idempotency-key': String(key), 'content-type': type }
    const answer = await fetch(running.httpUrl + request.url, { method: 'POST', headers, body: Buffer.concat(body) })
    const text = await answer.text()
    if (++requests <= 2) response.destroy()
    else response.writeHead(answer.status, { 'content-type': 'application/json' }).end(text)
  }).listen(0, '127.0.0.1')
  t.teardown(() => {
    proxy.closeAllConnections()
    proxy.close()
  })
  await eventually(() => proxy.listening, 'the proxy listens')
  const hub = clientOf(t, { httpUrl: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`, dir: running.dir })
  const published = await hub.publish([
    { topic: 'home/lamp/set', payload: { level: 3 } },
    { topic: 'home/lamp/raw', payload: new TextEncoder().encode('4'), retain: true },
  ])
  t.equal(requests, 3)
  t.equal(published.length, 2)
  t.ok(published.every(({ sequence }) => sequence > 0))
  await direct.publish({ topic: 'last', payload: '5' })
  await eventually(() => seen.of('live').some(({ data }) => data.topic === 'last'), 'the last one')
  t.same(
    seen.of('live').map(({ data }) => [data.topic, data.values[0]?.value]),
    [
      ['home/lamp/set', 3],
      ['home/lamp/raw', 4],
      ['last', 5],
    ],
  )
  await t.rejects(
    direct.publish([
      { topic: 'ok', payload: '' },
      { topic: 'no/#', payload: '' },
    ]),
    {
      name: 'HubRequestError',
      status: 400,
      index: 1,
    },
  )
})

t.test('what is refused for good ends with the reason', async t => {
  const running = await startHub(t)
  const hub = clientOf(t, running)
  const feed = hub.subscribe('a#')
  await t.rejects(
    (async () => {
      for await (const _ of feed) t.fail('no event')
    })(),
    { code: 'bad_request', status: 400 },
  )
  t.equal(feed.state.phase, 'ended')
  const nobody = connect({ url: 'http://127.0.0.1:9' })
  await t.rejects(nobody.publish({ topic: 'a', payload: '' }, { timeoutMs: 300 }), { code: 'unreachable' })
})
