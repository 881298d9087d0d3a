import { execFile, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { DuckDBInstance } from '@duckdb/node-api'
import t, { type Test } from 'tap'
import { seriesKey, type Tags } from '../../src/model.js'
import { DuckDbStore } from '../../src/store/duckdb.js'
import { all, noon, reading, storeContract, temperature } from '../contract/store.js'
import { tempDir } from '../services/service.js'
import { smallDisk } from '../services/small-disk.js'

const module = new URL('../../src/store/duckdb.js', import.meta.url)

async function file(): Promise<string> {
  return join(await tempDir(), 'telehub.duckdb')
}

/** A store on `path` in a child process; `script` sees it as `store` and what it logs line by line is ours to read. */
function child(path: string, script: string, wrapper: readonly string[] = []) {
  const source = `
    import { DuckDbStore } from ${JSON.stringify(fileURLToPath(module))}
    const reading = (time, value) =>
      ({ measurement: 'climate', tags: [['device', 'd1']], fields: [['temperature', value]], time })
    const store = new DuckDbStore({ path: ${JSON.stringify(path)} })
    // Referred to by nothing else, it would be collected, and its lock on the file with it.
    globalThis.store = store
    await store.start()
    ${script}`
  const [command = '', ...args] = [...wrapper, globalThis.process.execPath, '--input-type=module', '-e', source]
  const process = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: process.stdout })[Symbol.asyncIterator]()
  const exited = new Promise<NodeJS.Signals | number | null>(resolve => {
    process.once('exit', (code, signal) => resolve(signal ?? code))
  })
  return { process, exited, line: async () => (await lines.next()).value as string | undefined }
}

t.test('contract', async t => {
  storeContract(t, async () => {
    const path = await file()
    return () => new DuckDbStore({ path })
  })
})

t.test('what was written survives SIGKILL, and repeating it changes nothing', async t => {
  const path = await file()
  const { process, exited, line } = child(
    path,
    `let time = ${noon}
     for (let batch = 0; ; batch++) {
       await store.write(Array.from({ length: 1000 }, () => reading(time, time++)))
       console.log(time)
     }`,
  )
  let next = noon
  for (let batch = 0; batch < 20; batch++) next = Number(await line())
  process.kill('SIGKILL')
  t.equal(await exited, 'SIGKILL')

  const store = new DuckDbStore({ path })
  await store.start()
  t.teardown(() => store.stop())
  const found = await all(store, temperature)
  const written = next - noon
  t.ok(found.length >= written, 'every resolved write is there')
  t.equal(found.length % 1_000, 0, 'a write is there whole or not at all')
  t.ok(found.every(([time, value], i) => time === noon + i && value === time))
  await store.write(Array.from({ length: 1_000 }, (_, i) => reading(next - 1_000 + i, next - 1_000 + i)))
  t.equal((await all(store, temperature)).length, found.length)
})

t.test('a series is renamed, dropped, given another type: with its readings, also after a restart', async t => {
  const path = await file()
  const { store } = await opened(t, path)
  const keysOf = async (of: DuckDbStore) => (await of.series({ limit: 50 })).series.map(seriesKey)
  const flow = { ...temperature, field: 'flow' }
  const told: [number, string | number][] = [
    [1, 'nan'],
    [2, ' 12.25 '],
    [3, '1e3'],
    [4, '8E999'],
    [5, 12.5],
    [6, 13],
  ]
  await store.write(told.map(([n, value]) => reading(noon + n, value, 'flow')))
  t.same(await keysOf(store), ['climate,device=d1 flow', 'climate,device=d1 flow_num'])
  await store.change({ kind: 'retype', series: flow, type: 'number' })
  t.same(await keysOf(store), ['climate,device=d1 flow', 'climate,device=d1 flow_str'])
  const numbers = [
    [noon + 2, 12.25],
    [noon + 3, 1_000],
    [noon + 5, 12.5],
    [noon + 6, 13],
  ]
  t.strictSame(await all(store, flow), numbers)
  t.strictSame(await all(store, { ...flow, field: 'flow_str' }), [
    [noon + 1, 'nan'],
    [noon + 4, '8E999'],
  ])
  await store.change({ kind: 'retype', series: flow, type: 'number' })
  await store.write([reading(noon + 7, 14, 'flow'), reading(noon + 8, 'inf', 'flow')])
  t.equal((await all(store, flow)).length, 5, 'from now on numbers are in their field')
  t.equal((await all(store, { ...flow, field: 'flow_str' })).length, 3)

  await store.change({ kind: 'retype', series: flow, type: 'text' })
  t.same(await keysOf(store), ['climate,device=d1 flow'], 'back: all numbers are texts, too')
  t.strictSame((await all(store, flow)).slice(0, 3), [
    [noon + 1, 'nan'],
    [noon + 2, '12.25'],
    [noon + 3, '1000'],
  ])

  const to = { measurement: 'water', tags: [['room', "cellar, 'old' =1"]], field: 'flow' } as const
  await t.rejects(store.change({ kind: 'rename', series: temperature, to }), { code: 'not_found' })
  await store.change({ kind: 'rename', series: flow, to })
  t.equal((await all(store, to)).length, 8)
  t.strictSame(await all(store, flow), [])
  await store.write([reading(noon, 1), { ...to, fields: [['flow', 'x']], time: noon }])
  t.equal((await all(store, to)).length, 9)
  await t.rejects(store.change({ kind: 'rename', series: temperature, to }), { code: 'bad_request' })
  t.strictSame(await all(store, temperature), [[noon, 1]], 'what failed has changed nothing')
  await store.stop()

  const again = await opened(t, path)
  t.same(again.reports, [])
  t.equal((await all(again.store, to)).length, 9)
  await again.store.change({ kind: 'drop', series: to })
  t.same(await keysOf(again.store), ['climate,device=d1 temperature'])
  await again.store.write([{ ...to, fields: [['flow', 2]], time: noon }])
  t.strictSame(await all(again.store, to), [[noon, 2]], 'it begins anew, with a type of its own')
})

