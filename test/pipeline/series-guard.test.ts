import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Point, Tags } from '../../src/model.js'
import { SeriesGuard, type SeriesGuardOptions } from '../../src/pipeline/series-guard.js'
import type { UserShares } from '../../src/runtime/user-shares.js'
import { tempDir } from '../services/service.js'

const tenth: UserShares = { isOpen: false, usual: 0.1, own: new Map([['large', 0.5]]) }

function guard(more: Partial<SeriesGuardOptions> = {}) {
  const clock = { now: 0 }
  const options = {
    series: 100,
    perMinute: 0,
    sharing: { shares: tenth },
    monotonic: { now: () => clock.now },
    ...more,
  }
  return { guard: new SeriesGuard(options), clock }
}

const by = (user: string) => ({ user, clientId: `${user}-1` })

/** A point of one device; the tags of `frozen` are the same object each time. */
const point = (device: string, field = 'v', frozen?: Tags): Point => ({
  measurement: 'm',
  tags: frozen ?? [['device', device]],
  fields: [[field, 1]],
  time: 1,
})

const refused = { reason: 'too_many_series' }

t.test('a user may begin series while half of them are free, and beyond that up to its share', async t => {
  const { guard: of } = guard()
  for (let n = 0; n < 50; n++) t.notOk(of.check([point(`mallory ${n}`)], by('mallory')))
  t.match(of.check([point('mallory 50')], by('mallory')), refused)
  t.match(of.check([point('mallory 50')], by('mallory'))?.detail, /1 series.*limits\.series is 100.*50 of 50/)
  t.notOk(of.check([point('mallory 7')], by('mallory')), 'what is known is stored')
  t.notOk(of.check([point('mallory 7'), point('mallory 8')], by('mallory')))
  for (let n = 0; n < 10; n++) t.notOk(of.check([point(`bob ${n}`)], by('bob')), 'others have their share')
  t.match(of.check([point('bob 10')], by('bob')), refused)
  for (let n = 0; n < 40; n++) t.notOk(of.check([point(`large ${n}`)], by('large')), 'a share of its own')
  t.match(of.check([point('large 40')], by('large')), refused, 'there are no more')
  t.equal(of.size, 100)
})

t.test('a message is admitted whole or not at all', async t => {
  const { guard: of } = guard()
  const wide = (count: number): Point[] => [
    { ...point('d'), fields: Array.from({ length: count }, (_, i) => [`f${i}`, 1] as const) },
  ]
  t.match(of.check(wide(51), by('mallory')), refused)
  t.equal(of.size, 0)
  t.notOk(of.check(wide(50), by('mallory')))
  t.equal(of.size, 50)
  t.match(of.check(wide(51), by('mallory')), refused, 'one of them is new')
  t.match(of.check(wide(100_000), by('mallory')), refused)
})

t.test('the tags of a mapping, which are the same object each time, are one series', async t => {
  const { guard: of } = guard()
  const tags = Object.freeze([['device', 'd'] as const])
  for (let i = 0; i < 3; i++) t.notOk(of.check([point('', 'v', tags)], by('bob')))
  t.notOk(of.check([point('d')], by('bob')), 'the same, by text')
  t.notOk(of.check([{ ...point('', 'v', tags), measurement: 'other' }], by('bob')))
  t.notOk(of.check([point('', 'v', tags)], by('bob')))
  t.equal(of.size, 2)
})

t.test('so many may begin in a minute; the next minute begins anew', async t => {
  const { guard: of, clock } = guard({ series: 0, perMinute: 20 })
  for (let n = 0; n < 10; n++) t.notOk(of.check([point(`a ${n}`)], by('mallory')))
  t.match(of.check([point('a 10')], by('mallory')), { ...refused, detail: /limits\.seriesPerMinute is 20/ })
  t.notOk(of.check([point('b')], by('bob')))
  clock.now += 60_000
  t.notOk(of.check([point('a 10')], by('mallory')))
})

