import t from 'tap'
import { explore, told } from './explore.js'
import { mutations } from './model.js'

/** The same ones each time: a few seconds. `npm run simulate -- --seeds N --from SEED` searches further. */
const seeds = 1_500

t.test(
  'several hubs, with crashes, pauses, partitions and a stream that loses its end: every promise is kept',
  async t => {
    const failure = explore(1, 1 + seeds)
    t.equal(failure && told(failure), undefined)
  },
)

t.test('the checks notice each way to spoil the design', async t => {
  for (const mutation of mutations) {
    const failure = explore(1, 4_000, { mutation })
    t.ok(failure, `${mutation}: seed ${failure?.seed}, ${failure?.violation}`)
  }
})
