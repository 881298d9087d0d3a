import t from 'tap'
import { EventLoopDelay } from '../../src/observe/event-loop-delay.js'

t.test('what a sample is late by is told, and the longest of the last minute is known', async t => {
  const clock = { time: 1_000, now: () => clock.time }
  const delay = new EventLoopDelay(clock)
  const told: number[] = []
  delay.reportTo({ onDelay: seconds => told.push(seconds) })
  delay.start()
  t.teardown(() => delay.stop())
  const pass = (ms: number) => {
    clock.time += ms
    delay.sample()
  }
  t.equal(delay.longest, 0)
  for (const ms of [10, 10.5, 9.5, 310, 12]) pass(ms)
  t.same(told, [0, 0.0005, 0, 0.3, 0.002])
  t.equal(delay.longest, 0.3)
  for (let seconds = 0; seconds < 54; seconds++) for (let n = 0; n < 100; n++) pass(10)
  t.equal(delay.longest, 0.3, 'still')
  for (let seconds = 0; seconds < 12; seconds++) for (let n = 0; n < 100; n++) pass(10)
  t.equal(delay.longest, 0, 'longer ago than a minute')
})

t.test('a thread that is busy is seen', async t => {
  const delay = new EventLoopDelay(performance)
  delay.start()
  t.teardown(() => delay.stop())
  const sampled = new Promise<number>(resolve =>
    delay.reportTo({ onDelay: seconds => seconds > 0.05 && resolve(seconds) }),
  )
  await new Promise(resolve => setTimeout(resolve, 20))
  for (const end = performance.now() + 100; performance.now() < end; );
  // Holds the process until then: the timer alone does not.
  const held = setInterval(() => {}, 1_000)
  t.ok((await sampled) < 60, 'in seconds')
  clearInterval(held)
  t.ok(delay.longest > 0.05)
})
