import t, { type Test } from 'tap'
import {
  type ConnectOptions,
  connectBytes,
  open5,
  openRaw,
  propertiesOf,
  publishOf,
  RawClient,
  type Received,
} from '../clients/raw-mqtt.js'
import { connect, field, mqtt5Rows, props, publish, type Row, subscribe } from '../fixtures/mqtt5-rows.js'
import { packet } from '../fixtures/packets.js'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { counted, metric, type RunningHub, startHub } from '../harness.js'

/*
 * Every reason code the hub sends in MQTT 5, seen as bytes on the wire, and every packet that is none. The rows are in
 * fixtures/mqtt5-rows.ts, from the standard.
 */

const id = { receiveMaximum: 0x21, aliases: 0x22, packetSize: 0x27, sessionExpiry: 0x11, keepAlive: 0x13 }
const reasonString = 0x1f

const code = (value: number | undefined) => (value ?? 0).toString(16).padStart(2, '0')

/** A packet in short: its name, its packet id, and its codes. A success of four bytes has no code. */
function answerOf(got: Received): string {
  switch (got.cmd) {
    case 'connack':
      return got.returnCode === undefined ? `CONNACK ${code(got.reasonCode)}` : `3.1.1 CONNACK ${got.returnCode}`
    case 'puback':
    case 'pubrec':
    case 'pubrel':
    case 'pubcomp':
      return `${got.cmd.toUpperCase()} ${got.messageId}${got.bytes.length > 4 ? ` ${code(got.reasonCode)}` : ''}`
    case 'suback':
    case 'unsuback':
      return `${got.cmd.toUpperCase()} ${[got.messageId, ...got.granted.map(one => code(one as number))].join(' ')}`
    case 'disconnect':
    case 'auth':
      return `${got.cmd.toUpperCase()} ${code(got.reasonCode)}`
    default:
      return got.cmd.toUpperCase()
  }
}

const answers = (packets: readonly Received[]) => packets.map(answerOf).join(', ')
const hasReason = (got: Received) => propertiesOf(got).some(([name, text]) => name === reasonString && text !== '')

/** Who does not close what is to be closed is found out: for no other reason is it closed as soon. */
const hub = await startHub(t, { 'limits.connect': '10m' })
let rows = 0

/** What answered a row, with the sentence when it went another way. */
async function play(t: Test, row: Row, kind: keyof typeof mqtt5Rows, url: string): Promise<Received[]> {
  const client = new RawClient(t, url, 5)
  if (kind === 'ends' || kind === 'stays') await client.connect({ protocolVersion: 5, clientId: `row-${++rows}` })
  client.write(row.bytes)
  if (kind === 'refused' || kind === 'ends') return client.gone()
  const got: Received[] = []
  for (let wanted = row.answer === '' ? 0 : row.answer.split(', ').length; wanted > 0; wanted--) {
    got.push(await client.next())
  }
  got.push(...(await client.soFar()))
  await client.cut()
  return got
}

async function playAll(t: Test, kind: keyof typeof mqtt5Rows, url: string, every = 1): Promise<void> {
  const waiting = mqtt5Rows[kind].filter((_, n) => n % every === 0)
  t.ok(waiting.length > 5 / every)
  const run = async () => {
    for (let row = waiting.shift(); row; row = waiting.shift()) {
      const { name, clause, answer, bytes } = row
      const got = await play(t, row, kind, url).catch((error: Error) => error)
      const seen = got instanceof Error ? got.message : answers(got)
      t.ok(new RegExp(`^(${answer})$`).test(seen), `${name} [${clause}]`, {
        seen,
        wanted: answer,
        sent: bytes.toString('hex').slice(0, 200),
      })
      for (const one of got instanceof Error ? [] : got) {
        const said = answerOf(one)
        if (/ [89]\w$/.test(said)) t.ok(hasReason(one), `${name}: ${said} says why`)
        if (one.cmd === 'connack' && one.reasonCode !== 0) t.notOk(one.sessionPresent, `${name} [MQTT-3.2.2-6]`)
      }
    }
  }
  await Promise.all(Array.from({ length: 20 }, run))
}

const kinds: Readonly<Record<keyof typeof mqtt5Rows, string>> = {
  refused: 'a CONNECT that is refused: CONNACK with the code, closed',
  accepted: 'a CONNECT that is accepted, odd as it looks',
  ends: 'what ends a connection: DISCONNECT with the code, closed',
  stays: 'what is answered, and the connection stays',
}

