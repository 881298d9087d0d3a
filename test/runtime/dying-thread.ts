import { parentPort, workerData } from 'node:worker_threads'
import { DuckDBInstance } from '@duckdb/node-api'
import { ThreadExit } from '../../src/runtime/thread-exit.js'
import { NativeCalls } from '../../src/store/native-calls.js'
import { longQuery } from './long-query.js'

/** A thread that dies as its test says; it tells what happens in it. */

export type Telling = 'reported first' | 'stopped' | 'alive' | 'native call ended'

if (parentPort) {
  const port = parentPort
  const tell = (telling: Telling) => port.postMessage(telling)
  const exit = new ThreadExit()
  exit.onUncaught(error => tell(`reported ${(error as Error).message}` as Telling))
  const die = (message: string) =>
    setImmediate(() => {
      throw new Error(message)
    })
  if (workerData === 'waits') {
    const { promise, resolve } = gate()
    port.on('message', word => (word === 'go' ? resolve() : tell('alive')))
    exit.before(() => {
      tell('stopped')
      return promise
    })
    exit.before(() => Promise.reject(new Error('a hook that fails counts as one that is done')))
    die('first')
    die('second')
  } else {
    const calls = new NativeCalls()
    exit.before(() => calls.end())
    const connection = await (await DuckDBInstance.create(':memory:')).connect()
    void calls.run(async () => {
      await connection.run(longQuery)
      tell('native call ended')
    })
    die('first')
  }
}

function gate() {
  let resolve = () => {}
  const promise = new Promise<void>(done => {
    resolve = done
  })
  return { promise, resolve }
}
