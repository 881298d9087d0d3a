import { setTimeout as sleep } from 'node:timers/promises'
import mqtt, { type MqttClient } from 'mqtt'
import t, { type Test } from 'tap'
import { type ConnectOptions, open5, openRaw, RawClient } from '../clients/raw-mqtt.js'
import { Random } from '../fixtures/packets.js'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { connectMqtt, eventually, type RunningHub, startHub } from '../harness.js'

/*
 * Shared subscriptions, $share/{group}/{filter}: of a group one gets each message, whoever of them comes and goes.
 * (MQTT 5.0 §4.8.2) Clients of 3.1.1 may be in a group as well.
 */

const texts = (packets: readonly { readonly payload: string | Buffer }[]) =>
  packets.map(({ payload }) => String(payload))
const numbers = (count: number, from = 0) => Array.from({ length: count }, (_, n) => String(from + n))
const sorted = (all: readonly string[]) => [...all].sort((a, b) => Number(a) - Number(b))
const inOrder = (all: readonly string[]) => all.every((text, n) => n === 0 || Number(text) > Number(all[n - 1]))
const keeps = (seconds: number) => ({ properties: { sessionExpiryInterval: seconds } })

/** A member of a group, that has its subscription. */
async function member(t: Test, hub: RunningHub, filter: string, options: ConnectOptions = {}, qos: 0 | 1 | 2 = 1) {
  const client = await openRaw(t, hub, { protocolVersion: 5, ...options })
  const codes = await client.subscribe({ [filter]: qos })
  if (codes[0] !== qos) throw new Error(`subscribed to ${filter} with ${codes}`)
  return client
}

const publishAll = (publisher: MqttClient, topic: string, all: readonly string[], qos: 0 | 1 | 2 = 1) =>
  Promise.all(all.map(text => publisher.publishAsync(topic, text, { qos })))

const hub = await startHub(t)
const publisher = await connectMqtt(t, hub.mqttUrl, { clientId: 'publisher' })

t.test(
  'every message once in each group, in order for each member; who subscribes without $share gets all',
  async t => {
    for (const qos of [0, 1, 2] as const) {
      const topic = `once/${qos}`
      const join = (group: string, options: ConnectOptions = {}) =>
        member(t, hub, `$share/${group}/once/${qos}/#`, options, qos)
      const groups = {
        mixed: [
          await join('mixed'),
          await join('mixed', { protocolVersion: 4 }),
          await join('mixed'),
          await join('mixed', { protocolVersion: 4 }),
        ],
        other: [await join('other'), await join('other', { protocolVersion: 4 })],
        alone: [await join('alone', { protocolVersion: 4 })],
      }
      const plain = await member(t, hub, `${topic}/#`, {}, qos)
      // In a group and for itself: two subscriptions, each with its own copy.
      const both = await join('mixed')
      await both.subscribe({ [`${topic}/+`]: qos })
      const lists = new Map([...Object.values(groups).flat(), plain, both].map(client => [client, client.collect()]))
      const got = (client: RawClient) => texts(lists.get(client) ?? [])
      const all = numbers(1_000)
      await publishAll(publisher, `${topic}/x`, all, qos)
      const own = groups.mixed.flatMap(got).length
      await eventually(
        () => got(both).length + groups.mixed.flatMap(got).length >= 2 * all.length && got(plain).length >= all.length,
        `QoS ${qos}: all have come, ${own}`,
      )
      await eventually(() => [...groups.other, ...groups.alone].flatMap(got).length >= 2 * all.length, 'to the others')
      for (const client of lists.keys()) await client.soFar()
      for (const group of ['other', 'alone'] as const) {
        t.same(sorted(groups[group].flatMap(got)), all, `QoS ${qos}, ${group}: each once`)
      }
      t.same(
        sorted([...groups.mixed.flatMap(got), ...got(both)]),
        sorted([...all, ...all]),
        `QoS ${qos}, mixed: each once`,
      )
      for (const client of [...groups.mixed, ...groups.other]) {
        t.ok(inOrder(got(client)), 'in order')
        t.ok(got(client).length > 0, `QoS ${qos}: everybody has a part, ${got(client).length}`)
      }
      t.same(got(plain), all, 'who is in no group gets all')
      for (const client of lists.keys()) await client.cut()
    }
  },
)

