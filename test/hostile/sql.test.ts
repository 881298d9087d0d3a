import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import t from 'tap'
import { startHub } from '../harness.js'
import { attempts, mappingFile, publishAll, readings, stillServes, storedExactly } from './attempts.js'

/** Topics, names, values and parameters on their way into DuckDB. */

async function rows(path: string, sql: string): Promise<unknown[][]> {
  const instance = await DuckDBInstance.create(path, { access_mode: 'READ_ONLY' })
  try {
    const connection = await instance.connect()
    const found = await (await connection.runAndReadAll(sql)).getRows()
    connection.closeSync()
    return found.map(row => row.map(value => (typeof value === 'bigint' ? Number(value) : value)))
  } finally {
    instance.closeSync()
  }
}

t.test('what was sent is stored as it was sent, and nothing else', async t => {
  const config = await mappingFile()
  const hub = await startHub(t, { config })
  const sent = readings()
  await publishAll(t, hub, sent)
  await storedExactly(t, hub, sent)
  await hub.stop()
  const again = await startHub(t, { config }, hub.dir)
  await storedExactly(t, again, sent)

  for (const [attempt, text] of attempts) {
    for (const series of [text, `${text} v`, `fields,topic=fields ${text}' OR '1'='1`, `values,topic=${text} v`]) {
      const query = new URLSearchParams({ series, from: '0', to: '4102444800000' })
      const { status, body } = await again.get<object>(`/api/history?${query}`)
      if (status === 200) t.same(body, { times: [], values: [] }, `${attempt}: as series to ask for`)
      else
        t.match({ status, body }, { status: 400, body: { error: 'bad_request' } }, `${attempt}: as series to ask for`)
    }
    const query = (name: string) => new URLSearchParams({ series: 'values,topic=values/0 v', [name]: text })
    for (const name of ['from', 'to', 'points', 'fn']) {
      // A number is one.
      if (text === '1' || text === '\n') continue
      t.equal((await again.get(`/api/history?${query(name)}`)).status, 400, `${attempt}: as ${name}`)
    }
  }
  await stillServes(t, again)
  await again.stop()
  const path = join(hub.dir, 'store.duckdb')
  t.same(await rows(path, 'SELECT count(*) FROM series'), [[sent.length + 1]])
  t.same(
    await rows(path, 'SELECT (SELECT count(*) FROM numbers) + (SELECT count(*) FROM texts)'),
    [[sent.length + 1]],
    'no other row',
  )
  const names = await rows(path, 'SELECT table_name FROM duckdb_tables() ORDER BY 1')
  const rollUps = ['dropped', 'numbers_1d', 'numbers_1h', 'numbers_1m', 'rolled', 'stale']
  const retention = ['retention_classes', 'retention_drops', 'retention_members', 'retention_state']
  const swap = ['swap', 'swap_made', 'swap_numbers', 'swap_texts', 'swap_keys', 'kept_numbers', 'kept_texts']
  const own = ['format', 'numbers', 'progress', 'series', 'texts', ...rollUps, ...retention, ...swap]
  t.same(
    names,
    own.sort().map(name => [name]),
  )
  t.notOk(existsSync('/tmp/telehub-hostile.csv') || existsSync('/tmp/telehub-hostile.db'), 'no file was written')
})
