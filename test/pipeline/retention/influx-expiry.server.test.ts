import { join } from 'node:path'
import t from 'tap'
import { keepTimes } from '../../../src/config/settings.js'
import { graceUs } from '../../../src/pipeline/retention/expiry.js'
import { InfluxExpiry } from '../../../src/pipeline/retention/influx-expiry.js'
import { InfluxStore } from '../../../src/store/influxdb.js'
import { startInflux } from '../../services/influxdb.js'
import { tempDir } from '../../services/service.js'

const influx = await startInflux()
t.teardown(() => influx.stop())
const day = 864e5
const now = 1_700_000_000_000_000

/** A database with a reading, and what the hub makes of its policy. */
async function database(t: { teardown(end: () => unknown): void }, name: string) {
  const store = new InfluxStore({ url: `${influx.url}/${name}` })
  t.teardown(() => store.stop())
  await store.write([{ measurement: 'm', tags: [], fields: [['v', 1]], time: now }])
  const path = join(await tempDir(), 'influx-retention.json')
  const lines: string[] = []
  const log = { info: (line: string) => lines.push(line), warn: (line: string) => lines.push(line) }
  return {
    store,
    lines,
    kept: async () => (await store.policies.usual())?.keptMs,
    of: (keep: string, alters = false) =>
      new InfluxExpiry({ policies: store.policies, keep: keepTimes(keep) ?? {}, alters, path, log }),
  }
}

t.test('the default policy is as store.keep says, a shorter one after an hour', async t => {
  const { kept, of, lines } = await database(t, 'own')
  t.equal(await kept(), Number.POSITIVE_INFINITY)
  const first = of('raw=90d')
  await first.pass(now)
  t.equal(await kept(), Number.POSITIVE_INFINITY)
  t.match(lines, [/in an hour InfluxDB deletes what is older than 90 d .* autogen is changed then/])
  await first.pass(now + graceUs)
  t.equal(await kept(), 90 * day)
  await of('raw=2y').pass(now + graceUs)
  t.equal(await kept(), 730 * day, 'a longer one acts at once')
  const shorter = of('raw=1d')
  await shorter.pass(now)
  await shorter.pass(now + graceUs)
  t.equal(await kept(), day, 'as short as one day, which needs shorter shards')
  await of('').pass(now)
  t.equal(await kept(), Number.POSITIVE_INFINITY, 'the setting is taken back')
  t.match(lines.at(-1), /keeps readings for ever now/)
})

t.test('a policy that somebody has made by hand stays, unless the settings allow a change', async t => {
  const { store, kept, of } = await database(t, 'hand')
  await store.policies.alter('autogen', 200 * day)
  const careful = of('raw=90d')
  await careful.pass(now)
  await careful.pass(now + graceUs)
  t.match(
    careful.alarm,
    /for 90 d, but the retention policy autogen of InfluxDB keeps them for 200 d, which the hub has not set/,
  )
  t.equal(await kept(), 200 * day)
  await of('').pass(now)
  t.equal(await kept(), 200 * day, 'without the setting the hub does not look')
  const allowed = of('raw=90d', true)
  await allowed.pass(now)
  await allowed.pass(now + graceUs)
  t.equal(await kept(), 90 * day)
  t.equal(allowed.alarm, undefined)
})

t.test('what is older than the policy is beyond retention', async t => {
  const { store } = await database(t, 'old')
  await store.policies.alter('autogen', 90 * day)
  const time = Date.now() * 1_000
  const points = [time - 200 * day * 1_000, time].map(at => ({
    ...{ measurement: 'm', tags: [], fields: [['v', 1]] as [string, number][], time: at },
  }))
  t.match(await store.write(points), [{ index: 0, reason: 'beyond_retention' }])
})
