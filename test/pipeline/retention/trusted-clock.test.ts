import t from 'tap'
import { TrustedClock } from '../../../src/pipeline/retention/trusted-clock.js'

const hour = 3_600_000
const day = 24 * hour
const start = Date.UTC(2026, 5, 1)

/** Two clocks that go on together, of which the wall clock may be moved. */
function clocks() {
  const at = { wall: start, monotonic: 5_000 }
  const clock = new TrustedClock({ now: () => at.wall }, { now: () => at.monotonic })
  return {
    clock,
    go: (ms: number) => {
      at.wall += ms
      at.monotonic += ms
    },
    move: (ms: number) => {
      at.wall += ms
    },
  }
}

t.test('a clock that goes on is trusted, one that was never set is not', async t => {
  const { clock, go, move } = clocks()
  clock.learn(start - hour)
  t.same(clock.look(), { now: start })
  go(30 * day)
  t.same(clock.look(), { now: start + 30 * day })
  move(-start)
  t.match(clock.look(), { why: /not set/ })
})

t.test('a clock in the year 2050 is not trusted, and right again it is at once', async t => {
  const { clock, go, move } = clocks()
  clock.learn(start)
  clock.look()
  move(24 * 365 * day)
  t.match(clock.look(), { why: /says 2050-.* days after the last time known \(2026-06-01\): check it/ })
  for (let i = 0; i < 23; i++) {
    go(hour)
    t.match(clock.look(), { why: /2050/ })
  }
  move(-24 * 365 * day)
  t.same(clock.look(), { now: start + 23 * hour })
})

t.test('a hub that was off for a month waits a day, also when the clock jumps meanwhile', async t => {
  const { clock, go, move } = clocks()
  clock.learn(start - 30 * day)
  t.match(clock.look(), { why: /30 days after/ })
  go(20 * hour)
  move(2 * day)
  t.match(clock.look(), { why: /33 days after/ })
  go(20 * hour)
  t.match(clock.look(), { why: /trusted from/ })
  go(4 * hour)
  t.match(clock.look(), { now: start + 2 * day + 44 * hour })
})

t.test('where nothing is known, nothing is stored that could go', async t => {
  const { clock } = clocks()
  clock.learn(undefined)
  t.same(clock.look(), { now: start })
})
