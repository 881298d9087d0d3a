import { join } from 'node:path'
import t from 'tap'
import type { Answer } from '../../src/contract/contract.js'
import { DuckDbStore } from '../../src/store/duckdb.js'
import { eventually, runCli, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'

const day = 86_400_000_000

type Store = Answer<'GET /api/store'>

/** A data folder whose store has one reading an hour of the last ten days, rolled up, and a rule of long ago. */
async function filledDir(): Promise<string> {
  const dir = await tempDir()
  const store = new DuckDbStore({ path: join(dir, 'store.duckdb'), rollsUp: false })
  await store.start()
  const now = Math.floor((Date.now() * 1_000) / day) * day + 60e6
  const times = Array.from({ length: 240 }, (_, i) => now - 10 * day + (i * day) / 24)
  const point = { measurement: 'm', tags: [], fields: [['v', 1]] as [string, number][] }
  await store.write([...times, now].map(time => ({ ...point, time })))
  while (await store.rollUp());
  const long = { id: 0, keep: 'raw=3d', since: now - 2 * day, from: {} }
  await store.retention.change({ classes: [long], assigned: 1, seen: now })
  await store.stop()
  return dir
}

t.test('a hub deletes what was kept long enough, counts it, and says what the store will need', async t => {
  const dir = await filledDir()
  const hub = await startHub(t, { 'store.keep': 'raw=3d' }, dir)
  const deleted = await eventually(async () => {
    const { body } = await hub.get<Store>('/api/store')
    return body.deleted.length > 0 && body
  }, 'readings are deleted')
  t.match(deleted, { kind: 'duckdb', keep: 'raw=3d', limit: 0, deleted: [{ tier: 'raw', why: 'age', series: 1 }] })
  t.equal(deleted.deleted[0]?.readings, 7 * 24)
  const raw = deleted.tables.find(({ tier }) => tier === 'raw')
  t.equal(raw?.rows, 73)
  const balance = (await hub.get<Answer<'GET /api/balance'>>('/api/balance')).body
  t.match(balance, { residual: 0, expired: { readings: 168 } })
  const metrics = await (await fetch(`${hub.httpUrl}/metrics`)).text()
  t.match(metrics, /telehub_store_deleted_readings\{tier="raw",reason="age"\} 168/)
  t.match(deleted.rolledUp, { until: Number, behind: Number, waiting: 0 })
  t.match(metrics, /telehub_store_rollup_lag_seconds \d+/)
  t.match(metrics, /telehub_store_rollup_waiting_hours 0/)
  t.match(metrics, /telehub_store_bytes\{of="files"\} \d+/)

  const forever = (await hub.get<Store>('/api/store?keep=raw%3Dforever')).body
  t.equal(forever.keep, 'raw=forever')
  t.equal(forever.forecast?.most, undefined)
  t.ok((forever.forecast?.at[2]?.bytes ?? 0) > (deleted.forecast?.at[2]?.bytes ?? 0), 'for ever needs more')
  t.match(await hub.get('/api/store?keep=raw%3Dsoon'), {
    status: 400,
    body: { error: 'bad_request', message: /keep: given "raw=soon", allowed are times such as/ },
  })

  const { port } = new URL(hub.httpUrl)
  const run = runCli(['store', 'forecast', '--keep', 'raw=30d', '--http.port', port, '--data.dir', dir])
  t.equal(await run.exited, 0)
  t.match(
    run.stdout(),
    /kept: raw=30d\n[\s\S]*rolled up to \d{4}.*, \d+ s behind the newest reading\n[\s\S]*in 365 days: [\s\S]*deleted on .*: 168 \(raw\)/,
  )
})
