import type { IPublishPacket } from 'mqtt-packet'
import t from 'tap'
import {
  open5,
  openRaw,
  type Property,
  propertiesOf,
  publishOf,
  RawClient,
  type ReceivedPublish,
} from '../clients/raw-mqtt.js'
import { field, props } from '../fixtures/mqtt5-rows.js'
import { packet } from '../fixtures/packets.js'
import { connectMqtt, counted, eventually, startHub } from '../harness.js'
import { mosquittoClient } from '../services/mosquitto.js'

/* What a subscriber of MQTT 5 gets, and how: quotas, aliases, options of a subscription, properties. */

const id = { topicAlias: 0x23, subscription: 0x0b, user: 0x26 }

const hub = await startHub(t)
const publisher = await open5(t, hub, { clientId: 'publisher' })
let messages = 0

/** Published and, but for QoS 0, acknowledged to the end. */
async function publish(
  topic: string,
  payload: string | Buffer,
  qos: 0 | 1 | 2 = 1,
  more: Parameters<typeof publishOf>[4] = {},
  from = publisher,
): Promise<void> {
  const messageId = 1 + (messages++ % 60_000)
  from.send(publishOf(topic, payload, qos, messageId, more))
  if (qos === 1) await from.answer('puback')
  if (qos === 2) {
    await from.answer('pubrec')
    from.ack('pubrel', { messageId })
    await from.answer('pubcomp')
  }
}

const texts = (packets: readonly { readonly payload: string | Buffer }[]) =>
  packets.map(({ payload }) => String(payload))
const numbers = (count: number, from = 0) => Array.from({ length: count }, (_, n) => String(from + n))
const valuesOf = (got: ReceivedPublish | undefined, name: number) =>
  got ? propertiesOf(got).flatMap(([one, value]) => (one === name ? [value] : [])) : undefined

t.test('receive maximum of the client: no more than that without its acknowledgement', async t => {
  for (const qos of [1, 2] as const) {
    const client = await open5(t, hub, { clientId: `window-${qos}`, properties: { receiveMaximum: 3 } })
    await client.subscribe({ [`window/${qos}`]: qos })
    for (const text of numbers(8)) await publish(`window/${qos}`, text, qos)
    await publish(`window/${qos}`, 'QoS 0', 0)
    await publisher.ping()
    const got = await client.publishes()
    t.same(texts(got).sort(), ['0', '1', '2', 'QoS 0'], `QoS ${qos}: three, and QoS 0 beside them [MQTT-3.3.4-7]`)
    const [first, second, third] = got.filter(one => one.qos > 0) as [ReceivedPublish, ReceivedPublish, ReceivedPublish]
    if (qos === 2) {
      client.ack('pubrec', first)
      t.match(await client.next(), { cmd: 'pubrel' })
      t.same(await client.soFar(), [], 'PUBREC makes no room (§4.9)')
      client.ack('pubcomp', first)
    } else client.ack('puback', first)
    t.same(texts(await client.publishes()), ['3'], 'room for one')
    // A refusal ends a delivery, and makes room for the next. (§4.9) [MQTT-4.3.3-4]
    const cmd = qos === 1 ? 'puback' : 'pubrec'
    client.send({ cmd, messageId: second.messageId as number, reasonCode: 0x80 })
    const next = await client.soFar()
    t.same(
      next.map(({ cmd }) => cmd),
      ['publish'],
      'no PUBREL for what is refused',
    )
    t.same(texts(next as ReceivedPublish[]), ['4'])
    client.send({ cmd, messageId: third.messageId as number, reasonCode: 0x97 })
    t.same(texts(await client.publishes()), ['5'])
    await client.cut()
  }
})

t.test('what a client has refused does not come again, and is counted', async t => {
  const session = { clientId: 'refuses', clean: false, properties: { sessionExpiryInterval: 60 } }
  const client = await open5(t, hub, session)
  await client.subscribe({ 'refuses/#': 2 })
  const before = await counted(hub)
  await publish('refuses/x', '1', 1)
  await publish('refuses/x', '2', 2)
  const got = await client.publishes()
  for (const { qos, messageId = 0 } of got)
    client.send({ cmd: qos === 1 ? 'puback' : 'pubrec', messageId, reasonCode: 0x83 })
  t.same(await client.soFar(), [])
  t.equal((await counted(hub)) - before, 2)
  await client.cut()
  const back = await open5(t, hub, session)
  t.equal(back.sessionPresent, true)
  t.same(await back.soFar(), [], '[MQTT-4.3.3-4]')
})

