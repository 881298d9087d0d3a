import { parseArgs } from 'node:util'
import { explore, told } from './explore.js'
import { type Mutation, mutations } from './model.js'

/*
 * npm run simulate [-- --seeds N] [--from SEED] [--mutation NAME]: runs the model of several hubs (model.ts) with N seeds, and
 * prints the shortest trace of the first one that breaks a promise.
 */

const { values } = parseArgs({
  options: { seeds: { type: 'string' }, from: { type: 'string' }, mutation: { type: 'string' } },
})
const seeds = Number(values.seeds ?? 20_000)
const from = Number(values.from ?? 1)
const mutation = mutations.find(one => one === values.mutation)
if (values.mutation !== undefined && mutation === undefined) {
  console.error(`--mutation: given ${values.mutation}, allowed is one of:\n${mutations.join('\n')}`)
  process.exit(2)
}
const begin = performance.now()
const failure = explore(from, from + seeds, { mutation: mutation as Mutation | undefined })
if (failure) console.log(told(failure))
else
  console.log(
    `${seeds} seeds from ${from}: no promise was broken (${((performance.now() - begin) / 1_000).toFixed(1)} s)`,
  )
process.exitCode = failure ? 1 : 0
