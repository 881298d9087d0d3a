import t from 'tap'
import { type Statistics, SysTopics } from '../../src/broker/statistics.js'

const nothing: Statistics = {
  version: 'telehub 1.2.3',
  uptimeSeconds: 0,
  clients: { connected: 0, disconnected: 0, maximum: 0, expired: 0 },
  subscriptions: 0,
  retained: 0,
  packets: { received: 0, sent: 0 },
  publishes: { received: 0, sent: 0, dropped: 0, bytesReceived: 0 },
  bytes: { received: 0, sent: 0 },
  heapBytes: 0,
}

const some: Statistics = {
  version: 'telehub 1.2.3',
  uptimeSeconds: 61.9,
  clients: { connected: 3, disconnected: 4, maximum: 5, expired: 6 },
  subscriptions: 7,
  retained: 8,
  packets: { received: 11, sent: 12 },
  publishes: { received: 13, sent: 14, dropped: 15, bytesReceived: 16 },
  bytes: { received: 17, sent: 18 },
  heapBytes: 19,
}

const counted = (n: number): Statistics => ({
  ...nothing,
  packets: { received: n, sent: 2 * n },
  publishes: { received: 3 * n, sent: 4 * n, dropped: 5 * n, bytesReceived: 0 },
  bytes: { received: 6 * n, sent: 7 * n },
})

const loads = [
  'messages/received',
  'messages/sent',
  'publish/received',
  'publish/sent',
  'publish/dropped',
  'bytes/received',
  'bytes/sent',
]

const load = (topics: ReadonlyMap<string, string>, name: string) => Number(topics.get(`$SYS/broker/load/${name}`))

t.test("the topics have the names that Mosquitto's users know, and their values as text", async t => {
  t.same(Object.fromEntries(new SysTopics().at(1_000, some)), {
    '$SYS/broker/version': 'telehub 1.2.3',
    '$SYS/broker/uptime': '61 seconds',
    '$SYS/broker/clients/total': '7',
    '$SYS/broker/clients/connected': '3',
    '$SYS/broker/clients/active': '3',
    '$SYS/broker/clients/disconnected': '4',
    '$SYS/broker/clients/inactive': '4',
    '$SYS/broker/clients/maximum': '5',
    '$SYS/broker/clients/expired': '6',
    '$SYS/broker/messages/received': '11',
    '$SYS/broker/messages/sent': '12',
    '$SYS/broker/publish/messages/received': '13',
    '$SYS/broker/publish/messages/sent': '14',
    '$SYS/broker/publish/messages/dropped': '15',
    '$SYS/broker/publish/bytes/received': '16',
    '$SYS/broker/bytes/received': '17',
    '$SYS/broker/bytes/sent': '18',
    '$SYS/broker/subscriptions/count': '7',
    '$SYS/broker/retained messages/count': '8',
    '$SYS/broker/heap/current': '19',
  })
})

t.test('the averages are there from the second time on, for 1, 5 and 15 minutes each', async t => {
  const sys = new SysTopics()
  const first = [...sys.at(0, nothing).keys()]
  t.notOk(first.some(topic => topic.includes('/load/')))
  const second = [...sys.at(10_000, nothing).keys()]
  t.same(
    second.filter(topic => !first.includes(topic)).sort(),
    loads.flatMap(name => ['1min', '5min', '15min'].map(span => `$SYS/broker/load/${name}/${span}`)).sort(),
  )
})

t.test(
  'an even load: each average comes to it per minute, the short one first; without load they come back',
  async t => {
    const sys = new SysTopics()
    sys.at(0, counted(0))
    // Ten a second, told every ten seconds.
    let topics = sys.at(10_000, counted(100))
    t.ok(load(topics, 'messages/received/1min') > load(topics, 'messages/received/5min'))
    t.ok(load(topics, 'messages/received/5min') > load(topics, 'messages/received/15min'))
    t.ok(load(topics, 'messages/received/15min') > 0)
    let i = 1
    for (; i < 1_000; i++) topics = sys.at((i + 1) * 10_000, counted((i + 1) * 100))
    for (const span of ['1min', '5min', '15min']) {
      for (const [n, name] of loads.entries()) {
        const perMinute = (n + 1) * 600
        t.ok(Math.abs(load(topics, `${name}/${span}`) - perMinute) <= perMinute / 1_000, `${name}/${span}`)
      }
    }
    const before = load(topics, 'messages/received/1min')
    topics = sys.at((i + 6) * 10_000, counted(i * 100))
    const after = load(topics, 'messages/received/1min')
    t.ok(Math.abs(after - before / Math.E) < 1, `a minute later ${after} of ${before}`)
    topics = sys.at((i + 1_000) * 10_000, counted(i * 100))
    t.same(
      ['1min', '5min', '15min'].map(span => load(topics, `bytes/sent/${span}`) < 1),
      [true, true, true],
    )
  },
)

t.test('how often it is asked makes no difference to an even load', async t => {
  const results = [1_000, 7_000, 60_000].map(step => {
    const sys = new SysTopics()
    let topics: ReadonlyMap<string, string> = new Map()
    for (let at = 0; at <= 420_000; at += step) topics = sys.at(at, counted(at / 10))
    return load(topics, 'publish/sent/5min')
  })
  for (const result of results) t.ok(Math.abs(result - (results[0] as number)) < 1, results.join(' '))
  t.ok((results[0] as number) > 0)
})

t.test('a clock that stands still or goes back gives no averages, and no nonsense later', async t => {
  const sys = new SysTopics()
  sys.at(10_000, counted(0))
  t.notOk([...sys.at(10_000, counted(10)).keys()].some(topic => topic.includes('/load/')))
  t.notOk([...sys.at(5_000, counted(20)).keys()].some(topic => topic.includes('/load/')))
  const topics = sys.at(65_000, counted(620))
  t.ok(load(topics, 'messages/received/1min') > 0)
  t.ok(load(topics, 'messages/received/1min') <= 600)
})
