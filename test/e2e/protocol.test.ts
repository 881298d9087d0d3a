import mqttPacket, { type IPublishPacket, type QoS } from 'mqtt-packet'
import t, { type Test } from 'tap'
import { connectBytes, connectOf, openRaw as open, publishOf as publish, RawClient } from '../clients/raw-mqtt.js'
import { connectMqtt, eventually, metric, type RunningHub, startHub } from '../harness.js'

const payloads = (packets: readonly IPublishPacket[]) => packets.map(({ payload }) => String(payload))
const numbers = (count: number, from = 0) => Array.from({ length: count }, (_, n) => String(from + n))

/** What most tests here share: they use topics and client ids of their own. */
const hub = await startHub(t)
const publisher = await connectMqtt(t, hub.mqttUrl, { clientId: 'publisher' })

t.test('session present: whenever there is one, also without subscriptions', async t => {
  const session = { clientId: 'present', clean: false }
  const first = await open(t, hub, session)
  t.equal(first.sessionPresent, false)
  first.send({ cmd: 'disconnect' })
  await first.gone()
  t.equal((await open(t, hub, session)).sessionPresent, true, 'nothing was subscribed to')
  t.equal((await open(t, hub, session)).sessionPresent, true, 'nor said goodbye')
  t.equal((await open(t, hub, { ...session, clean: true })).sessionPresent, false, 'clean discards it')
  t.equal((await open(t, hub, session)).sessionPresent, false, 'it is gone')
  t.equal((await open(t, hub, { clientId: 'other', clean: true })).sessionPresent, false)
  t.equal((await open(t, hub, { clientId: 'other', clean: false })).sessionPresent, false, 'clean ones leave nothing')
})

t.test('what was not acknowledged comes again: PUBLISH with DUP and its packet id, or PUBREL', async t => {
  const session = { clientId: 'redelivery', clean: false }
  const first = await open(t, hub, session)
  await first.subscribe({ 're/#': 2 })
  for (const [n, qos] of ([1, 2, 1, 2, 2] as const).entries()) await publisher.publishAsync('re/x', `${n}`, { qos })
  const sent = await first.publishes()
  t.same(payloads(sent), numbers(5))
  t.ok(
    sent.every(({ dup }) => !dup),
    'DUP is not set the first time',
  )
  const ids = sent.map(({ messageId }) => messageId)
  t.equal(new Set(ids).size, 5)
  // 0 and 1 stay as they are; 2 and 4 are acknowledged to the end; 3 has PUBREC.
  first.ack('puback', { messageId: ids[2] as number })
  first.ack('pubrec', { messageId: ids[3] as number }, { messageId: ids[4] as number })
  for (const messageId of [ids[3], ids[4]]) t.match(await first.next(), { cmd: 'pubrel', messageId })
  first.ack('pubcomp', { messageId: ids[4] as number })
  await first.soFar()
  await first.cut()

  for (const when of ['once', 'again']) {
    const back = await open(t, hub, session)
    t.equal(back.sessionPresent, true)
    const again = await back.soFar()
    const publishes = again.filter(packet => packet.cmd === 'publish')
    t.same(payloads(publishes), ['0', '1'], `in order, ${when}`)
    t.same(
      publishes.map(({ dup, messageId, qos }) => [dup, messageId, qos]),
      [
        [true, ids[0], 1],
        [true, ids[1], 2],
      ],
    )
    t.match(
      again.filter(({ cmd }) => cmd !== 'publish'),
      [{ cmd: 'pubrel', messageId: ids[3] }],
    )
    await back.cut()
  }

  const last = await open(t, hub, session)
  last.ack('puback', { messageId: ids[0] as number })
  last.ack('pubrec', { messageId: ids[1] as number })
  while ((await last.until('pubrel')).at(-1)?.messageId !== ids[1]);
  last.ack('pubcomp', { messageId: ids[1] as number }, { messageId: ids[3] as number })
  await last.soFar()
  await last.cut()
  t.same(await (await open(t, hub, session)).soFar(), [], 'all is acknowledged')
})

t.test('at most limits.window wait for their acknowledgement, the next come in order as there is room', async t => {
  const hub = await startHub(t, { 'limits.window': '5' })
  const publisher = await connectMqtt(t, hub.mqttUrl)
  for (const qos of [1, 2] as const) {
    const client = await open(t, hub, { clientId: `window-${qos}`, clean: qos === 1 })
    await client.subscribe({ 'w/#': qos })
    await Promise.all(numbers(20).map(text => publisher.publishAsync('w/x', text, { qos })))
    const got = await client.publishes()
    t.same(payloads(got), numbers(5), `five, QoS ${qos}`)
    if (qos === 2) {
      client.ack('pubrec', got[0] as IPublishPacket)
      t.match(await client.next(), { cmd: 'pubrel' })
      t.same(await client.soFar(), [], 'PUBREC makes no room, PUBCOMP does')
    }
    client.ack(qos === 1 ? 'puback' : 'pubcomp', got[0] as IPublishPacket)
    const next = await client.publishes()
    t.same(payloads(next), ['5'], 'room for one')
    for (const { messageId } of got.slice(1).concat(next)) {
      if (qos === 1) client.ack('puback', { messageId: messageId as number })
      else client.ack('pubrec', { messageId: messageId as number })
    }
    t.same(await client.receive(14), numbers(14, 6), 'the others in order')
    await client.cut()
  }
})

