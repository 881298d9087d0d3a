import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import mqttPacket, { type IPublishPacket } from 'mqtt-packet'
import t from 'tap'
import { type ConnectOptions, connectBytes, publishOf, RawClient } from '../clients/raw-mqtt.js'
import { connectMqtt, eventually, metric, type RunningHub, residentMegabytes, startHub } from '../harness.js'
import { witness } from '../hostile/witness.js'

const publishBytes = (...args: Parameters<typeof publishOf>) => mqttPacket.generate(publishOf(...args))

/** The addresses under which clients reach a hub. */
const ways = {
  TCP: (hub: RunningHub) => hub.mqttUrl,
  WebSocket: (hub: RunningHub) => hub.webSocketUrl,
}

const refused = (hub: RunningHub, reason: string) => metric(hub, `telehub_refused_total{reason="${reason}"}`)

/** The hub has so many connections, and knows that those we closed are gone. */
const connections = (hub: RunningHub, count: number) =>
  eventually(async () => (await metric(hub, 'telehub_connections')) === count, `${count} connections`)

const numbers = (count: number, from = 0) => Array.from({ length: count }, (_, n) => String(from + n))
/** A payload that begins with its number. */
const padded = (text: string, bytes: number) => Buffer.from(text.padEnd(bytes))
/** From here on publishes are acknowledged; the list of their payloads, without what pads them. */
const texts = (client: RawClient) => client.collectAs(({ payload }) => String(payload).trim())

t.test('packets larger than limits.hello before CONNECT, than limits.packet after it: closed; others live', async t => {
  const hub = await startHub(t, { 'limits.hello': '1KB', 'limits.packet': '100KB' })
  let tooLarge = 0
  const bystander = new RawClient(t, hub.mqttUrl)
  await bystander.connect({ clientId: 'bystander' })
  await bystander.subscribe({ 'large/#': 0 })
  for (const [name, urlOf] of Object.entries(ways)) {
    const client = async (options?: ConnectOptions) => {
      const one = new RawClient(t, urlOf(hub))
      if (options) await one.connect(options)
      return one
    }
    const long = await client()
    long.write(connectBytes({ clientId: 'long', username: 'x'.repeat(2_000) }))
    t.same(await long.gone(), [], `${name}: a CONNECT larger than limits.hello gets no answer`)
    const announced = await client()
    announced.write(Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f]))
    t.same(await announced.gone(), [], `${name}: it need only be announced`)
    tooLarge += 2

    const hasty = await client()
    hasty.write(Buffer.concat([connectBytes(), publishBytes('large/hasty', Buffer.alloc(50_000), 1, 1)]))
    t.match(await hasty.until('puback'), [{ cmd: 'connack', returnCode: 0 }, { messageId: 1 }])
    t.match(await bystander.next(), { topic: 'large/hasty' }, `${name}: behind CONNECT the other limit is valid`)
    hasty.destroy()

    const most = await client({ clientId: 'most' })
    // Its remaining length: topic 2 + 10 bytes, packet id 2.
    most.write(publishBytes('large/most', Buffer.alloc(100_000 - 14), 1, 1))
    t.match(await most.next(), { cmd: 'puback' }, `${name}: as large as may be`)
    t.match(await bystander.next(), { topic: 'large/most' })
    most.destroy()

    const will = { topic: 'large/will', payload: Buffer.from(name), qos: 0 as const, retain: false }
    const large = await client({ clientId: 'large', will })
    const bytes = publishBytes('large/too', Buffer.alloc(150_000), 1, 1)
    for (let at = 0; at < bytes.length; at += 10_000) large.write(bytes.subarray(at, at + 10_000))
    t.same(await large.gone(), [], `${name}: larger than limits.packet, no acknowledgement`)
    t.match(await bystander.next(), { topic: 'large/will', payload: Buffer.from(name) }, 'nothing but its will')
    const header = await client({ clientId: 'header' })
    header.write(Buffer.from([0x32, 0xff, 0xff, 0xff, 0x7f]))
    t.same(await header.gone(), [], `${name}: announced is enough`)
    tooLarge += 2
  }
  t.equal(await refused(hub, 'packet_too_large'), tooLarge)
  await bystander.ping()
  // MQTT 3.1.1 has no way to tell the client.
  await bystander.subscribe({ '$hub/why/large': 0 })
  t.match(await bystander.next(), { topic: '$hub/why/large', payload: /larger than 100000 \(limits\.packet\)/ })
  t.match(hub.log(), /refused large to publish: a packet of 150\d+ bytes/)
  const counted = async () => {
    const { body } = await hub.get<{ reasons: { refused: object } }>('/api/balance')
    return (body.reasons.refused as { packet_too_large?: number }).packet_too_large === tooLarge / 2
  }
  await eventually(counted, 'the balance sheet counts those of connected clients')
})

