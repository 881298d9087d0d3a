import { spawn } from 'node:child_process'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { Point, SeriesId } from '../../src/model.js'
import { DuckDbStore } from '../../src/store/duckdb.js'
import { tempDir } from '../services/service.js'
import { smallDisk } from '../services/small-disk.js'

const day = 86_400_000_000
const hour = day / 24
/** A day in 2023. */
const begin = 19_700 * day
const module = new URL('../../src/store/duckdb.js', import.meta.url)

const device = (name: string, field = 'value'): SeriesId => ({ measurement: 'm', tags: [['device', name]], field })
const reading = (name: string, time: number, value: number | string = 1): Point => ({
  ...device(name),
  fields: [['value', value]],
  time,
})

async function opened(t: Test, path: string): Promise<DuckDbStore> {
  const store = new DuckDbStore({ path, rollsUp: false })
  await store.start()
  t.teardown(() => store.stop())
  return store
}

/** Writes readings of `days` days, `perDay` a day, of each device, and rolls them up. */
async function filled(store: DuckDbStore, devices: readonly string[], days: number, perDay = 24): Promise<void> {
  for (let one = 0; one < days; one++) {
    const points = Array.from({ length: perDay }, (_, i) =>
      devices.map(name => reading(name, begin + one * day + Math.floor((i * day) / perDay), one)),
    )
    await store.write(points.flat())
  }
  await store.write(devices.map(name => reading(name, begin + days * day + hour)))
  while (await store.rollUp());
}

async function timesOf(store: DuckDbStore, series: SeriesId): Promise<readonly number[]> {
  return (await store.history({ series, from: begin, to: begin + 100 * day, points: 100_000, fn: 'mean' })).times
}

/** Deletes all before a time that a class has. */
async function dropAll(store: DuckDbStore, tier: 'raw' | '1m' | '1h' | '1d', of: number | undefined, before: number) {
  let sum = 0
  for (const slice of await store.retention.plan(tier, of, before)) {
    const count = await store.retention.drop(slice, 'age', begin)
    if (count === undefined) return undefined
    sum += count
  }
  return sum
}

const usual = { id: 0, keep: 'raw=1d', since: begin, from: {} }

t.test('raw readings go by whole days, their roll-ups stay, and what went is counted', async t => {
  const store = await opened(t, join(await tempDir(), 's.duckdb'))
  await filled(store, ['a', 'b'], 3)
  await store.retention.change({ classes: [usual], assigned: 2 })
  t.equal(await dropAll(store, 'raw', 0, begin + 2 * day), 96)
  t.same(await store.retention.dropped(), [
    { tier: 'raw', why: 'age', day: begin, readings: 96, series: 2, first: begin, last: begin + 2 * day - hour },
  ])
  const raw = (await store.retention.tables()).find(({ tier }) => tier === 'raw')
  t.match(raw, { rows: 50, oldest: begin + 2 * day })
  const { values } = await store.history({
    series: device('a'),
    from: begin,
    to: begin + 3 * day,
    points: 3,
    fn: 'count',
  })
  t.same(values, [24, 24, 24], 'the days are counted as before')
  t.equal((await store.retention.state()).classes[0]?.from.raw, begin + 2 * day)
})

t.test('series of one class keep what others lose, also when a series changes into a class', async t => {
  const store = await opened(t, join(await tempDir(), 's.duckdb'))
  await filled(store, ['a', 'b', 'c'], 3)
  await store.retention.change({
    classes: [usual, { ...usual, id: 1, keep: 'raw=forever' }],
    members: [[2, 1]],
    assigned: 3,
  })
  t.same(
    (await store.retention.series(0, 10)).map(({ id, retentionClass, series }) => [
      id,
      retentionClass,
      series.tags[0]?.[1],
    ]),
    [
      [1, 0, 'a'],
      [2, 1, 'b'],
      [3, 0, 'c'],
    ],
  )
  t.equal(await dropAll(store, 'raw', 0, begin + 3 * day), 144)
  t.equal((await timesOf(store, device('b'))).length, 73)
  t.equal(await dropAll(store, 'raw', 1, begin + 1 * day), 24)
  t.match(await store.retention.rates(begin + 2 * day, begin + 3 * day), [
    { tier: 'raw', retentionClass: 1, perDay: 24 },
  ])
})

