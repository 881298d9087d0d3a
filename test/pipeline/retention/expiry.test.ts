import { join } from 'node:path'
import t, { type Test } from 'tap'
import { keepTimes, type MappingRule } from '../../../src/config/settings.js'
import type { Point } from '../../../src/model.js'
import { Mapping } from '../../../src/pipeline/mapping.js'
import { Expiry, graceUs } from '../../../src/pipeline/retention/expiry.js'
import { KeepRules } from '../../../src/pipeline/retention/keep-rules.js'
import { DuckDbStore } from '../../../src/store/duckdb.js'
import { tempDir } from '../../services/service.js'

const day = 86_400_000_000
const hour = day / 24
/** A noon in 2023. */
const now = 19_700 * day + 12 * hour
const json = { depth: 16, fields: 2_000, inflated: 4e6 }

/** A store with readings of ten days, one an hour, on `plant/1/a` and `lab/1/b`. */
async function filled(t: Test) {
  const store = new DuckDbStore({ path: join(await tempDir(), 's.duckdb'), rollsUp: false })
  await store.start()
  t.teardown(() => store.stop())
  const points: Point[] = []
  for (let time = now - 10 * day; time <= now; time += hour)
    for (const measurement of ['plant', 'lab'])
      points.push({ measurement, tags: [['line', '1']], fields: [['value', 1]], time })
  await store.write(points)
  while (await store.rollUp());
  const counts = async () => {
    const of = async (measurement: string) => {
      const series = { measurement, tags: [['line', '1']] as const, field: 'value' }
      const { times } = await store.history({ series, from: 0, to: now + day, points: 100_000, fn: 'mean' })
      return times.length
    }
    return { plant: await of('plant'), lab: await of('lab') }
  }
  const lines: string[] = []
  const log = { info: (line: string) => lines.push(line), warn: (line: string) => lines.push(line) }
  /** Retention by settings, as one start of the processor thread has it. */
  const started = (keep: string, mapping: readonly MappingRule[] = [], limit = 0) => {
    const rules = new KeepRules(new Mapping(mapping, json), keepTimes(keep) ?? {})
    return new Expiry({ store: store.retention, rules, limit, pauseMs: 1, log })
  }
  return { store, counts, lines, started }
}

/** Raw readings that are left, by both series together. */
async function rawRows({ retention }: DuckDbStore): Promise<number | undefined> {
  return (await retention.tables()).find(({ tier }) => tier === 'raw')?.rows
}

const labRule: MappingRule = { topic: 'lab/{line}', measurement: 'lab', keep: { raw: '8d' } }
const plantRule: MappingRule = { topic: 'plant/{line}', measurement: 'plant' }

t.test('a time to keep acts after an hour, and a line says before what will go', async t => {
  const { store, lines, started } = await filled(t)
  const expiry = started('raw=3d')
  await expiry.pass(now)
  t.equal(await rawRows(store), 482)
  t.match(lines, [
    /^from 2023-12-09T13:00Z on \d+ readings \(raw\) of 2023-11-29 to 2023-12-05 are deleted, as they are kept for raw=3d \(store.keep\)/,
  ])
  await expiry.pass(now + graceUs - 1)
  t.equal(await rawRows(store), 482)
  await expiry.pass(now + graceUs)
  const left = 2 * (3 * 24 + 13)
  t.equal(await rawRows(store), left, 'whole days go')
  t.match(lines.at(-1), new RegExp(`^${482 - left} readings \\(raw\\) were deleted, as they were kept long enough`))
  await expiry.pass(now + graceUs + 60e6)
  t.match(lines.at(-1), /were deleted/, 'nothing more is said')
  t.equal(lines.length, 2)
})

t.test('a rule keeps longer than the setting; without the rule the series waits an hour again', async t => {
  const { store, lines, started } = await filled(t)
  const first = started('raw=3d', [plantRule, labRule])
  await first.pass(now)
  await first.pass(now + graceUs)
  const [plant, lab] = [3 * 24 + 13, 8 * 24 + 13]
  t.equal(await rawRows(store), plant + lab)
  const second = started('raw=3d', [plantRule])
  const later = now + 2 * hour
  await second.pass(later)
  t.match(lines.at(-1), /readings \(raw\) of .* are deleted, as they are kept for raw=3d \(keep of a mapping rule\)/)
  t.equal(await rawRows(store), plant + lab, 'the change waits')
  await second.pass(later + graceUs)
  t.equal(await rawRows(store), 2 * plant)
})

t.test('beyond the limit the oldest days go, of all series, but not today and yesterday', async t => {
  const { store, lines, started } = await filled(t)
  await started('', [], 1).pass(now)
  t.equal(await rawRows(store), 2 * (24 + 13))
  t.match(lines.at(-1), /were deleted, as the store was at store.limit/)
  t.same(
    (await store.retention.dropped()).map(({ why }) => why),
    ['limit'],
  )
  const { used } = await store.retention.size()
  await started('', [], used * 2).pass(now)
  t.equal(await rawRows(store), 2 * (24 + 13), 'a store within the limit loses nothing')
})

t.test('roll-ups go by times of their own, the finer before the coarser', async t => {
  const { store, started } = await filled(t)
  const expiry = started('raw=1d,1m=2d,1h=5d')
  await expiry.pass(now)
  await expiry.pass(now + graceUs)
  const oldest = Object.fromEntries((await store.retention.tables()).map(({ tier, oldest }) => [tier, oldest]))
  const midnight = now - 12 * hour
  t.match(oldest, { raw: midnight - day, '1m': midnight - 2 * day, '1h': midnight - 5 * day })
  t.ok((oldest['1d'] ?? now) <= midnight - 9 * day, 'days stay for ever')
})

t.test('new series get their rule at the next pass, without many classes', async t => {
  const { store, started } = await filled(t)
  const expiry = started('raw=3d', [plantRule, labRule])
  for (let pass = 0; pass < 5; pass++) {
    await expiry.pass(now + pass * hour)
    await store.write([{ measurement: 'lab', tags: [['line', `new ${pass}`]], fields: [['value', 1]], time: now }])
    while (await store.rollUp());
  }
  const { classes } = await store.retention.state()
  t.same(
    classes.map(({ keep }) => keep),
    ['raw=3d', 'raw=8d'],
  )
})

t.test('nothing is lost by a store without times, and a stop ends a pass', async t => {
  const { store, counts, started } = await filled(t)
  const before = await counts()
  await started('').pass(now)
  t.same(await counts(), before)
  const expiry = started('raw=1d')
  await expiry.pass(now)
  expiry.stop()
  await expiry.pass(now + graceUs)
  t.equal(await rawRows(store), 482)
})