t.test('a file in use by another process is data_dir_locked', async t => {
  const path = await file()
  const { process, exited, line } = child(path, `console.log('open'); process.stdin.resume()`)
  t.equal(await line(), 'open')
  await t.rejects(new DuckDbStore({ path }).start(), { code: 'data_dir_locked', message: path })
  process.kill('SIGKILL')
  await exited
  const store = new DuckDbStore({ path })
  await store.start()
  await store.stop()
})

/** A store on `path`, and what it reports. */
async function opened(t: Test, path: string, cached?: number) {
  const reports: string[] = []
  const incidents = { report: (kind: string, sentence: string) => reports.push(`${kind}: ${sentence}`) }
  const store = new DuckDbStore({ path, incidents, ...(cached && { cached }) })
  await store.start()
  t.teardown(() => store.stop())
  return { store, reports }
}

t.test('what is no database is set aside, and a new one is made', async t => {
  const path = await file()
  const garbage = 'this is not a database '.repeat(1_000)
  await writeFile(path, garbage)
  await writeFile(`${path}.wal`, garbage)
  const { store, reports } = await opened(t, path)
  t.strictSame(await store.last(), { sequence: undefined, isNew: true })
  t.strictSame(await store.write([reading(noon, 1)], 7), [])
  t.strictSame(await all(store, temperature), [[noon, 1]])
  const aside = (await readdir(dirname(path))).filter(name => name.includes('.damaged-'))
  t.equal(aside.length, 2, 'nothing is deleted')
  for (const name of aside) t.equal(await readFile(join(dirname(path), name), 'utf8'), garbage)
  t.match(reports.at(-1), /^store_damaged: .*the store was damaged and is .*\.damaged-/)
})

t.test('where there is no place for a file, or none now, the store says so and tries again', async t => {
  const dir = join(await tempDir(), 'later')
  const store = new DuckDbStore({ path: join(dir, 'a.duckdb') })
  await t.rejects(store.start(), { code: 'store_unavailable', message: dir })
  await t.rejects(store.write([reading(noon, 1)]), { code: 'store_unavailable' })
  await mkdir(dir)
  t.strictSame(await store.write([reading(noon, 1)]), [])
  t.strictSame(await all(store, temperature), [[noon, 1]])
  await store.stop()
})

/** A store that was killed: what it wrote, message by message, is in its log. */
async function killed(count: number): Promise<string> {
  const path = await file()
  const { process, exited, line } = child(
    path,
    `for (let n = 1; n <= ${count}; n++) await store.write([reading(${noon} + n, n)], n)
     console.log('written'); process.stdin.resume()`,
  )
  await line()
  process.kill('SIGKILL')
  await exited
  return path
}

