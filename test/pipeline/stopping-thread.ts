import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import { DuckDBInstance } from '@duckdb/node-api'
import type { BrokerOffers, ProcessorThreadData } from '../../src/pipeline/thread-ports.js'
import { ThreadExit } from '../../src/runtime/thread-exit.js'
import { Link } from '../../src/runtime/worker-link.js'
import { NativeCalls } from '../../src/store/native-calls.js'
import { longQuery } from '../runtime/long-query.js'

/*
 * In the place of the processor thread. Its hub id says how it behaves: `works`, `hangs` while it starts, or `dies` while
 * it stops, with DuckDB at work. The file `idle` says that DuckDB is done.
 */

if (parentPort) {
  const { hubId, dir } = workerData as ProcessorThreadData
  const exit = new ThreadExit()
  const calls = new NativeCalls()
  exit.before(() => calls.end())
  const query = async () => {
    const connection = await (await DuckDBInstance.create(':memory:')).connect()
    await connection.run(longQuery)
    writeFileSync(join(dir, 'idle'), '')
  }
  const link: Link<BrokerOffers> = new Link(parentPort, {
    start: async () => {
      link.tell('log', { level: 'info', sentence: `starting: ${hubId}` })
      if (hubId === 'works' || hubId === 'dies') return
      await calls.run(query)
      await new Promise(() => {})
    },
    stop: async () => {
      if (hubId !== 'dies') return { left: undefined, problems: [] }
      setTimeout(() => {
        throw new Error('died of the stop')
      }, 20)
      return calls.run(query)
    },
    abandon: () => exit.prepare(),
  })
  exit.onUncaught(error => {
    link.tell('dying', (error as Error).message)
    link.cut()
  })
}
