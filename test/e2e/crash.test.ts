import { connect } from 'node:net'
import t from 'tap'
import { connectMqtt, eventually, history, startHub } from '../harness.js'

t.test('acknowledged, killed, started again: the reading is stored, once', async t => {
  const first = await startHub(t)
  const device = await connectMqtt(t, first.mqttUrl, { clientId: 'dev-1' })
  const values = Array.from({ length: 200 }, (_, n) => n + 0.5)
  await Promise.all(
    values.map(value =>
      device.publishAsync('home/kitchen/t1/telemetry', JSON.stringify({ value }), { qos: value % 2 > 1 ? 1 : 2 }),
    ),
  )
  await first.kill()

  const second = await startHub(t, {}, first.dir)
  const stored = await eventually(async () => {
    const found = await history(second, 'telemetry,device=t1,room=kitchen value')
    return found.length >= values.length && found
  }, 'all values stored')
  t.same(
    [...stored].sort((a, b) => Number(a) - Number(b)),
    values,
  )

  // A stop in good order and one more start change nothing.
  t.equal(await second.stop(), 0)
  const third = await startHub(t, {}, first.dir)
  t.equal((await history(third, 'telemetry,device=t1,room=kitchen value')).length, values.length)
})

t.test('killed in the middle of a stream: what was acknowledged is there, in order, again and again', async t => {
  let hub = await startHub(t)
  const acknowledged: number[] = []
  let n = 0
  for (let round = 0; round < 4; round++) {
    const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'stream' })
    let running = true
    const streaming = Array.from({ length: 20 }, async () => {
      while (running) {
        const value = n++
        const sent = device.publishAsync('s', String(value), { qos: 1 })
        await Promise.race([
          sent.then(() => acknowledged.push(value)),
          new Promise<void>(resolve => device.once('close', () => resolve())),
        ])
      }
    })
    await new Promise(resolve => setTimeout(resolve, 200 + 150 * round))
    await hub.kill()
    running = false
    device.end(true)
    await Promise.allSettled(streaming)
    hub = await startHub(t, {}, hub.dir)
  }
  t.ok(acknowledged.length > 100, `${acknowledged.length} acknowledged`)
  const stored = await eventually(async () => {
    const found = new Set(await history(hub, 's,topic=s value'))
    return acknowledged.every(value => found.has(value)) && [...found]
  }, 'all acknowledged values stored')
  const order = (stored as number[]).filter(value => acknowledged.includes(value))
  t.same(
    order,
    [...order].sort((a, b) => a - b),
    'in the order sent',
  )
})

t.test('sessions, retained messages and the queue of an absent subscriber survive the kill', async t => {
  const first = await startHub(t)
  const absent = { clientId: 'absent', clean: false }
  const subscriber = await connectMqtt(t, first.mqttUrl, absent)
  await subscriber.subscribeAsync('news/#', { qos: 1 })
  await subscriber.endAsync()
  const publisher = await connectMqtt(t, first.mqttUrl, { clientId: 'publisher' })
  const texts = Array.from({ length: 50 }, (_, n) => `message ${n}`)
  await Promise.all(texts.map((text, n) => publisher.publishAsync('news/x', text, { qos: n % 2 === 0 ? 1 : 2 })))
  await publisher.publishAsync('state', 'kept', { qos: 1, retain: true })
  await first.kill()

  const second = await startHub(t, {}, first.dir)
  const { default: mqtt } = await import('mqtt')
  const back = mqtt.connect(second.mqttUrl, { protocolVersion: 4, ...absent })
  t.teardown(() => back.endAsync(true))
  const got: string[] = []
  back.on('message', (_topic, payload) => got.push(payload.toString()))
  await eventually(() => got.length >= texts.length, 'all queued messages come')
  t.same(got, texts, 'each once, in order')
  const reader = await connectMqtt(t, second.mqttUrl)
  const retained = new Promise(resolve => reader.once('message', (_topic, payload) => resolve(payload.toString())))
  await reader.subscribeAsync('state')
  t.equal(await retained, 'kept')
})

t.test('a QoS 2 publish whose PUBREC was lost in the kill is stored once', async t => {
  const first = await startHub(t)
  const { default: mqtt } = await import('mqtt')
  // The same client, with its outgoing store, lives through both hubs.
  const device = mqtt.connect(first.mqttUrl, {
    protocolVersion: 4,
    clientId: 'exact',
    clean: false,
    reconnectPeriod: 50,
  })
  device.on('error', () => {})
  t.teardown(() => device.endAsync(true).catch(() => {}))
  await eventually(() => device.connected, 'connected')
  const port = new URL(first.mqttUrl).port
  const sent: Promise<unknown>[] = []
  for (let n = 0; n < 400; n++) sent.push(device.publishAsync('exactly', String(n), { qos: 2 }))
  await new Promise(resolve => setTimeout(resolve, 15))
  await first.kill()
  const second = await startHub(t, { 'mqtt.port': port }, first.dir)
  await Promise.all(sent)
  const stored = await eventually(async () => {
    const found = await history(second, 'exactly,topic=exactly value')
    return found.length >= 400 && found
  }, 'all stored')
  t.same(
    stored,
    Array.from({ length: 400 }, (_, n) => n),
    'each once, in order',
  )
})