t.test('the receive maximum of the hub begins anew with each connection', async t => {
  const hub = await startHub(t, { 'limits.inflight': '5' })
  const session = { clientId: 'resends', clean: false, properties: { sessionExpiryInterval: 60 } }
  const first = await open5(t, hub, session)
  const watcher = await open5(t, hub)
  await watcher.subscribe({ resend: 0 })
  const ids = [1, 2, 3, 4, 5]
  const each = async (client: RawClient, dup: boolean) => {
    client.send(...ids.map(n => publishOf('resend', String(n), 2, n, { dup })))
    for (const messageId of ids) t.match(await client.next(), { cmd: 'pubrec', messageId })
  }
  await each(first, false)
  await first.cut()
  const back = await open5(t, hub, session)
  t.equal(back.sessionPresent, true)
  await each(back, true)
  back.ack('pubrel', ...ids.map(messageId => ({ messageId })))
  for (const messageId of ids) t.match(await back.next(), { cmd: 'pubcomp', messageId })
  back.send(publishOf('resend', 'next', 2, 1))
  t.match(await back.next(), { cmd: 'pubrec', messageId: 1 }, 'the id is free')
  back.ack('pubrel', { messageId: 1 })
  t.match(await back.next(), { cmd: 'pubcomp', messageId: 1 })
  t.same(texts(await watcher.publishes()), ['1', '2', '3', '4', '5', 'next'], 'exactly once [MQTT-4.3.3-10]')
})

t.test('maximum packet size of the client: what is larger is left out and counted, what follows comes', async t => {
  const session = { clientId: 'small', clean: false }
  const properties = { maximumPacketSize: 100, sessionExpiryInterval: 60, topicAliasMaximum: 5 }
  const client = await open5(t, hub, { ...session, properties })
  const everything = await open5(t, hub)
  const got = everything.collect()
  await everything.subscribe({ 'size/#': 1 })
  await client.subscribe({ 'size/#': 2 })
  const before = await counted(hub)
  const head = 2 + 2 + 'size/x'.length + 2 + 1
  for (const qos of [0, 1, 2] as const) {
    await publish('size/x', 'small', qos)
    await publish('size/x', 'x'.repeat(500), qos)
    // The properties count as well.
    await publish('size/x', 'small', qos, { properties: { contentType: 'x'.repeat(120) } })
    await publish('size/x', 'next', qos)
  }
  await publish('size/y', 'y'.repeat(100 - head), 1)
  await publish('size/y', 'y'.repeat(100 - head + 1), 2)
  const taken = await client.take(7)
  t.same(await client.soFar(), [])
  const resolve = aliases(5)
  t.same(
    taken.map(one => `${resolve(one)} ${String(one.payload).slice(0, 5)}`),
    [...numbers(3).flatMap(() => ['size/x small', 'size/x next']), 'size/y yyyyy'],
    'all that fits [MQTT-3.1.2-25]',
  )
  for (const { bytes } of taken) t.ok(bytes.length <= 100, `${bytes.length} bytes [MQTT-3.1.2-24]`)
  t.equal((await counted(hub)) - before, 7)
  await eventually(() => got.length === 14, 'another gets all')
  await client.cut()
  const wide = await open5(t, hub, { ...session, properties: { sessionExpiryInterval: 60 } })
  t.equal(wide.sessionPresent, true)
  t.same(await wide.soFar(), [], 'what was left out is done with')

  await wide.cut()
  await publish('size/z', 'x'.repeat(500))
  await publish('size/z', 'fits')
  const narrow = await open5(t, hub, { ...session, properties })
  t.same(texts(await narrow.take(1)), ['fits'], 'from the queue of an absent one, too')
  t.same(await narrow.soFar(), [])
})

/** Topics as a client with so many aliases knows them; a packet it could not know is an error. (§3.3.2.3.4) */
function aliases(most: number) {
  const known = new Map<number, string>()
  return (got: ReceivedPublish): string => {
    const [alias] = (valuesOf(got, id.topicAlias) ?? []) as number[]
    if (alias === undefined) return got.topic === '' ? 'no topic' : got.topic
    if (alias < 1 || alias > most) return `alias ${alias} of ${most}`
    if (got.topic !== '') known.set(alias, got.topic)
    return known.get(alias) ?? 'an alias never told'
  }
}