t.test('a series that is in no class yet loses nothing', async t => {
  const store = await opened(t, join(await tempDir(), 's.duckdb'))
  await filled(store, ['a', 'b'], 2)
  await store.retention.change({ classes: [usual], assigned: 1 })
  t.equal(await dropAll(store, 'raw', 0, begin + 2 * day), 48)
  t.equal((await timesOf(store, device('b'))).length, 49)
})

t.test('nothing goes that is not rolled up, or waits to be rolled up anew', async t => {
  const store = await opened(t, join(await tempDir(), 's.duckdb'))
  await store.retention.change({ classes: [usual], assigned: 10 })
  await store.write([reading('a', begin), reading('a', begin + day), reading('a', begin + 3 * day)])
  t.equal(await dropAll(store, 'raw', 0, begin + 2 * day), undefined, 'not rolled up')
  while (await store.rollUp());
  await store.write([reading('a', begin + hour)])
  t.equal(await dropAll(store, 'raw', 0, begin + 2 * day), undefined, 'a late reading waits')
  while (await store.rollUp());
  t.equal(await dropAll(store, 'raw', 0, begin + 2 * day), 3)
})

t.test('a late number goes into the roll-ups that are left, a late text is beyond retention', async t => {
  const store = await opened(t, join(await tempDir(), 's.duckdb'))
  await filled(store, ['a'], 2)
  await store.write([reading('t', begin, 'x'), reading('t', begin + day, 'y')])
  await store.retention.change({ classes: [usual], assigned: 2 })
  await dropAll(store, 'raw', 0, begin + 2 * day)
  t.same(await store.write([reading('a', begin + 30e6, 7)]), [])
  while (await store.rollUp());
  const query = { series: device('a'), from: begin, to: begin + day, points: 1 }
  t.same((await store.history({ ...query, fn: 'count' })).values, [25])
  t.match(await store.write([reading('t', begin + hour, 'z'), reading('t', begin + 3 * day, 'now')]), [
    { index: 0, reason: 'beyond_retention', detail: /of 'm' from before 2023-12-\d\dT00:00:00.000Z were deleted/ },
  ])
  for (const tier of ['1m', '1h', '1d'] as const) await dropAll(store, tier, 0, begin + 2 * day)
  t.match(
    await store.write([reading('a', begin + 31e6, 8)]),
    [{ index: 0, reason: 'beyond_retention' }],
    'no tier is left',
  )
  t.same(await store.write([reading('new', begin, 8)]), [], 'a series that is in no class yet is taken')
})

t.test('what is known of retention is there after a restart', async t => {
  const path = join(await tempDir(), 's.duckdb')
  const first = await opened(t, path)
  await filled(first, ['t'], 2)
  await first.write([reading('x', begin, 'x')])
  await first.retention.change({ classes: [usual], assigned: 2, seen: begin + 5 })
  await dropAll(first, 'raw', 0, begin + 2 * day)
  await first.stop()
  const again = await opened(t, path)
  t.match(await again.retention.state(), {
    assigned: 2,
    seen: begin + 5,
    classes: [{ from: { raw: begin + 2 * day } }],
  })
  t.match(await again.write([reading('x', begin + hour, 'x')]), [{ reason: 'beyond_retention' }])
})

/** Numbers of many series for so many days: enough that the file has many blocks. */
async function large(store: DuckDbStore, days: number): Promise<void> {
  for (let one = 0; one < days; one++) {
    const points: Point[] = []
    for (let i = 0; i < 30_000; i++)
      points.push({
        measurement: 'm',
        tags: [['device', `d${i % 5}`]],
        fields: [
          ['a', Math.random()],
          ['b', Math.random() * 1e6],
        ],
        time: begin + one * day + Math.floor(i / 5) * 14e6,
      })
    await store.write(points)
  }
  await store.write([reading('end', begin + days * day + hour)])
  while (await store.rollUp());
}

async function packed(store: DuckDbStore): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await store.retention.pack()
}