t.test(
  'limits.connect: whoever is silent or takes its time over CONNECT is cut off, whoever is connected is not',
  async t => {
    const hub = await startHub(t, { 'limits.connect': '1s' })
    const connected = new RawClient(t, hub.mqttUrl)
    await connected.connect({ clientId: 'connected' })
    const startedAt = performance.now()
    const silent = new RawClient(t, hub.mqttUrl)
    const page = new RawClient(t, hub.webSocketUrl)
    const slow = new RawClient(t, hub.mqttUrl)
    const slowPage = new RawClient(t, hub.webSocketUrl)
    const bytes = connectBytes({ clientId: 'slow', username: 'x'.repeat(1_000) })
    for (let at = 0; at < bytes.length && !(slow.closed && slowPage.closed); at++) {
      for (const client of [slow, slowPage]) if (!client.closed) client.write(bytes.subarray(at, at + 1))
      await sleep(50)
    }
    for (const client of [silent, page, slow, slowPage]) {
      t.same(await client.gone(), [])
      const after = client.closedAt - startedAt
      t.ok(after >= 950 && after < 20_000, `after ${after.toFixed()} ms`)
    }
    t.equal(await refused(hub, 'connect_timeout'), 4)
    await connected.ping()
  },
)

t.test(
  'limits.connections: who has waited longest for its CONNECT gives way; without one the new one is refused',
  async t => {
    const hub = await startHub(t, { 'limits.connections': '3', 'limits.connect': '10m' })
    const waiting: RawClient[] = []
    for (let n = 1; n <= 3; n++) {
      waiting.push(new RawClient(t, hub.mqttUrl))
      await connections(hub, n)
    }
    const [longest, second, third] = waiting as [RawClient, RawClient, RawClient]
    const client = new RawClient(t, hub.mqttUrl)
    await client.connect({ clientId: 'new' })
    await longest.gone()
    t.equal(await refused(hub, 'gave_way'), 1)
    await second.connect({ clientId: 'second' })
    await third.connect({ clientId: 'third' })
    for (const urlOf of Object.values(ways)) {
      const late = new RawClient(t, urlOf(hub))
      late.write(connectBytes({ clientId: 'late' }))
      t.same(await late.gone(), [], 'everybody is connected: refused')
    }
    t.equal(await refused(hub, 'too_many_connections'), 2)
    for (const one of [client, second, third]) await one.ping()
    client.destroy()
    await connections(hub, 2)
    await new RawClient(t, hub.mqttUrl).connect({ clientId: 'late' })
  },
)

t.test('limits.address: so many of one address, others come in', async t => {
  const hub = await startHub(t, { 'limits.address': '2' })
  const first = new RawClient(t, hub.mqttUrl)
  await first.connect({ clientId: 'first' })
  await new RawClient(t, hub.webSocketUrl).connect({ clientId: 'second' })
  const third = new RawClient(t, hub.mqttUrl)
  third.write(connectBytes({ clientId: 'third' }))
  t.same(await third.gone(), [])
  t.equal(await refused(hub, 'too_many_of_address'), 1)
  await new RawClient(t, hub.mqttUrl, 4, '127.0.0.2').connect({ clientId: 'elsewhere' })
  first.destroy()
  await connections(hub, 2)
  await new RawClient(t, hub.mqttUrl).connect({ clientId: 'third' })
})

