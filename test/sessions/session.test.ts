import t from 'tap'
import { isReleased } from '../../src/sessions/delivery.js'
import { Fifo } from '../../src/sessions/fifo.js'
import type { QueueLimits } from '../../src/sessions/session-host.js'
import type { Sessions } from '../../src/sessions/sessions.js'
import type { Dropped, SessionsOptions } from '../../src/sessions/sessions-options.js'
import { Random } from '../fixtures/packets.js'
import { absent, message, openSessions, present, queueLimits, topicsOf } from '../fixtures/sessions.js'
import { tempDir } from '../services/service.js'

/** Sessions that are closed when the test ends, and what they said of drops. */
async function open(
  t: { teardown(end: () => unknown): void },
  queue: Partial<QueueLimits> = {},
  more: Partial<SessionsOptions> = {},
): Promise<{ sessions: Sessions; dropped: [Dropped, string][] }> {
  const dropped: [Dropped, string][] = []
  const sessions = await openSessions(await tempDir(), {
    queue: { ...queueLimits, ...queue },
    dropped: (what, clientId) => dropped.push([what, clientId]),
    ...more,
  })
  t.teardown(() => sessions.stop())
  return { sessions, dropped }
}

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

t.test('no more than the window is in flight; a PUBACK lets the next one go, in order', async t => {
  const { sessions } = await open(t, { window: 3 })
  for (const clean of [false, true]) {
    const { session, wire } = present(sessions, `clean ${clean}`, { 't/+': 1 }, clean)
    for (const n of numbers(1, 6)) sessions.publish(message(`t/${n}`), n)
    t.same(wire.take(), ['t/1 q1 #1', 't/2 q1 #2', 't/3 q1 #3'])
    t.equal(session.acknowledge(2), undefined)
    t.same(wire.take(), ['t/4 q1 #4'])
    t.equal(session.acknowledge(2), undefined, 'again, late: nothing known')
    t.same(wire.take(), [])
    session.acknowledge(1)
    session.acknowledge(3)
    t.same(wire.take(), ['t/5 q1 #5', 't/6 q1 #6'])
    for (const id of [4, 5, 6]) session.acknowledge(id)
    t.same([session.inflight.size, session.unsent.length, wire.take()], [0, 0, []])
  }
})

t.test('a thousand messages, acknowledged in any order at any time, come once and in order', async t => {
  for (const seed of [1, 2, 3, 4, 5]) {
    const random = new Random(seed)
    const window = 1 + random.below(20)
    const { sessions } = await open(t, { window })
    const { session, wire } = present(sessions, 'c', { '#': 2 })
    let published = 0
    let most = 0
    while (published < 1_000 || session.inflight.size > 0) {
      most = Math.max(most, session.inflight.size)
      if (published < 1_000 && random.chance(50)) {
        sessions.publish(message(`t/${++published}`, { qos: random.chance(50) ? 1 : 2 }), published)
      } else if (session.inflight.size > 0) {
        const sent = new Set(wire.publishes.map(({ packetId }) => packetId))
        const waiting = [...session.inflight.values()].filter(({ packetId }) => sent.has(packetId))
        if (waiting.length === 0) {
          await sessions.flush()
          continue
        }
        const entry = random.pick(waiting)
        const { packetId, qos } = entry
        const released = isReleased(entry)
        const fault =
          qos === 1 ? session.acknowledge(packetId) : released ? session.complete(packetId) : session.received(packetId)
        if (fault) throw new Error(fault)
      }
    }
    t.equal(most, window, `seed ${seed}: the window of ${window} was used and kept to`)
    t.same(
      wire.publishes.map(({ topic }) => topic),
      numbers(1, 1_000).map(n => `t/${n}`),
    )
    t.notOk(wire.publishes.some(({ dup }) => dup))
  }
})