t.test('deliveries have the lower QoS of publish and subscription, for every kind of filter', async t => {
  for (const [name, filter] of Object.entries({ exact: 'q/a/b', plus: 'q/+/b', hash: 'q/#' })) {
    for (const subscribed of [0, 1, 2] as const) {
      const client = await open(t, hub, { clientId: `min-${name}-${subscribed}` })
      t.same(await client.subscribe({ [filter]: subscribed }), [subscribed])
      for (const qos of [0, 1, 2] as const) await publisher.publishAsync('q/a/b', 'x', { qos })
      t.same(
        (await client.publishes()).map(({ qos }) => qos),
        [0, 1, 2].map(qos => Math.min(qos, subscribed)),
        `${filter} at QoS ${subscribed}`,
      )
      await client.cut()
    }
  }
})

t.test('overlapping subscriptions: one copy, at the highest QoS of those that match', async t => {
  const client = await open(t, hub, { clientId: 'overlap' })
  await client.subscribe({ 'o/+': 0, 'o/#': 1, 'o/a': 2 })
  const deliver = async () => {
    await publisher.publishAsync('o/a', 'x', { qos: 2 })
    return (await client.publishes()).map(({ qos }) => qos)
  }
  t.same(await deliver(), [2])
  await client.unsubscribe('o/a')
  t.same(await deliver(), [1])
  await client.unsubscribe('o/#')
  t.same(await deliver(), [0])
  await client.subscribe({ 'o/+': 2 })
  t.same(await deliver(), [2], 'a new SUBSCRIBE replaces the old')
  await client.unsubscribe('o/+', 'never/was')
  t.same(await deliver(), [])
})

t.test('SUBSCRIBE with one filter twice: two codes, and the last one counts', async t => {
  const client = await open(t, hub, { clientId: 'twice' })
  t.same(
    await client.subscribe([
      ['tw/x', 2],
      ['tw/y', 0],
      ['tw/x', 1],
    ]),
    [2, 0, 1],
  )
  await publisher.publishAsync('tw/x', 'x', { qos: 2 })
  t.match(await client.publishes(), [{ qos: 1 }])
})

t.test('SUBSCRIBE refused in part: nothing of what was refused is ever delivered', async t => {
  const hub = await startHub(t, { 'limits.subscriptions': '1', 'sys.read': 'none', 'sys.interval': '100ms' })
  const publisher = await connectMqtt(t, hub.mqttUrl)
  const session = { clientId: 'in-part', clean: false }
  const deep = `${'a/'.repeat(40)}#`
  const filters: [string, QoS][] = [
    ['$SYS/#', 1],
    ['fine/#', 1],
    ['secret/#', 1],
    ['secret/x', 2],
    ['$share/g/secret/x', 1],
    [deep, 1],
    ['fine/#', 2],
  ]
  const first = await open(t, hub, session)
  t.same(await first.subscribe(filters), [0x80, 1, 0x80, 0x80, 0x80, 0x80, 2])
  const send = async (text: string) => {
    for (const topic of ['secret/x', 'g/secret/x', '$share/g/secret/x'.slice(1), 'fine/x'])
      await publisher.publishAsync(topic, text, { qos: 1, retain: true })
  }
  await send('live')
  t.match(await first.publishes(), [{ topic: 'fine/x', payload: Buffer.from('live') }])
  await first.cut()
  await send('absent')
  const second = await open(t, hub, session)
  t.same(
    (await second.publishes()).map(({ topic, payload }) => `${topic} ${payload}`),
    ['fine/x live', 'fine/x absent'],
    'not after a reconnect',
  )
  await second.cut()
  await hub.kill()
  const after = await startHub(t, { 'sys.interval': '100ms' }, hub.dir)
  const third = await open(t, after, session)
  const late = await connectMqtt(t, after.mqttUrl)
  await late.publishAsync('secret/x', 'late', { qos: 1 })
  t.same(
    (await third.publishes()).filter(({ topic }) => topic !== 'fine/x'),
    [],
    'nor after a crash',
  )
})

t.test('$share without a filter and publishes to $ topics are refused, and $hub/why/{clientId} says why', async t => {
  const why = async (clientId: string) => {
    const reader = await open(t, hub)
    await reader.subscribe({ [`$hub/why/${clientId}`]: 0 })
    const [packet] = await reader.publishes()
    await reader.cut()
    t.equal(packet?.retain, true, 'retained')
    return JSON.parse(String(packet?.payload)) as Record<string, unknown>
  }
  const client = await open(t, hub, { clientId: 'asks/why', username: 'me' })
  t.same(await client.subscribe({ '$share/group': 1, 'a/#': 1 }), [0x80, 1])
  await publisher.publishAsync('a/x', 'once', { qos: 1 })
  t.same(payloads(await client.publishes()), ['once'], 'the connection lives, with what was granted')
  t.match(await why('asks%2Fwhy'), {
    clientId: 'asks/why',
    user: 'me',
    action: 'subscribe',
    topic: '$share/group',
    reason: /shared subscription/,
    time: Number,
  })

  const bystander = await open(t, hub)
  await bystander.subscribe({ '#': 0, '$SYS/#': 0, '$other/#': 0, '$hub/last/forged': 0 })
  await bystander.soFar()
  const before = await metric(hub, 'telehub_refused_total{reason="publish"}')
  let refused = 0
  for (const topic of ['$SYS/broker/version', '$hub/last/forged', '$other/x', '$']) {
    for (const qos of [0, 1, 2] as const) {
      const clientId = `forger-${refused++}`
      const forger = await open(t, hub, { clientId })
      // What comes behind it is not taken either.
      forger.send(publish(topic, 'forged', qos, 1), publish('behind', 'forged', 0))
      await t.rejects(forger.next(), /closed/, `${topic}, QoS ${qos}: closed, no acknowledgement`)
      t.match(await why(clientId), { clientId, action: 'publish', topic, reason: /\$/ })
    }
  }
  t.same(payloads(await bystander.publishes()).includes('forged'), false)
  t.equal((await metric(hub, 'telehub_refused_total{reason="publish"}')) - before, refused)

  const will = { topic: '$hub/last/forged', payload: Buffer.from('forged'), qos: 1, retain: true } as const
  const heir = await open(t, hub, { clientId: 'forged-will', will })
  await heir.cut()
  const said = await eventually(() => why('forged-will').catch(() => undefined), 'the will is refused')
  t.match(said, { action: 'publish', topic: will.topic })
  t.same(payloads(await bystander.publishes()).includes('forged'), false)
})

