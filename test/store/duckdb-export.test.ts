import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import t, { type Test } from 'tap'
import type { Point } from '../../src/model.js'
import { DuckDbStore } from '../../src/store/duckdb.js'
import { rowsContract } from '../contract/rows.js'
import { noon, point } from '../contract/store.js'
import { tempDir } from '../services/service.js'

async function place(t: Test) {
  const dir = await tempDir()
  const store = new DuckDbStore({ path: join(dir, 'store.duckdb') })
  await store.start()
  t.teardown(() => store.stop())
  return store
}

rowsContract(t, place)

const everything = { from: 0, to: 2e15, chosen: { includes: () => true } }

t.test('more series at one microsecond than a chunk holds', async t => {
  const store = await place(t)
  const points: Point[] = []
  for (let i = 0; i < 45_000; i++) points.push(point('m', [['n', String(i)]], [['value', i]], noon))
  for (let i = 0; i < 5_000; i++) points.push(point('m', [['n', String(i)]], [['text', `t${i}`]], noon))
  for (let i = 0; i < 10; i++) points.push(point('m', [['n', '0']], [['value', i]], noon + 1 + i))
  await store.write(points)
  const reading = await store.rows.open(everything)
  const seen = new Set<string>()
  let rows = 0
  for (let chunk = await reading.next(); chunk; chunk = await reading.next()) {
    rows += chunk.times.length
    for (const [i, position] of chunk.series.entries()) seen.add(`${position} ${chunk.times[i]}`)
  }
  t.equal(rows, 50_010)
  t.equal(seen.size, 50_010)
})

t.test('long texts: a chunk is bounded by bytes, too', async t => {
  const store = await place(t)
  const texts = Array.from({ length: 60 }, (_, i) => String(i % 10).repeat(500_000))
  await store.write(texts.map((text, i) => point('m', [], [['text', text]], noon + i)))
  const reading = await store.rows.open(everything)
  const found: unknown[] = []
  for (let chunk = await reading.next(); chunk; chunk = await reading.next()) {
    t.ok(chunk.values.reduce<number>((sum, value) => sum + String(value).length, 0) <= 8_500_000)
    found.push(...chunk.values)
  }
  t.ok(found.length === 60 && found.every((text, i) => text === texts[i]))
})

t.test('the file may be closed and opened again between two chunks', async t => {
  const store = await place(t)
  await store.write(Array.from({ length: 60_000 }, (_, i) => point('m', [], [['value', i]], noon + i)))
  const reading = await store.rows.open(everything)
  let rows = (await reading.next())?.times.length ?? 0
  await store.change({
    kind: 'rename',
    series: { measurement: 'm', tags: [], field: 'value' },
    to: { measurement: 'n', tags: [], field: 'value' },
  })
  for (let chunk = await reading.next(); chunk; chunk = await reading.next()) rows += chunk.times.length
  t.equal(rows, 60_000)
})

t.test('a Parquet file has each row, with typed columns; an aborted one is an error', async t => {
  const store = await place(t)
  const dir = await tempDir()
  await store.write([
    point(
      'm',
      [
        ['a', '1'],
        ['b', 'x"y'],
      ],
      [
        ['flag', false],
        ['number', 0.1],
        ['text', 'ü\n"'],
      ],
      noon,
    ),
    point('other', [], [['number', 5]], noon + 1),
  ])
  const path = join(dir, "it's.parquet")
  const chosen = { includes: ({ measurement }: { readonly measurement: string }) => measurement === 'm' }
  t.same(await store.rows.parquet({ ...everything, chosen }, path, new AbortController().signal), { rows: 3 })
  const instance = await DuckDBInstance.create()
  const connection = await instance.connect()
  const read = await connection.runAndReadAll(
    `SELECT epoch_us(time)::VARCHAR, measurement, tags, field, type, number, boolean, text FROM '${path.replaceAll("'", "''")}' ORDER BY field`,
  )
  const names = [String(noon), 'm', '{"a":"1","b":"x\\"y"}']
  t.same(read.getRowsJson(), [
    [...names, 'flag', 'boolean', null, false, null],
    [...names, 'number', 'number', 0.1, null, null],
    [...names, 'text', 'text', null, null, 'ü\n"'],
  ])
  connection.closeSync()
  instance.closeSync()
  const abort = new AbortController()
  const begun = store.rows.parquet(everything, join(dir, 'never'), abort.signal)
  abort.abort()
  await t.rejects(begun, { code: 'store_unavailable' })
  t.notOk(existsSync(join(dir, 'never')) && (await store.write([])).length > 0)
})
