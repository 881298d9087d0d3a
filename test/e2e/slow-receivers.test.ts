import { readFileSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { RawClient, type Version } from '../clients/raw-mqtt.js'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { connectMqtt, eventually, metric, type RunningHub, startHub } from '../harness.js'

const settings = { 'limits.outbox': '64KB', 'limits.stuck': '10m' }
const filler = 'x'.repeat(8_000)

interface SlowClient {
  readonly client: RawClient
  /** The number in each message that came, by topic. */
  readonly got: Map<string, number[]>
}

async function open(
  t: Test,
  url: string,
  version: Version,
  filters: readonly string[],
  user?: string,
): Promise<SlowClient> {
  const client = new RawClient(t, url, version)
  await client.connect(user === undefined ? {} : { username: user, password: Buffer.from(passwordOf(user)) })
  const got = new Map<string, number[]>()
  client.handle = packet => {
    if (packet.cmd !== 'publish') return false
    const numbers = got.get(packet.topic) ?? []
    got.set(packet.topic, numbers)
    numbers.push(Number.parseInt(String(packet.payload), 10))
    return true
  }
  if (filters.length > 0) await client.subscribe(filters.map(filter => [filter, 0] as const))
  return { client, got }
}

/** Publishes 8 KB to each topic, round by round, until a hundred are merged or dropped. Returns the number of rounds. */
async function flood(
  t: Test,
  hub: RunningHub,
  topics: readonly string[],
  retain: boolean,
  done = 0,
  more = {},
): Promise<number> {
  const publisher = await connectMqtt(t, hub.mqttUrl, more)
  const late = async () => (await metric(hub, 'telehub_merged_total')) + (await metric(hub, 'telehub_dropped_total'))
  const before = await late()
  for (let round = done + 1; ; round++) {
    // Not more at a time than the outbox of one that reads can hold.
    await Promise.all(topics.map(topic => publisher.publishAsync(topic, `${round} ${filler}`, { qos: 1, retain })))
    if (round % 20 === 0 && ((await late()) - before >= 100 || round >= 2_000)) return round
  }
}

async function resume(slow: readonly SlowClient[]): Promise<void> {
  for (const { client } of slow) client.resume()
  await Promise.all(slow.map(({ client }) => client.ping()))
}

const isSorted = (numbers: readonly number[]) => numbers.every((n, i) => i === 0 || n > (numbers[i - 1] as number))

t.test(
  'who stalls has the newest of every retained topic afterwards, in order, and what is missing is counted',
  async t => {
    const hub = await startHub(t, settings)
    const slow = await Promise.all([
      open(t, hub.mqttUrl, 4, ['state/#']),
      open(t, hub.mqttUrl, 5, ['state/#']),
      open(t, hub.webSocketUrl, 4, ['state/#']),
      open(t, hub.webSocketUrl, 5, ['state/#']),
    ])
    const quick = await open(t, hub.mqttUrl, 4, ['state/door'])
    const publisher = await connectMqtt(t, hub.mqttUrl)
    await publisher.publishAsync('state/door', '0', { qos: 1, retain: true })
    for (const { client } of slow) client.pause()
    const topics = ['state/a', 'state/b', 'state/c', 'state/d']
    const before = await flood(t, hub, topics, true)
    await publisher.publishAsync('state/door', '1', { qos: 1, retain: true })
    const rounds = await flood(t, hub, topics, true, before)
    t.same(quick.got.get('state/door'), [0, 1])
    t.equal(await metric(hub, 'telehub_dropped_total'), 0)
    await resume(slow)
    await eventually(
      () => slow.every(({ got }) => topics.every(topic => got.get(topic)?.at(-1) === rounds)),
      'all are up to date',
    )
    let received = 0
    for (const { got } of slow) {
      t.same(got.get('state/door'), [0, 1], 'the door that opened meanwhile is open')
      for (const topic of topics) {
        const numbers = got.get(topic) ?? []
        received += numbers.length
        t.ok(isSorted(numbers), `${topic}: in order`)
      }
    }
    const merged = await metric(hub, 'telehub_merged_total')
    t.equal(received + merged, rounds * topics.length * slow.length, 'received + merged = sent')
  },
)

t.test('who asks by user property gets the newest of topics that are not retained; others lose as before', async t => {
  const hub = await startHub(t, settings)
  const asking = await open(t, hub.webSocketUrl, 5, [])
  asking.client.send({
    cmd: 'subscribe',
    messageId: 1,
    subscriptions: [{ topic: 'plain/#', qos: 1 }],
    properties: { userProperties: { conflate: 'true' } },
  })
  t.same((await asking.client.answer('suback')).granted, [0], 'QoS 0 is granted')
  const plain = await open(t, hub.webSocketUrl, 5, ['plain/#'])
  const topics = ['plain/a', 'plain/b', 'plain/c', 'plain/d']
  for (const { client } of [asking, plain]) client.pause()
  const rounds = await flood(t, hub, topics, false)
  await resume([asking, plain])
  await eventually(() => topics.every(topic => asking.got.get(topic)?.at(-1) === rounds), 'it is up to date')
  const count = ({ got }: SlowClient) => [...got.values()].reduce((sum, { length }) => sum + length, 0)
  const sent = rounds * topics.length
  t.equal(count(asking) + (await metric(hub, 'telehub_merged_total')), sent)
  t.equal(count(plain) + (await metric(hub, 'telehub_dropped_total')), sent)
})

t.test('conflate: true in the users file is for all that a user gets', async t => {
  const users = await usersFile()
  await users.add('screen', ['allow read #'])
  await users.add('device', ['allow publish #'])
  const text = readFileSync(users.file, 'utf8')
  writeFileSync(users.file, text.replace(/(\n {2}screen:\n)/, '$1    conflate: true\n'))
  const hub = await startHub(t, { ...settings, ...users.settings })
  const screen = await open(t, hub.mqttUrl, 4, ['plain/#'], 'screen')
  screen.client.pause()
  const rounds = await flood(t, hub, ['plain/a', 'plain/b'], false, 0, {
    username: 'device',
    password: passwordOf('device'),
  })
  await resume([screen])
  await eventually(() => ['plain/a', 'plain/b'].every(topic => screen.got.get(topic)?.at(-1) === rounds), 'up to date')
  t.equal(await metric(hub, 'telehub_dropped_total'), 0)
})

interface Notice {
  readonly state: 'live' | 'behind'
  readonly at: string
  readonly behind?: number
  readonly merged?: number
  readonly dropped?: number
  readonly waiting?: number
}

t.test('$hub/feed: a beat each second in the order of all else; who was behind is told before and after', async t => {
  const users = await usersFile()
  await users.add('screen', ['allow read state/#'])
  await users.add('device', ['allow publish #'])
  const hub = await startHub(t, { ...settings, ...users.settings })
  for (const version of [4, 5] as const) {
    const { client, got } = await open(t, hub.webSocketUrl, version, ['state/#'], 'screen')
    const order: (Notice | string)[] = []
    const take = client.handle
    client.handle = packet => {
      if (packet.cmd === 'publish' && packet.topic === '$hub/feed') {
        order.push({ ...JSON.parse(String(packet.payload)) })
        return true
      }
      if (packet.cmd === 'publish') order.push(packet.topic)
      return take(packet)
    }
    t.same(await client.subscribe({ '$hub/feed': 0 }), [0], 'no rule is needed')
    const notices = () => order.filter(one => typeof one !== 'string')
    await eventually(() => notices().length >= 3, 'beats')
    for (const notice of notices()) t.same(Object.keys(notice), ['state', 'at'])
    t.ok(notices().every(({ state, at }) => state === 'live' && Math.abs(Date.parse(at) - Date.now()) < 60_000))

    client.pause()
    const done = order.length
    const device = { username: 'device', password: passwordOf('device') }
    const rounds = await flood(t, hub, ['state/a', 'state/b'], true, 0, device)
    client.resume()
    await eventually(() => order.slice(done).some(one => typeof one !== 'string' && one.merged), 'it is told')
    await eventually(() => notices().at(-1)?.state === 'live' && got.get('state/b')?.at(-1) === rounds, 'live again')
    const after = order.slice(done)
    const isNotice = (state: string) => (one: Notice | string) =>
      typeof one !== 'string' && one.state === state && one.merged !== undefined
    const behind = after.findIndex(isNotice('behind'))
    const live = after.findIndex(isNotice('live'))
    t.ok(behind >= 0 && live > behind, 'behind, then live')
    t.match(after[behind], { waiting: 2, behind: Number })
    t.match(after[live], { behind: Number, waiting: undefined, dropped: undefined })
    t.same(after.slice(behind + 1, live).sort(), ['state/a', 'state/b'], 'between them the newest of each topic')
    await client.unsubscribe('$hub/feed')
    const last = notices().length
    await client.ping()
    t.equal(notices().length, last)
    await client.leave()
  }
})

t.test(
  '$hub/feed: no wildcard reaches it, nothing is retained, and a kept session has it when it comes back',
  async t => {
    const hub = await startHub(t, settings)
    const all = await open(t, hub.mqttUrl, 4, ['$hub/#', '$hub/+', '#'])
    const kept = new RawClient(t, hub.mqttUrl, 4)
    await kept.connect({ clientId: 'kept', clean: false })
    await kept.subscribe({ '$hub/feed': 1 })
    t.match(await kept.next(), { topic: '$hub/feed', qos: 0, retain: false })
    await kept.leave()
    const again = new RawClient(t, hub.mqttUrl, 4)
    await again.connect({ clientId: 'kept', clean: false })
    t.match(await again.next(), { topic: '$hub/feed' })
    t.match(await again.next(), { topic: '$hub/feed' })
    t.equal(all.got.has('$hub/feed'), false)
  },
)