t.test('+ matches an empty level, # its parent, live and retained', async t => {
  const expected: Readonly<Record<string, readonly string[]>> = {
    'e/+': ['e/', 'e/x'],
    'e/+/b': ['e//b'],
    'e/+/+': ['e//', 'e//b'],
    '+/+': ['/', '/e', 'e/', 'e/x'],
    '+/e': ['/e'],
    '+/e/#': ['/e', '/e/'],
    'e/#': ['e', 'e/', 'e//', 'e//b', 'e/x'],
    '+': ['e'],
    '/+': ['/', '/e'],
  }
  const hub = await startHub(t)
  const publisher = await connectMqtt(t, hub.mqttUrl)
  const topics = [...new Set(Object.values(expected).flat())]
  const live = new Map<string, RawClient>()
  for (const filter of Object.keys(expected)) {
    const client = await open(t, hub)
    await client.subscribe({ [filter]: 1 })
    live.set(filter, client)
  }
  for (const topic of topics) await publisher.publishAsync(topic, 'x', { qos: 1, retain: true })
  for (const [filter, wanted] of Object.entries(expected)) {
    const got = ((await live.get(filter)?.publishes()) ?? []).map(({ topic }) => topic)
    t.same(got.sort(), [...wanted].sort(), `${filter}, live`)
    const client = await open(t, hub)
    await client.subscribe({ [filter]: 1 })
    const kept = (await client.publishes()).map(({ topic }) => topic)
    t.same(kept.sort(), [...wanted].sort(), `${filter}, retained`)
  }
})

t.test(
  'retained: at the lower QoS and marked for who comes new, unmarked for who is there, cleared by empty',
  async t => {
    const there = await open(t, hub)
    await there.subscribe({ 'r/#': 2 })
    for (const qos of [0, 1, 2] as const) await publisher.publishAsync(`r/${qos}`, `old ${qos}`, { qos, retain: true })
    for (const qos of [0, 1, 2] as const) await publisher.publishAsync(`r/${qos}`, `${qos}`, { qos, retain: true })
    t.same(
      (await there.publishes()).slice(3).map(({ topic, qos, retain }) => [topic, qos, retain]),
      [
        ['r/0', 0, false],
        ['r/1', 1, false],
        ['r/2', 2, false],
      ],
    )
    for (const filter of ['r/+', 'r/#']) {
      for (const subscribed of [0, 1, 2] as const) {
        const fresh = await open(t, hub)
        await fresh.subscribe({ [filter]: subscribed })
        const got = (await fresh.publishes()).map(({ qos, retain, payload }) => [String(payload), qos, retain])
        t.same(
          got.sort(),
          [0, 1, 2].map(qos => [String(qos), Math.min(qos, subscribed), true]),
          `${filter} at QoS ${subscribed}`,
        )
        await fresh.subscribe({ [filter]: subscribed })
        t.equal((await fresh.publishes()).length, 3, 'a SUBSCRIBE again brings them again')
        await fresh.cut()
      }
    }
    for (const qos of [0, 1, 2] as const) await publisher.publishAsync(`r/${qos}`, '', { qos, retain: true })
    t.same(
      (await there.publishes()).map(({ qos, retain, payload }) => [payload.length, qos, retain]),
      [
        [0, 0, false],
        [0, 1, false],
        [0, 2, false],
      ],
      'the empty one is delivered live',
    )
    const late = await open(t, hub)
    await late.subscribe({ 'r/#': 2, 'r/1': 1 })
    t.same(await late.publishes(), [], 'nothing is retained any more')
    await publisher.publishAsync('r/1', 'not retained', { qos: 1 })
    await late.unsubscribe('r/#')
    await late.publishes()
    await late.subscribe({ 'r/#': 2 })
    t.same(await late.publishes(), [], 'what is not marked is not kept')
  },
)