t.test(
  'who comes back gets what is unacknowledged first: the same ids, DUP, PUBREL for what had its PUBREC',
  async t => {
    const { sessions } = await open(t, { window: 4 })
    const { session, wire } = present(sessions, 'c', { '#': 2 })
    for (const n of numbers(1, 6)) sessions.publish(message(`t/${n}`, { qos: n % 2 === 0 ? 2 : 1 }), n)
    t.same(wire.take(), ['t/1 q1 #1'], 'QoS 2 not before a crash would not forget its id, and nothing before it')
    await sessions.flush()
    t.same(wire.take(), ['t/2 q2 #2', 't/3 q1 #3', 't/4 q2 #4'])
    session.received(2)
    t.same(wire.take(), [], 'not before a crash would not forget it')
    await sessions.flush()
    t.same(wire.take(), ['pubrel #2'])
    sessions.leave(session)
    sessions.publish(message('t/7'), 7)
    t.same(wire.take(), [], 'nothing is written to a connection that is gone')

    const again = present(sessions, 'c')
    t.equal(again.session, session)
    t.same(again.wire.take(), ['pubrel #2', 't/1 q1 #1 dup', 't/3 q1 #3 dup', 't/4 q2 #4 dup'])
    session.acknowledge(1)
    t.equal(session.complete(2), undefined)
    await sessions.flush()
    t.same(again.wire.take(), ['t/5 q1 #5', 't/6 q2 #6'], 'sent for the first time: no DUP')
    session.acknowledge(3)
    t.same(again.wire.take(), ['t/7 q1 #7'])
  },
)

t.test('QoS 2: PUBREC, PUBREL, PUBCOMP; the wrong acknowledgement is a fault, a late one is nothing', async t => {
  const { sessions } = await open(t)
  const { session, wire } = present(sessions, 'c', { '#': 2 })
  sessions.publish(message('one'), 1)
  sessions.publish(message('two', { qos: 2 }), 2)
  await sessions.flush()
  wire.take()
  t.match(session.acknowledge(2), /PUBACK/)
  t.match(session.received(1), /PUBREC/)
  t.match(session.complete(2), /PUBCOMP/)
  t.match(session.complete(1), /PUBCOMP/)
  t.same(wire.take(), [])
  t.same(
    [...session.inflight.values()].map(({ packetId }) => packetId),
    [1, 2],
    'nothing is lost by a fault',
  )

  t.equal(session.received(2), undefined)
  t.equal(session.received(2), undefined, 'PUBREC sent again')
  t.match(session.acknowledge(2), /PUBACK/)
  await sessions.flush()
  t.same(wire.take(), ['pubrel #2', 'pubrel #2'])
  t.equal(session.complete(2), undefined)
  t.equal(session.complete(2), undefined, 'PUBCOMP sent again')
  t.equal(session.acknowledge(2), undefined, 'PUBACK for nothing known')
  t.equal(session.received(77), undefined)
  t.same(wire.take(), ['pubrel #77'], 'a client that lost its state gets an end to its exchange [MQTT-4.3.3-1]')
  t.same(
    [...session.inflight.values()].map(({ packetId }) => packetId),
    [1],
  )
})

t.test('packet ids go around at 65,535 and leave out those in flight', async t => {
  const { sessions } = await open(t, { window: 4 })
  const { session, wire } = present(sessions, 'c', { '#': 1 })
  const ids = () => wire.publishes.splice(0).map(({ packetId }) => packetId)
  for (const n of [1, 2, 3]) sessions.publish(message('t'), n)
  session.acknowledge(2)
  for (let n = 4; n <= 65_535; n++) {
    sessions.publish(message('t'), n)
    session.acknowledge(n)
  }
  const first = ids()
  t.equal(first.length, 65_535)
  t.ok(first.every((id, i) => id === i + 1))
  t.same(
    [...session.inflight.values()].map(({ packetId }) => packetId),
    [1, 3],
  )
  for (const n of [1, 2]) sessions.publish(message('t'), 65_535 + n)
  t.same(ids(), [2, 4], '1 and 3 are in flight')
})

