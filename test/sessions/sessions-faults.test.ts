import { rmSync } from 'node:fs'
import t from 'tap'
import type { QoS } from '../../src/model.js'
import { isReleased } from '../../src/sessions/delivery.js'
import { FaultyFiles } from '../fixtures/faulty-files.js'
import { Random } from '../fixtures/packets.js'
import {
  absent,
  copyFiles,
  folders,
  kept,
  message,
  openSessions,
  snapshotOf,
  stateOf,
  topicsOf,
  Wire,
} from '../fixtures/sessions.js'

/*
 * Whatever the disk refuses, and whenever: once the sessions say that all is kept, all of it is. The same faults again:
 * FAULTS_SEED=… node dist/test/broker/sessions-faults.test.js.
 */

const seeds = process.env.FAULTS_SEED ? [Number(process.env.FAULTS_SEED)] : Array.from({ length: 4 }, (_, n) => n + 1)
const clientIds = ['a', 'b', 'c', 'd', 'e', 'f']

for (const seed of seeds) {
  t.test(`seed ${seed}`, async t => {
    const random = new Random(seed)
    const files = new FaultyFiles(random)
    const next = await folders()
    const dir = next()
    const dropped: string[] = []
    const options = { pace: { journalBytes: 3_000, sliceMs: 0 }, now: () => 1_000_000 }
    const sessions = await openSessions(dir, { ...options, files, dropped: what => dropped.push(what) })
    for (const [n, clientId] of clientIds.entries()) {
      const session = absent(sessions, clientId, { [`${clientId}/#`]: 2, 'all/#': 1 })
      if (n % 2 === 0) sessions.subscribe(session, { filter: 'all/+', qos: 1, id: n + 1 })
    }
    let checked = 0
    const check = async () => {
      const before = stateOf(sessions)
      const copy = next()
      copyFiles(dir, copy)
      const again = await openSessions(copy, options)
      const after = stateOf(again)
      if (JSON.stringify(after) !== JSON.stringify(before)) t.same(after, before, `after ${checked} checks`)
      await again.stop()
      rmSync(copy, { recursive: true })
      checked++
    }
    let sequence = 0
    const publish = () => {
      const topic = random.pick([...clientIds.map(clientId => `${clientId}/x`), 'all/x', 'r/1', 'r/2'])
      const payload = Buffer.alloc(random.pick([3, 20, 300, 1_000]), random.below(256))
      const retain = topic.startsWith('r/')
      sessions.publish(
        message(topic, { payload, retain, qos: retain ? 0 : ((1 + random.below(2)) as QoS) }),
        ++sequence,
      )
      sessions.committed(sequence)
    }
    for (let round = 0; round < 80; round++) {
      for (let n = random.below(6); n > 0; n--) publish()
      const session = sessions.find(random.pick(clientIds))
      if (session && !session.attached && random.chance(30)) {
        sessions.open(session.clientId, kept).session.attach(new Wire())
      } else if (session?.attached) {
        const [entry] = session.inflight.values()
        if (entry?.qos === 1) session.acknowledge(entry.packetId)
        else if (entry && isReleased(entry)) session.complete(entry.packetId)
        else if (entry) session.received(entry.packetId)
        if (random.chance(40)) sessions.leave(session)
      }
      if (random.chance(10)) sessions.snapshotNext()
      // What waits may have to be read back.
      for (let turn = 0; turn < 20; turn++) await new Promise(resolve => setImmediate(resolve))
      if (!random.chance(60)) continue
      files.percent = random.pick([0, 0, 3, 30])
      if (random.chance(50)) publish()
      // A queue that is read from the disk meanwhile gets packet ids that the flush does not speak of.
      const asked = random.chance(50) ? JSON.stringify(stateOf(sessions)) : undefined
      const isKept = await sessions.flush().then(
        () => true,
        () => false,
      )
      files.percent = 0
      if (isKept && asked && asked === JSON.stringify(stateOf(sessions))) await check()
    }
    files.percent = 0
    for (let turn = 0; turn < 20; turn++) {
      await sessions.flush().catch(() => {})
      await sessions.settled()
    }
    await check()
    await sessions.stop()
    t.ok(files.failures > 3 && checked > 5, `${files.failures} failures, ${checked} checks`)
    t.same(dropped, [])
  })
}

