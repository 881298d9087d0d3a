import t from 'tap'
import { Meter } from '../../src/spool/backlog-meter.js'

function meter(rate: number) {
  let now = 5_000
  return {
    meter: new Meter({ rate, clock: { now: () => now } }),
    pass: (ms: number) => {
      now += ms
    },
  }
}

t.test('without a backlog what arrives is taken at once, however much', async t => {
  const { meter: lane, pass } = meter(1)
  for (const arrived of [1, 5_000, 3, 100_000]) {
    pass(1)
    lane.arrived(arrived)
    t.equal(lane.allowed(arrived), arrived)
    lane.took(arrived)
  }
})

t.test('a backlog shrinks by the rate, whatever arrives, and whatever a batch takes', async t => {
  for (const [perBatchMs, batch] of [
    [10, 5_000],
    [700, 5_000],
    [3_000, 50_000],
  ] as const) {
    const { meter: lane, pass } = meter(100)
    let backlog = 100_000
    let taken = 0
    let arrived = 0
    for (let ms = 0; ms < 60_000; ms += perBatchMs) {
      pass(perBatchMs)
      const fresh = perBatchMs * 4
      arrived += fresh
      backlog += fresh
      lane.arrived(fresh)
      const count = Math.min(batch, lane.allowed(backlog))
      lane.took(count)
      backlog -= count
      taken += count
    }
    const drained = taken - arrived
    t.ok(drained > 5_700 && drained <= 6_100, `${drained} drained in a minute, batches of ${perBatchMs} ms`)
  }
})

t.test('who was away long does not get what arrived meanwhile at once', async t => {
  const { meter: lane, pass } = meter(100)
  pass(3_600_000)
  lane.arrived(36_000_000)
  const allowed = lane.allowed(36_000_000)
  t.ok(allowed >= 10_000 && allowed <= 10_200, `${allowed}: one second`)
})

t.test('tokens that nobody takes do not pile up', async t => {
  const { meter: lane, pass } = meter(100)
  for (let i = 0; i < 100; i++) {
    pass(1_000)
    t.ok(lane.allowed(1_000_000) <= 200)
  }
})

t.test('nothing, and how long until there is something', async t => {
  const { meter: lane, pass } = meter(100)
  t.equal(lane.allowed(1_000), 0)
  pass(lane.waitMs)
  const allowed = lane.allowed(1_000)
  t.ok(allowed >= 1)
  lane.took(allowed)
  t.equal(lane.allowed(1_000), 0)
  const slow = meter(1)
  t.equal(slow.meter.allowed(9), 0)
  slow.pass(slow.meter.waitMs)
  t.equal(slow.meter.allowed(9), 1)
})