t.test('topic aliases of a client: set, used, set anew, and forgotten with the connection', async t => {
  const watcher = await open5(t, hub, { properties: { topicAliasMaximum: 0 } })
  await watcher.subscribe({ 'alias/#': 2 })
  const client = await open5(t, hub, { clientId: 'aliases' })
  const send = (topic: string, topicAlias: number, payload: string, qos: 0 | 1 | 2 = 0) =>
    publish(topic, payload, qos, { properties: { topicAlias } }, client)
  await send('alias/a', 1, '0')
  await send('', 1, '1')
  await send('alias/b', 64, '2', 1)
  await send('', 64, '3', 2)
  await send('', 1, '4', 1)
  await send('alias/c', 1, '5')
  await send('', 1, '6')
  await send('', 64, '7')
  await send('alias/b', 1, '8', 2)
  await send('', 1, '9')
  await client.ping()
  const got = await watcher.publishes()
  t.same(
    got.map(({ topic, payload }) => `${topic} ${payload}`),
    ['a 0', 'a 1', 'b 2', 'b 3', 'a 4', 'c 5', 'c 6', 'b 7', 'b 8', 'b 9'].map(one => `alias/${one}`),
  )
  t.same(
    got.flatMap(one => valuesOf(one, id.topicAlias)),
    [],
    'they are not for others [MQTT-3.3.2-11]',
  )
  await client.cut()
  const again = await open5(t, hub, { clientId: 'aliases', clean: false })
  again.send(publishOf('', 'x', 1, 1, { properties: { topicAlias: 1 } }))
  t.match(await again.gone(), [{ cmd: 'disconnect', reasonCode: 0x82 }], '[MQTT-3.3.2-7]')
})

t.test(
  'topic aliases of the hub: from the second time, as many as the client takes, the least used given anew',
  async t => {
    const session = { clientId: 'aliased', clean: false }
    const properties = { topicAliasMaximum: 2, sessionExpiryInterval: 60 }
    const client = await open5(t, hub, { ...session, properties })
    const zero = await open5(t, hub, { properties: { topicAliasMaximum: 2 } })
    const none = await open5(t, hub)
    await client.subscribe({ 'out/#': 1 })
    await zero.subscribe({ 'out/#': 0 })
    await none.subscribe({ 'out/#': 1 })
    const topics = ['a', 'a', 'a', 'b', 'b', 'b', 'c', 'a', 'c', 'c', 'a', 'b', 'b', 'd', 'd'].map(one => `out/${one}`)
    for (const [n, topic] of topics.entries()) await publish(topic, String(n))
    for (const one of [client, zero]) {
      const got = await one.take(topics.length)
      t.same(got.map(aliases(2)), topics)
      t.same(texts(got), numbers(topics.length))
      const uses = got.map(({ topic, bytes }) => {
        const isAliased = propertiesOf({ bytes }).some(([name]) => name === id.topicAlias)
        return `${topic.slice(4)}${isAliased ? '#' : ''}`
      })
      // The first time without, the second tells it, the third uses it; c takes the one of b, as a was used since.
      t.same(uses.slice(0, 11), ['a', 'a#', '#', 'b', 'b#', '#', 'c', '#', 'c#', '#', '#'])
    }
    const plain = await none.take(topics.length)
    t.same(
      plain.flatMap(one => valuesOf(one, id.topicAlias)),
      [],
      'none for who takes none [MQTT-3.1.2-27]',
    )

    // What is sent again is sent to a connection that knows no alias yet.
    for (let n = 0; n < 4; n++) await publish('out/a', `again ${n}`)
    await client.publishes()
    await client.cut()
    const back = await open5(t, hub, { ...session, properties })
    const fresh = aliases(2)
    const again = await back.take(4)
    t.same(
      again.map(fresh),
      Array.from({ length: 4 }, () => 'out/a'),
      '[MQTT-3.3.2-7]',
    )
    t.ok(again.every(({ dup }) => dup))
  },
)

t.test('no local: what a client publishes does not come back by such a subscription', async t => {
  const client = await open5(t, hub, { clientId: 'local', clean: false, properties: { sessionExpiryInterval: 60 } })
  await client.subscribe({ 'local/#': 1 }, { nl: true })
  await publish('local/x', 'own', 1, {}, client)
  await publish('local/x', 'own', 0, {}, client)
  await publish('local/x', 'of another')
  t.same(texts(await client.take(1)), ['of another'], '[MQTT-3.8.3-3]')
  t.same(await client.soFar(), [])
  await client.cut()
  const back = await open5(t, hub, { clientId: 'local', clean: false, properties: { sessionExpiryInterval: 60 } })
  await publish('local/x', 'own', 1, {}, back)
  t.same(await back.soFar(), [], 'nor after it came back')
  await back.subscribe({ 'local/+': 0 })
  await publish('local/x', 'own', 1, {}, back)
  t.match(await back.publishes(), [{ payload: Buffer.from('own'), qos: 0 }], 'by another subscription it does')
  await back.unsubscribe('local/+')
  await back.subscribe({ 'local/#': 1 }, { nl: false })
  await publish('local/x', 'own', 1, {}, back)
  t.equal((await back.publishes()).length, 1, 'the option is as it was set last')
})