t.test('QoS 0 of one publisher does not cost QoS 1 of another: 500 of 500, in order', async t => {
  const other = await connectMqtt(t, hub.mqttUrl)
  for (const state of ['there', 'absent']) {
    const session = { clientId: `mixed-${state}`, clean: false }
    const persistent = await open(t, hub, session)
    await persistent.subscribe({ [`mixed/${state}`]: 1 })
    if (state === 'absent') await persistent.cut()
    const everything = await open(t, hub)
    await everything.subscribe({ '#': 1 })
    await Promise.all(
      numbers(500).flatMap(text => [
        publisher.publishAsync(`mixed/${state}`, text, { qos: 1 }),
        other.publishAsync(`mixed/${state}`, `zero ${text}`, { qos: 0 }),
      ]),
    )
    const own = ({ payload }: IPublishPacket) => !String(payload).startsWith('zero')
    const zero: string[] = []
    const one: string[] = []
    while (one.length < 500) {
      for (const packet of await everything.publishes()) {
        ;(own(packet) ? one : zero).push(String(packet.payload))
        if (packet.qos === 1) everything.ack('puback', packet)
      }
    }
    t.same(one, numbers(500), `${state}: all of QoS 1`)
    await eventually(async () => {
      zero.push(...payloads(await everything.publishes()))
      return zero.length === 500
    }, 'all of QoS 0')
    const queued = state === 'absent' ? await open(t, hub, session) : persistent
    const wanted = state === 'absent' ? 500 : 1_000
    const got = (await queued.receive(wanted)).filter(text => !text.startsWith('zero'))
    t.same(got, numbers(500), `${state}: the persistent one, too`)
    await everything.cut()
    await queued.cut()
  }
})

t.test('CONNACK is the first packet, whatever comes in one segment with CONNECT', async t => {
  for (const clean of [true, false]) {
    const client = new RawClient(t, hub.mqttUrl)
    client.send(
      connectOf({ clientId: `hasty-${clean}`, clean }),
      { cmd: 'pubrel', messageId: 9 },
      { cmd: 'pubrec', messageId: 10 },
      { cmd: 'pingreq' },
    )
    t.match(await client.next(), { cmd: 'connack', returnCode: 0 })
    const rest = [await client.next(), await client.next(), await client.next()]
    t.same(rest.map(({ cmd }) => cmd).sort(), ['pingresp', 'pubcomp', 'pubrel'])
  }
})

t.test('PUBREL twice in one segment: two PUBCOMPs, and no PUBCOMP before the release is on disk', async t => {
  const client = await open(t, hub, { clientId: 'pubrel', clean: false })
  client.send(publish('rel/x', 'x', 2, 7))
  t.match(await client.next(), { cmd: 'pubrec', messageId: 7 })
  client.ack('pubrel', { messageId: 7 }, { messageId: 7 }, { messageId: 8 })
  // In order, as the first one waits for the disk: an id is not free for the next message any sooner.
  for (const messageId of [7, 7, 8]) t.match(await client.next(), { cmd: 'pubcomp', messageId })
  t.same(await client.soFar(), [])
})

t.test('takeover: CONNACK for the second, the first is closed and its will published, what it had goes on', async t => {
  const hub = await startHub(t)
  const watcher = await open(t, hub)
  await watcher.subscribe({ 'will/#': 1, 'data/#': 1 })
  const will = { topic: 'will/twin', payload: Buffer.from('taken over'), qos: 1, retain: false } as const
  const session = { clientId: 'twin', clean: false, will }
  const first = await open(t, hub, session)
  await first.subscribe({ 'queue/#': 1 })
  const publisher = await connectMqtt(t, hub.mqttUrl)
  for (const text of numbers(3)) await publisher.publishAsync('queue/x', text, { qos: 1 })
  const unacknowledged = await first.publishes()
  t.equal(unacknowledged.length, 3)
  first.send(publish('data/two', 'two', 2, 900))
  t.match(await first.next(), { cmd: 'pubrec' })

  // A window of publishes is on its way when the second one comes.
  first.send(...numbers(500).map((text, n) => publish('data/one', text, 1, n + 1)))
  t.match(await first.next(), { cmd: 'puback', messageId: 1 })
  const second = await open(t, hub, session)
  t.equal(second.sessionPresent, true)
  let acknowledged = 1
  for (;;) {
    const packet = await first.next().catch(() => undefined)
    if (!packet) break
    if (packet.cmd === 'puback') acknowledged++
  }
  t.ok(first.closed)
  const again = await second.publishes()
  t.same(
    again.map(({ dup, messageId, payload }) => [dup, messageId, String(payload)]),
    unacknowledged.map(({ messageId, payload }) => [true, messageId, String(payload)]),
    'the queue goes on',
  )
  second.send(publish('data/two', 'two', 2, 900, { dup: true }), { cmd: 'pubrel', messageId: 900 })
  t.match(await second.next(), { cmd: 'pubrec', messageId: 900 })
  t.match(await second.next(), { cmd: 'pubcomp', messageId: 900 })

  const received = (await metric(hub, 'telehub_received_total{qos="1"}')) - 3
  const seen: string[] = []
  while (!seen.includes('taken over') || seen.length < received + 1) seen.push(...(await watcher.receive(1)))
  const data = seen.filter(text => /^\d+$/.test(text))
  t.ok(data.length >= acknowledged, `${data.length} kept, ${acknowledged} acknowledged`)
  t.same(data, numbers(data.length), 'in order')
  t.equal(seen.filter(text => text === 'two').length, 1, 'QoS 2: once')
  t.equal(seen.filter(text => text === 'taken over').length, 1, 'one will')
  await publisher.publishAsync('queue/x', 'for the second', { qos: 1 })
  t.match(await second.next(), { payload: Buffer.from('for the second') })
})

