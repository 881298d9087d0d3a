import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Message } from '../../src/model.js'
import { message, take } from '../contract/queue.js'
import { type MockCluster, startMockKafka } from '../services/kafka.js'
import { freshPrefix, hubKafka, records } from './client.js'

/*
 * What the adapter survives, on librdkafka's mock cluster, as a server that can be hurt in all these ways is needed.
 */

/** Error codes of Kafka's protocol. */
const codes = { timedOut: 7, notLeader: 6, notEnoughReplicas: 19, notEnoughAfterAppend: 20 } as const

const cluster: MockCluster = await startMockKafka()
t.teardown(() => cluster.stop())

const clients = 20
const some = (from: number, count: number): Message[] =>
  Array.from({ length: count }, (_, i) => message(from + i, { clientId: `device-${(from + i) % clients}` }))

/** Publishes until that succeeds, as the consumer loop does; resolves with the number of failures. */
async function publishing(publish: () => Promise<unknown>): Promise<number> {
  for (let failures = 0; ; failures++) {
    try {
      await publish()
      return failures
    } catch {
      await sleep(200)
    }
  }
}

/** Everything is there, and the first of each message is in order among those of the same client. */
function isWhole(t: Test, found: readonly { readonly key: string; readonly sequence: number }[], count: number): void {
  t.equal(new Set(found.map(({ sequence }) => sequence)).size, count, 'nothing is missing')
  const seen = new Set<number>()
  const last = new Map<string, number>()
  let early = 0
  for (const { key, sequence } of found) {
    if (seen.has(sequence)) continue
    seen.add(sequence)
    if ((last.get(key) ?? 0) > sequence) early++
    last.set(key, sequence)
  }
  t.equal(early, 0, 'in order for each device')
}

async function sequences(t: Test, topic: string, count: number) {
  return (await records(t, cluster, topic, count)).map(({ key, headers }) => ({
    key,
    sequence: Number(headers.sequence),
  }))
}

t.test('errors of the brokers are tried again, and leave nothing twice', async t => {
  const prefix = freshPrefix()
  const kafka = hubKafka(cluster, { prefix, partitions: 4 })
  t.teardown(() => kafka.stop())
  await kafka.publish(some(1, 100))
  for (const [i, code] of Object.values(codes).entries()) {
    await cluster.fail('produce', code, 0, code)
    await kafka.publish(some(101 + i * 100, 100))
  }
  const found = await sequences(t, `${prefix}telemetry`, 500)
  t.equal(found.length, 500)
  isWhole(t, found, 500)
})

t.test('a request whose answer is lost is repeated with the same sequence numbers', async t => {
  const prefix = freshPrefix()
  const kafka = hubKafka(cluster, { prefix })
  t.teardown(() => kafka.stop())
  await kafka.publish(some(1, 10))
  const before = cluster.produced.length
  cluster.dropAnswers(1)
  await kafka.publish(some(11, 7))
  const [first, second] = cluster.produced.slice(before)
  t.ok(first && second)
  t.same(second, first, 'a broker recognises it by producer and sequence number, and keeps it once')
})

t.test('when all tries have failed the next records have another producer, or a broker would drop them', async t => {
  const prefix = freshPrefix()
  const kafka = hubKafka(cluster, { prefix })
  t.teardown(() => kafka.stop())
  await kafka.publish(some(1, 10))
  const before = cluster.produced.length
  cluster.dropAnswers(7)
  await t.rejects(kafka.publish(some(11, 7)), { code: 'queue_unavailable' })
  const failed = cluster.produced.slice(before)
  t.equal(failed.length, 7)
  cluster.dropAnswers(0)
  await kafka.publish(some(18, 7))
  const last = cluster.produced.at(-1)
  t.equal(last?.firstSequence, 0)
  t.not(last?.producerId, failed[0]?.producerId)
})

t.test('a message that is too large is refused with the reason, and the others go on in their order', async t => {
  for (const envelope of ['message', 'batch'] as const) {
    const prefix = freshPrefix()
    const kafka = hubKafka(cluster, { prefix, envelope })
    t.teardown(() => kafka.stop())
    const sent = some(1, 30).map((one, i) => (i === 11 || i === 25 ? { ...one, payload: Buffer.alloc(40_000) } : one))
    await kafka.publish([])
    cluster.maxBatch = 20_000
    const outcomes = await kafka.bridge(sent)
    cluster.maxBatch = undefined
    t.match(outcomes?.[11], { reason: 'too_large', detail: /max\.message\.bytes/ })
    t.match(outcomes?.[25], { reason: 'too_large' })
    t.equal(outcomes?.filter(outcome => outcome === 'ack').length, 28)
    await t.rejects(
      (async () => {
        cluster.maxBatch = 20_000
        await kafka.publish(sent).finally(() => {
          cluster.maxBatch = undefined
        })
      })(),
      { code: 'queue_unavailable' },
    )
    const taken = await take(kafka.reader('record'), 28)
    isWhole(
      t,
      taken.map(({ clientId, sequence }) => ({ key: clientId, sequence })),
      28,
    )
  }
})

t.test('a partition moves to another broker while messages flow', async t => {
  const prefix = freshPrefix()
  const kafka = hubKafka(cluster, { prefix, partitions: 4 })
  t.teardown(() => kafka.stop())
  await kafka.publish(some(1, 100))
  for (let turn = 0; turn < 9; turn++) {
    for (let partition = 0; partition < 4; partition++)
      await cluster.command(`leader ${prefix}telemetry ${partition} ${((turn + partition) % 3) + 1}`)
    t.equal(await publishing(() => kafka.publish(some(101 + turn * 100, 100))), 0)
  }
  const found = await sequences(t, `${prefix}telemetry`, 1_000)
  isWhole(t, found, 1_000)
})

