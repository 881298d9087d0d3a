import t, { type Test } from 'tap'
import { isComplete, RequestKeys, sequencesOf } from '../../src/broker/request-keys.js'
import { Counters } from '../../src/observe/counters.js'
import { quietLog } from '../fixtures/quiet.js'
import { tempDir } from '../services/service.js'

/** Keys over a spool in which nothing is found, at a time that the test sets. */
async function open(t: Test, dir: string, time: { now: number }) {
  const counters = new Counters()
  const sink = { sequence: 0, replay: () => ({ skipTo: () => {}, next: () => undefined, close: () => {} }) }
  const incidents = { report: (_kind: string, sentence: string) => t.fail(sentence) }
  const clock = { now: () => time.now }
  const keys = new RequestKeys({ dir, sink, clock, counters, incidents, log: quietLog })
  keys.start()
  let next = 1
  /** Carries a request out, all but the last `missing` messages; returns whether that was done before. */
  const run = async (user: string, key: string, body = key, missing = 0) => {
    const request = await keys.enter(user, { key, body: [body] }, 3)
    if (isComplete(request)) return sequencesOf(request)
    const known = sequencesOf(request)
    keys.leave(
      request,
      known.map((sequence, i) => sequence || (i < 3 - missing ? next++ : 0)),
    )
    return undefined
  }
  return { keys, counters, run }
}

t.test('a key is kept for a day, with what was published under it', async t => {
  const dir = await tempDir()
  const time = { now: 1e15 }
  const first = await open(t, dir, time)
  t.equal(await first.run('ann', 'a'), undefined)
  t.same(await first.run('ann', 'a'), [1, 2, 3])
  t.equal(await first.run('bob', 'a'), undefined, 'the key of another user')
  t.equal(await first.run('ann', 'partly', 'x', 1), undefined)
  t.equal(await first.run('ann', 'partly', 'x'), undefined, 'goes on')
  t.same(await first.run('ann', 'partly', 'x'), [7, 8, 9])
  await t.rejects(first.run('ann', 'a', 'another body'), { code: 'key_reused' })
  t.equal(await first.run('ann', 'none', 'x', 3), undefined)
  t.equal(await first.run('ann', 'none', 'other'), undefined, 'nothing was published under it')
  await first.keys.stop()

  time.now += 23 * 3_600e6
  const second = await open(t, dir, time)
  t.same(await second.run('ann', 'a'), [1, 2, 3])
  t.same(await second.run('ann', 'partly', 'x'), [7, 8, 9])
  time.now += 2 * 3_600e6
  t.equal(await second.run('ann', 'a', 'another body'), undefined, 'forgotten after a day')
  t.equal(second.counters.givenUp.size, 0)
  await second.keys.stop()
})

t.test('a request that is running makes others with its key wait', async t => {
  const { keys } = await open(t, await tempDir(), { now: 1e15 })
  const request = await keys.enter('', { key: 'k', body: ['b'] }, 1)
  const waiting = keys.enter('', { key: 'k', body: ['b'] }, 1)
  await t.rejects(keys.enter('', { key: 'k', body: ['other'] }, 1), { code: 'key_reused' })
  keys.leave(request, [7])
  t.same(sequencesOf(await waiting), [7])
  await keys.stop()
})

t.test('the keys of a user are bounded: the oldest is forgotten, and counted', async t => {
  const { keys, counters, run } = await open(t, await tempDir(), { now: 1e15 })
  for (let n = 0; n <= 20_000; n++) await run('ann', `${n}`)
  await run('bob', 'b')
  t.same([...counters.givenUp], [['request_keys', 1]])
  t.ok(await run('ann', '1'))
  t.ok(await run('bob', 'b'))
  t.equal(await run('ann', '0'), undefined)
  await keys.stop()
})