t.test('the disk gets the room back, and every other reading is as before', async t => {
  const path = join(await tempDir(), 's.duckdb')
  const store = await opened(t, path)
  await large(store, 10)
  await store.retention.change({ classes: [usual], assigned: 1_000 })
  const query = {
    series: device('d3', 'b'),
    from: begin + 8 * day,
    to: begin + 10 * day,
    points: 100_000,
    fn: 'mean',
  } as const
  const before = await store.history(query)
  t.equal(before.times.length, 12_000)
  const full = (await store.retention.size()).bytes
  t.equal(await dropAll(store, 'raw', 0, begin + 8 * day), 8 * 60_000)
  await dropAll(store, '1m', 0, begin + 8 * day)
  await packed(store)
  const { bytes, used } = await store.retention.size()
  t.comment(`bytes before ${full}, after ${bytes}, in use ${used}`)
  t.ok(bytes < full * 0.8, `${full} bytes before, ${bytes} after`)
  t.same(await store.history(query), before)
  const raw = (await store.retention.tables()).find(({ tier }) => tier === 'raw')
  t.equal(raw?.rows, 2 * 60_000 + 1)
})

t.test('a kill while readings go and rows move leaves each reading there or gone, and counted', async t => {
  const path = join(await tempDir(), 's.duckdb')
  const first = await opened(t, path)
  await large(first, 4)
  await first.retention.change({ classes: [usual], assigned: 1_000 })
  await first.stop()
  const source = `
    import { DuckDbStore } from ${JSON.stringify(fileURLToPath(module))}
    const store = new DuckDbStore({ path: ${JSON.stringify(path)}, rollsUp: false })
    globalThis.store = store
    await store.start()
    for (const slice of await store.retention.plan('raw', 0, ${begin + 3 * day})) {
      console.log('drop')
      await store.retention.drop(slice, 'age', ${begin})
      console.log('pack')
      await store.retention.pack()
    }
    console.log('done')`
  let kills = 0
  for (let step = 1; step < 4; step++) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', source], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const gone = new Promise(resolve => child.once('exit', resolve))
    let lines = 0
    let isDone = false
    for await (const line of createInterface({ input: child.stdout })) {
      isDone = line === 'done'
      // Somewhere within the step that has just begun.
      if (++lines > step % 4 && !isDone) setTimeout(() => child.kill('SIGKILL'), step % 7)
    }
    await gone
    if (isDone) break
    kills++
    const store = new DuckDbStore({ path, rollsUp: false })
    await store.start()
    const dropped = (await store.retention.dropped()).reduce((sum, { readings }) => sum + readings, 0)
    const rows = (await store.retention.tables()).find(({ tier }) => tier === 'raw')?.rows ?? 0
    t.equal(dropped + rows, 4 * 60_000 + 1, `after kill ${kills}: ${dropped} gone`)
    await store.stop()
  }
  t.ok(kills > 0, `${kills} kills`)
  const store = await opened(t, path)
  await dropAll(store, 'raw', 0, begin + 3 * day)
  await packed(store)
  const { times } = await store.history({
    ...{ series: device('d3', 'b'), from: begin + 3 * day, to: begin + 4 * day, points: 100_000, fn: 'mean' },
  })
  t.equal(times.length, 6_000)
})

t.test('on a full disk nothing moves, a sentence says so, and the store is whole', async t => {
  const disk = await smallDisk(t, 300e6)
  if (!disk) return t.pass('no file system may be mounted here')
  const path = join(disk.dir, 's.duckdb')
  const store = await opened(t, path)
  await large(store, 8)
  await store.retention.change({ classes: [usual], assigned: 1_000 })
  await dropAll(store, 'raw', 0, begin + 7 * day)
  await dropAll(store, '1m', 0, begin + 7 * day)
  // Until then a part of the readings is in the log beside the file.
  await store.retention.settle()
  const before = statSync(path).size
  disk.fill(8e6)
  await t.rejects(store.retention.pack(), { code: 'store_unavailable', message: /has \d+ MB free, too little/ })
  t.equal(statSync(path).size, before)
  disk.free()
  await packed(store)
  t.ok(statSync(path).size < before)
  const { times } = await store.history({
    ...{ series: device('d3', 'b'), from: begin + 7 * day, to: begin + 8 * day, points: 100_000, fn: 'mean' },
  })
  t.equal(times.length, 6_000)
})