t.test('retain as published, and retain handling', async t => {
  const as = await open5(t, hub)
  await as.subscribe({ 'rap/#': 1 }, { rap: true })
  const plain = await open5(t, hub)
  await plain.subscribe({ 'rap/#': 1 }, { rap: false })
  await publish('rap/x', 'kept', 1, { retain: true })
  await publish('rap/x', 'not kept')
  const flags = async (client: RawClient) => (await client.publishes()).map(({ retain }) => retain)
  t.same(await flags(as), [true, false], '[MQTT-3.3.1-13]')
  t.same(await flags(plain), [false, false], '[MQTT-3.3.1-12]')
  await as.subscribe({ 'rap/x': 1 }, { rap: false })
  t.same(await flags(as), [true], 'retained messages have it in any case [MQTT-3.3.1-8]')

  for (const [rh, expected] of [
    [0, [1, 1, 1]],
    [1, [1, 0, 0]],
    [2, [0, 0, 0]],
  ] as const) {
    const session = { clientId: `handling-${rh}`, clean: false, properties: { sessionExpiryInterval: 60 } }
    const client = await open5(t, hub, session)
    const count = async (at: RawClient) => {
      await at.subscribe({ 'rap/+': 0 }, { rh })
      return (await at.publishes()).length
    }
    const counts = [await count(client), await count(client)]
    await client.cut()
    const back = await open5(t, hub, session)
    counts.push(await count(back))
    t.same(counts, expected, `retain handling ${rh}: new, again, again in a session that came back [MQTT-3.3.1-9..11]`)
    await back.unsubscribe('rap/+')
    t.equal(await count(back), rh === 2 ? 0 : 1, 'new again')
  }
})

t.test('subscription identifiers: those of all that match, kept with the session, also over SIGKILL', async t => {
  const first = await startHub(t)
  const session = { clientId: 'ids', clean: false, properties: { sessionExpiryInterval: 60 } }
  const client = await open5(t, first, session)
  const sender = await connectMqtt(t, first.mqttUrl)
  const send = (topic: string, text: string, retain = false) => sender.publishAsync(topic, text, { qos: 1, retain })
  await client.subscribe({ 'ids/+': 0 }, { id: 1 })
  await client.subscribe({ 'ids/#': 1 }, { id: 268_435_455 })
  await client.subscribe({ 'ids/a': 2 })
  await client.subscribe({ 'ids/deep/#': 0, 'ids/deep/+': 1 }, { id: 300 })
  const idsOf = (got: ReceivedPublish | undefined) =>
    (valuesOf(got, id.subscription) ?? []).map(Number).sort((a, b) => a - b)
  await send('ids/a', 'three')
  await send('ids/deep/x', 'two')
  await send('ids/a/b', 'one')
  const got = await client.take(3)
  t.same(
    got.map(({ topic, qos }) => `${topic} ${qos}`),
    ['ids/a 1', 'ids/deep/x 1', 'ids/a/b 1'],
    'one copy of each',
  )
  t.same(idsOf(got[0]), [1, 268_435_455], '[MQTT-3.3.4-4]')
  // One for each subscription that matches, or each identifier once: the standard leaves it open.
  t.same([...new Set(idsOf(got[1]))], [300, 268_435_455])
  t.same(idsOf(got[2]), [268_435_455], '[MQTT-3.3.4-3]')
  await client.subscribe({ 'ids/#': 1 }, { id: 7 })
  await client.subscribe({ 'ids/+': 0 })
  await send('ids/a', 'replaced')
  t.same(idsOf((await client.take(1))[0]), [7], 'a new SUBSCRIBE replaces it, and can take it away')
  await send('ids/kept', 'retained', true)
  await client.take(1)
  await client.subscribe({ 'ids/kept': 1 }, { id: 9 })
  const [kept] = await client.take(1)
  t.same([kept?.retain, idsOf(kept)], [true, [9]], 'a retained message has that of the new subscription')
  await client.cut()
  await send('ids/a', 'queued')
  await first.kill()
  const second = await startHub(t, {}, first.dir)
  const back = await open5(t, second, session)
  t.equal(back.sessionPresent, true)
  let [queued] = await back.take(1)
  // What the hub had not yet written of its acknowledgement went with the hub: then it comes again.
  if (String(queued?.payload) === 'retained') [queued] = await back.take(1)
  t.same([String(queued?.payload), idsOf(queued)], ['queued', [7]])
  await (await connectMqtt(t, second.mqttUrl)).publishAsync('ids/kept', 'live', { qos: 1 })
  t.same(idsOf((await back.take(1))[0]), [7, 9], 'live, after SIGKILL')
  const plain = await openRaw(t, second, { clientId: 'ids', clean: false })
  await (await connectMqtt(t, second.mqttUrl)).publishAsync('ids/a', 'x', { qos: 1 })
  t.equal((await plain.take(1))[0]?.bytes.length, 2 + 2 + 5 + 2 + 1, '3.1.1 has none')
})