t.test('limits.address: who has not connected gives way to who wants to, as with limits.connections', async t => {
  const hub = await startHub(t, { 'limits.address': '2', 'limits.connect': '10m' })
  const waiting = [new RawClient(t, hub.mqttUrl), new RawClient(t, hub.mqttUrl)]
  await connections(hub, 2)
  await new RawClient(t, hub.mqttUrl).connect({ clientId: 'new' })
  await eventually(() => waiting.some(({ closed }) => closed), 'one gave way')
  t.equal(waiting.filter(({ closed }) => closed).length, 1, 'no more than one')
})

for (const [most, settings] of [
  ['as many as there are', {}],
  ['500', { 'limits.connections': '500' }],
] as const) {
  t.test(`3,000 sockets half open, ${most} of them held: a new client connects and publishes`, async t => {
    const hub = await startHub(t, settings)
    const good = await witness(t, hub)
    const bytes = connectBytes({ clientId: 'half' })
    const half = Array.from({ length: 3_000 }, (_, n) => {
      const one = new RawClient(t, hub.mqttUrl)
      if (n % 2 === 1) one.write(bytes.subarray(0, 1 + (n % (bytes.length - 1))))
      return one
    })
    const startedAt = performance.now()
    const first = new RawClient(t, hub.mqttUrl)
    await first.connect({ clientId: 'meanwhile' })
    t.comment(`connected among them after ${(performance.now() - startedAt).toFixed()} ms`)
    await eventually(() => half.every(one => one.socket?.connecting === false), 'all are there')
    for (let n = 0; n < 20; n++) {
      const client = new RawClient(t, hub.mqttUrl)
      await client.connect({ clientId: `new-${n}` })
      await client.subscribe({ [`half/${n}`]: 1 })
      client.write(publishBytes(`half/${n}`, 'through', 1, 1))
      const packets = [await client.next(), await client.next()].map(({ cmd }) => cmd).sort()
      t.same(packets, ['puback', 'publish'])
      client.destroy()
    }
    await first.ping()
    await good.end()
    t.comment(`${await metric(hub, 'telehub_connections')} connections, ${residentMegabytes(hub)} MB`)
  })
}

for (const [name, settings, bytes, count] of [
  ['limits.messages', { 'limits.messages': '100' }, 20, 500],
  ['limits.bytes', { 'limits.bytes': '20KB' }, 1_000, 100],
] as const) {
  t.test(`${name}: five times the rate is delayed, nothing is lost, and nobody else is delayed`, async t => {
    const hub = await startHub(t, settings)
    const watcher = new RawClient(t, hub.mqttUrl)
    await watcher.connect({ clientId: 'watcher' })
    await watcher.subscribe({ 'rate/#': 0 })
    const topics: Record<string, string[]> = { 'rate/0': [], 'rate/1': [], 'rate/other': [] }
    watcher.handle = packet => {
      if (packet.cmd !== 'publish') return false
      topics[packet.topic]?.push(String(packet.payload).trim())
      return true
    }
    let limited = 2
    const send = async (qos: 0 | 1) => {
      // Its keep alive does not run out while it is the hub that does not listen.
      const client = new RawClient(t, hub.mqttUrl)
      await client.connect({ clientId: `rate-${qos}`, keepalive: 1 })
      const startedAt = performance.now()
      const packets = numbers(count).map((text, n) => publishBytes(`rate/${qos}`, padded(text, bytes), qos, n + 1))
      client.write(Buffer.concat(packets), mqttPacket.generate({ cmd: 'pingreq' }))
      const acknowledged: (number | undefined)[] = []
      let isAnswered = false
      while (!isAnswered || acknowledged.length < count * qos) {
        const packet = await client.next()
        if (packet.cmd === 'puback') acknowledged.push(packet.messageId)
        else isAnswered = true
      }
      limited--
      const took = performance.now() - startedAt
      t.ok(took > 3_500, `QoS ${qos}: five seconds' worth took ${took.toFixed()} ms`)
      const all = packets.map((_, n) => n + 1)
      t.same(acknowledged, qos === 1 ? all : [], 'each is acknowledged, in order')
    }
    const other = async () => {
      const client = await connectMqtt(t, hub.mqttUrl, { clientId: 'other' })
      for (const text of numbers(10)) await client.publishAsync('rate/other', text, { qos: 1 })
      t.equal(limited, 2, 'another client is done long before')
    }
    await Promise.all([send(0), send(1), other()])
    await watcher.ping()
    for (const topic of ['rate/0', 'rate/1']) t.same(topics[topic], numbers(count), `${topic}: all, in order`)
    t.same(topics['rate/other'], numbers(10))
  })
}