t.test(
  'QoS 2 sent, stored, never acknowledged; sent again after the kill, with DUP or without: stored once',
  async t => {
    const first = await startHub(t)
    const connectBytes = [0x10, 15, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 0, 0, 0, 0, 3, 0x72, 0x61, 0x77]
    // Topic "r", packet id and payload n.
    const publish = (n: number, dup: boolean) => [0x34 | (dup ? 8 : 0), 6, 0, 1, 0x72, 0, n, 0x30 + n]
    const talk = async (url: string, bytes: number[], until: (got: Buffer) => boolean | Promise<boolean>) => {
      const socket = connect(Number(new URL(url).port), '127.0.0.1')
      socket.on('error', () => {})
      let got = Buffer.alloc(0)
      socket.on('data', chunk => {
        got = Buffer.concat([got, chunk])
      })
      socket.write(Buffer.from(bytes))
      await eventually(() => until(got), 'the hub has answered')
      socket.destroy()
    }
    const ids = [1, 2, 3, 4, 5, 6]
    await talk(first.mqttUrl, [...connectBytes, ...ids.flatMap(n => publish(n, false))], async () =>
      /^telehub_received_total\{qos="2"\} 6$/m.test(await (await fetch(`${first.httpUrl}/metrics`)).text()),
    )
    await first.kill()
    const second = await startHub(t, {}, first.dir)
    const pubrecs = (got: Buffer) =>
      got.length === 4 + 6 * 4 && ids.every(n => got.includes(Buffer.from([0x50, 2, 0, n])))
    await talk(second.mqttUrl, [...connectBytes, ...ids.flatMap(n => publish(n, n % 2 === 0))], pubrecs)
    // Released and told so, an id is free for the next message.
    const answer = (type: number) => (got: Buffer) => got.includes(Buffer.from([type, 2, 0, 1]))
    await talk(second.mqttUrl, [...connectBytes, 0x62, 2, 0, 1], answer(0x70))
    await talk(second.mqttUrl, [...connectBytes, ...publish(1, false)], answer(0x50))
    const stored = await eventually(async () => {
      const found = await history(second, 'r,topic=r value')
      return found.length >= 7 && found
    }, 'stored')
    t.same(stored, [1, 2, 3, 4, 5, 6, 1])
  },
)

t.test('the will of a client that was connected when the hub was killed is published', async t => {
  const first = await startHub(t)
  await connectMqtt(t, first.mqttUrl, {
    clientId: 'w',
    will: { topic: 'w/state', payload: Buffer.from('gone'), qos: 1, retain: true },
  })
  await eventually(
    async () => (await first.get<{ devices: { online: boolean }[] }>('/api/devices')).body.devices[0]?.online,
    'online',
  )
  // Its SUBACK comes when the journal of the sessions has everything up to here.
  const witness = await connectMqtt(t, first.mqttUrl, { clientId: 'witness', clean: false })
  await witness.subscribeAsync('witness', { qos: 1 })
  await first.kill()
  const second = await startHub(t, {}, first.dir)
  const reader = await connectMqtt(t, second.mqttUrl)
  const got = new Map<string, string>()
  reader.on('message', (topic, payload) => got.set(topic, payload.toString()))
  await reader.subscribeAsync(['w/state', '$hub/presence/w'])
  await eventually(() => got.size === 2, 'both retained messages')
  t.equal(got.get('w/state'), 'gone')
  t.match(JSON.parse(got.get('$hub/presence/w') ?? ''), { clientId: 'w', online: false })
})

t.test('a payload nobody understands is acknowledged, kept with its reason, and holds up nothing', async t => {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'odd' })
  await device.publishAsync('odd', '{"broken', { qos: 1 })
  await device.publishAsync('odd', '7', { qos: 1 })
  await eventually(async () => (await history(hub, 'odd,topic=odd value')).includes(7), 'the good one is stored')
  const { body } = await hub.get<{ dead: object[] }>('/api/dead')
  t.match(body.dead, [
    {
      topic: 'odd',
      clientId: 'odd',
      reason: 'bad_json',
      detail: /not valid JSON/,
      qos: 1,
      payload: Buffer.from('{"broken').toString('base64'),
    },
  ])
})