t.test('50 takeovers in a row: one is left, and it is served', async t => {
  const hub = await startHub(t)
  for (const clean of [true, false]) {
    const clientId = `crowd-${clean}`
    const all = Array.from({ length: 50 }, () => new RawClient(t, hub.mqttUrl))
    for (const client of all) client.send(connectOf({ clientId, clean }))
    await eventually(() => all.filter(({ closed }) => !closed).length === 1, 'all but one are closed')
    const left = all.find(({ closed }) => !closed) as RawClient
    t.match(await left.next(), { cmd: 'connack', returnCode: 0 })
    await left.subscribe({ crowd: 1 })
    left.send(publish('crowd', 'served', 1, 5))
    t.same(await left.receive(1), ['served'])
    await eventually(
      async () =>
        (await metric(hub, 'telehub_clients')) === 1 &&
        (await metric(hub, 'telehub_connections')) === 1 &&
        (await metric(hub, 'telehub_subscriptions')) === 1,
      'nothing of the others is left',
    )
    t.equal(left.closed, false)
    const { body } = await hub.get<{ devices: { clientId: string; online: boolean }[] }>('/api/devices')
    t.match(
      body.devices.filter(device => device.clientId === clientId),
      [{ online: true }],
    )
    await left.cut()
    await eventually(async () => (await metric(hub, 'telehub_connections')) === 0, 'and it goes')
  }
})

t.test('MQTT 3.1: MQIsdp, level 3', async t => {
  const old = { protocolId: 'MQIsdp', protocolVersion: 3 } as const
  const first = await open(t, hub, { ...old, clientId: 'old', clean: false })
  t.same(await first.subscribe({ 'old/#': 2 }), [2])
  for (const qos of [0, 1, 2] as const) {
    first.send(publish(`old/${qos}`, `${qos}`, qos, 10 + qos))
    if (qos === 2) first.ack('pubrel', { messageId: 12 })
  }
  t.same(await first.receive(3), ['0', '1', '2'])
  // SUBSCRIBE and PUBREL are QoS 1 messages there: sent again they have DUP.
  first.write(Buffer.from([0x8a, 6, 0, 3, 0, 1, 0x78, 1, 0x6a, 2, 0, 12]))
  const answers = (await first.until('suback')).concat(await first.soFar()).map(({ cmd }) => cmd)
  t.ok(answers.includes('pubcomp'))
  await first.cut()
  await publisher.publishAsync('old/late', 'queued', { qos: 1 })
  const back = new RawClient(t, hub.mqttUrl, 3)
  const { bytes } = await back.hello({ ...old, clientId: 'old', clean: false })
  t.same([...bytes], [0x20, 2, 0, 0], 'the byte that 3.1.1 has session present in is reserved')
  t.ok((await back.receive(1)).includes('queued'))
  const library = await connectMqtt(t, hub.mqttUrl, { protocolId: 'MQIsdp', protocolVersion: 3, clientId: 'lib' })
  const got = new Promise(resolve => library.once('message', (_topic, payload) => resolve(String(payload))))
  await library.subscribeAsync('old/lib', { qos: 2 })
  await library.publishAsync('old/lib', 'from the library', { qos: 2 })
  t.equal(await got, 'from the library')
})

t.test('a version there is not: the CONNACK that makes its client fall back', async t => {
  const client = new RawClient(t, hub.mqttUrl, 5)
  const six = connectBytes({ clientId: 'six', protocolVersion: 5, properties: { sessionExpiryInterval: 60 } })
  six[8] = 6
  client.write(six)
  t.same(
    (await client.gone()).map(({ bytes }) => [...bytes]),
    [[0x20, 2, 0, 1]],
  )
})

t.test('$SYS: statistics for who may read them, and never under #', async t => {
  const hub = await startHub(t, { 'sys.interval': '200ms' })
  const everything = await open(t, hub)
  await everything.subscribe({ '#': 0, '+/broker/version': 0 })
  const reader = await connectMqtt(t, hub.mqttUrl, { clientId: 'reader' })
  const values = new Map<string, string>()
  let marked = 0
  reader.on('message', (topic, payload, { retain }) => {
    values.set(topic, payload.toString())
    if (retain) marked++
  })
  t.match(await reader.subscribeAsync('$SYS/#', { qos: 1 }), [{ qos: 1 }])
  const value = (name: string) => Number.parseFloat(values.get(`$SYS/broker/${name}`) ?? '')
  await eventually(() => value('clients/connected') === 2, 'two are connected')
  t.ok(marked > 10, 'retained: they come at once')
  t.match(values.get('$SYS/broker/version'), /^telehub \d+\.\d+\.\d+/)
  t.match(values.get('$SYS/broker/uptime'), /^\d+ seconds$/)
  const before = value('messages/received')
  for (const text of numbers(10)) await reader.publishAsync('s', text, { qos: 1 })
  await eventually(
    () =>
      value('publish/messages/received') === 10 &&
      value('publish/bytes/received') === 10 &&
      value('messages/received') >= before + 10 &&
      value('bytes/received') > 100 &&
      value('bytes/sent') > 100 &&
      value('subscriptions/count') === 3 &&
      value('load/messages/received/1min') > 0,
    'they count',
  )
  const third = await open(t, hub, { clientId: 'keeps', clean: false })
  await eventually(() => value('clients/connected') === 3 && value('clients/maximum') === 3, 'three')
  await third.cut()
  await eventually(() => value('clients/connected') === 2 && value('clients/disconnected') === 1, 'two, one session')
  await eventually(() => value('uptime') >= 1, 'time goes by')
  t.same(
    (await everything.publishes()).filter(({ topic }) => topic.startsWith('$')),
    [],
  )

  const closed = await startHub(t, { 'sys.interval': '200ms', 'sys.read': 'none' })
  const curious = await open(t, closed, { clientId: 'curious' })
  t.same(
    await curious.subscribe({ '$SYS/#': 0, '$SYS/broker/version': 0, '$SYS/broker/+': 1, '$hub/why/curious': 0 }),
    [0x80, 0x80, 0x80, 0],
  )
  const said = await eventually(async () => (await curious.publishes())[0], 'why')
  t.match(JSON.parse(String(said.payload)), { action: 'subscribe', topic: /^\$SYS/, reason: /sys\.read/ })
})