t.test('who does not acknowledge gets no more than its share, and holds up nobody', async t => {
  const slow = await member(t, hub, '$share/least/least/#')
  const quick = [
    await member(t, hub, '$share/least/least/#'),
    await member(t, hub, '$share/least/least/#', { protocolVersion: 4 }),
  ]
  const lists = quick.map(client => client.collect())
  const done = () => lists.flat().length
  for (const [n, text] of numbers(60).entries()) {
    await publisher.publishAsync('least/x', text, { qos: 1 })
    const held = (await slow.publishes()).length
    if (held > 0) t.equal(n < 3, true, 'one, as long as nobody had any: then it has more than the others')
    // Their acknowledgements are heard before the next one is published.
    for (const client of quick) await client.ping()
  }
  t.ok(done() >= 59, `${done()} of 60 go to those who acknowledge`)
  await publishAll(publisher, 'least/x', numbers(2_000, 60))
  await eventually(() => done() >= 1_300, 'and so most of many')
  const share = (await slow.publishes()).length
  t.ok(share <= 2_000 / 3, `${share} of 2,000`)
  t.ok(lists.every(got => inOrder(texts(got))))
})

t.test('a member dies: what it had not acknowledged, and what waited for it, goes to the others', async t => {
  for (const version of [5, 4] as const) {
    const filter = `$share/dies/dies/${version}`
    const options = { protocolVersion: version, ...(version === 5 && { properties: { receiveMaximum: 5 } }) } as const
    const dying = await member(t, hub, filter, options)
    // As long as it is alone all is for it: some sent, and the rest waiting where there is a receive maximum.
    await publishAll(publisher, `dies/${version}`, numbers(50))
    const had = await dying.publishes()
    t.equal(had.length, version === 5 ? 5 : 50)
    const other = await member(t, hub, filter, options)
    const third = await member(t, hub, filter, { protocolVersion: 5 })
    const lists = [other.collect(), third.collect()]
    await other.soFar()
    t.same(lists.flat(), [], 'what one has is not taken from it while it lives')
    await dying.cut()
    await eventually(() => lists.flat().length >= 50, 'the others get all of it')
    await third.soFar()
    t.same(sorted(texts(lists.flat())), numbers(50), `MQTT ${version}: each once`)
    t.ok(
      lists.every(got => inOrder(texts(got))),
      'in order',
    )
  }
})

t.test('a durable member goes: the others get QoS 1; QoS 2 that was under way stays with its session', async t => {
  const filter = '$share/keep/keep/#'
  const session = { clientId: 'keeps', clean: false, ...keeps(60) }
  const leaving = await member(t, hub, filter, session, 2)
  await publishAll(publisher, 'keep/1', numbers(3), 1)
  await publishAll(publisher, 'keep/2', numbers(3, 3), 2)
  const had = await leaving.publishes()
  t.equal(had.length, 6)
  const other = await member(t, hub, filter, {}, 2)
  const got = other.collect()
  await leaving.cut()
  await eventually(() => got.length >= 3, 'QoS 1 goes to the other')
  await other.soFar()
  t.same(sorted(texts(got)), numbers(3), '[MQTT-4.8.2-4] [MQTT-4.8.2-5]')
  const back = await open5(t, hub, session)
  t.equal(back.sessionPresent, true)
  const again = await back.take(3)
  t.same(texts(again), numbers(3, 3), 'QoS 2 is delivered to the end [MQTT-4.8.2-4]')
  t.ok(again.every(({ dup }) => dup))
  t.same(await back.soFar(), [])

  // Refused by one is done with, not offered to another.
  await other.cut()
  await back.cut()
  const refusing = await member(t, hub, '$share/no/no')
  await publisher.publishAsync('no', 'x', { qos: 1 })
  const [first] = await refusing.publishes()
  const second = await member(t, hub, '$share/no/no')
  refusing.send({ cmd: 'puback', messageId: first?.messageId as number, reasonCode: 0x83 })
  await refusing.cut()
  await publisher.publishAsync('no', 'y', { qos: 1 })
  t.same(texts(await second.publishes()), ['y'], '[MQTT-4.8.2-6]')
})

t.test('absent members: those who are there get it; when nobody is there it waits', async t => {
  const filter = '$share/absent/absent/#'
  const sessions = [
    { clientId: 'absent-5', clean: false, protocolVersion: 5, ...keeps(60) },
    { clientId: 'absent-4', clean: false, protocolVersion: 4 },
  ] as const
  const there = await member(t, hub, filter)
  const got = there.collect()
  for (const session of sessions) await (await member(t, hub, filter, session)).leave()
  await publishAll(publisher, 'absent/x', numbers(100))
  await eventually(() => got.length >= 100, 'the one who is there gets all')
  t.same(texts(got), numbers(100))
  await there.unsubscribe(filter)
  await publishAll(publisher, 'absent/x', numbers(100, 100))
  t.same(await there.soFar(), [], 'nothing for who has unsubscribed [MQTT-3.10.4-1]')
  t.equal(got.length, 100)
  // What waited comes right behind CONNACK.
  const back = sessions.map(({ protocolVersion }) => new RawClient(t, hub.mqttUrl, protocolVersion))
  const lists = back.map(client => client.collect())
  for (const [n, client] of back.entries()) await client.connect(sessions[n])
  await eventually(() => lists.flat().length >= 100, 'all that waited')
  for (const client of back) await client.soFar()
  t.same(sorted(texts(lists.flat())), numbers(100, 100), 'each once')
  t.ok(lists.every(one => inOrder(texts(one))))
  // The last one leaves: with its session, its subscription goes.
  for (const client of back) await client.cut()
  for (const session of sessions) {
    await openRaw(t, hub, { clientId: session.clientId, protocolVersion: session.protocolVersion, clean: true })
  }
  await publisher.publishAsync('absent/x', 'nobody', { qos: 1 })
  const late = await member(t, hub, filter)
  t.same(await late.soFar(), [], 'for no group there is nothing to keep')
})