const travelling: Property[] = [
  [0x01, 1],
  [0x03, 'text/plain; charset=utf-8'],
  [0x08, 'replies/ü/水'],
  [0x09, Buffer.from([0, 255, 0, 1, 128])],
  [id.user, ['b', '2']],
  [id.user, ['a', '1']],
  [id.user, ['b', '3']],
  [id.user, ['', '']],
  [id.user, ['__proto__', 'constructor']],
  [id.user, ['b', '2']],
]
const travellingBytes = props(
  '01 01 03',
  field('text/plain; charset=utf-8'),
  '08',
  field('replies/ü/水'),
  '09 0005 00ff000180',
  ...travelling.flatMap(([name, value]) =>
    name === id.user ? ['26', ...(value as readonly string[]).map(one => field(one))] : [],
  ),
)

t.test('properties come as they were sent, in their order, by every way; 3.1.1 knows nothing of them', async t => {
  const first = await startHub(t)
  const sender = await open5(t, first)
  const session = { clientId: 'reads', clean: false, properties: { sessionExpiryInterval: 60 } }
  const live = await open5(t, first, { properties: { topicAliasMaximum: 10 } })
  const old = await openRaw(t, first)
  const absent = await open5(t, first, session)
  const absent4 = await openRaw(t, first, { clientId: 'reads-4', clean: false })
  for (const client of [live, old, absent, absent4]) await client.subscribe({ 'p/#': 2 })
  await absent.cut()
  await absent4.cut()
  for (const qos of [0, 1, 2] as const) {
    sender.write(packet(0x31 | (qos << 1), field(`p/${qos}`), qos > 0 ? `000${qos}` : '', travellingBytes, '7b7d'))
  }
  await sender.until('pubrec')
  sender.ack('pubrel', { messageId: 2 })
  await sender.until('pubcomp')
  const will = packet(
    0x10,
    field('MQTT'),
    '05 06 0000',
    props(),
    field('testator'),
    travellingBytes,
    field('p/will'),
    field('{}'),
  )
  const testator = new RawClient(t, first.mqttUrl, 5)
  testator.write(will)
  t.match(await testator.next(), { cmd: 'connack', reasonCode: 0 })
  testator.destroy()

  const check = (got: ReceivedPublish, what: string) => {
    const all = propertiesOf(got).filter(([name]) => name !== id.topicAlias)
    const users = (from: readonly Property[]) => from.filter(([name]) => name === id.user).map(([, value]) => value)
    const others = (from: readonly Property[]) => new Map(from.filter(([name]) => name !== id.user))
    t.same(users(all), users(travelling), `${what}: user properties in their order [MQTT-3.3.2-17] [MQTT-3.3.2-18]`)
    t.same(
      others(all),
      others(travelling),
      `${what}: unaltered [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-20]`,
    )
    t.equal(String(got.payload), '{}')
  }
  for (const got of await live.take(4)) check(got, `live, ${got.topic}`)
  const plain = await old.take(4)
  for (const { bytes, topic, qos } of plain) {
    t.equal(bytes.length, 2 + 2 + topic.length + (qos > 0 ? 2 : 0) + 2, `3.1.1 gets bare bytes, ${topic}`)
  }
  const late = await open5(t, first)
  await late.subscribe({ 'p/+': 2 })
  const retained = await late.take(3)
  for (const got of retained) check(got, `retained, ${got.topic}`)
  await first.kill()

  const second = await startHub(t, {}, first.dir)
  const back = await open5(t, second, session)
  const queued = await back.take(2)
  for (const got of queued) check(got, `queued, and after SIGKILL, ${got.topic}`)
  const back4 = await openRaw(t, second, { clientId: 'reads-4', clean: false })
  t.same(
    (await back4.take(2)).map(({ bytes }) => bytes.length),
    [2 + 2 + 3 + 2 + 2, 2 + 2 + 3 + 2 + 2],
  )
  const reader = await open5(t, second)
  await reader.subscribe({ 'p/+': 1 })
  const kept = await reader.take(3)
  for (const got of kept) check(got, `retained, and after SIGKILL, ${got.topic}`)

  const from4 = await openRaw(t, second)
  const to5 = await open5(t, second)
  await to5.subscribe({ 'bare/#': 2 })
  for (const qos of [0, 1, 2] as const) from4.send(publishOf(`bare/${qos}`, 'x', qos, 5 + qos))
  await from4.until('pubrec')
  from4.ack('pubrel', { messageId: 7 })
  const bare = await to5.take(3)
  t.same(bare.flatMap(propertiesOf), [], 'from 3.1.1 there are none')
})