t.test('a database that a full disk keeps from being made is no damaged one', async t => {
  const disk = await smallDisk(t, 4e6)
  if (!disk) return t.pass('no file system can be mounted here')
  const reports: string[] = []
  const incidents = { report: (kind: string, sentence: string) => reports.push(`${kind}: ${sentence}`) }
  for (const leave of [0, 4_096, 16_384]) {
    disk.free()
    disk.fill(leave)
    const store = new DuckDbStore({ path: join(disk.dir, `${leave}.duckdb`), incidents })
    const start = store.start()
    if (leave === 0) await t.rejects(start, { code: 'store_unavailable' })
    // How much room a new database needs is for DuckDB to say; the writes may succeed.
    else await start.catch(() => {})
    for (let tries = 0; tries < 3; tries++) await store.write([reading(noon, tries)]).catch(() => {})
    disk.free()
    t.strictSame(await store.write([reading(noon, 1)]), [])
    await store.stop()
  }
  t.same(reports, [])
  t.same(
    (await readdir(disk.dir)).filter(name => name.includes('damaged')),
    [],
  )
})

t.test('how far the store has got is in the same transaction as the points', async t => {
  const whole = await killed(40)
  t.match(await (await opened(t, whole)).store.last(), { sequence: 40, isNew: false })

  const cut = await killed(40)
  await truncate(`${cut}.wal`, (await stat(`${cut}.wal`)).size - 3)
  const { store } = await opened(t, cut)
  t.match(await store.last(), { sequence: 39 }, 'a log without its last bytes has lost its last write')
  t.equal((await all(store, temperature)).length, 39)
})

t.test(
  'a log that DuckDB cannot read is set aside; the database goes on as it was when it was last written',
  async t => {
    const path = await killed(40)
    const first = await opened(t, path)
    await first.store.stop()
    const { process, exited, line } = child(
      path,
      `for (let n = 41; n <= 80; n++) await store.write([reading(${noon} + n, n)], n)
     console.log('written'); process.stdin.resume()`,
    )
    await line()
    process.kill('SIGKILL')
    await exited
    const log = await readFile(`${path}.wal`)
    await writeFile(`${path}.wal`, log.fill(0xa5, log.length / 3, log.length / 3 + 16))
    const { store, reports } = await opened(t, path)
    t.match(reports, [/^store_damaged: the write-ahead log of the store was damaged and is .*\.damaged-.*\.wal now/])
    t.match(await store.last(), { sequence: 40, isNew: false })
    t.equal((await all(store, temperature)).length, 40)
    t.strictSame(await store.write([reading(noon + 100, 100)], 100), [])
  },
)

t.test('more series than are held in memory: each is found again, and nothing is there twice', async t => {
  const path = await file()
  let { store } = await opened(t, path, 20)
  const model = new Map<string, Map<number, unknown>>()
  let seed = 11
  const random = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
    return Math.floor((seed / 2_147_483_648) * below)
  }
  const tagSets = Array.from({ length: 60 }, (_, n) => Object.freeze([['device', `d${n}`] as const]))
  for (let round = 0; round < 24; round++) {
    const points = Array.from({ length: 50 }, () => {
      const n = random(60)
      const field = `f${random(3)}`
      const time = noon + (random(4) === 0 ? random(40) : round * 10 + random(20))
      const value = random(5) === 0 ? `text ${random(100)}` : random(100)
      return { n, field, time, value }
    })
    const kinds = await store.write(
      points.map(({ n, field, time, value }) => ({
        measurement: 'm',
        // Half of them are the very same object each time, as those of a mapping are.
        tags: n % 2 ? (tagSets[n] as Tags) : [['device', `d${n}`]],
        fields: [[field, value]],
        time,
      })),
    )
    t.strictSame(kinds, [])
    for (const { n, field, time, value } of points) {
      const base = `d${n} ${field}`
      const types = model.get(base)
      const first = types ? [...types.values()][0] : value
      const name =
        types && typeof first !== typeof value ? `${base}${typeof value === 'string' ? '_str' : '_num'}` : base
      model.set(name, (model.get(name) ?? new Map()).set(time, value))
    }
    if (round === 12) {
      await store.stop()
      ;({ store } = await opened(t, path, 20))
    }
  }
  let wrong = 0
  for (const [key, readings] of model) {
    const [device = '', field = ''] = key.split(' ')
    const found = await all(store, { measurement: 'm', tags: [['device', device]], field })
    const expected = [...readings].sort(([a], [b]) => a - b)
    if (JSON.stringify(found) !== JSON.stringify(expected)) wrong++
  }
  t.equal(wrong, 0)
  const { series } = await store.series({ limit: 1_000 })
  t.equal(series.length, model.size)
  for (const { tags, field, last } of series) {
    const readings = model.get(`${tags[0]?.[1]} ${field}`) ?? new Map()
    t.equal(last.value, readings.get(Math.max(...readings.keys())), 'the newest of each')
  }
})

