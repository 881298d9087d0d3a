import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { DuckDBInstance } from '@duckdb/node-api'
import t, { type Test } from 'tap'
import type { FieldValue, SeriesId } from '../../src/model.js'
import { DuckDbStore } from '../../src/store/duckdb.js'
import { type Aggregate, aggregates } from '../../src/store/store.js'
import { all } from '../contract/store.js'
import { Random } from '../fixtures/packets.js'
import { tempDir } from '../services/service.js'
import { smallDisk } from '../services/small-disk.js'

/*
 * Roll-ups and history beside a plain computation on the readings that were written.
 */

const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000)
const [minute, hour, day] = [60e6, 3_600e6, 86_400e6]
const widths = [minute, hour, day]
/** A Tuesday in 2023, in microseconds, in the middle of a minute. */
const start = 1_700_000_012_345_678

type Readings = Map<number, FieldValue>

/** Readings before a time of which only buckets of a width are left. */
interface Gone {
  readonly before: number
  readonly width: number
}

/** What was written, by field of the one device. */
class Model {
  readonly fields = new Map<string, Readings>()
  bitsAreFlags = false

  write(name: string, time: number, value: FieldValue): void {
    const field = this.bitsAreFlags && name === 'bits' ? 'bits_num' : name
    const readings = this.fields.get(field) ?? new Map()
    this.fields.set(field, readings.set(time, value))
  }

  /** Numbers 0 and 1 become flags, and others go to the field beside; or all come back, where those beside are kept. */
  retypeBits(): void {
    const bits = [...(this.fields.get('bits') ?? [])]
    if (this.bitsAreFlags) {
      const all = new Map<number, FieldValue>(bits.map(([time, value]) => [time, Number(value)]))
      for (const [time, value] of this.fields.get('bits_num') ?? []) all.set(time, value)
      this.fields.set('bits', all)
      this.fields.delete('bits_num')
    } else {
      const isFlag = ([, value]: readonly [number, FieldValue]) => value === 0 || value === 1
      this.fields.set('bits', new Map(bits.filter(isFlag).map(([time, value]) => [time, value === 1])))
      const others = bits.filter(one => !isFlag(one))
      if (others.length > 0) this.fields.set('bits_num', new Map(others))
    }
    this.bitsAreFlags = !this.bitsAreFlags
  }

  /** The answer to a question, of which only the width of the windows is taken from the store. */
  history(field: string, start: number, end: number, points: number, fn: Aggregate, tiers: readonly Gone[] = []) {
    const gone = tiers.findLast(({ before }) => start < before)
    const from = gone ? Math.floor(start / gone.width) * gone.width : start
    const last = tiers.findLast(({ before }) => end <= before)
    const to = last ? Math.ceil(end / last.width) * last.width : end
    const inRange = (name: string) =>
      [...(this.fields.get(name) ?? [])].filter(([time]) => time >= from && time < to).sort(([a], [b]) => a - b)
    const own = inRange(field)
    const rows = own.length > 0 ? own : inRange(`${field}_num`)
    if (rows.length <= points && !gone)
      return { times: rows.map(([time]) => time), values: rows.map(([, value]) => value) }
    const asked = Math.max(1, Math.ceil((end - start) / points))
    const isText = typeof rows[0]?.[1] === 'string'
    const wanted = isText ? 1 : (widths.findLast(width => 2 * width <= asked) ?? 1)
    const bucket = gone ? Math.max(gone.width, wanted) : wanted
    const origin = Math.floor(start / bucket) * bucket
    const fitting = Math.ceil(Math.max(1, Math.ceil((end - origin) / points)) / bucket) * bucket
    const width = rows.length <= points && gone ? gone.width : fitting
    const windows = new Map<number, FieldValue[]>()
    for (const [time, value] of rows) {
      const window = origin + Math.floor((time - origin) / width) * width
      windows.set(window, [...(windows.get(window) ?? []), value])
    }
    return { times: [...windows.keys()], values: [...windows.values()].map(one => aggregate(one, fn)), window: width }
  }
}

function aggregate(values: readonly FieldValue[], fn: Aggregate): FieldValue {
  const last = values.at(-1) as FieldValue
  if (typeof last !== 'number') return last
  const numbers = values as readonly number[]
  const sum = numbers.reduce((a, b) => a + b, 0)
  const results: Record<Aggregate, number> = {
    mean: sum / numbers.length,
    min: Math.min(...numbers),
    max: Math.max(...numbers),
    first: numbers[0] as number,
    last,
    sum,
    count: numbers.length,
  }
  return results[fn]
}

