import { join } from 'node:path'
import t, { type Test } from 'tap'
import { loadSettings } from '../../../src/config/config.js'
import { Mapping } from '../../../src/pipeline/mapping.js'
import { ReadingRetention } from '../../../src/pipeline/retention/retention.js'
import { DuckDbStore } from '../../../src/store/duckdb.js'
import { tempDir } from '../../services/service.js'

const day = 864e5
const start = Date.UTC(2026, 5, 1, 12)

/** Retention of a store with a reading an hour of ten days, with clocks that the test moves. */
async function kept(t: Test, flags: Readonly<Record<string, string>>) {
  const dir = await tempDir()
  const store = new DuckDbStore({ path: join(dir, 's.duckdb'), rollsUp: false })
  await store.start()
  t.teardown(() => store.stop())
  const times = Array.from({ length: 241 }, (_, i) => (start - 10 * day + i * 36e5) * 1_000)
  await store.write(times.map(time => ({ measurement: 'm', tags: [], fields: [['v', 1]] as [string, number][], time })))
  while (await store.rollUp());
  const at = { wall: start, monotonic: 0 }
  const lines: string[] = []
  const log = { info: (line: string) => lines.push(line), warn: (line: string) => lines.push(line) }
  const retention = new ReadingRetention({
    settings: loadSettings({ flags, environment: {} }),
    ...{ dir, store, log },
    mapping: new Mapping([], { depth: 16, fields: 100, inflated: 1e6 }),
    dependencies: { isUp: () => true },
    wall: { now: () => at.wall },
    monotonic: { now: () => at.monotonic },
  })
  return {
    ...{ store, retention, lines },
    look: async (after: number, jump = 0) => {
      at.wall += after + jump
      at.monotonic += after
      await retention.look()
    },
    rows: async () => (await store.retention.tables()).find(({ tier }) => tier === 'raw')?.rows,
  }
}

t.test('a clock that says 2050 for a moment deletes nothing, and is told', async t => {
  const { retention, lines, look, rows } = await kept(t, { 'store.keep': 'raw=3d' })
  await look(0)
  await look(60_000, 24 * 365 * day)
  t.match(retention.alarm(), /^nothing is deleted from the store: the clock of this machine says 2050-/)
  for (let hour = 0; hour < 3; hour++) await look(36e5)
  t.equal(await rows(), 241)
  await look(60_000, -24 * 365 * day)
  t.equal(retention.alarm(), undefined)
  t.equal(await rows(), 3 * 24 + 13)
  t.match(retention.expired, { readings: 241 - 85, series: 1 })
  t.equal(lines.filter(line => /2050/.test(line)).length, 1)
})

t.test('near the limit there is an alarm before anything goes', async t => {
  const { store, look, retention, rows } = await kept(t, {})
  await look(0)
  const { used } = await store.retention.size()
  t.equal(retention.alarm(), undefined)
  const { look: near, retention: full, rows: left } = await kept(t, { 'store.limit': `${Math.ceil(used * 1.05)}` })
  await near(0)
  t.match(full.alarm(), /^the store uses 9\d % of store.limit; beyond it the oldest days of raw readings are deleted/)
  t.equal(await left(), 241)
  t.equal(await rows(), 241)
})

t.test('a report has times that were asked for, and refuses others', async t => {
  const { look, retention } = await kept(t, { 'store.keep': 'raw=30d' })
  await look(0)
  t.match(await retention.report('raw=5d'), { keep: 'raw=5d', kind: 'duckdb', tiers: [{ tier: 'raw', rows: 241 }] })
  await t.rejects(retention.report('raw=1s'), { code: 'bad_request', message: /keep: given "raw=1s"/ })
})
