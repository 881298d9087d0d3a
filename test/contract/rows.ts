import type { Test } from 'tap'
import type { FieldValue, Point } from '../../src/model.js'
import type { RowSeries, TimeSeriesStore } from '../../src/store/store.js'
import { noon, point } from './store.js'

type Row = readonly [series: string, time: number, value: FieldValue]

const nameOf = ({ measurement, tags, field }: Pick<RowSeries, 'measurement' | 'tags' | 'field'>) =>
  JSON.stringify([measurement, tags, field])

/** Every row that a store hands out, in the order of doing so. */
async function rowsOf(
  store: TimeSeriesStore,
  { from = 0, to = 2_000_000_000_000_000, chosen = (_: RowSeries): boolean => true } = {},
) {
  const reading = await store.rows?.open({ from, to, chosen: { includes: chosen } })
  if (!reading) throw new Error('the store has no rows')
  const rows: Row[] = []
  const sizes: number[] = []
  for (let chunk = await reading.next(); chunk; chunk = await reading.next()) {
    sizes.push(chunk.times.length)
    for (const [i, position] of chunk.series.entries())
      rows.push([
        nameOf(reading.series[position] as RowSeries),
        chunk.times[i] as number,
        chunk.values[i] as FieldValue,
      ])
  }
  reading.close()
  return { rows, sizes, order: reading.order, extent: reading.extent }
}

const expectedOf = (points: readonly Point[]): Row[] =>
  points.flatMap(({ measurement, tags, fields, time }) =>
    fields.map(([field, value]) => [nameOf({ measurement, tags, field }), time, value] as const),
  )

const sorted = (rows: readonly Row[]) => rows.map(row => JSON.stringify(row)).sort()

/** What a source of rows promises. `place` makes a started store in a new empty place. */
export function rowsContract(t: Test, place: (t: Test) => Promise<TimeSeriesStore>): void {
  t.test('every row comes once, with its time, type and value', async t => {
    const store = await place(t)
    const points: Point[] = []
    for (let i = 0; i < 30_000; i++)
      points.push(point('m', [['n', String(i % 3)]], [['value', i / 7]], noon + Math.floor(i / 3) * 1_000_003))
    for (let i = 0; i < 3_000; i++)
      points.push(
        point(
          'log',
          [],
          [
            ['text', `"line", ${i}\nü=€\\ '😀`],
            ['on', i % 2 === 0],
          ],
          noon + i * 999_983,
        ),
      )
    points.push(point('old', [], [['value', -0.1]], 1), point('sparse', [], [['value', 1e300]], noon - 9e14))
    await store.write(points)
    const { rows, sizes, order } = await rowsOf(store)
    t.equal(rows.length, 30_000 + 6_000 + 2)
    t.same(sorted(rows), sorted(expectedOf(points)))
    t.ok(
      sizes.every(size => size <= 22_000),
      'in chunks',
    )
    if (order === 'time')
      t.same(
        rows.map(([, time]) => time),
        rows.map(([, time]) => time).sort((a, b) => a - b),
      )
  })

  t.test('a range includes its beginning and not its end; series are chosen', async t => {
    const store = await place(t)
    await store.write(
      [0, 1, 2, 3].map(i =>
        point(
          'm',
          [],
          [
            ['a', i],
            ['b', true],
          ],
          noon + i,
        ),
      ),
    )
    const { rows } = await rowsOf(store, { from: noon + 1, to: noon + 3, chosen: ({ field }) => field === 'a' })
    t.same(
      rows.map(([, time, value]) => [time - noon, value]),
      [
        [1, 1],
        [2, 2],
      ],
    )
    t.same((await rowsOf(store, { chosen: () => false })).rows, [])
    t.same((await rowsOf(store, { from: noon + 4 })).rows, [])
  })
}