t.test('a database of the version before, which had an index of names, is taken over', async t => {
  const path = await file()
  const instance = await DuckDBInstance.create(path)
  const connection = await instance.connect()
  await connection.run(`
    CREATE TABLE series (id INTEGER NOT NULL, measurement VARCHAR NOT NULL, tags VARCHAR NOT NULL, field VARCHAR NOT NULL,
      type VARCHAR NOT NULL, UNIQUE (measurement, tags, field));
    CREATE TABLE numbers (series INTEGER NOT NULL, time BIGINT NOT NULL, value DOUBLE NOT NULL);
    CREATE TABLE texts (series INTEGER NOT NULL, time BIGINT NOT NULL, value VARCHAR NOT NULL);
    INSERT INTO series VALUES (3, 'climate', '[["device","d1"]]', 'temperature', 'number'), (5, '\ufeffodd', '[]', 'v', 'text');
    INSERT INTO numbers VALUES (3, ${noon}, 1), (3, ${noon + 1}, 2);
    INSERT INTO texts VALUES (5, ${noon}, 'x')`)
  connection.closeSync()
  instance.closeSync()
  const { store } = await opened(t, path)
  t.strictSame(await store.last(), { sequence: undefined, isNew: false })
  t.strictSame(await store.write([reading(noon + 1, 20), reading(noon + 2, 3)]), [])
  t.strictSame(await all(store, temperature), [
    [noon, 1],
    [noon + 1, 20],
    [noon + 2, 3],
  ])
  t.strictSame(await all(store, { measurement: '\ufeffodd', tags: [], field: 'v' }), [[noon, 'x']])
  t.equal((await store.series({ limit: 10 })).series.length, 2)
})

t.test('the constructor touches nothing', async t => {
  const path = await file()
  new DuckDbStore({ path })
  t.notOk(existsSync(path))
})

t.test('it runs in a worker thread, which ends when the store is stopped', async t => {
  const path = await file()
  const worker = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads')
     import(workerData.module).then(async ({ DuckDbStore }) => {
       const store = new DuckDbStore({ path: workerData.path })
       await store.start()
       await store.write(workerData.points)
       parentPort.postMessage((await store.series({ limit: 10 })).series)
       await store.stop()
     })`,
    { eval: true, workerData: { module: module.href, path, points: [reading(noon, 1), reading(noon + 1, 2)] } },
  )
  const exited = new Promise(resolve => worker.once('exit', resolve))
  const message = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
  t.match(message, [{ field: 'temperature', last: { time: noon + 1, value: 2 } }])
  t.equal(await exited, 0, 'the thread ends by itself')
  const store = new DuckDbStore({ path })
  await store.start()
  t.equal((await all(store, temperature)).length, 2)
  await store.stop()
})

t.test('a process whose store is stopped ends', async t => {
  const { exited } = child(
    await file(),
    `await store.write([reading(1, 1)]); await store.stop(); process.stdin.unref()`,
  )
  t.equal(await exited, 0)
})

t.test('a write the disk refuses says so, is undone, and can be made again', async t => {
  if (process.platform !== 'linux') return t.comment('a limit on file sizes stands for the full disk: Linux only')
  const path = await file()
  const {
    process: other,
    exited,
    line,
  } = child(
    path,
    `let time = ${noon}
     let failure, lost
     while (!failure && time < ${noon} + 20_000_000) {
       lost = Array.from({ length: 50_000 }, () => reading(time++, Math.random()))
       await store.write(lost).catch(error => { failure = error })
     }
     console.log(failure?.code)
     for await (const _ of process.stdin) break
     await store.write(lost)
     await store.write(lost)
     await store.write([reading(time++, 1)])
     await store.stop()
     console.log(time - ${noon})
     process.stdin.destroy()`,
    ['prlimit', '--fsize=5000000:unlimited'],
  )
  t.equal(await line(), 'store_unavailable')
  await promisify(execFile)('prlimit', ['--pid', String(other.pid), '--fsize=unlimited:unlimited'])
  other.stdin.write('on\n')
  const written = Number(await line())
  t.equal(await exited, 0)
  const store = new DuckDbStore({ path })
  await store.start()
  t.teardown(() => store.stop())
  const query = { series: temperature, from: noon, to: noon + written, points: 1, fn: 'count' } as const
  t.strictSame((await store.history(query)).values, [written], 'nothing lost, nothing twice')
})