const seriesOf = (field: string): SeriesId => ({ measurement: 'plant', tags: [['device', 'd1']], field })
/** Quarters: sums of them are exact, in whatever order they are made. */
const someNumber = (random: Random) => random.below(4_000) / 4 - 500

async function compare(t: Test, store: DuckDbStore, model: Model, random: Random, now: number) {
  for (const field of model.fields.keys()) {
    for (let question = 0; question < 2; question++) {
      const from = now - random.pick([hour, 5 * hour, day, 8 * day, 30 * day]) - random.below(1e9)
      const to = random.chance(50) ? now + 1 : from + random.below(now - from) + 1
      const points = random.pick([1, 3, 20, 100, 500])
      const fn = random.pick(aggregates)
      const found = await store.history({ series: seriesOf(field), from, to, points, fn })
      const expected = model.history(field, from, to, points, fn)
      const name = `${field} ${fn} of ${(to - from) / hour} h in ${points}`
      if (JSON.stringify(found) !== JSON.stringify(expected)) t.strictSame(found, expected, name)
    }
  }
}

t.test(`history is the same from roll-ups and from readings, FUZZ_SEED=${seed}`, async t => {
  const random = new Random(seed)
  const path = join(await tempDir(), 'store.duckdb')
  const model = new Model()
  let now = start
  const clock = { now: () => now / 1_000 }
  const open = async () => {
    const store = new DuckDbStore({ path, clock, rollsUp: false })
    await store.start()
    return store
  }
  let store = await open()
  t.teardown(() => store.stop())
  const fields = ['fast', 'slow', 'flag', 'text', 'late', 'bits']
  const someValue = (field: string) =>
    field === 'flag'
      ? random.chance(50)
      : field === 'text'
        ? `t${random.below(50)}`
        : field === 'bits'
          ? random.below(3)
          : someNumber(random)
  for (let round = 0; round < 24; round++) {
    const points = Array.from({ length: 1 + random.below(300) }, () => {
      const field = random.pick(fields)
      const isLate = random.chance(field === 'late' ? 60 : 10)
      if (!isLate) now += random.below(field === 'slow' ? 40e6 : 6e6)
      const known = [...(model.fields.get(field)?.keys() ?? [])]
      // Some times are there already.
      const isAgain = isLate && known.length > 0 && random.chance(30)
      const past = isLate ? random.below(random.pick([hour, day, 7 * day])) : 0
      const time = isAgain ? random.pick(known) : now - past
      const value = someValue(field)
      model.write(field, time, value)
      return { ...seriesOf(field), fields: [[field, value]] as const, time }
    })
    t.strictSame(await store.write(points), [])
    if (random.chance(3)) now += random.below(3 * day)
    for (let turns = random.below(4); turns > 0; turns--) await store.rollUp()
    if (random.chance(5)) {
      await store.stop()
      store = await open()
    }
    if (random.chance(5)) {
      const left = fields.filter(name => name !== 'bits' && model.fields.has(name) && !model.fields.has(`${name}x`))
      const field = left.length > 0 ? random.pick(left) : undefined
      if (field === undefined) continue
      const to = `${field}x`
      await store.change({ kind: 'rename', series: seriesOf(field), to: seriesOf(to) })
      model.fields.set(to, model.fields.get(field) as Readings)
      model.fields.delete(field)
    }
    if (random.chance(10) && model.fields.has('bits')) {
      await store.change({ kind: 'retype', series: seriesOf('bits'), type: model.bitsAreFlags ? 'number' : 'boolean' })
      model.retypeBits()
    }
    if (random.chance(3)) {
      const field = random.pick([...model.fields.keys()].filter(name => !name.startsWith('bits')))
      await store.change({ kind: 'drop', series: seriesOf(field) })
      model.fields.delete(field)
    }
    if (random.chance(20)) await compare(t, store, model, random, now)
  }
  while (await store.rollUp());
  await compare(t, store, model, random, now)
  for (const [field, readings] of model.fields) {
    t.equal((await all(store, seriesOf(field))).length, readings.size)
  }
})

