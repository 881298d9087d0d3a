import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { DuckDBInstance } from '@duckdb/node-api'
import t, { type Test } from 'tap'
import type { FieldValue, Point, SeriesId } from '../../src/model.js'
import { DuckDbStore } from '../../src/store/duckdb.js'
import { aggregates } from '../../src/store/store.js'
import { Random } from '../fixtures/packets.js'
import { tempDir } from '../services/service.js'
import { smallDisk } from '../services/small-disk.js'

const day = 86_400_000_000
const hour = day / 24
/** A day in 2023. */
const begin = 19_700 * day
const module = new URL('../../src/store/duckdb.js', import.meta.url)
const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000)
const never = new AbortController().signal

const device = (name: string, field = 'value', measurement = 'room/a'): SeriesId => ({
  measurement,
  tags: [
    ['10', 'x'],
    ['device', name],
    ['é"\'', 'ü'],
  ],
  field,
})
const reading = (of: SeriesId, time: number, value: FieldValue): Point => ({
  ...of,
  fields: [[of.field, value]],
  time: Math.floor(time),
})

async function opened(t: Test, dir: string, name = 's.duckdb', told: string[] = []): Promise<DuckDbStore> {
  const incidents = { report: (_kind: string, sentence: string) => void told.push(sentence) }
  const store = new DuckDbStore({ path: join(dir, name), incidents, rollsUp: false, days: join(dir, 'days') })
  await store.start()
  t.teardown(() => store.stop())
  return store
}

/** Deletes all before a time of the usual class. */
async function dropAll(store: DuckDbStore, tier: 'raw' | '1m' | '1h' | '1d', before: number): Promise<void> {
  const { classes } = await store.retention.state()
  if (classes.length === 0)
    await store.retention.change({ classes: [{ id: 0, keep: 'raw=1d', since: begin, from: {} }], assigned: 1_000 })
  for (const slice of await store.retention.plan(tier, 0, before)) await store.retention.drop(slice, 'age', begin)
}

const filesOf = (dir: string) =>
  (readdirSync(join(dir, 'days'), { recursive: true }) as string[]).filter(name => /\.\w+$/.test(name)).sort()

async function rowsOf(dir: string): Promise<number> {
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  const answer = await connection.runAndReadAll(`SELECT count(*) FROM read_parquet('${dir}/days/*/*/*.parquet')`)
  connection.closeSync()
  instance.closeSync()
  return Number(answer.getRows()[0]?.[0])
}

const series = [device('a'), device('a', 'on'), device('a', 'text'), device('b'), device('b', 'value', 'other')]

/** Writes five days of readings at random times, and rolls them up. */
async function filled(store: DuckDbStore, random: Random): Promise<void> {
  for (const of of series) {
    const points: Point[] = []
    for (let time = begin + random.below(hour); time < begin + 5 * day; time += 1 + random.below(400e6)) {
      const value =
        of.field === 'on' ? random.chance(50) : of.field === 'text' ? `t${random.below(9)}` : random.below(4_000) / 4
      points.push(reading(of, time, value))
    }
    await store.write(points)
  }
  await store.write([reading(series[0] as SeriesId, begin + 6 * day + hour, 1)])
  while (await store.rollUp());
}

/** Questions for windows so narrow that raw readings answer them, as far as there are any. */
function questions(random: Random) {
  return Array.from({ length: 60 }, () => {
    const from = begin + random.below(5 * day) - hour
    const to = from + 1 + random.below(random.pick([2 * hour, day, 3 * day]))
    return {
      ...{ series: random.pick(series), from, to, fn: random.pick(aggregates) },
      points: Math.max(Math.ceil((to - from) / 60e6), random.pick([100, 100_000])),
    }
  })
}

