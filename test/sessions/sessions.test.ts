import assert from 'node:assert'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import abstractPersistence from 'aedes-persistence/abstract.js'
import t, { type Test } from 'tap'
import type { Session } from '../../src/sessions/session.js'
import type { Sessions } from '../../src/sessions/sessions.js'
import {
  absent,
  crash,
  fill,
  folders,
  journalOf,
  kept,
  message,
  openSessions,
  present,
  stateOf,
  will,
} from '../fixtures/sessions.js'
import { tempDir } from '../services/service.js'
import { AedesPersistence, type StoredPacket } from './aedes-persistence.js'

const retained = (sessions: Sessions, topic: string) => [...sessions.retainedBy(topic)][0]?.payload.toString()

t.test("aedes-persistence's abstract suite", async t => {
  // The suite speaks node:test; only what it uses of it is offered.
  const cases: [string, (t: object) => Promise<void>][] = []
  abstractPersistence({
    test: (name: string, run: (t: object) => Promise<void>) => cases.push([name, run]),
    persistence: async () => new AedesPersistence(await openSessions(await tempDir())),
    testAsync: true,
  })
  t.ok(cases.length > 40, `${cases.length} cases`)
  for (const [name, run] of cases) {
    await t.test(name, async (t: Test) => {
      await run({ assert, plan: () => {}, diagnostic: () => {} })
      t.pass('no assertion failed')
    })
  }
})

t.test('Aedes begins its packet ids anew: one in flight is not given twice, and its PUBACK clears its own', async t => {
  const persistence = new AedesPersistence(await openSessions(await tempDir()))
  const packet = (n: number): StoredPacket => ({
    cmd: 'publish',
    topic: `t/${n}`,
    payload: Buffer.from('x'),
    qos: 1,
    retain: false,
    dup: false,
    brokerId: 'hub-1',
    brokerCounter: n,
  })
  const client = { id: 'c' }
  for (const n of [1, 2]) await persistence.outgoingEnqueue({ clientId: 'c' }, packet(n))
  await persistence.outgoingUpdate(client, { ...packet(1), messageId: 7 })
  const sent = { ...packet(2), messageId: 7 }
  await persistence.outgoingUpdate(client, sent)
  t.equal(sent.messageId, 8, 'the packet that is written afterwards has the id that was free')
  t.match(await persistence.outgoingClearMessageId(client, { messageId: 7 }), { topic: 't/1' })
  t.equal(await persistence.outgoingClearMessageId(client, {}), undefined, 'nothing is cleared without an id')
  t.match(await persistence.outgoingClearMessageId(client, { messageId: 8 }), { topic: 't/2' })
  await persistence.destroy()
})

t.test('everything survives a restart', async t => {
  const next = await folders()
  const dir = next()
  const first = await openSessions(dir)
  fill(first)
  const chunk = Buffer.from('from the network')
  first.wills.put(will('d', { payload: chunk }))
  chunk.fill(0)
  const before = stateOf(first)
  const second = await crash(first, dir, next())
  t.same(stateOf(second), before)
  t.equal(second.applied, 6)
  t.same(before.sessions, [
    {
      clientId: 'c',
      subscriptions: ['a/# 2', 'b 0'],
      inflight: [
        'a/2 14 payload of a/2 2 false publisher 1000000 2 true',
        'a/3 14 payload of a/3 2 false publisher 1000000 3 false',
      ],
      unsent: [
        'a/4 14 payload of a/4 1 false  1000000 0 false',
        'a/5 14 payload of a/5 2 false publisher 1000000 0 false',
      ],
      incoming: [5],
    },
  ])
  t.same(before.wills, ['__proto__ will payload of will 2 true', 'd will from the network 1 false'])
  t.equal(retained(second, '$hub/why/c'), 'payload of $hub/why/c')
  t.equal(retained(second, '$hub/last/a/1'), undefined, 'is made anew by who publishes it')

  const { wire, session } = present(second, 'c')
  await second.flush()
  t.same(wire.take(), ['pubrel #2', 'a/3 q2 #3 dup', 'a/4 q1 #4', 'a/5 q2 #5'])
  second.publish(message('a/6'), 7)
  session.complete(2)
  const third = await crash(second, join(dir, '..', '2'), next())
  t.same(present(third, 'c').wire.take(), ['a/3 q2 #3 dup', 'a/4 q1 #4 dup', 'a/5 q2 #5 dup', 'a/6 q1 #6 dup'])
  await third.stop()
})

t.test('a retained message sent and not acknowledged comes again after a restart, as retained', async t => {
  const next = await folders()
  const dir = next()
  const first = await openSessions(dir)
  first.publish(message('r', { retain: true, qos: 2 }), 1)
  const { session, wire } = present(first, 'c', { r: 1 })
  first.offerRetained(session, 'r', 1)
  t.same(wire.take(), ['r q1 #1 retain'])
  const second = await crash(first, dir, next())
  const again = present(second, 'c')
  t.same(again.wire.take(), ['r q1 #1 dup retain'])
  again.session.acknowledge(1)
  const third = await crash(second, join(dir, '..', '2'), next())
  t.same(present(third, 'c').wire.take(), [])
  await third.stop()
})

