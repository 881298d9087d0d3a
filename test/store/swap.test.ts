import { join } from 'node:path'
import t from 'tap'
import type { FieldValue, Point } from '../../src/model.js'
import { DuckDbStore } from '../../src/store/duckdb.js'
import { Random } from '../fixtures/packets.js'
import { tempDir } from '../services/service.js'

/* A swap of the past beside a plain computation, with roll-ups, late readings, and a store that is opened anew. */

const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 1e9)
const minute = 60e6
const start = 1_700_000_000_000_000

type Model = Map<string, Map<number, FieldValue>>

const point = (name: string, time: number, value: FieldValue): Point => ({
  measurement: 'm',
  tags: [['d', name]],
  fields: [['v', value]],
  time,
})

function put(model: Model, name: string, time: number, value: FieldValue): void {
  const readings = model.get(name) ?? new Map<number, FieldValue>()
  model.set(name, readings.set(time, value))
}

const copyOf = (model: Model): Model => new Map([...model].map(([name, readings]) => [name, new Map(readings)]))

t.test('what is swapped, undone and rolled up is as computed by hand', async t => {
  t.comment(`FUZZ_SEED=${seed}`)
  const random = new Random(seed)
  const number = (below: number) => random.below(below)
  for (let round = 0; round < 4; round++) {
    const path = join(await tempDir(), 'store.duckdb')
    const clock = { now: () => start / 1_000 + 10 * 86_400_000 }
    const open = () => new DuckDbStore({ path, rollsUp: false, clock })
    let store = open()
    await store.start()
    t.teardown(() => store.stop())
    const model: Model = new Map()
    const rollUp = async () => {
      while (await store.rollUp());
    }
    const write = async (names: readonly string[], count: number, times = 3_000) => {
      const points = Array.from({ length: count }, () => {
        const name = names[number(names.length)] as string
        const value = name === 'text' ? `t${number(9)}` : number(1_000) / 4
        const time = start + number(times) * minute
        put(model, name, time, value)
        return point(name, time, value)
      })
      t.same(await store.write(points), [])
    }
    const check = async (what: string) => {
      for (const name of ['a', 'b', 'c', 'x', 'y', 'text']) {
        const series = { measurement: 'm', tags: [['d', name]] as const, field: 'v' }
        const rows = [...(model.get(name) ?? [])].sort(([one], [other]) => one - other)
        const all = await store.history({ series, from: start, to: start + 4_000 * minute, points: 1e6, fn: 'mean' })
        t.same(
          [all.times, all.values],
          [rows.map(([time]) => time), rows.map(([, value]) => value)],
          `${what}: ${name}`,
        )
        if (name === 'text') continue
        // Few windows, so that roll-ups answer.
        const width = 60 * minute
        const from = Math.floor(start / width) * width
        const asked = { series, from, to: from + 70 * width, points: 70, fn: 'sum' } as const
        const { times, values } = await store.history(asked)
        const sums = new Map<number, number>()
        for (const [time, value] of rows) {
          const window = Math.floor(time / width) * width
          sums.set(window, (sums.get(window) ?? 0) + Number(value))
        }
        if (rows.length > 70)
          t.same([times, values], [[...sums.keys()], [...sums.values()]], `${what}: sums of ${name}`)
      }
    }
    await write(['a', 'b', 'c', 'text'], 2_000)
    await rollUp()
    await write(['a', 'text'], 50)
    if (number(2) === 0) await rollUp()
    const before = copyOf(model)

    // The other rules give some readings of `a` and of `text` another name or another value, and leave some out.
    const ofOld = (name: string) => [...(model.get(name) ?? [])].filter(() => number(3) > 0)
    for (const name of ['a', 'text'] as const) {
      const old = ofOld(name)
      const made = old.map(([time, value]) => point(name, time, value))
      // Some of what would be made by the rules before was thinned out, and never stored.
      const never = Array.from({ length: 20 }, () => point(name, start + number(3_000) * minute + 7, 1))
      const points = old.flatMap(([time, value]) => {
        const kind = number(4)
        if (kind === 0) return []
        if (name === 'text') return [point('text', time, `${value}!`)]
        return [point(kind === 1 ? 'b' : 'x', time, Number(value) * 2)]
      })
      const at = number(points.length)
      t.same(await store.swaps.stage([...made.slice(0, at), ...never], points.slice(0, at)), [])
      t.same(await store.swaps.stage(made.slice(at), points.slice(at)), [])
      for (const [time] of old) model.get(name)?.delete(time)
      for (const { tags, time, fields } of points) put(model, tags[0]?.[1] ?? '', time, fields[0]?.[1] as FieldValue)
    }
    const after = copyOf(model)
    model.clear()
    for (const [name, readings] of before) model.set(name, new Map(readings))
    await check('staged')
    if (number(2) === 0) {
      await store.stop()
      store = open()
      await store.start()
    }
    const { removed, written } = await store.swaps.commit({ id: 'one', above: 7, kind: 'swap' })
    t.ok(removed > 0 && written > 0)
    t.same(await store.swaps.state(), { id: 'one', above: 7 })
    for (const [name, readings] of after) model.set(name, new Map(readings))
    await check('swapped')
    await rollUp()
    await check('swapped, and rolled up')
    const gone = await store.series({ limit: 100 })
    t.equal(
      gone.series.some(({ last }) => last === undefined),
      false,
    )

    // Meanwhile something comes by the other rules, which the rules before call `y`.
    await store.write([point('x', start + 3_500 * minute, 5)])
    if (number(2) === 0) await rollUp()
    await store.swaps.stage([point('x', start + 3_500 * minute, 5)], [point('y', start + 3_500 * minute, 5)])
    await store.swaps.commit({ id: 'one undone', above: 9, kind: 'undo' })
    model.clear()
    for (const [name, readings] of before) model.set(name, new Map(readings))
    put(model, 'y', start + 3_500 * minute, 5)
    await check('undone')
    await rollUp()
    await check('undone, and rolled up')
    await store.swaps.forget()
    t.equal(await store.swaps.state(), undefined)
  }
})