t.test('limits.inflight: 50,000 publishes in tiny segments, nothing read: every PUBACK in order', async t => {
  const hub = await startHub(t, { 'limits.inflight': '500' })
  const client = new RawClient(t, hub.mqttUrl)
  await client.connect({ clientId: 'tiny' })
  client.pause()
  const count = 50_000
  for (let n = 1; n <= count; n++) {
    // Half of them cut in two.
    const packet = publishBytes('tiny', String(n), 1, n)
    if (n % 2 === 0) client.write(packet)
    else
      for (const half of [packet.subarray(0, n % packet.length), packet.subarray(n % packet.length)]) client.write(half)
    if (client.socket?.writableNeedDrain) await sleep(1)
  }
  const other = await connectMqtt(t, hub.mqttUrl)
  await other.publishAsync('other', 'is served meanwhile', { qos: 1 })
  await eventually(async () => (await metric(hub, 'telehub_received_total{qos="1"}')) === count + 1, 'all are taken')
  t.comment(`${residentMegabytes(hub)} MB`)
  let acknowledged = 0
  let outOfOrder = 0
  client.handle = packet => {
    if (packet.cmd !== 'puback' || packet.messageId !== acknowledged + 1) outOfOrder++
    acknowledged++
    return true
  }
  client.resume()
  await eventually(() => acknowledged >= count, 'all are acknowledged')
  t.equal(acknowledged, count)
  t.equal(outOfOrder, 0)
})

t.test('keep alive: who is silent for 1.5 times as long is closed, not sooner, and its will published', async t => {
  const hub = await startHub(t)
  const watcher = new RawClient(t, hub.mqttUrl)
  await watcher.connect()
  await watcher.subscribe({ 'wills/#': 0 })
  const wills = texts(watcher)
  const silent = async (name: string, n: number) => {
    const client = new RawClient(t, n % 2 === 0 ? hub.mqttUrl : hub.webSocketUrl)
    const will = { topic: 'wills/x', payload: Buffer.from(name), qos: 0 as const, retain: false }
    let saidAt = performance.now()
    await client.connect({ clientId: name, keepalive: 1, will })
    // Whatever the phase of the hub's own timer.
    const pause = (n % 4) * 110
    if (pause > 0) {
      await sleep(pause)
      saidAt = performance.now()
      await client.ping()
    }
    await client.gone()
    const after = client.closedAt - saidAt
    t.ok(after >= 1_499 && after < 20_000, `${name}: closed after ${after.toFixed()} ms`)
  }
  const many = numbers(12).map(n => `one of many ${n}`)
  const lone = numbers(4).map(n => `alone ${n}`)
  await Promise.all(many.map((name, n) => silent(name, n)))
  // In a hub that has nothing else to do.
  for (const [n, name] of lone.entries()) await silent(name, n + 1)
  const all = [...many, ...lone].sort()
  await eventually(() => wills.length === all.length, 'all wills')
  t.same(wills.sort(), all)
  t.equal(await refused(hub, 'keepalive_timeout'), all.length)
  await watcher.ping()
})

