import { createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { PacketScanner } from '../bench/wire.js'
import { Chaos, seeded } from './chaos.js'
import { Publishers } from './publishers.js'
import { printed, progressLine, type Report, type Run, report, Sequence, type Verified, verified } from './report.js'

/* A proof that cannot fail proves nothing: what its parts say of what is wrong, and whether the devices are right. */

const stream = { publisher: 7, qos: 2, topic: 'proof/7/q2' } as const

function check(numbers: readonly unknown[], acknowledged: number, mayRepeat = false): Verified {
  const sequence = new Sequence('store', stream, 10, mayRepeat)
  for (const n of numbers) sequence.take(n)
  sequence.end(acknowledged)
  return verified([sequence])
}

const clean = check([], 0)

function judge(part: Partial<Run>): Report {
  return report({
    seed: 1,
    queue: 'RabbitMQ',
    store: 'InfluxDB',
    envelope: 'message',
    publishers: 1,
    messages: 5,
    interrupted: false,
    kills: [],
    qos1: { sent: 0, acknowledged: 0, retransmitted: 0 },
    qos2: { sent: 5, acknowledged: 5, retransmitted: 0 },
    longestStallMs: 0,
    durationMs: 0,
    stored: { qos1: clean, qos2: check([0, 1, 2, 3, 4], 5) },
    backEnd: null,
    balance: 'not available',
    problems: [],
    ...part,
  })
}

t.test('what is right passes', async t => {
  t.match(check([0, 1, 2, 3, 4], 5), { read: 5, distinct: 5, lost: 0, duplicates: 0, outOfOrder: 0, unknown: 0 })
  const right = judge({})
  t.equal(right.passed, true)
  t.equal(right.firstOffence, null)
  t.match(printed(right), /^PASSED/m)
  t.ok(check([0, 1, 2], 2).lost === 0, 'stored without acknowledgement is no fault')
})

t.test('what is wrong is found, named and fails', async t => {
  const wrongs: readonly (readonly [readonly unknown[], Partial<Verified>, string])[] = [
    [[0, 1, 3, 4], { lost: 1, duplicates: 0, outOfOrder: 0 }, 'lost: publisher 7, n = 2'],
    [[0, 1, 2, 3], { lost: 1, duplicates: 0, outOfOrder: 0 }, 'lost: publisher 7, n = 4'],
    [[0, 1, 2, 2, 3, 4], { lost: 0, duplicates: 1, outOfOrder: 0 }, 'duplicate: publisher 7, n = 2'],
    [[0, 1, 2, 3, 4, 1], { lost: 0, duplicates: 1, outOfOrder: 0 }, 'duplicate: publisher 7, n = 1'],
    [[0, 2, 1, 3, 4], { lost: 0, duplicates: 0, outOfOrder: 1 }, 'out of order: publisher 7, n = 1'],
    [[0, 1, 2, 3, 4, 10], { lost: 0, unknown: 1 }, 'unknown: publisher 7, n = 10'],
    [[0, 1, 2, 3, 4, 'x'], { lost: 0, unknown: 1 }, 'unknown: publisher 7'],
  ]
  for (const [numbers, counts, words] of wrongs) {
    const qos2 = check(numbers, 5)
    t.match(qos2, counts, String(numbers))
    for (const run of [{ stored: { qos1: clean, qos2 } }, { backEnd: { qos1: clean, qos2, redelivered: 0 } }]) {
      const failed = judge(run)
      t.equal(failed.passed, false, `${numbers} does not pass`)
      t.match(printed(failed), words)
      t.match(printed(failed), /^FAILED/m)
    }
  }
})

t.test('a QoS 1 message that is queued again is none, but must keep the order of the first ones', async t => {
  t.match(check([0, 1, 2, 1, 2, 3, 4], 5, true), { repeated: 2, duplicates: 0, outOfOrder: 0, lost: 0 })
  t.match(check([0, 1, 4, 1, 2, 3, 4], 5, true), { outOfOrder: 2, lost: 0 })
})

t.test('what is not acknowledged, an account that does not add up and a server that stays away fail too', async t => {
  const numbers = { received: 5, stored: 4, spool: 0, queue: 0, dead: 0, dropped: 0, refused: 0 }
  t.equal(judge({ balance: { ...numbers, stored: 5, residual: 0 } }).passed, true)
  t.equal(judge({ balance: { ...numbers, residual: 1 } }).passed, false)
  t.equal(judge({ balance: { ...numbers, received: 4, residual: 0 } }).passed, false, 'it adds up, but knows of 4 of 5')
  t.equal(judge({ qos2: { sent: 5, acknowledged: 4, retransmitted: 0 } }).passed, false)
  t.equal(judge({ problems: ['RabbitMQ is down'] }).passed, false)
})

t.test('the same seed kills at the same moments; the one who may not be killed yet is waited for', async t => {
  const [a, b, c] = [seeded(7), seeded(7), seeded(8)].map(random => Array.from({ length: 5 }, random))
  t.same(a, b)
  t.notSame(a, c)
  t.ok(a?.every(value => value >= 0 && value < 1))
  const done: string[] = []
  const victim = (name: string, notBefore = 0) => ({
    name,
    notBefore,
    kill: async () => void done.push(`${name} killed ${performance.now() >= notBefore}`),
    restart: async () => void done.push(`${name} back`),
  })
  const parts: number[] = []
  const chaos = new Chaos({
    victims: [victim('one'), victim('two', performance.now() + 200)],
    kills: 3,
    random: () => 0,
    allow: part => parts.push(Math.round(12 * part)),
    recovered: async () => (done.length === 2 ? 'still down' : undefined),
    signal: new AbortController().signal,
    stretchMs: 10,
  })
  await chaos.run()
  t.same(done, ['one killed true', 'one back', 'two killed true', 'two back', 'one killed true', 'one back'])
  t.same(parts, [1, 2, 3, 4, 5, 6, 7, 8, 9, 12])
  t.same(chaos.problems, ['after the kill of one: still down'])
  t.equal(chaos.down, undefined)
})

t.test('the progress line says how far it is and who is down', async t => {
  const progress = { acknowledged: 1_500, messages: 3_000, perSecond: 99.6, kills: 1, killsWanted: 3, phase: undefined }
  t.equal(
    progressLine({ ...progress, down: 'RabbitMQ' }, 4),
    '[##..] 1,500/3,000 acknowledged · 100/s · kills 1/3 · down: RabbitMQ',
  )
  t.equal(progressLine({ ...progress, down: undefined }, 0), '1,500/3,000 acknowledged · 100/s · kills 1/3')
})

/** What a broker got on one connection: `publish 3 dup`, `pubrel 2`, in order; and a way to answer. */
interface Accepted {
  readonly got: string[]
  readonly socket: Socket
}

/** A broker that answers CONNECT and leaves the rest to the test. */
async function startBroker(t: Test): Promise<{ port: number; accepted: Accepted[] }> {
  const accepted: Accepted[] = []
  const server = createServer(socket => {
    const got: string[] = []
    accepted.push({ got, socket })
    socket.on('error', () => {})
    const scanner = new PacketScanner((data, start, body, end) => {
      const first = data[start] as number
      const type = first >> 4
      if (type === 1) {
        got.push(`connect ${data[body + 7]}`)
        socket.write(Buffer.from([0x20, 2, accepted.length > 1 ? 1 : 0, 0]))
      } else if (type === 3) {
        const idAt = body + 2 + data.readUInt16BE(body)
        const { n } = JSON.parse(data.toString('utf8', idAt + 2, end))
        got.push(`publish ${data.readUInt16BE(idAt)} n=${n}${first & 8 ? ' dup' : ''}`)
      } else if (type === 6) got.push(`pubrel ${data.readUInt16BE(body)}`)
    })
    socket.on('data', chunk => scanner.take(chunk, 0, chunk.length))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const { socket } of accepted) socket.destroy()
    server.close()
  })
  return { port: (server.address() as { port: number }).port, accepted }
}

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await sleep(5)
}

