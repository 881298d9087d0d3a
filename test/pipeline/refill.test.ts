import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { HubError } from '../../src/errors.js'
import type { Message } from '../../src/model.js'
import { Refill, type RefillOptions, type SettledSource } from '../../src/pipeline/refill.js'
import { DuckDbStore } from '../../src/store/duckdb.js'
import { all, noon, reading, temperature } from '../contract/store.js'
import { tempDir } from '../services/service.js'

const message = (sequence: number): Message => ({
  sequence,
  receivedAt: noon + sequence,
  topic: 'a',
  payload: Buffer.from('1'),
  qos: 1,
  retain: false,
  clientId: 'c',
  user: '',
  packetId: 0,
})

/** A store that has the messages up to `stored`, and a spool that still has those of `kept`. */
async function place(t: Test, { stored, kept }: { stored: number; kept: readonly number[] }) {
  const dir = await tempDir()
  const store = new DuckDbStore({ path: join(dir, 'store.duckdb') })
  await store.start()
  t.teardown(() => store.stop())
  const write = (sequences: readonly number[]) =>
    store.write(
      sequences.map(n => reading(noon + n, n)),
      sequences.at(-1),
    )
  if (stored > 0) await write(Array.from({ length: stored }, (_, i) => i + 1))
  const reports: { kind: string; messages: number | undefined }[] = []
  const logged: string[] = []
  const again: number[] = []
  const open = (more: Partial<RefillOptions> & { readonly settled: SettledSource }) => {
    const refill = new Refill({
      store,
      kind: 'duckdb',
      path: join(dir, 'store.json'),
      spool: {
        oldest: kept[0] ?? 1,
        async *numbered({ from, to }) {
          for (const n of kept) if (n >= from && n <= to) yield [message(n)]
        },
      },
      recorder: {
        handle: async messages => {
          again.push(...messages.map(({ sequence }) => sequence))
          await write(messages.map(({ sequence }) => sequence))
        },
      },
      incidents: { report: (kind, _, lost) => reports.push({ kind, messages: lost?.messages }) },
      log: { info: sentence => logged.push(sentence) },
      ...more,
    })
    refill.start()
    t.teardown(() => refill.stop())
    return refill
  }
  return { dir, store, open, reports, logged, again }
}

const count = async (store: DuckDbStore) => (await all(store, temperature)).length

t.test('a store that has everything is left as it is, and nothing is reported', async t => {
  const { store, open, reports, again } = await place(t, { stored: 5, kept: [1, 2, 3, 4, 5] })
  const refill = open({ settled: { settled: 5 } })
  t.equal(refill.needed, 1, 'until the store is asked everything is needed')
  await refill.ready()
  t.equal(refill.needed, Number.POSITIVE_INFINITY)
  t.same([again, reports], [[], []])
  t.match(await store.last(), { sequence: 5 })
})

t.test('what the store lacks is written again, in order; said once', async t => {
  const { store, open, reports, logged, again } = await place(t, { stored: 3, kept: [2, 3, 4, 5, 6, 7, 8] })
  await open({ settled: { settled: 7 } }).ready()
  t.same(again, [4, 5, 6, 7])
  t.same(reports, [{ kind: 'store_behind', messages: undefined }])
  t.match(logged, [/refilled from the spool.* message 7/])
  t.equal(await count(store), 7)
  await open({ settled: { settled: 7 } }).ready()
  t.equal(reports.length, 1)
})

t.test('numbers that no message ever had are not missed', async t => {
  const { store, open, reports } = await place(t, { stored: 3, kept: [2, 3] })
  await open({ settled: { settled: 9 } }).ready()
  t.same(reports, [])
  t.match(await store.last(), { sequence: 9 })
})

t.test('what the spool does not have any more is lost, with its number', async t => {
  const { store, open, reports, again } = await place(t, { stored: 3, kept: [6, 7] })
  await open({ settled: { settled: 7 } }).ready()
  t.same(again, [6, 7])
  t.same(reports, [
    { kind: 'store_lost', messages: 2 },
    { kind: 'store_behind', messages: undefined },
  ])
  t.match(await store.last(), { sequence: 7 })
})

t.test('segments that are deleted meanwhile end nothing', async t => {
  const { open, reports } = await place(t, { stored: 1, kept: [1] })
  const spool = {
    oldest: 1,
    // biome-ignore lint/correctness/useYield: it fails before the first one
    async *numbered(): AsyncGenerator<readonly Message[]> {
      throw new HubError('not_found', 'deleted')
    },
  }
  await open({ settled: { settled: 4 }, spool }).ready()
  t.same(reports, [{ kind: 'store_lost', messages: 3 }])
})

t.test('a store of an older version, or that was not written last, lacks nothing', async t => {
  const { dir, store, open, reports, again } = await place(t, { stored: 0, kept: [1, 2] })
  await open({ settled: { settled: 2 } }).ready()
  t.same([again, reports], [[], []], 'no store was written before')
  t.match(await store.last(), { sequence: 2 })
  t.match(JSON.parse(readFileSync(join(dir, 'store.json'), 'utf8')), { kind: 'duckdb' })
  writeFileSync(join(dir, 'store.json'), '{"kind":"influxdb"}')
  await open({ settled: { settled: 9 } }).ready()
  t.same(reports, [], 'another one was')
  await open({ settled: { settled: 12 }, spool: { oldest: 10, async *numbered() {} } }).ready()
  t.same(reports, [], 'and the numbers behind it stand for nothing')
})

t.test('a store that fails meanwhile is asked again from there on', async t => {
  const { store, open, reports, again } = await place(t, { stored: 1, kept: [1, 2, 3, 4] })
  let fails = true
  const refill = open({
    settled: { settled: 4 },
    recorder: {
      handle: async messages => {
        const [one] = messages
        if (one?.sequence === 3 && fails) throw new HubError('store_unavailable', 'away')
        again.push(...messages.map(({ sequence }) => sequence))
        await store.write(
          messages.map(({ sequence }) => reading(noon + sequence, sequence)),
          one?.sequence,
        )
      },
    },
  })
  await t.rejects(refill.ready(), { code: 'store_unavailable' })
  t.equal(refill.needed, 3)
  fails = false
  await Promise.all([refill.ready(), refill.ready()])
  t.same(again, [2, 3, 4])
  t.equal(reports.length, 1)
})
