import { join } from 'node:path'
import t from 'tap'
import type { Sessions } from '../../src/sessions/sessions.js'
import type { Dropped, SessionsOptions } from '../../src/sessions/sessions-options.js'
import {
  absent,
  crash,
  kept,
  message,
  openSessions,
  passing,
  present,
  queueLimits,
  stateOf,
  topicsOf,
} from '../fixtures/sessions.js'
import { tempDir } from '../services/service.js'

interface Fixture {
  readonly sessions: Sessions
  readonly dropped: [Dropped, string][]
  /** Milliseconds since the epoch. */
  readonly clock: { now: number }
  /** As after a crash; at another time, with other limits. */
  reopen(more?: Partial<SessionsOptions>): Promise<Sessions>
}

async function open(t: { teardown(end: () => unknown): void }, more: Partial<SessionsOptions> = {}): Promise<Fixture> {
  const root = await tempDir()
  const clock = { now: 1_000 }
  const dropped: [Dropped, string][] = []
  const options: Partial<SessionsOptions> = {
    clock: { now: () => clock.now },
    dropped: (what, clientId) => dropped.push([what, clientId]),
    ...more,
  }
  let n = 1
  const sessions = await openSessions(join(root, '1'), options)
  let last = sessions
  t.teardown(() => last.stop())
  const reopen = async (other: Partial<SessionsOptions> = {}) => {
    last = await crash(last, join(root, String(n)), join(root, String(++n)), { ...options, ...other })
    return last
  }
  return { sessions, dropped, clock, reopen }
}

const idsOf = (sessions: Sessions) => [...sessions.all()].map(({ clientId }) => clientId).sort()

// — how long sessions last —

t.test('a session is kept without a subscription, too, and over a restart', async t => {
  const { sessions, reopen } = await open(t)
  t.equal(sessions.open('c', kept).present, false)
  t.equal(sessions.open('c', kept).present, true)
  const second = await reopen()
  t.same(second.counts, { sessions: 1, absent: 1, subscriptions: 0, retained: 0, retainedBytes: 0 })
  const { session, present } = second.open('c', kept)
  t.equal(present, true)
  t.equal(second.counts.absent, 0)
  second.leave(session)
  t.equal(second.counts.absent, 1)
})

t.test('a clean connect ends the session that was: nothing of it comes back, not with a restart either', async t => {
  const { sessions, reopen } = await open(t)
  const before = absent(sessions, 'c', { '#': 1 })
  sessions.publish(message('a'), 1)
  sessions.received(before, 5)
  const clean = present(sessions, 'c', { '#': 1 }, true)
  t.equal(sessions.find('c'), undefined)
  sessions.publish(message('b'), 2)
  t.same(clean.wire.take(), ['b q1 #1'])
  t.same(sessions.counts, { sessions: 0, absent: 0, subscriptions: 1, retained: 0, retainedBytes: 0 })
  sessions.leave(clean.session)
  t.equal(sessions.counts.subscriptions, 0)
  const again = sessions.open('c', kept)
  t.equal(again.present, false)
  t.same([again.session.incoming.size, again.session.unsent.length, again.session.subscriptions.size], [0, 0, 0])
  sessions.forget('c')
  t.same(stateOf(await reopen()).sessions, [])
})

t.test('what still comes of a session that is over brings nothing of it back', async t => {
  const { sessions, reopen } = await open(t)
  const { session } = present(sessions, 'c', { '#': 2 })
  for (const qos of [1, 2] as const) sessions.publish(message('a', { qos }), qos)
  const commits: (() => void)[] = []
  sessions.receive(
    session,
    7,
    done => commits.push(done),
    () => {},
  )
  sessions.leave(session)
  const { session: clean } = sessions.open('c', passing)
  for (const commit of commits) commit()
  session.acknowledge(1)
  session.received(2)
  sessions.subscribe(session, { filter: 'late', qos: 1 })
  sessions.unsubscribe(session, '#')
  sessions.leave(session)
  sessions.leave(clean)
  t.same(sessions.counts, { sessions: 0, absent: 0, subscriptions: 0, retained: 0, retainedBytes: 0 })
  const { load } = session
  sessions.publish(message('late'), 2)
  t.equal(session.load, load, 'the subscription of a session that is over is none')
  t.same(stateOf(await reopen()).sessions, [])
})

