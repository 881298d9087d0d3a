import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Bus } from '../../src/cluster/bus.js'
import { Cluster } from '../../src/cluster/cluster.js'
import type { Message } from '../../src/model.js'
import { message } from '../contract/bus.js'
import { eventually } from '../harness.js'
import { tempDir } from '../services/service.js'

/** A hub in a cluster whose log is an array. */
async function hubOf(t: Test, cluster: string, folder?: string) {
  const dir = folder ?? (await tempDir())
  const log: Message[] = []
  const delivered: string[] = []
  const said: string[] = []
  const bus: Bus = {
    append: async messages => void log.push(...messages),
    reader: () => {
      throw new Error('the test reads')
    },
    ...{ announce: () => {}, listen: () => {}, stop: async () => {} },
  }
  const member = new Cluster({
    ...{ cluster, bus, dir, lag: { count: 0 } },
    self: { id: 'here', version: '1', address: 'http://here', startedAt: 1 },
    delivery: { publish: async messages => void delivered.push(...messages.map(({ topic }) => topic)) },
    wanted: { next: () => new Promise(() => {}) },
    ...{ clock: { now: () => 1e15 }, wallClock: { now: () => 1e12 }, monotonic: { now: () => 1 } },
    incidents: { report: (_, sentence) => said.push(sentence) },
    log: { info: sentence => said.push(sentence), warn: sentence => said.push(sentence) },
  })
  member.start()
  let isStopped = false
  const stop = async () => {
    if (!isStopped) await member.stop()
    isStopped = true
  }
  t.teardown(stop)
  return { member, dir, log, delivered, said, stop }
}

/** A message of another hub, whose clock is behind: it was received long ago. */
const elsewhere = (sequence: number, topic: string, retain = false): Message => {
  return { ...message(sequence, topic), retain, hub: 'there' }
}

t.test(
  'a new hub delivers what is behind its mark in the log, and of what is before it only what is retained',
  async t => {
    const { member, log, delivered, dir, stop } = await hubOf(t, 'plant')
    await eventually(() => log.length > 0, 'the mark is in the log')
    const mark = log[0] as Message
    await member.receive([elsewhere(1, 'old'), elsewhere(2, 'kept', true)])
    await member.receive([{ ...mark, hub: 'there' }, elsewhere(3, 'old, too'), mark, elsewhere(4, 'new')])
    await member.receive([elsewhere(4, 'new'), elsewhere(5, 'newer')])
    t.same(delivered, ['kept', 'new', 'newer'])
    member.passed({ offset: 7, id: 'seven' })
    await stop()
    const again = await hubOf(t, 'plant', dir)
    t.match(again.member.place, { offset: 7 })
    await again.member.receive([elsewhere(5, 'newer'), elsewhere(6, 'newest')])
    t.same(again.delivered, ['newest'])
    t.same(again.log, [], 'it has no mark')
  },
)

t.test('a hub that is stopped before its mark comes back is still new', async t => {
  const { member, delivered, dir, stop } = await hubOf(t, 'plant')
  await member.receive([elsewhere(1, 'old')])
  member.passed({ offset: 0, id: 'zero' })
  await stop()
  const again = await hubOf(t, 'plant', dir)
  await again.member.receive([elsewhere(2, 'old')])
  t.same([...delivered, ...again.delivered], [])
})

t.test('a hub that comes from another cluster knows nothing of this one', async t => {
  const { member, dir, stop } = await hubOf(t, 'plant')
  const there = {
    id: 'there',
    version: '1',
    address: 'http://there',
    startedAt: 1,
    incarnation: 'x',
    lag: 0,
    revision: 1,
  }
  member.hubs.onAnnouncement(Buffer.from(JSON.stringify({ ...there, filters: ['a'] })))
  member.passed({ offset: 7, id: 'seven' })
  await stop()
  t.ok(existsSync(join(dir, 'hubs.json')))
  const { member: moved, said } = await hubOf(t, 'office', dir)
  t.equal(moved.place, undefined)
  t.equal(moved.hubs.list().length, 1)
  t.match(said, [/was in the cluster plant/])
  await eventually(() => readFileSync(join(dir, 'place.json'), 'utf8').includes('office'), 'the file says so')
})
