import assert from 'node:assert'
import { readdirSync, readFileSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import abstractPersistence from 'aedes-persistence/abstract.js'
import t, { type Test } from 'tap'
import type { StoredPacket } from '../../src/broker/session-records.js'
import { Sessions, type SessionsOptions } from '../../src/broker/sessions.js'
import { tempDir } from '../services/service.js'

async function open(dir: string, more: Partial<SessionsOptions> = {}): Promise<Sessions> {
  const sessions = new Sessions({
    dir,
    fsync: 'group',
    queueLimit: 100_000,
    permitted: () => true,
    dropped: () => {},
    warn: sentence => t.comment(sentence),
    ...more,
  })
  await sessions.load()
  return sessions
}

const packet = (n: number, more: Partial<StoredPacket> = {}): StoredPacket => ({
  cmd: 'publish',
  topic: `t/${n}`,
  payload: Buffer.from(`payload ${n}`),
  qos: 1,
  retain: false,
  dup: false,
  brokerId: 'hub-1',
  brokerCounter: n,
  ...more,
})

const all = async <T>(stream: Readable): Promise<T[]> => stream.toArray()

const retained = (sessions: Sessions, topic: string) => [...sessions.retainedBy(topic)][0]

t.test("aedes-persistence's abstract suite", async t => {
  // The suite speaks node:test; only what it uses of it is offered.
  const cases: [string, (t: object) => Promise<void>][] = []
  abstractPersistence({
    test: (name: string, run: (t: object) => Promise<void>) => cases.push([name, run]),
    persistence: async () => open(await tempDir()),
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

t.test('everything survives a restart: subscriptions, queue, packet ids, retained, wills, QoS 2', async t => {
  const dir = await tempDir()
  const client = { id: 'constructor' }
  const first = await open(dir)
  await first.setup({ id: 'hub-1' })
  await first.addSubscriptions(client, [
    { topic: 'a/#', qos: 1 },
    { topic: 'b', qos: 0 },
  ])
  first.publish(packet(1, { topic: 'a/1', retain: true }), 1)
  first.publish(packet(2, { topic: 'a/2', qos: 2 }), 2)
  first.publish(packet(3, { topic: 'a/3' }), 3)
  first.publish(packet(4, { topic: 'b' }), 4)
  first.committed(4)
  for (const [i, queued] of (await all<StoredPacket>(first.outgoingStream(client))).entries()) {
    await first.outgoingUpdate(client, { ...queued, messageId: 70 + i })
  }
  await first.outgoingClearMessageId(client, { messageId: 70 })
  await first.outgoingUpdate(client, { cmd: 'pubrel', messageId: 71 } as StoredPacket)
  await first.putWill({ id: '__proto__' }, packet(9, { topic: 'will' }))
  await first.incomingStorePacket(client, packet(0, { qos: 2, messageId: 5 }))
  await first.incomingStorePacket(client, packet(0, { qos: 2, messageId: 6 }))
  await first.incomingDelPacket(client, { messageId: 6 })
  await first.flush()

  // Not stopped: what the journal has is what a crash leaves.
  const second = await open(dir)
  t.equal(second.applied, 4)
  t.same(await second.subscriptionsByClient(client), [
    { topic: 'a/#', qos: 1 },
    { topic: 'b', qos: 0 },
  ])
  const queue = await all<StoredPacket>(second.outgoingStream(client))
  t.same(
    queue.map(({ cmd, messageId, topic }) => [cmd, messageId, topic]),
    [
      ['pubrel', 71, ''],
      ['publish', 72, 'a/3'],
    ],
  )
  t.equal(retained(second, 'a/1')?.payload.toString(), 'payload 1')
  t.same(
    second.wills().map(will => [will.clientId, will.topic]),
    [['__proto__', 'will']],
  )
  t.same(await second.incomingGetPacket(client, packet(0, { messageId: 5, dup: true })), { messageId: 5 })
  await t.rejects(second.incomingGetPacket(client, packet(0, { messageId: 6, dup: true })), 'released before the crash')
  const accepted: number[] = []
  const receive = (messageId: number, dup: boolean) =>
    second.receive(
      client,
      packet(0, { qos: 2, messageId, dup }),
      done => {
        accepted.push(messageId)
        done()
      },
      error => t.equal(error, undefined),
    )
  receive(5, true)
  receive(5, false)
  t.same(accepted, [], 'a retransmission of before the restart is recognised, with DUP or without')
  receive(6, false)
  t.same(accepted, [6], 'a packet id released before the restart is a new message')
  await first.stop()
  await second.stop()
})

t.test('a publish that is played again after a crash is queued once', async t => {
  const dir = await tempDir()
  const first = await open(dir)
  await first.addSubscriptions({ id: 'c' }, [{ topic: '#', qos: 1 }])
  first.publish(packet(1), 7)
  await first.flush()
  const second = await open(dir)
  t.equal(second.applied, 0, 'the spool had not reported 7')
  second.publish(packet(1, { brokerId: 'hub-2' }), 7)
  t.equal((await all(second.outgoingStream({ id: 'c' }))).length, 1)
  await first.stop()
  await second.stop()
})

t.test('a torn journal loses its last record and no more', async t => {
  const dir = await tempDir()
  const first = await open(dir)
  for (const n of [1, 2, 3]) first.publish(packet(n, { retain: true, qos: 0 }), 0)
  await first.stop()
  const path = join(dir, readdirSync(dir)[0] as string)
  truncateSync(path, readFileSync(path).length - 3)
  const second = await open(dir)
  t.ok(retained(second, 't/1') && retained(second, 't/2'))
  t.notOk(retained(second, 't/3'))
  second.publish(packet(3, { retain: true, qos: 0 }), 0)
  await second.stop()
  const third = await open(dir)
  t.equal(third.retainedCount, 3)
  await third.stop()
})

t.test('a long journal is written anew, with everything in it', async t => {
  const dir = await tempDir()
  const first = await open(dir)
  await first.addSubscriptions({ id: 'c' }, [{ topic: 'kept', qos: 2 }])
  first.publish(packet(1, { topic: 'kept', qos: 2 }), 1)
  for (let n = 0; n < 40; n++) {
    first.publish(packet(n, { topic: 'same', qos: 0, retain: true, payload: Buffer.alloc(500_000, n) }), 0)
    await first.flush()
  }
  const files = readdirSync(dir)
  t.equal(files.length, 1)
  t.not(files[0], '0000000001.log', 'not the first file any more')
  const second = await open(dir)
  t.equal(retained(second, 'same')?.payload[0], 39)
  t.equal((await all(second.outgoingStream({ id: 'c' }))).length, 1)
  await first.stop()
  await second.stop()
})

t.test('a full queue loses its oldest, counted; overlapping subscriptions queue once at the highest QoS', async t => {
  let dropped = 0
  const sessions = await open(await tempDir(), { queueLimit: 3, dropped: () => dropped++ })
  await sessions.addSubscriptions({ id: 'c' }, [
    { topic: 't/+', qos: 1 },
    { topic: 't/#', qos: 2 },
  ])
  for (const n of [1, 2, 3, 4, 5]) sessions.publish(packet(n, { qos: 2 }), n)
  const queue = await all<StoredPacket>(sessions.outgoingStream({ id: 'c' }))
  t.same(
    queue.map(({ topic, qos }) => [topic, qos]),
    [
      ['t/3', 2],
      ['t/4', 2],
      ['t/5', 2],
    ],
  )
  t.equal(dropped, 2)
  await sessions.stop()
})

t.test('a refused filter is not kept with the granted ones of the same SUBSCRIBE', async t => {
  const sessions = await open(await tempDir(), { permitted: (_client, filter) => filter !== 'secret/#' })
  await sessions.addSubscriptions({ id: 'c' }, [
    { topic: 'open', qos: 1 },
    { topic: 'secret/#', qos: 1 },
  ])
  sessions.publish(packet(1, { topic: 'secret/1' }), 1)
  t.same(await all(sessions.outgoingStream({ id: 'c' })), [])
  await sessions.stop()
})

t.test(
  'a QoS 2 publish that comes again while the first is on its way is made durable once; a failed one may come again',
  async t => {
    const sessions = await open(await tempDir())
    const publish = packet(1, { qos: 2, messageId: 9 })
    const order: string[] = []
    const accepts: ((error?: Error) => void)[] = []
    const receive = (name: string, dup: boolean) =>
      sessions.receive(
        { id: 'c' },
        { ...publish, dup },
        done => accepts.push(done),
        error => order.push(error ? `${name} failed` : name),
      )
    receive('first', false)
    receive('again', true)
    t.equal(accepts.length, 1)
    t.same(order, [])
    accepts[0]?.(new Error('disk full'))
    t.same(order, ['first failed', 'again failed'])
    receive('retry', true)
    accepts[1]?.()
    receive('late', true)
    t.equal(accepts.length, 2)
    t.same(order.slice(2), ['retry', 'late'])
    await sessions.stop()
  },
)

t.test(
  'a packet id still in flight from an earlier connection is not given again; its PUBACK clears its own message',
  async t => {
    const sessions = await open(await tempDir())
    const client = { id: 'c' }
    await sessions.addSubscriptions(client, [{ topic: '#', qos: 1 }])
    sessions.publish(packet(1), 1)
    sessions.publish(packet(2), 2)
    const [one, two] = await all<StoredPacket>(sessions.outgoingStream(client))
    await sessions.outgoingUpdate(client, { ...(one as StoredPacket), messageId: 7 })
    const sent = { ...(two as StoredPacket), messageId: 7 }
    await sessions.outgoingUpdate(client, sent)
    t.equal(sent.messageId, 8, 'the packet Aedes writes afterwards has the id that was free')
    t.match(await sessions.outgoingClearMessageId(client, { messageId: 7 }), { topic: 't/1' })
    t.match(await sessions.outgoingClearMessageId(client, { messageId: 8 }), { topic: 't/2' })
    await sessions.stop()
  },
)

t.test('what is queued while the queue is streamed comes at its end', async t => {
  const sessions = await open(await tempDir())
  await sessions.addSubscriptions({ id: 'c' }, [{ topic: '#', qos: 1 }])
  for (let n = 1; n <= 50; n++) sessions.publish(packet(n), n)
  const topics: string[] = []
  for await (const queued of sessions.outgoingStream({ id: 'c' })) {
    topics.push((queued as StoredPacket).topic)
    if (topics.length === 10) sessions.publish(packet(51), 51)
  }
  t.same(
    topics,
    Array.from({ length: 51 }, (_, n) => `t/${n + 1}`),
  )
  t.equal(sessions.unsent('c').length, 51)
  await sessions.stop()
})

t.test('a journal with more in it than its limit is not rewritten at every commit', async t => {
  const dir = await tempDir()
  const sessions = await open(dir)
  for (let n = 0; n < 40; n++) sessions.publish(packet(n, { qos: 0, retain: true, payload: Buffer.alloc(500_000) }), 0)
  await sessions.flush()
  await sessions.flush()
  const before = readdirSync(dir)
  for (let n = 0; n < 20; n++) {
    sessions.publish(packet(0, { qos: 0, retain: true }), 0)
    await sessions.flush()
  }
  t.same(readdirSync(dir), before)
  await sessions.stop()
})

t.test('clean sessions that are gone leave nothing behind', async t => {
  const sessions = await open(await tempDir())
  const client = { id: 'c', clean: true, closed: false }
  let commit = (_error?: Error) => {}
  sessions.receive(
    client,
    packet(1, { qos: 2, messageId: 1 }),
    done => (commit = done),
    () => {},
  )
  client.closed = true
  await sessions.cleanIncoming(client)
  commit()
  await t.rejects(sessions.incomingGetPacket(client, packet(1, { messageId: 1 })))
  await sessions.stop()
})

t.test('a client that never releases is stopped at a thousand', async t => {
  const sessions = await open(await tempDir())
  const errors: unknown[] = []
  for (let messageId = 1; messageId <= 1_001; messageId++) {
    sessions.receive(
      { id: 'c' },
      packet(messageId, { qos: 2, messageId }),
      done => done(),
      error => error && errors.push([messageId, error.message]),
    )
  }
  t.match(errors, [[1_001, /PUBREL/]])
  t.equal(errors.length, 1)
  await sessions.stop()
})