t.test('limits.keepalive holds those who asked for more or for none, without saying so', async t => {
  const hub = await startHub(t, { 'limits.keepalive': '2s' })
  const alive = new RawClient(t, hub.mqttUrl)
  await alive.connect({ clientId: 'alive', keepalive: 3_600 })
  let silent = 0
  const closing = [0, 60, 65_535].map(async keepalive => {
    const client = new RawClient(t, hub.mqttUrl)
    const startedAt = performance.now()
    client.write(connectBytes({ clientId: `asked-${keepalive}`, keepalive }))
    t.match(await client.next(), { cmd: 'connack', returnCode: 0, sessionPresent: false })
    await client.gone()
    silent++
    const after = client.closedAt - startedAt
    t.ok(after >= 2_999 && after < 20_000, `keep alive ${keepalive}: closed after ${after.toFixed()} ms`)
  })
  while (silent < closing.length) {
    await alive.ping()
    await sleep(100)
  }
  await Promise.all(closing)
  await alive.ping()
  t.equal(await refused(hub, 'keepalive_timeout'), closing.length)
})

t.test('limits.outbox: who stops reading loses QoS 0, and that is counted; nobody else loses any', async t => {
  const hub = await startHub(t, { 'limits.outbox': '64KB', 'limits.stuck': '10m' })
  const subscriber = async (urlOf: (hub: RunningHub) => string) => {
    const client = new RawClient(t, urlOf(hub))
    await client.connect()
    await client.subscribe({ 'out/#': 0 })
    return { client, got: texts(client) }
  }
  const frozen = await subscriber(ways.TCP)
  const frozenPage = await subscriber(ways.WebSocket)
  const live = [await subscriber(ways.TCP), await subscriber(ways.WebSocket)]
  frozen.client.pause()
  frozenPage.client.pause()
  const publisher = await connectMqtt(t, hub.mqttUrl)
  const dropped = () => metric(hub, 'telehub_dropped_total')
  let count = 0
  // Never more on its way than an outbox holds: the live ones cannot be too slow.
  while (count < 2_000 || (await dropped()) < 100) {
    for (let n = 0; n < 100; n += 5) {
      const texts = numbers(5, count)
      await Promise.all(texts.map(text => publisher.publishAsync('out/x', padded(text, 8_000), { qos: 1 })))
      count += 5
      await eventually(() => live.every(({ got }) => got.length >= count), 'the live ones have it')
    }
  }
  for (const { got } of live) t.same(got, numbers(count), 'live: all, in order')
  const lost = await dropped()
  t.comment(`${lost} of ${2 * count} dropped, ${residentMegabytes(hub)} MB`)
  frozen.client.resume()
  frozenPage.client.resume()
  await frozen.client.ping()
  await frozenPage.client.ping()
  t.equal(frozen.got.length + frozenPage.got.length + lost, 2 * count, 'what did not come is what was counted')
  for (const { got } of [frozen, frozenPage])
    t.same(
      got,
      got
        .map(Number)
        .sort((a, b) => a - b)
        .map(String),
      'what came is in order',
    )
  await publisher.publishAsync('out/x', 'again', { qos: 1 })
  await eventually(() => [frozen, frozenPage].every(({ got }) => got.at(-1) === 'again'), 'and it goes on')
  t.equal(await dropped(), lost)
})