t.test('as large a window as there are ids', async t => {
  const { sessions } = await open(t, { window: 65_535 })
  const { session, wire } = present(sessions, 'c', { '#': 1 })
  for (let n = 1; n <= 65_540; n++) sessions.publish(message('t'), n)
  t.equal(session.inflight.size, 65_535)
  t.equal(session.unsent.length, 5)
  session.acknowledge(40_000)
  t.equal(wire.publishes.at(-1)?.packetId, 40_000)
})

t.test('a connection without room holds QoS 1 and 2 back until it has some; QoS 0 is offered', async t => {
  const { sessions } = await open(t)
  const { session, wire } = present(sessions, 'c', { '#': 2 })
  wire.room = 2
  for (const n of numbers(1, 5)) sessions.publish(message(`t/${n}`), n)
  sessions.publish(message('zero', { qos: 0 }), 6)
  t.same(wire.take(), ['t/1 q1 #1', 't/2 q1 #2', 'zero q0'])
  session.acknowledge(1)
  t.same(wire.take(), [], 'an acknowledgement makes no room')
  wire.room = 1
  sessions.publish(message('t/6'), 7)
  t.same(wire.take(), [], 'nothing overtakes what waits')
  session.pump()
  t.same(wire.take(), ['t/3 q1 #3'])
  wire.room = Number.POSITIVE_INFINITY
  session.pump()
  t.same(wire.take(), ['t/4 q1 #4', 't/5 q1 #5', 't/6 q1 #6'])
})

t.test('each gets the lower of the two QoS: exact, wildcard, and the highest of those that overlap', async t => {
  const { sessions } = await open(t)
  const cases: [subscriptions: Record<string, 0 | 1 | 2>, qosOf012: readonly number[]][] = [
    [{ 'a/b': 0 }, [0, 0, 0]],
    [{ 'a/b': 1 }, [0, 1, 1]],
    [{ 'a/b': 2 }, [0, 1, 2]],
    [{ 'a/+': 1 }, [0, 1, 1]],
    [{ '#': 2 }, [0, 1, 2]],
    [{ 'a/#': 0, 'a/b': 1 }, [0, 1, 1]],
    [{ 'a/#': 2, 'a/b': 0 }, [0, 1, 2]],
    [{ 'a/+': 0, '+/b': 1, '#': 0 }, [0, 1, 1]],
    [{ 'a/c': 2 }, []],
  ]
  for (const [i, [subscriptions, expected]] of cases.entries()) {
    const clients = [false, true].map(clean => present(sessions, `${i} ${clean}`, subscriptions, clean))
    for (const qos of [0, 1, 2] as const) sessions.publish(message('a/b', { qos }), 0)
    await sessions.flush()
    for (const { wire, session } of clients) {
      t.same(
        wire.publishes.map(({ qos }) => qos),
        expected,
        `${JSON.stringify(subscriptions)} once each`,
      )
      sessions.leave(session)
    }
  }
})

t.test('a subscription given again has the new QoS, and one that is taken back has none', async t => {
  const { sessions } = await open(t)
  const { session, wire } = present(sessions, 'c', { '#': 2, 'a/+': 0 })
  sessions.subscribe(session, { filter: '#', qos: 1 })
  sessions.publish(message('a/b', { qos: 2 }), 0)
  sessions.unsubscribe(session, '#')
  sessions.unsubscribe(session, 'never/there')
  sessions.publish(message('a/b', { qos: 2 }), 0)
  sessions.publish(message('b', { qos: 2 }), 0)
  t.same(wire.take(), ['a/b q1 #1', 'a/b q0'])
  t.equal(sessions.counts.subscriptions, 1)
})

t.test('nobody there: QoS 1 and 2 are queued, QoS 0 is not, neither as published nor as subscribed', async t => {
  const { sessions } = await open(t)
  const session = absent(sessions, 'c', { '#': 1, 'zero/#': 0, 'both/#': 0 })
  const zero = absent(sessions, 'z', { '#': 0 })
  sessions.publish(message('a', { qos: 0 }), 1)
  sessions.publish(message('b'), 2)
  sessions.publish(message('both/c', { qos: 2 }), 3)
  t.same(
    [...session.unsent].map(({ topic, qos }) => [topic, qos]),
    [
      ['b', 1],
      ['both/c', 1],
    ],
  )
  t.equal(zero.unsent.length, 0)

  const { session: passing } = present(sessions, 'p', { '#': 2 }, true)
  sessions.leave(passing)
  sessions.publish(message('d'), 4)
  t.equal(passing.unsent.length + passing.inflight.size, 0, 'a clean session ends with its connection')
  t.equal(sessions.counts.subscriptions, 4)
})