/** A store in a process of its own, which takes a line for each operation and rolls up meanwhile. */
function child(path: string) {
  const source = `
    import { createInterface } from 'node:readline'
    import { DuckDbStore } from ${JSON.stringify(fileURLToPath(new URL('../../src/store/duckdb.js', import.meta.url)))}
    let now = 0
    const clock = { now: () => now / 1_000 }
    const store = (globalThis.store = new DuckDbStore({ path: ${JSON.stringify(path)}, clock, rollsUp: false }))
    await store.start()
    console.log('open')
    for await (const line of createInterface({ input: process.stdin })) {
      const operation = JSON.parse(line)
      now = operation.now
      // A change that was made before the kill is not made again.
      if (operation.change) await store.change(operation.change).catch(() => {})
      else await store.write(operation.points)
      console.log('done')
      void store.rollUp()
      void store.rollUp()
    }`
  const process = spawn(globalThis.process.execPath, ['--input-type=module', '-e', source], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: process.stdout })[Symbol.asyncIterator]()
  const exited = new Promise(resolve => process.once('exit', resolve))
  return { process, exited, line: async () => (await lines.next()).value as string | undefined }
}

t.test(`roll-ups are right after kills at any moment, FUZZ_SEED=${seed}`, async t => {
  const random = new Random(seed + 1)
  const path = join(await tempDir(), 'store.duckdb')
  const model = new Model()
  let now = start
  let other = child(path)
  t.teardown(() => other.process.kill('SIGKILL'))
  await other.line()
  for (let round = 0; round < 16; round++) {
    let operation: object
    if (random.chance(15) && model.fields.has('bits')) {
      operation = {
        now,
        change: { kind: 'retype', series: seriesOf('bits'), type: model.bitsAreFlags ? 'number' : 'boolean' },
      }
      model.retypeBits()
    } else {
      const points = Array.from({ length: 50 + random.below(200) }, () => {
        const field = random.pick(['fast', 'late', 'bits'])
        const isLate = random.chance(field === 'late' ? 60 : 5)
        if (!isLate) now += random.below(9e6)
        const time = isLate ? now - random.below(random.pick([hour, 7 * day])) : now
        const value = field === 'bits' ? random.below(3) : someNumber(random)
        model.write(field, time, value)
        return { ...seriesOf(field), fields: [[field, value]], time }
      })
      operation = { now, points }
    }
    const line = `${JSON.stringify(operation)}\n`
    other.process.stdin.write(line)
    if (random.chance(25)) {
      await new Promise(resolve => setTimeout(resolve, random.below(60)))
      other.process.kill('SIGKILL')
      await other.exited
      other = child(path)
      await other.line()
      other.process.stdin.write(line)
    }
    t.equal(await other.line(), 'done')
  }
  other.process.kill('SIGKILL')
  await other.exited
  const store = new DuckDbStore({ path, clock: { now: () => now / 1_000 }, rollsUp: false })
  await store.start()
  t.teardown(() => store.stop())
  await compare(t, store, model, random, now)
  while (await store.rollUp());
  await compare(t, store, model, random, now)
})

t.test(`where retention has deleted readings, roll-ups answer, and take late ones, FUZZ_SEED=${seed}`, async t => {
  const random = new Random(seed + 3)
  const path = join(await tempDir(), 'store.duckdb')
  const model = new Model()
  let now = start
  const open = async () => {
    const store = new DuckDbStore({ path, clock: { now: () => now / 1_000 }, rollsUp: false })
    await store.start()
    return store
  }
  const write = async (store: DuckDbStore, times: readonly number[]) => {
    const points = times.map(time => {
      const value = someNumber(random)
      model.write('fast', time, value)
      return { ...seriesOf('fast'), fields: [['fast', value]] as const, time }
    })
    await store.write(points)
  }
  let store = await open()
  t.teardown(() => store.stop())
  // Late readings have odd times: none is replaced.
  const times = Array.from({ length: 8_000 }, () => {
    now += 2 * (1 + random.below(50e6))
    return now
  })
  await write(store, times)
  const tiers = [
    { table: 'numbers', column: 'raw', before: Math.floor((now - day - 5 * hour) / hour) * hour, width: minute },
    { table: 'numbers_1m', column: 'minutes', before: Math.floor((now - day - 9 * hour) / hour) * hour, width: hour },
    { table: 'numbers_1h', column: 'hours', before: Math.floor((now - 2 * day) / day) * day, width: day },
  ]
  for (const [tier, { table, column, before }] of tiers.entries()) {
    while (await store.rollUp());
    await store.stop()
    await run(
      path,
      `DELETE FROM ${table} WHERE time < ${before}; INSERT INTO dropped (series, ${column}) VALUES (0, ${before})`,
    )
    store = await open()
    // Questions that begin in the part that only this roll-up has.
    const ask = async () => {
      for (let question = 0; question < 8; question++) {
        const from = before - 1 - random.below(random.pick([hour, 3 * hour, 20 * hour]))
        const to = random.chance(50) ? now + 1 : from + 1 + random.below(now - from)
        const points = random.pick([1, 10, 100, 2_000])
        const fn = random.pick(aggregates)
        const found = await store.history({ series: seriesOf('fast'), from, to, points, fn })
        const expected = model.history('fast', from, to, points, fn, tiers.slice(0, tier + 1))
        if (JSON.stringify(found) !== JSON.stringify(expected)) {
          t.strictSame(found, expected, `${table} gone: ${fn} from ${from} to ${to} in ${points}`)
        }
      }
    }
    await ask()
    const late = Array.from({ length: 60 }, () => before - 1 - 2 * random.below(15 * hour))
    await write(
      store,
      late.map(time => time - (time % 2 === 0 ? 1 : 0)),
    )
    await ask()
    while (await store.rollUp());
    await ask()
    t.pass(`${table} before ${before}`)
  }
})

