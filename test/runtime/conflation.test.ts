import t from 'tap'
import { Conflation } from '../../src/runtime/conflation.js'

function make(limit = 100) {
  const counts = { merged: 0, dropped: 0 }
  const clock = { at: 0, now: () => clock.at }
  return { counts, clock, waiting: new Conflation<string>(limit, counts, clock) }
}

/** Everything that waits, in the order in which it comes out. */
function drain(waiting: Conflation<string>): string[] {
  const out: string[] = []
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) out.push(next)
  return out
}

t.test('the newest of each topic comes out, in the order in which the topics began to wait', async t => {
  const { waiting, counts } = make()
  for (const item of ['b1', 'a1', 'b2', 'c1', 'b3']) waiting.put(item.charAt(0), item, 1)
  t.same([waiting.size, waiting.has('b'), waiting.merged], [3, true, 2])
  t.same(drain(waiting), ['b3', 'a1', 'c1'])
  t.same([waiting.size, waiting.has('b')], [0, false])
  t.same(counts, { merged: 2, dropped: 0 })
})

t.test('beyond the limit the topic that has waited longest is dropped; what has no bytes is not', async t => {
  const { waiting, counts } = make(10)
  waiting.put('free', 'free', 0)
  for (const topic of ['a', 'b', 'c', 'd']) waiting.put(topic, topic, 4)
  t.same([waiting.dropped, waiting.free], [2, 1])
  waiting.put('free', 'now counts', 4)
  t.same(drain(waiting), ['now counts', 'd'])
  waiting.put('whole', 'larger than the limit', 11)
  t.same(drain(waiting), [])
  t.same(counts, { merged: 1, dropped: 4 })
})

t.test('what a newer item replaces no longer counts', async t => {
  const { waiting } = make(10)
  waiting.put('a', 'a1', 9)
  waiting.put('a', 'a2', 1)
  waiting.put('b', 'b1', 9)
  t.same(drain(waiting), ['a2', 'b1'])
  for (let n = 0; n < 100; n++) waiting.put('a', `a${n}`, 10)
  waiting.supersede('a')
  waiting.supersede('never put')
  t.same([waiting.size, waiting.dropped, waiting.merged], [0, 0, 101])
  waiting.put('b', 'b', 10)
  t.same(drain(waiting), ['b'])
})

t.test('how long, and how much, since it was told to begin anew', async t => {
  const { waiting, counts, clock } = make()
  clock.at = 40
  waiting.put('a', 'a1', 1)
  waiting.put('a', 'a2', 1)
  waiting.drop()
  t.same([waiting.behindMs, waiting.merged, waiting.dropped], [40, 1, 1])
  waiting.restart()
  clock.at = 45
  t.same([waiting.behindMs, waiting.merged, waiting.dropped, waiting.size], [5, 0, 0, 1])
  t.same(counts, { merged: 1, dropped: 1 })
})