// — retained —

t.test('a new subscription gets the retained messages it matches, at the lower QoS, as retained', async t => {
  const { sessions } = await open(t)
  for (const qos of [0, 1, 2] as const) sessions.publish(message(`r/${qos}`, { qos, retain: true }), 0)
  sessions.publish(message('other', { retain: true }), 0)
  const { session, wire } = present(sessions, 'c')
  sessions.offerRetained(session, 'r/+', 1)
  t.same(wire.take().sort(), ['r/0 q0 retain', 'r/1 q1 #1 retain', 'r/2 q1 #2 retain'])
  sessions.offerRetained(session, 'r/2', 2)
  sessions.offerRetained(session, 'r/1', 0)
  sessions.offerRetained(session, 'r/none', 1)
  await sessions.flush()
  t.same(wire.take(), ['r/1 q0 retain', 'r/2 q2 #3 retain'])
  sessions.leave(session)
  t.same(present(sessions, 'c').wire.take().sort(), [
    'r/1 q1 #1 dup retain',
    'r/2 q1 #2 dup retain',
    'r/2 q2 #3 dup retain',
  ])
})

t.test('a hundred thousand retained messages go out as there is room, none held ready, none lost', async t => {
  const { sessions } = await open(t, { window: 50 })
  const count = 100_000
  for (let n = 0; n < count; n++) {
    const payload = Buffer.from('old')
    sessions.publish(message(`site/${n % 100}/${n}`, { qos: n % 4 === 0 ? 1 : 0, retain: true, payload }), 0)
  }
  const { session, wire } = present(sessions, 'c', { '#': 1 }, true)
  const random = new Random(7)
  wire.room = 10
  sessions.offerRetained(session, '#', 1)
  t.equal(wire.publishes.length, 10)
  for (let n = 0; n < count; n += 2) {
    sessions.publish(message(`site/${n % 100}/${n}`, { qos: 0, retain: true, payload: Buffer.from('new') }), 0)
  }
  const live = wire.publishes.splice(10)
  t.equal(live.length, count / 2, 'meanwhile it is a subscriber like others')
  const isLeft = ({ topic }: { topic: string }) => Number(topic.split('/')[2]) % 2 === 1
  const left = count / 2 + wire.publishes.filter(one => !isLeft(one)).length
  for (let turns = 0; wire.publishes.length < left && turns < 100_000; turns++) {
    if (random.chance(50)) {
      wire.room = random.below(200)
      session.pump()
    }
    for (const { packetId } of [...session.inflight.values()]) if (random.chance(80)) session.acknowledge(packetId)
    if (session.inflight.size > 50 || session.unsent.length > 0) throw new Error('more than the window is held')
  }
  for (const { packetId } of [...session.inflight.values()]) session.acknowledge(packetId)
  t.equal(wire.publishes.length, left)
  t.equal(new Set([...wire.publishes, ...live].map(({ topic }) => topic)).size, count)
  t.ok(wire.publishes.every(({ retain }) => retain))
  t.ok(wire.publishes.slice(10).every(isLeft), 'nothing that was delivered live comes again, nor anything older')
})

t.test('a message that is retained between a SUBSCRIBE and its SUBACK comes once', async t => {
  const { sessions } = await open(t)
  sessions.publish(message('r/before', { retain: true }), 0)
  sessions.publish(message('r/changes', { retain: true, payload: Buffer.from('old') }), 0)
  const { session, wire } = present(sessions, 'c', { 'r/+': 1 })
  const until = sessions.retainedOf('r/+').changes
  sessions.publish(message('r/changes', { retain: true, payload: Buffer.from('new') }), 0)
  sessions.publish(message('r/new', { retain: true, qos: 0 }), 0)
  t.same(wire.take(), ['r/changes q1 #1', 'r/new q0'])
  sessions.offerRetained(session, 'r/+', 1, until)
  t.same(wire.take(), ['r/before q1 #2 retain'])
})

