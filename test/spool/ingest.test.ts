import t from 'tap'
import { HubError } from '../../src/errors.js'
import type { PendingPublish, QoS } from '../../src/model.js'
import { Counters } from '../../src/observe/counters.js'
import { Ingest, type IngestOptions } from '../../src/spool/ingest.js'

const publish = (qos: QoS, topic = 't', payload = 'x'): PendingPublish => ({
  topic,
  payload: Buffer.from(payload),
  qos,
  retain: false,
  clientId: 'c',
  user: '',
  packetId: 0,
  settle: () => {},
})

/** A log whose commits happen when the test says so. */
function fixture() {
  const waiting: ((error: Error | undefined, sequence: number) => void)[] = []
  const log = {
    pendingBytes: 0,
    append: (given: PendingPublish, done: (publish: PendingPublish, error: Error | undefined, n: number) => void) =>
      void waiting.push((error, sequence) => done(given, error, sequence)),
  }
  const counters = new Counters()
  /** What is entered into the balance sheet, and what is told. */
  const refused: string[] = []
  const told: string[] = []
  const ingest = new Ingest({
    spool: log as unknown as IngestOptions['spool'],
    shares: {
      fault: ({ user }) => (user === 'mallory' ? new HubError('spool_share', 'too much') : undefined),
      took: () => {},
    },
    budgetBytes: 100,
    counters,
    refusals: { add: (clientId, reason) => void refused.push(`${clientId} ${reason}`) },
  })
  ingest.relieves({ onRelieved: () => void told.push('relieved') })
  ingest.reportTo({
    onPassed: ({ topic, qos }) => void told.push(`${topic} ${qos} 0`),
    onDurable: ({ topic, qos }, error, sequence) =>
      void told.push(`${topic} ${qos} ${error ? (error as HubError).code : sequence}`),
    onCommitted: sequence => void told.push(`up to ${sequence}`),
  })
  return { log, waiting, counters, refused, told, ingest }
}

t.test('QoS 1 and 2 are settled after the commit, QoS 0 at once', async t => {
  const { waiting, counters, told, ingest } = fixture()
  ingest.accept(publish(1, 'a'), true)
  ingest.accept(publish(0, 'b', 'four'), false)
  ingest.accept(publish(2, 'c'), false)
  t.same(told, ['b 0 0'])
  t.equal(counters.receivedBytes, 6)
  t.same(counters.received, { 0: 0, 1: 0, 2: 0 })
  for (const [i, done] of waiting.entries()) done(undefined, i + 10)
  t.same(told, ['b 0 0', 'a 1 10', 'c 2 12'])
  t.same(counters.received, { 0: 1, 1: 1, 2: 1 })
})

t.test('QoS 0 in order is settled in its place among the others, once, with no place in the spool', async t => {
  const { waiting, told, ingest } = fixture()
  ingest.accept(publish(1, 'a'), true)
  ingest.accept(publish(0, 'b'), true)
  ingest.accept(publish(0, 'c'), false)
  ingest.accept(publish(2, 'd'), true)
  ingest.accept(publish(0, 'e'), true)
  t.same(told, ['c 0 0'])
  for (const [i, done] of waiting.entries()) done(undefined, i + 1)
  t.same(told, ['c 0 0', 'a 1 1', 'b 0 0', 'd 2 4', 'e 0 0'])
})

t.test('what is not kept is refused by reason, and QoS 1 and 2 are told', async t => {
  const { waiting, counters, refused, told, ingest } = fixture()
  ingest.accept(publish(1, 'a'), true)
  ingest.accept(publish(0, 'b'), false)
  ingest.accept(publish(0, 'c'), true)
  ingest.accept(publish(2, 'd'), true)
  for (const done of waiting.splice(0)) done(new HubError('spool_full', 'disk'), 0)
  ingest.accept(publish(1, 'e'), true)
  waiting[0]?.(new Error('a bug'), 0)
  t.same(told, ['b 0 0', 'a 1 spool_full', 'c 0 0', 'd 2 spool_full', 'e 1 undefined'])
  t.same(refused, ['c spool_full', 'c spool_full', 'c spool_full', 'c spool_full', 'c internal'])
  t.same(
    [...counters.refused],
    [
      ['spool_full', 4],
      ['internal', 1],
    ],
  )
  t.same(counters.received, { 0: 0, 1: 0, 2: 0 })
})

t.test('past the budget it is overloaded until half of it is free, and says so once', async t => {
  for (const inOrder of [true, false]) {
    const { log, told, ingest } = fixture()
    log.pendingBytes = 100
    ingest.accept(publish(0), inOrder)
    t.notOk(ingest.overloaded)
    log.pendingBytes = 101
    ingest.accept(publish(inOrder ? 1 : 0), inOrder)
    t.ok(ingest.overloaded)
    log.pendingBytes = 60
    ingest.onSettled()
    t.ok(ingest.overloaded)
    log.pendingBytes = 50
    ingest.onSettled()
    ingest.onSettled()
    t.notOk(ingest.overloaded)
    t.equal(told.filter(event => event === 'relieved').length, 1)
  }
})

t.test('a user that has its share of the spool is refused: nothing of it goes to the log', async t => {
  const { waiting, told, refused, ingest } = fixture()
  ingest.accept({ ...publish(1, 'a'), user: 'mallory' }, true)
  ingest.accept({ ...publish(0, 'b'), user: 'mallory' }, false)
  t.same(waiting, [])
  t.same(told, ['a 1 spool_share', 'b 0 0'], 'QoS 0 is delivered all the same, as when the disk is full')
  t.same(refused, ['c spool_share', 'c spool_share'])
})