for (const [kind, name] of Object.entries(kinds) as [keyof typeof mqtt5Rows, string][]) {
  t.test(name, async t => {
    const watcher = await open5(t, hub, { clientId: 'watcher' })
    await watcher.subscribe({ 'watched/#': 1 })
    await playAll(t, kind, hub.mqttUrl)
    await playAll(t, kind, hub.webSocketUrl, 13)
    watcher.send(publishOf('watched/x', kind, 1, 1))
    t.same(await watcher.receive(1), [kind], 'and nobody else is hurt')
    await watcher.cut()
  })
}

t.test('CONNACK announces what the hub does, and no more', async t => {
  const announced = [
    [id.receiveMaximum, 1_000],
    [id.aliases, 64],
    [0x25, 1],
    [id.packetSize, 4_000_000],
    [0x28, 1],
    [0x29, 1],
    [0x2a, 1],
  ]
  const ask = async (at: RunningHub, options: ConnectOptions) => {
    const client = new RawClient(t, at.mqttUrl, 5)
    const connack = await client.hello({ protocolVersion: 5, ...options })
    await client.cut()
    return new Map(propertiesOf(connack))
  }
  const sorted = (all: Iterable<readonly [number, unknown]>) => [...all].sort(([a], [b]) => a - b)
  t.same(sorted(await ask(hub, { clientId: 'plain' })), announced)
  const given = await ask(hub, { clientId: '' })
  t.match(given.get(0x12), /./, 'an assigned client id [MQTT-3.2.2-16]')
  t.not((await ask(hub, { clientId: '' })).get(0x12), given.get(0x12), 'another for another')
  t.same(
    sorted(await ask(hub, { clientId: 'bounds', properties: { sessionExpiryInterval: 60 }, keepalive: 30 })),
    announced,
  )

  const asks = { clientId: 'a/b+%', properties: { requestResponseInformation: true } }
  t.equal((await ask(hub, asks)).get(0x1a), 'replies/a%2Fb%2B%25', 'response information (§3.2.2.3.15)')
  t.notOk((await ask(hub, { ...asks, properties: { requestResponseInformation: false } })).has(0x1a))

  const strict = await startHub(t, {
    'limits.inflight': '7',
    'limits.packet': '10KB',
    'limits.aliases': '3',
    'limits.keepalive': '20s',
    'limits.sessionAge': '100s',
  })
  const properties = { sessionExpiryInterval: 101 }
  const bounded = await ask(strict, { clientId: 'more', keepalive: 21, properties })
  t.equal(bounded.get(id.receiveMaximum), 7)
  t.equal(bounded.get(id.packetSize), 10_000)
  t.equal(bounded.get(id.aliases), 3)
  t.equal(bounded.get(id.keepAlive), 20, '[MQTT-3.1.2-21]')
  t.equal(bounded.get(id.sessionExpiry), 100, '§3.2.2.3.2')
  t.equal((await ask(strict, { clientId: 'none', keepalive: 0 })).get(id.keepAlive), 20)
  t.equal(
    (await ask(strict, { clientId: 'ever', properties: { sessionExpiryInterval: 0xffffffff } })).get(id.sessionExpiry),
    100,
  )
  const less = await ask(strict, { clientId: 'less', keepalive: 20, properties: { sessionExpiryInterval: 100 } })
  t.notOk(less.has(id.keepAlive))
  t.notOk(less.has(id.sessionExpiry))

  for (const [limit, asked, told] of [
    ['900ms', 0, 1],
    ['900ms', 1, undefined],
    ['2500ms', 3, 2],
    ['2500ms', 2, undefined],
    ['20h', 0, 65_535],
    ['20h', 65_535, undefined],
  ] as const) {
    const held = await startHub(t, { 'limits.keepalive': limit })
    const said = await ask(held, { clientId: 'held', keepalive: asked })
    t.equal(said.get(id.keepAlive), told, `${asked} s with limits.keepalive ${limit}: whole seconds, never 0`)
    await held.stop()
  }
})

