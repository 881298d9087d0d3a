import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { nextFrame } from '../../src/disk/commit-log.js'
import { sessionName } from '../../src/sessions/session-name.js'
import type { Sessions } from '../../src/sessions/sessions.js'
import type { SessionsOptions } from '../../src/sessions/sessions-options.js'
import { Random } from '../fixtures/packets.js'
import {
  absent,
  crash,
  fill,
  folders,
  journalOf,
  message,
  openSessions,
  present,
  reports,
  snapshotOf,
  stateOf,
  topicsOf,
} from '../fixtures/sessions.js'
import { tempDir } from '../services/service.js'

/** Makes a snapshot of everything, and removes the files before. */
async function snapshot(sessions: Sessions, dir: string): Promise<void> {
  const before = snapshotOf(dir)
  sessions.snapshotNext()
  while (snapshotOf(dir) === before) await sessions.flush()
  await sessions.settled()
}

/** A folder with a snapshot that has absent sessions with queues, and a journal with more. */
async function filled(): Promise<{ dir: string; before: ReturnType<typeof stateOf> }> {
  const dir = await tempDir()
  const first = await openSessions(dir)
  fill(first)
  for (let n = 0; n < 20; n++) absent(first, `away ${n}`, { [`q/${n}`]: 1, all: 2 })
  for (let n = 0; n < 100; n++) first.publish(message(`q/${n % 20}`, { payload: Buffer.alloc(10 * n, n) }), 10 + n)
  first.publish(message('all', { qos: 2, payload: Buffer.alloc(1_000, 'a') }), 200)
  await snapshot(first, dir)
  for (let n = 0; n < 20; n++) first.publish(message(`q/${n}`), 300 + n)
  first.committed(320)
  await first.flush()
  const before = stateOf(first)
  await first.stop()
  return { dir, before }
}

t.test('the journal of JSON records is read, and written anew in the present format', async t => {
  const dir = await tempDir()
  const from = join(process.cwd(), 'test/fixtures/sessions-7474d0f')
  cpSync(join(from, '0000000001.records'), join(dir, '0000000001.log'))
  const { applied, ...expected } = JSON.parse(readFileSync(join(from, 'state.json'), 'utf8'))
  const { reported, incidents } = reports()
  for (let round = 0; round < 2; round++) {
    const sessions = await openSessions(dir, { queue: { window: 3, messages: 1_000, bytes: 1e9, ageMs: 0 }, incidents })
    t.same(stateOf(sessions), expected)
    t.equal(sessions.applied, applied)
    t.equal(sessions.find(sessionName('ada', 'five'))?.user, 'ada')
    t.same([...(sessions.find(sessionName('ada', 'five'))?.subscriptions.values() ?? [])][0]?.ids, [77])
    await sessions.stop()
    t.same(readdirSync(dir).sort(), ['0000000002.journal', '0000000002.snapshot'])
  }
  t.same(reported, [])
})

t.test('a session journal that is removed, emptied or cut is reported, and what is left is kept', async t => {
  const { dir, before } = await filled()
  const next = await folders()
  const damage = async (how: (dir: string) => void, more: Partial<SessionsOptions> = {}) => {
    const copy = next()
    cpSync(dir, copy, { recursive: true })
    how(copy)
    const { reported, incidents } = reports()
    const sessions = await openSessions(copy, { incidents, isExpected: () => true, ...more })
    present(sessions, 'new', { '#': 1 })
    sessions.publish(message('after'), 999)
    sessions.committed(999)
    const state = stateOf(sessions)
    await sessions.flush()
    await sessions.settled()
    const again = reports()
    const after = await crash(sessions, copy, next(), { incidents: again.incidents, isExpected: () => true })
    t.same(stateOf(after).retained, state.retained)
    await after.stop()
    t.same(again.reported, [], 'the next start finds no damage')
    return { reported, state, bad: readdirSync(copy).filter(name => name.endsWith('.bad')) }
  }

  const whole = await damage(() => {})
  t.same(whole.reported, [])
  t.equal(whole.state.sessions.length, before.sessions.length + 1)

  const removed = await damage(dir => rmSync(dir, { recursive: true }))
  t.match(removed.reported, [/is empty, but was not when the hub last ran: kept sessions, .* are lost/])
  const isNew = await damage(dir => rmSync(dir, { recursive: true }), { isExpected: () => false })
  t.same(isNew.reported, [])

  const emptied = await damage(dir => truncateSync(journalOf(dir)))
  t.match(emptied.reported, [/is truncated/])
  t.equal(emptied.state.sessions.length, before.sessions.length + 1)

  const noJournal = await damage(dir => rmSync(journalOf(dir)))
  t.match(noJournal.reported, [/is missing: changes .* are lost/])

  const noSnapshot = await damage(dir => rmSync(snapshotOf(dir)))
  t.match(noSnapshot.reported[0], /no longer has a snapshot/)

  const cut = await damage(dir => truncateSync(journalOf(dir), readFileSync(journalOf(dir)).length - 5))
  t.match(cut.reported, [/bytes that cannot be read/])
  t.same(cut.bad, ['0000000002.journal.bad'])

  const cutSnapshot = await damage(dir => truncateSync(snapshotOf(dir), readFileSync(snapshotOf(dir)).length / 2))
  t.match(cutSnapshot.reported[0], /snapshot has \d+ bytes that cannot be read/)
  t.same(cutSnapshot.bad, ['0000000002.snapshot.bad'])

  const endMissing = await damage(dir => {
    const bytes = readFileSync(snapshotOf(dir))
    let last = nextFrame(bytes, 0)
    for (let frame = last; frame; frame = nextFrame(bytes, frame.end)) last = frame
    truncateSync(snapshotOf(dir), last?.start)
  })
  t.match(endMissing.reported, [/snapshot is truncated/])
  t.same(endMissing.state.sessions.length, before.sessions.length + 1)
})