t.test('no retained messages; and a rule that denies reading denies the group', async t => {
  await publisher.publishAsync('kept/x', 'kept', { qos: 1, retain: true })
  for (const protocolVersion of [5, 4] as const) {
    const client = await member(t, hub, '$share/new/kept/#', { protocolVersion })
    t.same(await client.soFar(), [], 'for a shared subscription none are sent (§3.8.4)')
    await client.subscribe({ 'kept/#': 0 })
    t.same(texts(await client.publishes()), ['kept'])
    await client.cut()
  }
  const users = await usersFile()
  await users.add('reader', ['allow read open/#'])
  const strict = await startHub(t, users.settings)
  const as = { username: 'reader', password: Buffer.from(passwordOf('reader')) }
  for (const [protocolVersion, code] of [
    [5, 0x87],
    [4, 0x80],
  ] as const) {
    const client = await openRaw(t, strict, { protocolVersion, ...as })
    t.same(await client.subscribe({ '$share/g/secret/#': 1, '$share/g/open/#': 1 }), [code, 1])
    await client.cut()
  }
})

t.test('durable members come and go, the hub is killed: nothing is lost, and little comes twice', async t => {
  const total = 4_000
  const filter = '$share/work/work/#'
  const random = new Random(6)
  let hub = await startHub(t)
  const settings = { 'mqtt.port': new URL(hub.mqttUrl).port }
  const got: string[] = []
  const ids = [0, 1, 2, 3].map(n => `worker-${n}`)
  const sessionOf = (clientId: string): ConnectOptions =>
    clientId.endsWith('1')
      ? { protocolVersion: 4, clientId, clean: false }
      : { protocolVersion: 5, clientId, clean: false, properties: { sessionExpiryInterval: 600, receiveMaximum: 20 } }
  for (const clientId of ids) await (await member(t, hub, filter, sessionOf(clientId))).leave()

  let finished = false
  let killing: Promise<void> | undefined
  const kept = new Set<string>()
  /** Is there, takes and acknowledges, for a while; then goes without a word, with what it has not acknowledged. */
  const work = async (clientId: string) => {
    while (!finished) {
      await killing
      const options = sessionOf(clientId)
      const client = new RawClient(t, hub.mqttUrl, options.protocolVersion)
      client.handle = packet => {
        if (packet.cmd !== 'publish') return false
        // One in twenty is left open.
        if (kept.size < total - 100 && random.chance(5)) return true
        got.push(String(packet.payload))
        kept.add(String(packet.payload))
        client.ack('puback', packet)
        return true
      }
      // It may come just as the hub is killed.
      await client.connect(options).catch(() => {})
      await sleep(100 + random.below(300))
      if (kept.size >= total) finished = true
      await client.cut()
      await sleep(random.below(100))
    }
  }
  const working = ids.map(work)
  const sender = mqtt.connect(hub.mqttUrl, {
    protocolVersion: 5,
    clientId: 'sender',
    clean: false,
    reconnectPeriod: 50,
  })
  sender.on('error', () => {})
  t.teardown(() => sender.endAsync(true).catch(() => {}))
  const sending = (async () => {
    for (let n = 0; n < total; n += 100) {
      await Promise.all(numbers(100, n).map(text => sender.publishAsync('work/x', text, { qos: 1 })))
      await sleep(20)
    }
  })()
  await eventually(() => kept.size >= total / 3, 'a third is done')
  killing = hub.kill().then(async () => {
    hub = await startHub(t, settings, hub.dir)
  })
  await killing
  await sending
  await eventually(() => finished, `all of it; ${kept.size} so far`)
  await Promise.all(working)
  t.same(sorted([...kept]), numbers(total), 'nothing is lost')
  t.comment(`${got.length - kept.size} of ${total} came twice`)
  t.ok(got.length < 1.5 * total, `${got.length} for ${total}: each goes to one`)
})