t.test('what is larger than a client takes is not sent [MQTT-3.1.2-24]', async t => {
  const takes = (maximumPacketSize: number) => ({ properties: { maximumPacketSize, sessionExpiryInterval: 600 } })
  const will = { topic: 'small/will', payload: Buffer.from('x'), qos: 1, retain: false } as const
  const watcher = await open5(t, hub, { clientId: 'small watcher' })
  await watcher.subscribe({ 'small/#': 1 })
  const first = await open5(t, hub, { clientId: 'small', ...takes(1_000) })
  await first.subscribe({ 'small/x': 1 })
  for (const [bytes, answer] of [
    [15, 'CONNACK 95'],
    [5, 'CONNACK 95'],
    [4, ''],
  ] as const) {
    const client = new RawClient(t, hub.mqttUrl, 5)
    client.write(connectBytes({ protocolVersion: 5, clientId: 'small', will, ...takes(bytes) }))
    const got = await client.gone()
    t.equal(answers(got), answer, `CONNACK of no more than ${bytes} bytes`)
    t.ok(got.every(one => one.bytes.length <= bytes))
  }
  await first.ping()
  await first.leave()
  const again = await open5(t, hub, { clientId: 'small', clean: false, ...takes(1_000) })
  t.ok(again.sessionPresent, 'they were never connected: they have taken nobody its place,')
  t.same(await watcher.publishes(), [], 'and had no will')

  const many = Array.from({ length: 40 }, (_, n) => `small/${n}`)
  const filters = (...more: string[]) => many.flatMap(filter => [field(filter), ...more])
  for (const [name, bytes] of [
    ['SUBACK', packet(0x82, '0001', props(), ...filters('00'))],
    ['UNSUBACK', packet(0xa2, '0001', props(), ...filters())],
  ] as const) {
    const client = await open5(t, hub, { clientId: 'narrow', properties: { maximumPacketSize: 40 } })
    client.write(bytes)
    t.equal(answers(await client.gone()), 'DISCONNECT 95', name)
  }
})

t.test('3.1.1 has no rule that a remaining length is short', async t => {
  const client = await openRaw(t, hub)
  client.write(Buffer.from('c08000', 'hex'))
  t.match(await client.next(), { cmd: 'pingresp' })
})

t.test('QoS 2 that an earlier connection has not released counts for the session: 0x97', async t => {
  const hub = await startHub(t)
  const session = { clientId: 'unreleased', clean: false, properties: { sessionExpiryInterval: 60 } }
  const first = await open5(t, hub, session)
  const ids = Array.from({ length: 1_000 }, (_, n) => n + 1)
  first.send(...ids.map(n => publishOf('unreleased', String(n), 2, n)))
  const received: (number | undefined)[] = []
  for (const _ of ids) received.push((await first.next()).messageId)
  t.same(received, ids)
  await first.cut()
  const second = await open5(t, hub, session)
  second.send(publishOf('unreleased', 'known', 2, 1_000))
  t.match(await second.next(), { cmd: 'pubrec', messageId: 1_000, reasonCode: 0 }, 'a retransmission is no new one')
  second.send(publishOf('unreleased', 'one too many', 2, 1_001))
  t.equal(answers(await second.gone()), 'DISCONNECT 97')
})

t.test('limits: 0x93, 0x94, 0x95 and 0x97', async t => {
  const limits = { 'limits.inflight': '5', 'limits.packet': '40KB', 'limits.aliases': '2' }
  const hub = await startHub(t, { ...limits, 'limits.subscriptions': '2', 'limits.wildcards': '1' })
  const greedy = await open5(t, hub, { clientId: 'greedy' })
  const quota = [1, 2, 3, 4, 5]
  // One after the other is acknowledged, but none is complete.
  for (const n of quota) greedy.send(publishOf('quota', String(n), 2, n))
  for (const n of quota) t.match(await greedy.next(), { cmd: 'pubrec', messageId: n })
  greedy.ack('pubrel', { messageId: 3 })
  t.match(await greedy.next(), { cmd: 'pubcomp', messageId: 3 })
  greedy.send(publishOf('quota', '6', 2, 6), publishOf('quota', 'QoS 0 is not counted'))
  t.match(await greedy.next(), { cmd: 'pubrec', messageId: 6 }, 'PUBCOMP makes room (§4.9)')
  greedy.send(publishOf('quota', '7', 1, 7))
  t.equal(answers(await greedy.gone()), 'DISCONNECT 93', 'QoS 1 counts as well [MQTT-3.3.4-9]')

  const tooMany = await open5(t, hub)
  tooMany.write(publish(1, 'a', props('23 0003')))
  t.equal(answers(await tooMany.gone()), 'DISCONNECT 94', 'limits.aliases')

  const large = await open5(t, hub)
  large.send(publishOf('large', 'x'.repeat(39_000), 1, 1))
  t.match(await large.next(), { cmd: 'puback', reasonCode: 0 })
  large.send(publishOf('large', 'x'.repeat(40_001), 1, 2))
  t.equal(answers(await large.gone()), 'DISCONNECT 95', '§3.2.2.3.6')

  const talker = await open5(t, hub, { clientId: 'talker' })
  await talker.subscribe({ talk: 2 })
  const pairs = (bytes: number) => ({ properties: { userProperties: { k: 'v'.repeat(bytes) } } })
  const refused = await counted(hub)
  talker.send(publishOf('talk', 'QoS 0', 0, 0, pairs(17_000)))
  talker.send(publishOf('talk', 'QoS 1', 1, 1, pairs(17_000)), publishOf('talk', 'QoS 2', 2, 2, pairs(17_000)))
  t.equal(answers([await talker.next(), await talker.next()]), 'PUBACK 1 97, PUBREC 2 97')
  t.same(await talker.soFar(), [], 'none is delivered, and the connection stays')
  t.ok((await counted(hub)) > refused, 'QoS 0 is counted')
  // That PUBREC was the end of it: the id is free. [MQTT-4.3.3-4]
  talker.send(publishOf('talk', 'fits', 2, 2, pairs(16_000)))
  const seen = [await talker.next(), await talker.next()].map(({ cmd }) => cmd)
  t.same(seen.sort(), ['publish', 'pubrec'], 'as much as may be')

  const curious = await open5(t, hub)
  curious.write(packet(0x82, '0001', props(), ...['a/+', 'b/+', 'c', 'd'].flatMap(filter => [field(filter), '00'])))
  t.equal(answers([await curious.next()]), 'SUBACK 1 00 97 00 97', 'wildcards, then subscriptions')
})

