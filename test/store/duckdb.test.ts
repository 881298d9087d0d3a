import { execFile, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { DuckDbStore } from '../../src/store/duckdb.js'
import { all, noon, reading, storeContract, temperature } from '../contract/store.js'
import { tempDir } from '../services/service.js'

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

t.test('what is no database, or no place for one, is data_dir_unusable', async t => {
  const path = await file()
  await writeFile(path, 'this is not a database '.repeat(1_000))
  await t.rejects(new DuckDbStore({ path }).start(), { code: 'data_dir_unusable', message: path })
  const nowhere = join(path, 'below', 'a.duckdb')
  await t.rejects(new DuckDbStore({ path: nowhere }).start(), { code: 'data_dir_unusable' })
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
       parentPort.postMessage(await store.series(10))
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