t.test('damaged at any place, a snapshot is read as far as it is whole', async t => {
  const { dir, before } = await filled()
  const random = new Random(7)
  const next = await folders()
  const whole = readFileSync(snapshotOf(dir))
  const all = new Map(before.sessions.map(session => [session.clientId, session]))
  for (let round = 0; round < 60; round++) {
    const copy = next()
    cpSync(dir, copy, { recursive: true })
    const bytes = Buffer.from(whole)
    for (let n = 0; n < 3; n++) bytes[random.below(bytes.length)] = random.below(256)
    if (bytes.equals(whole)) continue
    writeFileSync(snapshotOf(copy), bytes)
    const { reported, incidents } = reports()
    const sessions = await openSessions(copy, { incidents })
    if (reported.length === 0) t.fail(`round ${round}: not reported`)
    for (const { clientId, unsent } of stateOf(sessions).sessions) {
      const known = all.get(clientId)?.unsent ?? []
      const unknown = unsent.filter(one => !known.includes(one))
      if (unknown.length > 0) t.same(unknown, [], `round ${round}: messages of ${clientId}`)
    }
    present(sessions, 'new', { '#': 1 })
    sessions.publish(message('q/1'), 999)
    await sessions.flush()
    await sessions.stop()
    rmSync(copy, { recursive: true })
  }
  t.pass('each was opened')
})

t.test('a queue on disk that is damaged while the hub runs: the rest is delivered, the loss is counted', async t => {
  const dir = await tempDir()
  const { reported, incidents } = reports()
  const dropped: string[] = []
  const sessions = await openSessions(dir, { incidents, dropped: what => dropped.push(what) })
  absent(sessions, 'c', { 'a/#': 1 })
  absent(sessions, 'd', { 'b/#': 1 })
  for (let n = 0; n < 5; n++) {
    sessions.publish(message(`a/${n}`), 0)
    sessions.publish(message(`b/${n}`), 0)
  }
  await snapshot(sessions, dir)
  const path = snapshotOf(dir)
  const bytes = readFileSync(path)
  bytes.fill(0, bytes.indexOf('a/0'), bytes.indexOf('a/0') + 3)
  writeFileSync(path, bytes)
  sessions.publish(message('a/last'), 0)
  const broken = present(sessions, 'c')
  const whole = present(sessions, 'd')
  while (whole.wire.publishes.length < 5 || broken.wire.publishes.length < 1) await sessions.flush()
  t.same(
    broken.wire.publishes.map(({ topic }) => topic),
    ['a/last'],
  )
  t.same(
    whole.wire.publishes.map(({ topic }) => topic),
    ['b/0', 'b/1', 'b/2', 'b/3', 'b/4'],
  )
  t.same(dropped, Array(5).fill('queue'))
  t.match(reported, [/5 queued messages could not be read back/])
  await sessions.stop()
})

t.test('queues beyond the budget wait on disk, and come back whole and in order', async t => {
  const next = await folders()
  const dir = next()
  const sessions = await openSessions(dir)
  const topics: string[] = []
  for (let n = 0; n < 10; n++) absent(sessions, `c${n}`, { '#': 1 })
  for (let round = 0; round < 12; round++) {
    for (let n = 0; n < 200; n++) {
      topics.push(`t/${round}/${n}`)
      sessions.publish(message(`t/${round}/${n}`, { payload: Buffer.alloc(n * 3, n) }), topics.length)
    }
    await snapshot(sessions, dir)
    t.equal(sessions.queueMemory, 0, 'all of it is on disk')
  }
  const { wire, session } = present(sessions, 'c0')
  session.acknowledge(0)
  while (wire.publishes.length < topics.length) {
    for (const { packetId } of [...session.inflight.values()]) session.acknowledge(packetId)
    await sessions.flush()
  }
  t.same(
    wire.publishes.map(({ topic }) => topic),
    topics,
  )
  const second = await crash(sessions, dir, next())
  t.same(topicsOf(second.find('c1')?.unsent ?? []), topics)
  t.equal(second.find('c0')?.unsent.length, 0)
  await second.stop()
})

t.test('more waits in memory than may: the sessions make a snapshot by themselves', async t => {
  const dir = join(await tempDir(), 'sessions')
  mkdirSync(dir)
  const sessions = await openSessions(dir, { queueMemory: 100_000 })
  absent(sessions, 'c', { '#': 1 })
  const before = snapshotOf(dir)
  for (let n = 0; n < 1_000; n++) sessions.publish(message('t', { payload: Buffer.alloc(200) }), 0)
  t.ok(sessions.queueMemory > 100_000)
  while (snapshotOf(dir) === before) {
    await new Promise(resolve => setTimeout(resolve, 50))
    sessions.publish(message('x', { qos: 0, retain: true }), 0)
  }
  await sessions.settled()
  t.ok(sessions.queueMemory < 100_000)
  await sessions.stop()
})
