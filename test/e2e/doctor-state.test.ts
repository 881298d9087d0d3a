import {
  appendFileSync,
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { doctor, usedDirectory } from '../doctor/examination.js'
import { connectMqtt, eventually, type RunningHub, startHub } from '../harness.js'
import { freePort, tempDir } from '../services/service.js'

const newest = (dir: string, ending: string) =>
  join(
    dir,
    readdirSync(dir)
      .filter(name => name.endsWith(ending))
      .sort()
      .at(-1) ?? '',
  )

/** Overwrites bytes in the middle of a file. */
function scratch(path: string, at: number): void {
  const fd = openSync(path, 'r+')
  writeSync(fd, Buffer.alloc(8, 0xff), 0, 8, at)
  closeSync(fd)
}

t.test('a sound directory has no problems, and looking changes nothing', async t => {
  const dir = await usedDirectory(t)
  const before = contents(dir)
  const sound = await doctor(dir)
  t.equal(sound.code, 0)
  t.equal(
    sound.problems,
    0,
    sound.findings
      .filter(({ level }) => level === 'problem')
      .map(({ seen }) => seen)
      .join(),
  )
  t.match(sound.of('spool'), /\d+ messages, .* in 1 segment/)
  t.match(sound.of('cursors'), /live at \d+, record at \d+; the spool ends at \d+/)
  t.match(sound.of('hub'), 'none runs')
  t.match(sound.of('disk sync'), 'fdatasync takes')
  t.match(sound.of('leftovers'), 'none')
  t.match(sound.of('DuckDB'), /20 readings of 1 series/)
  t.match(sound.of('store identity'), /the store has the messages up to \d+, as the spool says/)
  t.same(contents(dir), before)
})

/** Names, sizes, modes and times of all files. */
function contents(dir: string): string[] {
  return (readdirSync(dir, { recursive: true }) as string[]).sort().map(name => {
    const { size, mode, mtimeMs } = statSync(join(dir, name))
    // A folder has a new time when a file was made in it, and removed again.
    return `${name} ${mode} ${statSync(join(dir, name)).isFile() ? `${size} ${mtimeMs}` : ''}`
  })
}

t.test('damage is named, in each kind of file', async t => {
  const dir = await usedDirectory(t)
  const segment = newest(join(dir, 'spool'), '.seg')
  scratch(segment, Math.floor(statSync(segment).size / 2))
  writeFileSync(join(dir, 'spool', 'live.cursor'), Buffer.alloc(64, 7))
  const sessions = newest(join(dir, 'sessions'), '.snapshot')
  scratch(sessions, 20)
  writeFileSync(join(dir, 'registry.json'), '{"half')
  writeFileSync(join(dir, 'store.duckdb'), Buffer.alloc(20_000, 3))
  writeFileSync(`${segment}.bad`, 'kept')
  const damaged = await doctor(dir)
  t.equal(damaged.code, 1)
  t.match(damaged.of('spool'), /damaged: spool\/\d{16}\.seg: .* in the middle; .*steps over the damage/)
  t.match(damaged.of('cursors'), /live\.cursor is damaged in both of its halves/)
  t.match(damaged.of('sessions'), /damaged: sessions\/\d+\.snapshot: .* in the middle/)
  t.match(damaged.of('state files'), /registry\.json is damaged: .*makes it again/)
  t.match(damaged.of('DuckDB'), /cannot be used as the DuckDB database: .*sets the damaged file aside/)
  t.match(damaged.of('leftovers'), /kept after damage: spool\/\d+\.seg\.bad \(4 B, 0 days old\)/)
})

t.test('a write that was cut short is no damage; a cursor beyond the spool is', async t => {
  const dir = await usedDirectory(t)
  const segment = newest(join(dir, 'spool'), '.seg')
  appendFileSync(segment, Buffer.from([1, 2, 3]))
  const torn = await doctor(dir)
  t.same(torn.levels('spool'), ['fine'])
  t.match(torn.of('spool'), 'ends in 3 B of a write that was cut short')
  writeFileSync(segment, readFileSync(segment).subarray(0, 200))
  const short = await doctor(dir)
  t.match(short.of('cursors'), /live\.cursor wants message \d+, and the spool ends at \d+: \d+ messages are gone/)
  t.equal(short.code, 1)
})

t.test('a store that is an older copy, or has damaged values', async t => {
  const hub = await startHub(t)
  const fill = async (count: number, on: RunningHub) => {
    const client = await connectMqtt(t, on.mqttUrl)
    for (let i = 0; i < count; i++)
      await client.publishAsync('home/hall/t/telemetry', `{"value": ${Math.random()}}`, { qos: 1 })
    await client.endAsync()
    t.equal(await on.stop(), 0)
  }
  await fill(5, hub)
  const { dir } = hub
  const store = join(dir, 'store.duckdb')
  const older = readFileSync(store)
  await fill(200, await startHub(t, {}, dir))
  const newer = readFileSync(store)
  writeFileSync(store, older)
  const copy = await doctor(dir)
  t.match(copy.of('store identity'), /the store ends at message 5, and the spool says that \d+ are stored/)
  t.equal(copy.code, 1)
  t.same(readFileSync(store), older, 'nothing was changed')
  // Every block but those of the header.
  for (let at = 12_288; at < newer.length; at += 4_096) newer.fill(0xa5, at, at + 512)
  writeFileSync(store, newer)
  t.match((await doctor(dir)).of('DuckDB'), 'cannot be used as the DuckDB database')
})

t.test('--repair does what is safe, and nothing else', async t => {
  const dir = await usedDirectory(t)
  chmodSync(dir, 0o777)
  const store = join(dir, 'store.duckdb')
  chmodSync(store, 0o666)
  const begun = join(dir, 'sessions', '0000000099.log.new')
  const kept = join(dir, 'spool', '0000000000000001.seg.bad')
  for (const path of [begun, kept]) writeFileSync(path, 'x')
  const hourAgo = Date.now() / 1_000 - 3_600
  utimesSync(begun, hourAgo, hourAgo)
  const found = await doctor(dir)
  t.equal(found.code, 1)
  t.match(found.of('data files'), 'writable by other users')
  t.match(found.of('leftovers'), 'begun and never finished: sessions/0000000099.log.new')
  t.equal(statSync(dir).mode & 0o777, 0o777, 'nothing was changed')
  const repaired = await doctor(dir, {}, '--repair')
  t.equal(repaired.code, 0)
  t.match(repaired.of('data files'), 'repaired: ')
  t.equal(statSync(dir).mode & 0o777, 0o700)
  t.equal(statSync(store).mode & 0o777, 0o600)
  t.notOk(existsSync(begun))
  t.ok(existsSync(kept), 'data is never removed')
  t.notMatch((await doctor(dir)).of('data files'), 'writable')
})

t.test('what is no file, no folder, or not there is said, and the other checks go on', async t => {
  const dir = await usedDirectory(t)
  mkdirSync(join(dir, 'spool', '0000000000000000.seg'))
  const log = join(dir, 'audit', readdirSync(join(dir, 'audit'))[0] ?? '')
  writeFileSync(log, readFileSync(log, 'utf8').replace('"event"', '"Event"'))
  writeFileSync(join(dir, 'store.duckdb.damaged-2026-11-29'), 'x')
  const found = await doctor(dir)
  t.match(found.of('spool'), '0000000000000000.seg cannot be read: it is not a file')
  t.match(found.of('audit log'), /jsonl:\d+: /)
  t.match(found.of('leftovers'), 'store.duckdb.damaged-2026-11-29')
  const file = join(await tempDir(), 'data')
  writeFileSync(file, '')
  const noFolder = await doctor(file)
  t.equal(noFolder.code, 1)
  t.ok(noFolder.levels('users').length > 0)
})

t.test('a hub that runs: what it has found damaged, and what it waits for', async t => {
  const dir = await usedDirectory(t)
  const sessions = newest(join(dir, 'sessions'), '.snapshot')
  scratch(sessions, Math.floor(statSync(sessions).size / 2))
  const port = String(await freePort())
  const settings = { 'http.port': port, 'rabbitmq.url': 'amqp://127.0.0.1:1' }
  const hub = await startHub(t, settings, dir)
  await eventually(async () => {
    const { body } = await hub.get<{ waiting: readonly unknown[] }>('/readyz')
    return body.waiting.length > 0
  }, 'the hub waits for RabbitMQ')
  const found = await doctor(dir, settings)
  t.match(found.of('incident'), /sessions/)
  t.match(found.of('hub'), /waits for RabbitMQ \(/)
  t.match(found.of('RabbitMQ'), 'ECONNREFUSED')
  t.match(found.of('leftovers'), 'kept after damage: sessions/')
  t.equal(found.code, 1)
})