t.test('a retained message whose live delivery found no room waits, and the newest one is sent', async t => {
  const { sessions } = await open(t)
  const { session, wire } = present(sessions, 'c', { 'r/+': 0 })
  const until = sessions.retainedOf('r/+').changes
  const publish = (text: string) =>
    sessions.publish(message('r/a', { retain: true, qos: 0, payload: Buffer.from(text) }), 0)
  wire.isFull = true
  publish('old')
  publish('new')
  wire.isFull = false
  t.same(wire.take(), [])
  sessions.offerRetained(session, 'r/+', 0, until)
  t.same(wire.take(), ['r/a q0'], 'once, as live')
  t.equal(wire.publishes.at(-1)?.payload, 'new')
})

t.test('a retained message that was dropped, as too much waited, is sent as retained', async t => {
  const counts = { merged: 0, dropped: 0 }
  const { sessions } = await open(t, {}, { conflated: 1_024, counts })
  const { session, wire } = present(sessions, 'c', { 'r/+': 0 })
  const until = sessions.retainedOf('r/+').changes
  wire.isFull = true
  // Messages that expire count for the limit.
  for (const n of numbers(1, 5)) {
    sessions.publish(message(`r/${n}`, { retain: true, qos: 0, expiresAt: 1e15 }), 0)
  }
  wire.isFull = false
  t.same(counts, { merged: 0, dropped: 2 })
  session.pump()
  t.same(wire.take(), ['r/3 q0', 'r/4 q0', 'r/5 q0'])
  sessions.offerRetained(session, 'r/+', 0, until)
  t.same(wire.take().slice(0, 2), ['r/1 q0 retain', 'r/2 q0 retain'])
})

t.test('PUBRELs are sent again at once, and their messages count for the receive maximum until PUBCOMP', async t => {
  const { sessions } = await open(t)
  const { session, wire } = present(sessions, 'c', { '#': 2 })
  for (const n of numbers(1, 6)) sessions.publish(message(`t/${n}`, { qos: 2 }), n)
  await sessions.flush()
  for (const id of [2, 3]) session.received(id)
  await sessions.flush()
  wire.take()
  sessions.leave(session)

  const again = present(sessions, 'c', {}, false, 2)
  t.same(again.wire.take(), ['pubrel #2', 'pubrel #3'], 'two are not complete: no PUBLISH')
  session.complete(3)
  t.same(again.wire.take(), ['t/1 q2 #1 dup'])
  session.complete(2)
  t.same(again.wire.take(), ['t/4 q2 #4 dup'])
  session.received(1)
  await sessions.flush()
  t.same(again.wire.take(), ['pubrel #1'])
  session.complete(1)
  t.same(again.wire.take(), ['t/5 q2 #5 dup'])
})

t.test('a retained message that was replaced while it waited does not come after the one that replaced it', async t => {
  for (const filter of ['config', 'conf/+', '#']) {
    const { sessions } = await open(t)
    const topic = filter === 'conf/+' ? 'conf/x' : 'config'
    sessions.publish(message(topic, { retain: true, payload: Buffer.from('old') }), 0)
    const { session, wire } = present(sessions, 'c', { [filter]: 1 })
    wire.room = 0
    sessions.offerRetained(session, filter, 1)
    sessions.publish(message(topic, { retain: true, payload: Buffer.from('new') }), 0)
    wire.room = 10
    session.pump()
    t.equal(wire.publishes.at(-1)?.payload, 'new', filter)
    t.notOk(
      wire.publishes.some(({ payload }) => payload === 'old'),
      filter,
    )
  }
})

