import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import type { FuzzResult, FuzzRun } from './decoder-fuzzer.js'

const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000)
/** A longer search: FUZZ_CASES=1000000. */
const inputs = Number(process.env.FUZZ_CASES ?? 10_000)

for (const decoder of [
  'cbor',
  'msgpack',
  'senml',
  'gzip',
  'zlib',
  'json',
  'line',
  'sparkplug',
  'protobuf',
  undefined,
] as const) {
  t.test(
    `${inputs} inputs for ${decoder ?? 'a payload that chooses'}, FUZZ_SEED=${seed}: decoded, or refused with a reason`,
    async t => {
      const workerData: FuzzRun = { decoder, inputs, seed }
      const worker = new Worker(new URL('decoder-fuzzer.js', import.meta.url), {
        workerData,
        resourceLimits: { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 16 },
      })
      const [result] = (await once(worker, 'message')) as [FuzzResult]
      await worker.terminate()
      const refused = Object.values(result.refused).reduce((sum, count) => sum + count, 0)
      t.equal(result.decoded + refused, inputs, JSON.stringify(result))
      t.ok(result.decoded > inputs / 100, 'many inputs are close to a good one')
      t.ok(refused > inputs / 100)
    },
  )
}