t.test('a will is published when there is no goodbye, and only then', async t => {
  const watcher = await open(t, hub)
  await watcher.subscribe({ 'wills/#': 2 })
  const leave = async (name: string, qos: QoS, end: (client: RawClient) => void) => {
    const will = { topic: `wills/${name}`, payload: Buffer.from(`${name} is gone`), qos, retain: qos === 1 }
    const client = await open(t, hub, { clientId: `wills-${name}`, will })
    end(client)
    await client.gone()
  }
  await leave('polite', 1, client => client.send({ cmd: 'disconnect' }))
  await leave('hasty', 1, client => client.send(publish('x', 'x'), { cmd: 'disconnect' }))
  await leave('leaving', 1, client => client.socket?.end(mqttPacket.generate({ cmd: 'disconnect' })))
  await leave('gone at once', 1, client =>
    client.socket?.write(mqttPacket.generate({ cmd: 'disconnect' }), () => client.socket?.destroy()),
  )
  for (const qos of [0, 1, 2] as const) {
    await leave(`cut-${qos}`, qos, client => client.socket?.destroy())
    t.match(await watcher.next(), { topic: `wills/cut-${qos}`, qos, retain: false }, `QoS ${qos}`)
  }
  await leave('end', 2, client => client.socket?.end())
  t.same(String(((await watcher.next()) as IPublishPacket).payload), 'end is gone', 'closed without DISCONNECT')
  await leave('reset', 2, client => client.socket?.resetAndDestroy())
  t.match(await watcher.next(), { topic: 'wills/reset' })
  await leave('malformed', 2, client => client.write(Buffer.from([0xff, 0, 0])))
  t.match(await watcher.next(), { topic: 'wills/malformed' })
  await leave('refused', 2, client => client.send(publish('$x', 'x')))
  t.match(await watcher.next(), { topic: 'wills/refused' })
  t.same(await watcher.publishes(), [], 'no other')
  const late = await open(t, hub)
  await late.subscribe({ 'wills/#': 1 })
  t.match(await late.publishes(), [{ topic: 'wills/cut-1', retain: true }], 'retained if it says so')
})

t.test('wills and a crash: one that was due comes once, one that was discarded never', async t => {
  const first = await startHub(t)
  const session = { clientId: 'heir', clean: false }
  const watcher = await open(t, first, session)
  await watcher.subscribe({ 'crash/#': 2 })
  const testator = (name: string) =>
    open(t, first, {
      clientId: name,
      will: { topic: `crash/${name}`, payload: Buffer.from(name), qos: 2, retain: false },
    })
  const polite = await testator('polite')
  polite.send({ cmd: 'disconnect' })
  await polite.gone()
  await (await testator('cut')).cut()
  t.same(await watcher.receive(1), ['cut'])
  await testator('connected')
  // Its SUBACK says that all of this is on disk.
  await watcher.subscribe({ 'crash/#': 2 })
  await first.kill()
  const second = await startHub(t, {}, first.dir)
  const back = await open(t, second, session)
  const got = new Set(await back.receive(1))
  for (const one of payloads(await back.publishes())) got.add(one)
  t.same(
    [...got].filter(text => text !== 'cut'),
    ['connected'],
  )
  await second.kill()
  const third = await startHub(t, {}, first.dir)
  const last = await open(t, third, session)
  t.same(
    (await last.publishes()).filter(({ dup }) => !dup),
    [],
    'not again',
  )
})

/** What happens in the middle of an exchange. */
const interruptions = {
  'the connection is cut': async (_t: Test, hub: RunningHub) => hub,
  'the hub is killed': async (t: Test, hub: RunningHub) => {
    await hub.kill()
    return startHub(t, {}, hub.dir)
  },
}