t.test('limits.stuck: who takes nothing for so long is closed as slow_consumer', async t => {
  const hub = await startHub(t, { 'limits.outbox': '64KB', 'limits.stuck': '500ms' })
  const watcher = new RawClient(t, hub.mqttUrl)
  await watcher.connect()
  await watcher.subscribe({ 'wills/#': 1 })
  const wills = texts(watcher)
  const frozen: RawClient[] = []
  for (const [name, urlOf] of Object.entries(ways)) {
    const client = new RawClient(t, urlOf(hub))
    const will = { topic: 'wills/x', payload: Buffer.from(name), qos: 1 as const, retain: false }
    await client.connect({ clientId: name, will })
    await client.subscribe({ 'stuck/#': 0 })
    client.pause()
    frozen.push(client)
  }
  const publisher = await connectMqtt(t, hub.mqttUrl)
  await eventually(async () => {
    for (let n = 0; n < 20; n++) await publisher.publishAsync('stuck/x', Buffer.alloc(60_000), { qos: 1 })
    return (await refused(hub, 'slow_consumer')) === 2
  }, 'both are closed')
  await eventually(() => wills.length === 2, 'their wills')
  t.same(wills.sort(), ['TCP', 'WebSocket'])
  for (const client of frozen) {
    client.handle = () => true
    client.resume()
    await client.gone()
  }
  await connections(hub, 2)
})

t.test('limits.stuck: who reads slowly is not stuck', async t => {
  const hub = await startHub(t, { 'limits.packet': '32MB', 'limits.inflightBytes': '32MB', 'limits.stuck': '2s' })
  const slow = connect(Number(new URL(hub.mqttUrl).port), '127.0.0.1')
  t.teardown(() => slow.destroy())
  let closed = false
  slow.on('error', () => {})
  slow.on('close', () => {
    closed = true
  })
  slow.write(connectBytes())
  slow.write(mqttPacket.generate({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'slow', qos: 1 }] }))
  const publisher = await connectMqtt(t, hub.mqttUrl)
  await eventually(async () => (await metric(hub, 'telehub_subscriptions')) === 1, 'it has subscribed')
  const payload = 12_000_000
  await publisher.publishAsync('slow', Buffer.alloc(payload), { qos: 1 })
  let got = 0
  // Some 2 MB a second.
  while (got < payload && !closed) {
    got += (slow.read(Math.min(slow.readableLength, 40_000)) as Buffer | null)?.length ?? 0
    await sleep(20)
  }
  t.ok(got >= payload, `it has all, ${got} bytes`)
  t.equal(await refused(hub, 'slow_consumer'), 0)
})

t.test('frozen subscribers among 100 live ones: those have everything, in order, while these are frozen', async t => {
  const hub = await startHub(t, { 'limits.outbox': '256KB', 'limits.stuck': '10m' })
  const before = residentMegabytes(hub)
  const subscriber = async (n: number, filter: string) => {
    const qos = n % 2 === 0 ? 0 : 1
    const client = new RawClient(t, n % 4 < 2 ? hub.mqttUrl : hub.webSocketUrl)
    await client.connect({ clientId: `${filter[0]}-${n}` })
    await client.subscribe({ [filter]: qos })
    return { client, qos, got: texts(client) }
  }
  const live = await Promise.all(Array.from({ length: 100 }, (_, n) => subscriber(n, 'live/#')))
  // What fills the buffers of the frozen ones need not go to the live ones too.
  const frozen = await Promise.all(Array.from({ length: 4 }, (_, n) => subscriber(n, '#')))
  for (const { client } of frozen) client.pause()
  const publisher = await connectMqtt(t, hub.mqttUrl)
  const count = 2_000
  const startedAt = performance.now()
  for (let n = 0; n < count; n += 50) {
    await Promise.all([
      ...numbers(50, n).map(text => publisher.publishAsync('live/x', text, { qos: 1 })),
      ...numbers(8).map(() => publisher.publishAsync('bulk', padded('bulk', 50_000), { qos: 1 })),
    ])
  }
  await eventually(() => live.every(({ got }) => got.length >= count), 'the live ones have all')
  t.comment(`${count} to each of 100 in ${(performance.now() - startedAt).toFixed()} ms`)
  for (const { got } of live)
    if (got.length !== count || got.some((text, n) => text !== String(n))) t.same(got, numbers(count))
  const lost = await metric(hub, 'telehub_dropped_total')
  t.ok(lost > 0, `${lost} dropped: the frozen ones were`)
  const after = residentMegabytes(hub)
  t.comment(`memory ${before} MB before, ${after} MB after`)
  t.ok(after < before + 400, 'memory is bounded')

  for (const { client } of frozen) client.resume()
  const total = count + (count / 50) * 8
  await eventually(() => frozen.every(({ got, qos }) => qos === 0 || got.length >= total), 'QoS 1: all, later')
  for (const { client, got, qos } of frozen) {
    await client.ping()
    const texts = got.filter(text => text !== 'bulk').map(Number)
    t.ok(
      texts.every((value, n) => n === 0 || value > (texts[n - 1] as number)),
      `QoS ${qos}: in order`,
    )
    if (qos === 1) t.equal(texts.length, count)
  }
})