t.test('a packet id of the session before is not taken for one of the session after it', async t => {
  const { sessions, reopen } = await open(t)
  const { session } = present(sessions, 'c')
  let commit = () => {}
  sessions.receive(
    session,
    7,
    done => {
      commit = done
    },
    () => {},
  )
  sessions.leave(session)
  sessions.leave(sessions.open('c', passing).session)
  const { session: after } = sessions.open('c', kept)
  commit()
  t.equal(after.incoming.size, 0)
  t.equal((await reopen()).find('c')?.incoming.size, 0)
})

t.test('of too many sessions the one absent longest goes; those that are there stay', async t => {
  const { sessions, dropped, clock, reopen } = await open(t, { sessions: 3 })
  for (const id of ['a', 'b', 'c']) {
    clock.now += 100
    absent(sessions, id, { '#': 1 })
  }
  const { session: a } = present(sessions, 'a')
  clock.now += 100
  sessions.leave(a)
  absent(sessions, 'd')
  t.same(idsOf(sessions), ['a', 'c', 'd'])
  t.same(dropped, [['sessions', 'b']])

  const second = await reopen()
  const all = ['c', 'd', 'a'].map(id => present(second, id))
  clock.now += 100
  present(second, 'e')
  t.same(idsOf(second), ['a', 'c', 'd', 'e'], 'nobody of those that are there is sent away')
  for (const { session } of all) {
    clock.now += 100
    second.leave(session)
  }
  present(second, 'f')
  t.same(idsOf(second), ['a', 'e', 'f'], 'as many as may be again')
  t.same(dropped.slice(1), [
    ['sessions', 'c'],
    ['sessions', 'd'],
  ])
  t.equal(second.counts.subscriptions, 1)
})

t.test('fewer sessions allowed than there are: those absent longest go', async t => {
  const { sessions, dropped, clock, reopen } = await open(t)
  for (const id of ['a', 'b', 'c', 'd', 'e', 'f']) {
    clock.now += 100
    absent(sessions, id)
  }
  const second = await reopen({ sessions: 2 })
  absent(second, 'g')
  t.same(idsOf(second), ['f', 'g'])
  t.equal(dropped.length, 5)
  const third = await reopen()
  t.same(idsOf(third), ['f', 'g'])
})

t.test('a session lasts so long without its client, whatever starts and crashes there are meanwhile', async t => {
  const day = 864e5
  const { sessions, dropped, clock, reopen } = await open(t, { sessionAgeMs: 30 * day })
  absent(sessions, 'away', { '#': 1 })
  present(sessions, 'here')
  clock.now += 10 * day
  absent(sessions, 'later')
  const second = await reopen()
  t.equal(second.find('away')?.absentSince, 1_000)
  clock.now += 10 * day
  const third = await reopen()
  clock.now += 10 * day - 1
  third.expire()
  t.same(idsOf(third), ['away', 'here', 'later'])
  clock.now += 1
  third.expire()
  t.same(idsOf(third), ['here', 'later'])
  t.same(dropped, [['session_age', 'away']])
  const fourth = await reopen()
  clock.now += 10 * day
  fourth.expire()
  t.same(idsOf(fourth), [], 'who was there when the hub went down is absent since the start after it, and no later')
  t.equal(fourth.counts.absent, 0)
})

t.test('who is there does not age, and its absence begins anew', async t => {
  const { sessions, clock } = await open(t, { sessionAgeMs: 1_000 })
  const { session } = present(sessions, 'c')
  clock.now += 5_000
  sessions.expire()
  sessions.leave(session)
  clock.now += 900
  sessions.leave(present(sessions, 'c').session)
  clock.now += 900
  sessions.expire()
  t.same(idsOf(sessions), ['c'])
  clock.now += 100
  sessions.expire()
  t.same(idsOf(sessions), [])
})

t.test('what is too old is looked for in pieces, each behind the last one', async t => {
  const { sessions, clock } = await open(t, { sessionAgeMs: 1_000 })
  for (const id of ['a', 'b', 'c', 'd', 'e']) sessions.leave(present(sessions, id).session)
  clock.now += 500
  sessions.expire(2, 1)
  t.equal(idsOf(sessions).length, 5, 'none is too old')
  clock.now += 500
  sessions.expire(2, 1)
  t.same(idsOf(sessions), ['a', 'b', 'e'], 'the next two')
  sessions.expire(2, 1)
  t.same(idsOf(sessions), ['a', 'b'], 'the last one')
  sessions.expire(2, 1)
  t.same(idsOf(sessions), [], 'and from the front')
})

// — retained —