for (const [what, interrupt] of Object.entries(interruptions)) {
  t.test(`QoS 2 in and out: exactly once when ${what}, in every state`, async t => {
    let hub = await startHub(t)
    const session = { clientId: 'exactly', clean: false }
    const watching = { clientId: 'watching', clean: false }
    let client = await open(t, hub, session)
    let watcher = await open(t, hub, watching)
    await watcher.subscribe({ 'in/#': 2 })
    await client.subscribe({ 'out/#': 2 })
    const again = async () => {
      await client.cut()
      await watcher.cut()
      hub = await interrupt(t, hub)
      client = await open(t, hub, session)
      t.equal(client.sessionPresent, true)
      watcher = await open(t, hub, watching)
    }

    // In. PUBLISH sent, nothing heard.
    client.send(publish('in/x', 'a', 2, 1))
    await eventually(async () => (await metric(hub, 'telehub_received_total{qos="2"}')) === 1, 'it is received')
    await again()
    client.send(publish('in/x', 'a', 2, 1, { dup: true }))
    t.match(await client.next(), { cmd: 'pubrec', messageId: 1 })
    // PUBREC heard; a client that has forgotten sends all of it again.
    await again()
    client.send(publish('in/x', 'a', 2, 1, { dup: true }))
    t.match(await client.next(), { cmd: 'pubrec', messageId: 1 })
    await again()
    client.ack('pubrel', { messageId: 1 })
    t.match(await client.next(), { cmd: 'pubcomp', messageId: 1 })
    // PUBCOMP not heard.
    await again()
    client.ack('pubrel', { messageId: 1 })
    t.match(await client.next(), { cmd: 'pubcomp', messageId: 1 })
    // The id is free again, for another message.
    client.send(publish('in/x', 'b', 2, 1))
    t.match(await client.next(), { cmd: 'pubrec', messageId: 1 })
    client.ack('pubrel', { messageId: 1 })
    t.match(await client.next(), { cmd: 'pubcomp', messageId: 1 })
    const got = await watcher.receive(2)
    t.same(got, ['a', 'b'], 'in: each once')
    t.same(await watcher.publishes(), [])

    // Out. PUBLISH on its way, nothing said.
    const publisher = await open(t, hub)
    publisher.send(publish('out/x', 'c', 2, 1))
    t.match(await publisher.next(), { cmd: 'pubrec' })
    const [sent] = await client.publishes()
    const messageId = sent?.messageId as number
    t.match(sent, { dup: false, qos: 2 })
    await again()
    t.match(await client.soFar(), [{ cmd: 'publish', dup: true, messageId, payload: Buffer.from('c') }])
    // PUBREC said, PUBREL not heard.
    client.ack('pubrec', { messageId })
    t.match(await client.next(), { cmd: 'pubrel', messageId })
    await again()
    t.match(await client.soFar(), [{ cmd: 'pubrel', messageId }], 'the message does not come again')
    client.ack('pubrec', { messageId })
    t.match(await client.next(), { cmd: 'pubrel', messageId }, 'not even for a PUBREC said again')
    // PUBREL heard, PUBCOMP said and lost.
    await again()
    t.match(await client.soFar(), [{ cmd: 'pubrel', messageId }])
    client.ack('pubcomp', { messageId }, { messageId })
    // Its SUBACK says that the journal has all of it.
    await client.subscribe({ 'out/#': 2 })
    await again()
    t.same(await client.soFar(), [], 'it is done')
  })
}

t.test('what waits for an absent subscriber keeps its order across stops and crashes', async t => {
  let hub = await startHub(t)
  const session = { clientId: 'waits', clean: false }
  const first = await open(t, hub, session)
  await first.subscribe({ 'order/#': 2 })
  let count = 0
  const send = async () => {
    const publisher = await connectMqtt(t, hub.mqttUrl, { clientId: 'sender' })
    const texts = numbers(150, count)
    count += texts.length
    await Promise.all(texts.map((text, n) => publisher.publishAsync('order/x', text, { qos: n % 3 === 0 ? 1 : 2 })))
    await publisher.endAsync(true)
  }
  await send()
  // A window of them is sent, and none acknowledged.
  const sent = await first.publishes()
  t.same(payloads(sent), numbers(sent.length))
  await first.cut()
  await send()
  for (const end of ['stop', 'kill', 'kill', 'stop'] as const) {
    await hub[end]()
    hub = await startHub(t, {}, hub.dir)
    await send()
  }
  const back = await open(t, hub, session)
  const got: IPublishPacket[] = []
  while (got.length < count) {
    const packet = await back.next()
    if (packet.cmd === 'pubrel') back.ack('pubcomp', packet)
    if (packet.cmd !== 'publish') continue
    got.push(packet)
    back.ack(packet.qos === 1 ? 'puback' : 'pubrec', packet)
  }
  t.same(payloads(got), numbers(count), 'all, in order')
  t.same(
    got.map(({ qos }) => qos),
    got.map((_, n) => ((n % 150) % 3 === 0 ? 1 : 2)),
  )
  t.same(
    got.map(({ dup }) => dup),
    got.map((_, n) => n < sent.length),
    'DUP on those that were sent before',
  )
})

t.test('what waits is kept once, also when the journal of the sessions was written anew meanwhile', async t => {
  const first = await startHub(t)
  const session = { clientId: 'rewritten', clean: false }
  const setUp = await open(t, first, session)
  await setUp.subscribe({ 'big/#': 2 })
  await setUp.cut()
  const publisher = await connectMqtt(t, first.mqttUrl)
  // More than the journal grows to, in bursts: some are on their way to it at that moment.
  const count = 1_500
  for (let n = 0; n < count; n += 100) {
    const burst = numbers(100, n).map((text, i) =>
      publisher.publishAsync('big/x', text.padEnd(16_000), { qos: i % 2 === 0 ? 1 : 2 }),
    )
    await Promise.all(burst)
  }
  t.equal(await first.stop(), 0)
  const second = await startHub(t, {}, first.dir)
  const back = await open(t, second, session)
  const got = (await back.receive(count)).map(text => text.trim())
  t.same(got, numbers(count), 'in order')
  t.same(await back.publishes(), [], 'and no more')
})

t.test('limits.sessionAge: the session of an absent client ends, and is counted', async t => {
  const hub = await startHub(t, { 'limits.sessionAge': '500ms' })
  const session = { clientId: 'ages', clean: false }
  const stays = await open(t, hub, { clientId: 'stays', clean: false })
  await stays.subscribe({ 'age/#': 1 })
  const first = await open(t, hub, session)
  await first.subscribe({ 'age/#': 1 })
  await first.cut()
  await eventually(
    async () => (await metric(hub, 'telehub_given_up_total{reason="session_age"}')) === 1,
    'it is counted',
  )
  const publisher = await connectMqtt(t, hub.mqttUrl)
  await publisher.publishAsync('age/x', 'x', { qos: 1 })
  const back = await open(t, hub, session)
  t.equal(back.sessionPresent, false)
  t.same(await back.publishes(), [])
  t.same(payloads(await stays.publishes()), ['x'], 'who is connected keeps its own')
})