/** Runs statements on a database that no store has open. */
async function run(path: string, sql: string): Promise<void> {
  const instance = await DuckDBInstance.create(path)
  const connection = await instance.connect()
  await connection.run(sql)
  connection.closeSync()
  instance.closeSync()
}

t.test('a database without roll-ups is taken over, and a newer one is refused and left as it is', async t => {
  const path = join(await tempDir(), 'store.duckdb')
  const model = new Model()
  const random = new Random(seed + 4)
  let now = start
  const open = async () => {
    const store = new DuckDbStore({ path, clock: { now: () => now / 1_000 }, rollsUp: false })
    t.teardown(() => store.stop())
    await store.start()
    return store
  }
  const first = await open()
  const points = Array.from({ length: 5_000 }, () => {
    now += random.below(60e6)
    const value = someNumber(random)
    model.write('fast', now, value)
    return { ...seriesOf('fast'), fields: [['fast', value]] as const, time: now }
  })
  await first.write(points)
  await first.stop()
  const tables = ['numbers_1m', 'numbers_1h', 'numbers_1d', 'rolled', 'stale', 'dropped', 'format']
  await run(path, tables.map(name => `DROP TABLE ${name}`).join(';'))
  const second = await open()
  await compare(t, second, model, random, now)
  while (await second.rollUp());
  await compare(t, second, model, random, now)
  await second.stop()

  await run(path, 'UPDATE format SET number = 99')
  await t.rejects(open(), { code: 'store_unavailable', message: /format 99/ })
  await run(path, 'UPDATE format SET number = 2')
  await compare(t, await open(), model, random, now)
})

t.test('a disk that is full in the middle of a turn leaves nothing half done', async t => {
  const disk = await smallDisk(t, 12e6)
  if (!disk) return t.pass('no file system can be mounted here')
  const random = new Random(seed + 2)
  const model = new Model()
  let now = start
  const store = new DuckDbStore({
    path: join(disk.dir, 'store.duckdb'),
    clock: { now: () => now / 1_000 },
    rollsUp: false,
  })
  await store.start()
  t.teardown(() => store.stop())
  const points = Array.from({ length: 4_000 }, () => {
    now += 100e6
    const value = someNumber(random)
    model.write('fast', now, value)
    return { ...seriesOf('fast'), fields: [['fast', value]] as const, time: now }
  })
  await store.write(points)
  let failures = 0
  for (let turn = 0, isMore = true; isMore && turn < 40; turn++) {
    // At first no byte is left, so that one turn surely fails.
    if (turn % 3 === 1) disk.fill(failures === 0 ? 0 : random.below(60_000))
    try {
      isMore = await store.rollUp()
    } catch (error) {
      failures++
      t.match(error, { code: 'store_unavailable' })
    }
    disk.free()
    // A write opens the file again.
    await store.write(points.slice(0, 1))
    if (turn % 4 === 0) await compare(t, store, model, random, now)
  }
  while (await store.rollUp());
  await compare(t, store, model, random, now)
  t.ok(failures > 0, `${failures} turns failed`)
})