t.test('more retained messages than may be: delivered and not retained, counted; known topics may change', async t => {
  const { sessions, dropped, reopen } = await open(t, { retained: { messages: 2, bytes: 1e6 } })
  const { wire } = present(sessions, 'c', { '+': 1 })
  const publish = (topic: string, payload?: string) =>
    sessions.publish(
      message(topic, { retain: true, ...(payload !== undefined && { payload: Buffer.from(payload) }) }),
      0,
    )
  const topics = (from: Sessions) => [...from.retainedBy('#')].map(({ topic, payload }) => `${topic}=${payload}`).sort()
  publish('a', '1')
  publish('b', '1')
  publish('c', '1')
  t.same(wire.take(), ['a q1 #1', 'b q1 #2', 'c q1 #3'])
  t.same(dropped, [['retained', 'publisher']])
  t.same(topics(sessions), ['a=1', 'b=1'])
  publish('a', '2')
  t.same(topics(sessions), ['a=2', 'b=1'])
  publish('$hub/presence/c', '1')
  t.equal(sessions.counts.retained, 3, "the hub's own are not held to it")
  publish('a', '')
  publish('never/there', '')
  publish('c', '3')
  t.equal(sessions.counts.retained, 3, 'and take no room of others')
  t.same(topics(sessions), ['b=1', 'c=3'])
  t.equal(dropped.length, 1)
  const second = await reopen()
  t.same(topics(second), ['b=1', 'c=3'])
  t.equal(second.counts.retained, 3)
})

t.test('more bytes retained than may be: no new topics until some are deleted', async t => {
  const { sessions, dropped } = await open(t, { retained: { messages: 100, bytes: 10_000 } })
  const publish = (topic: string, bytes: number) =>
    sessions.publish(message(topic, { retain: true, payload: Buffer.alloc(bytes) }), 0)
  let n = 0
  while (dropped.length === 0 && n < 100) publish(`t/${n++}`, 1_000)
  t.ok(n > 5 && n <= 11, `${n - 1} of 1,000 bytes`)
  t.equal(sessions.counts.retained, n - 1)
  publish('small', 1)
  t.equal(dropped.length, 2)
  publish('t/0', 0)
  publish('small', 1)
  t.equal(dropped.length, 2)
  for (let i = 1; i < n; i++) publish(`t/${i}`, 0)
  publish('small', 0)
  t.same([sessions.counts.retained, sessions.counts.retainedBytes], [0, 0])
})

t.test('what is published without a payload clears what was retained, and is delivered', async t => {
  const { sessions, reopen } = await open(t)
  sessions.publish(message('t', { retain: true }), 0)
  const { session, wire } = present(sessions, 'c', { t: 1 })
  sessions.publish(message('t', { retain: true, payload: Buffer.alloc(0) }), 0)
  sessions.offerRetained(session, 't', 1)
  t.same(wire.take(), ['t q1 #1'])
  t.equal((await reopen()).counts.retained, 0)
})

// — limits that changed between two runs —

t.test('drops are played again as they were, whatever the limits are by then', async t => {
  const { sessions, dropped, reopen } = await open(t, { queue: { ...queueLimits, messages: 5, window: 2 } })
  absent(sessions, 'away', { '#': 1 })
  const { session } = present(sessions, 'here', { '#': 1 })
  for (let n = 1; n <= 20; n++) {
    sessions.publish(message(`t/${n}`), n)
    if (n % 4 === 0) for (const id of [...session.inflight.values()].slice(0, 1)) session.acknowledge(id.packetId)
  }
  sessions.leave(session)
  const before = stateOf(sessions)
  const counted = dropped.length
  const waiting = [...sessions.all()].reduce((sum, { unsent }) => sum + unsent.length, 0)
  const second = await reopen({ queue: { ...queueLimits, messages: 1_000, window: 50 } })
  t.same(stateOf(second), before)
  t.equal(dropped.length, counted)
  const third = await reopen({ queue: { ...queueLimits, messages: 1, window: 1 } })
  t.same(stateOf(third), before, 'nothing is dropped for being read')
  third.publish(message('t/21'), 21)
  t.same(topicsOf(third.find('away')?.unsent ?? []), ['t/21'])
  t.equal(dropped.length, counted + waiting)
  const fourth = await reopen()
  t.same(stateOf(fourth), stateOf(third))
  const { wire, session: here } = present(fourth, 'here')
  t.equal(wire.publishes.length, 2, 'what was in flight stays so in a smaller window')
  t.same([here.inflight.size, here.unsent.length], [2, 1])
})
