import { randomBytes } from 'node:crypto'
import { cpSync, existsSync, readdirSync, readFileSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { backUp, restore, verify } from '../../src/backup/backup.js'
import { DuckDbStore } from '../../src/store/duckdb.js'
import { usedDirectory } from '../doctor/examination.js'
import { FaultyFiles } from '../fixtures/faulty-files.js'
import { Random } from '../fixtures/packets.js'
import { runCli, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'
import { smallDisk } from '../services/small-disk.js'

const progress = { report: () => {} }

async function telehub(...args: string[]): Promise<{ code: number | null; out: string; errors: string }> {
  const run = runCli(args)
  const code = await run.exited
  return { code, out: run.stdout(), errors: run.stderr() }
}

t.test('a backup that is killed leaves the one before whole, and the next one goes on', async t => {
  const dir = await usedDirectory(t)
  const to = join(await tempDir(), 'backup')
  t.equal((await telehub('backup', to, '--data.dir', dir)).code, 0)
  const manifest = readFileSync(join(to, 'telehub-backup.json'))
  for (const ms of [100, 200, 300, 400]) {
    writeFileSync(join(dir, 'large.bin'), Buffer.alloc(20e6, ms))
    const run = runCli(['backup', to, '--data.dir', dir])
    await sleep(ms)
    await run.kill()
    t.same((await verify(to, '0.1.0', progress)).faults, [], `killed after ${ms} ms`)
  }
  t.equal((await telehub('backup', to, '--data.dir', dir)).code, 0)
  t.notSame(readFileSync(join(to, 'telehub-backup.json')), manifest)
  t.match((await telehub('backup', 'verify', to)).out, /^whole/)
  t.notOk(readdirSync(to, { recursive: true, encoding: 'utf8' }).some(name => name.endsWith('.new')))
})

t.test('a restore that is killed is not taken for a data directory, and is begun anew', async t => {
  const dir = await usedDirectory(t)
  writeFileSync(join(dir, 'large.bin'), Buffer.alloc(30e6, 1))
  const to = join(await tempDir(), 'backup')
  t.equal((await telehub('backup', to, '--data.dir', dir)).code, 0)
  const data = join(await tempDir(), 'data')
  const mark = join(data, 'restore.unfinished')
  let killed = 0
  for (const ms of [0, 20, 60]) {
    const run = runCli(['restore', to, '--to', data])
    let hasEnded = false
    const ended = run.exited.then(() => {
      hasEnded = true
    })
    while (!existsSync(mark) && !hasEnded) await sleep(5)
    await sleep(ms)
    await run.kill()
    await ended
    if (!existsSync(mark)) break
    killed++
    const start = await telehub('start', '--mqtt.port', '0', '--http.port', '0', '--data.dir', data)
    t.match(start.errors, 'was not finished: run telehub restore again')
  }
  t.ok(killed > 0)
  if (existsSync(mark)) t.equal((await telehub('restore', to, '--to', data)).code, 0)
  const hub = await startHub(t, {}, data)
  t.match((await hub.get('/api/balance')).body, { received: 21, stored: 20, dead: 1, residual: 0 })
})

t.test('a disk that fails in the middle leaves the backup before whole, and no trace', async t => {
  const dir = await usedDirectory(t)
  const to = join(await tempDir(), 'backup')
  const options = { data: dir, to, version: '0.1.0', hub: undefined, outside: {}, without: [], clock: Date }
  await backUp({ ...options, progress })
  const before = readdirSync(to, { recursive: true }).sort()
  const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 1e9)
  t.comment(`FUZZ_SEED=${seed}`)
  const random = new Random(seed)
  let failures = 0
  for (let i = 0; i < 12; i++) {
    writeFileSync(join(dir, 'registry.json'), `{"n":${i}}`)
    writeFileSync(join(dir, 'large.bin'), Buffer.alloc(9e6, i))
    const files = new FaultyFiles(random)
    files.percent = 5
    try {
      await backUp({ ...options, files, progress })
    } catch {
      failures++
    }
    files.percent = 0
    t.same((await verify(to, '0.1.0', progress)).faults, [])
  }
  t.ok(failures > 0)
  await backUp({ ...options, progress })
  t.equal(readdirSync(to, { recursive: true }).length - before.length < 10, true, 'what was given up is gone')
})

t.test('damage is found by verify, and refused by restore', async t => {
  const dir = await usedDirectory(t)
  const to = join(await tempDir(), 'backup')
  const whole = await backUp({
    ...{ data: dir, to, version: '0.1.0', hub: undefined, outside: {}, without: [], clock: Date },
    progress,
  })
  const name = whole.manifest.files.find(({ path }) => path.endsWith('.seg'))?.chunks[0] ?? ''
  const path = join(to, 'chunks', name.slice(0, 2), name)
  const bytes = readFileSync(path)
  bytes[30] = (bytes[30] ?? 0) ^ 1
  writeFileSync(path, bytes)
  const seen = await telehub('backup', 'verify', to)
  t.equal(seen.code, 1)
  t.match(seen.out, `${path} is damaged`)
  t.match((await telehub('restore', to, '--to', join(await tempDir(), 'd'))).errors, 'the backup is damaged')
  const data = join(await tempDir(), 'e')
  const options = { from: to, manifest: whole.manifest, to: data, newIdentity: false, clock: Date }
  await t.rejects(restore({ ...options, progress }), { code: 'data_dir_unusable' })
})

t.test('what is no backup is left alone', async t => {
  const dir = await usedDirectory(t)
  const other = await tempDir()
  writeFileSync(join(other, 'mine.txt'), 'mine')
  t.match((await telehub('backup', other, '--data.dir', dir)).errors, 'is no backup, and not empty: it has mine.txt')
  t.match((await telehub('backup', join(dir, 'backup'), '--data.dir', dir)).errors, 'is in the data directory')
  const to = join(await tempDir(), 'backup')
  t.equal((await telehub('backup', to, '--data.dir', dir)).code, 0)
  const another = await tempDir()
  cpSync(dir, another, { recursive: true, filter: name => !/lock\./.test(name) })
  writeFileSync(join(another, 'hub.json'), '{"id":"another","starts":1}')
  t.match((await telehub('backup', to, '--data.dir', another)).errors, 'is a backup of another hub')
})

t.test(
  'a backup onto a disk that becomes full says so, gives back what it took, and goes on when there is room',
  async t => {
    const disk = await smallDisk(t, 40e6)
    if (!disk) return t.pass('no file system can be mounted here')
    const dir = await usedDirectory(t)
    const to = join(disk.dir, 'backup')
    t.equal((await telehub('backup', to, '--data.dir', dir)).code, 0)
    const manifest = readFileSync(join(to, 'telehub-backup.json'))
    const taken = () => statfsSync(disk.dir).bfree
    const before = taken()
    writeFileSync(join(dir, 'large.bin'), randomBytes(60e6))
    const full = await telehub('backup', to, '--data.dir', dir)
    t.not(full.code, 0)
    t.match(full.errors, /no space left|ENOSPC|full/i)
    t.same(readFileSync(join(to, 'telehub-backup.json')), manifest)
    t.same((await verify(to, '0.1.0', progress)).faults, [], 'the backup before is whole')
    t.ok(before - taken() < 20, `${before - taken()} blocks were not given back`)
    writeFileSync(join(dir, 'large.bin'), randomBytes(10e6))
    t.equal((await telehub('backup', to, '--data.dir', dir)).code, 0)
    t.match((await telehub('backup', 'verify', to)).out, /^whole/)
  },
)

t.test('a restore onto a disk that becomes full says so, leaves nothing, and succeeds when there is room', async t => {
  const disk = await smallDisk(t, 40e6)
  if (!disk) return t.pass('no file system can be mounted here')
  const dir = await usedDirectory(t)
  writeFileSync(join(dir, 'large.bin'), randomBytes(20e6))
  const to = join(await tempDir(), 'backup')
  t.equal((await telehub('backup', to, '--data.dir', dir)).code, 0)
  const data = join(disk.dir, 'data')
  disk.fill(10e6)
  const full = await telehub('restore', to, '--to', data)
  t.not(full.code, 0)
  t.match(full.errors, /no space left|ENOSPC|full/i)
  t.same(readdirSync(data), [])
  disk.free()
  const restored = await telehub('restore', to, '--to', data, '--json')
  t.equal(restored.code, 0, restored.errors)
  t.match(JSON.parse(restored.out), { received: 21, stored: 20, dead: 1, residual: 0 })
})

t.test('a checkpoint in the middle of the copy of the store begins the cut anew', async t => {
  const dir = await usedDirectory(t)
  const path = join(dir, 'store.duckdb')
  const store = new DuckDbStore({ path, rollsUp: false })
  await store.start()
  t.teardown(() => store.stop())
  const written = { measurement: 'm', tags: [], fields: [['v', 1]] as [string, number][] }
  let [holds, time] = [0, Date.now()]
  const hub = {
    hold: async () => {
      // The second one renews the hold while the first file is copied, as if it had been too late.
      if (++holds === 2) {
        await store.release()
        await store.write(Array.from({ length: 500 }, (_, i) => ({ ...written, time: 1e15 + i })))
        await store.retention.settle()
      }
      return store.hold(60_000)
    },
    release: () => store.release(),
  }
  // Each look at the clock is half a minute later than the one before.
  const clock = { now: () => (time += 30_000) }
  const to = join(await tempDir(), 'backup')
  const header = readFileSync(path).subarray(0, 12_288)
  const options = { data: dir, to, version: '0.1.0', hub, outside: {}, without: [], clock }
  const { manifest } = await backUp({ ...options, progress })
  t.notSame(readFileSync(path).subarray(0, 12_288), header, 'the file was rewritten')
  t.ok(holds > 3, `${holds} holds`)
  t.same((await verify(to, '0.1.0', progress)).faults, [])
  const data = join(await tempDir(), 'data')
  await restore({ from: to, manifest, to: data, newIdentity: true, clock: Date, progress })
  const copy = new DuckDbStore({ path: join(data, 'store.duckdb'), rollsUp: false })
  await copy.start()
  t.teardown(() => copy.stop())
  const series = { measurement: 'm', tags: [], field: 'v' }
  t.equal((await copy.history({ series, from: 0, to: 2e15, points: 1_000, fn: 'count' })).times.length, 500)
})