t.test('the hub ends a connection: 0x8D, 0x8E, 0x8B', async t => {
  const hub = await startHub(t)
  const silent = await open5(t, hub, { clientId: 'silent', keepalive: 1 })
  const first = await open5(t, hub, { clientId: 'twin' })
  const second = await open5(t, hub, { clientId: 'twin' })
  const ended = await first.gone()
  t.equal(answers(ended), 'DISCONNECT 8e', '[MQTT-3.1.4-3]')
  t.ok(ended.every(hasReason))
  t.equal(answers(await silent.gone()), 'DISCONNECT 8d', '[MQTT-3.1.2-22]')
  await second.ping()
  t.equal(await hub.stop(), 0)
  t.equal(answers(await second.gone()), 'DISCONNECT 8b')
})

t.test('users: 0x86, 0x87, 0x89 and 0x8C at the door, 0x87 behind it', async t => {
  const users = await usersFile()
  await users.add('thermo', [])
  await users.add('other', ['allow read #'])
  await users.add('device', ['allow publish home/device/#'])
  const hub = await startHub(t, { ...users.settings, 'auth.attempts': '4', 'sys.read': 'none' })
  const as = (name: string) => ({ username: name, password: Buffer.from(passwordOf(name)) })
  const ask = async (options: ConnectOptions) => {
    const client = new RawClient(t, hub.mqttUrl, 5)
    const answer = await client.hello({ protocolVersion: 5, ...options })
    if (answerOf(answer) === 'CONNACK 00') await client.cut()
    else {
      t.same(await client.gone(), [], 'nothing after CONNACK')
      t.ok(hasReason(answer), `${answerOf(answer)} says why`)
    }
    return answerOf(answer)
  }
  t.equal(await ask(as('thermo')), 'CONNACK 00')
  t.equal(await ask({}), 'CONNACK 86', 'nobody')
  const wrong = { username: 'thermo', password: Buffer.from('wrong') }
  t.equal(await ask(wrong), 'CONNACK 86')
  t.equal(await ask({ username: 'nobody', password: Buffer.from('x') }), 'CONNACK 86')
  for (let n = 0; n < 6; n++) await ask(wrong)
  t.equal(await ask(wrong), 'CONNACK 89', 'too many attempts')
  const will = { topic: 'home/other/x', payload: Buffer.from('x'), qos: 1, retain: false } as const
  const owner = await open5(t, hub, { ...as('other'), clientId: 'mine' })
  const device = await open5(t, hub, { ...as('device'), clientId: 'device' })
  t.equal(await ask({ ...as('device'), clientId: 'refused', will }), 'CONNACK 87', 'a will that may not be')
  t.equal(
    await ask({ ...as('device'), clientId: 'mine' }),
    'CONNACK 00',
    'another user has a session of its own by that id',
  )
  t.equal(await ask({ properties: { authenticationMethod: 'PLAIN' } }), 'CONNACK 8c', '[MQTT-4.12.0-1]')
  await owner.ping()

  const before = await metric(hub, 'telehub_refused_total{reason="publish"}')
  device.send(publishOf('home/other/x', 'forged'))
  device.send(publishOf('home/other/x', 'forged', 1, 1), publishOf('home/other/x', 'forged', 2, 2))
  const said = [await device.next(), await device.next()]
  t.equal(answers(said), 'PUBACK 1 87, PUBREC 2 87', '[MQTT-3.3.5-2]')
  t.ok(said.every(hasReason))
  t.same(await device.soFar(), [], 'QoS 0 is not answered, and the connection stays')
  t.equal((await metric(hub, 'telehub_refused_total{reason="publish"}')) - before, 3)
  device.send(publishOf('home/device/x', 'fine', 1, 1))
  t.equal(answers([await device.next()]), 'PUBACK 1')
  await owner.subscribe({ 'home/#': 1 })
  t.same(await owner.publishes(), [], 'nothing that was refused is kept')

  device.write(subscribe('home/#'))
  const [suback] = [await device.next()]
  t.equal(answers([suback]), 'SUBACK 1 87')
  t.ok(hasReason(suback))
  for (const filter of ['$SYS/#', '$share/g/home/#']) {
    device.write(subscribe(filter))
    t.equal(answers([await device.next()]), 'SUBACK 1 87', filter)
  }

  await users.edit(file => file.removeUser('device'))
  t.equal(answers(await device.gone()), 'DISCONNECT 87', 'the user is removed')
  await owner.ping()
})

