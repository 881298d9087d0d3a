import {
  closeSync,
  cpSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { nextFrame, writeFrames } from '../../src/disk/commit-log.js'
import { isReleased, type Queued } from '../../src/sessions/delivery.js'
import type { Session } from '../../src/sessions/session.js'
import type { Sessions } from '../../src/sessions/sessions.js'
import { Random } from '../fixtures/packets.js'
import {
  absent,
  clearIncoming,
  crash,
  fill,
  folders,
  journalOf,
  kept,
  message,
  openSessions,
  present,
  queueLimits,
  refuseWrites,
  reports,
  snapshotOf,
  stateOf,
  topicsOf,
} from '../fixtures/sessions.js'
import { tempDir } from '../services/service.js'

const retained = (sessions: Sessions, topic: string) => [...sessions.retainedBy(topic)][0]?.payload.toString()

// — the journal —

t.test('a publish that is played again after a crash is queued once', async t => {
  const next = await folders()
  const dir = next()
  const first = await openSessions(dir)
  absent(first, 'c', { '#': 1 })
  first.publish(message('a', { retain: true }), 7)
  first.publish(message('b'), 8)
  const second = await crash(first, dir, next())
  t.equal(second.applied, 0, 'the spool had not reported 7')
  for (const [topic, sequence] of [
    ['a', 7],
    ['b', 8],
    ['c', 9],
  ] as const) {
    second.publish(message(topic, { retain: true }), sequence)
  }
  second.committed(9)
  t.same(topicsOf(second.find('c')?.unsent ?? []), ['a', 'b', 'c'])
  t.equal(retained(second, 'a'), 'payload of a')
  const third = await crash(second, join(dir, '..', '2'), next())
  t.equal(third.applied, 9)
  t.same(topicsOf(third.find('c')?.unsent ?? []), ['a', 'b', 'c'])
  await third.stop()
})

t.test('a crash at any moment: with the spool played again, each message is there once, or acknowledged', async t => {
  const next = await folders()
  const dir = next()
  const first = await openSessions(dir, { queue: { ...queueLimits, window: 3 } })
  absent(first, 'away', { '#': 1 })
  const { session } = present(first, 'here', { '#': 2 })
  // What is in the journal so far is told to the clients; what follows may be lost.
  await first.flush()
  const from = statSync(journalOf(dir)).size
  const spool = Array.from({ length: 30 }, (_, i) => message(`t/${i + 1}`, { qos: i % 3 === 0 ? 2 : 1 }))
  const acknowledged: string[] = []
  for (const [i, publish] of spool.entries()) {
    first.publish(publish, i + 1)
    if (i % 4 === 3) first.committed(i + 1)
    const [entry] = session.inflight.values()
    if (i % 2 === 0 || !entry) continue
    if (entry.qos === 2 && !isReleased(entry)) session.received(entry.packetId)
    else {
      if (entry.qos === 1) session.acknowledge(entry.packetId)
      else session.complete(entry.packetId)
      acknowledged.push(entry.topic)
    }
  }
  await first.stop()
  const whole = readFileSync(journalOf(dir))
  const all = topicsOf(first.find('away')?.unsent ?? [])
  t.equal(all.length, spool.length)
  let cuts = 0
  for (let end = from; end <= whole.length; end = nextFrame(whole, end)?.end ?? whole.length + 1) {
    writeFileSync(journalOf(dir), whole.subarray(0, end))
    const second = await openSessions(dir)
    for (const [i, publish] of spool.entries()) if (i + 1 > second.applied) second.publish(publish, i + 1)
    const { inflight, unsent } = second.find('here') as Session
    const here = [...topicsOf(inflight.values()), ...topicsOf(unsent)]
    const lost = all.filter(topic => !here.includes(topic) && !acknowledged.includes(topic))
    const order = all.filter(topic => here.includes(topic))
    const away = topicsOf(second.find('away')?.unsent ?? [])
    if (
      lost.length > 0 ||
      JSON.stringify(order) !== JSON.stringify(here) ||
      JSON.stringify(away) !== JSON.stringify(all)
    ) {
      t.same({ lost, here, away }, { lost: [], here: order, away: all }, `cut at ${end}`)
    }
    await second.stop()
    cuts++
  }
  t.ok(cuts > 50, `${cuts} moments`)
})

t.test('a torn journal loses its last record and no more', async t => {
  const dir = await tempDir()
  const first = await openSessions(dir)
  for (const n of [1, 2, 3]) first.publish(message(`t/${n}`, { retain: true, qos: 0 }), 0)
  await first.stop()
  truncateSync(journalOf(dir), readFileSync(journalOf(dir)).length - 3)
  const second = await openSessions(dir)
  t.ok(retained(second, 't/1') && retained(second, 't/2'))
  t.notOk(retained(second, 't/3'))
  second.publish(message('t/3', { retain: true, qos: 0 }), 0)
  await second.stop()
  const third = await openSessions(dir)
  t.equal(third.counts.retained, 3)
  await third.stop()
})

t.test('damage in the middle of the journal: the rest is read, whatever is missing, and it is said', async t => {
  const dir = await tempDir()
  const first = await openSessions(dir)
  const session = fill(first)
  absent(first, 'gone', { '#': 1 })
  first.forget('gone')
  first.open('c', kept)
  first.unsubscribe(session, 'b')
  clearIncoming(first, session)
  await first.flush()
  first.publish(message('last', { retain: true }), 0)
  await first.stop()
  const whole = readFileSync(journalOf(dir))
  let damaged = 0
  const next = await folders()
  for (let frame = nextFrame(whole, 0); frame && frame.end < whole.length; frame = nextFrame(whole, frame.end)) {
    const bytes = Buffer.from(whole)
    bytes.fill(0xff, frame.start + 12, frame.end)
    const copy = next()
    cpSync(dir, copy, { recursive: true })
    writeFileSync(journalOf(copy), bytes)
    const { incidents, reported } = reports()
    const sessions = await openSessions(copy, { incidents })
    t.match(reported, [/bytes that cannot be read.*a copy is/])
    t.equal(retained(sessions, 'last'), 'payload of last')
    const { session, wire } = present(sessions, 'c', { '#': 2 })
    sessions.publish(message('after'), 9)
    const expected = [...session.inflight.values()].map(({ packetId }) => packetId)
    t.equal(new Set(expected).size, expected.length)
    await sessions.flush()
    t.equal(wire.publishes.at(-1)?.topic, 'after')
    await sessions.stop()
    damaged++
  }
  t.ok(damaged > 15, `${damaged} records, each missing once`)
})

t.test('a journal with any of its records missing is read, and works', async t => {
  const dir = await tempDir()
  const first = await openSessions(dir, { queue: { ...queueLimits, messages: 3, window: 2 } })
  fill(first)
  const { session } = present(first, 'c', { '#': 2 })
  for (let n = 10; n < 40; n++) {
    first.publish(message(`t/${n}`, { qos: n % 3 === 0 ? 2 : 1 }), n)
    const [entry] = session.inflight.values()
    if (!entry || n % 3 === 0) continue
    if (entry.qos === 1) session.acknowledge(entry.packetId)
    else if (isReleased(entry)) session.complete(entry.packetId)
    else session.received(entry.packetId)
    if (n === 20) first.forget('gone')
    if (n === 25) absent(first, 'gone', { '#': 1 })
  }
  await first.stop()
  const next = await folders()
  const whole = readFileSync(journalOf(dir))
  const frames: Buffer[] = []
  for (let frame = nextFrame(whole, 0); frame; frame = nextFrame(whole, frame.end)) {
    frames.push(whole.subarray(frame.start, frame.end))
  }
  t.ok(frames.length > 80, `${frames.length} records`)
  const random = new Random(3)
  for (let round = 0; round < 200; round++) {
    const missing = random.pick([5, 20, 50, 90])
    const copy = next()
    cpSync(dir, copy, { recursive: true })
    writeFileSync(journalOf(copy), Buffer.concat(frames.filter(() => !random.chance(missing))))
    const sessions = await openSessions(copy, { queue: { ...queueLimits, messages: 3, window: 2 } })
    const { session, wire } = present(sessions, 'c', { '#': 1 })
    const sent = [...session.inflight.values()]
    if (sent.some(one => one.packetId < 1 || session.inflight.get(one.packetId) !== one)) t.fail(`round ${round}: ids`)
    for (let n = 0; session.inflight.size > 0 && n < 1_000; n++) {
      const entry = session.inflight.values().next().value as Queued
      const { packetId, qos } = entry
      const released = isReleased(entry)
      const fault =
        qos === 1 ? session.acknowledge(packetId) : released ? session.complete(packetId) : session.received(packetId)
      if (fault) t.fail(`round ${round}: ${fault}`)
    }
    sessions.publish(message('after', { retain: true }), 99)
    await sessions.flush()
    if (session.unsent.length > 0 || wire.publishes.at(-1)?.topic !== 'after') t.fail(`round ${round}: stuck`)
    await sessions.stop()
  }
})

t.test('frames that are no records are stepped over', async t => {
  const dir = await tempDir()
  const first = await openSessions(dir)
  first.publish(message('a', { retain: true }), 0)
  await first.stop()
  const path = journalOf(dir)
  const [mark, kept] = bodiesOf(path)
  const fd = openSync(path, 'w+')
  const json = Buffer.from('\u0000aaaaaabbbbbb\u0004\0\0\0{}}')
  writeFrames(fd, [mark as Buffer, Buffer.from('x'), Buffer.from('\u0063'), Buffer.alloc(13, 4), json, kept as Buffer])
  closeSync(fd)
  const second = await openSessions(dir)
  t.same(stateOf(second).sessions, [])
  t.equal(retained(second, 'a'), 'payload of a')
  await second.stop()
})

function bodiesOf(path: string): Buffer[] {
  const bytes = readFileSync(path)
  const bodies: Buffer[] = []
  for (let frame = nextFrame(bytes, 0); frame; frame = nextFrame(bytes, frame.end)) bodies.push(frame.body)
  return bodies
}

/** Publishes until there is a new snapshot, with `meanwhile` while it is being written. */
async function grow(sessions: Sessions, dir: string, meanwhile: () => void = () => {}): Promise<void> {
  const before = snapshotOf(dir)
  for (let n = 0; snapshotOf(dir) === before; n++) {
    if (n === 1_000) throw new Error('no snapshot')
    const payload = Buffer.alloc(n < 6 ? 500_000 : 10, n)
    sessions.publish(message('same', { qos: 0, retain: true, payload }), 0)
    meanwhile()
    await sessions.flush()
  }
  await sessions.settled()
}

t.test('a long journal is written anew, with everything in it, and what is recorded in that moment once', async t => {
  const next = await folders()
  const dir = next()
  const first = await openSessions(dir, { queue: { ...queueLimits, messages: 20 } })
  fill(first)
  const { session } = present(first, 'here', { 'n/+': 2 })
  absent(first, 'away', { 'n/+': 1 })
  let n = 10
  await grow(first, dir, () => {
    for (let i = 0; i < 3; i++) first.publish(message(`n/${n}`, { qos: n % 2 === 0 ? 1 : 2 }), ++n)
    first.committed(n)
    for (const { packetId, qos } of [...session.inflight.values()].slice(-2)) {
      if (qos === 1) session.acknowledge(packetId)
      else session.received(packetId)
    }
    absent(first, `passing ${n}`, { '#': 1 })
    first.forget(`passing ${n - 3}`)
    first.received(session, n)
    first.release(session, n - 3, () => {})
  })
  t.equal(readdirSync(dir).length, 2, 'the old files are gone')
  const before = stateOf(first)
  const second = await crash(first, dir, next())
  t.same(stateOf(second), before)
  t.equal(second.applied, n)
  t.equal(retained(second, '$hub/why/c'), 'payload of $hub/why/c')
  t.equal(retained(second, '$hub/last/a/1'), undefined)
  await second.stop()
})

t.test('a journal with more in it than its limit is not rewritten at every commit', async t => {
  const dir = await tempDir()
  const sessions = await openSessions(dir)
  for (let n = 0; n < 10; n++) {
    sessions.publish(message(`t/${n}`, { qos: 0, retain: true, payload: Buffer.alloc(500_000) }), 0)
  }
  await sessions.flush()
  await sessions.flush()
  await sessions.settled()
  const before = readdirSync(dir)
  for (let n = 0; n < 20; n++) {
    sessions.publish(message('t/0', { qos: 0, retain: true }), 0)
    await sessions.flush()
  }
  t.same(readdirSync(dir), before)
  await sessions.stop()
})

t.test('what many wait for is in the journal once, before it is written anew and after, and in memory', async t => {
  const next = await folders()
  const dir = next()
  const first = await openSessions(dir)
  for (let n = 0; n < 100; n++) absent(first, `c${n}`, { '#': 1 })
  const payload = Buffer.alloc(100_000, 'x')
  for (let n = 0; n < 10; n++) first.publish(message(`t/${n}`, { payload }), n + 1)
  await first.flush()
  t.ok(statSync(journalOf(dir)).size < 2e6)
  await grow(first, dir)
  const { size } = statSync(snapshotOf(dir))
  t.ok(size < 2e6, `${size} bytes for a million bytes of payload`)
  const before = stateOf(first)
  const second = await crash(first, dir, next())
  t.same(stateOf(second), before)
  const payloads = new Set([...second.all()].flatMap(({ unsent }) => [...unsent].map(({ payload }) => payload)))
  t.equal(payloads.size, 10)
  await second.stop()
})

// — a disk that refuses —

t.test('what a full disk kept from the journal is in it once the disk takes writes again', async t => {
  const next = await folders()
  const dir = next()
  const first = await openSessions(dir)
  absent(first, 'c', { '#': 1 })
  await first.flush()
  const { restore } = refuseWrites()
  first.publish(message('a', { retain: true }), 1)
  first.committed(1)
  await t.rejects(first.flush())
  restore()
  first.publish(message('b'), 2)
  first.committed(2)
  const before = stateOf(first)
  const second = await crash(first, dir, next())
  t.equal(second.applied, 2, 'the spool is not played again from 1')
  t.same(stateOf(second), before)
  await second.stop()
})

t.test('a journal that cannot be written anew on a full disk leaves nothing open and nothing behind', async t => {
  const dir = await tempDir()
  const sessions = await openSessions(dir)
  const openFiles = () =>
    existsSync('/proc/self/fd')
      ? readdirSync('/proc/self/fd')
          .map(fd => readLink(`/proc/self/fd/${fd}`))
          .filter(path => path.startsWith(dir)).length
      : 1
  for (let n = 0; n < 3; n++) {
    sessions.publish(message('same', { qos: 0, retain: true, payload: Buffer.alloc(1_000_000, n) }), 0)
  }
  await sessions.flush()
  const { restore } = refuseWrites()
  for (let n = 0; n < 20; n++) {
    sessions.publish(message('t', { retain: true, payload: Buffer.from(`${n}`) }), 0)
    await t.rejects(sessions.flush())
  }
  restore()
  await sessions.settled()
  t.ok(openFiles() <= 2, `${openFiles()} open`)
  t.ok(readdirSync(dir).length <= 3, readdirSync(dir).join(' '))
  sessions.publish(message('u', { retain: true }), 0)
  await sessions.flush()
  const before = stateOf(sessions)
  await sessions.stop()
  const second = await openSessions(dir)
  t.same(stateOf(second), before)
  t.notOk(
    readdirSync(dir).some(name => name.endsWith('.new')),
    'what was begun and not finished is gone',
  )
  await second.stop()
})

function readLink(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    // The one that the listing itself had open.
    return ''
  }
}