t.test('a disk that does not give a queue back for a moment: no snapshot is made, and nothing is lost', async t => {
  const next = await folders()
  const dir = next()
  const files = new FaultyFiles(new Random(1))
  const dropped: string[] = []
  const options = { files, dropped: (what: string) => dropped.push(what) }
  const sessions = await openSessions(dir, options)
  absent(sessions, 'a', { '#': 1 })
  for (let n = 0; n < 10; n++) sessions.publish(message(`t/${n}`), 0)
  const snapshot = async () => {
    sessions.snapshotNext()
    await sessions.flush()
    await sessions.settled()
  }
  await snapshot()
  const before = snapshotOf(dir)
  files.readPercent = 100
  await snapshot()
  t.equal(snapshotOf(dir), before)
  files.readPercent = 0
  await snapshot()
  t.not(snapshotOf(dir), before)
  t.equal([...(sessions.find('a')?.unsent ?? [])].length, 10)
  await snapshot()
  const copy = next()
  copyFiles(dir, copy)
  files.readPercent = 100
  for (let n = 0; n < 4; n++) await snapshot()
  t.equal(dropped.length, 10, 'at last it is given up, so that the journal does not grow for ever')
  await sessions.stop()
  const second = await openSessions(copy)
  t.equal([...(second.find('a')?.unsent ?? [])].length, 10)
  await second.stop()
})

/** Calls `before` ahead of each operation that changes a file or a name: what is on disk then is what a kill leaves. */
class KillableFiles extends FaultyFiles {
  before = () => {}

  override openSync(path: string, flags: number): number {
    this.before()
    return super.openSync(path, flags)
  }

  override write(...given: Parameters<FaultyFiles['write']>): void {
    this.before()
    super.write(...given)
  }

  override writeSync(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): number {
    this.before()
    return super.writeSync(fd, buffer, offset, length, position)
  }

  override renameSync(from: string, to: string): void {
    this.before()
    super.renameSync(from, to)
  }

  override removeSync(path: string): void {
    this.before()
    super.removeSync(path)
  }
}

for (const seed of seeds) {
  t.test(`killed before any change of a file, queues have all that the spool has, once (seed ${seed})`, async t => {
    const random = new Random(seed)
    const files = new KillableFiles(random)
    const next = await folders()
    const dir = next()
    const options = { pace: { journalBytes: 2_000, sliceMs: 0 }, now: () => 1_000_000 }
    const sessions = await openSessions(dir, { ...options, files })
    for (const clientId of clientIds) absent(sessions, clientId, { 'x/#': 1 })
    await sessions.flush()
    let sequence = 0
    const kills: { readonly dir: string; readonly sequence: number }[] = []
    files.before = () => {
      const copy = next()
      copyFiles(dir, copy)
      kills.push({ dir: copy, sequence })
    }
    const published = (n: number) => message(`x/${n}`, { payload: Buffer.alloc(100, n), retain: n % 5 === 0 })
    for (let round = 0; round < 40; round++) {
      files.percent = random.pick([0, 0, 0, 10])
      for (let n = 1 + random.below(5); n > 0; n--) sessions.publish(published(++sequence), sequence)
      sessions.committed(sequence)
      if (random.chance(5)) sessions.snapshotNext()
      // Publishes also come while files are being changed.
      if (random.chance(50)) await sessions.flush().catch(() => {})
      else await new Promise(resolve => setImmediate(resolve))
    }
    files.percent = 0
    files.before = () => {}
    await sessions.stop()
    t.ok(kills.length > 50, `${kills.length} kills`)
    for (const [at, { dir, sequence }] of kills.entries()) {
      const again = await openSessions(dir, options)
      for (let n = again.applied + 1; n <= sequence; n++) again.publish(published(n), n)
      again.committed(sequence)
      const expected = Array.from({ length: sequence }, (_, n) => `x/${n + 1}`)
      for (const { clientId, unsent } of again.all()) {
        const found = topicsOf(unsent)
        if (found.join() !== expected.join()) t.same(found, expected, `${clientId} after kill ${at}`)
      }
      const retained = [...again.retainedBy('x/#')].length
      if (retained !== Math.floor(sequence / 5))
        t.equal(retained, Math.floor(sequence / 5), `retained after kill ${at}`)
      await again.stop()
      rmSync(dir, { recursive: true })
    }
  })
}