t.test('retained messages of ten thousand filters wait their turn', async t => {
  const { sessions } = await open(t)
  const count = 10_000
  for (let n = 0; n < count; n++) sessions.publish(message(`t/${n}`, { qos: 0, retain: true }), 0)
  const { session, wire } = present(sessions, 'c', {}, true)
  wire.room = 0
  for (let n = 0; n < count; n++) sessions.offerRetained(session, `t/${n}`, 0)
  t.equal(wire.publishes.length, 0)
  wire.room = Number.POSITIVE_INFINITY
  session.pump()
  t.equal(new Set(wire.publishes.map(({ topic }) => topic)).size, count)
})

t.test('a subscription that is over has no retained messages to come; one given again has them once', async t => {
  const { sessions } = await open(t)
  for (const n of numbers(1, 4)) sessions.publish(message(`t/${n}`, { qos: 0, retain: true }), 0)
  const { session, wire } = present(sessions, 'c')
  wire.room = 1
  for (const filter of ['t/+', 't/1', 't/1', 't/2', '#']) {
    sessions.subscribe(session, { filter, qos: 0 })
    sessions.offerRetained(session, filter, 0)
  }
  t.same(wire.take(), ['t/1 q0 retain'])
  for (const filter of ['t/+', '#', 't/2']) sessions.unsubscribe(session, filter)
  wire.room = 10
  session.pump()
  t.same(wire.take(), ['t/1 q0 retain'])
})

t.test('retained messages not sent when the connection ends are sent when a kept session goes on', async t => {
  const { sessions } = await open(t)
  for (const n of numbers(1, 4)) sessions.publish(message(`t/${n}`, { qos: n === 3 ? 1 : 0, retain: true }), 0)
  for (const clean of [false, true]) {
    const { session, wire } = present(sessions, 'c', { 't/+': 1 }, clean)
    wire.room = 2
    sessions.offerRetained(session, 't/+', 1)
    t.same(wire.take(), ['t/1 q0 retain', 't/2 q0 retain'])
    sessions.leave(session)
    const again = present(sessions, 'c', {}, clean)
    t.same(again.wire.take(), clean ? [] : ['t/3 q1 #1 retain', 't/4 q0 retain'])
    sessions.leave(again.session)
  }
})

// — caps —

t.test('a full queue loses its oldest, counted, and never what is in flight', async t => {
  const { sessions, dropped } = await open(t, { messages: 3, window: 2 })
  const away = absent(sessions, 'away', { 't/+': 1, 't/#': 2 })
  const { session } = present(sessions, 'slow', { 't/+': 1 })
  for (const n of numbers(1, 7)) sessions.publish(message(`t/${n}`, { qos: 2 }), n)
  t.same(
    [...away.unsent].map(({ topic, qos }) => [topic, qos]),
    [
      ['t/5', 2],
      ['t/6', 2],
      ['t/7', 2],
    ],
    'overlapping subscriptions queue once, at the highest QoS',
  )
  t.same(topicsOf(session.inflight.values()), ['t/1', 't/2'])
  t.same(topicsOf(session.unsent), ['t/5', 't/6', 't/7'])
  t.same(dropped.filter(([what, clientId]) => what === 'queue' && clientId === 'away').length, 4)
  t.same(dropped.filter(([what, clientId]) => what === 'queue' && clientId === 'slow').length, 2)
})

t.test('a queue has so many bytes at most; what alone is larger is kept', async t => {
  const { sessions, dropped } = await open(t, { bytes: 10_000 })
  const session = absent(sessions, 'c', { '#': 1 })
  const publish = (topic: string, bytes: number) =>
    sessions.publish(message(topic, { payload: Buffer.alloc(bytes) }), 0)
  for (const n of numbers(1, 20)) publish(`t/${n}`, 900)
  const kept = topicsOf(session.unsent)
  t.ok(kept.length >= 8 && kept.length <= 11, `${kept.length} of about 1,000 bytes`)
  t.same(
    kept,
    numbers(21 - kept.length, 20).map(n => `t/${n}`),
    'the newest',
  )
  t.equal(dropped.length, 20 - kept.length)
  publish('large', 50_000)
  t.same(topicsOf(session.unsent), ['large'])
  publish('small', 10)
  t.same(topicsOf(session.unsent), ['small'])

  // What is sent, or dropped, does not count any more.
  const { wire } = present(sessions, 'c')
  t.same(wire.take(), ['small q1 #1'])
  sessions.leave(session)
  dropped.length = 0
  for (const n of numbers(1, 8)) publish(`t/${n}`, 900)
  t.same([session.unsent.length, dropped.length], [8, 0])
})