t.test('limits.queue and limits.queueBytes: the oldest goes, and is counted', async t => {
  const hub = await startHub(t, { 'limits.queue': '10', 'limits.queueBytes': '8KB' })
  const publisher = await connectMqtt(t, hub.mqttUrl)
  const given = () => metric(hub, 'telehub_given_up_total{reason="queue"}')
  const absent = async (clientId: string) => {
    const first = await open(t, hub, { clientId, clean: false })
    await first.subscribe({ [`${clientId}/#`]: 1 })
    await first.cut()
    await eventually(async () => (await metric(hub, 'telehub_connections')) === 1, 'it is gone')
  }
  await absent('many')
  for (const text of numbers(25)) await publisher.publishAsync('many/x', text, { qos: 1 })
  await publisher.publishAsync('many/x', 'not queued', { qos: 0 })
  t.equal(await given(), 15)
  const many = await open(t, hub, { clientId: 'many', clean: false })
  t.same(await many.receive(10), numbers(10, 15), 'the newest are kept, in order')
  t.same(await many.publishes(), [])
  await many.cut()

  await absent('large')
  for (const text of numbers(8)) await publisher.publishAsync('large/x', text.repeat(3_000), { qos: 1 })
  const large = await open(t, hub, { clientId: 'large', clean: false })
  const got = payloads(await large.publishes()).map(text => text[0])
  t.same(got, numbers(2, 6), 'two fit')
  t.equal(await given(), 15 + 6)
})

t.test('limits.queueAge, limits.sessions and limits.retained: what goes is counted, the rest stays', async t => {
  const hub = await startHub(t, { 'limits.queueAge': '1s', 'limits.sessions': '2' })
  const publisher = await connectMqtt(t, hub.mqttUrl)
  const given = (reason: string) => metric(hub, `telehub_given_up_total{reason="${reason}"}`)
  const old = { clientId: 'old', clean: false }
  const first = await open(t, hub, old)
  await first.subscribe({ 'aged/#': 1 })
  await first.cut()
  await eventually(async () => (await metric(hub, 'telehub_connections')) === 1, 'it is gone')
  for (const text of numbers(3)) await publisher.publishAsync('aged/x', text, { qos: 1 })
  await eventually(async () => (await given('queue')) === 3, 'they are too old')
  const back = await open(t, hub, old)
  t.equal(back.sessionPresent, true)
  t.same(await back.publishes(), [])
  await back.cut()
  await eventually(async () => (await metric(hub, 'telehub_connections')) === 1, 'it is gone again')
  for (const clientId of ['second', 'third']) {
    const client = await open(t, hub, { clientId, clean: false })
    t.equal(client.sessionPresent, false)
    await client.cut()
    await eventually(async () => (await metric(hub, 'telehub_connections')) === 1, `${clientId} is gone`)
  }
  t.equal(await given('sessions'), 1)
  t.equal((await open(t, hub, { clientId: 'second', clean: false })).sessionPresent, true)
  t.equal((await open(t, hub, old)).sessionPresent, false, 'the one absent longest went')

  // Those of the hub itself, of which every topic and client adds one, take no room from them.
  const full = await startHub(t, { 'limits.retained': '2' })
  const there = await open(t, full)
  await there.subscribe({ 'keep/#': 0 })
  const keeper = await connectMqtt(t, full.mqttUrl, { clientId: 'keeper' })
  const topics = numbers(5).map(n => `keep/${n}`)
  for (const topic of topics) await keeper.publishAsync(topic, '1', { qos: 1, retain: true })
  t.same(
    (await there.publishes()).map(({ topic }) => topic),
    topics,
    'all are delivered',
  )
  t.equal(await metric(full, 'telehub_given_up_total{reason="retained"}'), 3)
  await keeper.publishAsync('keep/0', '2', { qos: 1, retain: true })
  await keeper.publishAsync('keep/1', '', { qos: 1, retain: true })
  await keeper.publishAsync('keep/4', '3', { qos: 1, retain: true })
  const fresh = await open(t, full)
  await fresh.subscribe({ 'keep/#': 0 })
  t.same(
    (await fresh.publishes()).map(({ topic, payload }) => `${topic} ${payload}`).sort(),
    ['keep/0 2', 'keep/4 3'],
    'a known topic is replaced, and room that was made is used',
  )
})

t.test('UNSUBSCRIBE of a subscription that was restored', async t => {
  const first = await startHub(t)
  const session = { clientId: 'restored', clean: false }
  const setUp = await open(t, first, session)
  await setUp.subscribe({ 'u/a': 1, 'u/+/b': 1, 'u/#': 0 })
  await setUp.cut()
  await first.kill()
  const second = await startHub(t, {}, first.dir)
  const publisher = await connectMqtt(t, second.mqttUrl)
  const send = async () => {
    for (const topic of ['u/a', 'u/x/b', 'u/c']) await publisher.publishAsync(topic, topic, { qos: 1 })
  }
  const back = await open(t, second, session)
  await send()
  t.same((await back.receive(3)).sort(), ['u/a', 'u/c', 'u/x/b'])
  await back.unsubscribe('u/a', 'u/#')
  await send()
  t.same(await back.receive(1), ['u/x/b'])
  await back.unsubscribe('u/+/b')
  await back.cut()
  await send()
  t.equal(await second.stop(), 0)
  const third = await startHub(t, {}, first.dir)
  const last = await open(t, third, session)
  t.equal(last.sessionPresent, true)
  t.same(await last.publishes(), [])
})