t.test('a durable QoS 1 subscriber that freezes gets all: when it goes on, comes back, or is replaced', async t => {
  const hub = await startHub(t, { 'limits.outbox': '64KB', 'limits.stuck': '10m', 'limits.window': '2000' })
  const publisher = await connectMqtt(t, hub.mqttUrl)
  const count = 1_500
  const send = async () => {
    for (let n = 0; n < count; n += 50) {
      await Promise.all(
        numbers(50, n).map(text => publisher.publishAsync('durable/x', padded(text, 16_000), { qos: 1 })),
      )
    }
  }
  const session = { clientId: 'durable', clean: false }
  const first = new RawClient(t, hub.mqttUrl)
  await first.connect(session)
  await first.subscribe({ 'durable/#': 1 })
  const got = texts(first)
  first.pause()
  await send()
  t.equal(got.length, 0)
  first.resume()
  await eventually(() => got.length >= count, 'all have come')
  t.same(got, numbers(count), 'goes on: all, in order')
  await first.ping()

  // Frozen again, another connection takes its place: what was sent comes with DUP, in order, and then the rest.
  first.pause()
  await send()
  const second = new RawClient(t, hub.webSocketUrl)
  const taken: IPublishPacket[] = []
  second.handle = packet => {
    if (packet.cmd === 'publish') taken.push(packet)
    return packet.cmd === 'publish'
  }
  await second.connect(session)
  await eventually(() => taken.length >= count, 'all have come to the second')
  t.same(
    taken.map(({ payload }) => String(payload).trim()),
    numbers(count),
    'replaced: all, in order',
  )
  t.ok(taken[0]?.dup)
  t.equal(taken.at(-1)?.dup, false)
  second.write(Buffer.concat(taken.map(({ messageId = 0 }) => mqttPacket.generate({ cmd: 'puback', messageId }))))
  await second.ping()
  second.destroy()
  await eventually(async () => (await metric(hub, 'telehub_clients')) === 1, 'it is gone')
  t.equal(await metric(hub, 'telehub_given_up_total{reason="queue"}'), 0)
  t.equal(await hub.stop(), 0)

  const hasty = await startHub(
    t,
    { 'limits.outbox': '64KB', 'limits.stuck': '500ms', 'limits.window': '2000' },
    hub.dir,
  )
  const again = await connectMqtt(t, hasty.mqttUrl)
  const third = new RawClient(t, hasty.mqttUrl)
  await third.connect(session)
  third.pause()
  let sent = 0
  await eventually(async () => {
    await Promise.all(numbers(50, sent).map(text => again.publishAsync('durable/x', padded(text, 16_000), { qos: 1 })))
    sent += 50
    return (await refused(hasty, 'slow_consumer')) === 1
  }, 'it is cut off')
  const fourth = new RawClient(t, hasty.mqttUrl)
  const back = texts(fourth)
  await fourth.connect(session)
  await eventually(() => back.length >= sent, 'all have come')
  t.same(back, numbers(sent), 'comes back: all, in order')
})