t.test('while a partition has no leader the others take their messages once', async t => {
  const prefix = freshPrefix()
  // One copy of each partition: nobody takes over for a broker that is away.
  const kafka = hubKafka(cluster, { prefix, partitions: 3, rules: { create: true, replication: 1 } })
  t.teardown(() => kafka.stop())
  await kafka.publish(some(1, 60))
  // The cluster of the test deals leaders at random: broker 2 is to lead one of the partitions.
  for (const partition of [0, 1, 2]) await cluster.command(`leader ${prefix}telemetry ${partition} ${partition + 1}`)
  await cluster.down(2)
  let left = some(61, 60)
  for (let turn = 0; turn < 2; turn++) {
    const outcomes = await kafka.bridge(left).catch(() => left.map(() => 'retry' as const))
    left = left.filter((_, i) => outcomes?.[i] === 'retry')
  }
  t.ok(left.length > 0 && left.length < 60, `${left.length} wait`)
  await cluster.up(2)
  t.equal(await publishing(() => kafka.publish(left)), 0)
  const found = await sequences(t, `${prefix}telemetry`, 120)
  isWhole(t, found, 120)
  t.equal(found.length, 120)
})

t.test('a broker goes and comes back, and then all are away for a minute', async t => {
  const prefix = freshPrefix()
  const told: boolean[] = []
  const listener = { onCluster: (up: boolean) => void told.push(up) }
  const kafka = hubKafka(cluster, { prefix, partitions: 4, listener })
  t.teardown(() => kafka.stop())
  const reader = kafka.reader('record')
  const taken: Message[] = []
  const abort = new AbortController()
  const consuming = (async () => {
    while (!abort.signal.aborted && new Set(taken.map(({ sequence }) => sequence)).size < 1_500) {
      const batch = await reader.next(200, abort.signal).catch(() => sleep(200))
      if (!batch) continue
      taken.push(...batch.messages)
      batch.settle()
    }
  })()
  t.teardown(() => abort.abort())
  let next = 1
  const publish = async (count: number) => {
    const from = next
    next += count
    return publishing(() => kafka.publish(some(from, count)))
  }
  await publish(300)
  await cluster.down(2)
  const partly = publish(300)
  await sleep(3_000)
  await cluster.up(2)
  await partly
  await publish(300)
  await cluster.down(1, 2, 3)
  const whole = publish(300)
  await sleep(60_000)
  await cluster.up(1, 2, 3)
  t.ok((await whole) > 0, 'the outage is told')
  await publish(300)
  await consuming
  isWhole(
    t,
    taken.map(({ clientId, sequence }) => ({ key: clientId, sequence })),
    1_500,
  )
  t.ok(told.includes(false))
  t.equal(told.at(-1), true)
})

t.test('two consumers share the partitions, and one takes over from the other', async t => {
  const prefix = freshPrefix()
  const options = { prefix, partitions: 4 }
  const kafka = hubKafka(cluster, options)
  t.teardown(() => kafka.stop())
  await kafka.publish(some(1, 400))
  const abort = new AbortController()
  t.teardown(() => abort.abort())
  const start = () => {
    const other = hubKafka(cluster, { ...options, hubId: '' })
    const taken: Message[] = []
    const running = (async () => {
      const reader = other.reader('record')
      while (!abort.signal.aborted) {
        const batch = await reader.next(10, abort.signal).catch(() => sleep(200))
        if (!batch) continue
        taken.push(...batch.messages)
        await sleep(20)
        batch.settle()
      }
    })()
    t.teardown(async () => {
      abort.abort()
      await running
      await other.stop()
    })
    return { other, taken }
  }
  const [one, two] = [start(), start()]
  const all = () => new Set([...one.taken, ...two.taken].map(({ sequence }) => sequence)).size
  let sent = 400
  while (all() < sent || two.taken.length === 0 || one.taken.length === 0) {
    if (sent < 4_000) {
      await kafka.publish(some(sent + 1, 40))
      sent += 40
    }
    await sleep(100)
  }
  t.equal(all(), sent)
  await one.other.stop()
  const before = two.taken.length
  await kafka.publish(some(sent + 1, 400))
  while (new Set([...one.taken, ...two.taken].map(({ sequence }) => sequence)).size < sent + 400) await sleep(100)
  t.ok(two.taken.length > before)
  const keys = two.taken.slice(before).filter(({ sequence }) => sequence > sent)
  t.equal(new Set(keys.map(({ clientId }) => clientId)).size, clients, 'every partition has a consumer')
  for (const { taken } of [one, two])
    isWhole(
      t,
      taken.map(({ clientId, sequence }) => ({ key: clientId, sequence })),
      new Set(taken.map(({ sequence }) => sequence)).size,
    )
})

t.test('topics that are missing: made with the partitions wanted, or a sentence that says what to do', async t => {
  const prefix = freshPrefix()
  const refused = hubKafka(cluster, { prefix, partitions: 3 })
  t.teardown(() => refused.stop())
  cluster.allowsTopics = false
  await t.rejects(refused.publish(some(1, 1)), {
    code: 'queue_unavailable',
    message: /topics are missing and cannot be made: .*telemetry.*let the user of the hub create topics/s,
  })
  cluster.allowsTopics = true
  const careful = hubKafka(cluster, { prefix, partitions: 3, rules: { create: false, replication: 0 } })
  t.teardown(() => careful.stop())
  await t.rejects(careful.publish(some(1, 1)), { message: /kafka\.create: true/ })
  await refused.publish(some(1, 30))
  const found = await records(t, cluster, `${prefix}telemetry`, 30)
  t.ok(new Set(found.map(({ partition }) => partition)).size > 1)
})