t.test(`history is the same when readings are in files alone, FUZZ_SEED=${seed}`, async t => {
  const random = new Random(seed)
  const dir = await tempDir()
  const store = await opened(t, dir)
  await filled(store, random)
  const asked = questions(random)
  const before = await Promise.all(asked.map(query => store.history(query)))
  const wide = { series: device('a'), from: begin, to: begin + 5 * day, points: 20, fn: 'mean' } as const
  const long = await store.history(wide)
  const written = await store.rows.days?.write(begin + 5 * day, never)
  t.match(written, { days: 5, files: 10 })
  t.equal(await rowsOf(dir), written?.rows)
  t.same(await store.rows.days?.write(begin + 5 * day, never), { days: 0, files: 0, rows: 0 }, 'once')
  for (const until of [2 * day + 5 * hour, 4 * day]) {
    await dropAll(store, 'raw', begin + until)
    for (const [i, query] of asked.entries()) t.same(await store.history(query), before[i], JSON.stringify(query))
    t.same(await store.history(wide), long, 'wide windows are of roll-ups')
  }
  await dropAll(store, '1m', begin + 4 * day)
  await dropAll(store, '1h', begin + 4 * day)
  await dropAll(store, '1d', begin + 4 * day)
  for (const [i, query] of asked.entries()) t.same(await store.history(query), before[i], JSON.stringify(query))
  const count = await store.history({ ...wide, fn: 'count', points: 5 })
  const all = await store.history({ ...wide, fn: 'count', points: 100_000 })
  t.equal(sum(count.values), all.times.length, 'each reading counts once on both sides of the border')
  t.same(
    await store.rows.days?.write(begin + 5 * day, never),
    { days: 0, files: 0, rows: 0 },
    'what is gone stays written',
  )
})

t.test('a day that is not whole in the folder, or damaged, is answered by roll-ups', async t => {
  const dir = await tempDir()
  const told: string[] = []
  const store = await opened(t, dir, 's.duckdb', told)
  await filled(store, new Random(seed))
  await store.rows.days?.write(begin + 5 * day, never)
  const query = { series: device('a'), from: begin, to: begin + 5 * day, points: 100_000, fn: 'count' } as const
  const all = (await store.history(query)).times.length
  await dropAll(store, 'raw', begin + 4 * day)
  rmSync(join(dir, 'days/complete', dateOf(begin + day)))
  writeFileSync(join(dir, 'days/complete', dateOf(begin + 2 * day)), '{"format": 2}')
  const { values, window } = await store.history(query)
  t.equal(window, 60e6, 'minutes')
  t.equal(sum(values), all)
  const damaged = join(dir, 'days/measurement=room%2Fa', `day=${dateOf(begin).slice(0, 10)}`, 'telehub.parquet')
  const whole = readFileSync(damaged)
  writeFileSync(damaged, whole.subarray(0, whole.length / 2))
  t.equal(sum((await store.history(query)).values), all, 'a damaged file')
  t.match(told, [/cannot be read, and history leaves them out/])
  t.equal(sum((await store.history(query)).values), all, 'again')
  writeFileSync(damaged, whole)
  // The store has the readings of neither day any more, so neither is written from what is left.
  t.match(await store.rows.days?.write(begin + 5 * day, never), { days: 0 })
})

t.test('late readings, and a store that was begun anew', async t => {
  const dir = await tempDir()
  const store = await opened(t, dir)
  await filled(store, new Random(seed))
  await store.rows.days?.write(begin + 5 * day, never)
  const rows = await rowsOf(dir)
  await store.write([reading(device('a'), begin + 2 * day + 7, 5), reading(device('new', 'v', 'new'), begin + day, 1)])
  t.match(await store.rows.days?.write(begin + 5 * day, never), { days: 2, files: 2 })
  t.equal(await rowsOf(dir), rows + 2)
  const other = await opened(t, dir, 'other.duckdb')
  await other.write([reading(device('a'), begin + 2 * day + 8, 5)])
  t.match(await other.rows.days?.write(begin + 5 * day, never), { days: 0 }, 'fewer readings replace none')
  t.equal(await rowsOf(dir), rows + 2)
})

