import t from 'tap'
import { SerialQueue } from '../../src/runtime/serial-queue.js'

t.test('work runs one piece at a time, in order, also after work that failed', async t => {
  const queue = new SerialQueue()
  const seen: string[] = []
  const gates: (() => void)[] = []
  const work = (name: string) => async () => {
    seen.push(`${name} begins`)
    await new Promise<void>(resolve => gates.push(resolve))
    seen.push(`${name} ends`)
    if (name === 'b') throw new Error('b failed')
    return name
  }
  const all = Promise.allSettled([queue.run(work('a')), queue.run(work('b')), queue.run(work('c'))])
  t.same(seen, [], 'nothing begins within the call')
  for (const expected of [1, 2, 3]) {
    while (gates.length < expected) await Promise.resolve()
    t.equal(seen.length, 2 * expected - 1, 'one at a time')
    gates.at(-1)?.()
  }
  t.match(await all, [{ value: 'a' }, { reason: { message: 'b failed' } }, { value: 'c' }])
  t.same(seen, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends'])
})

t.test('idle resolves when all work given so far has ended, and does not reject', async t => {
  const queue = new SerialQueue()
  await queue.idle()
  let ended = 0
  const failed = queue.run(async () => {
    await Promise.resolve()
    ended++
    throw new Error('failed')
  })
  const done = queue.run(() => ++ended)
  await queue.idle()
  t.equal(ended, 2)
  await t.rejects(failed, /failed/)
  t.equal(await done, 2)
})