t.test('what is queued for too long goes: as time passes, as more comes, and before it would be sent', async t => {
  let now = 5_000
  const { sessions, dropped } = await open(t, { ageMs: 1_000 }, { clock: { now: () => now } })
  const session = absent(sessions, 'c', { '#': 1 })
  const publish = (at: number, topic: string) => {
    now = at
    sessions.publish(message(topic), 0)
  }
  publish(5_000, 'a')
  publish(5_500, 'b')
  now = 6_000
  sessions.expire()
  t.same(topicsOf(session.unsent), ['a', 'b'], 'as old as may be')
  now = 6_001
  sessions.expire()
  t.same(topicsOf(session.unsent), ['b'])
  publish(6_501, 'c')
  t.same(topicsOf(session.unsent), ['c'])
  publish(7_000, 'd')
  now = 7_502
  const { wire } = present(sessions, 'c')
  t.same(wire.take(), ['d q1 #1'])
  t.same(dropped, [
    ['queue', 'c'],
    ['queue', 'c'],
    ['queue', 'c'],
  ])
  now = 100_000
  sessions.leave(session)
  sessions.expire()
  t.same(present(sessions, 'c').wire.take(), ['d q1 #1 dup'], 'what was sent is not given up')
})

t.test('without a limit of age nothing is too old', async t => {
  let now = 5_000
  const { sessions, dropped } = await open(t, {}, { clock: { now: () => now } })
  const session = absent(sessions, 'c', { '#': 1 })
  sessions.publish(message('a'), 0)
  now = 1e15
  sessions.publish(message('b'), 0)
  sessions.expire()
  t.same(topicsOf(session.unsent), ['a', 'b'])
  t.same(present(sessions, 'c').wire.take(), ['a q1 #1', 'b q1 #2'])
  t.same(dropped, [])
})

// — the queue itself —

t.test('first in, first out, like an array', async t => {
  const random = new Random(11)
  const fifo = new Fifo<number>()
  const array: number[] = []
  let n = 0
  for (let step = 0; step < 20_000; step++) {
    // Long runs of either kind, so that it grows past where it tidies up, and shrinks again.
    const filling = Math.floor(step / 4_000) % 2 === 0
    const what = random.below(100)
    if (what < (filling ? 70 : 25)) {
      fifo.push(++n)
      array.push(n)
    } else if (what < 97) {
      if (fifo.shift() !== array.shift()) throw new Error(`step ${step}`)
    } else {
      const item = array.length > 0 ? random.pick(array) : -1
      if (fifo.remove(item) !== array.includes(item)) throw new Error(`step ${step}`)
      if (item > 0) array.splice(array.indexOf(item), 1)
    }
    if (fifo.length !== array.length || fifo.first !== array[0]) throw new Error(`step ${step}`)
    if (step % 500 === 0) t.same([...fifo], array)
  }
  while (array.length > 0) if (fifo.shift() !== array.shift()) throw new Error('the rest')
  t.equal(fifo.length, 0)
  t.equal(fifo.shift(), undefined)
})

t.test('a delivery keeps one copy of its payload for all who keep it', async t => {
  const { sessions } = await open(t)
  const first = absent(sessions, 'a', { '#': 1 })
  const second = absent(sessions, 'b', { 't/+': 2 })
  const chunk = Buffer.from('a chunk from the network')
  sessions.publish(message('t/1', { payload: chunk.subarray(2, 7), qos: 2 }), 0)
  chunk.fill(0)
  const payload = [...first.unsent][0]?.payload
  t.equal(payload?.toString(), 'chunk')
  t.equal([...second.unsent][0]?.payload, payload)
})