t.test('a kill at any time leaves whole files, and the next turn writes the rest', async t => {
  const dir = await tempDir()
  const first = await opened(t, dir)
  for (let one = 0; one < 4; one++) {
    const points = Array.from({ length: 60_000 }, (_, i) =>
      reading(device(`d${i % 50}`, 'value', `m${i % 3}`), begin + one * day + (i * day) / 60_000, i),
    )
    await first.write(points)
  }
  await first.stop()
  const source = `
    import { DuckDbStore } from ${JSON.stringify(fileURLToPath(module))}
    const store = new DuckDbStore({ path: ${JSON.stringify(join(dir, 's.duckdb'))}, rollsUp: false, days: ${JSON.stringify(join(dir, 'days'))} })
    globalThis.store = store
    await store.start()
    console.log('begin')
    await store.rows.days.write(${begin + 4 * day}, new AbortController().signal)
    console.log('done')`
  let kills = 0
  for (const after of [5, 40, 90, 160, 300]) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', source], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const gone = new Promise(resolve => child.once('exit', resolve))
    let isDone = false
    for await (const line of createInterface({ input: child.stdout })) {
      isDone = line === 'done'
      if (!isDone) setTimeout(() => child.kill('SIGKILL'), after)
    }
    await gone
    if (isDone) break
    kills++
    const whole = filesOf(dir).filter(name => name.startsWith('complete'))
    const parts = filesOf(dir).filter(name => name.endsWith('.parquet'))
    if (parts.length > 0) t.equal((await rowsOf(dir)) % 20_000, 0, `kill ${kills}: ${parts.length} files are whole`)
    t.ok(parts.length >= 3 * whole.length, `${whole.length} days are whole`)
  }
  t.ok(kills > 0, `${kills} kills`)
  const store = await opened(t, dir)
  await store.rows.days?.write(begin + 4 * day, never)
  t.equal(await rowsOf(dir), 240_000)
  t.same(
    filesOf(dir).filter(name => name.endsWith('.part')),
    [],
  )
})

t.test('a full disk leaves no part of a file, and the next turn writes the day', async t => {
  const disk = await smallDisk(t, 60e6)
  if (!disk) return t.pass('no file system may be mounted here')
  const dir = await tempDir()
  const store = new DuckDbStore({ path: join(dir, 's.duckdb'), rollsUp: false, days: join(disk.dir, 'days') })
  await store.start()
  t.teardown(() => store.stop())
  const random = new Random(seed)
  for (let i = 0; i < 4; i++)
    await store.write(
      Array.from({ length: 50_000 }, (_, n) =>
        reading(device('a'), begin + (i * 50_000 + n) * 400_000, random.below(1e9)),
      ),
    )
  disk.fill(200_000)
  await t.rejects(async () => store.rows.days?.write(begin + day, never), { code: 'store_unavailable' })
  t.same(filesOf(disk.dir), [])
  disk.free()
  t.match(await store.rows.days?.write(begin + day, never), { days: 1, rows: 200_000 })
  t.equal(await rowsOf(disk.dir), 200_000)
  t.ok(existsSync(join(disk.dir, 'days/complete', dateOf(begin))))
})

const sum = (values: readonly unknown[]) => values.reduce<number>((all, one) => all + Number(one), 0)
const dateOf = (time: number) => `${new Date(time / 1_000).toISOString().slice(0, 10)}.json`

t.test('a measurement with a name longer than file systems take has its day, too', async t => {
  const dir = await tempDir()
  const store = await opened(t, dir)
  const names = ['x'.repeat(300), `${'x'.repeat(299)}y`, '温度'.repeat(40)]
  const ids = names.map(name => device('a', 'value', name))
  await store.write(ids.map((of, i) => reading(of, begin + hour, i)))
  await store.rows.days?.write(begin + 2 * day, never)
  t.equal(await rowsOf(dir), 3)
  await dropAll(store, 'raw', begin + day)
  for (const [i, of] of ids.entries()) {
    const found = await store.history({ series: of, from: begin, to: begin + day, points: 10, fn: 'mean' })
    t.match(found, { values: [i] }, of.measurement.slice(0, 20))
  }
})