t.test('QoS 2 in MQTT 5: exactly once over a cut, with four bytes for every acknowledgement', async t => {
  const session = { clientId: 'exactly', clean: false, properties: { sessionExpiryInterval: 60 } }
  const watcher = await open5(t, hub)
  await watcher.subscribe({ 'exactly/#': 2 })
  const first = await open5(t, hub, session)
  const sent: IPublishPacket = publishOf('exactly/x', 'once', 2, 9)
  first.send(sent)
  const pubrec = await first.next()
  t.same([...pubrec.bytes], [0x50, 2, 0, 9])
  await first.cut()
  const back = await open5(t, hub, session)
  back.send({ ...sent, dup: true })
  t.match(await back.next(), { cmd: 'pubrec', messageId: 9 })
  back.ack('pubrel', { messageId: 9 })
  const pubcomp = await back.next()
  t.same([...pubcomp.bytes], [0x70, 2, 0, 9])
  back.ack('pubrel', { messageId: 9 })
  t.match(await back.next(), { cmd: 'pubcomp', messageId: 9, reasonCode: 0x92 })
  const [got] = await watcher.publishes()
  t.match(got, { payload: Buffer.from('once'), qos: 2 })
  watcher.ack('pubrec', got as ReceivedPublish)
  const pubrel = await watcher.next()
  t.same([...pubrel.bytes.subarray(0, 2)], [0x62, 2])
  watcher.ack('pubcomp', got as ReceivedPublish)
  t.same(await watcher.soFar(), [], 'once')
})

t.test('request and response: mosquitto_rr asks, MQTT.js answers', async t => {
  const responder = await connectMqtt(t, hub.mqttUrl, { protocolVersion: 5, clientId: 'responder' })
  responder.on('message', (_topic, payload, { properties }) => {
    if (!properties?.responseTopic) return
    const { responseTopic, correlationData } = properties
    responder.publish(responseTopic, `answer to ${payload}`, {
      qos: 1,
      properties: correlationData ? { correlationData } : {},
    })
  })
  await responder.subscribeAsync('ask/#', { qos: 1 })
  const at = ['-h', '127.0.0.1', '-p', new URL(hub.mqttUrl).port, '-V', '5', '-W', '20', '-q', '1']
  const answer = await mosquittoClient('rr', ...at, '-t', 'ask/x', '-e', 'answers/1', '-m', 'one')
  t.equal(answer, 'answer to one\n')
  const correlated = await mosquittoClient(
    'rr',
    ...at,
    ...['-t', 'ask/x', '-e', 'answers/2', '-m', 'two', '-D', 'publish', 'correlation-data', 'q-2', '-F', '%p %D'],
  )
  t.equal(correlated, 'answer to two q-2\n')

  // As response information tells a client to have it.
  const asker = await open5(t, hub, { clientId: 'asks', properties: { requestResponseInformation: true } })
  await asker.subscribe({ 'replies/asks/#': 1 })
  const properties = { responseTopic: 'replies/asks/7', correlationData: Buffer.from([7]) }
  asker.send(publishOf('ask/x', 'three', 1, 1, { properties }))
  const [reply] = await asker.take(1)
  t.match(reply, { topic: 'replies/asks/7', payload: Buffer.from('answer to three') })
  t.same(reply?.properties?.correlationData, Buffer.from([7]))
})
