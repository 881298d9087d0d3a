import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import t from 'tap'
import type { SeriesId } from '../../src/model.js'
import { DuckDbStore } from '../../src/store/duckdb.js'
import { Random } from '../fixtures/packets.js'
import { tempDir } from '../services/service.js'

/* Roll-ups that are made while readings are written, and windows of many series that are made from roll-ups. */

const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000)
const [minute, hour, day] = [60e6, 3_600e6, 86_400e6]
/** A Tuesday in 2023, in microseconds, in the middle of a minute. */
const start = 1_700_000_012_345_678

const seriesOf = (field: string): SeriesId => ({ measurement: 'plant', tags: [['device', 'd1']], field })
/** Quarters: sums of them are exact, in whatever order they are made. */
const someNumber = (random: Random) => random.below(4_000) / 4 - 500

t.test('readings that come late while a step is rolled up are in the roll-ups in the end', async t => {
  const store = new DuckDbStore({
    path: join(await tempDir(), 'store.duckdb'),
    clock: { now: () => (start + 3 * day) / 1_000 },
    rollsUp: false,
  })
  await store.start()
  t.teardown(() => store.stop())
  const first = Math.floor(start / day) * day
  const points = (from: number, every: number, count: number) =>
    Array.from({ length: count }, (_, n) => ({
      ...seriesOf('fast'),
      fields: [['fast', 1]] as const,
      time: first + from + n * every,
    }))
  await store.write(points(0, 60e6, 2 * 24 * 60))
  let [late, turns] = [0, 0]
  for (let isMore = true; isMore; turns++) {
    // Begun before the write, and done beside it: the readings of the write are in no step.
    const turn = store.rollUp()
    for (; late < 3 * (turns + 1) && late < 60; late++)
      await store.write(points((late + 0.5) * 60e6 + late, 3 * hour, 12))
    isMore = await turn
  }
  const from = first
  const to = first + 2 * day
  const counted = await store.history({ series: seriesOf('fast'), from, to, points: 2, fn: 'count' })
  const sum = counted.values.reduce<number>((all, value) => all + Number(value), 0)
  t.equal(sum, 2 * 24 * 60 + late * 12, `${late} late writes in ${turns} turns`)
  await store.stop()
  await store.start()
  t.same(await store.history({ series: seriesOf('fast'), from, to, points: 2, fn: 'count' }), counted)
  t.match(await store.retention.rolledUp(), { until: Number, waiting: 0 })
})

t.test('windows of many series are the same from roll-ups as from the readings', async t => {
  const random = new Random(seed + 3)
  const now = start + 5 * day
  const store = new DuckDbStore({
    path: join(await tempDir(), 'store.duckdb'),
    clock: { now: () => now / 1_000 },
    rollsUp: false,
  })
  await store.start()
  t.teardown(() => store.stop())
  const point = (time: number) => ({
    ...seriesOf('fast'),
    fields: ['a', 'b', 'c'].filter(() => random.chance(70)).map(field => [field, someNumber(random)] as const),
    time,
  })
  const points = Array.from({ length: 6_000 }, () => point(start + random.below(5 * day)))
  await store.write(points.filter(({ fields }) => fields.length > 0))
  await store.write([{ ...seriesOf('fast'), fields: [['a', 0]], time: now }])
  const numbered = await store.reader.names({ fields: ['a', 'b', 'c'], limit: 10 })
  const names = ['mean', 'min', 'max', 'sum', 'count', 'spread', 'first', 'last'] as const
  const questions = Array.from({ length: 60 }, () => {
    const width = random.pick([7e6, minute, 15 * minute, hour, 6 * hour, day, 2 * day])
    const from = start + random.below(4 * day)
    return {
      type: 'number' as const,
      series: numbered.map(({ id }) => id),
      groups: random.pick([
        [0, 0, 0],
        [0, 1, 1],
        [2, 1, 0],
      ]),
      ...{ from, to: from + 1 + random.below(now + 1 - from), limit: 1_000_000 },
      windows: random.chance(90) ? { width, origin: Math.floor(from / width) * width } : undefined,
      functions: names
        .filter(() => random.chance(60))
        .map(name => ({ name, nth: 0, isTimed: (name === 'first' || name === 'last') && random.chance(50) })),
    }
  })
  const ask = async () => {
    const answers = []
    for (const question of questions) answers.push(await store.reader.windows(question))
    return answers
  }
  const fromReadings = await ask()
  while (await store.rollUp());
  t.strictSame(await ask(), fromReadings, `FUZZ_SEED=${seed}`)
  await store.write(Array.from({ length: 40 }, () => point(start + random.below(day))).filter(one => one.fields.length))
  const withMarks = await ask()
  while (await store.rollUp());
  t.strictSame(await ask(), withMarks, 'late readings are in, before they are rolled up and after it')

  await store.stop()
  const before = Math.floor((start + 3 * day) / hour) * hour
  const path = join(await tempDir(), 'gone.duckdb')
  const gone = new DuckDbStore({ path, clock: { now: () => now / 1_000 }, rollsUp: false })
  await gone.start()
  await gone.write([
    ...points.filter(({ fields }) => fields.length > 0),
    { ...seriesOf('fast'), fields: [['a', 0]], time: now },
  ])
  while (await gone.rollUp());
  const query = {
    type: 'number' as const,
    series: (await gone.reader.names({ fields: ['a', 'b', 'c'], limit: 10 })).map(({ id }) => id),
    ...{ groups: [0, 1, 2], limit: 1_000_000, windows: { width: hour, origin: Math.floor(start / hour) * hour } },
    ...{ from: Math.floor(start / hour) * hour, to: now },
    functions: names.map(name => ({ name, nth: 0, isTimed: false })),
  }
  const whole = await gone.reader.windows(query)
  await gone.stop()
  await run(path, `DELETE FROM numbers WHERE time < ${before}; INSERT INTO dropped (series, raw) VALUES (0, ${before})`)
  await gone.start()
  t.strictSame(await gone.reader.windows(query), whole, 'also where retention has deleted the readings')
  await gone.stop()
})

/** Runs statements on a database that no store has open. */
async function run(path: string, sql: string): Promise<void> {
  const instance = await DuckDBInstance.create(path)
  const connection = await instance.connect()
  await connection.run(sql)
  connection.closeSync()
  instance.closeSync()
}