t.test(
  'the reasons: not with request problem information 0, nor when the client could not take the packet',
  async t => {
    const forged = publish(1, `$${'x'.repeat(200)}`)
    const unknown = packet(0x62, '0007')
    const bad = subscribe('x/'.repeat(40))
    const provoke = async (options: ConnectOptions) => {
      const client = new RawClient(t, hub.mqttUrl, 5)
      const connack = await client.hello({ protocolVersion: 5, clientId: 'provokes', ...options })
      client.write(forged, unknown, bad)
      const got = [await client.next(), await client.next(), await client.next()]
      t.equal(answers(got), 'PUBACK 1 87, PUBCOMP 7 92, SUBACK 1 8f')
      client.write(packet(0xc0, '00'))
      const [disconnect] = await client.gone()
      t.match(disconnect, { cmd: 'disconnect' })
      return { connack, got, disconnect: disconnect as Received }
    }
    const all = await provoke({})
    t.ok([...all.got, all.disconnect].every(hasReason))
    const asked = await provoke({ properties: { requestProblemInformation: true } })
    t.ok(asked.got.every(hasReason))
    const quiet = await provoke({ properties: { requestProblemInformation: false } })
    t.same(quiet.got.flatMap(propertiesOf), [], '[MQTT-3.1.2-29]')

    // CONNACK fits, and not all of the reasons do.
    const maximumPacketSize = all.connack.bytes.length
    const small = await provoke({ properties: { maximumPacketSize } })
    const pairs = [...all.got, all.disconnect].map((one, n) => [one, [...small.got, small.disconnect][n]] as const)
    t.ok(all.got[0] && all.got[0].bytes.length > maximumPacketSize)
    for (const [said, answer] of pairs) {
      if (!answer) continue
      t.equal(hasReason(answer), said.bytes.length <= maximumPacketSize, `${said.cmd} [MQTT-3.4.2-2] [MQTT-3.14.2-3]`)
      t.ok(answer.bytes.length <= maximumPacketSize, '[MQTT-3.1.2-24]')
    }
    const [puback] = all.got as [Received]
    const enough = await provoke({ properties: { maximumPacketSize: puback.bytes.length } })
    t.ok(hasReason(enough.got[0] as Received), 'one that fits is said')
  },
)

t.test(
  'an ill-formed packet in the middle of a good stream: what was before it is taken, what is after is not',
  async t => {
    const watcher = await open5(t, hub)
    await watcher.subscribe({ 'stream/#': 0 })
    const client = await open5(t, hub)
    const good = publishOf('stream/x', 'before', 1, 1)
    client.send(good)
    t.match(await client.next(), { cmd: 'puback' })
    client.write(publish(0, 'stream/x', props('23 0000')), publish(0, 'stream/x', props(), '6166746572'))
    t.equal(answers(await client.gone()), 'DISCONNECT 94')
    t.same(
      (await watcher.publishes()).map(({ payload }) => String(payload)),
      ['before'],
    )
    t.ok(connect('02', props(), field('same')).equals(Buffer.from(connect('02', props(), field('same')))))
  },
)