t.test(
  'a device sends again what was not acknowledged, in order, with DUP; what was received is only released',
  async t => {
    const { port, accepted } = await startBroker(t)
    const publishers = new Publishers({ port, publishers: 2, numbers: 6, window: 4, base: 1_700_000_000_000 })
    t.teardown(() => publishers.stop())
    publishers.start()
    publishers.allow(1, 1)
    const of = (qos: 1 | 2, nth: number) =>
      accepted.filter(({ got }) => got.length > 0)[2 * nth + (qos === 1 ? 0 : 1)] as Accepted
    await until(() => accepted.length === 2 && accepted.every(({ got }) => got.length === 5))
    t.same(of(1, 0).got, ['connect 0', 'publish 1 n=0', 'publish 2 n=1', 'publish 3 n=2', 'publish 4 n=3'])
    t.same(of(2, 0).got, of(1, 0).got, 'a window of four, in sessions that are kept')

    of(1, 0).socket.write(Buffer.from([0x40, 2, 0, 1]))
    await until(() => of(1, 0).got.length === 6)
    t.equal(of(1, 0).got.at(-1), 'publish 5 n=4', 'an acknowledgement makes room for one more')
    of(2, 0).socket.write(Buffer.from([0x50, 2, 0, 1, 0x50, 2, 0, 2, 0x70, 2, 0, 1]))
    await until(() => of(2, 0).got.length === 8)
    t.same(of(2, 0).got.slice(5), ['pubrel 1', 'pubrel 2', 'publish 5 n=4'])
    t.same([publishers.published(1).acknowledged, publishers.published(2).acknowledged], [1, 2])
    t.same([publishers.acknowledgedBelow(0), publishers.acknowledgedBelow(1)], [1, 2])

    of(1, 0).socket.destroy()
    await until(() => accepted.length === 3 && (accepted[2] as Accepted).got.length === 5)
    t.same((accepted[2] as Accepted).got, [
      'connect 0',
      'publish 2 n=1 dup',
      'publish 3 n=2 dup',
      'publish 4 n=3 dup',
      'publish 5 n=4 dup',
    ])
    of(2, 0).socket.destroy()
    await until(() => accepted.length === 4 && (accepted[3] as Accepted).got.length === 5)
    const again = accepted[3] as Accepted
    t.same(again.got, ['connect 0', 'pubrel 2', 'publish 3 n=2 dup', 'publish 4 n=3 dup', 'publish 5 n=4 dup'])
    t.same([publishers.published(1).retransmitted, publishers.published(2).retransmitted], [4, 3])
    t.equal(publishers.forgottenSessions, 0)

    for (const id of [2, 3, 4, 5]) (accepted[2] as Accepted).socket.write(Buffer.from([0x40, 2, 0, id]))
    for (const id of [2, 3, 4, 5]) again.socket.write(Buffer.from([0x50, 2, 0, id, 0x70, 2, 0, id]))
    await until(() => publishers.published(1).sent === 6 && publishers.published(2).sent === 6)
    t.equal(publishers.isComplete, false, 'the last ones wait')
    ;(accepted[2] as Accepted).socket.write(Buffer.from([0x40, 2, 0, 6]))
    again.socket.write(Buffer.from([0x50, 2, 0, 6]))
    await until(() => publishers.acknowledged === 12)
    t.equal(publishers.isComplete, false, 'QoS 2 is over with PUBCOMP')
    again.socket.write(Buffer.from([0x70, 2, 0, 6]))
    await until(() => publishers.isComplete)
    t.equal(publishers.acknowledged, 12)
  },
)
