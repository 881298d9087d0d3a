import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { AnnouncementListener } from '../../src/cluster/bus.js'
import { Hubs } from '../../src/cluster/hubs.js'
import { WantedTopics } from '../../src/sessions/wanted-topics.js'
import { tempDir } from '../services/service.js'

/** A bus that carries announcements at once, while it is there. */
class Room {
  readonly listeners = new Set<AnnouncementListener>()
  isThere = true

  announce(payload: Buffer): void {
    if (this.isThere) for (const listener of this.listeners) listener.onAnnouncement(payload)
  }

  listen(listener: AnnouncementListener): void {
    this.listeners.add(listener)
    listener.onHearing()
  }
}

const time = { ms: 1_000_000, now: () => time.ms }

interface Given {
  readonly dir?: string
  readonly incarnation?: string
}

async function hub(t: Test, room: Room, id: string, { dir, incarnation = `${id} 1` }: Given = {}) {
  const folder = dir ?? (await tempDir())
  const reports: string[] = []
  const hubs = new Hubs({
    self: { id, version: '1', address: `http://${id}`, startedAt: time.ms },
    ...{ incarnation, bus: room, path: join(folder, 'hubs.json'), lag: { count: 0 }, clock: time, monotonic: time },
    incidents: { report: (kind, sentence) => reports.push(`${kind}: ${sentence}`) },
    log: { info: () => {}, warn: () => {} },
  })
  hubs.start()
  t.teardown(() => hubs.stop())
  return { hubs, reports, dir: folder }
}

t.test('what others want is sent; everything, while that is not known', async t => {
  const room = new Room()
  const { hubs: one, dir } = await hub(t, room, 'one')
  one.want([])
  t.ok(one.isWanted('a'), 'just started')
  time.ms += 3_000
  one.want([])
  t.notOk(one.isWanted('a'), 'there is no other hub')
  const { hubs: two } = await hub(t, room, 'two')
  t.ok(one.isWanted('x/y'), 'a new hub, which restores its sessions')
  two.want(['a/+', '$hub/last/#'])
  t.ok(one.isWanted('a/b'))
  t.notOk(one.isWanted('x/y'))
  two.want(['x/#'])
  t.same([one.isWanted('a/b'), one.isWanted('x/y')], [false, true])
  t.match(one.list(), [
    { id: 'one', state: 'self' },
    { id: 'two', state: 'up', address: 'http://two', version: '1' },
  ])

  room.isThere = false
  two.want(['b/#'])
  time.ms += 5_000
  t.ok(one.isWanted('anything'), 'the bus is away')
  t.match(one.alarm(), /the bus between the hubs is away/)
  room.isThere = true
  one.want([])
  t.ok(one.isWanted('anything'), 'it is back, and the others are asked')
  time.ms += 3_000
  one.want([])
  t.same([one.isWanted('b/1'), one.isWanted('x/y')], [true, false])

  await one.stop()
  room.listeners.delete(one)
  room.listeners.delete(two)
  const { hubs: again } = await hub(t, room, 'one', { dir, incarnation: 'one 2' })
  again.want([])
  time.ms += 3_000
  again.want([])
  t.same(
    [again.isWanted('b/1'), again.isWanted('x/y')],
    [true, false],
    'the other is away, and what it wanted is known',
  )
  t.match(again.list()[1], { id: 'two', state: 'away' })
})

t.test('a hub that comes back is not taken for one that wants nothing', async t => {
  const room = new Room()
  const { hubs: one } = await hub(t, room, 'one')
  one.want([])
  const { hubs: two } = await hub(t, room, 'two')
  two.want(['kept/#'])
  room.listeners.delete(two)
  await hub(t, room, 'two', { incarnation: 'two 2' })
  time.ms += 3_000
  one.want([])
  t.ok(one.isWanted('kept/1'), 'it restores its sessions')
})

t.test('a copy of a data directory, and things that are no announcements', async t => {
  const room = new Room()
  const { hubs: one, reports, dir } = await hub(t, room, 'one')
  for (const junk of ['', '{', 'null', '[]', '{"id":1}', '{"id":"x","filters":[1]}']) room.announce(Buffer.from(junk))
  t.equal(one.list().length, 1)
  time.ms += 1
  const { hubs: copy } = await hub(t, room, 'one', { incarnation: 'a copy' })
  copy.want([])
  t.match(reports, [/^hub_twin: another hub with the id one runs at http:\/\/one: a data directory was copied/])
  await one.stop()
  writeFileSync(join(dir, 'hubs.json'), '{"hubs":[{}]}')
  const again = await hub(t, new Room(), 'one', { dir })
  t.match(again.reports, [/^hubs_damaged: /])
})

t.test('the topics that subscriptions want, as few filters', async t => {
  const wanted = new WantedTopics()
  wanted.count()
  wanted.add('a/b')
  wanted.add('a/b')
  let isTold = false
  const first = wanted.next(0).then(found => {
    isTold = true
    return found
  })
  await new Promise(resolve => setTimeout(resolve, 50))
  t.notOk(isTold, 'nothing before kept sessions are restored')
  wanted.begin()
  t.same((await first).filters, ['a/b'])
  wanted.remove('a/b')
  wanted.add('+/c')
  const { filters, revision } = await wanted.next((await first).revision)
  t.same(filters, ['a/b', '+/c'])
  wanted.remove('a/b')
  t.same((await wanted.next(revision)).filters, ['+/c'])
  for (let n = 0; n < 1_001; n++) wanted.add(`x/${n}`)
  const many = await wanted.next(revision + 1)
  t.same([...many.filters].sort(), ['#', 'x/#'])
  for (let n = 0; n < 1_001; n++) wanted.remove(`x/${n}`)
  const few = await wanted.next(many.revision)
  t.same(few.filters, ['+/c'])
  for (let n = 0; n < 10; n++) wanted.add(`x/${n}${'é'.repeat(15_000)}`)
  const long = await wanted.next(few.revision)
  t.same([...long.filters].sort(), ['#', 'x/#'], 'few, but long')
  for (let n = 0; n < 10; n++) wanted.add(`${n}${'\u0001'.repeat(5_000)}/x`)
  t.same((await wanted.next(long.revision)).filters, ['#', '$hub/#'], 'their first levels are long, too')
})