t.test('the alarm names the source, and is over when nothing is refused any more', async t => {
  const { guard: of, clock } = guard({ series: 10 })
  t.equal(of.alarm(), undefined)
  for (let n = 0; n < 9; n++) of.check([point(String(n))], by('mallory'))
  t.match(of.alarm(), /^user mallory, client mallory-1 sends more new series.*: 4 messages are dead letters/)
  for (let n = 0; n < 4; n++) of.check([point(`large ${n}`)], by('large'))
  clock.now += 200_000
  t.match(of.alarm(), /^9 of 10 series are used \(limits\.series\); user mallory has 5 of them/)
  const open = new SeriesGuard({
    series: 1,
    perMinute: 0,
    sharing: { shares: { ...tenth, isOpen: true } },
    monotonic: { now: () => 0 },
  })
  open.check([point('a')], by(''))
  open.check([point('b')], by(''))
  t.match(open.alarm(), /^client -1 sends/)
})

t.test('what was seen is known after a restart, with its user; damage is reported, and costs only itself', async t => {
  const path = join(await tempDir(), 'series.seen')
  const reports: string[] = []
  const incidents = { report: (kind: string, sentence: string) => reports.push(`${kind}: ${sentence}`) }
  const open = () => {
    const { guard: of } = guard({ path, incidents })
    of.start()
    return of
  }
  const first = open()
  for (let n = 0; n < 50; n++) first.check([point(`mallory ${n}`)], by('mallory'))
  for (let n = 0; n < 5; n++) first.check([point(`bob ${n}`)], by('bob'))
  await first.stop()

  const second = open()
  t.equal(second.size, 55)
  t.match(second.check([point('mallory 50')], by('mallory')), refused)
  for (let n = 0; n < 50; n++) t.notOk(second.check([point(`mallory ${n}`)], by('mallory')))
  for (let n = 5; n < 10; n++) t.notOk(second.check([point(`bob ${n}`)], by('bob')))
  t.match(second.check([point('bob 10')], by('bob')), refused)
  await second.stop()
  t.same(reports, [])

  const bytes = readFileSync(path)
  t.equal(bytes.length, 60 * 16)
  writeFileSync(path, bytes.fill(0x11, 35, 37))
  truncateSync(path, 60 * 16 - 3)
  writeFileSync(`${path}.users`, '{"torn')
  const third = open()
  t.equal(third.size, 58)
  t.match(reports, [/^series_count_damaged: .*series\.seen\.users/, /^series_count_damaged: .* 1 records are damaged/])
  t.notOk(third.check([point('mallory 99')], by('mallory')), 'whose they were is not known any more')
  await third.stop()
  const fourth = open()
  t.equal(fourth.size, 59)
  await fourth.stop()
})

t.test('a deleted series makes room for its user, also after a restart', async t => {
  const path = join(await tempDir(), 'series.seen')
  const seriesOf = (device: string) => ({ measurement: 'm', tags: [['device', device]] as const, field: 'v' })
  const { guard: of } = guard({ path })
  of.start()
  for (let n = 0; n < 50; n++) of.check([point(`mallory ${n}`)], by('mallory'))
  t.match(of.check([point('mallory 50')], by('mallory')), refused)
  of.forget(seriesOf('mallory 7'))
  of.forget(seriesOf('mallory 7'))
  of.forget(seriesOf('never seen'))
  t.equal(of.size, 49)
  t.notOk(of.check([point('mallory 50')], by('mallory')), 'there is room for one')
  t.match(of.check([point('mallory 7')], by('mallory')), refused, 'which the deleted one would need, too')
  of.forget(seriesOf('mallory 8'))
  await of.stop()

  const { guard: again } = guard({ path })
  again.start()
  t.equal(again.size, 49)
  t.notOk(again.check([point('mallory 7')], by('mallory')))
  t.match(again.check([point('mallory 8')], by('mallory')), refused)
  await again.stop()
})