t.test('a payload that only the snapshot before had is written anew, from the retained message', async t => {
  const next = await folders()
  const dir = next()
  const sessions = await openSessions(dir)
  const snapshot = async () => {
    const before = snapshotOf(dir)
    sessions.snapshotNext()
    await sessions.flush()
    await sessions.settled()
    t.not(snapshotOf(dir), before)
  }
  const payload = Buffer.alloc(1_000, 'p')
  sessions.publish(message('t', { payload, retain: true }), 1)
  const subscribed = (clientId: string) => {
    const { session } = present(sessions, clientId)
    sessions.subscribe(session, { filter: 't', qos: 1 })
    sessions.offerRetained(session, 't', 1)
    t.equal(session.inflight.size, 1)
    return session
  }
  const first = subscribed('first')
  await snapshot()
  first.acknowledge(1)
  await snapshot()
  subscribed('second')
  await snapshot()
  const again = await crash(sessions, dir, next())
  const found = [...(again.find('second')?.inflight.values() ?? []), ...(again.find('second')?.unsent ?? [])]
  t.same(
    found.map(({ payload }) => payload.toString()),
    [payload.toString()],
  )
  await again.stop()
})

t.test('a snapshot has the subscription identifiers of messages that are in flight', async t => {
  const next = await folders()
  const dir = next()
  const sessions = await openSessions(dir)
  const { session } = present(sessions, 'c')
  sessions.subscribe(session, { filter: 'a', qos: 1, id: 7 })
  sessions.subscribe(session, { filter: '+', qos: 1, id: 300 })
  sessions.publish(message('a'), 1)
  sessions.publish(message('b'), 2)
  sessions.snapshotNext()
  await sessions.flush()
  await sessions.settled()
  const before = stateOf(sessions)
  const again = await crash(sessions, dir, next())
  t.same(
    [...(again.find('c')?.inflight.values() ?? [])].map(({ ids }) => ids),
    [[300, 7], [300]],
  )
  t.same(stateOf(again), before)
  await again.stop()
})
