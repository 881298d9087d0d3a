import t from 'tap'
import { Rest } from '../../src/runtime/rest.js'

const never = new AbortController().signal

t.test('a rest under way ends when somebody waits, and the next ones are short', async t => {
  let now = 0
  const rest = new Rest(3_600_000, { now: () => now })
  const first = rest.take(never)
  rest.hurry()
  await first
  now = 999
  await rest.take(never)
  t.pass('both of an hour are over')
})

t.test('after a second rests are as long as ever, and an abort ends them', async t => {
  let now = 0
  const rest = new Rest(3_600_000, { now: () => now })
  rest.hurry()
  now = 1_000
  const abort = new AbortController()
  let isOver = false
  const taken = rest.take(abort.signal).then(() => {
    isOver = true
  })
  await new Promise(resolve => setTimeout(resolve, 20))
  t.notOk(isOver)
  abort.abort()
  await taken
  await rest.take(abort.signal)
})
