import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { ThreadExit } from '../../src/runtime/thread-exit.js'
import type { Telling } from './dying-thread.js'

function startDying(t: Test, how: 'waits' | 'duckdb') {
  const worker = new Worker(new URL('./dying-thread.js', import.meta.url), { workerData: how })
  const told: Telling[] = []
  const errors: string[] = []
  worker.on('message', telling => told.push(telling))
  worker.on('error', (error: Error) => errors.push(error.message))
  const exited = new Promise<number>(resolve => worker.on('exit', resolve))
  t.teardown(() => exited)
  return { worker, told, errors, exited }
}

t.test('a thread that dies reports its first error at once, and ends when it may', async t => {
  const { worker, told, errors, exited } = startDying(t, 'waits')
  while (!told.includes('reported first')) await once(worker, 'message')
  worker.postMessage('are you there?')
  while (!told.includes('alive')) await once(worker, 'message')
  t.same(told, ['stopped', 'reported first', 'alive'], 'its parts stop first; the second error is not reported')
  t.same(errors, [])
  worker.postMessage('go')
  t.equal(await exited, 1)
  t.same(errors, ['first'])
})

t.test('a thread that dies while DuckDB works ends when DuckDB is done, and the process goes on', async t => {
  const { told, errors, exited } = startDying(t, 'duckdb')
  t.equal(await exited, 1)
  t.same(told, ['reported first', 'native call ended'])
  t.same(errors, ['first'])
})

t.test('hooks run once; a part that comes when the exit is being prepared is stopped at once', async t => {
  const exit = new ThreadExit()
  const ran: string[] = []
  exit.before(async () => void ran.push('first'))
  await Promise.all([exit.prepare(), exit.prepare()])
  exit.before(() => {
    ran.push('late')
    throw new Error('of no interest')
  })
  await exit.prepare()
  t.same(ran, ['first', 'late'])
})
