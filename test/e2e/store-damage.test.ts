import {
  lstatSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { connectMqtt, eventually, history, type RunningHub, startHub } from '../harness.js'

interface Ready {
  readonly incidents: readonly { kind: string; detail: string; lost: { messages: number } }[]
  readonly dependencies: readonly { name: string; state: string }[]
}

const ready = async (hub: RunningHub) => (await hub.get<Ready>('/readyz')).body
const balance = async (hub: RunningHub) => (await hub.get<Record<string, number>>('/api/balance')).body
const series = 'a,topic=a value'
const numbers = (count: number) => Array.from({ length: count }, (_, n) => n)

async function publish(t: Test, hub: RunningHub, from: number, to: number): Promise<void> {
  const client = await connectMqtt(t, hub.mqttUrl)
  await Promise.all(numbers(to - from).map(n => client.publishAsync('a', String(from + n), { qos: 1 })))
  await client.endAsync()
}

/** A hub that has stored so many readings and was killed. */
async function killed(t: Test, count: number): Promise<RunningHub> {
  const hub = await startHub(t)
  // Each message is a write of its own to the store more often than not, so that the log has many.
  for (let n = 0; n < count; n += count / 4) {
    await publish(t, hub, n, n + count / 4)
    await eventually(async () => (await balance(hub)).stored === n + count / 4, 'all is stored')
  }
  await hub.kill()
  return hub
}

/** Everything is there again, new readings too, and the sheet adds up. */
async function isWhole(t: Test, hub: RunningHub, count: number): Promise<void> {
  await publish(t, hub, count, count + 10)
  const found = await eventually(async () => {
    const values = await history(hub, series)
    return values.length === count + 10 && values
  }, 'all is in the store again')
  t.same(found, numbers(count + 10), 'in order, each once')
  t.match(await balance(hub), { received: count + 10, stored: count + 10, residual: 0, lost: 0 })
}

const damages: readonly [string, RegExp, (path: string) => void][] = [
  [
    'a log without its last 3 bytes',
    /^store_behind/,
    path => truncateSync(`${path}.wal`, statSync(`${path}.wal`).size - 3),
  ],
  [
    'no database',
    /^store_(damaged|behind)/,
    path => {
      rmSync(path)
      rmSync(`${path}.wal`, { force: true })
    },
  ],
  ['a damaged database', /^store_damaged/, path => writeFileSync(path, readFileSync(path).fill(0x5a, 0, 64))],
]

for (const [name, kind, damage] of damages) {
  t.test(`${name}: the hub starts, says so, and the store is filled from the spool`, async t => {
    const hub = await killed(t, 400)
    const path = join(hub.dir, 'store.duckdb')
    const before = readdirSync(hub.dir).length
    damage(path)
    const again = await startHub(t, {}, hub.dir)
    const isSaid = async () => (await ready(again)).incidents.some(one => kind.test(one.kind))
    t.ok(await eventually(isSaid, 'an incident is reported'))
    await isWhole(t, again, 400)
    t.ok(readdirSync(hub.dir).length >= before - 2, 'nothing that was damaged is deleted')
  })
}

t.test('what the spool does not have any more is reported as lost, with its number', async t => {
  const hub = await startHub(t, { 'spool.segment': '65536' })
  const client = await connectMqtt(t, hub.mqttUrl)
  const pad = 'x'.repeat(2_000)
  for (let n = 0; n < 10; n++) {
    await Promise.all(
      numbers(40).map(i => client.publishAsync('a', JSON.stringify({ value: n * 40 + i, pad }), { qos: 1 })),
    )
  }
  await eventually(async () => (await balance(hub)).stored === 400, 'all is stored')
  const oldest = await eventually(async () => {
    const { body } = await hub.get<{ segments: { segment: number }[] }>('/api/spool')
    return (body.segments[0]?.segment ?? 1) > 100 && body.segments[0]?.segment
  }, 'the spool has deleted its beginning')
  await hub.kill()
  rmSync(join(hub.dir, 'store.duckdb'))
  rmSync(join(hub.dir, 'store.duckdb.wal'), { force: true })
  const again = await startHub(t, {}, hub.dir)
  const lost = await eventually(
    async () => (await ready(again)).incidents.find(one => one.kind === 'store_lost')?.lost.messages,
    'a loss is reported',
  )
  t.ok(lost >= oldest - 1 && lost < 400, `${lost} of 400, the spool began at ${oldest}`)
  t.equal(
    (
      await eventually(async () => {
        const values = await history(again, series)
        return values.length === 400 - lost && values
      }, 'the others are there')
    ).at(-1),
    399,
  )
  await eventually(async () => (await balance(again)).lost === lost, 'in the balance sheet, too')
  t.match(await balance(again), { received: 400, stored: 400, residual: 0 })
  await again.stop()
  const third = await startHub(t, {}, hub.dir)
  t.notOk(
    (await ready(third)).incidents.some(one => one.kind.startsWith('store')),
    'said once',
  )
})

t.test('while the database cannot be opened the hub takes messages, and stores them once it can', async t => {
  const hub = await killed(t, 40)
  const path = join(hub.dir, 'store.duckdb')
  // As root no file is closed to us, so a folder that is not there stands for the disk that does not answer.
  const away = `${hub.dir}.store`
  renameSync(path, away)
  const walIsThere = readdirSync(hub.dir).includes('store.duckdb.wal')
  if (walIsThere) renameSync(`${path}.wal`, `${away}.wal`)
  symlinkSync(join(hub.dir, 'gone', 'store.duckdb'), path)
  const again = await startHub(t, {}, hub.dir)
  t.match((await ready(again)).dependencies, [{ name: 'DuckDB', state: 'down' }])
  await publish(t, again, 40, 60)
  await eventually(async () => (await balance(again)).spool === 20, 'they wait in the spool')
  t.ok(lstatSync(path).isSymbolicLink(), 'the link to the other disk is still there')
  rmSync(path)
  renameSync(away, path)
  if (walIsThere) renameSync(`${away}.wal`, `${path}.wal`)
  await eventually(async () => (await balance(again)).spool === 0, 'all is stored')
  t.same(await history(again, series), numbers(60))
})