t.test('client ids that are names of properties are ids like others', async t => {
  const next = await folders()
  const dir = next()
  const ids = ['constructor', '__proto__', 'toString', '', 'ü/+#']
  const first = await openSessions(dir)
  for (const id of ids) {
    absent(first, id, { 'constructor/+': 1 })
    first.wills.put(will(id, { topic: '__proto__' }))
  }
  first.publish(message('constructor/__proto__', { retain: true, clientId: 'constructor' }), 1)
  t.equal(first.find('hasOwnProperty'), undefined)
  const before = stateOf(first)
  const second = await crash(first, dir, next())
  t.same(stateOf(second), before)
  for (const id of ids) t.same(present(second, id).wire.take(), ['constructor/__proto__ q1 #1'], id)
  await second.stop()
})

// — QoS 2 of clients —

/** Receives QoS 2 publishes; commits and answers are the test's. */
function receiver(sessions: Sessions, session: Session) {
  const accepts: [packetId: number, done: (error?: Error) => void][] = []
  const answers: string[] = []
  const receive = (packetId: number, name = String(packetId)) =>
    sessions.receive(
      session,
      packetId,
      done => accepts.push([packetId, done]),
      error => answers.push(error ? `${name}: ${error.message}` : name),
    )
  return { accepts, answers, receive }
}

t.test('a QoS 2 publish that comes again is made durable once; one that failed may come again', async t => {
  const sessions = await openSessions(await tempDir())
  const { accepts, answers, receive } = receiver(sessions, present(sessions, 'c').session)
  receive(9, 'first')
  receive(9, 'again')
  receive(8, 'another')
  t.same([accepts.length, answers], [2, []])
  accepts[0]?.[1](new Error('disk full'))
  t.same(answers, ['first: disk full', 'again: disk full'])
  receive(9, 'retry')
  accepts[2]?.[1]()
  receive(9, 'late')
  t.equal(accepts.length, 3)
  t.same(answers.slice(2), ['retry', 'late'])
  await sessions.stop()
})

t.test('a packet id is free again when its release is on disk, and not before', async t => {
  const next = await folders()
  const dir = next()
  const first = await openSessions(dir)
  const { session } = present(first, 'c')
  const { accepts, receive } = receiver(first, session)
  for (const id of [5, 6]) receive(id)
  for (const [, done] of accepts) done()
  let released = false
  const release = new Promise<void>(resolve =>
    first.release(session, 6, error => {
      t.error(error)
      released = true
      resolve()
    }),
  )
  t.notOk(released)
  await release
  await new Promise<void>(resolve => first.release(session, 77, () => resolve()))
  const second = await crash(first, dir, next())
  const again = receiver(second, present(second, 'c').session)
  for (const id of [5, 5, 6]) again.receive(id)
  t.same(
    again.accepts.map(([id]) => id),
    [6],
    '5 is recognised, 6 is a new message',
  )
  await second.stop()
})

t.test('a QoS 2 publish found in the spool is recognised when it comes again, after the next crash, too', async t => {
  const next = await folders()
  const dir = next()
  const first = await openSessions(dir)
  absent(first, 'c')
  first.recoverIncoming('c', 7)
  first.recoverIncoming('nobody', 7)
  first.committed(1)
  const second = await crash(first, dir, next())
  const { accepts, answers, receive } = receiver(second, present(second, 'c').session)
  receive(7)
  t.same([accepts.length, answers], [0, ['7']])
  t.equal(second.find('nobody'), undefined)
  await second.stop()
})

t.test('PUBREL sent twice at once is answered twice, each time when the release is on disk', async t => {
  const dir = await tempDir()
  const sessions = await openSessions(dir)
  const { session } = present(sessions, 'c')
  sessions.received(session, 5)
  await sessions.flush()
  const size = statSync(journalOf(dir)).size
  const sizes = await Promise.all(
    [1, 2].map(
      () => new Promise<number>(resolve => sessions.release(session, 5, () => resolve(statSync(journalOf(dir)).size))),
    ),
  )
  t.ok(
    sizes.every(now => now > size),
    `${sizes} bytes, before it ${size}`,
  )
  await sessions.stop()
})

t.test('clean sessions leave nothing behind', async t => {
  const next = await folders()
  const dir = next()
  const sessions = await openSessions(dir)
  const { session } = present(sessions, 'c', { '#': 2 }, true)
  const { accepts, answers, receive } = receiver(sessions, session)
  receive(1)
  receive(2)
  accepts[0]?.[1]()
  sessions.publish(message('a', { qos: 2 }), 1)
  sessions.leave(session)
  accepts[1]?.[1]()
  t.same(answers, ['1', '2'])
  sessions.publish(message('b', { qos: 2 }), 2)
  t.same(sessions.counts, { sessions: 0, absent: 0, subscriptions: 0, retained: 0, retainedBytes: 0 })
  t.equal(sessions.open('c', kept).present, false)
  sessions.forget('c')
  const size = statSync(journalOf(dir)).size
  await sessions.flush()
  const second = await crash(sessions, dir, next())
  t.same(stateOf(second).sessions, [])
  t.ok(size < 1_000)
  await second.stop()
})

t.test('a client that never releases is stopped at a thousand', async t => {
  const sessions = await openSessions(await tempDir())
  for (const clean of [true, false]) {
    const { session } = present(sessions, 'c', {}, clean)
    const { accepts, answers, receive } = receiver(sessions, session)
    for (let id = 1; id <= 1_001; id++) {
      receive(id)
      if (id % 2 === 0) accepts.at(-1)?.[1]()
    }
    t.equal(answers.length, 501)
    t.match(answers.at(-1), /1001: .*PUBREL/)
    sessions.release(session, 2, () => {})
    receive(1_002)
    t.equal(accepts.length, 1_001)
    receive(1)
    accepts[0]?.[1]()
    t.same(answers.slice(501), ['1', '1'], 'a retransmission is let through')
  }
  await sessions.stop()
})
